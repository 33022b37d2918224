//! Why bytes from a peer are refused.

use thiserror::Error;

/// Why bytes from a peer were not accepted. Each of these ends the connection; a retry with the same bytes fails alike.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum WireError {
    /// The first bytes are not those of a mirai peer.
    #[error("the peer does not speak the mirai protocol")]
    NotMirai,
    /// The peer speaks another version of the protocol.
    #[error("the peer speaks protocol version {theirs}, not {ours}")]
    Version {
        /// Version of the peer.
        theirs: u16,
        /// Version of this library.
        ours: u16,
    },
    /// A header is longer than any message of this version.
    #[error("a header of {len} bytes exceeds the limit of {limit}")]
    HeaderTooLong {
        /// Announced length in bytes.
        len: u64,
        /// Limit in bytes.
        limit: u64,
    },
    /// A payload is longer than this side accepts at this point.
    #[error("a payload of {len} bytes exceeds the limit of {limit}")]
    PayloadTooLong {
        /// Announced length in bytes.
        len: u64,
        /// Limit in bytes.
        limit: u64,
    },
    /// A header does not decode to a message.
    #[error("a header does not decode to a message")]
    BadHeader,
    /// A payload does not decode to an [`Origin`](crate::Origin).
    #[error("a payload does not decode to an origin")]
    BadOrigin,
}
