//! Signals that come again after a moment: for a handler that cannot act on one yet.
//!
//! By a timer of the system's for each, as a handler may start one, but no thread. Forked copies have none.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// The signals that may be asked for.
const SIGNALS: [libc::c_int; 2] = [libc::SIGUSR1, libc::SIGUSR2];

/// Long enough to cost nothing, too short to be noticed.
const NANOSECONDS: libc::c_long = 10_000_000;

/// The process whose timers these are, once they are there.
static OWNER: AtomicI32 = AtomicI32::new(0);

static TIMERS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Makes the timers, if it can: without them, [`soon`] says so.
pub(super) fn prepare() {
    for (signal, timer) in SIGNALS.into_iter().zip(&TIMERS) {
        let mut id: libc::timer_t = std::ptr::null_mut();
        // SAFETY: an event of zeros is valid, and says no more than what is set here; the id is written by success.
        let made = unsafe {
            let mut event = MaybeUninit::<libc::sigevent>::zeroed().assume_init();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = signal;
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut id)
        };
        if made != 0 {
            return log::debug!("no timer: {}", std::io::Error::last_os_error());
        }
        timer.store(id as usize, Ordering::Relaxed);
    }
    // SAFETY: no preconditions.
    OWNER.store(unsafe { libc::getpid() }, Ordering::Release);
}

/// Has the signal sent to this process again in a moment. `false` where that cannot be. May be called in a handler.
pub(super) fn soon(signal: libc::c_int) -> bool {
    // SAFETY: no preconditions.
    if OWNER.load(Ordering::Acquire) != unsafe { libc::getpid() } {
        return false;
    }
    let at = SIGNALS.iter().position(|other| *other == signal);
    let Some(timer) = at.and_then(|at| TIMERS.get(at)) else {
        return false;
    };
    let once = libc::itimerspec {
        it_interval: libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: libc::timespec {
            tv_sec: 0,
            tv_nsec: NANOSECONDS,
        },
    };
    // SAFETY: a timer of this process, which is never deleted.
    unsafe {
        libc::timer_settime(
            timer.load(Ordering::Relaxed) as libc::timer_t,
            0,
            &raw const once,
            std::ptr::null_mut(),
        ) == 0
    }
}
