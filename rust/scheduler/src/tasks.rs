//! The slab of tasks.

use std::num::NonZeroU64;

use crate::list::{Chain, Link, List};
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
        progress: Progress,
        settled: bool,
    },
}

/// Which list of the queue a waiting task is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Returned,
    Task,
    Evaluation,
}

/// How far a task is that was sent. Daemons tell of ends only, so that a beginning follows from the order in which they
/// work; one that says goodbye has not begun what it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Behind other tasks of its daemon, or behind the set-ups of that.
    Assigned,
    /// The first that its daemon has.
    Begun,
    /// Its daemon was asked to give it up, and has not answered yet.
    Recalled,
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
    /// Whether its bytes count as held: while it waits, or may be retried.
    pub(crate) is_held: bool,
    /// How often it may begin again after the death of a daemon.
    pub(crate) retries: u32,
    /// For how many milliseconds each attempt may run.
    pub(crate) runtime: Option<NonZeroU64>,
    /// How many daemons have died evaluating it.
    pub(crate) deaths: u32,
    /// How many have died that had it next and had not begun it.
    pub(crate) missed: u32,
    /// How many barriers were submitted before it; an evaluation comes with the last of these.
    pub(crate) epoch: u64,
    /// Whether it is one of the evaluations that are its barrier.
    pub(crate) is_evaluation: bool,
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

    fn look(task: &Task) -> &Link {
        &task.link
    }
}

impl List<InLine> {
    /// Puts a task where it belongs in a list that is in order of submission. Takes time in proportion to the tasks of
    /// the list that were submitted after it.
    pub(crate) fn insert_in_order(&mut self, tasks: &mut Tasks, slot: Slot) {
        let order = tasks[slot].order;
        let mut previous = self.back();
        while let Some(later) = previous.filter(|other| tasks[*other].order > order) {
            previous = Self::before(tasks, later);
        }
        self.insert_after(tasks, previous, slot);
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
            is_held: false,
            retries: 0,
            runtime: None,
            deaths: 0,
            missed: 0,
            epoch: 0,
            is_evaluation: false,
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
