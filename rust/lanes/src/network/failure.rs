//! NNG's error numbers as typed errors.

use std::io;

use thiserror::Error;

use crate::ErrorCode;

/// Why an operation of NNG has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.text())]
pub struct Failure(ErrorCode);

impl Failure {
    pub(super) const NO_MEMORY: Failure = Failure(ErrorCode::OUT_OF_MEMORY);
    pub(super) const INVALID: Failure = Failure(ErrorCode::INVALID);
    pub(super) const CLOSED: Failure = Failure(ErrorCode::CLOSED);
    pub(super) const NO_ADDRESS: Failure = Failure(ErrorCode::NO_ADDRESS);

    /// `None` for success.
    pub(super) fn of(code: i32) -> Option<Failure> {
        (code != 0).then_some(Failure(ErrorCode::new(code)))
    }

    /// The code that R users know it by.
    pub fn code(self) -> ErrorCode {
        self.0
    }

    /// Whether a reader takes it for the end of the stream: the peer, or this side, has closed the connection.
    pub(super) fn is_end(self) -> bool {
        // A peer's orderly end of TLS is reported as a refused connection.
        matches!(
            self.0,
            ErrorCode::CLOSED | ErrorCode::SHUT | ErrorCode::REFUSED | ErrorCode::CANCELLED
        )
    }

    /// Whether the peer of a connection that is being made has broken it.
    pub(super) fn is_break(self) -> bool {
        matches!(
            self.0,
            ErrorCode::CLOSED | ErrorCode::SHUT | ErrorCode::RESET | ErrorCode::ABORTED
        )
    }

    /// Whether TLS has not accepted the peer, or the peer this side.
    pub(super) fn is_authentication(self) -> bool {
        matches!(
            self.0,
            ErrorCode::CRYPTOGRAPHIC | ErrorCode::UNAUTHENTICATED
        )
    }

    /// The failure inside an error of the standard library, if it came from here.
    pub(super) fn in_error(error: &io::Error) -> Option<Failure> {
        error.get_ref()?.downcast_ref().copied()
    }

    /// Whether nobody can be reached there now, which may change.
    pub(crate) fn is_absence(self) -> bool {
        matches!(
            self.0,
            ErrorCode::TIMED_OUT | ErrorCode::REFUSED | ErrorCode::UNREACHABLE | ErrorCode::ABORTED
        )
    }

    fn text(self) -> String {
        let text = match self.0 {
            ErrorCode::OUT_OF_MEMORY => "out of memory",
            ErrorCode::INVALID => "this is no address to use",
            ErrorCode::TIMED_OUT => "nobody answered in time",
            ErrorCode::REFUSED => "the connection was refused: nobody listens there",
            ErrorCode::CLOSED | ErrorCode::CANCELLED | ErrorCode::SHUT => {
                "the connection is closed"
            }
            ErrorCode::TRY_AGAIN => "the name of the host could not be looked up now",
            ErrorCode::UNSUPPORTED => "this machine does not support that",
            ErrorCode::IN_USE => "the address is in use",
            ErrorCode::NOT_FOUND => "there is no such file",
            ErrorCode::PROTOCOL => "the peer does not follow the protocol",
            ErrorCode::UNREACHABLE => "the host cannot be reached",
            ErrorCode::NO_ADDRESS => {
                "there is no such address on this machine, or no host of that name"
            }
            ErrorCode::PERMISSION => "permission denied",
            ErrorCode::ABORTED | ErrorCode::RESET => "the connection was broken by the peer",
            ErrorCode::OUT_OF_FILES => "there are no file descriptors left",
            ErrorCode::OUT_OF_SPACE => "out of space",
            ErrorCode::CRYPTOGRAPHIC => "TLS could not be set up",
            ErrorCode::UNAUTHENTICATED => "the peer could not be authenticated",
            other => {
                return match other.system() {
                    Some(error) => error.to_string(),
                    None => format!("error {}", other.number()),
                };
            }
        };
        text.to_owned()
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> io::Error {
        use io::ErrorKind as Kind;
        if let Some(error) = failure.0.system() {
            return error;
        }
        let kind = match failure.0 {
            ErrorCode::OUT_OF_MEMORY => Kind::OutOfMemory,
            ErrorCode::INVALID | ErrorCode::NO_ADDRESS => Kind::InvalidInput,
            ErrorCode::TIMED_OUT => Kind::TimedOut,
            ErrorCode::REFUSED => Kind::ConnectionRefused,
            ErrorCode::CLOSED | ErrorCode::CANCELLED | ErrorCode::SHUT => Kind::NotConnected,
            ErrorCode::IN_USE => Kind::AddrInUse,
            ErrorCode::PROTOCOL => Kind::InvalidData,
            ErrorCode::UNREACHABLE => Kind::HostUnreachable,
            ErrorCode::PERMISSION | ErrorCode::UNAUTHENTICATED => Kind::PermissionDenied,
            ErrorCode::ABORTED => Kind::ConnectionAborted,
            ErrorCode::RESET => Kind::ConnectionReset,
            _ => Kind::Other,
        };
        io::Error::new(kind, failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_keep_their_text_and_others_have_one() {
        let system = io::Error::from_raw_os_error(97);
        let unknown = Failure(ErrorCode::of_io(&system));
        assert_eq!(unknown.to_string(), system.to_string());
        assert_eq!(io::Error::from(unknown).raw_os_error(), Some(97));
        for code in 1..=31 {
            assert!(!Failure(ErrorCode::new(code)).to_string().is_empty());
        }
    }

    #[test]
    fn closing_is_an_end_and_a_reset_is_not() {
        assert!(Failure::CLOSED.is_end() && Failure(ErrorCode::SHUT).is_end());
        assert!(!Failure(ErrorCode::RESET).is_end());
        assert!(!Failure(ErrorCode::UNAUTHENTICATED).is_end());
    }
}
