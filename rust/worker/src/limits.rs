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
    pub(crate) fn new(options: &WorkerOptions) -> WorkerLimits {
        let now = Instant::now();
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

    /// The limit that an idle daemon has reached by now.
    pub(crate) fn reached_idle(&self) -> Option<LeaveReason> {
        let now = Instant::now();
        if self.wall.is_some_and(|wall| now >= wall) {
            return Some(LeaveReason::WallTime);
        }
        self.deadline()
            .is_some_and(|deadline| now >= deadline)
            .then_some(LeaveReason::IdleTime)
    }

    /// A set-up is no task, but idle time begins after it: one that takes long must not end the daemon it prepares.
    pub(crate) fn setup_ended(&mut self) {
        self.idle_since = Instant::now();
    }

    /// Counts a task that has ended; the limit it has reached, if any.
    pub(crate) fn task_ended(&mut self) -> Option<LeaveReason> {
        if let Some(left) = &mut self.tasks_left {
            *left -= 1;
            if *left == 0 {
                return Some(LeaveReason::MaxTasks);
            }
        }
        if self.idletime.is_none() && self.wall.is_none() {
            return None;
        }
        self.idle_since = Instant::now();
        self.wall
            .is_some_and(|wall| self.idle_since >= wall)
            .then_some(LeaveReason::WallTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirai_lanes::Address;

    #[test]
    fn a_setup_is_not_counted_and_idle_time_begins_after_it() {
        let address = Address::unique(&std::env::temp_dir()).unwrap();
        let mut limits = WorkerLimits::new(&WorkerOptions {
            idletime: Some(Duration::from_secs(60)),
            maxtasks: Some(1),
            ..WorkerOptions::new(address)
        });
        let before = limits.deadline().unwrap();
        while Instant::now() <= limits.idle_since {}
        limits.setup_ended();
        assert!(limits.deadline().unwrap() > before);
        assert_eq!(limits.reached_idle(), None);
        assert_eq!(limits.task_ended(), Some(LeaveReason::MaxTasks));
    }
}
