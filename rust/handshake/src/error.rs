//! Why a handshake or a record is refused.

use thiserror::Error;

use crate::VERSION;

/// Why a handshake failed. The connection is of no further use.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// The peer's first bytes are not those of a handshake.
    #[error("the peer does not speak the mirai protocol")]
    NotMirai,
    /// The peer has another version of the handshake.
    #[error("the peer runs another version of mirai (handshake {theirs}, not {VERSION})")]
    Version {
        /// Version of the peer.
        theirs: u16,
    },
    /// The hub asks for a token, and the daemon has none.
    #[error("the host asks for a token, which is in the environment variable MIRAI_TOKEN")]
    TokenWanted,
    /// The daemon has a token, and the hub asks for none: it may be an impostor.
    #[error("the host does not ask for the token that was given, so it may not be the right one")]
    TokenIgnored,
    /// The peer does not know the token, or its messages were changed on the way.
    #[error("the peer does not know the token")]
    Unproven,
    /// A record was changed, left out or repeated on the way, or is malformed.
    #[error("what came is not what the peer has sent")]
    Forged,
}
