//! How long tasks take, and how many of them a daemon is to have ahead of their turn.

use std::time::Duration;

/// What a daemon is kept supplied with.
const SUPPLY: Duration = Duration::from_millis(1);

/// The most tasks a daemon has ahead.
const MOST: u32 = 64;

/// The fewest that are worth it: for longer tasks a message each costs little.
const FEWEST: u32 = 4;

/// Reports after which the mean counts: the first tasks of an R process take longer than those that follow.
const FIRST_REPORTS: u32 = 16;

/// A report moves the mean by this part of the difference.
const PART: u64 = 8;

/// A decaying mean of what evaluations take.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    mean_nanos: u64,
    reports: u32,
}

impl Pace {
    pub(crate) fn note(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / PART);
        let nanos = nanos.min(u64::MAX / PART);
        self.reports = self.reports.saturating_add(1);
        self.mean_nanos = match self.reports {
            1 => nanos,
            _ => self.mean_nanos - self.mean_nanos / PART + nanos / PART,
        };
    }

    /// How many tasks a daemon is to have ahead while so many wait for so many daemons: a millisecond's worth, and less as the
    /// queue drains, so that what is left is shared.
    pub(crate) fn supply(&self, waiting: u64, daemons: u64) -> u32 {
        if self.reports < FIRST_REPORTS {
            return 0;
        }
        let worth = SUPPLY.as_nanos() as u64 / self.mean_nanos.max(1);
        let share = waiting / (2 * daemons.max(1));
        let supply = worth.min(MOST.into()) as u32;
        match supply < FEWEST {
            true => 0,
            false => supply.min(u32::try_from(share).unwrap_or(u32::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(micros: u64, reports: u32) -> Pace {
        let mut pace = Pace::default();
        (0..reports).for_each(|_| pace.note(Duration::from_micros(micros)));
        pace
    }

    #[test]
    fn short_tasks_go_ahead_and_long_ones_do_not() {
        assert_eq!(pace(50, 100).supply(10_000, 2), 20);
        assert_eq!(pace(1, 100).supply(10_000, 2), MOST);
        assert_eq!(pace(0, 100).supply(10_000, 2), MOST);
        assert_eq!(pace(300, 100).supply(10_000, 2), 0);
        assert_eq!(pace(50, 3).supply(10_000, 2), 0);
    }

    #[test]
    fn what_is_left_is_shared() {
        assert_eq!(pace(50, 100).supply(40, 2), 10);
        assert_eq!(pace(50, 100).supply(3, 2), 0);
        assert_eq!(pace(50, 100).supply(3, 0), 1);
    }

    #[test]
    fn one_long_task_counts_for_a_while() {
        let mut pace = pace(20, 100);
        pace.note(Duration::from_secs(2));
        assert_eq!(pace.supply(10_000, 2), 0);
        (0..100).for_each(|_| pace.note(Duration::from_micros(20)));
        assert!(pace.supply(10_000, 2) > 40);
    }

    #[test]
    fn no_time_is_too_long() {
        let mut pace = Pace::default();
        (0..100).for_each(|_| pace.note(Duration::MAX));
        assert_eq!(pace.supply(10_000, 2), 0);
    }
}
