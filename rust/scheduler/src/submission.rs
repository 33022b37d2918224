//! Tasks coming in.

use crate::due::Due;
use crate::slab::Slot;
use crate::{DaemonId, Effect, Mode, Scheduler, Settled, TaskId, TaskOptions, Tick};

impl Scheduler {
    pub(crate) fn on_task_submitted(&mut self, task: TaskId, options: TaskOptions) {
        let Some(slot) = self.open(task, options) else {
            return;
        };
        if self.mode == Mode::Direct && self.hand_out(slot, options.to) {
            return;
        }
        self.enqueue(slot);
    }

    /// To the daemon that is asked for, past those that wait for any. Otherwise dealt, unless others wait for a daemon.
    fn hand_out(&mut self, slot: Slot, to: Option<DaemonId>) -> bool {
        match to.and_then(|daemon| self.daemons.find_connected(daemon)) {
            Some(daemon) => {
                self.assign(slot, daemon);
                true
            }
            None => self.queue.is_empty() && self.deal(slot),
        }
    }

    /// One evaluation per daemon. In direct mode each goes behind what its daemon already has, so that no barrier is
    /// needed; a daemon of single mode would not live to see anything behind one.
    pub(crate) fn on_everywhere_submitted(&mut self, tasks: &[TaskId], options: TaskOptions) {
        let mut barrier = false;
        for &task in tasks {
            let Some(slot) = self.open(task, options) else {
                continue;
            };
            match self.mode {
                Mode::Queue => {
                    if !barrier {
                        self.queue.push_barrier(self.daemons.members());
                        barrier = true;
                    }
                    self.queue.push_evaluation(&mut self.tasks, slot);
                    self.note_waiting(slot);
                }
                Mode::Direct => {
                    if !self.deal(slot) {
                        self.enqueue(slot);
                    }
                }
                Mode::Single => self.enqueue(slot),
            }
        }
    }

    /// Makes a reserved task an open one. `None` if it is not there, or has no time at all.
    fn open(&mut self, task: TaskId, options: TaskOptions) -> Option<Slot> {
        let Some(slot) = self.tasks.find_reserved(task) else {
            self.ignored += 1;
            return None;
        };
        self.tally.submitted += 1;
        if options.timeout == Some(0) {
            self.outbox.push_back(Effect::Settle {
                task,
                how: Settled::TimedOut,
            });
            self.outbox.push_back(Effect::Release { task });
            self.tasks.remove(slot);
            return None;
        }
        let entry = &mut self.tasks[slot];
        entry.order = self.tally.submitted;
        entry.bytes = options.bytes;
        entry.part = options.part;
        entry.retries = options.retries;
        entry.runtime = options.runtime;
        if let Some(timeout) = options.timeout {
            let deadline = Tick(self.now.0.saturating_add(timeout));
            self.tasks[slot].timer = Some(self.wheel.insert(self.now, deadline, Due::Task(slot)));
            self.arm();
        }
        Some(slot)
    }

    fn enqueue(&mut self, slot: Slot) {
        self.queue.push_task(&mut self.tasks, slot);
        self.note_waiting(slot);
    }

    fn note_waiting(&mut self, slot: Slot) {
        self.hold(slot);
        self.tally.awaiting += 1;
    }
}
