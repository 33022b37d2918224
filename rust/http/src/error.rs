//! Why there is no answer.

use std::time::Duration;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It cannot be sent: something is wrong with its URL, method or headers.
    #[error("{0}")]
    Request(String),
    /// Nobody knows the host of the URL.
    #[error("the host of the URL is not known")]
    UnknownHost,
    /// The connection was not made, or broke.
    #[error("{0}")]
    Connection(std::io::Error),
    /// The time was over before the answer was complete.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The server did not prove to be the host of the URL, or does not speak TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The certificates to trust cannot be read.
    #[error("the file of certificates has none that can be read")]
    Certificates,
    /// The answer is longer than allowed.
    #[error("the answer has more than {0} bytes")]
    TooLong(u64),
    /// What came is not HTTP.
    #[error("what answers is no HTTP server: {0}")]
    Protocol(String),
}

impl HttpError {
    /// `timeout` and `limit` are those of the request.
    pub(crate) fn of(error: ureq::Error, timeout: Duration, limit: u64) -> HttpError {
        match error {
            ureq::Error::Timeout(_) => HttpError::Timeout(timeout),
            ureq::Error::HostNotFound => HttpError::UnknownHost,
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                HttpError::Timeout(timeout)
            }
            // rustls reports what it refuses by way of the connection.
            ureq::Error::Io(error) => {
                match error.get_ref().map(|inner| inner.is::<rustls::Error>()) {
                    Some(true) => HttpError::Tls(error.to_string()),
                    _ => HttpError::Connection(error),
                }
            }
            ureq::Error::Rustls(error) => HttpError::Tls(error.to_string()),
            ureq::Error::Tls(text) => HttpError::Tls(text.to_owned()),
            ureq::Error::BodyExceedsLimit(_) => HttpError::TooLong(limit),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => HttpError::Request(error.to_string()),
            other => HttpError::Protocol(other.to_string()),
        }
    }
}
