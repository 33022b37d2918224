//! What the fork server and its program need of Linux.

use crate::event::ExitStatus;
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

/// Splits the process in two. `None` in the copy.
///
/// Callers have made sure that the process has one thread, or do nothing in the copy.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: with one thread the copy is a whole process; callers see to it, see above.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Pid::from_raw(pid))
}

/// Forks a copy that ends at once. Libraries that know about forking end their threads in a
/// handler, and start new ones when they need them: OpenBLAS does.
pub(crate) fn rehearse_fork() -> io::Result<()> {
    match fork()? {
        // SAFETY: ends the copy without running anything of R or of the C library.
        None => unsafe { libc::_exit(0) },
        Some(pid) => {
            while let Err(Errno::INTR) =
                rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
            {
            }
            Ok(())
        }
    }
}

/// The number of threads of this process.
pub(crate) fn threads() -> io::Result<u32> {
    Ok(fs::read_dir("/proc/self/task")?.count() as u32)
}

/// A raised soft limit of open files, until this is dropped.
#[derive(Debug)]
pub(crate) struct RaisedLimit {
    before: Rlimit,
}

impl RaisedLimit {
    /// As far as it goes without asking: a process with a descriptor for each of its children takes many.
    pub(crate) fn of_files() -> RaisedLimit {
        let before = getrlimit(Resource::Nofile);
        let current = before.maximum;
        // Without it there are fewer.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..before });
        RaisedLimit { before }
    }
}

impl Drop for RaisedLimit {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.before);
    }
}

/// From here on this process goes on when its parent ends, or the thread of it that has started this process, should
/// somebody have stopped it: a stopped process does not see that its host has gone, and would stay for ever.
pub(crate) fn resume_when_parent_ends() {
    // SAFETY: sets an attribute of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGCONT as libc::c_ulong) };
}

/// Lets all signals through.
pub(crate) fn unblock_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset writes the set before it is read.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Gives signals that Rust's start-up ignores back their default, as a fresh program has it.
pub(crate) fn restore_sigpipe() {
    // SAFETY: sets a default disposition, at the start of the program.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Makes `fd` the descriptor `number` of this process, whatever that was before.
pub(crate) fn redirect(fd: BorrowedFd<'_>, number: i32, close_on_exec: bool) -> io::Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: callers name standard descriptors, or one that nothing else owns.
    match unsafe { libc::dup3(fd.as_raw_fd(), number, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Bytes of a page of memory.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: asks for a number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Goes to the begin of the file at `number`.
pub(crate) fn rewind(number: i32) -> io::Result<()> {
    // SAFETY: no memory is concerned; a number that is not open is refused.
    match unsafe { libc::lseek(number, 0, libc::SEEK_SET) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes over the descriptor `number` if it is a socket of the launcher's kind.
pub(crate) fn take_socket(number: i32) -> Option<OwnedFd> {
    if number < 0 {
        return None;
    }
    // SAFETY: only looked at here; where the number is not open, the look fails.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let kind = rustix::net::sockopt::socket_type(fd).ok()?;
    // SAFETY: a socket of this kind at this number is the one made for the caller, which
    // takes it once.
    (kind == SocketType::SEQPACKET).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Moves the socket from stdin to `number`, and leaves nothing to read at stdin.
pub(crate) fn move_stdin(number: i32) -> io::Result<Option<OwnedFd>> {
    let Some(socket) = take_socket(0) else {
        return Ok(None);
    };
    redirect(std::os::fd::AsFd::as_fd(&socket), number, true)?;
    // Not closed: replaced, so that the number is never free for another file.
    let _ = socket.into_raw_fd();
    let null = File::open("/dev/null")?;
    redirect(std::os::fd::AsFd::as_fd(&null), 0, false)?;
    Ok(take_socket(number))
}

/// Sets (or removes) an environment variable of this process, which has one thread.
pub(crate) fn set_variable(name: &std::ffi::OsStr, value: Option<&std::ffi::OsStr>) {
    // SAFETY: called before R is loaded, when the process has one thread.
    unsafe {
        match value {
            Some(value) => std::env::set_var(name, value),
            None => std::env::remove_var(name),
        }
    }
}

/// Shows `title` as the command line of this process, as far as there is room where the
/// arguments are. Nothing may read the arguments after that.
pub(crate) fn set_title(title: &str) -> io::Result<()> {
    let (start, end) = argument_area()?;
    let room = end - start;
    if room < 2 {
        return Ok(());
    }
    let shown = &title.as_bytes()[..title.len().min(room - 2)];
    // SAFETY: the kernel has put the arguments of this process there, in its writable stack,
    // and tells the bounds itself.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, room) };
    area.fill(0);
    area[..shown.len()].copy_from_slice(shown);
    // To the kernel, a last byte other than zero says that the arguments have become a title,
    // which ends at the first zero.
    area[room - 1] = b'.';
    Ok(())
}

/// Fields 48 and 49 of `/proc/self/stat`.
fn argument_area() -> io::Result<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in brackets, may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut bounds = fields.split_ascii_whitespace().skip(45);
    let mut next = || bounds.next().and_then(|field| field.parse::<usize>().ok());
    match (next(), next()) {
        (Some(start), Some(end)) if start != 0 && start <= end => Ok((start, end)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// How a child has ended, if it has, and how many bytes it had in memory at most. It is a zombie no more then.
pub(crate) fn reap(child: Pid) -> Result<Option<(ExitStatus, u64)>, Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both are written before they are read, and plain numbers in any case.
    let (reaped, usage) = unsafe {
        let child = child.as_raw_nonzero().get();
        let reaped = libc::wait4(child, &mut status, libc::WNOHANG, usage.as_mut_ptr());
        (reaped, usage.assume_init())
    };
    match reaped {
        0 => Ok(None),
        pid if pid > 0 => {
            let kilobytes = u64::try_from(usage.ru_maxrss).unwrap_or(0);
            let status = std::process::ExitStatus::from_raw(status);
            let status = match (status.code(), status.signal()) {
                (Some(code), _) => ExitStatus::Code(code),
                (_, Some(signal)) => ExitStatus::Signal(signal),
                _ => ExitStatus::Unknown,
            };
            Ok(Some((status, kilobytes * 1024)))
        }
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::CHILD)),
    }
}
