//! What the wheel of deadlines wakes for.

use crate::Tick;
use crate::slab::Slot;

/// What has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Due {
    /// A task is given up.
    Task(Slot),
    /// The grace of a suspect is over.
    Suspect(Slot),
    /// A daemon is at its task for too long.
    Clock(Slot),
}

/// The deadline of a daemon at its task: see `clocks`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Clock {
    pub(crate) timer: Slot,
    pub(crate) due: Tick,
    pub(crate) until: Until,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The task has run for as long as it may.
    RunOut,
    /// The daemon is killed, after so many slices, or when ends of slices that are late have used up so many milliseconds.
    Killed { slices: u64, patience: u64 },
}
