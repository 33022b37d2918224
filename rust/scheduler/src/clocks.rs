//! Daemons that are at a task for too long: those with a limit of running time, and those that were asked to stop and do not.
//!
//! A daemon has one clock, as it evaluates one task at a time. It is wound whenever another task is the first that the daemon has.
//! Who has not reported on a task that was interrupted within [`kill_after`](crate::SchedulerOptions::kill_after) is killed. That
//! time passes in slices, each of which counts as one however long it really took: a stall of this process, in which nobody read what
//! daemons said, is one of them. One that ends late does not count, as reports may not have been read. Where hardly any ends in time,
//! as on a machine whose processors are rationed, the late ones count in the end, each as little more than a slice.

use crate::daemons::Stage;
use crate::due::{Clock, Due, Until};
use crate::slab::Slot;
use crate::tasks::{Phase, Progress};
use crate::{Claims, Effect, KillReason, Mode, Scheduler, Settled, Tick};

/// In how many slices the time passes.
const SLICES: u64 = 4;

/// By how many milliseconds a slice may end late: what timers are late by on a busy machine, and less than a stall that matters.
const LATE: std::ops::RangeInclusive<u64> = 10..=50;

/// After so many times [`kill_after`](crate::SchedulerOptions::kill_after) in late slices a daemon is killed all the same.
const PATIENCE: u64 = 10;

/// The least of that time, in milliseconds: of many late slices that are short, not few.
const LEAST_PATIENCE: u64 = 1000;

impl Scheduler {
    /// Sets the clock of a daemon by the first of its tasks.
    pub(crate) fn wind(&mut self, daemon: Slot) {
        self.stop_clock(daemon);
        let entry = self.daemons.get(daemon);
        let Some(first) = entry.sent.front() else {
            return;
        };
        let Phase::Sent {
            progress, settled, ..
        } = self.tasks[first].phase
        else {
            return;
        };
        match (progress, self.tasks[first].runtime) {
            (Progress::Recalled, _) => self.begin_slices(daemon),
            (Progress::Begun, Some(runtime)) if !settled => {
                let due = Tick(entry.since.0.saturating_add(runtime.get()));
                self.set_clock(daemon, due, Until::RunOut);
            }
            (Progress::Begun | Progress::Assigned, _) => {}
        }
    }

    /// A daemon was asked to stop a task that it has begun.
    pub(crate) fn await_stop(&mut self, daemon: Slot, claims: &mut dyn Claims) {
        let is_suspect = matches!(self.daemons.get(daemon).stage, Stage::Suspect { .. });
        if self.kill_after == Some(0) && !is_suspect {
            return self.kill(daemon, KillReason::Deaf, claims);
        }
        self.stop_clock(daemon);
        self.begin_slices(daemon);
    }

    /// A daemon cannot be reached: it does not know yet that it is to stop.
    pub(crate) fn hold_still(&mut self, daemon: Slot) {
        let clock = self.daemons.get(daemon).clock;
        if clock.is_some_and(|clock| matches!(clock.until, Until::Killed { .. })) {
            self.stop_clock(daemon);
        }
    }

    pub(crate) fn stop_clock(&mut self, daemon: Slot) {
        if let Some(clock) = self.daemons.get_mut(daemon).clock.take() {
            self.wheel.remove(clock.timer);
        }
    }

    pub(crate) fn on_clock(&mut self, daemon: Slot, claims: &mut dyn Claims) {
        let Some(Clock { due, until, .. }) = self.daemons.get_mut(daemon).clock.take() else {
            return;
        };
        match until {
            Until::RunOut => {
                if let Some(first) = self.daemons.get(daemon).sent.front() {
                    self.give_up(first, Settled::RanOut, claims);
                }
            }
            Until::Killed { slices, patience } => match self.pass_slice(due, slices, patience) {
                (0, _) | (_, 0) => self.kill(daemon, KillReason::Deaf, claims),
                (slices, patience) => self.begin_slice(daemon, slices, patience),
            },
        }
    }

    /// Kills the daemon that has a task, whose outcome is known, unless it is past that.
    pub(crate) fn force(&mut self, task: Slot, claims: &mut dyn Claims) {
        if let Phase::Sent { daemon, .. } = self.tasks[task].phase
            && self.mode != Mode::Direct
        {
            self.take_back_all(daemon, claims);
            if self.daemons.get(daemon).sent.back() == Some(task) {
                self.kill(daemon, KillReason::Forced, claims);
            }
        }
    }

    /// Kills a daemon that works on nothing that anybody waits for. What it has ahead waits again; what it has begun before the last
    /// has ended, and its reports are read before its end is known.
    fn kill(&mut self, daemon: Slot, why: KillReason, claims: &mut dyn Claims) {
        self.take_back_all(daemon, claims);
        let entry = self.daemons.get(daemon);
        let last = entry.sent.back();
        let Some(task) = last.filter(|task| self.tasks[*task].settled() == Some(true)) else {
            return;
        };
        if entry.is_condemned {
            return;
        }
        self.stop_clock(daemon);
        self.daemons.get_mut(daemon).is_condemned = true;
        self.outbox.push_back(Effect::Kill {
            daemon: self.daemons.id(daemon),
            task: self.tasks.id(task),
            why,
        });
    }

    fn slice(&self) -> u64 {
        self.kill_after.unwrap_or(0).div_ceil(SLICES).max(1)
    }

    /// What is left after a slice that was to end at `due`, of slices and of patience. However long a stall was, it is a slice of
    /// that, or what an end may be late by if that is more.
    fn pass_slice(&self, due: Tick, slices: u64, patience: u64) -> (u64, u64) {
        let slice = self.slice();
        let late = self.now.0.saturating_sub(due.0);
        if late <= slice.clamp(*LATE.start(), *LATE.end()) {
            return (slices - 1, patience);
        }
        let counted = slice.saturating_add(late).min(slice.max(*LATE.end()));
        (slices, patience.saturating_sub(counted))
    }

    fn begin_slices(&mut self, daemon: Slot) {
        if let Some(time) = self.kill_after {
            let patience = time.saturating_mul(PATIENCE).max(LEAST_PATIENCE);
            self.begin_slice(daemon, time.div_ceil(self.slice()).max(1), patience);
        }
    }

    fn begin_slice(&mut self, daemon: Slot, slices: u64, patience: u64) {
        let entry = self.daemons.get(daemon);
        if !entry.is_condemned && !matches!(entry.stage, Stage::Suspect { .. }) {
            let due = Tick(self.now.0.saturating_add(self.slice()));
            self.set_clock(daemon, due, Until::Killed { slices, patience });
        }
    }

    fn set_clock(&mut self, daemon: Slot, due: Tick, until: Until) {
        let timer = self.wheel.insert(self.now, due, Due::Clock(daemon));
        self.daemons.get_mut(daemon).clock = Some(Clock { timer, due, until });
        self.arm();
    }
}
