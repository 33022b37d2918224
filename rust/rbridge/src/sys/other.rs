//! Platforms without signals: a task that is cancelled runs on to its end, and its result is dropped.

use std::ffi::OsString;

use super::Differences;

/// The environment variables at one moment.
pub(crate) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Copies them.
    pub(crate) fn now() -> Environment {
        Environment(std::env::vars_os().collect())
    }

    /// Whether they are still the same, in the same order.
    pub(crate) fn is_current(&self) -> bool {
        std::env::vars_os().eq(self.0.iter().cloned())
    }
}

/// What tasks can change in a process is not looked at.
pub(crate) struct Process;

impl Process {
    /// Reads nothing.
    pub(crate) fn now() -> Process {
        Process
    }

    /// None.
    pub(crate) fn differences(&self) -> Differences {
        Differences {
            attributes: false,
            locale: false,
            profiler: false,
        }
    }

    /// Does nothing.
    pub(crate) fn restore_attributes(&self) {}
}

/// Does nothing.
pub(crate) fn block_signals() {}

/// Runs `start`.
pub(crate) fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    start()
}

/// Does nothing.
pub(crate) fn enter_kernel() {}

/// Not known here.
pub(crate) fn is_in_foreground() -> bool {
    false
}

/// Runs `work`.
pub(crate) fn without_interrupts<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// A thread that cannot be sent an interrupt.
#[derive(Clone, Copy)]
pub(crate) struct Interruptible;

impl Interruptible {
    /// The thread that calls this.
    pub(crate) fn this() -> Interruptible {
        Interruptible
    }

    /// Does nothing.
    pub(crate) fn interrupt(self) {}
}

/// Whether the C library keeps memory that is free until it is asked.
pub(crate) const KEEPS_FREE_MEMORY: bool = false;

/// Does nothing.
pub(crate) fn give_back_memory() -> u64 {
    0
}

/// No signals, so none that R handles.
pub(crate) mod signals {
    /// Does nothing.
    pub(crate) fn install() {}

    /// Does nothing.
    pub(crate) fn set_native(_: bool) -> bool {
        false
    }

    /// Runs `work`.
    pub(crate) fn held<T>(work: impl FnOnce() -> T) -> T {
        work()
    }

    /// Runs `work`.
    pub(crate) fn in_task<T>(work: impl FnOnce() -> T) -> T {
        work()
    }

    /// None waits.
    pub(crate) fn quits_now() -> bool {
        false
    }

    /// None is.
    pub(crate) fn is_pending() -> bool {
        false
    }

    /// Does nothing.
    pub(crate) fn deliver() {}

    /// There is none to note.
    pub(crate) fn note_sigterm() -> Option<SigtermNoted> {
        None
    }

    /// Never made.
    pub(crate) enum SigtermNoted {}

    /// Never calls it.
    pub(crate) fn watch_quitting(_: impl Fn() + Send + 'static) {}

    /// Does nothing.
    pub(crate) fn forget_all() {}

    /// Does nothing.
    pub(crate) fn forget_errors() {}
}

/// Number of this process.
pub(crate) fn process_number() -> u32 {
    std::process::id()
}
