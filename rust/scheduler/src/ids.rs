//! The names things go by.

use std::fmt;

/// A task: the slot it occupies and the generation of that slot, so that the id of a released task matches nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(u64);

impl TaskId {
    pub(crate) fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot))
    }

    pub(crate) fn slot(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The slot of the task: small, dense, and free for another task once this one is released. Meant as the index of
    /// the caller's own table of payloads.
    pub fn index(self) -> usize {
        self.slot() as usize
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}.{}", self.slot(), self.generation())
    }
}

/// A daemon, named by the caller: unique over the scheduler's life and dense from 1, as the table of names grows with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DaemonId(pub u32);

/// One sending of one task to one daemon. Rises at every send; 0 is never used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RunId(pub u64);

/// A point in time, in milliseconds on a clock of the caller's choice that never runs backwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Tick(pub u64);
