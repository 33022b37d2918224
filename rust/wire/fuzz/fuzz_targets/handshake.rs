//! Arbitrary bytes for each side of the handshake, and as records: none of them may agree or panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirai_handshake::{Daemon, Hub, Opener, Step, Token};

fuzz_target!(|input: &[u8]| {
    let token = || Token::new([7; 32]);
    let mut hub = Hub::new(Some(token()), [1; 32]);
    let (mut daemon, opening) = Daemon::new(Some(token()), [2; 32]);
    let mut rest = input;
    while let Some((bytes, more)) = rest.split_at_checked(hub.wants()).filter(|_| hub.wants() > 0) {
        assert!(!matches!(hub.read(bytes), Ok(Step::Done(..))));
        rest = more;
    }
    let mut rest = input;
    while let Some((bytes, more)) = rest.split_at_checked(daemon.wants()).filter(|_| daemon.wants() > 0) {
        assert!(!matches!(daemon.read(bytes), Ok(Step::Done(..))));
        rest = more;
    }
    records(&opening, input);
});

/// As records of a connection whose keys the bytes do not know.
fn records(opening: &[u8], mut bytes: &[u8]) {
    let mut hub = Hub::new(Some(Token::new([7; 32])), [1; 32]);
    let (mut daemon, _) = Daemon::new(Some(Token::new([7; 32])), [2; 32]);
    let Ok(Step::Send(answer)) = hub.read(opening) else { panic!("the opening is fine") };
    let Ok(Step::Send(proof)) = daemon.read(&answer) else { panic!("the answer is fine") };
    let Ok(Step::Done(_, Some(keys))) = hub.read(&proof) else { panic!("the proof is fine") };
    let mut opener = Opener::of_daemon(&keys);
    while !bytes.is_empty() {
        let Ok(room) = opener.room() else { return };
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        opener.filled(count);
        bytes = &bytes[count..];
        match opener.take(|plain| plain.len()) {
            Ok(0) => {}
            Ok(_) => panic!("bytes have opened as a record"),
            Err(_) => return,
        }
    }
}
