//! Connected daemons as they are reported to users: number, process, workload.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_wire::Origin;

use crate::cell::Cell;

/// A connected daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Number in the life of the hub, from 1.
    pub id: u32,
    /// Process id, where the lane knows it.
    pub pid: Option<u32>,
    /// Where it is, if it connects over a network.
    pub peer: Option<SocketAddr>,
    /// Where it runs, by its own words, once it has told.
    pub origin: Option<Arc<Origin>>,
    /// Tasks that it has ended, however they came out; what it had to [set up](crate::Hub::set_up) does not count.
    pub done: u64,
    /// Total time during which it had a task.
    pub busy: Duration,
    /// How often it has returned after its connection broke.
    pub returns: u32,
    /// Its connection is broken, and it may return.
    pub is_away: bool,
    /// The task that it evaluates.
    pub task: Option<Running>,
    /// For how long it has been at [set-ups](crate::Hub::set_up) that it has to finish before its first task.
    pub setting_up: Option<Duration>,
    /// Whether all [set-ups](crate::Hub::set_up) that it has finished have succeeded.
    pub is_set_up: bool,
    /// Whether it has taken the place of another.
    pub is_replacement: bool,
}

/// The task that a daemon evaluates; of several that it was sent, the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Number of the task, as its handle has it.
    pub number: u64,
    /// Time since its evaluation began.
    pub age: Duration,
    /// Whether the task has been cancelled or has timed out, so that nobody waits for the daemon.
    pub is_over: bool,
}

/// The work of one daemon.
#[derive(Default)]
pub(crate) struct Workload {
    /// When its task began.
    turn: Option<Instant>,
    done: u64,
    busy: Duration,
    failed_setups: u64,
}

impl Workload {
    pub(crate) fn note_setup(&mut self, succeeded: bool) {
        self.failed_setups += u64::from(!succeeded);
    }

    /// Records that a task begins, unless one is under way.
    pub(crate) fn begins(&mut self, now: Instant) {
        self.turn.get_or_insert(now);
    }

    pub(crate) fn ended(&mut self, now: Instant) {
        self.done += 1;
        self.busy += self.age(now);
        self.turn = None;
    }

    pub(crate) fn busy(&self, now: Instant) -> Duration {
        self.busy + self.age(now)
    }

    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    pub(crate) fn is_set_up(&self) -> bool {
        self.failed_setups == 0
    }

    /// What the daemon is at, if that is this.
    pub(crate) fn running(&self, task: &Cell, now: Instant) -> Running {
        Running {
            number: task.number(),
            age: self.age(now),
            is_over: task.is_settled(),
        }
    }

    /// Since it is at its task.
    fn age(&self, now: Instant) -> Duration {
        self.turn
            .map_or(Duration::ZERO, |turn| now.saturating_duration_since(turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_busy_while_it_has_tasks() {
        let second = Duration::from_secs(1);
        let begun = Instant::now();
        let mut workload = Workload::default();
        assert_eq!(workload.busy(begun), Duration::ZERO);
        workload.begins(begun);
        // One that it is sent meanwhile begins when it gets to it.
        workload.begins(begun + second);
        assert_eq!(workload.busy(begun + 2 * second), 2 * second);
        workload.ended(begun + 3 * second);
        workload.begins(begun + 3 * second);
        workload.ended(begun + 4 * second);
        assert_eq!(workload.busy(begun + 9 * second), 4 * second);
        assert_eq!(workload.done(), 2);
    }
}
