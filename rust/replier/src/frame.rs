//! What goes over the connection, as bytes.
//!
//! Each side begins with a header of 8 bytes that names its protocol. Then come messages: one byte that is 1, the length as
//! eight bytes, big end first, and the body. That of a request begins with four bytes, its number with the highest bit set,
//! which the reply repeats.

use std::io::{self, Read};

use crate::ReplierError;

/// Numbers of the protocols, from the registry of Scalability Protocols.
const REQUEST: u16 = 0x30;
const REPLY: u16 = 0x31;

/// What precedes a message: the kind, and the length.
const HEAD: usize = 9;
const KIND: u8 = 1;

/// The number of the request, and that of a task.
const REQUEST_LEN: usize = 4 + 8;

/// Set in the number of a request, which ends the path that it has taken.
const LAST: u32 = 1 << 31;

/// A request for a task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// To be repeated in the reply.
    pub id: u32,
    pub task: u64,
}

/// What the replying side says first.
pub(crate) fn greeting() -> [u8; 8] {
    header(REPLY)
}

fn header(protocol: u16) -> [u8; 8] {
    let [high, low] = protocol.to_be_bytes();
    [0, b'S', b'P', 0, high, low, 0, 0]
}

/// Reads what the requesting side says first.
pub(crate) fn read_greeting(from: &mut impl Read) -> Result<(), ReplierError> {
    let mut said = [0; 8];
    from.read_exact(&mut said)?;
    if said == header(REQUEST) {
        Ok(())
    } else {
        Err(ReplierError::Protocol)
    }
}

/// Reads the next request; `None` at the end of the stream.
pub(crate) fn read_request(from: &mut impl Read) -> Result<Option<Request>, ReplierError> {
    let mut bytes = [0; HEAD + REQUEST_LEN];
    match from.read_exact(&mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let (head, body) = bytes.split_at(HEAD);
    let (id, task) = body.split_at(4);
    let is_request = head[0] == KIND && head[1..] == (REQUEST_LEN as u64).to_be_bytes();
    match (
        id.try_into().map(u32::from_be_bytes),
        task.try_into().map(u64::from_be_bytes),
    ) {
        (Ok(id), Ok(task)) if is_request && id & LAST != 0 => Ok(Some(Request { id, task })),
        _ => Err(ReplierError::Request),
    }
}

/// The reply to a request, with this body.
pub(crate) fn reply(id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + 4 + body.len());
    bytes.push(KIND);
    bytes.extend_from_slice(&(4 + body.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: u32, task: u64) -> Vec<u8> {
        reply(id, &task.to_be_bytes())
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let bytes = [request(LAST | 7, 3), request(LAST, u64::MAX)].concat();
        let mut from = &bytes[..];
        let first = read_request(&mut from).unwrap();
        assert_eq!(
            first,
            Some(Request {
                id: LAST | 7,
                task: 3
            })
        );
        let second = read_request(&mut from).unwrap();
        assert_eq!(
            second,
            Some(Request {
                id: LAST,
                task: u64::MAX
            })
        );
        assert_eq!(read_request(&mut from).unwrap(), None);
    }

    #[test]
    fn anything_else_is_no_request() {
        let good = request(LAST | 7, 3);
        for (at, with) in [(0, 2), (1, 1), (8, 11), (8, 13), (9, 0)] {
            let mut bad = good.clone();
            bad[at] = with;
            let error = read_request(&mut &bad[..]).unwrap_err();
            assert!(matches!(error, ReplierError::Request), "{at}: {error}");
        }
        // The end amid a request is an end.
        assert_eq!(read_request(&mut &good[..10]).unwrap(), None);
    }

    #[test]
    fn only_a_requesting_socket_is_greeted() {
        read_greeting(&mut &header(REQUEST)[..]).unwrap();
        for other in [header(REPLY), *b"GET / HT"] {
            let error = read_greeting(&mut &other[..]).unwrap_err();
            assert!(matches!(error, ReplierError::Protocol), "{error}");
        }
    }
}
