//! What the fork server hands to the R process it runs in.

use crate::served::{ServeError, Served};
use std::path::PathBuf;

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
pub fn serve_forks(fd: i32, loaded: Vec<PathBuf>) -> Result<Served, ServeError> {
    #[cfg(target_os = "linux")]
    return crate::server::run_server(fd, loaded);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (fd, loaded);
        Err(ServeError::Unsupported)
    }
}
