//! Which thread is R's.

use std::sync::OnceLock;
use std::thread::{self, ThreadId};

static MAIN: OnceLock<ThreadId> = OnceLock::new();

/// Notes that this thread is R's: it loads the library.
pub(super) fn remember_main_thread() {
    MAIN.get_or_init(|| thread::current().id());
}

/// Whether this is the thread that loaded the library.
pub(crate) fn is_main_thread() -> bool {
    MAIN.get() == Some(&thread::current().id())
}
