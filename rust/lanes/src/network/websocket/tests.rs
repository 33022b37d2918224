//! Frames in pieces of any size, and what is none.

use super::*;

/// A connection whose peer has said this, in pieces of so many bytes, and takes so many bytes at once.
#[derive(Debug)]
struct Pipe {
    said: Mutex<Vec<u8>>,
    piece: usize,
    taken: Mutex<Vec<u8>>,
    /// Every other attempt to write finds no room.
    is_narrow: bool,
    attempts: Mutex<usize>,
}

impl Connection for &'static Pipe {
    fn poll_readable(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_writable(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut said = self.said.lock();
        if said.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = said.len().min(self.piece).min(into.len());
        into[..count].copy_from_slice(&said[..count]);
        said.drain(..count);
        Ok(count)
    }

    fn try_read_append(&self, _into: &mut Vec<u8>, _limit: usize) -> io::Result<usize> {
        panic!("it is read into its own buffer");
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut attempts = self.attempts.lock();
        *attempts += 1;
        if self.is_narrow && attempts.is_multiple_of(2) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut taken = self.taken.lock();
        let before = taken.len();
        for part in parts {
            let room = before + self.piece - taken.len();
            taken.extend_from_slice(&part[..part.len().min(room)]);
        }
        let count = taken.len() - before;
        Ok(count)
    }

    fn shutdown(&self) {}

    fn peer_pid(&self) -> Option<u32> {
        None
    }

    fn notices_silence(&self) -> bool {
        false
    }
}

fn socket(said: Vec<u8>, piece: usize, is_narrow: bool) -> (WebSocket, &'static Pipe) {
    let pipe = Box::leak(Box::new(Pipe {
        said: Mutex::new(said),
        piece,
        taken: Mutex::default(),
        is_narrow,
        attempts: Mutex::default(),
    }));
    let socket = WebSocket {
        below: Box::new(&*pipe),
        incoming: Mutex::new(Incoming::new(Vec::new())),
        outgoing: Mutex::default(),
    };
    (socket, pipe)
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..=125 => frame.push(0x80 | len as u8),
        len @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    let with = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(with);
    let begin = frame.len();
    frame.extend(payload);
    mask(&mut frame[begin..], with);
    frame
}

/// All that can be read now, and whether the end has come.
fn read_all(socket: &WebSocket, pipe: &Pipe) -> io::Result<(Vec<u8>, bool)> {
    let mut all = Vec::new();
    let mut piece = [0; 1000];
    loop {
        match socket.try_read(&mut piece) {
            Ok(0) => return Ok((all, true)),
            Ok(count) => all.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if pipe.said.lock().is_empty() => return Ok((all, false)),
            Err(_) => {}
        }
    }
}

#[test]
fn frames_arrive_whole_in_whatever_pieces_they_come() {
    let long: Vec<u8> = (0..70_000_u32).map(|n| n as u8).collect();
    let said = [
        masked(BINARY, b"one, "),
        masked(LAST | PING, b"are you there?"),
        masked(LAST | CONTINUATION, b"two"),
        masked(LAST | BINARY, b""),
        masked(LAST | BINARY, &long[..300]),
        masked(LAST | PONG, b"unasked"),
        masked(LAST | BINARY, &long),
        masked(LAST | CLOSE, &[3, 0xe8]),
        masked(LAST | BINARY, b"too late"),
    ];
    for piece in [1, 7, 1 << 20] {
        let (socket, pipe) = socket(said.concat(), piece, false);
        let (all, is_over) = read_all(&socket, pipe).unwrap();
        assert!(is_over);
        assert_eq!(all, [b"one, two", &long[..300], &long[..]].concat());
        let pong = [&[LAST | PONG, 14][..], b"are you there?"].concat();
        assert_eq!(*pipe.taken.lock(), pong);
    }
}

#[test]
fn what_is_no_frame_ends_the_connection() {
    let unmasked = vec![LAST | BINARY, 1, 7];
    let reserved = masked(LAST | BINARY | 0x40, b"x");
    let text = masked(LAST | 1, b"x");
    let unknown = masked(LAST | 11, b"x");
    let long_ping = masked(LAST | PING, &[0; 126]);
    let ping_in_pieces = masked(PING, b"x");
    for said in [
        unmasked,
        reserved,
        text,
        unknown,
        long_ping,
        ping_in_pieces,
        b"GET / HTTP/1.1\r\n".to_vec(),
    ] {
        let (socket, pipe) = socket(said, 1 << 20, false);
        let error = read_all(&socket, pipe).unwrap_err();
        assert!(NoFrame::is_in(&error), "{error}");
    }
}

#[test]
fn frames_without_data_hold_nobody_up_and_end_the_connection() {
    for frame in [
        masked(LAST | PING, b""),
        masked(LAST | PONG, b""),
        masked(CONTINUATION, b""),
        masked(LAST | BINARY, b""),
    ] {
        let (socket, pipe) = socket(frame.repeat(1000), frame.len(), false);
        let mut bytes = [0; 10];
        for _ in 0..MOST_VAIN {
            // One of them at a time, though there are more.
            let error = socket.try_read(&mut bytes).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        let error = socket.try_read(&mut bytes).unwrap_err();
        assert!(NoFrame::is_in(&error), "{error}");
        assert!(!pipe.said.lock().is_empty());
    }
}

#[test]
fn a_frame_that_claims_everything_costs_one_buffer() {
    let mut said = vec![LAST | BINARY, 0x80 | 127];
    said.extend(u64::MAX.to_be_bytes());
    said.extend([0; 4]);
    said.extend(vec![9; 3 << 20]);
    let (socket, pipe) = socket(said, 1 << 20, false);
    let (all, is_over) = read_all(&socket, pipe).unwrap();
    assert_eq!((all.len(), is_over), (3 << 20, false));
    assert!(socket.incoming.lock().buffer.len() <= MOST);
}

#[test]
fn what_is_written_goes_out_in_frames_however_little_is_taken_at_once() {
    let bytes: Vec<u8> = (0..150_000_u32).map(|n| n as u8).collect();
    for (piece, is_narrow) in [(1 << 20, false), (1000, true), (3, true)] {
        let (socket, pipe) = socket(masked(LAST | PING, b"?"), piece, is_narrow);
        let _ = read_all(&socket, pipe).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (a, b) = rest[..rest.len().min(70_000)].split_at(rest.len().min(10));
            match socket.try_write(&[IoSlice::new(a), IoSlice::new(b)]) {
                Ok(count) => rest = &rest[count..],
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        let taken = pipe.taken.lock().clone();
        assert_eq!(taken[..3], [LAST | PONG, 1, b'?']);
        let mut frames = &taken[3..];
        let mut data = Vec::new();
        while let &[first, short, ..] = frames {
            assert_eq!(first, LAST | BINARY);
            let (len, head) = match short {
                126 => (u16::from_be_bytes([frames[2], frames[3]]) as usize, 4),
                127 => (
                    u64::from_be_bytes(frames[2..10].try_into().unwrap()) as usize,
                    10,
                ),
                len => (len as usize, 2),
            };
            assert!(len <= MOST_FRAME);
            data.extend_from_slice(&frames[head..head + len]);
            frames = &frames[head + len..];
        }
        assert_eq!(data, bytes);
    }
}
