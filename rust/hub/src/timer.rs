//! The hub's clock, and the next deadline of the scheduler.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mirai_scheduler::Tick;
use tokio::sync::Notify;

/// No deadline is armed.
const NEVER: u64 = u64::MAX;

/// The hub's clock, and the one deadline that the scheduler has asked for.
#[derive(Debug)]
pub(crate) struct Timer {
    start: Instant,
    armed: AtomicU64,
    changed: Notify,
}

impl Timer {
    pub(crate) fn new() -> Timer {
        Timer {
            start: Instant::now(),
            armed: AtomicU64::new(NEVER),
            changed: Notify::new(),
        }
    }

    /// The time of the scheduler's events.
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        Tick(now.saturating_duration_since(self.start).as_millis() as u64)
    }

    pub(crate) fn arm(&self, at: Tick) {
        self.armed.store(at.0, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Waits for the deadline, which may change meanwhile.
    pub(crate) async fn due(&self) {
        loop {
            let armed = self.armed.load(Ordering::Relaxed);
            if armed == NEVER {
                self.changed.notified().await;
                continue;
            }
            let at = self.start + Duration::from_millis(armed);
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {
                    // Only the deadline that was waited for is taken: a new one may have come meanwhile.
                    if self.armed.compare_exchange(armed, NEVER, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                        return;
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }
}
