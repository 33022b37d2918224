//! A task that has no outcome yet, or whose run goes on.

use std::sync::Arc;

use mirai_wire::Payload;

use crate::cell::Cell;
use crate::parts::Parts;

/// Bytes a task takes besides its body: what is here, and about as much in the scheduler and around allocations.
pub(super) const TASK_COST: u64 =
    2 * (size_of::<Cell>() + size_of::<Open>() + size_of::<Payload>()) as u64;

pub(super) struct Open {
    pub(super) cell: Arc<Cell>,
    pub(super) parts: Parts,
    /// How often a daemon has begun it, and not said goodbye before.
    pub(super) attempts: u32,
    /// Whether it has its outcome, and not from a daemon, where each daemon has one task.
    pub(super) is_given_up: bool,
    /// Whether no daemon was launched for it there.
    pub(super) is_unlaunched: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.cell.note_freed(self.parts.body.len());
    }
}
