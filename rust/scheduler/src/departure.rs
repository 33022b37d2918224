//! Daemons that come and go.

use crate::daemons::Stage;
use crate::queue::{Disposition, Queue};
use crate::slab::Slot;
use crate::tasks::{Phase, Progress};
use crate::{Claims, DaemonId, Effect, Mode, Scheduler, Settled};

impl Scheduler {
    pub(crate) fn on_daemon_joined(&mut self, id: DaemonId, ahead: bool, more_setups: usize) {
        let Some(daemon) = self.daemons.find_reserved(id) else {
            self.ignored += 1;
            return;
        };
        self.tally.cumulative += 1;
        let ahead = ahead && self.mode == Mode::Queue;
        self.daemons.join(daemon, self.queue.epoch, ahead);
        let setups = self.setups + more_setups;
        if setups > 0 {
            self.wake(daemon);
            self.daemons.get_mut(daemon).setups = setups;
        }
        let setups = (0..setups).map(|setup| Effect::SetUp { daemon: id, setup });
        self.outbox.extend(setups);
    }

    pub(crate) fn on_setup_ended(&mut self, id: DaemonId, last: bool) {
        let daemon = self.daemons.find_reachable(id);
        let Some(daemon) = daemon.filter(|slot| self.daemons.get(*slot).setups > 0) else {
            self.ignored += 1;
            return;
        };
        self.daemons.get_mut(daemon).setups -= 1;
        self.note_turn(daemon);
        self.note_done(daemon, last);
    }

    pub(crate) fn on_daemon_lost(&mut self, id: DaemonId, claims: &mut dyn Claims) {
        let Some(daemon) = self.daemons.find(id) else {
            self.ignored += 1;
            return;
        };
        if self.daemons.get(daemon).stage != Stage::Leaving {
            self.disconnect(daemon);
            let had: Vec<Slot> = std::iter::from_fn(|| self.take_sent(daemon)).collect();
            let is_set_up = self.daemons.get(daemon).setups == 0;
            let (begun, unbegun) = had.split_at(self.count_begun(&had, claims));
            if let ([], [next, ..], true) = (begun, unbegun, is_set_up) {
                self.tasks[*next].missed += 1;
            }
            begun.iter().for_each(|task| self.retry_or_lose(*task));
            for task in unbegun {
                self.put_back(*task, Disposition::Dropped);
            }
            self.settle_membership(daemon, Disposition::Dropped);
        }
        self.daemons.forget(daemon);
    }

    /// A task whose daemon died. Only one that had begun is to blame; others of its daemon are lost with it unless they
    /// may be retried, too.
    fn retry_or_lose(&mut self, slot: Slot) {
        self.note_begun(slot);
        if !self.may_be_retried(slot) {
            return self.finish(slot, Settled::Lost);
        }
        let task = &mut self.tasks[slot];
        if let Phase::Sent {
            progress: Progress::Begun,
            ..
        } = task.phase
        {
            task.deaths += 1;
        }
        self.put_back(slot, Disposition::Dropped);
    }

    /// What waits is lost: there is no daemon, and none will come.
    pub(crate) fn abandon_waiting(&mut self) {
        let waits = |slot: &Slot| matches!(self.tasks[*slot].phase, Phase::Waiting { .. });
        let waiting: Vec<Slot> = self.tasks.slots().filter(waits).collect();
        for slot in waiting {
            self.drop_waiting(slot, Settled::Abandoned);
        }
        self.queue.advance();
    }

    pub(crate) fn on_daemon_leaving(&mut self, id: DaemonId) {
        match self.daemons.find_reachable(id) {
            Some(daemon) => self.depart(daemon),
            None => self.ignored += 1,
        }
    }

    /// A daemon goes in peace: what it was sent and has not begun is put back. An evaluation was for this daemon, so it
    /// is over when others remain, rather than hold them up; with nobody left to hold up it waits for the next to join.
    pub(crate) fn depart(&mut self, daemon: Slot) {
        self.disconnect(daemon);
        let disposition = match self.daemons.members() {
            0 => Disposition::Open,
            _ => Disposition::Dropped,
        };
        while let Some(task) = self.take_sent(daemon) {
            self.put_back(task, disposition);
        }
        self.settle_membership(daemon, disposition);
    }

    /// All open tasks settle, in order of slots; daemons that report later are unknown.
    pub(crate) fn on_reset(&mut self) {
        let open: Vec<Slot> = self.tasks.slots().collect();
        for slot in open {
            match self.tasks[slot].phase {
                Phase::Reserved => {}
                Phase::Waiting { .. } => self.end_waiting(slot, Settled::Reset),
                Phase::Sent { .. } => self.finish(slot, Settled::Reset),
            }
        }
        self.queue = Queue::default();
        self.setups = 0;
        for daemon in self.daemons.slots.slots() {
            let daemon = self.daemons.get(daemon);
            if let Stage::Suspect { timer, .. } = daemon.stage {
                self.wheel.remove(timer);
            }
            if let Some(clock) = daemon.clock {
                self.wheel.remove(clock.timer);
            }
        }
        self.daemons.clear();
    }

    fn disconnect(&mut self, daemon: Slot) {
        self.stop_clock(daemon);
        match self.daemons.get(daemon).stage {
            Stage::Resting => self.wake(daemon),
            Stage::Suspect { timer, .. } => {
                self.wheel.remove(timer);
                self.daemons.absolve(daemon);
            }
            Stage::Reserved | Stage::Busy | Stage::Leaving => {}
        }
        self.daemons.leave(daemon);
    }

    fn take_sent(&mut self, daemon: Slot) -> Option<Slot> {
        self.daemons.get_mut(daemon).sent.pop_front(&mut self.tasks)
    }

    /// A task that was sent and not begun waits again, unless nobody waits for it.
    fn put_back(&mut self, task: Slot, disposition: Disposition) {
        let entry = &self.tasks[task];
        let for_members = entry.is_evaluation && disposition == Disposition::Dropped;
        if entry.settled() == Some(true) || for_members {
            self.finish(task, Settled::Lost);
            return;
        }
        if self.is_ahead(task) {
            self.unload(task);
        } else {
            self.hold(task);
            self.tally.executing -= 1;
            self.tally.awaiting += 1;
        }
        self.queue.push_returned(&mut self.tasks, task);
    }

    /// Barriers do not wait for a daemon that is gone.
    fn settle_membership(&mut self, daemon: Slot, disposition: Disposition) {
        let entry = self.daemons.get(daemon);
        let passed = entry.passed.max(entry.joined_in);
        for barrier in self.queue.barriers_above(passed) {
            let over = self
                .queue
                .member_gone(&mut self.tasks, barrier, disposition);
            if let Some(task) = over {
                self.end_waiting(task, Settled::Lost);
            }
        }
        self.note_barrier();
    }
}
