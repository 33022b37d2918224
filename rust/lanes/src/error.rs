//! Why listening or dialling failed, and the number that users know each failure by.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use mirai_handshake::HandshakeError;
use thiserror::Error;

use crate::{ErrorCode, Failure, Refusal, TlsFailure};

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
    /// The URL is well formed, but this build or platform has no lane for it.
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
    /// A daemon was turned away by its hub, or does not trust it.
    #[error("`{url}`: {}", refused(reason))]
    Refused {
        /// The URL as given.
        url: String,
        /// Why.
        reason: Refusal,
    },
    /// A hub has turned a peer away.
    #[error("{}: {reason}", named(peer))]
    TurnedAway {
        /// The peer's address, if it was still known.
        peer: Option<SocketAddr>,
        /// Why.
        reason: Refusal,
    },
    /// Certificates were given for an address without TLS.
    #[error("`{url}`: certificates are of use for tls+tcp:// and wss:// only")]
    NoTls {
        /// The URL as given.
        url: String,
    },
    /// A daemon has no certificate by which to recognise its hub.
    #[error("`{url}`: the host cannot be authenticated without its certificate (`tlscert`)")]
    NoCertificate {
        /// The URL as given.
        url: String,
    },
    /// Certificates or keys are invalid.
    #[error("the TLS certificate: {reason}")]
    Certificate {
        /// Why.
        reason: &'static str,
    },
    /// A file of certificates cannot be read.
    #[error("the file `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
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
        matches!(
            self,
            LaneError::Stranger { .. } | LaneError::Unproven | LaneError::TurnedAway { .. }
        )
    }

    /// Whether nobody listens there now: a later attempt may succeed.
    pub fn is_absence(&self) -> bool {
        match self {
            LaneError::Network { failure, .. } => failure.is_absence(),
            // A hub that is just closing, or one that is stuck.
            LaneError::Refused { reason, .. } => {
                matches!(reason, Refusal::Gone | Refusal::Late | Refusal::Io(_))
            }
            other => matches!(
                other.code(),
                ErrorCode::TIMED_OUT
                    | ErrorCode::REFUSED
                    | ErrorCode::UNREACHABLE
                    | ErrorCode::RESET
            ),
        }
    }

    /// The code that R users know this error by.
    pub fn code(&self) -> ErrorCode {
        match self {
            LaneError::Malformed { .. } => ErrorCode::INVALID,
            LaneError::Unsupported { .. } | LaneError::NoTls { .. } => ErrorCode::UNSUPPORTED,
            LaneError::Stranger { .. } | LaneError::Unproven => ErrorCode::PERMISSION,
            LaneError::Network { failure, .. } => failure.code(),
            LaneError::Refused { reason, .. } | LaneError::TurnedAway { reason, .. } => {
                refusal_code(reason)
            }
            LaneError::NoCertificate { .. } => ErrorCode::UNAUTHENTICATED,
            LaneError::Certificate { .. } => ErrorCode::CRYPTOGRAPHIC,
            LaneError::File { source, .. } => match ErrorCode::of_io(source) {
                code @ (ErrorCode::NOT_FOUND | ErrorCode::PERMISSION) => code,
                _ => ErrorCode::CRYPTOGRAPHIC,
            },
            // A socket that does not exist is one where nobody listens.
            LaneError::Os { source, .. } => match ErrorCode::of_io(source) {
                ErrorCode::NOT_FOUND => ErrorCode::REFUSED,
                code => code,
            },
        }
    }
}

/// The text of a refusal, for a daemon.
fn refused(reason: &Refusal) -> String {
    match reason {
        Refusal::Tls(TlsFailure::Rejected) => {
            "this daemon could not be authenticated: the host does not accept its certificate, or has got none".to_owned()
        }
        Refusal::Tls(TlsFailure::NoTls) => {
            "the host does not speak TLS: use tcp:// or ws://, or have it listen with TLS".to_owned()
        }
        Refusal::Tls(failure) => match failure.code() {
            ErrorCode::UNAUTHENTICATED => format!("the host could not be authenticated: {failure}"),
            _ => format!("TLS has failed with the host: {failure}"),
        },
        Refusal::WebTls(_) => "the host could not be authenticated: its certificate is not signed by what was given, \
            is for another host, or has expired; or it does not accept this daemon's certificate"
            .to_owned(),
        Refusal::WantsTls => {
            "the host asks for TLS: use tls+tcp:// or wss://, with its certificate".to_owned()
        }
        Refusal::Gone => "the host closed the connection before it answered: it is closing, asks for TLS, or is none \
            of mirai's"
            .to_owned(),
        Refusal::Late => "the host did not answer in time".to_owned(),
        // Only a hub refuses by it.
        Refusal::NoWebSocket => reason.to_string(),
        Refusal::Handshake(error) => error.to_string(),
        Refusal::Io(error) => error.to_string(),
    }
}

fn named(peer: &Option<SocketAddr>) -> String {
    peer.map_or("a peer".to_owned(), |peer| peer.to_string())
}

fn refusal_code(reason: &Refusal) -> ErrorCode {
    match reason {
        Refusal::Handshake(HandshakeError::NotMirai | HandshakeError::Version { .. })
        | Refusal::WantsTls
        | Refusal::NoWebSocket => ErrorCode::PROTOCOL,
        Refusal::Tls(failure) => failure.code(),
        Refusal::WebTls(_) | Refusal::Handshake(_) => ErrorCode::UNAUTHENTICATED,
        Refusal::Gone | Refusal::Io(_) => ErrorCode::ABORTED,
        Refusal::Late => ErrorCode::TIMED_OUT,
    }
}
