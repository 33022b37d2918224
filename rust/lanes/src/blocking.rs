//! A daemon's end of a connection that is a socket of the system's.

use std::fmt::Debug;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{Dialled, HostWatch, Passed, Wake, lane};

/// A blocking socket of the operating system.
pub(crate) trait Socket: Send + Sync + Debug {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn reader(&self) -> impl Read;
    fn read_now(&self, into: &mut [u8]) -> io::Result<usize>;
    fn read_passed(&self, into: &mut [u8]) -> io::Result<(usize, Option<Passed>)> {
        Ok((self.reader().read(into)?, None))
    }
    fn passes(&self) -> bool {
        false
    }
    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    fn write_now(&self, _parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn shutdown(&self, how: Shutdown);
    fn wait(&self, host: &HostWatch) -> Wake;
    fn host_pid(&self) -> Option<u32>;
    fn notices_silence(&self) -> bool;
    fn set_silence(&self, _silence: Duration) {}
}

impl Socket for lane::Stream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        lane::Stream::set_read_timeout(self, timeout)
    }

    fn reader(&self) -> impl Read {
        self
    }

    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        lane::receive_now(self, into)
    }

    #[cfg(target_os = "linux")]
    fn read_passed(&self, into: &mut [u8]) -> io::Result<(usize, Option<Passed>)> {
        lane::receive_passed(self, into)
    }

    #[cfg(target_os = "linux")]
    fn passes(&self) -> bool {
        true
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        lane::send(self, parts)
    }

    #[cfg(target_os = "linux")]
    fn write_now(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        lane::send_now(self, parts)
    }

    fn shutdown(&self, how: Shutdown) {
        let _ = lane::Stream::shutdown(self, how);
    }

    fn wait(&self, host: &HostWatch) -> Wake {
        host.wait_beside(self)
    }

    fn host_pid(&self) -> Option<u32> {
        lane::hub_pid(self)
    }

    fn notices_silence(&self) -> bool {
        true
    }
}

/// A dialled connection over such a socket, whose calls block in the operating system.
#[derive(Debug)]
pub(crate) struct Blocking<S> {
    socket: S,
    /// The socket has a timeout, which only its reader changes.
    has_timeout: AtomicBool,
}

impl<S: Socket> Blocking<S> {
    pub(crate) fn new(socket: S) -> Blocking<S> {
        Blocking {
            socket,
            has_timeout: AtomicBool::new(false),
        }
    }

    /// A system call only where the deadlines of two reads differ in kind, as hardly any read has one.
    fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        if deadline.is_none() && !self.has_timeout.load(Ordering::Relaxed) {
            return Ok(());
        }
        let rest = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if rest.is_some_and(|rest| rest.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Zero would mean none: a timeout below the resolution is rounded up.
        let rest = rest.map(|rest| rest.max(Duration::from_micros(1)));
        self.socket.set_read_timeout(rest)?;
        self.has_timeout.store(rest.is_some(), Ordering::Relaxed);
        Ok(())
    }
}

impl<S: Socket> Dialled for Blocking<S> {
    fn read(&self, into: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        self.set_deadline(deadline)?;
        self.socket.reader().read(into)
    }

    /// Reads all of `limit`, unless the stream ends or its timeout passes before.
    fn read_append(
        &self,
        into: &mut Vec<u8>,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        self.set_deadline(deadline)?;
        let before = into.len();
        let result = self.socket.reader().take(limit as u64).read_to_end(into);
        match into.len() - before {
            0 => result,
            count => Ok(count),
        }
    }

    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.read_now(into)
    }

    fn read_passed(
        &self,
        into: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<(usize, Option<Passed>)> {
        self.set_deadline(deadline)?;
        self.socket.read_passed(into)
    }

    fn passes(&self) -> bool {
        self.socket.passes()
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write(parts)
    }

    fn write_now(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_now(parts)
    }

    fn wait(&self, host: &HostWatch) -> Wake {
        self.socket.wait(host)
    }

    fn end_reading(&self) {
        self.socket.shutdown(Shutdown::Read);
    }

    fn shutdown(&self) {
        self.socket.shutdown(Shutdown::Both);
    }

    fn host_pid(&self) -> Option<u32> {
        self.socket.host_pid()
    }

    fn notices_silence(&self) -> bool {
        self.socket.notices_silence()
    }

    fn set_silence(&self, silence: Duration) {
        self.socket.set_silence(silence);
    }
}
