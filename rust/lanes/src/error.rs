use std::io;

use thiserror::Error;

use crate::Failure;

/// Why listening or dialling failed.
#[derive(Debug, Error)]
pub enum LaneError {
    /// The URL cannot be parsed.
    #[error("`{url}` is not a valid URL: {reason}")]
    Malformed {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The URL is well formed, but this build or platform has no such lane.
    #[error("`{url}`: this scheme is not supported here")]
    Unsupported {
        /// The URL as given.
        url: String,
    },
    /// The operating system refused.
    #[error("`{url}`: {source}")]
    Os {
        /// The URL as given.
        url: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The network lane failed.
    #[error("`{url}`: {failure}")]
    Network {
        /// The URL as given.
        url: String,
        /// Why it failed.
        failure: Failure,
    },
    /// The peer belongs to another user.
    #[error("the peer runs as another user (uid {uid})")]
    Stranger {
        /// The peer's user id.
        uid: u32,
    },
    /// The peer did not prove that it runs as the same user.
    #[error("the peer does not know the secret of this user's daemons")]
    Unproven,
}

impl LaneError {
    /// Whether a peer was turned away, which says nothing about the next one.
    pub fn is_stranger(&self) -> bool {
        matches!(self, LaneError::Stranger { .. } | LaneError::Unproven)
    }

    /// Whether nobody listens there now: a later attempt may succeed.
    pub fn is_absence(&self) -> bool {
        match self {
            LaneError::Network { failure, .. } => failure.is_absence(),
            other => other.code() == 6,
        }
    }

    /// The number R users know this error by: that of NNG's error of the same meaning.
    pub fn code(&self) -> i32 {
        match self {
            LaneError::Malformed { .. } => 3,
            LaneError::Unsupported { .. } => 9,
            LaneError::Stranger { .. } | LaneError::Unproven => 16,
            LaneError::Network { failure, .. } => failure.code(),
            LaneError::Os { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => 10,
                io::ErrorKind::AddrNotAvailable => 15,
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => 6,
                io::ErrorKind::PermissionDenied => 16,
                io::ErrorKind::OutOfMemory => 2,
                io::ErrorKind::StorageFull => 22,
                _ if source.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => 21,
                _ => 0x1000_0000 | source.raw_os_error().unwrap_or(0),
            },
        }
    }
}
