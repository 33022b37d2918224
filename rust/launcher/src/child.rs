//! What a daemon calls from its own process.

use crate::context::LAUNCHER_VARIABLE;
use crate::sys::{self, STDIO_VARIABLE};
use std::io;
use std::path::Path;
use thiserror::Error;

/// The number by which the launcher of this process identifies it; 0 for none. To be called once,
/// on R's main thread: it removes the environment variable, so that programs which tasks start do
/// not inherit the number.
pub fn take_known_by() -> u64 {
    let given = std::env::var(LAUNCHER_VARIABLE).ok();
    if given.is_some() {
        sys::remove_variable(LAUNCHER_VARIABLE);
    }
    given.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Errors of [`report_tempdir`] and [`adopt_stdio`].
#[derive(Debug, Error)]
pub enum ChildError {
    /// `MIRAI_DAEMON_STDIO` does not hold two descriptors.
    #[error("MIRAI_DAEMON_STDIO must be two descriptors, not \"{0}\"")]
    Variable(String),
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// In a fork server: puts a file in the place of R's temporary folder, so that children make folders of their own and no
/// other user can take the name meanwhile.
///
/// # Errors
/// As the system gives them; no child must be made then.
pub fn give_up_tempdir(path: &Path) -> Result<(), ChildError> {
    #[cfg(target_os = "linux")]
    crate::temporary::replace_by_file(path)?;
    #[cfg(not(target_os = "linux"))]
    let _ = path;
    Ok(())
}

/// Tells the fork server which folder to remove when this process has ended without doing so.
/// Only a folder of this user whose name starts with `Rtmp` is ever removed. Does nothing in a
/// process that no fork server made, and after the first call.
///
/// # Errors
/// When the folder is not this user's or others may write to it, when the server is gone, or the path is longer than
/// 4,000 bytes.
pub fn report_tempdir(path: &Path) -> Result<(), ChildError> {
    #[cfg(target_os = "linux")]
    {
        crate::temporary::check_private(path)?;
        crate::server::report_tempdir(path)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = path;
    Ok(())
}

/// Makes the host's stdout and stderr those of this process, as named by the environment
/// variable `MIRAI_DAEMON_STDIO`, and removes that variable. Call it once connected, on R's
/// main thread. Without the variable it does nothing.
///
/// # Errors
/// When the variable is malformed or its descriptors are not open.
pub fn adopt_stdio() -> Result<(), ChildError> {
    let Some(value) = std::env::var_os(STDIO_VARIABLE) else {
        return Ok(());
    };
    sys::remove_variable(STDIO_VARIABLE);
    let value = value.to_string_lossy();
    let pair = value
        .split_once(',')
        .and_then(|(out, err)| Some((out.parse::<i32>().ok()?, err.parse::<i32>().ok()?)));
    match pair {
        Some((out, err)) if out > 2 && err > 2 => Ok(sys::adopt_stdio(out, err)?),
        _ => Err(ChildError::Variable(value.into_owned())),
    }
}

/// Takes certificates, keys and tokens off the command line of this process, as the list of
/// processes shows it to all users: PEM sections, and what else there is of the `secrets`. Until
/// then they can be seen.
///
/// # Errors
/// As the system gives them; then they still are.
pub fn hide_arguments(secrets: &[String]) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let words = std::fs::read("/proc/self/cmdline")?;
        let line = String::from_utf8_lossy(&words).replace('\0', " ");
        let shown = crate::quote::without(line.trim_end(), secrets);
        if shown != line.trim_end() {
            sys::linux::set_title(&shown)?;
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = secrets;
    Ok(())
}

/// In a forked daemon: the file for output that is discarded, now empty, to be opened for reading and writing. The last lines of
/// it are told when the daemon [has gone](crate::DaemonEvent::Exited). `None` elsewhere: nothing is kept.
pub fn discarded_output() -> Option<std::path::PathBuf> {
    #[cfg(target_os = "linux")]
    return crate::tail::path();
    #[cfg(not(target_os = "linux"))]
    None
}

/// Has that file begin anew if it is long. To be called now and then, between tasks.
pub fn shorten_discarded_output() {
    #[cfg(target_os = "linux")]
    crate::tail::shorten();
}

/// Notes that a signal of this number has R quit in the midst of a task, or that it has not: a forked daemon that ends then was
/// [told](crate::ExitStatus::Told) to.
pub fn note_quitting(signal: Option<i32>) {
    #[cfg(target_os = "linux")]
    crate::tail::note_quitting(signal);
    #[cfg(not(target_os = "linux"))]
    let _ = signal;
}

/// Notes how much memory a forked daemon has now, which is told when it [has gone](crate::DaemonEvent::Exited). Takes a microsecond.
pub fn note_memory() {
    #[cfg(target_os = "linux")]
    crate::tail::note_memory();
}
