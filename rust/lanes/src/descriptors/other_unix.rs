//! Where the limit is the process's whatever one does, it is raised for as long as a descriptor gets its number. A program
//! that another thread starts in this microsecond inherits it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::unix::OPEN_MAX;

/// One at a time, or the limit of another would be taken for that of the process.
static RAISED: Mutex<()> = Mutex::new(());

/// Copies a descriptor to the lowest free number from `first` on that the system allows.
///
/// # Errors
/// As the system gives them.
pub(super) fn copy(fd: BorrowedFd<'_>, first: i32) -> io::Result<OwnedFd> {
    let _one = RAISED.lock();
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.map_or(OPEN_MAX, |maximum| maximum.min(OPEN_MAX));
    let set = |current| setrlimit(Resource::Nofile, Rlimit { current, maximum });
    set(Some(most))?;
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, first);
    set(current)?;
    Ok(copy?)
}
