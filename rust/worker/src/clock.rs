//! The time as the worker loop has it: handed in, so that tests of its limits and pauses need not wait.

use std::time::{Duration, Instant};

/// Where the time comes from.
pub(crate) trait Clock {
    fn now(&self) -> Instant;
    /// Returns when this much time has passed.
    fn sleep(&self, time: Duration);
}

/// The clock of the system.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A clock that is moved by hand, and by whoever sleeps. Clones show the same time.
#[cfg(test)]
#[derive(Debug, Clone)]
pub(crate) struct HandClock(std::sync::Arc<parking_lot::Mutex<Instant>>);

#[cfg(test)]
impl HandClock {
    pub(crate) fn at(now: Instant) -> HandClock {
        HandClock(std::sync::Arc::new(parking_lot::Mutex::new(now)))
    }

    pub(crate) fn set(&self, now: Instant) {
        *self.0.lock() = now;
    }
}

#[cfg(test)]
impl Clock for HandClock {
    fn now(&self) -> Instant {
        *self.0.lock()
    }

    fn sleep(&self, time: Duration) {
        *self.0.lock() += time;
    }
}
