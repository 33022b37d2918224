//! What the scheduler wants done.

use std::collections::VecDeque;

use crate::{DaemonId, RunId, TaskId, Tick};

/// Something the caller is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send a task to a daemon.
    Send {
        /// The daemon.
        to: DaemonId,
        /// The task.
        task: TaskId,
        /// The run it is to report on.
        run: RunId,
        /// Number of the attempt, from 1: how many daemons have died evaluating the task, and one.
        attempt: u32,
        /// Before its turn: the daemon has others. Where there are [claims](crate::Claims), it begins no run that it cannot claim.
        ahead: bool,
    },
    /// Send a daemon that has just joined one of its set-ups.
    SetUp {
        /// The daemon.
        daemon: DaemonId,
        /// Which one: the number of those that it has before it.
        setup: usize,
    },
    /// Interrupt an evaluation nobody waits for any more ([`Mode::Queue`](crate::Mode::Queue) only). The daemon still
    /// reports on it.
    Interrupt {
        /// The daemon.
        daemon: DaemonId,
        /// The run that is to be interrupted, and no other.
        run: RunId,
    },
    /// End the process of a daemon, or where that cannot be done its connection. It gets nothing more; what it reports until
    /// then counts, and its end is to be told as [`Event::DaemonLost`](crate::Event::DaemonLost).
    Kill {
        /// The daemon.
        daemon: DaemonId,
        /// What it evaluates, which nobody waits for any more.
        task: TaskId,
        /// Why.
        why: KillReason,
    },
    /// A suspected daemon has not returned within its grace, and is lost.
    Forget {
        /// The daemon.
        daemon: DaemonId,
    },
    /// The task has its outcome. Comes exactly once per submitted task.
    Settle {
        /// The task.
        task: TaskId,
        /// What became of it.
        how: Settled,
    },
    /// The task is over for daemons too and its id matches nothing any more. Comes exactly once per submitted task, after
    /// [`Effect::Settle`].
    Release {
        /// The task.
        task: TaskId,
    },
    /// Tell [`Event::TimerFired`](crate::Event::TimerFired) at or soon after this time; replaces what was armed before.
    ArmTimer {
        /// No deadline is earlier than this.
        at: Tick,
    },
}

/// Why a daemon is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillReason {
    /// It has not stopped its task in time after an interrupt: see
    /// [`SchedulerOptions::kill_after`](crate::SchedulerOptions::kill_after).
    Deaf,
    /// Somebody has asked for it.
    Forced,
}

/// What became of a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Settled {
    /// Its daemon has reported: the outcome is what came with the report.
    Ended,
    /// Its time ran out.
    TimedOut,
    /// It has run for longer than it may.
    RanOut,
    /// It was cancelled.
    Cancelled,
    /// Its daemon died or, for an evaluation of `everywhere()`, went away before it was handed over.
    Lost,
    /// It waited, and no daemon will come: see [`Event::NoDaemonsExpected`](crate::Event::NoDaemonsExpected).
    Abandoned,
    /// The pool was reset.
    Reset,
}

/// The effects of one event, in the order in which they are to be done. To be drained before the next event.
#[derive(Debug)]
#[must_use = "effects have to be carried out"]
pub struct Effects<'a> {
    pub(crate) outbox: &'a mut VecDeque<Effect>,
}

impl Iterator for Effects<'_> {
    type Item = Effect;

    fn next(&mut self) -> Option<Effect> {
        self.outbox.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.outbox.len(), Some(self.outbox.len()))
    }
}

impl ExactSizeIterator for Effects<'_> {}
