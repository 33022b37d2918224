//! Turns of commands: so many begin at once, and the others wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// As many as schedulers take at once, and as login nodes have room for.
const MOST_AT_ONCE: usize = 16;

/// One that lasts longer does not hold up others: it may last as long as its daemon.
const BRIEF: Duration = Duration::from_secs(1);

/// Commands, by their numbers, that wait for their turn.
#[derive(Debug)]
pub struct Turns<T> {
    waiting: VecDeque<(usize, T)>,
    /// Those that have begun and not ended, and when that was. Older ones may be missing.
    young: Vec<(usize, Instant)>,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns {
            waiting: VecDeque::new(),
            young: Vec::new(),
        }
    }
}

impl<T> Turns<T> {
    /// One more, which waits.
    pub fn add(&mut self, number: usize, command: T) {
        self.waiting.push_back((number, command));
    }

    /// The next one whose turn it is, which begins now.
    pub fn next(&mut self, now: Instant) -> Option<(usize, T)> {
        self.young.retain(|(_, since)| now < *since + BRIEF);
        if self.young.len() >= MOST_AT_ONCE {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.young.push((next.0, now));
        Some(next)
    }

    /// One has ended, so that the next may begin.
    pub fn ended(&mut self, number: usize) {
        self.young.retain(|(young, _)| *young != number);
    }

    /// When to look again, if nothing ends before; `None` if none waits.
    pub fn deadline(&self) -> Option<Instant> {
        let turns = self.young.iter().map(|(_, since)| *since + BRIEF);
        turns.min().filter(|_| !self.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(turns: &mut Turns<()>, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| turns.next(now))
            .map(|(number, ())| number)
            .collect()
    }

    #[test]
    fn so_many_begin_at_once_and_others_as_they_end() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        assert_eq!(turns.deadline(), None);
        (0..40).for_each(|number| turns.add(number, ()));
        assert!(begin(&mut turns, now).into_iter().eq(0..16));
        assert!(begin(&mut turns, now).is_empty());
        turns.ended(3);
        turns.ended(7);
        assert_eq!(begin(&mut turns, now), [16, 17]);
    }

    #[test]
    fn those_that_last_do_not_hold_up_others() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        (0..20).for_each(|number| turns.add(number, ()));
        begin(&mut turns, now);
        assert_eq!(turns.deadline(), Some(now + BRIEF));
        let later = now + BRIEF;
        assert!(begin(&mut turns, later).into_iter().eq(16..20));
        assert_eq!(turns.deadline(), None);
        // Long after it began.
        turns.ended(0);
    }
}
