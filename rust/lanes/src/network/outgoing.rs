//! Bytes that wait to be sent on an NNG stream.

use std::io::{self, IoSlice};
use std::task::Waker;

use super::failure::Failure;

/// Limit of what waits for a peer that does not read, besides as much that NNG is sending.
pub(super) const MOST: usize = 128 * 1024;

/// A buffer beyond this is given back when nothing is left to send.
const SMALL: usize = 8 * 1024;

/// What is to be sent on a connection: no I/O, only the bookkeeping.
///
/// While NNG sends one buffer, another fills up to its bound; then the writer has to wait.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    queued: Vec<u8>,
    /// NNG has a buffer.
    is_sending: bool,
    /// Nothing more is accepted, and the connection ends when all is sent.
    is_closing: bool,
    broken: Option<Failure>,
    writer: Option<Waker>,
}

/// What to do after the lock on an [`Outgoing`] is gone.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// Send the bytes of this buffer from there on.
    Send(Vec<u8>, usize),
    /// Close the connection.
    Close,
}

impl Outgoing {
    /// How many bytes [`put`](Self::put) takes now.
    ///
    /// # Errors
    /// When it never takes any more.
    fn room(&self) -> io::Result<usize> {
        match self.broken {
            Some(failure) => Err(failure.into()),
            None if self.is_closing => Err(Failure::CLOSED.into()),
            None => Ok(MOST - self.queued.len()),
        }
    }

    /// Copies as much as there is room for.
    pub(super) fn put(&mut self, parts: &[IoSlice<'_>]) -> (io::Result<usize>, Then) {
        let mut room = match self.room() {
            Ok(0) => return (Err(io::ErrorKind::WouldBlock.into()), Then::Nothing),
            Ok(room) => room,
            Err(error) => return (Err(error), Then::Nothing),
        };
        let before = self.queued.len();
        for part in parts {
            let taken = part.len().min(room);
            self.queued.extend_from_slice(&part[..taken]);
            room -= taken;
        }
        let count = self.queued.len() - before;
        if count == 0 || self.is_sending {
            return (Ok(count), Then::Nothing);
        }
        self.is_sending = true;
        (Ok(count), Then::Send(std::mem::take(&mut self.queued), 0))
    }

    /// Sends zero bytes, to find out whether the connection still works; a send that is under way shows it, too.
    pub(super) fn probe(&mut self) -> Then {
        if self.is_sending || self.is_closing || self.broken.is_some() {
            return Then::Nothing;
        }
        self.is_sending = true;
        Then::Send(Vec::new(), 0)
    }

    /// A send that began at `from` has ended.
    pub(super) fn sent(
        &mut self,
        mut buffer: Vec<u8>,
        from: usize,
        result: Result<usize, Failure>,
    ) -> (Then, Option<Waker>) {
        let sent = match result {
            Ok(count) => from + count,
            Err(failure) => {
                self.is_sending = false;
                self.queued = Vec::new();
                self.broken = Some(failure);
                // What the peer has sent before may still be read.
                return (self.when_done(), self.writer.take());
            }
        };
        if sent < buffer.len() {
            return (Then::Send(buffer, sent), None);
        }
        buffer.clear();
        std::mem::swap(&mut self.queued, &mut buffer);
        if !buffer.is_empty() {
            return (Then::Send(buffer, 0), self.writer.take());
        }
        self.is_sending = false;
        if self.queued.capacity() > SMALL {
            self.queued = Vec::new();
        }
        (self.when_done(), self.writer.take())
    }

    fn when_done(&self) -> Then {
        if self.is_closing {
            Then::Close
        } else {
            Then::Nothing
        }
    }

    /// Accepts nothing more. Returns whether the connection can be closed at once, as nothing is left to send.
    pub(super) fn close(&mut self) -> (bool, Option<Waker>) {
        self.is_closing = true;
        (!self.is_sending, self.writer.take())
    }

    /// Whether [`put`](Self::put) has an answer now; otherwise `waker` is woken when it may have one.
    pub(super) fn is_ready_or_wakes(&mut self, waker: &Waker) -> bool {
        if self.room().map_or(true, |room| room > 0) {
            return true;
        }
        match &mut self.writer {
            Some(writer) => writer.clone_from(waker),
            None => self.writer = Some(waker.clone()),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(outgoing: &mut Outgoing, len: usize) -> (io::Result<usize>, Then) {
        let bytes = vec![7; len];
        let (head, body) = bytes.split_at(len / 3);
        outgoing.put(&[IoSlice::new(head), IoSlice::new(body)])
    }

    #[test]
    fn a_peer_that_does_not_read_costs_two_buffers() {
        let mut outgoing = Outgoing::default();
        let (count, then) = put(&mut outgoing, 10 * MOST);
        assert_eq!(count.unwrap(), MOST);
        let Then::Send(sending, 0) = then else {
            panic!("nothing is under way: {then:?}")
        };
        let (count, then) = put(&mut outgoing, 10 * MOST);
        assert!(count.unwrap() == MOST && then == Then::Nothing);
        assert!(!outgoing.is_ready_or_wakes(Waker::noop()));
        let (count, then) = put(&mut outgoing, 1);
        assert_eq!(count.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(then, Then::Nothing);

        // It reads a little, then all.
        let (then, writer) = outgoing.sent(sending, 0, Ok(1000));
        let Then::Send(sending, from) = then else {
            panic!("the rest is left: {then:?}")
        };
        assert!(from == 1000 && writer.is_none());
        let rest = sending.len() - from;
        let (then, writer) = outgoing.sent(sending, from, Ok(rest));
        let Then::Send(next, 0) = then else {
            panic!("the second buffer is left: {then:?}")
        };
        assert!(writer.is_some() && next.len() == MOST);
        assert!(outgoing.is_ready_or_wakes(Waker::noop()));
        let (then, _) = outgoing.sent(next, 0, Ok(MOST));
        assert!(then == Then::Nothing && outgoing.queued.capacity() <= SMALL);
    }

    #[test]
    fn closing_waits_for_what_is_under_way() {
        let mut outgoing = Outgoing::default();
        assert!(outgoing.close().0);
        let mut outgoing = Outgoing::default();
        let (_, Then::Send(sending, 0)) = put(&mut outgoing, 10) else {
            panic!("nothing is under way")
        };
        assert!(!outgoing.close().0);
        assert!(put(&mut outgoing, 10).0.is_err());
        assert_eq!(outgoing.sent(sending, 0, Ok(10)).0, Then::Close);
    }

    #[test]
    fn a_probe_sends_nothing_and_only_where_nothing_is_sent() {
        let mut outgoing = Outgoing::default();
        assert_eq!(outgoing.probe(), Then::Send(Vec::new(), 0));
        assert_eq!(outgoing.probe(), Then::Nothing);
        assert_eq!(put(&mut outgoing, 9).1, Then::Nothing);
        let (then, _) = outgoing.sent(Vec::new(), 0, Ok(0));
        assert_eq!(then, Then::Send(vec![7; 9], 0));
    }

    #[test]
    fn a_broken_connection_takes_nothing_and_keeps_nothing() {
        let mut outgoing = Outgoing::default();
        let (_, Then::Send(sending, 0)) = put(&mut outgoing, 10) else {
            panic!("nothing is under way")
        };
        put(&mut outgoing, 1000).0.unwrap();
        assert_eq!(
            outgoing.sent(sending, 0, Err(Failure::CLOSED)).0,
            Then::Nothing
        );
        assert!(outgoing.queued.is_empty());
        assert!(put(&mut outgoing, 10).0.is_err());
    }
}
