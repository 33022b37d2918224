//! When a pool that heals starts daemons, and when it gives up.

use std::collections::VecDeque;
use std::time::Duration;

use mirai_scheduler::Counts;

use crate::Death;

/// Deaths in a row after which nothing is started any more.
pub const MOST_IN_A_ROW: u32 = 5;

/// A daemon that has died idle counts only if it was not there for so long.
const YOUNG: Duration = Duration::from_secs(1);

/// Pause before the third daemon in a row; each further one waits twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// The same where a budget says that launches cost something: what they need may be away for a while.
const BUDGET_PAUSE: Duration = Duration::from_secs(1);

/// The time that a budget of launches is for.
const BUDGET_TIME: Duration = Duration::from_secs(3600);

/// Which daemons are replaced, and how many.
#[derive(Debug, Clone, Copy, Default)]
pub struct HealingOptions {
    /// Those that have left as was to be expected, too, when tasks wait.
    pub leavers: bool,
    /// How many may be launched within an hour; `None` for no limit.
    pub budget: Option<u64>,
    /// The daemons that are launched cannot be told from others that join.
    pub is_blind: bool,
}

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
    /// Say that as many were launched as are allowed in an hour; the next may be in so long.
    Spent {
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
    options: HealingOptions,
    /// Those that have left, and that nobody has asked for since.
    gone: u64,
    /// Reports as tasks were last found waiting for these.
    waited: Option<u64>,
    /// When daemons were launched, as far as the budget wants to know.
    launches: VecDeque<Duration>,
    /// How many of these, the last ones, have neither come nor been missed.
    unanswered: usize,
    is_spent: bool,
    is_over: bool,
    is_told: bool,
    /// For good.
    is_ended: bool,
}

impl HealingPolicy {
    /// For a pool of so many daemons, as it is now.
    pub fn new(target: u64, counts: &Counts, options: HealingOptions) -> HealingPolicy {
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
            options,
            gone: 0,
            waited: None,
            launches: VecDeque::new(),
            unanswered: 0,
            is_spent: false,
            is_over: false,
            is_told: false,
            is_ended: false,
        }
    }

    /// A daemon has come, `launched` if somebody here has started it.
    pub fn joined(&mut self, launched: bool) {
        self.present += 1;
        self.joined += 1;
        if launched || self.options.is_blind {
            self.pending = self.pending.saturating_sub(1);
            self.unanswered = self.unanswered.saturating_sub(1);
        }
    }

    /// One has left as was to be expected, and is not missed before tasks wait.
    pub fn left(&mut self) {
        self.present = self.present.saturating_sub(1);
        if self.missing() > 0 {
            self.target -= 1;
            self.gone += u64::from(self.options.leavers);
        }
    }

    /// Whether it is to be told when tasks wait.
    pub fn asks_for_waiting(&self) -> bool {
        self.gone > 0 && self.pending == 0 && !self.is_over
    }

    /// So many tasks wait for a daemon; `reports` as for [`died`](HealingPolicy::died). If those launched the last time have left
    /// without a report, that was a failure.
    pub fn waiting(&mut self, tasks: u64, reports: u64) {
        let back = self.gone.min(tasks);
        if back == 0 {
            return;
        }
        match self.waited.replace(reports) {
            Some(before) if before == reports => self.fail(),
            _ => self.in_a_row = 0,
        }
        self.gone -= back;
        self.target += back;
    }

    /// `reports`: how many there were from all daemons so far.
    pub fn died(&mut self, death: &Death, reports: u64) {
        self.present = self.present.saturating_sub(1);
        self.note_reports(reports);
        let at_work = death.task.is_some() || death.in_set_up || death.age < YOUNG;
        if death.done == 0 && at_work && !death.is_killed && u64::from(death.id) > self.judged {
            self.judged = self.joined;
            self.fail();
        }
    }

    /// What is replayed on a daemon of this number has failed; it is there. However much of it has, it is one failure, and so is its
    /// death after that. `reports` as for [`died`](HealingPolicy::died).
    pub fn not_set_up(&mut self, id: u32, reports: u64) {
        self.note_reports(reports);
        if u64::from(id) > self.judged {
            self.judged = self.joined;
            self.fail();
        }
    }

    fn note_reports(&mut self, reports: u64) {
        if reports > self.reports {
            self.in_a_row = 0;
        }
        self.reports = reports;
    }

    /// Nothing is launched any more, and the caller says why.
    pub fn end(&mut self) {
        self.is_ended = true;
        self.is_over = true;
        self.is_told = true;
    }

    /// Whether nothing is launched any more, and nobody's launch is on its way either.
    pub fn has_ended(&self) -> bool {
        self.is_ended && self.pending == 0
    }

    /// A launched daemon does not come, and is not held against the budget.
    pub fn missed(&mut self) {
        self.pending = self.pending.saturating_sub(1);
        // They come in the order in which they were launched, as far as anybody knows.
        let first = self.launches.len() - self.unanswered.min(self.launches.len());
        self.launches.remove(first);
        self.unanswered = self.unanswered.saturating_sub(1);
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
        let target = self.most.min(self.target + count);
        self.gone = self.gone.saturating_sub(target - self.target);
        self.target = target;
        self.is_fresh = true;
        self.in_a_row = 0;
        self.is_over = self.is_ended;
        self.is_told = self.is_ended;
    }

    fn fail(&mut self) {
        self.in_a_row += 1;
        self.is_over |= self.in_a_row >= MOST_IN_A_ROW;
    }

    fn missing(&self) -> u64 {
        self.target.saturating_sub(self.present + self.pending)
    }

    /// How long until the budget allows a launch, if it doesn't now.
    fn spent_for(&mut self, now: Duration) -> Option<Duration> {
        let budget = self.options.budget?;
        while let Some(first) = self.launches.front()
            && now.saturating_sub(*first) >= BUDGET_TIME
        {
            self.launches.pop_front();
        }
        if (self.launches.len() as u64) < budget {
            self.is_spent = false;
            return None;
        }
        let first = self.launches.front().copied().unwrap_or(now);
        Some((first + BUDGET_TIME).saturating_sub(now))
    }

    /// What is to be done `now`, by a clock of the caller's.
    pub fn step(&mut self, now: Duration) -> HealingStep {
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
        if let Some(pause) = self.spent_for(now) {
            return match std::mem::replace(&mut self.is_spent, true) {
                true => HealingStep::Launch { pause },
                false => HealingStep::Spent { pause },
            };
        }
        HealingStep::Launch {
            pause: self.pause(),
        }
    }

    fn pause(&self) -> Duration {
        let first = match self.options.budget {
            Some(_) => BUDGET_PAUSE,
            None => PAUSE,
        };
        match self.in_a_row.checked_sub(2) {
            Some(more) => first * 2_u32.pow(more),
            None => Duration::ZERO,
        }
    }

    /// How many to launch `now`; they are pending from here on.
    pub fn take_missing(&mut self, now: Duration) -> u64 {
        let mut missing = self.missing();
        if let Some(budget) = self.options.budget {
            missing = missing.min(budget.saturating_sub(self.launches.len() as u64));
            self.launches.extend((0..missing).map(|_| now));
            self.unanswered += missing as usize;
        }
        self.is_fresh = true;
        self.pending += missing;
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    const NOW: Duration = Duration::ZERO;

    fn pool(n: u64) -> HealingPolicy {
        pool_with(n, HealingOptions::default())
    }

    fn pool_with(n: u64, options: HealingOptions) -> HealingPolicy {
        let counts = Counts {
            connections: n,
            cumulative: n,
            ..Counts::default()
        };
        HealingPolicy::new(n, &counts, options)
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
            is_retried: false,
            in_set_up: false,
            how: None,
            output: String::new(),
            is_killed: false,
        }
    }

    fn at_work(id: u32) -> Death {
        death(id, Some(1), Duration::from_secs(3))
    }

    fn launches(policy: &mut HealingPolicy) -> u64 {
        match policy.step(NOW) {
            HealingStep::Launch { .. } => policy.take_missing(NOW),
            HealingStep::Rest | HealingStep::Spent { .. } | HealingStep::GiveUp => 0,
        }
    }

    #[test]
    fn the_dead_are_replaced_and_those_who_leave_are_not() {
        let mut policy = pool(3);
        policy.died(&at_work(1), 5);
        assert_eq!(launches(&mut policy), 1);
        assert_eq!(policy.step(NOW), HealingStep::Rest, "it is on its way");
        policy.joined(true);
        policy.left();
        assert_eq!(policy.step(NOW), HealingStep::Rest);
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
        assert_eq!(policy.step(NOW), HealingStep::Rest, "there are two");
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
            let HealingStep::Launch { pause } = policy.step(NOW) else {
                panic!("it is replaced")
            };
            pauses.push(pause.as_millis());
            assert_eq!(policy.take_missing(NOW), 1);
            policy.joined(true);
        }
        assert_eq!(pauses, [0, 100, 200, 400]);
        policy.died(&at_work(MOST_IN_A_ROW), 0);
        assert_eq!(policy.step(NOW), HealingStep::GiveUp);
        assert_eq!(policy.step(NOW), HealingStep::Rest);
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
    fn what_the_hub_has_killed_is_replaced_and_no_failure() {
        let mut policy = pool(1);
        for id in 1..100 {
            let mut death = at_work(id);
            death.is_killed = true;
            policy.died(&death, 0);
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
            policy.take_missing(NOW);
            policy.joined(true);
        }
        assert_eq!(policy.step(NOW), HealingStep::GiveUp);
    }

    #[test]
    fn launches_that_fail_count_once_each() {
        let mut policy = pool(8);
        (1..=8).for_each(|id| policy.died(&at_work(id), 0));
        for _ in 1..MOST_IN_A_ROW {
            assert_eq!(launches(&mut policy), 8);
            (0..8).for_each(|_| policy.missed());
        }
        assert_eq!(policy.step(NOW), HealingStep::GiveUp);
    }

    fn leavers() -> HealingOptions {
        HealingOptions {
            leavers: true,
            ..HealingOptions::default()
        }
    }

    #[test]
    fn those_that_leave_are_replaced_as_tasks_wait_and_not_more_of_them() {
        let mut policy = pool_with(3, leavers());
        (0..3).for_each(|_| policy.left());
        assert_eq!(policy.step(NOW), HealingStep::Rest);
        assert!(policy.asks_for_waiting());
        policy.waiting(2, 3);
        assert_eq!(launches(&mut policy), 2);
        assert!(!policy.asks_for_waiting(), "some are on their way");
        policy.joined(true);
        policy.joined(true);
        policy.waiting(7, 4);
        assert_eq!(launches(&mut policy), 1);
        policy.joined(true);
        assert!(!policy.asks_for_waiting(), "the pool is whole");
    }

    #[test]
    fn those_that_leave_at_once_while_tasks_wait_are_not_replaced_for_ever() {
        let mut policy = pool_with(1, leavers());
        for round in 0..=MOST_IN_A_ROW {
            assert_eq!(policy.step(NOW), HealingStep::Rest, "round {round}");
            policy.left();
            policy.waiting(1, 0);
            if round < MOST_IN_A_ROW {
                assert_eq!(launches(&mut policy), 1);
                policy.joined(true);
            }
        }
        assert_eq!(policy.step(NOW), HealingStep::GiveUp);
    }

    #[test]
    fn a_launch_of_others_takes_the_place_of_one_that_has_left() {
        let mut policy = pool_with(1, leavers());
        policy.left();
        policy.launching(1);
        policy.joined(true);
        policy.waiting(5, 1);
        assert_eq!(policy.step(NOW), HealingStep::Rest);
    }

    #[test]
    fn set_ups_that_fail_on_every_second_replacement_do_not_end_it() {
        let mut policy = pool(1);
        for id in 1..100 {
            policy.died(&at_work(id), id.into());
            assert_eq!(launches(&mut policy), 1);
            policy.joined(true);
            if id % 2 == 0 {
                policy.not_set_up(id + 1, id.into());
            }
        }
        // However many set-ups have failed on one that has done something since.
        (0..9).for_each(|_| policy.not_set_up(100, 100));
        for id in 100..99 + MOST_IN_A_ROW {
            assert_ne!(policy.step(NOW), HealingStep::GiveUp);
            policy.died(&at_work(id), 100);
            launches(&mut policy);
            policy.joined(true);
            (0..9).for_each(|_| policy.not_set_up(id + 1, 100));
        }
        assert_eq!(policy.step(NOW), HealingStep::GiveUp);
    }

    #[test]
    fn what_has_ended_does_not_begin_again() {
        let mut policy = pool(1);
        policy.end();
        policy.died(&at_work(1), 1);
        assert_eq!(policy.step(NOW), HealingStep::Rest);
        policy.launching(1);
        policy.joined(true);
        policy.died(&at_work(2), 2);
        assert_eq!(policy.step(NOW), HealingStep::Rest);
    }

    #[test]
    fn launches_that_fail_leave_the_budget_as_it_is_and_take_their_time() {
        let options = HealingOptions {
            budget: Some(2),
            ..HealingOptions::default()
        };
        let mut policy = pool_with(1, options);
        policy.died(&at_work(1), 1);
        for seconds in [0, 1, 2, 4] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(policy.step(NOW), HealingStep::Launch { pause });
            assert_eq!(policy.take_missing(NOW), 1);
            policy.missed();
        }
        assert_eq!(policy.step(NOW), HealingStep::GiveUp);
    }

    #[test]
    fn a_launch_that_is_missed_is_not_one_whose_daemon_has_come() {
        let options = HealingOptions {
            budget: Some(2),
            ..HealingOptions::default()
        };
        let mut policy = pool_with(2, options);
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        policy.died(&at_work(1), 1);
        policy.step(minutes(0));
        assert_eq!(policy.take_missing(minutes(0)), 1);
        policy.died(&at_work(2), 2);
        policy.step(minutes(30));
        assert_eq!(policy.take_missing(minutes(30)), 1);
        policy.missed();
        policy.joined(true);
        // The one that has come was launched at minute 30: the other has cost nothing.
        let step = policy.step(minutes(70));
        assert!(matches!(step, HealingStep::Launch { .. }), "{step:?}");
        assert_eq!(policy.take_missing(minutes(70)), 1);
        policy.joined(true);
        policy.died(&at_work(3), 3);
        let pause = minutes(90) - minutes(80);
        assert_eq!(policy.step(minutes(80)), HealingStep::Spent { pause });
    }

    #[test]
    fn a_budget_is_for_an_hour_and_its_end_is_told_once() {
        let options = HealingOptions {
            budget: Some(2),
            is_blind: true,
            ..HealingOptions::default()
        };
        let mut policy = pool_with(2, options);
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for id in 1..=2 {
            policy.died(&at_work(id), id.into());
            policy.step(minutes(id.into()));
            assert_eq!(policy.take_missing(minutes(id.into())), 1);
            policy.joined(false);
        }
        policy.died(&at_work(3), 3);
        let pause = minutes(51);
        assert_eq!(policy.step(minutes(10)), HealingStep::Spent { pause });
        assert_eq!(policy.step(minutes(10)), HealingStep::Launch { pause });
        assert_eq!(
            policy.step(minutes(61)),
            HealingStep::Launch {
                pause: Duration::ZERO
            }
        );
        assert_eq!(policy.take_missing(minutes(61)), 1);
    }
}
