//! The slab of tasks.

use crate::list::{Chain, Link, MAX_SLOTS, Slot};
use crate::timers::Timer;
use crate::{DaemonId, RunId, TaskId};

/// Where a task is, for those who ask from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskState {
    /// It has an id and has not been submitted.
    Reserved,
    /// It waits for a daemon.
    Queued {
        /// It has its outcome, and is evaluated for its side effects only ([`Mode::Direct`](crate::Mode::Direct) and
        /// [`Mode::Single`](crate::Mode::Single)).
        settled: bool,
    },
    /// It was sent to a daemon that has not reported yet.
    Running {
        /// The daemon.
        daemon: DaemonId,
        /// The run the daemon is to report on.
        run: RunId,
        /// It has its outcome, and the daemon is busy with it all the same.
        settled: bool,
    },
}

/// What a slot holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    Free {
        next: Option<Slot>,
    },
    Reserved,
    Waiting {
        place: Place,
        settled: bool,
    },
    Sent {
        daemon: Slot,
        run: RunId,
        settled: bool,
    },
}

/// Which part of the queue a waiting task is in. Segments go by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Returned,
    Task { segment: u64 },
    Evaluation { segment: u64 },
}

/// A slot of the slab.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    pub(crate) timer: Timer,
    /// Position among all submitted tasks: FIFO order is the order of these.
    pub(crate) order: u64,
    pub(crate) bytes: u64,
    /// Number of the barrier this is an evaluation of; 0 for an ordinary task.
    pub(crate) barrier: u64,
    link: Link,
    pub(crate) due: Link,
}

impl Task {
    /// Whether the task has its outcome, `None` unless it is open or on a daemon.
    pub(crate) fn settled(&self) -> Option<bool> {
        match self.phase {
            Phase::Free { .. } | Phase::Reserved => None,
            Phase::Waiting { settled, .. } | Phase::Sent { settled, .. } => Some(settled),
        }
    }
}

/// Lists of tasks: parts of the queue, and what was sent to each daemon.
#[derive(Debug)]
pub(crate) struct InLine;

impl Chain for InLine {
    type Entry = Task;

    fn link(task: &mut Task) -> &mut Link {
        &mut task.link
    }

    #[cfg(test)]
    fn look(task: &Task) -> &Link {
        &task.link
    }
}

/// All tasks, in slots that are used again.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) slots: Vec<Task>,
    free: Option<Slot>,
}

impl Tasks {
    pub(crate) fn reserve(&mut self) -> TaskId {
        let slot = self.free.unwrap_or_else(|| self.grow());
        let task = &mut self.slots[slot as usize];
        let Phase::Free { next } = task.phase else {
            unreachable!("the chain of free slots holds free slots only");
        };
        self.free = next;
        task.phase = Phase::Reserved;
        TaskId::new(slot, task.generation)
    }

    /// The slot of a task that has not been released.
    pub(crate) fn find(&self, id: TaskId) -> Option<Slot> {
        let task = self.slots.get(id.index())?;
        let live = !matches!(task.phase, Phase::Free { .. });
        (live && task.generation == id.generation()).then_some(id.slot())
    }

    /// The slot of a task that has not been submitted yet.
    pub(crate) fn find_reserved(&self, id: TaskId) -> Option<Slot> {
        let slot = self.find(id)?;
        matches!(self.get(slot).phase, Phase::Reserved).then_some(slot)
    }

    pub(crate) fn id(&self, slot: Slot) -> TaskId {
        TaskId::new(slot, self.get(slot).generation)
    }

    pub(crate) fn get(&self, slot: Slot) -> &Task {
        &self.slots[slot as usize]
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Task {
        &mut self.slots[slot as usize]
    }

    /// Frees a slot; its id matches nothing from now on.
    pub(crate) fn release(&mut self, slot: Slot) {
        let next = self.free.replace(slot);
        let task = self.get_mut(slot);
        task.generation = task.generation.wrapping_add(1);
        task.phase = Phase::Free { next };
    }

    fn grow(&mut self) -> Slot {
        assert!(
            self.slots.len() < MAX_SLOTS,
            "fewer open tasks than slot numbers"
        );
        self.slots.push(Task {
            generation: 0,
            phase: Phase::Free { next: None },
            timer: Timer::Off,
            order: 0,
            bytes: 0,
            barrier: 0,
            link: Link::LOOSE,
            due: Link::LOOSE,
        });
        (self.slots.len() - 1) as Slot
    }
}
