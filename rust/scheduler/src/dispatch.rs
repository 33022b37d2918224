//! Bringing waiting tasks and resting daemons together.

use crate::daemons::{Daemon, Stage};
use crate::slab::Slot;
use crate::tasks::{Phase, Progress};
use crate::{Claims, Effect, Mode, Scheduler};

impl Scheduler {
    /// Sends from the head of the queue until nothing waits there or no daemon may take it.
    pub(crate) fn dispatch(&mut self, claims: &mut dyn Claims) {
        // What is taken back comes before what is sent: a run is to be known to both sides before it is claimed.
        self.relieve_stalled(claims);
        loop {
            self.queue.advance();
            if !self.dispatch_returned() && !self.dispatch_front() && !self.relieve(claims) {
                break;
            }
        }
        if let Some(daemon) = self.reported.take() {
            self.top_up(daemon);
        }
    }

    /// Sends a task to the daemon whose turn it is, whatever that has to do. False if there is no daemon.
    pub(crate) fn deal(&mut self, task: Slot) -> bool {
        let Some(daemon) = self.daemons.next_in_turn() else {
            return false;
        };
        self.assign(task, daemon);
        true
    }

    /// Sends a task that has not waited to a daemon, whatever that has to do.
    pub(crate) fn assign(&mut self, task: Slot, daemon: Slot) {
        if self.daemons.get(daemon).stage == Stage::Resting {
            self.wake(daemon);
        }
        self.send(task, daemon, false);
    }

    /// Whether a resting daemon is among the parked: it is done with the barrier that holds the queue.
    pub(crate) fn is_parked(&self, daemon: Slot) -> bool {
        self.queue.barrier(&self.tasks) == Some(self.daemons.get(daemon).passed)
    }

    /// Takes a daemon off the resting ones, as it gets something to do or leaves.
    pub(crate) fn wake(&mut self, daemon: Slot) {
        let parked = self.is_parked(daemon);
        self.daemons.wake(daemon, parked);
    }

    /// Puts a daemon that has nothing more to do among the resting ones.
    pub(crate) fn rest(&mut self, daemon: Slot) {
        let parked = self.is_parked(daemon);
        self.daemons.rest(daemon, parked);
    }

    /// To be called when evaluations have left the queue: the end of the barrier at its head frees the parked.
    pub(crate) fn note_barrier(&mut self) {
        if self.queue.barrier(&self.tasks).is_none() {
            self.daemons.unpark();
        }
    }

    /// What was put back precedes any barrier, so the parked may take it, too.
    fn dispatch_returned(&mut self) -> bool {
        if self.queue.returned.is_empty() {
            return false;
        }
        let parked = self.daemons.parked.front();
        let Some(daemon) = parked.or(self.daemons.idle.front()) else {
            return false;
        };
        let Some(task) = self.queue.pop_returned(&mut self.tasks) else {
            return false;
        };
        self.wake(daemon);
        self.send(task, daemon, true);
        true
    }

    fn dispatch_front(&mut self) -> bool {
        let Some(daemon) = self.daemons.idle.front() else {
            return false;
        };
        if let Some(barrier) = self.queue.barrier(&self.tasks) {
            self.dispatch_evaluation(daemon, barrier);
            return true;
        }
        let Some(task) = self.queue.pop_task(&mut self.tasks) else {
            return false;
        };
        self.wake(daemon);
        self.send(task, daemon, true);
        true
    }

    /// Hands an idle daemon its evaluation or, if there is none for it, parks it.
    fn dispatch_evaluation(&mut self, daemon: Slot, barrier: u64) {
        let member = self.daemons.get(daemon).joined_in < barrier;
        match self.queue.pop_evaluation(&mut self.tasks, member) {
            Some(task) => {
                self.daemons.wake(daemon, false);
                self.send(task, daemon, true);
                self.note_barrier();
            }
            None => self.daemons.park(daemon, barrier),
        }
    }

    /// A daemon that is set up has begun the first of its tasks.
    pub(crate) fn note_turn(&mut self, daemon: Slot) {
        self.daemons.note_turn(daemon, self.now);
        self.note_first_begun(daemon);
        self.wind(daemon);
    }

    fn note_first_begun(&mut self, daemon: Slot) {
        let Daemon {
            sent, setups: 0, ..
        } = self.daemons.get(daemon)
        else {
            return;
        };
        let Some(first) = sent.front() else { return };
        if self.mode == Mode::Queue {
            return self.note_begun(first);
        }
        if let Phase::Sent { progress, .. } = &mut self.tasks[first].phase
            && *progress == Progress::Assigned
        {
            *progress = Progress::Begun;
        }
    }

    /// Sends a task that is in no list to a busy daemon; from the queue to one that has no other.
    fn send(&mut self, slot: Slot, daemon: Slot, waited: bool) {
        let task = &self.tasks[slot];
        let settled = task.settled() == Some(true);
        let attempt = task.deaths + 1;
        let is_kept = !settled && self.may_be_retried(slot);
        self.tally.awaiting -= u64::from(waited && !settled);
        match is_kept {
            true => self.hold(slot),
            false => self.let_go(slot),
        }
        self.tally.executing += 1;
        let task = &self.tasks[slot];
        if task.is_evaluation {
            let entry = self.daemons.get_mut(daemon);
            entry.passed = entry.passed.max(task.epoch);
        }
        let progress = match self.mode {
            Mode::Queue => Progress::Begun,
            Mode::Direct | Mode::Single => Progress::Assigned,
        };
        let run = self.push_sent(slot, daemon, progress);
        if self.daemons.get(daemon).sent.len() == 1 {
            self.note_turn(daemon);
        }
        let to = self.daemons.id(daemon);
        self.outbox.push_back(Effect::Send {
            to,
            task: self.tasks.id(slot),
            run,
            attempt,
            ahead: false,
        });
    }
}
