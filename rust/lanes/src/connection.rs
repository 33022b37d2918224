//! The traits behind which a lane's connections are used: `Connection` by the hub, `Dialled` by a daemon.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::{HostWatch, LaneError, Passed, Wake};

/// A connection as the hub sees it: readable and writable without blocking, from any thread.
///
/// The `try_` methods may be called from any thread, also outside the hub's runtime; the `poll_` methods only from
/// tasks of the runtime, one at a time for each direction.
pub trait Connection: Send + Sync + std::fmt::Debug {
    /// Ready when [`try_read`](Self::try_read) may succeed.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ready when [`try_write`](Self::try_write) may succeed.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Reads into initialised memory; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; otherwise the connection is broken.
    fn try_read(&self, into: &mut [u8]) -> io::Result<usize>;
    /// Appends to a vector with spare capacity, at most `limit` bytes; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// As for [`try_read`](Self::try_read).
    fn try_read_append(&self, into: &mut Vec<u8>, limit: usize) -> io::Result<usize>;
    /// Writes what fits now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; otherwise the connection is broken.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Whether descriptors can go along with bytes.
    fn passes(&self) -> bool {
        false
    }
    /// As [`try_write`](Self::try_write), with a descriptor along with the first byte.
    ///
    /// # Errors
    /// As for [`try_write`](Self::try_write).
    fn try_write_passing(&self, _parts: &[IoSlice<'_>], _passed: &Passed) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Ends the connection in both directions; a peer sees the end of the stream even while copies of the descriptor
    /// live on elsewhere.
    fn shutdown(&self);
    /// The connection that carries this one, which then answers what follows.
    fn below(&self) -> Option<&dyn Connection> {
        None
    }
    /// Process id of the peer on this machine, where the lane knows it.
    fn peer_pid(&self) -> Option<u32> {
        self.below()?.peer_pid()
    }
    /// Whether the connection breaks by itself when the peer's machine has not answered for [`SILENCE`], whatever lies between.
    /// Where it does not, the hub asks.
    fn notices_silence(&self) -> bool {
        self.below().is_some_and(|below| below.notices_silence())
    }
    /// Breaks the connection when the next machine on the way has not answered for so long, instead of [`SILENCE`]. Where the lane
    /// does not notice that, nothing changes.
    fn set_silence(&self, silence: Duration) {
        if let Some(below) = self.below() {
            below.set_silence(silence);
        }
    }
    /// Where the peer is, over a network.
    fn peer(&self) -> Option<SocketAddr> {
        self.below()?.peer()
    }
}

/// A connection is taken for broken when the other machine has not answered for this long.
pub const SILENCE: Duration = Duration::from_secs(15);

/// How long a daemon looks for its host after a break: longer, as the host may be asleep.
pub const HOST_SILENCE: Duration = Duration::from_secs(300);

/// A daemon's end of a connection: blocking, and used by two threads at most, of which one reads.
pub trait Dialled: Send + Sync + std::fmt::Debug {
    /// Reads what comes next, by `deadline`; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `TimedOut` or `WouldBlock` when the deadline passed, `Interrupted` when a signal came; otherwise the connection is
    /// broken.
    fn read(&self, into: &mut [u8], deadline: Option<Instant>) -> io::Result<usize>;
    /// Appends to a vector with spare capacity what comes next, at most `limit` bytes and as many of them as the lane can
    /// wait for; otherwise as [`read`](Self::read).
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn read_append(
        &self,
        into: &mut Vec<u8>,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<usize>;
    /// Reads what has come, without waiting where the platform can.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; otherwise as for [`read`](Self::read).
    fn read_now(&self, into: &mut [u8]) -> io::Result<usize>;
    /// As [`read`](Self::read), with the descriptor that may have come along.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn read_passed(
        &self,
        into: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<(usize, Option<Passed>)> {
        Ok((self.read(into, deadline)?, None))
    }
    /// Whether descriptors come along with bytes, and the system can wake the thread that [waits](Self::wait).
    fn passes(&self) -> bool {
        false
    }
    /// Writes what fits now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits, or where the lane cannot know; otherwise as for [`write`](Self::write).
    fn write_now(&self, _parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    /// Writes some bytes, waiting until the peer takes them; never raises SIGPIPE.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Waits until there is something to read, the host's process has ended or the [alarm](crate::Alarm) has gone off; what can
    /// be read comes first.
    fn wait(&self, host: &HostWatch) -> Wake;
    /// A reader, now or later, sees the end of the stream; what is written still goes out.
    fn end_reading(&self);
    /// Ends the connection in both directions.
    fn shutdown(&self);
    /// Process id of the hub on this machine, where the lane knows it.
    fn host_pid(&self) -> Option<u32>;
    /// As [`Connection::notices_silence`]: where it does not, the hub's questions are what comes.
    fn notices_silence(&self) -> bool;
    /// As [`Connection::set_silence`].
    fn set_silence(&self, _silence: Duration) {}
}

/// Reading, and waiting until reading or writing can go on, of [`Connection`] for a type whose field `stream` is one of
/// tokio's, which have these functions but no trait for them.
macro_rules! reads_from_tokio {
    () => {
        fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.stream.poll_read_ready(cx)
        }

        fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.stream.poll_write_ready(cx)
        }

        fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
            self.stream.try_read(into)
        }

        fn try_read_append(&self, into: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
            self.stream
                .try_read_buf(&mut bytes::BufMut::limit(into, limit))
        }
    };
}
pub(crate) use reads_from_tokio;

/// A connection whose peer has begun to speak: resolves when it has proved who it is, however long that takes, or with
/// [`LaneError::is_stranger`] when it is turned away. Dropping it ends the connection.
pub type Proof = Pin<Box<dyn Future<Output = Result<Box<dyn Connection>, LaneError>> + Send>>;

/// Resolves when a peer has begun to speak.
pub(crate) type Spoken = Pin<Box<dyn Future<Output = Result<Proof, LaneError>> + Send>>;
