//! The answering side of NNG's request-reply protocol, for one NNG socket of the same process.
//!
//! A library with a copy of NNG of its own may live in the process, and hand out objects that resolve when a request of its
//! socket is answered. [`Replier`] gives it something to dial: what it asks names a task by number, and the answer comes when
//! the task has settled. Nothing of that library is linked or known here but the bytes that its socket speaks over a Unix
//! socket: the protocol of Scalability Protocols, and their mapping for stream sockets of NNG (`ipc`).
//!
//! Only this process may connect, and once.

#[cfg(unix)]
mod connection;
#[cfg(unix)]
mod frame;
#[cfg(unix)]
mod replier;
mod ticket;

#[cfg(unix)]
pub use replier::Replier;
pub use ticket::Ticket;

use std::io;
use thiserror::Error;

/// Why nothing can be listened at, or what a peer did wrong.
#[derive(Debug, Error)]
pub enum ReplierError {
    /// The operating system refused a socket or a thread.
    #[error("requests cannot be answered: {0}")]
    Io(#[from] io::Error),
    /// The peer speaks another protocol.
    #[error("the peer is no socket for requests")]
    Protocol,
    /// The peer sent something that is no request for a task.
    #[error("the peer sent no request for a task")]
    Request,
}
