//! The cell in which the outcome of one task appears, and the callbacks that wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use mirai_scheduler::TaskId;
use parking_lot::Mutex;

use crate::callback::guarded;
use crate::{MemoryReturn, Outcome};

/// Numbers tasks over all hubs of the process, from 1.
static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Numbers watches over the life of the process, from 1.
static LAST_WATCH: AtomicU64 = AtomicU64::new(0);

/// Takes the next task number of the process, for what stands in for a task without a hub.
pub fn take_task_number() -> u64 {
    LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1
}

/// Returns a number that no other watch has.
pub(crate) fn take_watch_number() -> u64 {
    LAST_WATCH.fetch_add(1, Ordering::Relaxed) + 1
}

type Callback = Box<dyn FnOnce() + Send>;

/// A party that waits for an outcome.
struct Waiter {
    /// Number of a [watch](crate::Watch); 0 for any other callback.
    watch: u64,
    callback: Callback,
}

/// Where the outcome of a task appears. Whoever settles it holds no lock of the hub while waiters and callbacks are
/// told.
pub(crate) struct Cell {
    number: u64,
    /// The task's id in the scheduler of its hub.
    pub key: TaskId,
    memory_return: Option<&'static MemoryReturn>,
    outcome: OnceLock<Outcome>,
    waiters: Mutex<Vec<Waiter>>,
}

impl Cell {
    pub(crate) fn new(key: TaskId, memory_return: Option<&'static MemoryReturn>) -> Arc<Cell> {
        Arc::new(Cell {
            number: take_task_number(),
            key,
            memory_return,
            outcome: OnceLock::new(),
            waiters: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Records `bytes` of the task as freed.
    pub(crate) fn note_freed(&self, bytes: usize) {
        if let Some(memory_return) = self.memory_return {
            memory_return.note_freed(bytes);
        }
    }

    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.outcome().is_some()
    }

    /// Sets the outcome, once.
    pub(crate) fn settle(&self, outcome: Outcome) {
        let waiters = {
            let mut waiters = self.waiters.lock();
            let first = self.outcome.set(outcome).is_ok();
            debug_assert!(first, "invariant: a task settles once");
            std::mem::take(&mut *waiters)
        };
        for waiter in waiters {
            call(waiter.callback);
        }
    }

    /// Calls back when the task resolves, on the thread that settles it; at once if it has resolved. Until
    /// [`unwatch`](Self::unwatch) with this number; 0 is for ever.
    pub(crate) fn watch(&self, watch: u64, callback: impl FnOnce() + Send + 'static) {
        let mut waiters = self.waiters.lock();
        if self.outcome.get().is_none() {
            let callback = Box::new(callback);
            waiters.push(Waiter { watch, callback });
            return;
        }
        drop(waiters);
        call(callback);
    }

    /// Removes the callbacks of a watch.
    pub(crate) fn unwatch(&self, watch: u64) {
        let dropped: Vec<_> = {
            let mut waiters = self.waiters.lock();
            waiters
                .extract_if(.., |waiter| waiter.watch == watch)
                .collect()
        };
        drop(dropped);
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let bytes = match self.outcome.get() {
            Some(Outcome::Value(bytes) | Outcome::Failed(bytes)) => bytes.len(),
            _ => 0,
        };
        self.note_freed(bytes);
    }
}

/// A callback that panics harms neither those that come after it nor the thread that serves the hub.
fn call(callback: impl FnOnce()) {
    let _ = guarded("a callback of a task", callback);
}
