//! The queue: tasks in FIFO order, cut into segments by the barriers of `everywhere()`.

use std::collections::{BTreeMap, VecDeque};

use crate::list::List;
use crate::slab::Slot;
use crate::tasks::{InLine, Phase, Place, Tasks};

/// A barrier with what was submitted after it. Those of the front segment with evaluations left make the head of the
/// queue; the segment numbered 0 has none.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Evaluations not yet handed to a daemon.
    pub(crate) evaluations: List<InLine>,
    /// Members, daemons that were connected at submission, that still are and have not got theirs. What evaluations there
    /// are beyond this number is for daemons that join later.
    pub(crate) waiting: u32,
    /// Tasks behind the barrier.
    pub(crate) tasks: List<InLine>,
}

impl Segment {
    fn is_over(&self) -> bool {
        self.evaluations.is_empty() && self.tasks.is_empty()
    }
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
#[derive(Debug)]
pub(crate) struct Queue {
    /// Never empty: the front one is being worked off, the back one takes new tasks.
    pub(crate) segments: VecDeque<Segment>,
    /// Tasks put back by daemons that left, by order of submission. All were at the head of the queue once, so they
    /// precede what is in the segments, barriers included.
    pub(crate) returned: BTreeMap<u64, Slot>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            segments: VecDeque::from([Segment::default()]),
            returned: BTreeMap::new(),
        }
    }
}

impl Queue {
    /// Whether nothing waits; without barriers there is a single segment.
    pub(crate) fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.segments.len() == 1 && self.front().is_over()
    }

    pub(crate) fn front(&self) -> &Segment {
        &self.segments[0]
    }

    pub(crate) fn front_mut(&mut self) -> &mut Segment {
        &mut self.segments[0]
    }

    /// Number of the last barrier submitted.
    pub(crate) fn last_barrier(&self) -> u64 {
        self.front().number + self.segments.len() as u64 - 1
    }

    /// Number of the barrier that holds the queue, if one is at its head.
    pub(crate) fn barrier(&self) -> Option<u64> {
        let front = self.front();
        (!front.evaluations.is_empty()).then_some(front.number)
    }

    /// Drops segments that are worked off.
    pub(crate) fn advance(&mut self) {
        while self.segments.len() > 1 && self.front().is_over() {
            self.segments.pop_front();
        }
    }

    pub(crate) fn push_task(&mut self, tasks: &mut Tasks, slot: Slot) {
        let number = self.last_barrier();
        let back = self.segments.len() - 1;
        self.segments[back].tasks.push_back(tasks, slot);
        wait(tasks, slot, Place::Task { segment: number });
    }

    /// Opens a segment whose barrier has no evaluations yet.
    pub(crate) fn push_barrier(&mut self, members: u32) {
        let number = self.last_barrier() + 1;
        self.segments.push_back(Segment {
            number,
            waiting: members,
            ..Segment::default()
        });
    }

    /// Adds an evaluation to the last barrier.
    pub(crate) fn push_evaluation(&mut self, tasks: &mut Tasks, slot: Slot) {
        let number = self.last_barrier();
        let back = self.segments.len() - 1;
        let segment = &mut self.segments[back];
        segment.evaluations.push_back(tasks, slot);
        tasks[slot].barrier = number;
        wait(tasks, slot, Place::Evaluation { segment: number });
    }

    /// Puts back a task that was sent and not begun.
    pub(crate) fn push_returned(&mut self, tasks: &mut Tasks, slot: Slot) {
        let before = self.returned.insert(tasks[slot].order, slot);
        debug_assert!(before.is_none(), "orders of submission differ");
        if let Phase::Sent { settled, .. } = tasks[slot].phase {
            tasks[slot].phase = Phase::Waiting {
                place: Place::Returned,
                settled,
            };
        }
    }

    pub(crate) fn pop_returned(&mut self) -> Option<Slot> {
        self.returned.pop_first().map(|(_, slot)| slot)
    }

    /// Takes the first evaluation of the front barrier, for a member or for a daemon that joined later.
    pub(crate) fn pop_evaluation(&mut self, tasks: &mut Tasks, member: bool) -> Option<Slot> {
        let front = self.front_mut();
        if member {
            front.waiting -= 1;
        } else if front.evaluations.len() <= front.waiting {
            return None;
        }
        front.evaluations.pop_front(tasks)
    }

    pub(crate) fn pop_task(&mut self, tasks: &mut Tasks) -> Option<Slot> {
        self.front_mut().tasks.pop_front(tasks)
    }

    /// Takes out a task from wherever it waits.
    pub(crate) fn remove(&mut self, tasks: &mut Tasks, slot: Slot, place: Place) {
        match place {
            Place::Returned => {
                self.returned.remove(&tasks[slot].order);
            }
            Place::Task { segment } => self.segment(segment).tasks.remove(tasks, slot),
            Place::Evaluation { segment } => {
                self.segment(segment).evaluations.remove(tasks, slot);
            }
        }
    }

    /// Numbers of the waiting barriers above `passed`.
    pub(crate) fn barriers_above(&self, passed: u64) -> std::ops::RangeInclusive<u64> {
        let first = (passed + 1).max(self.front().number).max(1);
        first..=self.last_barrier()
    }

    /// A member has gone that had not passed this barrier. Returns the evaluation that is over with it, if any.
    pub(crate) fn member_gone(
        &mut self,
        tasks: &mut Tasks,
        barrier: u64,
        disposition: Disposition,
    ) -> Option<Slot> {
        let segment = self.segment(barrier);
        let had_one = segment.evaluations.len() >= segment.waiting;
        segment.waiting -= 1;
        match disposition {
            Disposition::Dropped if had_one => {
                let slot = segment.evaluations.back()?;
                segment.evaluations.remove(tasks, slot);
                Some(slot)
            }
            Disposition::Dropped | Disposition::Open => None,
        }
    }

    fn segment(&mut self, number: u64) -> &mut Segment {
        let index = number - self.front().number;
        &mut self.segments[index as usize]
    }
}

fn wait(tasks: &mut Tasks, slot: Slot, place: Place) {
    tasks[slot].phase = Phase::Waiting {
        place,
        settled: false,
    };
}
