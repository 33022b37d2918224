//! When a pool that heals starts daemons, and when it gives up.

use std::time::Duration;

use mirai_hub::Death;

/// Deaths in a row after which nothing is started any more.
pub(crate) const MOST_IN_A_ROW: u32 = 5;

/// A daemon that has died idle is held against the pool only if it was not there for so long.
const YOUNG: Duration = Duration::from_secs(1);

/// Pause before the third daemon in a row; each further one waits twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Rest,
    /// Launch what [is missing](Policy::take_missing), after a pause.
    Launch {
        pause: Duration,
    },
    /// Say that nothing will be started any more.
    GiveUp,
}

/// The size of a pool, as it is and as it should be.
#[derive(Debug)]
pub(crate) struct Policy {
    /// How many daemons there should be at most.
    most: u64,
    /// How many there should be: fewer than `most` once some have left by themselves.
    target: u64,
    present: u64,
    /// Launched, and neither come nor missed.
    pending: u64,
    /// Deaths in a row before a task was done.
    in_a_row: u32,
    /// Reports at the last death.
    reports: u64,
    is_over: bool,
    is_told: bool,
}

impl Policy {
    pub(crate) fn new(target: u64, present: u64) -> Policy {
        Policy {
            most: target,
            target,
            present,
            pending: 0,
            in_a_row: 0,
            reports: 0,
            is_over: false,
            is_told: false,
        }
    }

    pub(crate) fn joined(&mut self, launched: bool) {
        self.present += 1;
        if launched {
            self.pending = self.pending.saturating_sub(1);
        }
    }

    /// One has left as was to be expected, and is not missed.
    pub(crate) fn left(&mut self) {
        self.present = self.present.saturating_sub(1);
        self.target = self.target.min(self.present + self.pending);
    }

    /// `reports`: how many there were from all daemons so far.
    pub(crate) fn died(&mut self, death: &Death, reports: u64) {
        self.present = self.present.saturating_sub(1);
        if reports > self.reports {
            self.in_a_row = 0;
        }
        self.reports = reports;
        let at_work = death.task.is_some() || death.age < YOUNG;
        if death.done == 0 && at_work {
            self.fail();
        }
    }

    /// A launched daemon does not come.
    pub(crate) fn missed(&mut self) {
        self.pending = self.pending.saturating_sub(1);
        self.fail();
    }

    /// Somebody else launches daemons.
    pub(crate) fn launching(&mut self, count: u64) {
        self.pending += count;
        self.target = self.most.min(self.present + self.pending);
        self.in_a_row = 0;
        self.is_over = false;
        self.is_told = false;
    }

    fn fail(&mut self) {
        self.in_a_row += 1;
        self.is_over |= self.in_a_row >= MOST_IN_A_ROW;
    }

    fn missing(&self) -> u64 {
        self.target.saturating_sub(self.present + self.pending)
    }

    pub(crate) fn step(&mut self) -> Step {
        if self.is_over {
            let is_told = std::mem::replace(&mut self.is_told, true);
            return if is_told { Step::Rest } else { Step::GiveUp };
        }
        if self.missing() == 0 {
            return Step::Rest;
        }
        let pause = match self.in_a_row {
            0 | 1 => Duration::ZERO,
            more => PAUSE * 2_u32.pow(more - 2),
        };
        Step::Launch { pause }
    }

    /// How many to launch; they are pending from here on.
    pub(crate) fn take_missing(&mut self) -> u64 {
        let missing = self.missing();
        self.pending += missing;
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn death(done: u64, task: Option<u64>, age: Duration) -> Death {
        Death {
            at: SystemTime::UNIX_EPOCH,
            id: 1,
            pid: None,
            peer: None,
            age,
            done,
            task: task.map(|task| (task, 1)),
            how: None,
        }
    }

    fn at_work() -> Death {
        death(0, Some(1), Duration::from_secs(3))
    }

    fn launches(policy: &mut Policy) -> u64 {
        match policy.step() {
            Step::Launch { .. } => policy.take_missing(),
            Step::Rest | Step::GiveUp => 0,
        }
    }

    #[test]
    fn the_dead_are_replaced_and_those_who_leave_are_not() {
        let mut policy = Policy::new(3, 3);
        policy.died(&at_work(), 5);
        assert_eq!(launches(&mut policy), 1);
        assert_eq!(policy.step(), Step::Rest, "it is on its way");
        policy.joined(true);
        policy.left();
        assert_eq!(policy.step(), Step::Rest);
        policy.died(&at_work(), 9);
        assert_eq!(launches(&mut policy), 1, "of the two that are left");
    }

    #[test]
    fn what_others_have_launched_fills_up_first() {
        let mut policy = Policy::new(2, 2);
        policy.launching(1);
        policy.joined(true);
        policy.died(&at_work(), 1);
        assert_eq!(policy.step(), Step::Rest, "there are two");
        policy.died(&at_work(), 2);
        assert_eq!(launches(&mut policy), 1);
    }

    #[test]
    fn after_five_in_a_row_it_gives_up_once_until_somebody_launches() {
        let mut policy = Policy::new(1, 1);
        let mut pauses = Vec::new();
        for _ in 1..MOST_IN_A_ROW {
            policy.died(&at_work(), 0);
            let Step::Launch { pause } = policy.step() else {
                panic!("it is replaced")
            };
            pauses.push(pause.as_millis());
            assert_eq!(policy.take_missing(), 1);
            policy.joined(true);
        }
        assert_eq!(pauses, [0, 100, 200, 400]);
        policy.died(&at_work(), 0);
        assert_eq!(policy.step(), Step::GiveUp);
        assert_eq!(policy.step(), Step::Rest);
        policy.launching(1);
        policy.joined(true);
        policy.died(&at_work(), 0);
        assert_eq!(launches(&mut policy), 1);
    }

    #[test]
    fn a_task_done_in_between_begins_the_row_anew() {
        let mut policy = Policy::new(1, 1);
        for reports in 1..100 {
            policy.died(&at_work(), reports);
            assert_eq!(launches(&mut policy), 1);
            policy.joined(true);
        }
    }

    #[test]
    fn idle_daemons_that_somebody_kills_are_always_replaced() {
        let mut policy = Policy::new(9, 9);
        for _ in 0..9 {
            policy.died(&death(0, None, YOUNG), 0);
        }
        assert_eq!(launches(&mut policy), 9);
    }

    #[test]
    fn daemons_that_do_not_come_count_too() {
        let mut policy = Policy::new(1, 1);
        policy.died(&at_work(), 7);
        for _ in 1..MOST_IN_A_ROW {
            assert_eq!(launches(&mut policy), 1);
            policy.missed();
        }
        assert_eq!(policy.step(), Step::GiveUp);
    }
}
