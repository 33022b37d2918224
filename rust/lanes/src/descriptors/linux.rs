//! Linux keeps the limit by process, and the descriptors by table: a process that shares only the table can have a limit
//! of its own.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// More than a few system calls need.
const STACK_BYTES: usize = 16 * 1024;

#[repr(align(16))]
struct Stack(MaybeUninit<[u8; STACK_BYTES]>);

/// What the helper is asked for, and its answer.
struct Job {
    fd: c_int,
    first: c_int,
    copy: c_int,
}

/// Shares memory and descriptors with this process, and nothing that has limits. (Valgrind knows no other set with these.)
const SHARED: c_int = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND;

/// Copies a descriptor to the lowest free number from `first` on that the hard limit allows.
///
/// # Errors
/// As the system gives them: no room, or no more processes.
pub(super) fn copy(fd: BorrowedFd<'_>, first: c_int) -> io::Result<OwnedFd> {
    let mut job = Job {
        fd: fd.as_raw_fd(),
        first,
        copy: -1,
    };
    let mut stack = Stack(MaybeUninit::uninit());
    // A handler of R's must not run in the helper.
    let before = block_signals();
    let helped = run_helper(&mut stack, &mut job);
    // SAFETY: a mask that pthread_sigmask has written.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    helped?;
    if job.copy < 0 {
        return Err(io::ErrorKind::Other.into());
    }
    // SAFETY: the helper has made it in the table of this process, for this call. Where memory is not shared in spite of
    // the flags, as the table then is not either, there is no answer.
    Ok(unsafe { OwnedFd::from_raw_fd(job.copy) })
}

fn block_signals() -> MaybeUninit<libc::sigset_t> {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: the set is filled before it is read; the mask is of this thread, and written by the call, which cannot
    // refuse these arguments.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    before
}

/// Runs the helper to its end.
fn run_helper(stack: &mut Stack, job: &mut Job) -> io::Result<()> {
    // SAFETY: one past the end of the stack, which grows down from there.
    let top = unsafe { stack.0.as_mut_ptr().cast::<u8>().add(STACK_BYTES) };
    // SAFETY: the helper uses this stack and `job` until it has ended, and this function does not return before. It has
    // this thread's local storage, too, but there it writes `errno` at most, while this thread waits. No signal of its
    // end is asked for, so that nobody else is told of it or waits for it.
    let pid = unsafe { libc::clone(help, top.cast(), SHARED, (&raw mut *job).cast()) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    loop {
        // SAFETY: waits for a process of this thread's own.
        let ended = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WCLONE) };
        if ended >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Ok(());
        }
    }
}

/// The helper: nothing but system calls.
extern "C" fn help(job: *mut c_void) -> c_int {
    // SAFETY: the job is there until this has ended, and nobody else looks at it meanwhile; the limit is written by the
    // call before it is read.
    unsafe {
        let job = &mut *job.cast::<Job>();
        let mut limit = MaybeUninit::<libc::rlimit>::zeroed().assume_init();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        job.copy = libc::fcntl(job.fd, libc::F_DUPFD_CLOEXEC, job.first);
    }
    0
}
