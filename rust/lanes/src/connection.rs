use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use crate::{Address, LaneError, lane};

/// A connection as the hub sees it: readable and writable without blocking, from any thread.
///
/// The `try_` methods may be called from any thread, also outside the hub's runtime; the `poll_` methods only from
/// tasks of the runtime, one at a time for each direction.
pub trait Connection: Send + Sync + std::fmt::Debug {
    /// Ready when [`try_read`](Self::try_read) has a chance.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ready when [`try_write`](Self::try_write) has a chance.
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
    /// Ends the connection in both directions; a peer sees the end of the stream even while copies of the descriptor
    /// live on elsewhere.
    fn shutdown(&self);
    /// Process id of the peer on this machine, where the lane knows it.
    fn peer_pid(&self) -> Option<u32>;
}

/// Takes connections in. Peers have proved who they are when they come out of [`accept`](Self::accept).
#[derive(Debug)]
pub enum Listener {
    /// The platform's way within one machine.
    Local(lane::LocalListener),
}

impl Listener {
    /// The next connection of a peer that has proved itself.
    ///
    /// # Errors
    /// [`LaneError::is_stranger`] for a peer that is turned away (go on accepting), [`LaneError::Os`] when accepting
    /// itself failed (descriptors may have run out: pause before the next call).
    pub async fn accept(&mut self) -> Result<Box<dyn Connection>, LaneError> {
        match self {
            Listener::Local(listener) => listener.accept().await,
        }
    }

    /// The address with everything the system filled in.
    pub fn address(&self) -> &Address {
        match self {
            Listener::Local(listener) => listener.address(),
        }
    }
}

/// Listens at `address`; to be called inside a tokio runtime.
///
/// # Errors
/// [`LaneError`] as the operating system or the platform gives it.
pub fn listen(address: &Address) -> Result<Listener, LaneError> {
    Ok(Listener::Local(lane::LocalListener::bind(address)?))
}

/// A daemon's end of a connection: blocking.
pub type Dialled = lane::Stream;

/// Connects to the hub at `address`, and checks that it belongs to the same user.
///
/// # Errors
/// [`LaneError`], with code 6 when nobody listens.
pub fn dial(address: &Address) -> Result<Dialled, LaneError> {
    lane::dial(address)
}

/// Writes to a dialled connection, blocking, and never raises SIGPIPE; gives the number of bytes taken.
///
/// # Errors
/// As the operating system gives them.
pub fn send(stream: &Dialled, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    lane::send(stream, parts)
}

/// Reads what has come from a dialled connection, without waiting where the platform can; `Ok(0)` is the end of the
/// stream.
///
/// # Errors
/// `WouldBlock` when nothing is there; otherwise as the operating system gives them.
pub fn receive_now(stream: &Dialled, into: &mut [u8]) -> io::Result<usize> {
    lane::receive_now(stream, into)
}
