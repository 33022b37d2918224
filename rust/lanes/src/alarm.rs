//! Wakes a thread that waits for a connection, after a while.

use std::io;
use std::time::Duration;

/// Set by one thread, and noticed by another in [`HostWatch`](crate::HostWatch). Only Linux has this.
#[derive(Debug)]
pub struct Alarm {
    #[cfg(target_os = "linux")]
    fd: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn new() -> io::Result<Alarm> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Alarm { fd })
    }

    /// Goes off once, `after` this time and not before.
    pub fn set(&self, after: Duration) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = Timespec::try_from(after).unwrap_or(zero);
        let once = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        // The descriptor is ours and the time a valid one.
        let _ = timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once);
    }

    /// Makes one that has gone off silent.
    pub(crate) fn acknowledge(&self) {
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
    }
}

#[cfg(target_os = "linux")]
impl std::os::fd::AsFd for Alarm {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// Never succeeds on this platform.
    ///
    /// # Errors
    /// Always.
    pub fn new() -> io::Result<Alarm> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called on this platform.
    pub fn set(&self, _after: Duration) {}
}
