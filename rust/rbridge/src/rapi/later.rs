//! The event loop of package later, which takes notes from any thread.

use std::ffi::{c_int, c_void};

use super::entry::run_entry;
use super::{Jump, Scope, ffi};

/// What the event loop is asked to do.
pub(crate) trait Turn: Sync + 'static {
    /// On R's thread, when R is idle or runs the loop. A jump goes on to the loop, which reports it.
    fn turn(&'static self, scope: &Scope) -> Result<(), Jump>;
}

/// `execLaterNative2` of later: safe on any thread, wakes the loop by itself.
type Schedule = unsafe extern "C-unwind" fn(
    callback: unsafe extern "C-unwind" fn(*mut c_void),
    data: *mut c_void,
    seconds: f64,
    event_loop: c_int,
) -> u64;

/// An event loop of this process: the global one, of number 0, which runs at R's prompt, in Shiny and in
/// `later::run_now()`, or a private one.
#[derive(Clone, Copy)]
pub(crate) struct EventLoop {
    schedule: Schedule,
    number: c_int,
}

impl EventLoop {
    /// The one of this number. An R error if later is not loaded.
    pub(crate) fn find(scope: &Scope, number: i32) -> Result<EventLoop, Jump> {
        // SAFETY: the closure holds nothing; the names are NUL-terminated. later registers a function of this type
        // under this name, and its library is never unloaded.
        unsafe {
            let function = scope.protected(|| {
                ffi::R_GetCCallable(c"later".as_ptr(), c"execLaterNative2".as_ptr())
            })?;
            let schedule = std::mem::transmute::<unsafe extern "C-unwind" fn(), Schedule>(function);
            Ok(EventLoop { schedule, number })
        }
    }

    /// Has R's thread give `work` its turn when the loop runs next; never if the loop is gone. Not once R's process has
    /// begun to exit.
    pub(crate) fn schedule<T: Turn>(self, work: &'static T) {
        // SAFETY: later keeps the pointer and hands it back on R's thread, where it becomes a shared reference again.
        unsafe {
            (self.schedule)(
                run::<T>,
                (&raw const *work).cast_mut().cast(),
                0.0,
                self.number,
            )
        };
    }
}

/// # Safety
/// `work` is a `&'static T`.
unsafe extern "C-unwind" fn run<T: Turn>(work: *mut c_void) {
    // SAFETY: the caller's promise.
    let work: &'static T = unsafe { &*work.cast::<T>() };
    // SAFETY: later calls this on R's thread, within R_ToplevelExec, and it owns nothing. The result, `NULL` or the
    // account of a panic, has nobody to go to.
    unsafe {
        run_entry([], |scope, []| {
            Ok(work.turn(scope).map(|()| scope.null())?)
        })
    };
}
