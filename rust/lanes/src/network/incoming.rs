//! Bytes that have arrived on an NNG stream and have not been read yet.

use std::io;
use std::task::Waker;

use super::failure::Failure;

/// A reader's buffer at rest: several small messages, and little enough for thousands of connections.
pub(super) const SMALL: usize = 8 * 1024;

/// Limit of what is read ahead for one connection.
pub(super) const MOST: usize = 256 * 1024;

/// What has come in on a connection and has not been read yet: no I/O, only the bookkeeping.
///
/// A read by NNG fills the buffer; when all of it has been taken out, the next one begins. So a peer that sends without
/// being read costs one buffer.
#[derive(Debug)]
pub(super) struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    phase: Phase,
    /// This side reads no more.
    is_ended_here: bool,
    reader: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// NNG has the buffer.
    Reading,
    /// The buffer is here; `start..end` has not been taken out.
    Here,
    /// Nothing more will come.
    Over(Option<Failure>),
}

/// What to do after the lock on an [`Incoming`] is gone: read into this buffer.
#[must_use]
#[derive(Debug)]
pub(super) struct ReadOn(pub Vec<u8>);

impl Incoming {
    /// Nothing has come, and a read is to be begun.
    pub(super) fn new() -> (Incoming, ReadOn) {
        let incoming = Incoming {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            phase: Phase::Reading,
            is_ended_here: false,
            reader: None,
        };
        (incoming, ReadOn(vec![0; SMALL]))
    }

    /// Takes bytes out with `copy`, which is given those that are there. `Ok(0)` is the end of the stream.
    pub(super) fn take(
        &mut self,
        copy: impl FnOnce(&[u8]) -> usize,
    ) -> (io::Result<usize>, Option<ReadOn>) {
        if self.is_ended_here {
            return (Ok(0), None);
        }
        match self.phase {
            Phase::Reading => (Err(io::ErrorKind::WouldBlock.into()), None),
            Phase::Over(None) => (Ok(0), None),
            Phase::Over(Some(failure)) => (Err(failure.into()), None),
            Phase::Here => {
                let count = copy(&self.buffer[self.start..self.end]);
                self.start += count;
                (Ok(count), self.read_on())
            }
        }
    }

    /// The buffer for the next read, once this one is empty. It grows while it is filled and shrinks when it is not.
    fn read_on(&mut self) -> Option<ReadOn> {
        if self.start < self.end {
            return None;
        }
        let len = self.buffer.len();
        let next = if self.end == len {
            (2 * len).min(MOST)
        } else if self.end < len / 8 {
            SMALL
        } else {
            len
        };
        self.phase = Phase::Reading;
        let buffer = std::mem::take(&mut self.buffer);
        Some(ReadOn(if next == len { buffer } else { vec![0; next] }))
    }

    /// Takes in the result of a read. Returns the waker of whoever waits.
    pub(super) fn came(
        &mut self,
        buffer: Vec<u8>,
        result: Result<usize, Failure>,
    ) -> Option<Waker> {
        match result {
            // NNG ends a read early rather than with nothing, except at the end of a TLS stream.
            Ok(0) => self.phase = Phase::Over(None),
            Ok(count) => {
                self.end = count.min(buffer.len());
                self.start = 0;
                self.buffer = buffer;
                self.phase = Phase::Here;
            }
            Err(failure) => {
                self.phase = Phase::Over((!failure.is_end()).then_some(failure));
            }
        }
        self.reader.take()
    }

    /// Lets readers see the end of the stream from now on. Returns the waker of whoever waits.
    pub(super) fn end(&mut self) -> Option<Waker> {
        self.is_ended_here = true;
        self.reader.take()
    }

    /// Whether [`take`](Self::take) has an answer now; otherwise `waker` is woken when it may have one.
    pub(super) fn is_ready_or_wakes(&mut self, waker: &Waker) -> bool {
        if self.is_ended_here || self.phase != Phase::Reading {
            return true;
        }
        match &mut self.reader {
            Some(reader) => reader.clone_from(waker),
            None => self.reader = Some(waker.clone()),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> (Incoming, Vec<u8>) {
        let (incoming, ReadOn(buffer)) = Incoming::new();
        (incoming, buffer)
    }

    fn take(incoming: &mut Incoming, most: usize) -> (io::Result<usize>, Option<Vec<u8>>) {
        let (count, next) = incoming.take(|bytes| bytes.len().min(most));
        (count, next.map(|ReadOn(buffer)| buffer))
    }

    #[test]
    fn what_came_is_taken_out_before_the_next_read() {
        let (mut incoming, buffer) = reading();
        let (nothing, next) = take(&mut incoming, 10);
        assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(next.is_none());

        incoming.came(buffer, Ok(15));
        let (count, next) = take(&mut incoming, 10);
        assert!(count.unwrap() == 10 && next.is_none());
        let (count, next) = take(&mut incoming, 10);
        assert!(count.unwrap() == 5 && next.is_some());
        assert!(take(&mut incoming, 10).0.is_err());
    }

    #[test]
    fn the_buffer_follows_what_comes_within_its_bounds() {
        let (mut incoming, mut buffer) = reading();
        for _ in 0..10 {
            let len = buffer.len();
            incoming.came(buffer, Ok(len));
            buffer = take(&mut incoming, usize::MAX).1.expect("the next read");
        }
        assert_eq!(buffer.len(), MOST);
        incoming.came(buffer, Ok(100));
        buffer = take(&mut incoming, usize::MAX).1.expect("the next read");
        assert_eq!(buffer.len(), SMALL);
    }

    #[test]
    fn a_closed_connection_ends_and_a_broken_one_fails() {
        for (result, ends) in [
            (Ok(0), true),
            (Err(Failure::CLOSED), true),
            (Err(Failure::NO_MEMORY), false),
        ] {
            let (mut incoming, buffer) = reading();
            incoming.came(buffer, result);
            let (read, next) = take(&mut incoming, 10);
            assert_eq!(matches!(read, Ok(0)), ends);
            assert!(next.is_none());
        }
    }

    #[test]
    fn ending_here_needs_no_peer() {
        let (mut incoming, buffer) = reading();
        assert!(!incoming.is_ready_or_wakes(Waker::noop()));
        assert!(incoming.end().is_some());
        assert!(incoming.is_ready_or_wakes(Waker::noop()));
        assert_eq!(take(&mut incoming, 10).0.unwrap(), 0);
        incoming.came(buffer, Ok(5));
        assert_eq!(take(&mut incoming, 10).0.unwrap(), 0);
    }
}
