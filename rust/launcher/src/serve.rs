//! What the fork server hands to the R process it runs in.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why [`serve`] returned.
#[derive(Debug)]
pub enum Served {
    /// This is a new process: the forked daemon, which is to run this R code and end.
    Child {
        /// The R code, as given to [`Launcher::launch`](crate::Launcher::launch).
        code: String,
    },
    /// This is still the server: the host is gone or has let it go, and no daemon is left.
    /// The process is to end.
    Finished,
}

/// Errors of [`serve`].
#[derive(Debug, Error)]
pub enum ServeError {
    /// Fork servers exist on Linux only.
    #[error("fork servers are not supported on this platform")]
    Unsupported,
    /// The descriptor is not the socket that `mirai-daemon` provides.
    #[error("descriptor {0} is not a launcher's socket: this is for mirai-daemon to call")]
    NotStarted(i32),
    /// The host sent something that is not of this protocol.
    #[error("unexpected message from the host")]
    Protocol,
    /// The operating system refused.
    #[error("fork server: {0}")]
    Io(#[from] io::Error),
}

/// Runs the fork server on the calling thread, at the socket `fd` ([`SERVER_FD`]), until the
/// host is gone or done and all daemons have ended. Returns in each forked daemon as well,
/// with its R code.
///
/// `loaded` are files of packages that the process has loaded (their `DESCRIPTION`s, say): when
/// one of them changes, the host starts a new server.
///
/// In a forked daemon, stdout and stderr are the host's, the process is in a session of its
/// own, all descriptors of the server are closed, and the command line shows the R code.
///
/// # Errors
/// When `fd` is not such a socket, the host's message cannot be understood, or polling fails.
/// Running out of processes or having several threads is no error but reported to the host.
///
/// [`SERVER_FD`]: crate::SERVER_FD
pub fn serve(fd: i32, loaded: Vec<PathBuf>) -> Result<Served, ServeError> {
    #[cfg(target_os = "linux")]
    return crate::server::serve(fd, loaded);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (fd, loaded);
        Err(ServeError::Unsupported)
    }
}
