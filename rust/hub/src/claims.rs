//! What the hub shares with one daemon: words that say whether it has begun what it was sent, and bytes that outlive the daemon.

use std::io;

use mirai_lanes::{Passed, SharedWords};
use mirai_wire::{Shelf, claim};

/// No run has this number.
const FREE: u64 = 0;

/// Runs that were offered to a daemon and not reported on.
#[derive(Debug)]
pub(crate) struct Offers {
    words: SharedWords,
    /// The run that each word is for.
    runs: Vec<u64>,
    /// Where to look for a free one first.
    next: usize,
}

impl Offers {
    /// None yet, and the descriptor for the daemon.
    pub(crate) fn new() -> io::Result<(Offers, Passed)> {
        let (words, passed) = SharedWords::create()?;
        let offers = Offers {
            runs: vec![FREE; claim::WORDS],
            words,
            next: 0,
        };
        Ok((offers, passed))
    }

    /// Offers a run, before it is sent. The number of its word; `None` if there is none left, so that the daemon begins it
    /// for certain.
    pub(crate) fn offer(&mut self, run: u64) -> Option<u16> {
        let count = self.runs.len();
        let places = (self.next..count).chain(0..self.next);
        let place = places.into_iter().find(|place| self.runs[*place] == FREE)?;
        self.runs[place] = run;
        self.next = (place + 1) % count;
        claim::offer(&self.words.all()[place], run);
        u16::try_from(place).ok()
    }

    /// Takes a run back. False if its daemon has begun it, or it was never offered.
    pub(crate) fn take_back(&mut self, run: u64) -> bool {
        let Some(place) = self.find(run) else {
            return false;
        };
        let is_taken = claim::take_back(&self.words.all()[place], run);
        if is_taken {
            self.runs[place] = FREE;
        }
        is_taken
    }

    /// Whether a run was offered, and neither begun nor taken back.
    pub(crate) fn is_open(&self, run: u64) -> bool {
        let place = self.find(run);
        place.is_some_and(|place| claim::is_open(&self.words.all()[place], run))
    }

    /// The daemon has reported on a run.
    pub(crate) fn note_report(&mut self, run: u64) {
        if let Some(place) = self.find(run) {
            self.runs[place] = FREE;
        }
    }

    /// What the daemon had to say and has not said, or not for certain.
    pub(crate) fn unsaid(&self) -> Vec<u8> {
        let shelf = Shelf::of(self.words.all(), self.words.bytes());
        shelf.map_or_else(Vec::new, |shelf| shelf.read())
    }

    /// From the latest on: a daemon has few at a time.
    fn find(&self, run: u64) -> Option<usize> {
        let (later, earlier) = self.runs.split_at(self.next);
        let of_earlier = later.iter().rposition(|other| *other == run);
        of_earlier.or_else(|| Some(self.next + earlier.iter().rposition(|other| *other == run)?))
    }
}

/// What the hub has forgotten is not to begin any more.
impl Drop for Offers {
    fn drop(&mut self) {
        let offered = self.runs.iter().zip(self.words.all());
        for (run, word) in offered.filter(|(run, _)| **run != FREE) {
            claim::take_back(word, *run);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_begun_or_taken_back() {
        let (mut offers, passed) = Offers::new().unwrap();
        let daemon = SharedWords::open(&passed).unwrap();
        let places: Vec<u16> = (1..4).filter_map(|run| offers.offer(run)).collect();
        assert_eq!(places, [0, 1, 2]);
        assert!(claim::begin(&daemon.all()[0], 1));
        assert!(!offers.is_open(1) && offers.is_open(2));
        assert!(!offers.take_back(1));
        assert!(offers.take_back(2));
        assert!(!offers.is_open(2));
        assert!(!claim::begin(&daemon.all()[1], 2));
        assert!(!offers.take_back(2));
        assert!(!offers.take_back(99));
        drop(offers);
        assert!(!claim::begin(&daemon.all()[2], 3));
    }

    #[test]
    fn words_serve_again_and_may_run_out() {
        let (mut offers, _passed) = Offers::new().unwrap();
        let count = offers.runs.len() as u64;
        (1..=count).for_each(|run| assert!(offers.offer(run).is_some()));
        assert_eq!(offers.offer(count + 1), None);
        offers.note_report(7);
        assert_eq!(offers.offer(count + 1), Some(6));
    }
}
