//! Why a daemon could not start or go on.

use std::io;

use mirai_lanes::{ErrorCode, LaneError, thread_hint};
use mirai_wire::{RefuseReason, WireError};
use thiserror::Error;

/// Why a daemon did not become one, or could not go on.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The hub cannot be reached.
    #[error(transparent)]
    Dial(#[from] LaneError),
    /// The hub turned the daemon away because the two disagree about the dispatcher.
    #[error("the host's daemons are set up with dispatcher = {}: use the same here", if *hub_is_direct { "FALSE" } else { "TRUE" })]
    Mode {
        /// The hub deals tasks directly.
        hub_is_direct: bool,
    },
    /// The hub turned the daemon away because it speaks another version of the protocol.
    #[error("the host runs another version of mirai")]
    Version,
    /// The hub turned the daemon away because its process can open no more files.
    #[error(
        "the host has as many files open as it may (see `ulimit -n` there), and takes no more daemons"
    )]
    Files,
    /// The daemon tried to return, and the hub does not know it, or not any more.
    #[error("the host does not know this daemon any more")]
    Forgotten,
    /// The hub sent something that is not a message.
    #[error("the host sent what is no message: {0}")]
    Wire(#[from] WireError),
    /// The hub sent a message out of turn.
    #[error("the host sent a message out of turn")]
    OutOfTurn,
    /// The process may have no more threads, or there is no memory for one.
    #[error("the daemon cannot start a thread: {0}{hint}", hint = thread_hint(.0))]
    Thread(#[source] io::Error),
    /// The operating system failed.
    #[error("the daemon's connection failed: {0}")]
    Io(#[from] io::Error),
}

impl WorkerError {
    /// The code that R users know this error by.
    pub fn code(&self) -> ErrorCode {
        match self {
            WorkerError::Dial(error) => error.code(),
            WorkerError::Mode { .. }
            | WorkerError::Version
            | WorkerError::Forgotten
            | WorkerError::Wire(_)
            | WorkerError::OutOfTurn => ErrorCode::PROTOCOL,
            WorkerError::Files => ErrorCode::OUT_OF_FILES,
            WorkerError::Io(error) if error.raw_os_error().is_none() || is_end(error) => {
                ErrorCode::ABORTED
            }
            // No room for a thread.
            WorkerError::Thread(_) => ErrorCode::OUT_OF_MEMORY,
            WorkerError::Io(error) => ErrorCode::of_io(error),
        }
    }
}

/// Whether this error is the end of a connection.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
            | Kind::NotConnected
    )
}

impl From<RefuseReason> for WorkerError {
    fn from(reason: RefuseReason) -> Self {
        match reason {
            RefuseReason::Mode { hub_is_direct } => WorkerError::Mode { hub_is_direct },
            RefuseReason::Version => WorkerError::Version,
            RefuseReason::Files => WorkerError::Files,
            RefuseReason::Forgotten => WorkerError::Forgotten,
            RefuseReason::Closing => WorkerError::Io(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_told_from_what_the_daemon_lacks() {
        let code = |error: io::Error| WorkerError::Io(error).code();
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            assert_eq!(code(kind.into()), ErrorCode::ABORTED);
        }
        // EMFILE, and EAGAIN: the same numbers on any Unix, or another error.
        assert_eq!(
            code(io::Error::from_raw_os_error(24)),
            ErrorCode::OUT_OF_FILES
        );
        assert_ne!(code(io::Error::from_raw_os_error(11)), ErrorCode::ABORTED);
    }
}
