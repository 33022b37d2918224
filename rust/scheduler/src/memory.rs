//! Bytes of queued tasks.

use crate::PartId;
use crate::slab::Slab;

/// Bytes of the tasks that are queued, or at a daemon ahead of their turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Bytes queued now.
    pub used: u64,
    /// The most there ever were after an event, so a task that goes straight to an idle daemon never counts.
    pub peak: u64,
    /// Bytes from which on no further task should be submitted; `None` is no limit.
    pub capacity: Option<u64>,
}

/// What is held by queued tasks.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) sum: Memory,
    parts: Slab<Part>,
}

/// What several tasks have in common.
#[derive(Debug)]
struct Part {
    bytes: u64,
    /// Queued tasks that refer to it.
    queued: u64,
}

impl Held {
    pub(crate) fn new(capacity: Option<u64>) -> Self {
        let sum = Memory {
            capacity,
            ..Memory::default()
        };
        Self {
            sum,
            parts: Slab::default(),
        }
    }

    pub(crate) fn admits(&self) -> bool {
        let Memory { used, capacity, .. } = self.sum;
        capacity.is_none_or(|capacity| used < capacity)
    }

    pub(crate) fn add_part(&mut self, bytes: u64) -> PartId {
        let slot = self.parts.insert(Part { bytes, queued: 0 });
        PartId(self.parts.key(slot))
    }

    pub(crate) fn drop_part(&mut self, id: PartId) {
        if let Some(slot) = self.parts.find(id.0) {
            let Part { bytes, queued } = self.parts[slot];
            self.sum.used -= if queued > 0 { bytes } else { 0 };
            self.parts.remove(slot);
        }
    }

    /// Records that a task is queued.
    pub(crate) fn take(&mut self, bytes: u64, part: Option<PartId>) {
        self.sum.used += bytes;
        if let Some(part) = part.and_then(|part| self.parts.find(part.0)) {
            let part = &mut self.parts[part];
            if part.queued == 0 {
                self.sum.used += part.bytes;
            }
            part.queued += 1;
        }
    }

    /// Records that a task is no longer queued.
    pub(crate) fn give_back(&mut self, bytes: u64, part: Option<PartId>) {
        self.sum.used -= bytes;
        if let Some(part) = part.and_then(|part| self.parts.find(part.0)) {
            let part = &mut self.parts[part];
            part.queued -= 1;
            if part.queued == 0 {
                self.sum.used -= part.bytes;
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn bytes_of(&self, parts: &std::collections::BTreeSet<PartId>) -> u64 {
        let there = parts.iter().filter_map(|part| self.parts.find(part.0));
        there.map(|slot| self.parts[slot].bytes).sum()
    }

    pub(crate) fn note_peak(&mut self) {
        self.sum.peak = self.sum.peak.max(self.sum.used);
    }
}
