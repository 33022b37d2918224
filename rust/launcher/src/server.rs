//! The fork server: an R process that makes a copy of itself for each daemon.

use crate::channel::{self, Received};
use crate::context::stamped;
use crate::event::ExitStatus;
use crate::message::{FromServer, Job, Report, ToServer};
use crate::served::{ServeError, Served};
use crate::sys::{early_end, linux as sys, terminate_rest};
use crate::tail::Tail;
use crate::temporary::is_own_folder;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How often to look for ended children where the kernel has no pidfds, or no more of them.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// A path longer than the system allows is none.
const PATH_BYTES: usize = 4096;

/// In a forked daemon: the socket by which it reports its folder to the server.
static TO_SERVER: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// See [`crate::serve_forks`].
pub(crate) fn run_server(fd: i32, loaded: Vec<PathBuf>) -> Result<Served, ServeError> {
    let socket = sys::take_socket(fd).ok_or(ServeError::NotStarted(fd))?;
    early_end::disarm();
    let host = match channel::receive(&socket, true)? {
        Received::Message(ToServer::Attend, mut files) => files.pop(),
        Received::Message(..) => return Err(ServeError::Protocol),
        Received::End | Received::Nothing => return Ok(Served::Finished),
    };
    let loaded = loaded.into_iter().filter(|path| path.to_str().is_some());
    let ready = FromServer::Ready {
        loaded: stamped(loaded.collect()),
    };
    if channel::send(&socket, &ready, &[]).is_err() {
        return Ok(Served::Finished);
    }
    let (reports, reporting) = channel::pair()?;
    let server = Server {
        _limit: sys::RaisedLimit::of_files(),
        socket: Some(socket),
        host,
        leaving: false,
        reports,
        reporting,
        children: Vec::new(),
    };
    server.run()
}

/// See [`crate::report_tempdir`].
pub(crate) fn report_tempdir(path: &Path) -> io::Result<()> {
    let Some(socket) = TO_SERVER.lock().take() else {
        return Ok(());
    };
    let tempdir = path.as_os_str().as_bytes().to_vec();
    if tempdir.len() > PATH_BYTES {
        return Err(Errno::NAMETOOLONG.into());
    }
    let pid = std::process::id();
    channel::send(&socket, &Report { pid, tempdir }, &[])
}

struct Server {
    /// For the server only: daemons get the host's limit.
    _limit: sys::RaisedLimit,
    /// `None` once the host has closed its end.
    socket: Option<OwnedFd>,
    /// Readable when the host is dead. `None` once it is, or where there are no pidfds.
    host: Option<OwnedFd>,
    /// No more daemons will be asked for: ends after the last one.
    leaving: bool,
    /// The daemons' reports arrive here …
    reports: OwnedFd,
    /// … from copies of this.
    reporting: OwnedFd,
    children: Vec<Child>,
}

/// A forked daemon that has not been waited for.
struct Child {
    pid: Pid,
    /// Readable when it has ended.
    pidfd: Option<OwnedFd>,
    tempdir: Option<PathBuf>,
    tail: Option<Tail>,
}

impl Child {
    /// What the host is told of its end.
    fn exited(&self, status: ExitStatus, peak: Option<u64>) -> FromServer {
        let tail = self.tail.as_ref();
        let status = match (status, tail.and_then(Tail::quitting)) {
            (ExitStatus::Code(_), Some(signal)) => ExitStatus::Told(signal),
            _ => status,
        };
        FromServer::Exited {
            pid: number(self.pid),
            status,
            peak,
            memory: tail.and_then(Tail::memory),
            last: tail.map_or_else(String::new, Tail::text),
        }
    }
}

/// What a round of polling found.
struct Found {
    message: bool,
    host_gone: bool,
    children: bool,
}

impl Server {
    fn run(mut self) -> Result<Served, ServeError> {
        loop {
            if self.leaving && self.children.is_empty() {
                return Ok(Served::Finished);
            }
            let found = self.wait()?;
            if found.host_gone {
                self.host = None;
                self.socket = None;
                self.leaving = true;
                self.resume_children();
            }
            if found.children {
                self.collect();
            }
            if found.message
                && let Some(code) = self.listen()?
            {
                return Ok(Served::Child { code });
            }
        }
    }

    /// The host is dead: those that somebody has stopped would not see it.
    fn resume_children(&self) {
        for child in &self.children {
            // It has not been waited for, so that the id is its own.
            let _ = kill_process_group(child.pid, Signal::CONT);
        }
    }

    fn wait(&self) -> io::Result<Found> {
        let pidfds: Vec<_> = self
            .children
            .iter()
            .filter_map(|c| c.pidfd.as_ref())
            .collect();
        let all_seen = pidfds.len() == self.children.len();
        let mut fds = Vec::with_capacity(pidfds.len() + 3);
        fds.push(PollFd::new(&self.reports, PollFlags::IN));
        fds.extend(pidfds.into_iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let children = fds.len();
        fds.extend(
            self.socket
                .as_ref()
                .map(|fd| PollFd::new(fd, PollFlags::IN)),
        );
        let socket = fds.len();
        fds.extend(self.host.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, (!all_seen).then_some(&LOOK_EVERY)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let any = |fds: &[PollFd<'_>]| fds.iter().any(|fd| !fd.revents().is_empty());
        Ok(Found {
            message: any(&fds[children..socket]),
            host_gone: any(&fds[socket..]),
            children: !all_seen || any(&fds[..children]),
        })
    }

    /// Takes one message from the host. `Some` in a new daemon, with its code.
    fn listen(&mut self) -> Result<Option<String>, ServeError> {
        let Some(socket) = &self.socket else {
            return Ok(None);
        };
        match channel::receive(socket, false)? {
            Received::Nothing => Ok(None),
            Received::End => {
                self.socket = None;
                self.leaving = true;
                Ok(None)
            }
            Received::Message(ToServer::Close, _) => {
                self.leaving = true;
                Ok(None)
            }
            Received::Message(ToServer::Fork { batch, jobs }, output) => {
                self.fork_all(batch, jobs, output)
            }
            Received::Message(..) => Err(ServeError::Protocol),
        }
    }

    fn fork_all(
        &mut self,
        batch: u64,
        jobs: Vec<Job>,
        output: Vec<OwnedFd>,
    ) -> Result<Option<String>, ServeError> {
        let Ok([out, err]) = <[OwnedFd; 2]>::try_from(output) else {
            return Err(ServeError::Protocol);
        };
        // Without /proc they cannot be counted.
        let threads = lasting_threads().unwrap_or(0);
        if threads != 1 {
            self.tell(&FromServer::CannotFork { batch, threads });
            return Ok(None);
        }
        let (mut pids, mut error) = (Vec::new(), None);
        for job in jobs {
            // Without one, what it says is lost.
            let tail = Tail::new().ok();
            match sys::fork() {
                Ok(None) => {
                    if let Some(tail) = tail {
                        tail.become_own();
                    }
                    // All else of the server's is closed as it is dropped on the way out.
                    *TO_SERVER.lock() = Some(self.reporting.try_clone()?);
                    become_daemon(&job.title, &out, &err)?;
                    return Ok(Some(job.code));
                }
                Ok(Some(pid)) => pids.push(self.adopt(pid, tail)),
                Err(refused) => {
                    error = refused.raw_os_error();
                    break;
                }
            }
        }
        self.tell(&FromServer::Forked { batch, pids, error });
        Ok(None)
    }

    fn adopt(&mut self, pid: Pid, tail: Option<Tail>) -> u32 {
        self.children.push(Child {
            pid,
            // Without one, it is looked for in intervals.
            pidfd: pidfd_open(pid, PidfdFlags::empty()).ok(),
            tempdir: None,
            tail,
        });
        number(pid)
    }

    /// Handles reports, and children that have ended. Reports come first: a child that has ended
    /// may have sent one just before.
    fn collect(&mut self) {
        self.take_reports();
        let mut ended = Vec::new();
        self.children.retain(|child| {
            terminate_rest(child.pid);
            let (status, peak) = match sys::reap(child.pid) {
                Ok(None) | Err(Errno::INTR) => return true,
                Ok(Some((status, peak))) => (status, Some(peak)),
                Err(_) => (ExitStatus::Unknown, None),
            };
            ended.push((child.exited(status, peak), child.tempdir.clone()));
            false
        });
        for (exited, tempdir) in ended {
            if let Some(folder) = tempdir {
                remove_tempdir(&folder);
            }
            self.tell(&exited);
        }
    }

    fn take_reports(&mut self) {
        loop {
            match channel::receive::<Report>(&self.reports, false) {
                Ok(Received::Message(report, _)) => {
                    let child = self
                        .children
                        .iter_mut()
                        .find(|c| number(c.pid) == report.pid);
                    if let Some(child) = child {
                        child.tempdir = Some(Path::new(OsStr::from_bytes(&report.tempdir)).into());
                    }
                }
                // What a daemon's own code may have sent is not a report.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                _ => return,
            }
        }
    }

    fn tell(&self, message: &FromServer) {
        // A host that is gone shows at the next poll.
        if let Some(socket) = &self.socket
            && let Err(error) = channel::send(socket, message, &[])
        {
            log::debug!("fork server: host not told: {error}");
        }
    }
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// The threads that are there even after a fork's handlers have run.
fn lasting_threads() -> io::Result<u32> {
    match sys::threads()? {
        1 => Ok(1),
        _ => {
            sys::rehearse_fork()?;
            sys::threads()
        }
    }
}

/// In a new daemon: detaches it from the server.
fn become_daemon(title: &str, out: &OwnedFd, err: &OwnedFd) -> io::Result<()> {
    // A session of its own: the terminal's Ctrl-C and hang-up are not for it.
    rustix::process::setsid()?;
    sys::unblock_signals();
    sys::resume_when_parent_ends();
    sys::redirect(out.as_fd(), 1, false)?;
    sys::redirect(err.as_fd(), 2, false)?;
    // Only for those who look at the list of processes.
    let _ = sys::set_title(title);
    Ok(())
}

/// Removes what R calls a session's temporary folder, and nothing else: the path was told by
/// code that ran a user's tasks.
fn remove_tempdir(folder: &Path) {
    let is_r_s = folder
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b"Rtmp"));
    let is_ours = fs::symlink_metadata(folder).is_ok_and(|data| is_own_folder(&data));
    if is_r_s
        && is_ours
        && folder.is_absolute()
        && let Err(error) = fs::remove_dir_all(folder)
    {
        log::debug!("fork server: {} not removed: {error}", folder.display());
    }
}
