use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use mirai_handshake::{HandshakeError, MAX_PLAIN, OVERHEAD, Opener, Sealer};
use parking_lot::Mutex;

use super::duplex::{Duplex, append_to, copy_into};
use super::outgoing::LEAST_ROOM;
use super::parked::Lane;
use crate::Connection;

/// A connection whose bytes travel in records that nobody on the way can change.
///
/// The lock of a direction is held while bytes go to or come from the connection's buffers, which never waits.
#[derive(Debug)]
pub(super) struct Sealed {
    duplex: Duplex,
    sealer: Mutex<Sealer>,
    opener: Mutex<Opener>,
}

impl Sealed {
    pub(super) fn new(duplex: Duplex, sealer: Sealer, opener: Opener) -> Sealed {
        Sealed {
            duplex,
            sealer: Mutex::new(sealer),
            opener: Mutex::new(opener),
        }
    }

    fn take(&self, copy: impl FnOnce(&[u8]) -> usize) -> io::Result<usize> {
        let mut opener = self.opener.lock();
        while !opener.is_ready() {
            let room = opener.room().map_err(forged)?;
            match self.duplex.try_read(room)? {
                0 => return Ok(0),
                count => opener.filled(count),
            }
        }
        opener.take(copy).map_err(forged)
    }
}

fn forged(error: HandshakeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The beginning of `parts`, `limit` bytes at most.
fn first<'a>(parts: &'a [IoSlice<'_>], mut limit: usize) -> Vec<&'a [u8]> {
    let cut = |part: &'a IoSlice<'_>| {
        let part = &part[..part.len().min(limit)];
        limit -= part.len();
        part
    };
    parts.iter().map(cut).collect()
}

impl Connection for Sealed {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.opener.lock().is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.duplex.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.duplex.poll_writable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.take(copy_into(into))
    }

    fn try_read_append(&self, into: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
        self.take(append_to(into, limit))
    }

    /// Only whole records are written: there is room for one, or the writer waits.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut sealer = self.sealer.lock();
        let room = self.duplex.room()?;
        if room < LEAST_ROOM {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let plain = first(parts, MAX_PLAIN.min(room - OVERHEAD));
        let count = plain.iter().map(|part| part.len()).sum();
        if count == 0 {
            return Ok(0);
        }
        let (len, tag) = sealer.seal(&plain);
        let mut record = Vec::with_capacity(plain.len() + 2);
        record.push(IoSlice::new(&len));
        record.extend(plain.into_iter().map(IoSlice::new));
        record.push(IoSlice::new(&tag));
        // The room can only have grown, as writers wait for the lock.
        match self.duplex.try_write(&record)? {
            written if written == count + OVERHEAD => Ok(count),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn shutdown(&self) {
        self.duplex.shutdown();
    }

    fn peer_pid(&self) -> Option<u32> {
        None
    }
}

impl Lane for Sealed {
    fn end_reading(&self) {
        self.duplex.end_reading();
    }
}
