//! Daemons whose connection breaks, and that may come back.

use crate::daemons::Stage;
use crate::scheduler::Due;
use crate::slab::Slot;
use crate::{DaemonId, Effect, Mode, Scheduler, Tick};

/// Milliseconds by which a late timer shows that the whole process stood still, so that daemons had no chance to
/// return.
const STALL: u64 = 1000;

impl Scheduler {
    pub(crate) fn on_daemon_suspected(&mut self, id: DaemonId) {
        let Some(daemon) = self.daemons.find_reachable(id) else {
            self.ignored += 1;
            return;
        };
        if self.grace == 0 {
            self.outbox.push_back(Effect::Forget { daemon: id });
            self.on_daemon_lost(id);
            return;
        }
        if self.daemons.get(daemon).stage == Stage::Resting {
            self.wake(daemon);
        }
        self.begin_grace(daemon);
        self.arm();
    }

    pub(crate) fn on_daemon_returned(&mut self, id: DaemonId) {
        let Some(daemon) = self.daemons.find_connected(id) else {
            self.ignored += 1;
            return;
        };
        if let Stage::Suspect { timer, .. } = self.daemons.get(daemon).stage {
            self.wheel.remove(timer);
            self.daemons.absolve(daemon);
            if self.daemons.is_done(daemon) {
                self.rest(daemon);
            }
        }
        if self.mode == Mode::Queue {
            self.interrupt_unwanted(daemon);
        }
    }

    pub(crate) fn on_grace_over(&mut self, daemon: Slot) {
        let Stage::Suspect { until, .. } = self.daemons.get(daemon).stage else {
            return;
        };
        let id = self.daemons.id(daemon);
        let late = self.now.0.saturating_sub(until.0);
        self.daemons.absolve(daemon);
        if late >= STALL {
            self.begin_grace(daemon);
        } else {
            self.outbox.push_back(Effect::Forget { daemon: id });
            self.on_daemon_lost(id);
        }
    }

    /// Makes a busy daemon a suspect.
    fn begin_grace(&mut self, daemon: Slot) {
        let until = Tick(self.now.0.saturating_add(self.grace));
        let timer = self.wheel.insert(self.now, until, Due::Suspect(daemon));
        self.daemons.suspect(daemon, until, timer);
    }

    /// Interrupts a task of the daemon that nobody waits for any more: an earlier interrupt may have been lost.
    fn interrupt_unwanted(&mut self, daemon: Slot) {
        let id = self.daemons.id(daemon);
        // A queue sends one task at a time.
        let task = self.daemons.get(daemon).sent.front();
        let unwanted = task.filter(|task| self.tasks[*task].settled() == Some(true));
        if let Some(run) = unwanted.and_then(|task| self.run_of(task)) {
            self.outbox.push_back(Effect::Interrupt { daemon: id, run });
        }
    }
}
