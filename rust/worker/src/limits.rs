//! A daemon's limits: idle time, wall time, number of tasks.

use std::time::{Duration, Instant};

use mirai_wire::LeaveReason;

use crate::WorkerOptions;

/// The limits of a daemon, measured over its life, also across hubs.
#[derive(Debug)]
pub(crate) struct WorkerLimits {
    idletime: Option<Duration>,
    wall: Option<Instant>,
    tasks_left: Option<u64>,
    idle_since: Instant,
}

impl WorkerLimits {
    pub(crate) fn new(options: &WorkerOptions, now: Instant) -> WorkerLimits {
        WorkerLimits {
            idletime: options.idletime,
            wall: options
                .walltime
                .and_then(|walltime| now.checked_add(walltime)),
            tasks_left: options.maxtasks.map(|tasks| tasks.max(1)),
            idle_since: now,
        }
    }

    /// When an idle daemon leaves; `None` for never.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let idle = self
            .idletime
            .and_then(|idletime| self.idle_since.checked_add(idletime));
        [idle, self.wall].into_iter().flatten().min()
    }

    /// The limit that a daemon has reached that is idle `now`.
    pub(crate) fn reached_idle(&self, now: Instant) -> Option<LeaveReason> {
        if self.wall.is_some_and(|wall| now >= wall) {
            return Some(LeaveReason::WallTime);
        }
        self.deadline()
            .is_some_and(|deadline| now >= deadline)
            .then_some(LeaveReason::IdleTime)
    }

    /// A set-up is no task, but idle time begins after it: one that takes long must not end the daemon it prepares.
    pub(crate) fn setup_ended(&mut self, now: Instant) {
        self.idle_since = now;
    }

    /// Counts a task that has ended; the limit it has reached, if any.
    pub(crate) fn task_ended(&mut self, now: Instant) -> Option<LeaveReason> {
        if let Some(left) = &mut self.tasks_left {
            *left -= 1;
            if *left == 0 {
                return Some(LeaveReason::MaxTasks);
            }
        }
        self.idle_since = now;
        self.wall
            .is_some_and(|wall| now >= wall)
            .then_some(LeaveReason::WallTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirai_lanes::Address;

    const SECOND: Duration = Duration::from_secs(1);

    /// Idle and wall time in seconds, and a number of tasks.
    fn limits(idle: u64, wall: u64, tasks: Option<u64>) -> (WorkerLimits, Instant) {
        let address = Address::unique(&std::env::temp_dir()).unwrap();
        let begun = Instant::now();
        let limited = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        let options = WorkerOptions {
            idletime: limited(idle),
            walltime: limited(wall),
            maxtasks: tasks,
            ..WorkerOptions::new(address)
        };
        (WorkerLimits::new(&options, begun), begun)
    }

    #[test]
    fn idle_time_begins_with_the_daemon_and_anew_after_each_task() {
        let (mut limits, begun) = limits(60, 0, None);
        assert_eq!(limits.deadline(), Some(begun + 60 * SECOND));
        assert_eq!(limits.reached_idle(begun + 59 * SECOND), None);
        let ended = begun + 1000 * SECOND;
        assert_eq!(limits.task_ended(ended), None);
        assert_eq!(limits.reached_idle(ended + 59 * SECOND), None);
        assert_eq!(limits.deadline(), Some(ended + 60 * SECOND));
        let reached = limits.reached_idle(ended + 60 * SECOND);
        assert_eq!(reached, Some(LeaveReason::IdleTime));
    }

    #[test]
    fn wall_time_holds_for_the_idle_and_for_the_busy_after_their_task() {
        let (mut limits, begun) = limits(0, 60, None);
        assert_eq!(limits.task_ended(begun + 59 * SECOND), None);
        assert_eq!(limits.deadline(), Some(begun + 60 * SECOND));
        assert_eq!(limits.reached_idle(begun + 59 * SECOND), None);
        let wall = Some(LeaveReason::WallTime);
        assert_eq!(limits.reached_idle(begun + 60 * SECOND), wall);
        assert_eq!(limits.task_ended(begun + 90 * SECOND), wall);
    }

    #[test]
    fn the_earlier_of_two_times_counts() {
        let (idle_first, begun) = limits(10, 60, None);
        assert_eq!(idle_first.deadline(), Some(begun + 10 * SECOND));
        let reached = idle_first.reached_idle(begun + 10 * SECOND);
        assert_eq!(reached, Some(LeaveReason::IdleTime));
        let (wall_first, begun) = limits(60, 10, None);
        assert_eq!(wall_first.deadline(), Some(begun + 10 * SECOND));
        let reached = wall_first.reached_idle(begun + 10 * SECOND);
        assert_eq!(reached, Some(LeaveReason::WallTime));
    }

    #[test]
    fn of_two_limits_reached_by_one_task_that_of_tasks_counts() {
        let (mut limits, begun) = limits(10, 10, Some(2));
        assert_eq!(limits.task_ended(begun), None);
        let reached = limits.task_ended(begun + 20 * SECOND);
        assert_eq!(reached, Some(LeaveReason::MaxTasks));
    }

    #[test]
    fn a_setup_is_not_counted_and_idle_time_begins_after_it() {
        let (mut limits, begun) = limits(60, 0, Some(1));
        limits.setup_ended(begun + 90 * SECOND);
        assert_eq!(limits.deadline(), Some(begun + 150 * SECOND));
        assert_eq!(limits.reached_idle(begun + 100 * SECOND), None);
        let reached = limits.task_ended(begun + 100 * SECOND);
        assert_eq!(reached, Some(LeaveReason::MaxTasks));
    }

    #[test]
    fn without_limits_a_daemon_stays() {
        let (mut limits, begun) = limits(0, 0, None);
        let later = begun + 1_000_000 * SECOND;
        assert_eq!(limits.deadline(), None);
        assert_eq!(limits.task_ended(later), None);
        assert_eq!(limits.reached_idle(later), None);
    }
}
