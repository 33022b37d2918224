//! When to look for a message for some microseconds before sleeping.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long to look again and again before sleeping. A processor that has gone idle takes 20 to 40 microseconds to come
/// back on a virtual machine, several times what a small task takes; this covers an answer that has to wake its sender.
const BUDGET: Duration = Duration::from_micros(100);

/// Limit of waits without looking after vain ones.
const MOST_SKIPPED: u32 = 1023;

/// Decides whether a wait for a message begins with busy looking: as long as that pays.
///
/// Each vain try doubles the number of waits that go to sleep at once, and each good one halves it. A thread that loses
/// its processor meanwhile competes for it, and whom it waits for most likely does so, too: then it is hardly ever tried.
#[derive(Debug, Default)]
pub struct Spin {
    skip: u32,
    penalty: u32,
}

impl Spin {
    /// Until when to look before sleeping; `None` to sleep at once.
    pub fn begin(&mut self) -> Option<Instant> {
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        has_processors().then(|| Instant::now() + BUDGET)
    }

    /// Looking, which [`begin`](Self::begin) allowed until then, has just ended: with a message or in vain. To be
    /// called before sleeping.
    pub fn end(&mut self, until: Instant, came: bool) {
        let lost_processor = Instant::now() > until + BUDGET;
        self.penalty = match came {
            _ if lost_processor => MOST_SKIPPED,
            true => self.penalty / 2,
            false => (self.penalty * 2 + 1).min(MOST_SKIPPED),
        };
        self.skip = self.penalty;
    }
}

/// With one processor, looking keeps the sender from sending.
fn has_processors() -> bool {
    static MANY: OnceLock<bool> = OnceLock::new();
    *MANY.get_or_init(|| std::thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spins(spin: &mut Spin, waits: u32, came: bool) -> u32 {
        (0..waits).filter(|_| try_once(spin, came)).count() as u32
    }

    fn try_once(spin: &mut Spin, came: bool) -> bool {
        let until = spin.begin();
        if until.is_some() {
            // Far ahead, as the test may lose its processor.
            spin.end(Instant::now() + Duration::from_secs(3600), came);
        }
        until.is_some()
    }

    #[test]
    fn vain_tries_become_rare_and_messages_bring_them_back() {
        let mut spin = Spin::default();
        if !has_processors() {
            assert_eq!(spins(&mut spin, 100, true), 0);
            return;
        }
        assert_eq!(spins(&mut spin, 100, true), 100);
        assert!(spins(&mut spin, 10_000, false) < 25);
        spins(&mut spin, 3 * MOST_SKIPPED, true);
        assert_eq!(spins(&mut spin, 100, true), 100);
    }

    #[test]
    fn a_lost_processor_ends_it_for_long() {
        let mut spin = Spin::default();
        if spin.begin().is_some() {
            spin.end(Instant::now() - 2 * BUDGET, true);
        }
        assert_eq!(spins(&mut spin, MOST_SKIPPED, true), 0);
    }
}
