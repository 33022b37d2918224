//! Functions of the library's user that the hub calls: a panic in one of them is that function's, and ends nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A function of the user's has panicked. The panic hook and the log have reported it.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Calls `f`, named `what` in the log.
pub(crate) fn guarded<T>(what: &str, f: impl FnOnce() -> T) -> Result<T, Panicked> {
    // What `f` has changed when it panicked is its owner's to look at; the hub reads nothing of it.
    catch_unwind(AssertUnwindSafe(f)).map_err(|_| {
        log::error!("{what} has panicked; the hub goes on");
        Panicked
    })
}
