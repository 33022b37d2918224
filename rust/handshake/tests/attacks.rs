//! The handshake and its records against those who do not know the token.

use mirai_handshake::{
    Daemon, HandshakeError, Hub, Keys, MAX_PLAIN, Nonce, OVERHEAD, Opener, Sealer, Step, Token,
};
use proptest::prelude::*;

fn token(seed: u8) -> Token {
    Token::new([seed; 32])
}

fn nonce(seed: u8) -> Nonce {
    [seed; 32]
}

/// What was said, and how it ended on each side.
struct Talk {
    from_daemon: Vec<Vec<u8>>,
    from_hub: Vec<Vec<u8>>,
    hub: Option<Result<Option<Keys>, HandshakeError>>,
    daemon: Option<Result<Option<Keys>, HandshakeError>>,
}

/// Lets both talk, with `meddle` changing what travels: from the daemon or not, and the number of the message.
fn talk_through(
    mut daemon: (Daemon, Vec<u8>),
    mut hub: Hub,
    mut meddle: impl FnMut(bool, usize, &mut Vec<u8>),
) -> Talk {
    let mut talk = Talk {
        from_daemon: Vec::new(),
        from_hub: Vec::new(),
        hub: None,
        daemon: None,
    };
    let mut message = std::mem::take(&mut daemon.1);
    loop {
        meddle(true, talk.from_daemon.len(), &mut message);
        talk.from_daemon.push(message.clone());
        if message.len() < hub.wants() || talk.hub.is_some() {
            return talk;
        }
        message = match hub.read(&message[..hub.wants()]) {
            Ok(Step::Send(answer)) => answer,
            Ok(Step::Done(answer, keys)) => {
                talk.hub = Some(Ok(keys));
                answer
            }
            Err((error, answer)) => {
                talk.hub = Some(Err(error));
                answer
            }
        };
        meddle(false, talk.from_hub.len(), &mut message);
        talk.from_hub.push(message.clone());
        if message.len() < daemon.0.wants() {
            return talk;
        }
        message = match daemon.0.read(&message[..daemon.0.wants()]) {
            Ok(Step::Send(proof)) => proof,
            Ok(Step::Done(rest, keys)) => {
                assert!(rest.is_empty());
                talk.daemon = Some(Ok(keys));
                return talk;
            }
            Err(error) => {
                talk.daemon = Some(Err(error));
                return talk;
            }
        };
    }
}

fn talk(daemon: Option<Token>, hub: Option<Token>) -> Talk {
    talk_through(
        Daemon::new(daemon, nonce(1)),
        Hub::new(hub, nonce(2)),
        |_, _, _| {},
    )
}

#[test]
fn those_who_know_the_token_agree_on_keys() {
    let talk = talk(Some(token(7)), Some(token(7)));
    let keys = talk.hub.unwrap().unwrap().expect("keys");
    assert_eq!(talk.daemon.unwrap().unwrap(), Some(keys));
}

#[test]
fn without_a_token_all_may_connect() {
    let talk = talk(None, None);
    assert_eq!(talk.hub, Some(Ok(None)));
    assert_eq!(talk.daemon, Some(Ok(None)));
}

#[test]
fn a_wrong_token_is_found_out_by_both() {
    let talk = talk(Some(token(7)), Some(token(8)));
    assert_eq!(talk.hub, Some(Err(HandshakeError::Unproven)));
    assert_eq!(talk.daemon, Some(Err(HandshakeError::Unproven)));
}

#[test]
fn a_missing_token_is_asked_for() {
    let talk = talk(None, Some(token(7)));
    assert_eq!(talk.hub, Some(Err(HandshakeError::TokenWanted)));
    assert_eq!(talk.daemon, Some(Err(HandshakeError::TokenWanted)));
}

#[test]
fn a_hub_that_asks_for_no_token_is_not_the_right_one() {
    let talk = talk(Some(token(7)), None);
    assert_eq!(talk.daemon, Some(Err(HandshakeError::TokenIgnored)));
}

#[test]
fn a_replayed_daemon_is_turned_away() {
    let old = talk(Some(token(7)), Some(token(7)));
    let mut hub = Hub::new(Some(token(7)), nonce(3));
    let Ok(Step::Send(_)) = hub.read(&old.from_daemon[0]) else {
        panic!("the opening alone is fine")
    };
    let (error, _) = hub.read(&old.from_daemon[1]).unwrap_err();
    assert_eq!(error, HandshakeError::Unproven);
}

#[test]
fn a_replayed_hub_is_found_out() {
    let old = talk(Some(token(7)), Some(token(7)));
    let (mut daemon, _) = Daemon::new(Some(token(7)), nonce(4));
    let Ok(Step::Send(_)) = daemon.read(&old.from_hub[0]) else {
        panic!("the answer alone is fine")
    };
    assert_eq!(
        daemon.read(&old.from_hub[1]).unwrap_err(),
        HandshakeError::Unproven
    );
}

#[test]
fn what_a_side_says_cannot_be_held_up_to_it() {
    // A hub that knows no token sends back what the daemon says.
    let (mut daemon, opening) = Daemon::new(Some(token(7)), nonce(1));
    assert_eq!(daemon.read(&opening).unwrap_err(), HandshakeError::NotMirai);
    // It makes the answer itself, and mirrors the proof.
    let (mut daemon, _) = Daemon::new(Some(token(7)), nonce(1));
    let asks = talk(Some(token(9)), Some(token(9))).from_hub.remove(0);
    let Ok(Step::Send(proof)) = daemon.read(&asks) else {
        panic!("the answer alone is fine")
    };
    let mirrored = [&[1][..], &proof].concat();
    assert_eq!(
        daemon.read(&mirrored).unwrap_err(),
        HandshakeError::Unproven
    );
    // A daemon that knows none lets another hub of the same token prove for it.
    let mut hub = Hub::new(Some(token(7)), nonce(2));
    let mut other = Hub::new(Some(token(7)), nonce(5));
    let (_, opening) = Daemon::new(Some(token(7)), nonce(1));
    let Ok(Step::Send(answer)) = hub.read(&opening) else {
        panic!("the opening alone is fine")
    };
    let (error, told) = other.read(&answer).unwrap_err();
    assert_eq!(error, HandshakeError::NotMirai);
    assert!(told.is_empty());
}

#[test]
fn a_downgrade_on_the_way_is_found_out() {
    // To the hub the daemon seems to have no token, to the daemon the hub seems to want none.
    let talk = talk_through(
        Daemon::new(Some(token(7)), nonce(1)),
        Hub::new(Some(token(7)), nonce(2)),
        |from_daemon, _, message| {
            if !from_daemon && message.len() == 48 {
                message[8] = 0;
            }
        },
    );
    assert_eq!(talk.daemon, Some(Err(HandshakeError::TokenIgnored)));
}

#[test]
fn another_version_is_told_and_a_changed_one_is_found_out() {
    let changed = |of_daemon: bool| {
        talk_through(
            Daemon::new(Some(token(7)), nonce(1)),
            Hub::new(Some(token(7)), nonce(2)),
            move |from_daemon, number, message| {
                if number == 0 && from_daemon == of_daemon {
                    message[6] = 9;
                }
            },
        )
    };
    let version = HandshakeError::Version { theirs: 9 };
    assert_eq!(changed(true).hub, Some(Err(version)));
    assert!(changed(true).daemon.unwrap().is_err());
    assert_eq!(changed(false).daemon, Some(Err(version)));
}

#[test]
fn truncated_messages_prove_nothing() {
    for cut in 0..2 {
        let talk = talk_through(
            Daemon::new(Some(token(7)), nonce(1)),
            Hub::new(Some(token(7)), nonce(2)),
            |_, number, message| {
                if number == cut {
                    message.pop();
                }
            },
        );
        assert!(!matches!(talk.hub, Some(Ok(_))), "{cut}");
        assert!(!matches!(talk.daemon, Some(Ok(_))), "{cut}");
    }
    // Handed over all the same.
    let mut hub = Hub::new(Some(token(7)), nonce(2));
    assert!(hub.read(b"short").is_err());
    assert_eq!(hub.wants(), 0);
    assert!(hub.read(b"").is_err());
}

#[test]
fn a_side_wants_no_more_than_its_messages() {
    let mut hub = Hub::new(Some(token(7)), nonce(2));
    let (daemon, opening) = Daemon::new(Some(token(7)), nonce(1));
    assert!(hub.wants() <= 64 && daemon.wants() <= 64);
    hub.read(&opening).unwrap();
    assert!(hub.wants() <= 64);
    let mut hub = Hub::new(Some(token(7)), nonce(2));
    assert!(hub.read(&vec![0; 1 << 20]).is_err());
}

proptest! {
    #[test]
    fn whatever_is_changed_on_the_way_is_found_out(
        of_daemon: bool, number in 0usize..2, at in 0usize..48, bits in 1u8..,
    ) {
        let mut has_changed = false;
        let talk = talk_through(
            Daemon::new(Some(token(7)), nonce(1)),
            Hub::new(Some(token(7)), nonce(2)),
            |from_daemon, count, message| {
                if from_daemon == of_daemon && count == number && let Some(byte) = message.get_mut(at) {
                    *byte ^= bits;
                    has_changed = true;
                }
            },
        );
        if has_changed {
            // The hub's last word is the one that it has no answer to.
            prop_assert!(!matches!(talk.daemon, Some(Ok(_))));
            if of_daemon || number == 0 {
                prop_assert!(!matches!(talk.hub, Some(Ok(_))));
            }
        }
    }

    #[test]
    fn no_bytes_make_either_side_panic_or_agree(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut hub = Hub::new(Some(token(7)), nonce(2));
        prop_assert!(!matches!(hub.read(&bytes), Ok(Step::Done(..))));
        let (mut daemon, _) = Daemon::new(Some(token(7)), nonce(1));
        prop_assert!(!matches!(daemon.read(&bytes), Ok(Step::Done(..))));
    }

    #[test]
    fn records_come_back_under_any_split(
        said in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 1..20),
        piece in 1usize..50, taken in 1usize..50,
    ) {
        let keys = keys();
        let mut sealer = Sealer::of_hub(&keys);
        let sent: Vec<u8> = said.iter().flat_map(|plain| seal(&mut sealer, plain)).collect();
        let mut opener = Opener::of_hub(&keys);
        prop_assert_eq!(open(&mut opener, &sent, piece, taken).unwrap(), said.concat());
    }

    #[test]
    fn a_changed_record_is_found_out(at in 0usize..120, bits in 1u8..) {
        let keys = keys();
        let mut sent = seal(&mut Sealer::of_daemon(&keys), &[5; 100]);
        sent[at] ^= bits;
        let opened = open(&mut Opener::of_daemon(&keys), &sent, 7, 100);
        prop_assert!(opened.is_err() || opened == Ok(Vec::new()), "{opened:?}");
    }

    #[test]
    fn no_bytes_open_as_a_record(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let opened = open(&mut Opener::of_daemon(&keys()), &bytes, 13, 100);
        prop_assert!(opened.is_err() || opened == Ok(Vec::new()));
    }
}

fn keys() -> Keys {
    talk(Some(token(7)), Some(token(7)))
        .hub
        .unwrap()
        .unwrap()
        .expect("keys")
}

fn seal(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    let (head, middle) = plain.split_at(plain.len() / 2);
    let (len, tag) = sealer.seal(&[head, middle]);
    [&len[..], plain, &tag].concat()
}

fn open(
    opener: &mut Opener,
    mut bytes: &[u8],
    piece: usize,
    taken: usize,
) -> Result<Vec<u8>, HandshakeError> {
    let mut plain = Vec::new();
    loop {
        let count = opener.take(|bytes| {
            let count = bytes.len().min(taken);
            plain.extend_from_slice(&bytes[..count]);
            count
        })?;
        if count > 0 {
            continue;
        }
        if bytes.is_empty() {
            return Ok(plain);
        }
        let room = opener.room()?;
        let count = room.len().min(piece).min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        opener.filled(count);
        bytes = &bytes[count..];
    }
}

#[test]
fn records_that_are_repeated_left_out_or_moved_are_found_out() {
    let keys = keys();
    let mut sealer = Sealer::of_daemon(&keys);
    let records: Vec<_> = (0..3).map(|said| seal(&mut sealer, &[said; 40])).collect();
    for order in [[0, 0, 1], [0, 2, 1], [1, 0, 2]] {
        let sent = order.map(|at| records[at].clone()).concat();
        let opened = open(&mut Opener::of_daemon(&keys), &sent, 1000, 1000);
        assert_eq!(opened, Err(HandshakeError::Forged), "{order:?}");
    }
}

#[test]
fn records_of_one_side_are_none_of_the_other() {
    let keys = keys();
    let sent = seal(&mut Sealer::of_daemon(&keys), b"mirror");
    let opened = open(&mut Opener::of_hub(&keys), &sent, 1000, 1000);
    assert_eq!(opened, Err(HandshakeError::Forged));
}

#[test]
fn records_of_another_connection_are_none_of_this_one() {
    let sent = seal(&mut Sealer::of_daemon(&keys()), b"yesterday's");
    let today = talk_through(
        Daemon::new(Some(token(7)), nonce(1)),
        Hub::new(Some(token(7)), nonce(3)),
        |_, _, _| {},
    );
    let today = today.hub.unwrap().unwrap().expect("keys");
    let opened = open(&mut Opener::of_daemon(&today), &sent, 1000, 1000);
    assert_eq!(opened, Err(HandshakeError::Forged));
}

#[test]
fn an_oversized_or_empty_record_costs_nothing() {
    for len in [0, MAX_PLAIN as u32 + 1, u32::MAX] {
        let mut opener = Opener::of_daemon(&keys());
        let opened = open(&mut opener, &len.to_le_bytes(), 4, 4);
        assert_eq!(opened, Err(HandshakeError::Forged));
    }
    let mut opener = Opener::of_daemon(&keys());
    let room = opener.room().unwrap();
    room.copy_from_slice(&(MAX_PLAIN as u32).to_le_bytes());
    opener.filled(4);
    assert!(opener.room().unwrap().len() <= MAX_PLAIN + OVERHEAD);
}

#[test]
fn secrets_stay_out_of_logs() {
    let keys = keys();
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        token(0xAB),
        keys,
        Sealer::of_hub(&keys),
        Opener::of_hub(&keys),
        Hub::new(Some(token(0xAB)), nonce(1)),
    );
    assert!(
        !shown.contains("171") && !shown.to_lowercase().contains("abab"),
        "{shown}"
    );
}
