//! Daemons whose fork server has ended before them.

use crate::event::ExitStatus;
use crate::fork_server::Daemon;
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use std::collections::HashMap;
use std::os::fd::OwnedFd;

/// How often to look for those that cannot be watched.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Reports the end of these daemons, whenever it comes, from a thread of its own.
pub(crate) fn watch(daemons: HashMap<u32, Daemon>) {
    let mut running = Vec::new();
    for (pid, daemon) in daemons {
        match Orphan::of(pid) {
            Some(orphan) => running.push((orphan, pid, daemon)),
            None => daemon.exited(pid, ExitStatus::Unknown, None, None, String::new()),
        }
    }
    if running.is_empty() {
        return;
    }
    // Without a thread nobody is told: the hub sees their connections end.
    if let Err(error) = sys::spawn_thread("mirai-orphans", move || report(running)) {
        log::debug!("daemons without a server are not watched: {error}");
    }
}

/// A process that is not a child of this one.
enum Orphan {
    /// Readable when it has ended.
    Watched(OwnedFd),
    /// Looked for now and then: the kernel has no pidfds, or no more of them.
    Unwatched(Pid),
}

impl Orphan {
    /// `None` if it is gone.
    fn of(pid: u32) -> Option<Orphan> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Some(Orphan::Watched(pidfd)),
            Err(Errno::SRCH) => None,
            Err(_) => is_there(pid).then_some(Orphan::Unwatched(pid)),
        }
    }
}

/// In doubt, as where another user has the number by now, `true`.
fn is_there(pid: Pid) -> bool {
    test_kill_process(pid) != Err(Errno::SRCH)
}

fn report(mut running: Vec<(Orphan, u32, Daemon)>) {
    while !running.is_empty() {
        let ended = match wait(&running) {
            Ok(ended) => ended,
            Err(error) => {
                return log::debug!("daemons without a server are no longer watched: {error}");
            }
        };
        let mut ended = ended.into_iter();
        running.retain(|(_, pid, daemon)| {
            let gone = ended.next().unwrap_or(false);
            if gone {
                daemon.exited(*pid, ExitStatus::Unknown, None, None, String::new());
            }
            !gone
        });
    }
}

/// Waits until one may have ended, and says of each whether it has.
fn wait(running: &[(Orphan, u32, Daemon)]) -> rustix::io::Result<Vec<bool>> {
    let watched = running.iter().filter_map(|(orphan, ..)| match orphan {
        Orphan::Watched(pidfd) => Some(PollFd::new(pidfd, PollFlags::IN)),
        Orphan::Unwatched(_) => None,
    });
    let mut fds: Vec<_> = watched.collect();
    let all_watched = fds.len() == running.len();
    match poll(&mut fds, (!all_watched).then_some(&LOOK_EVERY)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error),
    }
    let mut fds = fds.iter();
    let ended = running.iter().map(|(orphan, ..)| match orphan {
        Orphan::Watched(_) => fds.next().is_some_and(|fd| !fd.revents().is_empty()),
        Orphan::Unwatched(pid) => !is_there(*pid),
    });
    Ok(ended.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(process: &std::process::Child) -> Pid {
        Pid::from_raw(i32::try_from(process.id()).expect("a pid")).expect("not 0")
    }

    #[test]
    fn a_process_that_cannot_be_watched_is_there_until_it_is_gone() {
        let mut process = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .expect("sleep");
        let pid = pid(&process);
        assert!(is_there(pid));
        process.kill().expect("killed");
        process.wait().expect("ended");
        assert!(!is_there(pid));
    }
}
