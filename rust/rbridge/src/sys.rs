//! The process: its environment variables, its signals, its errors. No R in here.
#![allow(unsafe_code)]

#[cfg_attr(unix, path = "sys/unix.rs")]
#[cfg_attr(not(unix), path = "sys/other.rs")]
mod os;

#[cfg(unix)]
#[path = "sys/process.rs"]
mod process;

pub(crate) use os::*;
#[cfg(unix)]
pub(crate) use process::Process;

/// What is different between two states of a process.
pub(crate) struct Differences {
    /// Umask, priority or the processors to run on.
    pub attributes: bool,
    /// The locale.
    pub locale: bool,
    /// Whether Rprof() samples.
    pub profiler: bool,
}

#[cfg(unix)]
pub(crate) mod signals;
#[cfg(not(unix))]
pub(crate) use os::signals;
