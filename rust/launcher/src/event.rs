//! What the launcher reports, and why a daemon could not be started.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It ended by itself with this exit code.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// It ended by itself in the midst of a task, as a signal of this number asks of R.
    Told(i32),
    /// It has ended, and its status is lost: its fork server died before it, or the host ignores
    /// SIGCHLD.
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) | Self::Told(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            Self::Unknown => f.write_str("an unknown exit status"),
        }
    }
}

/// The name of a signal that ends processes. These numbers are those of all systems here, but for the last two.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        10 if cfg!(target_os = "linux") => "SIGUSR1",
        12 if cfg!(target_os = "linux") => "SIGUSR2",
        _ => return None,
    })
}

/// How long a fork server may take to answer without a [word](DaemonEvent::Late).
pub const LATE: Duration = Duration::from_secs(10);

/// News of one daemon of a launch. `daemon` is its position in [`LaunchRequest::daemons`].
///
/// For each position there is either one `Failed`, or one `Started` and, when the process has
/// gone, one `Exited`; perhaps one `Late` before.
///
/// [`LaunchRequest::daemons`]: crate::LaunchRequest::daemons
#[derive(Debug, Clone)]
pub enum DaemonEvent {
    /// The process exists. Whether it has connected is known to the hub only.
    Started {
        /// Position in the request.
        daemon: usize,
        /// Process id.
        pid: u32,
    },
    /// The process is gone.
    Exited {
        /// Position in the request.
        daemon: usize,
        /// Process id it had.
        pid: u32,
        /// Exit code or signal.
        status: ExitStatus,
        /// The most bytes that it had in memory at a time, shared ones included, where that is known.
        peak: Option<u64>,
        /// The command, as one would type it in a shell.
        command: String,
        /// What it wrote to stdout and stderr before it took over the host's own (see
        /// [`adopt_stdio`](crate::adopt_stdio)); the last part if long. Of use when it ended
        /// without ever connecting. Forked daemons write to the host's from the start, so
        /// theirs is empty.
        early: String,
        /// Bytes that it had in memory when it [last looked](crate::note_memory).
        memory: Option<u64>,
        /// The last lines of what it has discarded; empty if there were none, or nobody knows.
        last: String,
    },
    /// The fork server was asked for daemons a while ago ([`LATE`](crate::LATE)), and has not answered: it was stopped, and
    /// is let go on now, or the machine is busy. Reported once for each that was asked for.
    Late {
        /// Process id of the fork server.
        pid: u32,
        /// R is not up yet: a start-up file may take its time.
        is_starting: bool,
    },
    /// The process could not be started.
    Failed {
        /// Position in the request.
        daemon: usize,
        /// Shared by all daemons that failed for the same reason.
        failure: Arc<LaunchFailure>,
    },
}

/// Why daemons could not be started, with what helps to find the cause.
#[derive(Debug, Clone, Error)]
#[error("{reason}")]
pub struct LaunchFailure {
    /// The command that was run, as one would type it in a shell to see the same.
    pub command: String,
    /// What went wrong.
    #[source]
    pub reason: FailureReason,
    /// What the command wrote to stdout and stderr; the last part if long.
    pub output: String,
}

/// The kinds of [`LaunchFailure`].
#[derive(Debug, Clone, Error)]
pub enum FailureReason {
    /// The operating system refused a process: no such program, no permission, or no room
    /// for another process.
    #[error("cannot start a process: {0}{hint}", hint = spawn_hint(.0))]
    Spawn(#[source] Arc<io::Error>),
    /// The folder in which it should start cannot be entered.
    #[error("the working directory that they start in, `{}`, cannot be entered: {error}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        error: Arc<io::Error>,
    },
    /// R ended while it was starting, as with a failing start-up file.
    #[error("R ended while starting up, with {0}{hint}", hint = start_up_hint(*.0))]
    StartUp(ExitStatus),
    /// The fork server was lost while it was to make a daemon.
    #[error("the fork server ended, with {0}")]
    ServerLost(ExitStatus),
    /// The fork server, of this process id, did not answer for twice as long as is [late](LATE), and was ended.
    #[error("the fork server (process {0}) has not answered for {seconds} seconds, and was ended", seconds = 2 * LATE.as_secs())]
    Stuck(u32),
    /// The launch was withdrawn before the daemon was started.
    #[error("the launch was withdrawn")]
    Withdrawn,
    /// The launcher was closed before the daemon was started.
    #[error("the launcher was closed")]
    Closed,
}

impl FailureReason {
    /// Why a process in this folder could not be started.
    pub(crate) fn of_start(error: io::Error, dir: &Path) -> FailureReason {
        let is_there = std::fs::read_dir(dir).map(drop);
        match is_there {
            Err(lost) if lost.kind() == error.kind() => FailureReason::Folder {
                dir: dir.to_owned(),
                error: Arc::new(error),
            },
            _ => FailureReason::Spawn(Arc::new(error)),
        }
    }
}

/// What the system's own words do not say.
fn spawn_hint(error: &io::Error) -> &'static str {
    // EAGAIN.
    if error.kind() == io::ErrorKind::WouldBlock {
        ": the limit of processes and threads is reached (that of the user, `ulimit -u`, or of a container or job)"
    } else {
        ""
    }
}

/// R prints no error of its own in these cases.
fn start_up_hint(status: ExitStatus) -> &'static str {
    match status {
        ExitStatus::Code(0) => {
            ": a start-up file calls quit(), or R's temporary folder is on a full disk"
        }
        _ => "",
    }
}

/// Errors of [`Launcher::launch`](crate::Launcher::launch) itself.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The calling process is a fork of the one that made the launcher.
    #[error("this process is a forked copy of the session that set up the launcher")]
    ForkedCopy,
    /// The launcher was closed before.
    #[error("the launcher is closed")]
    Closed,
    /// A descriptor could not be opened, or a thread not started.
    #[error("cannot prepare a launch: {0}")]
    Io(#[from] io::Error),
}
