//! The end of a fork server while R still starts in it.
//!
//! R's start-up runs code of the user's that may never return, on the only thread there may be:
//! a server with a second one could not fork. So its end comes by signals, from two sides:
//!
//! - The kernel tells that the host has died: the server is the host's child, and has asked for
//!   that by `PR_SET_PDEATHSIG`. End of stream on the socket would say less. A process that the
//!   host has forked, as `parallel::mclapply()` does, holds a copy of the host's end, and may
//!   outlive it. A pidfd cannot raise a signal.
//! - `SIGTERM` is how the launcher takes back a server that is no longer wanted, and how a user
//!   ends one. R has no handler for it, and would leave its temporary folder behind.
//!
//! The handler goes no further than what is safe in one: it has a shell take the place of this
//! process and remove the folder.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Runs in place of R, which is told apart by its status as one that was ended.
const LAST_ACT: &CStr = c"rm -rf -- \"$1\"; kill -s TERM \"$$\"";

/// What the handler needs, made before it is set.
struct Watch {
    /// Copies of this process have the handler too.
    own: libc::pid_t,
    /// The parent, where there is one to be watched.
    host: Option<libc::pid_t>,
    /// `PATH=…`, for the shell to find `rm` by.
    path: CString,
    /// R's variable, which is null until R has made its temporary folder.
    tempdir: OnceLock<&'static AtomicPtr<c_char>>,
}

static WATCH: OnceLock<Watch> = OnceLock::new();

/// A signal that neither R nor the C library has a use for.
fn host_death() -> c_int {
    libc::SIGRTMIN() + 11
}

/// From here on the process ends when the host does, or by `SIGTERM`, and then takes R's
/// temporary folder along. `socket` is the one that the host has made. Call it on the main
/// thread, once.
///
/// # Errors
/// When the host is gone already.
pub(crate) fn arm(socket: BorrowedFd<'_>) -> io::Result<()> {
    let host = maker(socket)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = CString::new([b"PATH=", path.as_bytes()].concat())?;
    // SAFETY: neither of the two can fail or touches memory.
    let (own, parent) = unsafe { (libc::getpid(), libc::getppid()) };
    // `R CMD` ends in this program without a process between. Where an administrator's wrapper
    // stays as one, its death would say nothing, and the host's shows when R is up.
    let is_child = parent == host;
    let watch = Watch {
        own,
        host: is_child.then_some(host),
        path,
        tempdir: OnceLock::new(),
    };
    if WATCH.set(watch).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    for signal in [libc::SIGTERM, host_death()] {
        handle(signal)?;
    }
    if is_child {
        // SAFETY: sets an attribute of this process.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, host_death() as libc::c_ulong) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // It may have died just before.
        // SAFETY: as above.
        if unsafe { libc::getppid() } == host {
            return Ok(());
        }
    } else if is_running(host) {
        return Ok(());
    }
    Err(io::ErrorKind::BrokenPipe.into())
}

/// Where R keeps the path of its temporary folder.
pub(crate) fn set_tempdir(tempdir: &'static AtomicPtr<c_char>) {
    if let Some(watch) = WATCH.get() {
        // It is the same one, if any is there.
        let _ = watch.tempdir.set(tempdir);
    }
}

/// R is up, and the server listens by itself. That server has a copy of this library of its
/// own: all that counts is in the kernel. Call it on the main thread.
pub(crate) fn disarm() {
    // A signal sent before it has been handled when the call returns, as none is blocked in a
    // starting server.
    super::linux::resume_when_parent_ends();
    let ours = handler_of(host_death());
    // The user's start-up code may have brought its own handler for the other.
    if handler_of(libc::SIGTERM) == ours {
        // SAFETY: sets the disposition a fresh program has.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
    }
    // SAFETY: as above.
    unsafe { libc::signal(host_death(), libc::SIG_DFL) };
}

/// The process that has made a pair of sockets, by either of them. (0 if it cannot be seen from
/// here.)
fn maker(socket: BorrowedFd<'_>) -> io::Result<libc::pid_t> {
    let mut peer = MaybeUninit::<libc::ucred>::zeroed();
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `peer`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            peer.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: integers, zeroed or written.
    Ok(unsafe { peer.assume_init() }.pid)
}

/// Whether a process that is not our parent is there and no zombie. In doubt it is.
fn is_running(pid: libc::pid_t) -> bool {
    let Some(pid) = Pid::from_raw(pid) else {
        return true;
    };
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&now)) != Ok(1),
        Err(error) => error != Errno::SRCH,
    }
}

fn handle(signal: c_int) -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zero is a value of all its fields, the mask is set by sigfillset. No other handler
    // runs within this one: R's would jump out of it.
    let result = unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = on_signal as extern "C" fn(c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigfillset(&mut action.sa_mask);
        libc::sigaction(signal, action, ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn handler_of(signal: c_int) -> libc::sighandler_t {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: written by the call, or zero, which is the default action.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction
    }
}

extern "C" fn on_signal(signal: c_int) {
    let Some(watch) = WATCH.get() else {
        return;
    };
    let is_term = signal == libc::SIGTERM;
    // SAFETY: system calls that are safe in a signal handler.
    unsafe {
        if libc::getpid() != watch.own {
            // A copy that start-up code has forked. It ends when the handler returns.
            if is_term {
                libc::signal(libc::SIGTERM, libc::SIG_DFL);
                libc::kill(libc::getpid(), libc::SIGTERM);
            }
            return;
        }
        if !is_term {
            // What has died may be a thread of the host only: the one that has started us.
            // There is a signal for each new parent, and the parent changes first.
            if watch.host.is_none_or(|host| libc::getppid() == host) {
                return;
            }
            // What R has started, and may be waiting for, goes too, as when the launcher ends
            // a server.
            if libc::getpgrp() == watch.own {
                libc::signal(libc::SIGTERM, libc::SIG_IGN);
                libc::kill(0, libc::SIGTERM);
            }
        }
    }
    end(watch)
}

/// Safe in a signal handler.
fn end(watch: &Watch) -> ! {
    let mut two = MaybeUninit::uninit();
    let tempdir = watch.tempdir.get();
    let tempdir = tempdir.map_or(ptr::null_mut(), |variable| variable.load(Ordering::Relaxed));
    // SAFETY: R's variable is null or a text of R's. The arrays end with a null pointer, and
    // point to texts that outlive the calls, which are safe in a signal handler.
    unsafe {
        // A host with many threads is told of many times, and shells may unblock all signals.
        libc::signal(host_death(), libc::SIG_IGN);
        // The shell needs both of these, and R's own handlers remain blocked.
        libc::sigemptyset(two.as_mut_ptr());
        libc::sigaddset(two.as_mut_ptr(), libc::SIGCHLD);
        libc::sigaddset(two.as_mut_ptr(), libc::SIGTERM);
        if !tempdir.is_null() && is_tempdir(CStr::from_ptr(tempdir).to_bytes()) {
            libc::sigprocmask(libc::SIG_UNBLOCK, two.as_ptr(), ptr::null_mut());
            let shell = c"/bin/sh".as_ptr();
            let words = [
                shell,
                c"-c".as_ptr(),
                LAST_ACT.as_ptr(),
                shell,
                tempdir.cast_const(),
                ptr::null(),
            ];
            let variables = [watch.path.as_ptr(), ptr::null()];
            libc::execve(shell, words.as_ptr(), variables.as_ptr());
        }
        libc::signal(libc::SIGTERM, libc::SIG_DFL);
        libc::kill(watch.own, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_UNBLOCK, two.as_ptr(), ptr::null_mut());
        libc::_exit(1)
    }
}

/// Whether it is the whole path of a folder as R names it. It would be none if R were just
/// writing it.
fn is_tempdir(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next();
    path.first() == Some(&b'/')
        && name.is_some_and(|name| name.len() == "RtmpXXXXXX".len() && name.starts_with(b"Rtmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_folder_of_r_s_is_removed() {
        assert!(is_tempdir(b"/tmp/RtmpaB3xYz"));
        for path in ["", "/", "/tmp", "/tmp/Rtmp", "/tmp/RtmpaB3xY", "RtmpaB3xYz"] {
            assert!(!is_tempdir(path.as_bytes()), "{path}");
        }
        assert!(!is_tempdir(b"/tmp/RtmpaB3xYz/"));
    }
}
