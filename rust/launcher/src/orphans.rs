//! Daemons whose fork server has ended before them.

use crate::event::ExitStatus;
use crate::fork_server::Daemon;
use crate::sys;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::HashMap;
use std::os::fd::OwnedFd;

/// Reports the end of these daemons, whenever it comes, from a thread of its own.
pub(crate) fn watch(daemons: HashMap<u32, Daemon>) {
    let mut running = Vec::new();
    for (pid, daemon) in daemons {
        match pidfd(pid) {
            Some(pidfd) => running.push((pidfd, pid, daemon)),
            None => daemon.exited(pid, ExitStatus::Unknown),
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

fn pidfd(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn report(mut running: Vec<(OwnedFd, u32, Daemon)>) {
    while !running.is_empty() {
        let fds = running
            .iter()
            .map(|(fd, ..)| PollFd::new(fd, PollFlags::IN));
        let mut fds: Vec<_> = fds.collect();
        if let Err(error) = poll(&mut fds, None)
            && error != rustix::io::Errno::INTR
        {
            log::debug!("daemons without a server are no longer watched: {error}");
            return;
        }
        let ended: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        running.retain(|(_, pid, daemon)| {
            let gone = ended.next().unwrap_or(false);
            if gone {
                daemon.exited(*pid, ExitStatus::Unknown);
            }
            !gone
        });
    }
}
