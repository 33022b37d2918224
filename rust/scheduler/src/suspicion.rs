//! Daemons whose connection breaks, and that may come back.

use crate::daemons::Stage;
use crate::due::Due;
use crate::slab::Slot;
use crate::tasks::{Phase, Progress};
use crate::{Claims, DaemonId, Effect, Scheduler, Tick};

/// Milliseconds by which a late timer shows that the whole process stood still, so that daemons had no chance to
/// return.
const STALL: u64 = 1000;

impl Scheduler {
    pub(crate) fn on_daemon_suspected(&mut self, id: DaemonId, claims: &mut dyn Claims) {
        let Some(daemon) = self.daemons.find_reachable(id) else {
            self.ignored += 1;
            return;
        };
        if self.grace == 0 {
            self.outbox.push_back(Effect::Forget { daemon: id });
            self.on_daemon_lost(id, claims);
            return;
        }
        if self.daemons.get(daemon).stage == Stage::Resting {
            self.wake(daemon);
        }
        self.take_back_all(daemon, claims);
        self.hold_still(daemon);
        self.begin_grace(daemon);
        self.arm();
    }

    pub(crate) fn on_daemon_held_up(&mut self, id: DaemonId, millis: u64) {
        let Some(daemon) = self.daemons.find(id) else {
            return;
        };
        let Stage::Suspect { until, timer } = self.daemons.get(daemon).stage else {
            return;
        };
        self.wheel.remove(timer);
        let until = Tick(until.0.saturating_add(millis));
        let timer = self.wheel.insert(self.now, until, Due::Suspect(daemon));
        self.daemons.get_mut(daemon).stage = Stage::Suspect { until, timer };
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
        self.recall_again(daemon);
        self.wind(daemon);
    }

    pub(crate) fn on_grace_over(&mut self, daemon: Slot, claims: &mut dyn Claims) {
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
            self.on_daemon_lost(id, claims);
        }
    }

    /// Makes a busy daemon a suspect.
    fn begin_grace(&mut self, daemon: Slot) {
        let until = Tick(self.now.0.saturating_add(self.grace));
        let timer = self.wheel.insert(self.now, until, Due::Suspect(daemon));
        self.daemons.suspect(daemon, until, timer);
    }

    /// Asks once more for what is recalled: that may have been lost with the connection.
    fn recall_again(&mut self, daemon: Slot) {
        let id = self.daemons.id(daemon);
        for task in self.daemons.get(daemon).sent.iter(&self.tasks) {
            if let Phase::Sent {
                run,
                progress: Progress::Recalled,
                ..
            } = self.tasks[task].phase
            {
                self.outbox.push_back(Effect::Interrupt { daemon: id, run });
            }
        }
    }
}
