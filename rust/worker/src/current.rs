//! The run in progress: what decides between its end and its interrupt.
//!
//! Who is in here at the same time: the evaluating thread (`begin()`, `end()`), which is R's main thread in a daemon, and the
//! control thread (`cancel()`, `retire()`).
//!
//! *`Current::state`* is the only lock, and guards which run is in progress. It is held while the interrupt is sent, on purpose:
//! a run ends under the same lock, so an interrupt reaches the run that it names or none. Sending it must not block (it is a
//! signal to the evaluating thread). The evaluating thread never evaluates under it. `ended` is waited for under it by
//! `retire()`, and signalled under it by `end()`.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::Interrupter;

/// Cancellations of runs that have not arrived yet: the two connections of a daemon overtake each other. A hub has few
/// runs under way at one daemon; any beyond this are dropped.
const MAX_EARLY: usize = 1024;

/// The run in progress, shared by the evaluating and the control thread. An interrupt that is late belongs to the run that
/// has just ended, and [`Interrupter::clear_interrupt`] takes it away before the next one begins.
#[derive(Debug, Default)]
pub(crate) struct Current {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    run: Option<u64>,
    is_interrupted: bool,
    last_begun: u64,
    early: Vec<u64>,
    is_retired: bool,
}

impl Current {
    /// Begins a run; `false` when it has been cancelled already, or when none may begin any more.
    pub(crate) fn begin(&self, run: u64) -> bool {
        let mut state = self.state.lock();
        let is_cancelled = state.early.contains(&run) || state.is_retired;
        state.early.retain(|early| *early > run);
        state.last_begun = run;
        state.is_interrupted = false;
        if !is_cancelled {
            state.run = Some(run);
        }
        !is_cancelled
    }

    /// Ends the run in progress. Returns whether an interrupt was sent to it.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.state.lock();
        state.run = None;
        self.ended.notify_all();
        std::mem::take(&mut state.is_interrupted)
    }

    /// Interrupts `run` if it is in progress, or remembers it if it is yet to come.
    pub(crate) fn cancel(&self, run: u64, interrupter: &dyn Interrupter) {
        let mut state = self.state.lock();
        if state.run == Some(run) {
            state.is_interrupted = true;
            interrupter.interrupt();
        } else if run > state.last_begun && state.early.len() < MAX_EARLY {
            state.early.push(run);
        }
    }

    /// Lets no run begin from now on, and waits until none is in progress, at most for `grace`. Returns whether none
    /// is. A task that was on its way when the hub went can still be read: begun now, nobody would end it.
    pub(crate) fn retire(&self, grace: Duration) -> bool {
        let until = Instant::now() + grace;
        let mut state = self.state.lock();
        state.is_retired = true;
        while state.run.is_some() {
            if self.ended.wait_until(&mut state, until).timed_out() {
                return state.run.is_none();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Interrupter for Count {
        fn interrupt(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn clear_interrupt(&self) {}
    }

    #[test]
    fn a_cancel_hits_the_run_it_names_and_no_other() {
        let (current, count) = (Current::default(), Count::default());
        assert!(current.begin(1));
        current.cancel(1, &count);
        assert!(current.end());
        assert!(current.begin(2));
        current.cancel(1, &count);
        assert!(!current.end());
        assert_eq!(count.0.into_inner(), 1);
    }

    #[test]
    fn a_cancel_that_comes_before_its_run_is_kept() {
        let (current, count) = (Current::default(), Count::default());
        current.cancel(5, &count);
        assert!(current.begin(4));
        assert!(!current.end());
        assert!(!current.begin(5));
        assert!(current.begin(6));
        assert_eq!(count.0.into_inner(), 0);
    }

    #[test]
    fn no_run_begins_once_retired() {
        let current = Current::default();
        assert!(current.begin(1));
        assert!(!current.retire(Duration::ZERO));
        current.end();
        assert!(current.retire(Duration::ZERO));
        assert!(!current.begin(2));
    }

    #[test]
    fn early_cancels_are_bounded() {
        let (current, count) = (Current::default(), Count::default());
        (1..5000).for_each(|run| current.cancel(run, &count));
        assert_eq!(current.state.lock().early.len(), MAX_EARLY);
    }
}
