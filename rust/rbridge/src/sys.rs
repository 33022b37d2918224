//! The process: its environment variables, its signals, its errors. No R in here.
#![allow(unsafe_code)]

use std::io;

#[cfg_attr(unix, path = "sys/unix.rs")]
#[cfg_attr(not(unix), path = "sys/other.rs")]
mod os;

#[cfg(unix)]
#[path = "sys/process.rs"]
mod process;

pub(crate) use os::*;
#[cfg(unix)]
pub(crate) use process::{Process, process_number};

/// What is different between two states of a process.
pub(crate) struct Differences {
    /// Umask, priority or the processors to run on.
    pub attributes: bool,
    /// The locale.
    pub locale: bool,
    /// Whether Rprof() samples.
    pub profiler: bool,
}

/// Starts a thread that leaves all signals to R's.
pub(crate) fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    with_signals_blocked(|| thread.spawn(body)).map(drop)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod again;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
#[path = "sys/never_again.rs"]
mod again;

#[cfg(unix)]
pub(crate) mod signals;
#[cfg(not(unix))]
pub(crate) use os::signals;
