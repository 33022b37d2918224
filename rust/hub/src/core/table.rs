//! What there is for each slot of the scheduler's ids.

use mirai_scheduler::{Claims, DaemonId, RunId};

use crate::member::Member;

/// What there is for each slot of the scheduler's ids.
pub(super) struct Table<T>(Vec<Option<T>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Table<T> {
    pub(super) fn insert(&mut self, index: usize, value: T) {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(value);
    }

    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.0.get_mut(index)?.as_mut()
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<T> {
        self.0.get_mut(index)?.take()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }

    /// Gives up most of what is above the slots that are in use.
    pub(super) fn shrink(&mut self, slots: usize) {
        if self.0.len() > 2 * slots + SMALL {
            self.0.truncate(slots);
            self.0.shrink_to(slots + SMALL);
        }
    }
}

impl Claims for Table<Member> {
    fn take_back(&mut self, daemon: DaemonId, run: RunId) -> bool {
        let member = self.get_mut(daemon.index());
        let offers = member.and_then(|member| member.offers.as_mut());
        offers.is_some_and(|offers| offers.take_back(run.0))
    }
}

/// Tables with up to this many slots are not shrunk.
pub(super) const SMALL: usize = 1 << 10;
