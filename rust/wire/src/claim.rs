//! The word by which hub and daemon decide, without a message, who has a run that was sent.
//!
//! The hub offers the run; then the daemon begins it, or the hub takes it back, whoever comes first. The word names the run,
//! so that it can serve another as soon as the hub knows how the first was decided.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many of the shared words are for claims, from the first.
pub const WORDS: usize = 256;

const NONE: u64 = 0;

const fn offered(run: u64) -> u64 {
    run << 1
}

const fn begun(run: u64) -> u64 {
    offered(run) | 1
}

/// Offers a run, by the hub, before it is sent.
pub fn offer(word: &AtomicU64, run: u64) {
    word.store(offered(run), Ordering::Release);
}

/// Whether a run was offered, and neither begun nor taken back.
pub fn is_open(word: &AtomicU64, run: u64) -> bool {
    word.load(Ordering::Acquire) == offered(run)
}

/// Begins a run, by the daemon. False if the hub has taken it back.
pub fn begin(word: &AtomicU64, run: u64) -> bool {
    change(word, offered(run), begun(run))
}

/// Takes a run back, by the hub. False if the daemon has begun it.
pub fn take_back(word: &AtomicU64, run: u64) -> bool {
    change(word, offered(run), NONE)
}

fn change(word: &AtomicU64, from: u64, to: u64) -> bool {
    word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_both_has_it() {
        let word = AtomicU64::default();
        offer(&word, 7);
        assert!(is_open(&word, 7) && !is_open(&word, 8));
        assert!(begin(&word, 7));
        assert!(!is_open(&word, 7));
        assert!(!take_back(&word, 7));
        assert!(!begin(&word, 7));
        offer(&word, 8);
        assert!(take_back(&word, 8));
        assert!(!begin(&word, 8));
        offer(&word, 9);
        assert!(!begin(&word, 8));
        assert!(!take_back(&word, 8));
        assert!(begin(&word, 9));
    }

    #[test]
    fn nobody_and_not_both_at_the_same_moment() {
        let word = AtomicU64::default();
        for run in 1..2000 {
            offer(&word, run);
            let (daemon, hub) = std::thread::scope(|scope| {
                let daemon = scope.spawn(|| begin(&word, run));
                let hub = take_back(&word, run);
                (daemon.join().unwrap(), hub)
            });
            assert!(daemon != hub, "run {run}");
        }
    }
}
