//! Who is at the other end of a Unix socket, as the kernel tells it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The user of a peer, and its process where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub uid: u32,
    /// `None` for a process that this one's PID namespace has no number for, as one outside of the container.
    pub pid: Option<u32>,
}

/// Asks the kernel. Not by rustix, whose type for this knows no process without a number.
///
/// # Errors
/// As the system gives them.
#[allow(unsafe_code)]
pub(crate) fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let mut found = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the buffer is as long as it is said to be, and of
    // plain numbers.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer {
        uid: found.uid,
        pid: u32::try_from(found.pid).ok().filter(|pid| *pid != 0),
    })
}

/// The process at the other end of a connected Unix socket, where that is known.
pub fn peer_pid(socket: impl AsFd) -> Option<u32> {
    peer(socket).ok().and_then(|peer| peer.pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_in_this_process_is_this_process() {
        let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
        let found = peer(&here).unwrap();
        assert_eq!(found.pid, Some(std::process::id()));
        assert_eq!(found.uid, rustix::process::geteuid().as_raw());
    }
}
