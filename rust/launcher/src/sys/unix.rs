//! Processes, output and threads on Unix.

use super::{Command, STDIO_VARIABLE, spawn};
use crate::event::ExitStatus;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Of a long early output only the end is kept, where the error is.
const KEPT_BYTES: u64 = 8192;

/// What a new process takes over from the host without being told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// The working directory itself: another may have come to stand under its name.
    folder: Option<(u64, u64)>,
    priority: Option<i32>,
    /// `Sys.umask()`, as text, where the system shows it.
    umask: Option<String>,
}

impl Inherited {
    pub(crate) fn of(folder: &Path) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find(|line| line.starts_with("Umask:"));
        Self {
            folder: fs::metadata(folder)
                .ok()
                .map(|data| (data.dev(), data.ino())),
            priority: rustix::process::getpriority_process(None).ok(),
            umask: umask.map(str::to_owned),
        }
    }
}

/// What is stdout and stderr of the host.
pub(crate) struct HostOutput {
    pub(crate) out: OwnedFd,
    pub(crate) err: OwnedFd,
}

impl HostOutput {
    pub(crate) fn current() -> io::Result<Self> {
        Ok(Self {
            out: duplicate(1)?,
            err: duplicate(2)?,
        })
    }
}

impl HostOutput {
    /// Writes to stdout. What that does not take is lost.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Ok(length @ 1..) = rustix::io::write(&self.out, rest) {
            rest = &rest[length..];
        }
    }
}

/// A program with no terminal may have closed them; writing then goes nowhere.
fn duplicate(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: only duplicated here and now; if the number is not open, that fails.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    match rustix::io::fcntl_dupfd_cloexec(fd, 3) {
        Err(Errno::BADF) => Ok(File::options().write(true).open("/dev/null")?.into()),
        result => Ok(result?),
    }
}

/// A file without a name that takes the early output of a process.
pub(crate) struct Capture(File);

impl Capture {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(nameless_file()?))
    }

    /// What was written so far, or its end.
    pub(crate) fn text(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let length = self.0.metadata()?.len();
            let mut bytes = vec![0; length.min(KEPT_BYTES) as usize];
            self.0
                .read_exact_at(&mut bytes, length.saturating_sub(KEPT_BYTES))?;
            Ok(bytes)
        };
        read().map_or_else(
            |error| format!("(output not readable: {error})"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(target_os = "linux")]
fn nameless_file() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
    let fd = memfd_create("mirai-start-up", MemfdFlags::CLOEXEC)?;
    // stdout and stderr share the offset, but not with what the program opens anew.
    fcntl_setfl(&fd, OFlags::APPEND)?;
    Ok(fd.into())
}

#[cfg(not(target_os = "linux"))]
fn nameless_file() -> io::Result<File> {
    let name = format!(
        "mirai-{}-{:?}",
        std::process::id(),
        std::time::Instant::now()
    );
    let path = std::env::temp_dir().join(name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
    let file = File::options()
        .read(true)
        .append(true)
        .create_new(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// A process this one has started.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    /// Its id may be another's: somebody else has waited for it, or the session ignores the ends of its children.
    is_gone: Arc<AtomicBool>,
}

impl Process {
    /// Starts a daemon whose early output is kept, and that finds the host's output at the
    /// descriptors 3 and 4.
    pub(crate) fn daemon(
        mut command: Command<'_>,
        early: &Capture,
        output: &HostOutput,
    ) -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        command
            .environment
            .retain(|(name, _)| name != STDIO_VARIABLE);
        command
            .environment
            .push((STDIO_VARIABLE.into(), "3,4".into()));
        let early = early.as_fd();
        let descriptors = [
            null.as_fd(),
            early,
            early,
            output.out.as_fd(),
            output.err.as_fd(),
        ];
        Self::spawn(&command, &descriptors)
    }

    /// Starts a program that writes to `output`.
    pub(crate) fn errand(command: Command<'_>, output: &io::PipeWriter) -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        let output = output.as_fd();
        Self::spawn(&command, &[null.as_fd(), output, output])
    }

    /// Starts a program with these as its descriptors 0, 1, 2 ….
    pub(crate) fn spawn(command: &Command<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let pid = spawn::spawn(command, descriptors)?;
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::Other)?;
        let is_gone = Arc::default();
        Ok(Self { pid, is_gone })
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until it has ended, and keeps its process id, which [`wait`](Self::wait) lets go. Where it is let go already, its
    /// [`Terminator`]s do nothing from here on.
    pub(crate) fn await_end(&mut self) {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(_) => return,
                Err(Errno::INTR) => {}
                Err(_) => return self.is_gone.store(true, Ordering::Release),
            }
        }
    }

    /// Ends what it has left in its group, if it was killed and had no chance to do that itself. Call it once it has ended.
    pub(crate) fn terminate_rest(&self) {
        terminate_rest(self.pid);
    }

    /// What ends it from elsewhere, before it is waited for.
    pub(crate) fn terminator(&self) -> Terminator {
        Terminator {
            pid: self.pid,
            is_gone: Arc::clone(&self.is_gone),
        }
    }

    /// Waits until it has ended, and lets its process id go: call it once.
    pub(crate) fn wait(self) -> ExitStatus {
        loop {
            match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => return status.into(),
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => return ExitStatus::Unknown,
            }
        }
    }
}

/// Ends a process of a session of its own. Not to be used once that has been [waited for](Process::wait): its id may be
/// another's by then.
#[derive(Debug)]
pub(crate) struct Terminator {
    pid: Pid,
    is_gone: Arc<AtomicBool>,
}

impl Terminator {
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Asks it to end, with what it has started.
    pub(crate) fn terminate_group(&self) {
        self.signal_group(Signal::TERM);
        // A stopped one would not be told.
        self.resume_group();
    }

    /// Lets it go on, with what it has started, where somebody has stopped them.
    pub(crate) fn resume_group(&self) {
        self.signal_group(Signal::CONT);
    }

    /// Ends it at once, with what it has started.
    pub(crate) fn kill_group(&self) {
        self.signal_group(Signal::KILL);
    }

    fn signal_group(&self, signal: Signal) {
        if !self.is_gone.load(Ordering::Acquire) {
            // It may have ended just now.
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }
}

/// Ends what a daemon, a child of this process that leads a group, has left there if a signal has ended it, also one of ours
/// in the middle of a task: it had no chance to do so itself, and the forked processes of `parallel` wait for ever for one
/// that is gone. Call it before the daemon is waited for: its id is not another's then.
pub(crate) fn terminate_rest(daemon: Pid) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let ended = waitid(WaitId::Pid(daemon), options);
    if matches!(ended, Ok(Some(status)) if status.killed() || status.dumped()) {
        let _ = rustix::process::kill_process_group(daemon, Signal::TERM);
        let _ = rustix::process::kill_process_group(daemon, Signal::CONT);
    }
}

/// Lets a process go on that somebody has stopped. Of no consequence to one that runs, or to another that has its id by now.
#[cfg(target_os = "linux")]
pub(crate) fn resume(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::CONT);
    }
}

impl From<WaitStatus> for ExitStatus {
    fn from(status: WaitStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (_, Some(signal)) => Self::Signal(signal),
            _ => Self::Unknown,
        }
    }
}

/// Starts a thread that blocks all signals, as R's handlers must run on R's thread.
pub(crate) fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset writes `all` before it is read; `before` is written by the call.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    // A thread inherits the mask, so that there is no moment without it.
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(256 * 1024)
        .spawn(body);
    // SAFETY: `before` was written above: the arguments cannot be refused.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    started.map(drop)
}

/// Makes `out` and `err` stdout and stderr of this process, and closes them.
pub(crate) fn adopt_stdio(out: i32, err: i32) -> io::Result<()> {
    // SAFETY: flushes what C code has buffered for the early output, R's console included.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    for (fd, target) in [(out, 1), (err, 2)] {
        // SAFETY: the caller names descriptors that were passed to this process for this.
        if unsafe { libc::dup2(fd, target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for fd in [out, err] {
        // SAFETY: as above; nothing else knows them.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Removes an environment variable.
pub(crate) fn remove_variable(name: &str) {
    // SAFETY: callers are on R's main thread, the only one to read or write the environment.
    unsafe { std::env::remove_var(name) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};

    #[test]
    fn the_group_of_a_process_that_is_gone_may_be_that_of_another() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let gate = folder.path().join("gate");
        let made = std::process::Command::new("mkfifo").arg(&gate).status();
        assert!(made.is_ok_and(|status| status.success()));
        // What is left in its group stands for that other one.
        let line = format!("cat '{}' & echo started", gate.display());
        let words = ["/bin/sh".to_owned(), "-c".to_owned(), line];
        let command = Command {
            words: &words,
            environment: std::env::vars_os().collect(),
            dir: Path::new("/"),
        };
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut process = Process::errand(command, &writer).expect("a shell");
        drop(writer);
        let terminator = process.terminator();
        let mut said = BufReader::new(reader).lines().map_while(Result::ok);
        assert_eq!(said.next().as_deref(), Some("started"));
        // As the kernel does where a session ignores SIGCHLD.
        let waited = rustix::process::waitpid(Some(process.pid), WaitOptions::empty());
        assert!(matches!(waited, Ok(Some(_))));
        process.await_end();
        terminator.terminate_group();
        terminator.kill_group();
        // Open for both, so that this waits for nobody.
        let gate = File::options().read(true).write(true).open(gate);
        let mut gate = gate.expect("the pipe");
        gate.write_all(b"alive\n").expect("room");
        assert_eq!(said.next().as_deref(), Some("alive"));
        assert_eq!(process.wait(), ExitStatus::Unknown);
    }
}
