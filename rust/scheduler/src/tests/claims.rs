//! The words that the scheduler and the daemons share.

use std::collections::BTreeSet;

use crate::{Claims, DaemonId, RunId};

/// Which runs can be begun or taken back, and what the scheduler was told last.
#[derive(Debug, Default)]
pub(crate) struct Table {
    offered: BTreeSet<RunId>,
    pub(crate) taken: Vec<RunId>,
    pub(crate) refused: Vec<RunId>,
}

impl Table {
    pub(crate) fn offer(&mut self, run: RunId) {
        self.offered.insert(run);
    }

    /// By the daemon. False if the run was taken back.
    pub(crate) fn begin(&mut self, run: RunId) -> bool {
        self.offered.remove(&run)
    }

    pub(crate) fn forget_answers(&mut self) {
        self.taken.clear();
        self.refused.clear();
    }
}

impl Claims for Table {
    fn take_back(&mut self, _: DaemonId, run: RunId) -> bool {
        let is_free = self.offered.remove(&run);
        let answers = match is_free {
            true => &mut self.taken,
            false => &mut self.refused,
        };
        answers.push(run);
        is_free
    }
}
