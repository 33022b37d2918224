use std::io::{self, IoSlice, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{Dialled, HostWatch, Wake, lane};

/// A dialled connection that is a socket of the system's: what is waited for is waited for there.
#[derive(Debug)]
pub(crate) struct Blocking {
    stream: lane::Stream,
    /// The socket has a timeout, which only its reader changes.
    has_timeout: AtomicBool,
}

impl Blocking {
    pub(crate) fn new(stream: lane::Stream) -> Blocking {
        Blocking {
            stream,
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
        self.stream.set_read_timeout(rest)?;
        self.has_timeout.store(rest.is_some(), Ordering::Relaxed);
        Ok(())
    }
}

impl Dialled for Blocking {
    fn read(&self, into: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        self.set_deadline(deadline)?;
        (&self.stream).read(into)
    }

    /// The whole rest, unless the stream ends or its timeout passes before.
    fn read_append(
        &self,
        into: &mut Vec<u8>,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        self.set_deadline(deadline)?;
        let before = into.len();
        let result = (&self.stream).take(limit as u64).read_to_end(into);
        match into.len() - before {
            0 => result,
            count => Ok(count),
        }
    }

    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        lane::receive_now(&self.stream, into)
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        lane::send(&self.stream, parts)
    }

    fn wait(&self, host: &HostWatch) -> Wake {
        host.wait_beside(&self.stream)
    }

    fn end_reading(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Read);
    }

    fn shutdown(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn host_pid(&self) -> Option<u32> {
        lane::hub_pid(&self.stream)
    }
}
