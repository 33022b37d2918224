//! Tasks coming to an end: reports, cancellation, deadlines.

use std::time::Duration;

use crate::due::Due;
use crate::slab::Slot;
use crate::tasks::{Phase, Place, Progress};
use crate::{Claims, DaemonId, Effect, Mode, RunId, Scheduler, Settled, TaskId, Tick};

impl Scheduler {
    pub(crate) fn on_task_ended(&mut self, id: DaemonId, run: RunId, took: Duration, last: bool) {
        let Some((daemon, task)) = self.find_run(id, run) else {
            self.ignored += 1;
            return;
        };
        self.note_begun(task);
        self.daemons
            .get_mut(daemon)
            .sent
            .remove(&mut self.tasks, task);
        self.finish(task, Settled::Ended);
        self.pace.note(took);
        self.reported = (!last).then_some(daemon);
        self.note_turn(daemon);
        self.note_done(daemon, last);
    }

    /// A daemon has reported: it goes, rests, or has more to do.
    pub(crate) fn note_done(&mut self, daemon: Slot, last: bool) {
        if last {
            self.depart(daemon);
        } else if self.daemons.is_done(daemon) {
            self.rest(daemon);
        }
    }

    pub(crate) fn on_cancel_asked(&mut self, task: TaskId, force: bool, claims: &mut dyn Claims) {
        let Some(slot) = self.tasks.find(task.0) else {
            return;
        };
        self.give_up(slot, Settled::Cancelled, claims);
        if force && self.tasks.find(task.0).is_some() {
            self.force(slot, claims);
        }
    }

    pub(crate) fn on_timer_fired(&mut self, claims: &mut dyn Claims) {
        // What is set meanwhile does not arm: only the earliest of all counts.
        self.armed = Some(Tick(0));
        while let Some(due) = self.wheel.pop_due(self.now) {
            match due {
                Due::Task(slot) => {
                    self.tasks[slot].timer = None;
                    self.give_up(slot, Settled::TimedOut, claims);
                }
                Due::Suspect(slot) => self.on_grace_over(slot, claims),
                Due::Clock(slot) => self.on_clock(slot, claims),
            }
        }
        self.armed = None;
        self.arm();
    }

    /// Each launch answers for one task, so the oldest goes even if it has its outcome: others have their own launch.
    pub(crate) fn on_launch_failed(&mut self) {
        match self.queue.oldest() {
            Some(slot) if self.mode == Mode::Single => self.drop_waiting(slot, Settled::Lost),
            Some(_) | None => self.ignored += 1,
        }
    }

    /// Ends a task that waits, taking it out of the queue.
    pub(crate) fn drop_waiting(&mut self, slot: Slot, how: Settled) {
        let Phase::Waiting { place, .. } = self.tasks[slot].phase else {
            return;
        };
        self.queue.remove(&mut self.tasks, slot, place);
        self.end_waiting(slot, how);
        if place == Place::Evaluation {
            self.note_barrier();
        }
    }

    /// Ends a task that waited and is out of the queue.
    pub(crate) fn end_waiting(&mut self, slot: Slot, how: Settled) {
        self.let_go(slot);
        self.finish(slot, how);
    }

    /// Nobody waits for a task any more. Only in queue mode does its evaluation stop, too.
    pub(crate) fn give_up(&mut self, slot: Slot, how: Settled, claims: &mut dyn Claims) {
        if self.tasks[slot].settled() != Some(false) {
            return;
        }
        if self.is_ahead(slot) && self.take_back(slot, claims) {
            return self.end_waiting(slot, how);
        }
        match (self.mode, self.tasks[slot].phase) {
            (Mode::Queue, Phase::Waiting { .. }) => self.drop_waiting(slot, how),
            (Mode::Queue, Phase::Sent { daemon, run, .. }) => {
                self.settle(slot, how);
                self.recall(slot, daemon, run, claims);
            }
            (Mode::Direct | Mode::Single, Phase::Waiting { .. } | Phase::Sent { .. }) => {
                self.settle(slot, how);
            }
            (_, Phase::Reserved) => {}
        }
    }

    /// Asks a daemon to give up a task that it was sent.
    fn recall(&mut self, task: Slot, daemon: Slot, run: RunId, claims: &mut dyn Claims) {
        if let Phase::Sent { progress, .. } = &mut self.tasks[task].phase {
            *progress = Progress::Recalled;
        }
        self.outbox.push_back(Effect::Interrupt {
            daemon: self.daemons.id(daemon),
            run,
        });
        self.await_stop(daemon, claims);
    }

    /// The daemon of this id, and the task it was sent as this run: the first, unless it works in another order than
    /// that of sending.
    pub(crate) fn find_run(&self, id: DaemonId, run: RunId) -> Option<(Slot, Slot)> {
        let daemon = self.daemons.find_reachable(id)?;
        let sent = self.daemons.get(daemon).sent.iter(&self.tasks);
        let mut from_there = sent.skip_while(|task| self.run_of(*task) < Some(run));
        let task = from_there.next()?;
        (self.run_of(task) == Some(run)).then_some((daemon, task))
    }
}
