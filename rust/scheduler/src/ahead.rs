//! Tasks that are sent to a daemon before their turn, so that small ones travel together, and how they come back.
//!
//! To everybody but its daemon such a task waits as those in the queue do: it counts as awaiting, its bytes are held, it is
//! cancelled at once. It begins when its daemon gets to it. Until then it is taken back by [`Claims`] whenever another daemon
//! could begin it earlier: one that rests, or any, once its own is at a task that takes long.

use crate::daemons::Stage;
use crate::slab::Slot;
use crate::tasks::{Phase, Place, Progress};
use crate::{Claims, Effect, Mode, RunId, Scheduler};

/// Bytes of tasks that a daemon has ahead: what fits its socket, and little to send again.
const MOST_BYTES: u64 = 64 * 1024;

/// Daemons that may die with a task next and not begun: one that takes more memory than there is ends each as it comes.
const MOST_MISSED: u32 = 2;

/// Milliseconds at one task after which a daemon does not keep what it has ahead: that goes before what is submitted later.
const STALL: u64 = 5;

impl Scheduler {
    /// Whether a task was sent before its turn, and has not begun as far as is known.
    pub(crate) fn is_ahead(&self, slot: Slot) -> bool {
        let assigned = matches!(
            self.tasks[slot].phase,
            Phase::Sent {
                progress: Progress::Assigned,
                ..
            }
        );
        assigned && self.mode == Mode::Queue
    }

    /// A task that was sent ahead has begun.
    pub(crate) fn note_begun(&mut self, slot: Slot) {
        if !self.is_ahead(slot) {
            return;
        }
        self.unload(slot);
        if let Phase::Sent { progress, .. } = &mut self.tasks[slot].phase {
            *progress = Progress::Begun;
        }
        self.tally.awaiting -= 1;
        self.tally.executing += 1;
        if !self.may_be_retried(slot) {
            self.let_go(slot);
        }
    }

    /// Gives a daemon that has just reported more to do ahead, several tasks at once.
    pub(crate) fn top_up(&mut self, daemon: Slot) {
        let entry = self.daemons.get(daemon);
        if entry.stage != Stage::Busy
            || entry.is_condemned
            || !entry.takes_ahead
            || !self.queue.barriers.is_empty()
        {
            return;
        }
        let daemons = self.daemons.turns.len().into();
        let supply = self.pace.supply(self.queue.waiting(), daemons);
        if 2 * entry.ahead > supply {
            return;
        }
        while let Some(task) = self.queue.oldest()
            && self.fits_ahead(task, daemon, supply)
        {
            self.queue.take_oldest(&mut self.tasks);
            self.send_ahead(task, daemon);
        }
    }

    /// A task that a daemon has died of goes alone: it would take with it what its neighbours have come to. So does one with a
    /// limit of running time, which begins as it is sent.
    fn fits_ahead(&self, task: Slot, daemon: Slot, supply: u32) -> bool {
        let (daemon, task) = (self.daemons.get(daemon), &self.tasks[task]);
        daemon.ahead < supply
            && daemon.ahead_bytes.saturating_add(task.bytes) <= MOST_BYTES
            && !task.is_evaluation
            && task.deaths == 0
            && task.runtime.is_none()
    }

    fn send_ahead(&mut self, slot: Slot, daemon: Slot) {
        let run = self.push_sent(slot, daemon, Progress::Assigned);
        self.daemons.load(daemon, self.tasks[slot].bytes);
        self.outbox.push_back(Effect::Send {
            to: self.daemons.id(daemon),
            task: self.tasks.id(slot),
            run,
            attempt: self.tasks[slot].deaths + 1,
            ahead: true,
        });
    }

    /// A task is not ahead any more.
    pub(crate) fn unload(&mut self, slot: Slot) {
        if let Phase::Sent { daemon, .. } = self.tasks[slot].phase {
            self.daemons.unload(daemon, self.tasks[slot].bytes);
        }
    }

    /// What is with daemons that are at a task for long waits for any again.
    pub(crate) fn relieve_stalled(&mut self, claims: &mut dyn Claims) {
        while let Some(daemon) = self.daemons.laden.front()
            && self.now.0 - self.daemons.get(daemon).since.0 >= STALL
        {
            self.take_back_all(daemon, claims);
        }
    }

    /// Takes back what a daemon has ahead, for those that have nothing to do. False if there is nobody, or nothing, for that.
    pub(crate) fn relieve(&mut self, claims: &mut dyn Claims) -> bool {
        if self.daemons.idle.is_empty() && self.daemons.parked.is_empty() {
            return false;
        }
        while let Some(daemon) = self.daemons.laden.front() {
            if self.take_back_all(daemon, claims) {
                return true;
            }
        }
        false
    }

    /// Puts back what a daemon has ahead and has not begun. Returns whether there was any. From the last one on, as daemons begin
    /// with the first.
    pub(crate) fn take_back_all(&mut self, daemon: Slot, claims: &mut dyn Claims) -> bool {
        let mut taken = Vec::new();
        while let Some(task) = self.daemons.get(daemon).sent.back()
            && self.is_ahead(task)
            && self.take_back(task, claims)
        {
            taken.push(task);
        }
        let any = !taken.is_empty();
        while let Some(task) = taken.pop() {
            self.queue.push_returned(&mut self.tasks, task);
        }
        any
    }

    /// Takes a task that is ahead away from its daemon, so that it is in no list. False if it has begun.
    pub(crate) fn take_back(&mut self, slot: Slot, claims: &mut dyn Claims) -> bool {
        let Phase::Sent { daemon, run, .. } = self.tasks[slot].phase else {
            return false;
        };
        if !claims.take_back(self.daemons.id(daemon), run) {
            self.note_begun_until(slot, daemon);
            return false;
        }
        self.unload(slot);
        let sent = &mut self.daemons.get_mut(daemon).sent;
        sent.remove(&mut self.tasks, slot);
        self.tasks[slot].phase = Phase::Waiting {
            place: Place::Returned,
            settled: false,
        };
        true
    }

    /// A task has begun, and so have those that its daemon had before.
    fn note_begun_until(&mut self, slot: Slot, daemon: Slot) {
        let sent = self.daemons.get(daemon).sent.iter(&self.tasks);
        let before: Vec<Slot> = sent.take_while(|task| *task != slot).collect();
        before.into_iter().for_each(|task| self.note_begun(task));
        self.note_begun(slot);
    }

    /// Of what a daemon had that is gone, in order, how many of the first it has begun, or may not go to another one.
    pub(crate) fn count_begun(&self, had: &[Slot], claims: &mut dyn Claims) -> usize {
        let stays = |first: &Slot| self.tasks[*first].missed >= MOST_MISSED;
        let least = usize::from(had.first().is_some_and(stays));
        let mut begun = had.len();
        while begun > least
            && let Phase::Sent { daemon, run, .. } = self.tasks[had[begun - 1]].phase
            && claims.take_back(self.daemons.id(daemon), run)
        {
            begun -= 1;
        }
        begun
    }

    /// Puts a task that is in no list into that of a daemon, under a new run.
    pub(crate) fn push_sent(&mut self, slot: Slot, daemon: Slot, progress: Progress) -> RunId {
        self.last_run += 1;
        let run = RunId(self.last_run);
        self.tasks[slot].phase = Phase::Sent {
            daemon,
            run,
            progress,
            settled: self.tasks[slot].settled() == Some(true),
        };
        let entry = self.daemons.get_mut(daemon);
        entry.sent.push_back(&mut self.tasks, slot);
        run
    }
}
