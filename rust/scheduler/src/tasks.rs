//! The slab of tasks.

use crate::list::{Chain, Link};
use crate::slab::{Slab, Slot};
use crate::{PartId, RunId, TaskId};

/// Where a task is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// It has an id and has not been submitted.
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

/// A task that has not been released.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) phase: Phase,
    /// Its deadline in the wheel.
    pub(crate) timer: Option<Slot>,
    /// Position among all submitted tasks: FIFO order is the order of these.
    pub(crate) order: u64,
    pub(crate) bytes: u64,
    pub(crate) part: Option<PartId>,
    /// Number of the barrier this is an evaluation of; 0 for an ordinary task.
    pub(crate) barrier: u64,
    link: Link,
}

impl Task {
    /// Whether the task has its outcome, `None` unless it is open or on a daemon.
    pub(crate) fn settled(&self) -> Option<bool> {
        match self.phase {
            Phase::Reserved => None,
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

/// All tasks.
pub(crate) type Tasks = Slab<Task>;

impl Tasks {
    pub(crate) fn reserve(&mut self) -> TaskId {
        let slot = self.insert(Task {
            phase: Phase::Reserved,
            timer: None,
            order: 0,
            bytes: 0,
            part: None,
            barrier: 0,
            link: Link::LOOSE,
        });
        self.id(slot)
    }

    /// The slot of a task that has not been submitted yet.
    pub(crate) fn find_reserved(&self, id: TaskId) -> Option<Slot> {
        let slot = self.find(id.0)?;
        matches!(self[slot].phase, Phase::Reserved).then_some(slot)
    }

    pub(crate) fn id(&self, slot: Slot) -> TaskId {
        TaskId(self.key(slot))
    }
}
