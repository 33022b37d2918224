use std::io;

use thiserror::Error;

/// Why an operation of NNG has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.text())]
pub struct Failure(i32);

impl Failure {
    pub(super) const NO_MEMORY: Failure = Failure(2);
    pub(super) const INVALID: Failure = Failure(3);
    pub(super) const REFUSED: Failure = Failure(6);
    pub(super) const CLOSED: Failure = Failure(7);
    pub(super) const NO_ADDRESS: Failure = Failure(15);
    const CANCELLED: Failure = Failure(20);
    const SHUT: Failure = Failure(31);
    /// From here on numbers hold one of the operating system.
    const SYSTEM: i32 = 0x1000_0000;
    /// From here on numbers hold one of a transport.
    const TRANSPORT: i32 = 0x2000_0000;

    /// `None` for success.
    pub(super) fn of(code: i32) -> Option<Failure> {
        (code != 0).then_some(Failure(code))
    }

    /// The number R users know it by.
    pub fn code(self) -> i32 {
        self.0
    }

    /// The operating system's own error, where it is none that NNG has a number for.
    fn system(self) -> Option<io::Error> {
        (Self::SYSTEM..Self::TRANSPORT)
            .contains(&self.0)
            .then(|| io::Error::from_raw_os_error(self.0 - Self::SYSTEM))
    }

    /// Whether a reader takes it for the end of the stream: the peer, or this side, has closed the connection.
    pub(super) fn is_end(self) -> bool {
        // A peer's orderly end of TLS is reported as a refused connection.
        matches!(
            self,
            Self::CLOSED | Self::SHUT | Self::REFUSED | Self::CANCELLED
        )
    }

    /// Whether TLS has not accepted the peer, or the peer this side.
    pub(super) fn is_authentication(self) -> bool {
        matches!(self.0, 26 | 27)
    }

    /// What an error of a connection was before it became one of the standard library's.
    pub(super) fn in_error(error: &io::Error) -> Option<Failure> {
        error.get_ref()?.downcast_ref().copied()
    }

    /// Whether nobody can be reached there now, which may change.
    pub(crate) fn is_absence(self) -> bool {
        matches!(self.0, 5 | 6 | 14 | 18)
    }

    fn text(self) -> String {
        let text = match self.0 {
            2 => "out of memory",
            3 => "this is no address to use",
            5 => "nobody answered in time",
            6 => "the connection was refused: nobody listens there",
            7 | 20 | 31 => "the connection is closed",
            8 => "the name of the host could not be looked up now",
            9 => "this machine does not support that",
            10 => "the address is in use",
            12 => "there is no such file",
            13 => "the peer does not follow the protocol",
            14 => "the host cannot be reached",
            15 => "there is no such address on this machine, or no host of that name",
            16 => "permission denied",
            18 | 19 => "the connection was broken by the peer",
            21 => "there are no file descriptors left",
            22 => "out of space",
            26 => "TLS could not be set up",
            27 => "the peer could not be authenticated",
            other => {
                return match self.system() {
                    Some(error) => error.to_string(),
                    None => format!("error {other}"),
                };
            }
        };
        text.to_owned()
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> io::Error {
        use io::ErrorKind as Kind;
        if let Some(error) = failure.system() {
            return error;
        }
        let kind = match failure.0 {
            2 => Kind::OutOfMemory,
            3 | 15 => Kind::InvalidInput,
            5 => Kind::TimedOut,
            6 => Kind::ConnectionRefused,
            7 | 20 | 31 => Kind::NotConnected,
            10 => Kind::AddrInUse,
            13 => Kind::InvalidData,
            14 => Kind::HostUnreachable,
            16 | 27 => Kind::PermissionDenied,
            18 => Kind::ConnectionAborted,
            19 => Kind::ConnectionReset,
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
        let unknown = Failure(Failure::SYSTEM + 97);
        assert_eq!(
            unknown.to_string(),
            io::Error::from_raw_os_error(97).to_string()
        );
        assert_eq!(io::Error::from(unknown).raw_os_error(), Some(97));
        for code in 1..=31 {
            assert!(!Failure(code).to_string().is_empty());
        }
    }

    #[test]
    fn closing_is_an_end_and_a_reset_is_not() {
        assert!(Failure::CLOSED.is_end() && Failure::SHUT.is_end());
        assert!(!Failure(19).is_end() && !Failure(27).is_end());
    }
}
