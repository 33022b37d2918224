//! How many descriptors there are, and which of them hubs take.
//!
//! A session with a pool of hundreds of daemons needs more than the usual soft limit. That limit is not raised for it: all
//! that the session starts would inherit it, against programs that use `select()` or close all descriptors there may be.
//! The limit counts only where a descriptor gets its number, so hubs have theirs numbered beyond it.

use thiserror::Error;

#[cfg(unix)]
pub(crate) use unix::move_up;

#[cfg(target_os = "linux")]
#[path = "descriptors/linux.rs"]
mod beyond;
#[cfg(all(unix, not(target_os = "linux")))]
#[path = "descriptors/other_unix.rs"]
mod beyond;

/// This process can open no more files, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutOfFiles {
    /// What is left is left to R.
    #[error(
        "of the {limit} files that this session may have open at a time (`ulimit -n`), nearly all are: close some, or \
         start R under a higher limit"
    )]
    Now {
        /// The limit of this process.
        limit: u64,
    },
    /// There are not enough for the number of daemons that was asked for.
    #[error(
        "each daemon takes {PER_DAEMON} of the {limit} files that this session may have open at a time (`ulimit -n`), \
         which leaves room for {room} more: ask for fewer, or start R under a higher limit"
    )]
    For {
        /// The limit of this process.
        limit: u64,
        /// Number of daemons for which there are enough.
        room: u64,
    },
}

/// Descriptors that a daemon takes in its hub's process: two connections and, on Linux, the watch over its process.
const PER_DAEMON: u64 = if cfg!(target_os = "linux") { 3 } else { 2 };

/// What descriptors are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomFor {
    /// A hub. It may have some of those that daemons may not, so as to take the place of one whose daemons have the rest.
    Hub,
    /// A daemon's connection. With what is left, a hub can still tell the daemon that there is no room for it.
    Connection,
}

/// Checks that there are descriptors for one more.
///
/// # Errors
/// [`OutOfFiles::Now`].
pub fn check_room(what: RoomFor) -> Result<(), OutOfFiles> {
    #[cfg(unix)]
    return unix::check_room(what);
    #[cfg(not(unix))]
    {
        let _ = what;
        Ok(())
    }
}

/// Checks that there are descriptors for this number of daemons on this machine.
///
/// # Errors
/// [`OutOfFiles`].
pub fn check_room_for(daemons: u64) -> Result<(), OutOfFiles> {
    #[cfg(unix)]
    return unix::check_room_for(daemons);
    #[cfg(not(unix))]
    {
        let _ = daemons;
        Ok(())
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

    use rustix::io::Errno;
    use rustix::process::{Resource, getrlimit};

    use super::{OutOfFiles, PER_DAEMON, RoomFor, beyond};

    /// Descriptors of hubs start here where the hard limit allows it: R's own sockets use `select()`, which fails for those
    /// from 1024 on, so the ones below are left to R.
    const FIRST: u64 = 1024;

    /// Descriptors below the soft limit that hubs do not use, so that R can still open files and start programs.
    const RESERVE: u64 = 32;

    /// Descriptors that a launch takes: the sockets to its fork server, and copies of R's output.
    const PER_LAUNCH: u64 = 4;

    /// Apple's systems grant no more to a process, whatever its limit says.
    pub(super) const OPEN_MAX: u64 = if cfg!(target_vendor = "apple") {
        10_240
    } else {
        i32::MAX as u64
    };

    /// The limits of open files: what counts, and how far it could be raised.
    #[derive(Debug, Clone, Copy)]
    struct FileLimits {
        soft: u64,
        hard: u64,
    }

    impl FileLimits {
        fn now() -> FileLimits {
            let limit = getrlimit(Resource::Nofile);
            let known = |limit: Option<u64>| limit.map_or(OPEN_MAX, |limit| limit.min(OPEN_MAX));
            let soft = known(limit.current);
            FileLimits {
                soft,
                hard: known(limit.maximum).max(soft),
            }
        }

        /// Where the descriptors of hubs start; `None` where there are too few to set any apart.
        fn first(self) -> Option<u64> {
            if self.hard > FIRST {
                Some(FIRST)
            } else {
                (self.hard > self.soft).then_some(self.soft)
            }
        }

        /// How many descriptors at the end of the range are left to R.
        fn reserve(self, what: RoomFor) -> u64 {
            let all = RESERVE.min(self.soft / 4);
            match what {
                RoomFor::Connection => all,
                RoomFor::Hub => all / 2,
            }
        }
    }

    /// Moves a descriptor out of the range that is R's; where it cannot be, it stays.
    pub(crate) fn move_up(fd: OwnedFd) -> OwnedFd {
        copy_up(fd.as_fd()).unwrap_or(fd)
    }

    fn copy_up(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
        let limits = FileLimits::now();
        let first = i32::try_from(limits.first()?).ok()?;
        if let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(fd, first) {
            return Some(copy);
        }
        if limits.hard == limits.soft {
            return None;
        }
        beyond::copy(fd, first).ok()
    }

    pub(super) fn check_room(what: RoomFor) -> Result<(), OutOfFiles> {
        let limits = FileLimits::now();
        let full = OutOfFiles::Now { limit: limits.soft };
        // Always the lowest number that is free.
        match File::open("/") {
            Ok(file) if file.as_raw_fd() as u64 + limits.reserve(what) < limits.soft => Ok(()),
            Ok(_) => Err(full),
            Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => Err(full),
            // Nothing is known.
            Err(_) => Ok(()),
        }
    }

    pub(super) fn check_room_for(daemons: u64) -> Result<(), OutOfFiles> {
        match count_open() {
            Ok(open) => check_beside(FileLimits::now(), open, daemons),
            // The descriptors will tell.
            Err(_) => Ok(()),
        }
    }

    fn check_beside(limits: FileLimits, open: u64, daemons: u64) -> Result<(), OutOfFiles> {
        let apart = limits.first().unwrap_or(limits.soft);
        // Numbers between a low soft limit and the first of the hubs' are never given out.
        let unused = apart.saturating_sub(limits.soft) + limits.reserve(RoomFor::Connection);
        let taken = open + PER_LAUNCH + unused;
        let room = limits.hard.saturating_sub(taken) / PER_DAEMON;
        let limit = limits.hard;
        match room {
            _ if daemons <= room => Ok(()),
            0 => Err(OutOfFiles::Now { limit }),
            room => Err(OutOfFiles::For { limit, room }),
        }
    }

    fn count_open() -> io::Result<u64> {
        Ok(std::fs::read_dir("/dev/fd")?.count() as u64)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn room(soft: u64, hard: u64, open: u64) -> u64 {
            match check_beside(FileLimits { soft, hard }, open, u64::MAX) {
                Err(OutOfFiles::For { room, .. }) => room,
                Err(OutOfFiles::Now { .. }) => 0,
                other => panic!("{other:?}"),
            }
        }

        #[test]
        fn what_is_left_to_r_is_no_room_for_daemons() {
            assert_eq!(room(300, 300, 24), 240 / PER_DAEMON);
            assert_eq!(room(64, 64, 14), 30 / PER_DAEMON);
            assert_eq!(room(64, 64, 60), 0);
            // Between 300 and 1024 nothing is given out.
            assert_eq!(room(300, 2024, 4), (1000 + 300 - 40) / PER_DAEMON);
            assert_eq!(room(300, 600, 4), (600 - 40) / PER_DAEMON);
        }

        #[test]
        fn descriptors_are_copied_beyond_the_limit_and_the_limit_stays() {
            let mut before = getrlimit(Resource::Nofile);
            // More than any test needs.
            before.current = Some(FileLimits::now().hard / 2);
            rustix::process::setrlimit(Resource::Nofile, before).unwrap();
            let limits = FileLimits::now();
            let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
            let first = i32::try_from(limits.soft).unwrap();
            let copy = beyond::copy(here.as_fd(), first).unwrap();
            assert!(copy.as_raw_fd() >= first);
            drop(here);
            rustix::io::write(&copy, b"x").unwrap();
            let mut byte = [0];
            rustix::io::read(&there, &mut byte).unwrap();
            assert_eq!(byte, *b"x");
            assert_eq!(getrlimit(Resource::Nofile).current, before.current);
        }
    }
}
