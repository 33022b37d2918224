//! The numbers that R users know failures by, and their meanings. They are NNG's error codes (`nng_err` in NNG's
//! reference), which mirai has shown since before it had a hub of its own; R asks here for the texts.

use std::fmt;
use std::io;

/// The number of a failure. Shown as users see it: `5 | Timed out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(i32);

/// Codes from here on hold an error number of the operating system.
const SYSTEM: i32 = 0x1000_0000;
/// Codes from here on hold an error number of a transport.
const TRANSPORT: i32 = 0x2000_0000;
const END: i32 = 0x4000_0000;

impl ErrorCode {
    /// There was no memory.
    pub const OUT_OF_MEMORY: ErrorCode = ErrorCode(2);
    /// A value is invalid, such as a malformed URL.
    pub const INVALID: ErrorCode = ErrorCode(3);
    /// The time limit was reached.
    pub const TIMED_OUT: ErrorCode = ErrorCode(5);
    /// Nobody listens at the address.
    pub const REFUSED: ErrorCode = ErrorCode(6);
    /// The hub, or the connection, is closed.
    pub const CLOSED: ErrorCode = ErrorCode(7);
    /// It may succeed later.
    pub const TRY_AGAIN: ErrorCode = ErrorCode(8);
    /// Not supported on this platform, in this build, or for this kind of address.
    pub const UNSUPPORTED: ErrorCode = ErrorCode(9);
    /// Somebody listens at the address already.
    pub const IN_USE: ErrorCode = ErrorCode(10);
    /// There is no such file or folder.
    pub const NOT_FOUND: ErrorCode = ErrorCode(12);
    /// The peer does not follow the protocol, or not this version of it.
    pub const PROTOCOL: ErrorCode = ErrorCode(13);
    /// The host cannot be reached.
    pub const UNREACHABLE: ErrorCode = ErrorCode(14);
    /// This machine has no such address, or there is no host of that name.
    pub const NO_ADDRESS: ErrorCode = ErrorCode(15);
    /// Not permitted, or owned by another user.
    pub const PERMISSION: ErrorCode = ErrorCode(16);
    /// The peer broke the connection before it was established.
    pub const ABORTED: ErrorCode = ErrorCode(18);
    /// The daemon, or the pool, is gone.
    pub const RESET: ErrorCode = ErrorCode(19);
    /// The task was cancelled.
    pub const CANCELLED: ErrorCode = ErrorCode(20);
    /// This process, or the system, can open no more files.
    pub const OUT_OF_FILES: ErrorCode = ErrorCode(21);
    /// The disk is full.
    pub const OUT_OF_SPACE: ErrorCode = ErrorCode(22);
    /// TLS could not be set up.
    pub const CRYPTOGRAPHIC: ErrorCode = ErrorCode(26);
    /// The peer has not proved who it is.
    pub const UNAUTHENTICATED: ErrorCode = ErrorCode(27);
    /// The connection is shut down.
    pub const SHUT: ErrorCode = ErrorCode(31);

    /// The code of this number.
    pub const fn new(number: i32) -> ErrorCode {
        ErrorCode(number)
    }

    /// The number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The code of an error of the operating system; a general one for an error without a number.
    pub fn of_io(error: &io::Error) -> ErrorCode {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::AddrInUse => Self::IN_USE,
            Kind::AddrNotAvailable => Self::NO_ADDRESS,
            Kind::ConnectionRefused => Self::REFUSED,
            Kind::NotFound => Self::NOT_FOUND,
            Kind::TimedOut => Self::TIMED_OUT,
            Kind::HostUnreachable | Kind::NetworkUnreachable => Self::UNREACHABLE,
            Kind::ConnectionReset => Self::RESET,
            Kind::PermissionDenied => Self::PERMISSION,
            Kind::OutOfMemory => Self::OUT_OF_MEMORY,
            Kind::StorageFull => Self::OUT_OF_SPACE,
            _ if is_out_of_files(error) => Self::OUT_OF_FILES,
            _ => ErrorCode(SYSTEM | error.raw_os_error().unwrap_or(0)),
        }
    }

    /// The operating system's own error, if there is no code for it.
    pub fn system(self) -> Option<io::Error> {
        (SYSTEM..TRANSPORT)
            .contains(&self.0)
            .then(|| io::Error::from_raw_os_error(self.0 - SYSTEM))
    }

    /// Its meaning, in the words that users know it by.
    pub fn text(self) -> String {
        let known = usize::try_from(self.0).ok().and_then(|n| TEXTS.get(n));
        match known {
            Some(text) => (*text).to_owned(),
            None if self.0 > SYSTEM && self.0 < TRANSPORT => system_text(self.0 - SYSTEM),
            None if (TRANSPORT..END).contains(&self.0) => {
                format!("Transport error #{}", self.0 - TRANSPORT)
            }
            None => format!("Unknown error #{}", self.0),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {}", self.0, self.text())
    }
}

/// Whether the process (`EMFILE`) or, where there is such a limit, the system (`ENFILE`) has run out of files.
fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let full = [
        Errno::MFILE,
        #[cfg(unix)]
        Errno::NFILE,
    ];
    full.iter()
        .any(|full| error.raw_os_error() == Some(full.raw_os_error()))
}

/// The operating system's text, without the number that the standard library adds.
fn system_text(number: i32) -> String {
    let text = io::Error::from_raw_os_error(number).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The texts, by number.
const TEXTS: [&str; 32] = [
    "Hunky dory",
    "Interrupted",
    "Out of memory",
    "Invalid argument",
    "Resource busy",
    "Timed out",
    "Connection refused",
    "Object closed",
    "Try again",
    "Not supported",
    "Address in use",
    "Incorrect state",
    "Entry not found",
    "Protocol error",
    "Destination unreachable",
    "Address invalid",
    "Permission denied",
    "Message too large",
    "Connection aborted",
    "Connection reset",
    "Operation canceled",
    "Out of files",
    "Out of space",
    "Resource already exists",
    "Read only resource",
    "Write only resource",
    "Cryptographic error",
    "Peer could not be authenticated",
    "Option requires argument",
    "Ambiguous option",
    "Incorrect type",
    "Connection shutdown",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_text() {
        assert_eq!(ErrorCode::TIMED_OUT.to_string(), "5 | Timed out");
        assert_eq!(ErrorCode::SHUT.text(), "Connection shutdown");
        assert_eq!(ErrorCode(-1).text(), "Unknown error #-1");
        assert_eq!(ErrorCode(32).text(), "Unknown error #32");
        assert_eq!(ErrorCode(TRANSPORT | 7).text(), "Transport error #7");
    }

    #[test]
    fn errors_of_the_system_keep_their_text() {
        let denied = io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error());
        assert_eq!(ErrorCode::of_io(&denied), ErrorCode::PERMISSION);
        let out = io::Error::from_raw_os_error(rustix::io::Errno::NFILE.raw_os_error());
        assert_eq!(ErrorCode::of_io(&out), ErrorCode::OUT_OF_FILES);
        let strange = io::Error::from_raw_os_error(97);
        let code = ErrorCode::of_io(&strange);
        assert_eq!(code.system().and_then(|e| e.raw_os_error()), Some(97));
        assert!(strange.to_string().starts_with(&code.text()));
    }
}
