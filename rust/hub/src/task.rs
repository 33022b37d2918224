//! What is submitted: tasks, and the parts that many of them share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mirai_scheduler::PartId;
use mirai_wire::{Payload, TaskFlags};

/// Numbers shared parts over all hubs of the process, from 1.
static LAST_SHARED: AtomicU64 = AtomicU64::new(0);

/// A unit of work to submit.
#[derive(Debug, Clone)]
pub struct Task {
    /// Bytes for the daemon's evaluator.
    pub body: Payload,
    /// A part that many tasks have in common; it is sent once to each daemon.
    pub shared: Option<SharedPart>,
    /// Passed to the evaluator unread.
    pub flags: TaskFlags,
    /// Longest time from submission until the task resolves, if by nothing else then to
    /// [`Outcome::TimedOut`](crate::Outcome::TimedOut). Resolution one millisecond, rounded down.
    pub timeout: Option<Duration>,
    /// Longest time of each attempt, from its beginning, until the task resolves to
    /// [`Outcome::RanTooLong`](crate::Outcome::RanTooLong). Resolution as for `timeout`, but no less than a millisecond.
    pub runtime: Option<Duration>,
    /// How often it may begin again after its worker has died ([`Mode::Queue`](crate::Mode::Queue) and
    /// [`Mode::Direct`](crate::Mode::Direct)).
    pub retries: u32,
    /// The [worker](crate::Worker) it is meant for, by its id ([`Mode::Direct`](crate::Mode::Direct) only). If it is
    /// not connected, the task goes to any.
    pub to: Option<u32>,
}

impl Task {
    /// A task for any worker, without shared part, flags, limits of time and retries.
    pub fn new(body: impl Into<Payload>) -> Task {
        Task {
            body: body.into(),
            shared: None,
            flags: TaskFlags::default(),
            timeout: None,
            runtime: None,
            retries: 0,
            to: None,
        }
    }
}

/// Bytes that many tasks refer to. A daemon receives them before the first of these tasks and forgets them when the
/// last handle and the last such task are gone.
#[derive(Debug, Clone)]
pub struct SharedPart(pub(crate) Arc<SharedBytes>);

#[derive(Debug)]
pub(crate) struct SharedBytes {
    pub id: u64,
    /// Its id in the scheduler of `owner`.
    pub part: PartId,
    pub bytes: Payload,
    owner: Weak<dyn PartOwner>,
}

/// The hub that a part belongs to.
pub(crate) trait PartOwner: Send + Sync {
    /// No task and no handle refers to this part any more.
    fn note_unused_part(&self, id: u64, part: PartId);
}

impl SharedPart {
    pub(crate) fn new(bytes: Payload, part: PartId, owner: Weak<dyn PartOwner>) -> SharedPart {
        let id = LAST_SHARED.fetch_add(1, Ordering::Relaxed) + 1;
        SharedPart(Arc::new(SharedBytes {
            id,
            part,
            bytes,
            owner,
        }))
    }
}

impl SharedBytes {
    /// Its id in the scheduler of `owner`, if it belongs to that one.
    pub(crate) fn part_of(&self, owner: *const dyn PartOwner) -> Option<PartId> {
        std::ptr::addr_eq(self.owner.as_ptr(), owner).then_some(self.part)
    }
}

impl Drop for SharedBytes {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.note_unused_part(self.id, self.part);
        }
    }
}
