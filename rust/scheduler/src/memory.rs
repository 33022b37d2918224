//! Bytes of queued tasks.

/// Bytes of the tasks that are queued, not yet sent to a daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Bytes queued now.
    pub used: u64,
    /// The most there ever were after an event, so a task that goes straight to an idle daemon never counts.
    pub peak: u64,
    /// Bytes from which on no further task should be submitted; `None` is no limit.
    pub capacity: Option<u64>,
}

impl Memory {
    pub(crate) fn new(capacity: Option<u64>) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    pub(crate) fn admits(&self) -> bool {
        self.capacity.is_none_or(|capacity| self.used < capacity)
    }

    pub(crate) fn take(&mut self, bytes: u64) {
        self.used += bytes;
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.used -= bytes;
    }

    pub(crate) fn note_peak(&mut self) {
        self.peak = self.peak.max(self.used);
    }
}
