//! The queue: tasks in FIFO order, among them the barriers of `everywhere()`.

use std::collections::VecDeque;

use crate::list::List;
use crate::slab::Slot;
use crate::tasks::{InLine, Phase, Place, Tasks};

/// A barrier: tasks of its epoch or a later one wait until all of its evaluations have been handed to daemons.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    /// Evaluations not yet handed to a daemon.
    pub(crate) evaluations: List<InLine>,
    /// Members, daemons that were connected at submission, that still are and have not got theirs. What evaluations there
    /// are beyond this number is for daemons that join later.
    pub(crate) waiting: u32,
}

/// What becomes of the evaluation of a member that leaves before it has passed the barrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disposition {
    /// Its evaluation is over.
    Dropped,
    /// The next daemon to join gets it.
    Open,
}

/// All waiting tasks.
///
/// Time is cut into *epochs* by the barriers: each task has the number of those that were submitted before it, so that
/// tasks are in one list, whatever barriers are between them. A further list of tasks, of another priority or for some
/// daemons only, is held by the same barriers.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Tasks put back by daemons that left, in order of submission. All were at the head of the queue once, so they
    /// precede all else, barriers included.
    pub(crate) returned: List<InLine>,
    /// Tasks in order of submission, and so of their epochs.
    pub(crate) tasks: List<InLine>,
    /// The barriers of the last epochs, from the first that has evaluations left.
    pub(crate) barriers: VecDeque<Barrier>,
    /// How many barriers there have been.
    pub(crate) epoch: u64,
}

impl Queue {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.tasks.is_empty() && self.barriers.is_empty()
    }

    /// Epoch of the first barrier that is kept.
    pub(crate) fn first_epoch(&self) -> u64 {
        self.epoch + 1 - self.barriers.len() as u64
    }

    /// Epoch of the barrier that holds the queue, if one is at its head.
    pub(crate) fn barrier(&self, tasks: &Tasks) -> Option<u64> {
        let barrier = self.barriers.front()?;
        let epoch = self.first_epoch();
        let before = |task: Slot| tasks[task].epoch < epoch;
        let holds = !barrier.evaluations.is_empty() && !self.tasks.front().is_some_and(before);
        holds.then_some(epoch)
    }

    /// Drops barriers that hold nothing any more.
    pub(crate) fn advance(&mut self) {
        let is_over = |barrier: &Barrier| barrier.evaluations.is_empty();
        while self.barriers.front().is_some_and(is_over) {
            self.barriers.pop_front();
        }
    }

    pub(crate) fn push_task(&mut self, tasks: &mut Tasks, slot: Slot) {
        self.tasks.push_back(tasks, slot);
        tasks[slot].epoch = self.epoch;
        wait(tasks, slot, Place::Task);
    }

    /// Begins an epoch, by a barrier that has no evaluations yet.
    pub(crate) fn push_barrier(&mut self, members: u32) {
        self.epoch += 1;
        self.barriers.push_back(Barrier {
            evaluations: List::default(),
            waiting: members,
        });
    }

    /// Adds an evaluation to the last barrier.
    pub(crate) fn push_evaluation(&mut self, tasks: &mut Tasks, slot: Slot) {
        let barrier = self.barrier_of(self.epoch);
        barrier.evaluations.push_back(tasks, slot);
        tasks[slot].epoch = self.epoch;
        tasks[slot].is_evaluation = true;
        wait(tasks, slot, Place::Evaluation);
    }

    /// Puts back a task that was sent and not begun. That is the last in order where daemons give back in the order in
    /// which they were sent to.
    pub(crate) fn push_returned(&mut self, tasks: &mut Tasks, slot: Slot) {
        self.returned.insert_in_order(tasks, slot);
        tasks[slot].phase = Phase::Waiting {
            place: Place::Returned,
            settled: tasks[slot].settled() == Some(true),
        };
    }

    pub(crate) fn pop_returned(&mut self, tasks: &mut Tasks) -> Option<Slot> {
        self.returned.pop_front(tasks)
    }

    /// Takes the first evaluation of the barrier at the head, for a member or for a daemon that joined later.
    pub(crate) fn pop_evaluation(&mut self, tasks: &mut Tasks, member: bool) -> Option<Slot> {
        let barrier = self.barriers.front_mut()?;
        if member {
            barrier.waiting -= 1;
        } else if barrier.evaluations.len() <= barrier.waiting {
            return None;
        }
        barrier.evaluations.pop_front(tasks)
    }

    /// Takes the first task, whatever barrier is before it.
    pub(crate) fn pop_task(&mut self, tasks: &mut Tasks) -> Option<Slot> {
        self.tasks.pop_front(tasks)
    }

    /// The task that is first in line where there are no barriers.
    pub(crate) fn oldest(&self) -> Option<Slot> {
        self.returned.front().or(self.tasks.front())
    }

    /// Takes that task.
    pub(crate) fn take_oldest(&mut self, tasks: &mut Tasks) -> Option<Slot> {
        self.returned
            .pop_front(tasks)
            .or_else(|| self.tasks.pop_front(tasks))
    }

    /// How many tasks wait, evaluations apart.
    pub(crate) fn waiting(&self) -> u64 {
        u64::from(self.returned.len()) + u64::from(self.tasks.len())
    }

    /// Takes out a task from wherever it waits.
    pub(crate) fn remove(&mut self, tasks: &mut Tasks, slot: Slot, place: Place) {
        let list = match place {
            Place::Returned => &mut self.returned,
            Place::Task => &mut self.tasks,
            Place::Evaluation => &mut self.barrier_of(tasks[slot].epoch).evaluations,
        };
        list.remove(tasks, slot);
    }

    /// Epochs of the waiting barriers above `passed`.
    pub(crate) fn barriers_above(&self, passed: u64) -> std::ops::RangeInclusive<u64> {
        (passed + 1).max(self.first_epoch())..=self.epoch
    }

    /// A member has gone that had not passed this barrier. Returns the evaluation that is over with it, if any.
    pub(crate) fn member_gone(
        &mut self,
        tasks: &mut Tasks,
        epoch: u64,
        disposition: Disposition,
    ) -> Option<Slot> {
        let barrier = self.barrier_of(epoch);
        let had_one = barrier.evaluations.len() >= barrier.waiting;
        barrier.waiting -= 1;
        match disposition {
            Disposition::Dropped if had_one => {
                let slot = barrier.evaluations.back()?;
                barrier.evaluations.remove(tasks, slot);
                Some(slot)
            }
            Disposition::Dropped | Disposition::Open => None,
        }
    }

    fn barrier_of(&mut self, epoch: u64) -> &mut Barrier {
        let index = epoch - self.first_epoch();
        &mut self.barriers[index as usize]
    }
}

fn wait(tasks: &mut Tasks, slot: Slot, place: Place) {
    tasks[slot].phase = Phase::Waiting {
        place,
        settled: false,
    };
}
