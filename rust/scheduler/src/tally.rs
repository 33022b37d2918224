//! Counts of tasks and daemons.

use crate::daemons::Daemons;

/// What `info()` shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Daemons connected now; one that has said goodbye is not, nor one whose connection is broken.
    pub connections: u64,
    /// Daemons whose connection is broken and that may return.
    pub suspects: u64,
    /// Daemons that ever connected.
    pub cumulative: u64,
    /// Tasks that have neither an outcome nor, as far as is known, begun: in the queue, or at a daemon ahead of their turn.
    pub awaiting: u64,
    /// Other tasks sent to a daemon that has not reported yet, whether or not anyone still waits for them.
    pub executing: u64,
    /// All others ever submitted.
    pub completed: u64,
}

/// The counts kept along the way.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cumulative: u64,
    pub(crate) submitted: u64,
    pub(crate) awaiting: u64,
    pub(crate) executing: u64,
}

impl Tally {
    pub(crate) fn counts(&self, daemons: &Daemons) -> Counts {
        Counts {
            connections: daemons.turns.len().into(),
            suspects: daemons.suspects.into(),
            cumulative: self.cumulative,
            awaiting: self.awaiting,
            executing: self.executing,
            completed: self.submitted - self.awaiting - self.executing,
        }
    }
}
