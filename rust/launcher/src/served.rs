//! What comes of serving forks.

use std::io;
use thiserror::Error;

/// Why [`serve_forks`](crate::serve_forks) returned.
#[derive(Debug)]
pub enum Served {
    /// This is a new process: the forked daemon, which is to run this R code and end.
    Child {
        /// The R code, as given to [`Launcher::launch`](crate::Launcher::launch).
        code: String,
    },
    /// This is still the server: the host is gone or has let it go, and no daemon is left.
    /// The process is to end.
    Finished,
}

/// Errors of [`serve_forks`](crate::serve_forks).
#[derive(Debug, Error)]
pub enum ServeError {
    /// Fork servers exist on Linux only.
    #[error("fork servers are not supported on this platform")]
    Unsupported,
    /// The descriptor is not the socket that `mirai-daemon` provides.
    #[error("descriptor {0} is not a launcher's socket: this is for mirai-daemon to call")]
    NotStarted(i32),
    /// The host sent something that is not of this protocol.
    #[error("unexpected message from the host")]
    Protocol,
    /// The operating system refused.
    #[error("fork server: {0}")]
    Io(#[from] io::Error),
}
