//! When a pool that heals starts daemons, and when it gives up.

use std::time::Duration;

use mirai_scheduler::Counts;

use crate::Death;

/// Deaths in a row after which nothing is started any more.
pub const MOST_IN_A_ROW: u32 = 5;

/// A daemon that has died idle counts only if it was not there for so long.
const YOUNG: Duration = Duration::from_secs(1);

/// Pause before the third daemon in a row; each further one waits twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum HealingStep {
    /// Nothing, until something happens.
    Rest,
    /// Launch what [is missing](HealingPolicy::take_missing), after a pause.
    Launch {
        /// Time to wait before.
        pause: Duration,
    },
    /// Say that nothing will be started any more.
    GiveUp,
}

/// The size of a pool, as it is and as it should be.
#[derive(Debug)]
pub struct HealingPolicy {
    /// How many daemons there should be at most.
    most: u64,
    /// How many there should be: fewer than `most` once some have left by themselves.
    target: u64,
    present: u64,
    /// Launched, and neither come nor missed.
    pending: u64,
    /// Daemons that have ever joined, which is the number of the latest.
    joined: u64,
    /// Failures in a row before a task was done.
    in_a_row: u32,
    /// How many had joined at the last of these: what happens to them at the same time is the same failure.
    judged: u64,
    /// Whether a launch has not failed yet: of its daemons the first that does not come counts.
    is_fresh: bool,
    /// Reports at the last death.
    reports: u64,
    is_over: bool,
    is_told: bool,
}

impl HealingPolicy {
    /// For a pool of so many daemons, as it is now.
    pub fn new(target: u64, counts: &Counts) -> HealingPolicy {
        HealingPolicy {
            most: target,
            target,
            present: counts.connections,
            pending: 0,
            joined: counts.cumulative,
            in_a_row: 0,
            judged: 0,
            is_fresh: true,
            reports: 0,
            is_over: false,
            is_told: false,
        }
    }

    /// A daemon has come, `launched` if somebody here has started it.
    pub fn joined(&mut self, launched: bool) {
        self.present += 1;
        self.joined += 1;
        if launched {
            self.pending = self.pending.saturating_sub(1);
        }
    }

    /// One has left as was to be expected, and is not missed.
    pub fn left(&mut self) {
        self.present = self.present.saturating_sub(1);
        if self.missing() > 0 {
            self.target -= 1;
        }
    }

    /// `reports`: how many there were from all daemons so far.
    pub fn died(&mut self, death: &Death, reports: u64) {
        self.present = self.present.saturating_sub(1);
        if reports > self.reports {
            self.in_a_row = 0;
        }
        self.reports = reports;
        let at_work = death.task.is_some() || death.in_set_up || death.age < YOUNG;
        if death.done == 0 && at_work && u64::from(death.id) > self.judged {
            self.judged = self.joined;
            self.fail();
        }
    }

    /// A launched daemon does not come.
    pub fn missed(&mut self) {
        self.pending = self.pending.saturating_sub(1);
        if std::mem::replace(&mut self.is_fresh, false) {
            self.fail();
        }
    }

    /// A launch of others has failed at once.
    pub fn not_launched(&mut self, count: u64) {
        self.pending = self.pending.saturating_sub(count);
    }

    /// Somebody else launches daemons.
    pub fn launching(&mut self, count: u64) {
        self.pending += count;
        self.target = self.most.min(self.target + count);
        self.is_fresh = true;
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

    /// What is to be done now.
    pub fn step(&mut self) -> HealingStep {
        if self.is_over {
            let is_told = std::mem::replace(&mut self.is_told, true);
            return if is_told {
                HealingStep::Rest
            } else {
                HealingStep::GiveUp
            };
        }
        if self.missing() == 0 {
            return HealingStep::Rest;
        }
        let pause = match self.in_a_row {
            0 | 1 => Duration::ZERO,
            more => PAUSE * 2_u32.pow(more - 2),
        };
        HealingStep::Launch { pause }
    }

    /// How many to launch; they are pending from here on.
    pub fn take_missing(&mut self) -> u64 {
        let missing = self.missing();
        self.is_fresh = true;
        self.pending += missing;
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn pool(n: u64) -> HealingPolicy {
        let counts = Counts {
            connections: n,
            cumulative: n,
            ..Counts::default()
        };
        HealingPolicy::new(n, &counts)
    }

    fn death(id: u32, task: Option<u64>, age: Duration) -> Death {
        Death {
            at: SystemTime::UNIX_EPOCH,
            id,
            pid: None,
            peer: None,
            origin: None,
            age,
            done: 0,
            task: task.map(|task| (task, 1)),
            in_set_up: false,
            how: None,
        }
    }

    fn at_work(id: u32) -> Death {
        death(id, Some(1), Duration::from_secs(3))
    }

    fn launches(policy: &mut HealingPolicy) -> u64 {
        match policy.step() {
            HealingStep::Launch { .. } => policy.take_missing(),
            HealingStep::Rest | HealingStep::GiveUp => 0,
        }
    }

    #[test]
    fn the_dead_are_replaced_and_those_who_leave_are_not() {
        let mut policy = pool(3);
        policy.died(&at_work(1), 5);
        assert_eq!(launches(&mut policy), 1);
        assert_eq!(policy.step(), HealingStep::Rest, "it is on its way");
        policy.joined(true);
        policy.left();
        assert_eq!(policy.step(), HealingStep::Rest);
        policy.died(&at_work(2), 9);
        policy.left();
        assert_eq!(launches(&mut policy), 1, "one of the two has left");
    }

    #[test]
    fn what_others_launch_comes_besides_what_is_missing() {
        let mut policy = pool(2);
        policy.launching(1);
        policy.joined(true);
        policy.died(&at_work(1), 1);
        assert_eq!(policy.step(), HealingStep::Rest, "there are two");
        policy.died(&at_work(2), 2);
        policy.launching(1);
        policy.not_launched(1);
        assert_eq!(launches(&mut policy), 1);
        let mut policy = pool(4);
        (1..=4).for_each(|id| policy.died(&at_work(id), 0));
        policy.launching(1);
        assert_eq!(launches(&mut policy), 3);
    }

    #[test]
    fn after_five_in_a_row_it_gives_up_once_until_somebody_launches() {
        let mut policy = pool(1);
        let mut pauses = Vec::new();
        for id in 1..MOST_IN_A_ROW {
            policy.died(&at_work(id), 0);
            let HealingStep::Launch { pause } = policy.step() else {
                panic!("it is replaced")
            };
            pauses.push(pause.as_millis());
            assert_eq!(policy.take_missing(), 1);
            policy.joined(true);
        }
        assert_eq!(pauses, [0, 100, 200, 400]);
        policy.died(&at_work(MOST_IN_A_ROW), 0);
        assert_eq!(policy.step(), HealingStep::GiveUp);
        assert_eq!(policy.step(), HealingStep::Rest);
        policy.launching(1);
        policy.joined(true);
        policy.died(&at_work(MOST_IN_A_ROW + 1), 0);
        assert_eq!(launches(&mut policy), 1);
    }

    #[test]
    fn a_task_done_in_between_begins_the_row_anew() {
        let mut policy = pool(1);
        for id in 1..100 {
            policy.died(&at_work(id), id.into());
            assert_eq!(launches(&mut policy), 1);
            policy.joined(true);
        }
    }

    #[test]
    fn those_that_die_together_are_one_failure() {
        let mut policy = pool(20);
        (1..=20).for_each(|id| policy.died(&at_work(id), 0));
        assert_eq!(launches(&mut policy), 20);
    }

    #[test]
    fn idle_daemons_that_somebody_kills_are_always_replaced() {
        let mut policy = pool(1);
        for id in 1..100 {
            policy.died(&death(id, None, YOUNG), 0);
            assert_eq!(launches(&mut policy), 1);
            policy.joined(true);
        }
    }

    #[test]
    fn those_that_die_as_they_are_set_up_count_whatever_their_age() {
        let mut policy = pool(1);
        for id in 1..=MOST_IN_A_ROW {
            let mut death = death(id, None, 9 * YOUNG);
            death.in_set_up = true;
            policy.died(&death, 0);
            policy.take_missing();
            policy.joined(true);
        }
        assert_eq!(policy.step(), HealingStep::GiveUp);
    }

    #[test]
    fn launches_that_fail_count_once_each() {
        let mut policy = pool(8);
        (1..=8).for_each(|id| policy.died(&at_work(id), 0));
        for _ in 1..MOST_IN_A_ROW {
            assert_eq!(launches(&mut policy), 8);
            (0..8).for_each(|_| policy.missed());
        }
        assert_eq!(policy.step(), HealingStep::GiveUp);
    }
}
