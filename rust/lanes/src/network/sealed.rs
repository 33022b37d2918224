//! Connections whose bytes travel in records that nobody on the way can change.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use mirai_handshake::{HandshakeError, Keys, MAX_PLAIN, Opener, Sealer};
use parking_lot::Mutex;

use crate::{Connection, Dialled, HostWatch, Wake};

/// The hub's end of one.
///
/// The lock of a direction is held while bytes are read from or written to the connection below, which never waits.
#[derive(Debug)]
pub(super) struct Sealed {
    below: Box<dyn Connection>,
    sealing: Mutex<Sealing>,
    opener: Mutex<Opener>,
}

/// A record under way: the writer tries again with the bytes that are in it, until it has been written.
#[derive(Debug)]
struct Sealing {
    sealer: Sealer,
    record: Vec<u8>,
    written: usize,
    plain: usize,
}

impl Sealing {
    fn new(sealer: Sealer) -> Mutex<Sealing> {
        Mutex::new(Sealing {
            sealer,
            record: Vec::new(),
            written: 0,
            plain: 0,
        })
    }

    /// Seals the beginning of `parts`, unless a record is under way.
    fn seal(&mut self, parts: &[IoSlice<'_>]) {
        if self.plain > 0 {
            return;
        }
        let plain = first(parts, MAX_PLAIN);
        let (len, tag) = self.sealer.seal(&plain);
        self.record.clear();
        self.record.extend_from_slice(&len);
        for part in &plain {
            self.record.extend_from_slice(part);
        }
        self.record.extend_from_slice(&tag);
        self.written = 0;
        self.plain = plain.iter().map(|part| part.len()).sum();
    }

    /// Writes what is left of the record; how many bytes of the writer's were in it.
    fn write(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        while self.written < self.record.len() {
            match write(&[IoSlice::new(&self.record[self.written..])])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.written += count,
            }
        }
        Ok(std::mem::take(&mut self.plain))
    }
}

impl Sealed {
    pub(super) fn new(below: Box<dyn Connection>, keys: &Keys) -> Sealed {
        Sealed {
            below,
            sealing: Sealing::new(Sealer::of_hub(keys)),
            opener: Mutex::new(Opener::of_daemon(keys)),
        }
    }

    fn take(&self, copy: impl FnOnce(&[u8]) -> usize) -> io::Result<usize> {
        let mut opener = self.opener.lock();
        while !opener.is_ready() {
            let room = opener.room().map_err(forged)?;
            match self.below.try_read(room)? {
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
pub(super) fn first<'a>(parts: &'a [IoSlice<'_>], mut limit: usize) -> Vec<&'a [u8]> {
    let cut = |part: &'a IoSlice<'_>| {
        let part = &part[..part.len().min(limit)];
        limit -= part.len();
        part
    };
    parts.iter().map(cut).collect()
}

pub(super) fn is_empty(parts: &[IoSlice<'_>]) -> bool {
    parts.iter().all(|part| part.is_empty())
}

/// Copies what fits.
pub(super) fn copy_into(into: &mut [u8]) -> impl FnOnce(&[u8]) -> usize {
    |bytes| {
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        count
    }
}

/// Appends `limit` bytes at most, without growing the vector.
pub(super) fn append_to(into: &mut Vec<u8>, limit: usize) -> impl FnOnce(&[u8]) -> usize {
    let room = (into.capacity() - into.len()).min(limit);
    move |bytes| {
        let count = bytes.len().min(room);
        into.extend_from_slice(&bytes[..count]);
        count
    }
}

impl Connection for Sealed {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.opener.lock().is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.below.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_writable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.take(copy_into(into))
    }

    fn try_read_append(&self, into: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
        self.take(append_to(into, limit))
    }

    /// After `WouldBlock` the same bytes have to be offered again: some of them may be on their way.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if is_empty(parts) {
            return Ok(0);
        }
        let mut sealing = self.sealing.lock();
        sealing.seal(parts);
        sealing.write(|record| self.below.try_write(record))
    }

    fn shutdown(&self) {
        self.below.shutdown();
    }

    fn below(&self) -> Option<&dyn Connection> {
        Some(&*self.below)
    }
}

/// A daemon's end of one.
#[derive(Debug)]
pub(super) struct SealedDialled {
    below: Arc<dyn Dialled>,
    /// Held while a record is written, for which only another writer would wait.
    sealing: Mutex<Sealing>,
    opener: Mutex<Opener>,
}

/// Read at once from below.
const PIECE: usize = 16 * 1024;

impl SealedDialled {
    pub(super) fn new(below: Arc<dyn Dialled>, keys: &Keys) -> SealedDialled {
        SealedDialled {
            below,
            sealing: Sealing::new(Sealer::of_daemon(keys)),
            opener: Mutex::new(Opener::of_hub(keys)),
        }
    }

    /// Takes bytes out with `copy`, after as many calls of `read` as that needs; these run without a lock.
    fn take(
        &self,
        copy: impl FnOnce(&[u8]) -> usize,
        read: impl Fn(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut piece = [0; PIECE];
        loop {
            let room = {
                let mut opener = self.opener.lock();
                if opener.is_ready() {
                    return opener.take(copy).map_err(forged);
                }
                opener.room().map_err(forged)?.len().min(PIECE)
            };
            let count = read(&mut piece[..room])?;
            if count == 0 {
                return Ok(0);
            }
            // Only one thread reads: the room is what it was.
            let mut opener = self.opener.lock();
            opener.room().map_err(forged)?[..count].copy_from_slice(&piece[..count]);
            opener.filled(count);
        }
    }
}

impl Dialled for SealedDialled {
    fn read(&self, into: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        self.take(copy_into(into), |piece| self.below.read(piece, deadline))
    }

    fn read_append(
        &self,
        into: &mut Vec<u8>,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        self.take(append_to(into, limit), |piece| {
            self.below.read(piece, deadline)
        })
    }

    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        self.take(copy_into(into), |piece| self.below.read_now(piece))
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if is_empty(parts) {
            return Ok(0);
        }
        let mut sealing = self.sealing.lock();
        sealing.seal(parts);
        sealing.write(|record| self.below.write(record))
    }

    fn wait(&self, host: &HostWatch) -> Wake {
        match self.opener.lock().is_ready() {
            true => Wake::Readable,
            false => self.below.wait(host),
        }
    }

    fn end_reading(&self) {
        self.below.end_reading();
    }

    fn shutdown(&self) {
        self.below.shutdown();
    }

    fn host_pid(&self) -> Option<u32> {
        self.below.host_pid()
    }

    fn notices_silence(&self) -> bool {
        self.below.notices_silence()
    }

    fn set_silence(&self, silence: Duration) {
        self.below.set_silence(silence);
    }
}
