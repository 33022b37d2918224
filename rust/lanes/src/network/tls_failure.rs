//! Why TLS fails, in words for users.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};
use thiserror::Error;

use crate::ErrorCode;

/// Why TLS has ended a connection, or never begun it. "It" is the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TlsFailure {
    /// Nobody who is trusted has signed its certificate.
    #[error("its certificate is not signed by what was given")]
    UnknownIssuer,
    /// Its certificate, or one between that and those that are trusted, was good once.
    #[error("its certificate has expired")]
    Expired,
    /// Its certificate will be good, or the clock here is wrong.
    #[error("its certificate is not valid yet")]
    NotYet,
    /// Its certificate names others.
    #[error("its certificate is for another host")]
    OtherName,
    /// The list of revoked certificates has its own.
    #[error("its certificate has been revoked")]
    Revoked,
    /// It shows none.
    #[error("it has no certificate")]
    NoCertificate,
    /// Something else about its certificate.
    #[error(
        "its certificate cannot be used: it is damaged, for another purpose, or of a kind that is not supported"
    )]
    Unusable,
    /// It has turned this side away.
    #[error("it does not accept the certificate of this side")]
    Rejected,
    /// What it sends is no TLS.
    #[error("it does not speak TLS")]
    NoTls,
    /// No version and no cipher that both sides take.
    #[error("it does not support TLS 1.2 or 1.3 with a cipher that is known here")]
    NothingInCommon,
    /// It breaks the rules of TLS, or somebody on the way has changed what it said.
    #[error("it does not follow the protocol of TLS")]
    Broken,
}

impl TlsFailure {
    /// What R users know it by.
    pub fn code(self) -> ErrorCode {
        match self {
            TlsFailure::NoTls | TlsFailure::NothingInCommon | TlsFailure::Broken => {
                ErrorCode::PROTOCOL
            }
            _ => ErrorCode::UNAUTHENTICATED,
        }
    }

    /// What an error of a connection was before it became one of the standard library's.
    pub(super) fn in_error(error: &io::Error) -> Option<TlsFailure> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<&Error> for TlsFailure {
    fn from(error: &Error) -> TlsFailure {
        match error {
            Error::InvalidCertificate(error) => of_certificate(error),
            Error::NoCertificatesPresented => TlsFailure::NoCertificate,
            Error::AlertReceived(alert) => of_alert(*alert),
            Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsFailure::NoTls,
            Error::PeerIncompatible(_) => TlsFailure::NothingInCommon,
            _ => TlsFailure::Broken,
        }
    }
}

fn of_certificate(error: &CertificateError) -> TlsFailure {
    use CertificateError as Why;
    match error {
        Why::UnknownIssuer | Why::BadSignature => TlsFailure::UnknownIssuer,
        Why::Expired | Why::ExpiredContext { .. } => TlsFailure::Expired,
        Why::NotValidYet | Why::NotValidYetContext { .. } => TlsFailure::NotYet,
        Why::NotValidForName | Why::NotValidForNameContext { .. } => TlsFailure::OtherName,
        Why::Revoked => TlsFailure::Revoked,
        _ => TlsFailure::Unusable,
    }
}

fn of_alert(alert: AlertDescription) -> TlsFailure {
    use AlertDescription as Says;
    match alert {
        Says::BadCertificate
        | Says::UnsupportedCertificate
        | Says::CertificateRevoked
        | Says::CertificateExpired
        | Says::CertificateUnknown
        | Says::UnknownCA
        | Says::AccessDenied
        | Says::CertificateRequired
        | Says::NoCertificate => TlsFailure::Rejected,
        Says::ProtocolVersion | Says::HandshakeFailure | Says::InsufficientSecurity => {
            TlsFailure::NothingInCommon
        }
        _ => TlsFailure::Broken,
    }
}

impl From<TlsFailure> for io::Error {
    fn from(failure: TlsFailure) -> io::Error {
        let kind = match failure.code() {
            ErrorCode::UNAUTHENTICATED => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, failure)
    }
}
