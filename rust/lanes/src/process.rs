//! Notices the end of another process of this machine.

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

    /// Resolves when the process has ended. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch the descriptor.
    pub async fn wait(self) -> std::io::Result<()> {
        // SAFETY: an `OwnedFd` answers the same open descriptor for as long as it lives, and `fd` owns it.
        #[allow(unsafe_code)]
        let fd = unsafe {
            tokio::io::unix::AsyncFd::register_with_interest(self.fd, tokio::io::Interest::READABLE)
        }?;
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
    ///
    /// # Errors
    /// None.
    pub async fn wait(self) -> std::io::Result<()> {
        Ok(())
    }
}
