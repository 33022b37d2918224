//! All that differs between operating systems, and all `unsafe` code of this library.

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(crate) mod early_end;
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(crate) mod linux;
#[cfg(unix)]
#[allow(unsafe_code)]
mod spawn;

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
#[allow(unsafe_code)]
mod os;

pub(crate) use os::*;

use std::path::Path;

/// Names the descriptors of the host's stdout and stderr in a daemon started by `Rscript`.
pub(crate) const STDIO_VARIABLE: &str = "MIRAI_DAEMON_STDIO";

/// A program to be run as a process that is independent of the host's terminal.
pub(crate) struct Command<'a> {
    /// Program and arguments.
    pub(crate) words: &'a [String],
    /// All of its environment.
    pub(crate) environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    pub(crate) dir: &'a Path,
}
