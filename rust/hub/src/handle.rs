//! The handle to a submitted task.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::Outcome;
use crate::cell::{Cell, take_watch_number};
use crate::core::Core;
use crate::reactor::wait_in;

/// A submitted task: look at it, wait for it, cancel it. Dropping the handle does not stop the task.
#[derive(Clone)]
pub struct TaskHandle {
    pub(crate) cell: Arc<Cell>,
    pub(crate) core: Weak<Core>,
}

impl TaskHandle {
    /// Number of the task: rises over the life of the process, over all hubs.
    pub fn id(&self) -> u64 {
        self.cell.number()
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.cell.outcome()
    }

    /// Waits for the outcome. As [`TaskHandle::wait_for`], this serves the hub's connections meanwhile.
    pub fn wait(&self) -> &Outcome {
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            self.wait_for(Duration::MAX);
        }
    }

    /// Waits for the outcome, at most for `slice`; returns whether it is there. The waiting thread serves the hub's
    /// connections meanwhile, so callbacks of other tasks may run on it.
    pub fn wait_for(&self, slice: Duration) -> bool {
        if self.outcome().is_some() {
            return true;
        }
        let settled = Arc::new(Notify::new());
        let watch = take_watch_number();
        {
            let settled = Arc::clone(&settled);
            self.cell.watch(watch, move || settled.notify_one());
        }
        let reactor = self.core.upgrade().and_then(|core| core.reactor());
        let is_settled = wait_in(reactor.as_deref(), settled.notified(), slice).is_some();
        if !is_settled {
            self.cell.unwatch(watch);
        }
        is_settled
    }

    /// Cancels the task: it resolves to [`Outcome::Cancelled`] at once, if it was still open. Returns whether it was
    /// removed from the queue or its daemon was told to stop; in [`Mode::Direct`](crate::Mode::Direct), where a daemon cannot be
    /// told, that is `false` although the task resolves.
    pub fn cancel(&self) -> bool {
        self.cancel_in(false)
    }

    /// The same, and kills the daemon that has begun the task and is still at it, whatever outcome the task has; where its process
    /// is not one that this process has launched, its connection is ended. Not in [`Mode::Direct`](crate::Mode::Direct), where a
    /// daemon has tasks of others, too. Returns also whether a daemon is killed.
    pub fn cancel_by_force(&self) -> bool {
        self.cancel_in(true)
    }

    /// Cancels a task whose own daemon could not be launched ([`Mode::Single`](crate::Mode::Single)): it takes no other's.
    pub fn not_launched(&self) {
        if let Some(core) = self.core.upgrade() {
            core.note_not_launched(self.cell.key);
        }
    }

    fn cancel_in(&self, force: bool) -> bool {
        match self.core.upgrade() {
            Some(core) => core.cancel(self.cell.key, force),
            None => false,
        }
    }

    /// Calls back when the task resolves, on the thread that settles it; at once if it has resolved. The callback must
    /// not block; if it panics, that ends it and nothing else.
    pub fn on_settle(&self, callback: impl FnOnce() + Send + 'static) {
        self.cell.watch(0, callback);
    }
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id())
            .field("outcome", &self.outcome())
            .finish()
    }
}
