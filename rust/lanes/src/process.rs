//! Notices the end of another process of this machine.

use std::sync::Arc;

use crate::Alarm;

/// Becomes readable when a process ends. The end of its connections is only a hint: a copy of the descriptor in a
/// grandchild keeps them open. Only Linux has this; elsewhere the hint has to do.
#[derive(Debug)]
pub struct ProcessEnd {
    #[cfg(target_os = "linux")]
    fd: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl ProcessEnd {
    /// Watches process `pid`; `None` when there is no such process or the system cannot watch it.
    pub fn watch(pid: u32) -> Option<ProcessEnd> {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::empty())
            .ok()
            .map(|fd| ProcessEnd { fd })
    }

    /// Moves its descriptor out of the range that is left to R, where possible.
    pub fn move_up(self) -> ProcessEnd {
        ProcessEnd {
            fd: crate::descriptors::move_up(self.fd),
        }
    }

    /// Resolves when the process has ended. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch the descriptor.
    pub async fn wait(self) -> std::io::Result<()> {
        self.wait_or_kill(std::future::pending()).await
    }

    /// The same; once `asked` has resolved, the process is killed. What is killed is the process that was watched, and no other that
    /// has its number by then.
    ///
    /// # Errors
    /// When the runtime cannot watch the descriptor.
    pub async fn wait_or_kill(self, asked: impl Future<Output = ()>) -> std::io::Result<()> {
        // SAFETY: an `OwnedFd` answers the same open descriptor for as long as it lives, and `fd` owns it.
        #[allow(unsafe_code)]
        let fd = unsafe {
            tokio::io::unix::AsyncFd::register_with_interest(self.fd, tokio::io::Interest::READABLE)
        }?;
        tokio::select! {
            ended = fd.readable() => return ended.map(drop),
            () = asked => {}
        }
        // It may have ended at this moment.
        let _ = rustix::process::pidfd_send_signal(fd.get_ref(), rustix::process::Signal::KILL);
        fd.readable().await.map(drop)
    }
}

#[cfg(target_os = "linux")]
impl std::os::fd::AsFd for ProcessEnd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(not(target_os = "linux"))]
impl ProcessEnd {
    /// Always `None` on this platform.
    pub fn watch(_pid: u32) -> Option<ProcessEnd> {
        None
    }

    /// Never called on this platform.
    pub fn move_up(self) -> ProcessEnd {
        self
    }

    /// Never called on this platform.
    ///
    /// # Errors
    /// None.
    pub async fn wait(self) -> std::io::Result<()> {
        Ok(())
    }

    /// Never called on this platform.
    ///
    /// # Errors
    /// None.
    pub async fn wait_or_kill(self, _asked: impl Future<Output = ()>) -> std::io::Result<()> {
        Ok(())
    }
}

/// How long a process that was sent SIGTERM may take to end.
#[cfg(unix)]
const AFTER_SIGTERM: std::time::Duration = std::time::Duration::from_secs(2);

/// Ends this process as `kill` would, and what it has started, where it leads a session of its own; as `kill -9` would,
/// where that has not ended it within two seconds. Not to be called on the thread that takes the signals.
pub fn end_this_process() -> ! {
    #[cfg(unix)]
    {
        use rustix::process::{Signal, getpid, kill_process, kill_process_group};
        let own = getpid();
        let leads = leads_session();
        if leads {
            let _ = kill_process_group(own, Signal::TERM);
        }
        let _ = kill_process(own, Signal::TERM);
        // Still here where the signal is ignored or handled, or as the first process of a container, which the kernel
        // spares whatever signals it sends itself.
        std::thread::sleep(AFTER_SIGTERM);
        if leads {
            let _ = kill_process_group(own, Signal::KILL);
        }
        // SAFETY: no preconditions. Unlike `exit()` it runs no handlers, which could wait for a thread that is stuck.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(ENDED_BY_SIGTERM)
        }
    }
    #[cfg(not(unix))]
    std::process::exit(ENDED_BY_SIGTERM);
}

/// Ends, as `kill` would, whatever this process has started and left behind in its process group, where it leads a session of its
/// own; but not this process.
pub fn end_what_is_left_behind() {
    #[cfg(unix)]
    if leads_session() {
        use rustix::process::{Signal, getpid, kill_process_group};
        // SAFETY: no preconditions. A signal that is ignored as it is sent is not delivered later.
        #[allow(unsafe_code)]
        unsafe {
            let before = libc::signal(libc::SIGTERM, libc::SIG_IGN);
            let _ = kill_process_group(getpid(), Signal::TERM);
            libc::signal(libc::SIGTERM, before);
        }
    }
}

/// Ends this process at once if it is a forked copy of that one, whose connections it shares, but not its threads.
pub fn end_forked_copy(of: u32) {
    #[cfg(unix)]
    if std::process::id() != of {
        // SAFETY: no preconditions. Unlike `exit()` it runs no handlers, which would act on what belongs to the other process.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(0)
        }
    }
    #[cfg(not(unix))]
    let _ = of;
}

/// What a shell sees after that signal.
const ENDED_BY_SIGTERM: i32 = 128 + 15;

/// Whether this process leads a session. In a container that session may have been begun outside, which the system
/// answers by 0: not a process id, so that rustix's `getsid()` does not take it.
#[cfg(unix)]
fn leads_session() -> bool {
    // SAFETY: takes no pointers, and is always possible for the calling process.
    #[allow(unsafe_code)]
    let leader = unsafe { libc::getsid(0) };
    leader == rustix::process::getpid().as_raw_pid()
}

/// What the system's own words do not say of the error with which a thread could not be started.
pub fn thread_hint(error: &std::io::Error) -> &'static str {
    // EAGAIN.
    if error.kind() == std::io::ErrorKind::WouldBlock {
        ": the limit of processes and threads is reached (that of the user, `ulimit -u`, or of a container or job), or there is \
         no memory for its stack"
    } else {
        ""
    }
}

/// What a daemon's control thread has waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// There is something to read, if only the end of the stream.
    Readable,
    /// The host's process has ended.
    HostEnded,
    /// The alarm has gone off.
    Alarm,
}

/// Lets a daemon watch the process of its hub.
#[derive(Debug)]
pub struct HostWatch {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "always `None`"))]
    host: Option<ProcessEnd>,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "never set"))]
    alarm: Option<Arc<Alarm>>,
}

impl HostWatch {
    /// Watches the process of the hub, as [`Dialled::host_pid`](crate::Dialled::host_pid) has it, where the system can; elsewhere the
    /// end of the stream has to do.
    pub fn new(host_pid: Option<u32>) -> HostWatch {
        HostWatch {
            host: host_pid.and_then(ProcessEnd::watch),
            alarm: None,
        }
    }

    /// Waits for this as well.
    pub fn with_alarm(self, alarm: Option<Arc<Alarm>>) -> HostWatch {
        HostWatch { alarm, ..self }
    }

    /// Blocks until the host's process has ended. Returns `false`, at once, where that is not to be seen.
    pub fn wait_for_end(&self) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(host) = &self.host {
            return wait_readable(host);
        }
        false
    }

    /// Blocks until `stream` can be read, the host's process has ended, or the alarm has gone off; what can be read comes
    /// first.
    pub(crate) fn wait_beside(&self, stream: &crate::lane::Stream) -> Wake {
        #[cfg(target_os = "linux")]
        if self.host.is_some() || self.alarm.is_some() {
            return wait_either(stream, self.host.as_ref(), self.alarm.as_deref());
        }
        // The caller's read blocks.
        let _ = stream;
        Wake::Readable
    }
}

#[cfg(target_os = "linux")]
fn wait_readable(host: &ProcessEnd) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    loop {
        match poll(&mut [PollFd::new(host, PollFlags::IN)], None) {
            Ok(_) => return true,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(target_os = "linux")]
fn wait_either(
    stream: &crate::lane::Stream,
    host: Option<&ProcessEnd>,
    alarm: Option<&Alarm>,
) -> Wake {
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    let beside = [
        (host.map(AsFd::as_fd), Wake::HostEnded),
        (alarm.map(AsFd::as_fd), Wake::Alarm),
    ];
    let sources: Vec<_> = std::iter::once((Some(stream.as_fd()), Wake::Readable))
        .chain(beside)
        .filter_map(|(fd, wake)| Some((fd?, wake)))
        .collect();
    loop {
        let watched = sources
            .iter()
            .map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN));
        let mut watched: Vec<_> = watched.collect();
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            // The descriptors are ours and open: the caller's read will tell.
            Err(_) => return Wake::Readable,
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let Some(first) = watched.iter().position(is_ready) else {
            continue;
        };
        let (_, wake) = sources[first];
        if let (Wake::Alarm, Some(alarm)) = (wake, alarm) {
            alarm.acknowledge();
        }
        return wake;
    }
}
