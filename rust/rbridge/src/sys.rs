//! The process: its environment variables, its signals, its errors. No R in here.
#![allow(unsafe_code)]

use std::ffi::CStr;

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

/// The system's text for an error number.
pub(crate) fn error_text(number: i32) -> String {
    // SAFETY: on R's thread, which is the only one to ask; the text is copied before the next call.
    unsafe { CStr::from_ptr(libc::strerror(number)) }
        .to_string_lossy()
        .into_owned()
}
