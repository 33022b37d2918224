//! Tasks: what is submitted, the cell in which the outcome appears, and the handle to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use mirai_scheduler::{PartId, TaskId};
use mirai_wire::TaskFlags;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::callback::guarded;
use crate::core::Core;
use crate::reactor::wait_in;
use crate::watch::take_watch_number;
use crate::{MemoryReturn, Outcome};

/// Numbers tasks over all hubs of the process, from 1.
static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Numbers shared parts over all hubs of the process, from 1.
static LAST_SHARED: AtomicU64 = AtomicU64::new(0);

/// A unit of work to submit.
#[derive(Debug, Clone)]
pub struct Task {
    /// Bytes for the daemon's evaluator.
    pub body: Vec<u8>,
    /// A part that many tasks have in common; it is sent once to each daemon.
    pub shared: Option<SharedPart>,
    /// Passed to the evaluator unread.
    pub flags: TaskFlags,
    /// Longest time from submission until the task resolves, if by nothing else then to [`Outcome::TimedOut`].
    /// Resolution one millisecond, rounded down.
    pub timeout: Option<Duration>,
    /// The [worker](crate::Worker) it is meant for, by its id ([`Mode::Direct`](crate::Mode::Direct) only). If it is
    /// not connected, the task goes to any.
    pub to: Option<u32>,
}

impl Task {
    /// A task for any worker, without shared part, flags and timeout.
    pub fn new(body: Vec<u8>) -> Task {
        Task {
            body,
            shared: None,
            flags: TaskFlags::default(),
            timeout: None,
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
    /// Its id in the scheduler of `core`.
    pub part: PartId,
    pub bytes: Arc<Vec<u8>>,
    pub core: Weak<Core>,
}

impl SharedPart {
    pub(crate) fn new(bytes: Vec<u8>, part: PartId, core: Weak<Core>) -> SharedPart {
        let id = LAST_SHARED.fetch_add(1, Ordering::Relaxed) + 1;
        SharedPart(Arc::new(SharedBytes {
            id,
            part,
            bytes: Arc::new(bytes),
            core,
        }))
    }
}

impl Drop for SharedBytes {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            core.note_unused_part(self.id, self.part);
        }
    }
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
    key: TaskId,
    core: Weak<Core>,
    memory_return: Option<&'static MemoryReturn>,
    outcome: OnceLock<Outcome>,
    waiters: Mutex<Vec<Waiter>>,
}

/// Takes the next task number of the process, for what stands in for a task without a hub.
pub fn take_task_number() -> u64 {
    LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1
}

impl Cell {
    pub(crate) fn new(
        key: TaskId,
        core: Weak<Core>,
        memory_return: Option<&'static MemoryReturn>,
    ) -> Arc<Cell> {
        let number = take_task_number();
        Arc::new(Cell {
            number,
            key,
            core,
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

    pub(crate) fn is_settled(&self) -> bool {
        self.outcome.get().is_some()
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

/// A submitted task: look at it, wait for it, cancel it. Dropping the handle does not stop the task.
#[derive(Clone)]
pub struct TaskHandle(pub(crate) Arc<Cell>);

impl TaskHandle {
    /// Number of the task: rises over the life of the process, over all hubs.
    pub fn id(&self) -> u64 {
        self.0.number
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.0.outcome.get()
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
            self.watch(watch, move || settled.notify_one());
        }
        let reactor = self.0.core.upgrade().and_then(|core| core.reactor());
        let is_settled = wait_in(reactor.as_deref(), settled.notified(), slice).is_some();
        if !is_settled {
            self.0.unwatch(watch);
        }
        is_settled
    }

    /// Cancels the task: it resolves to [`Outcome::Cancelled`] at once, if it was still open. Returns whether it was
    /// removed from the queue or its daemon was told to stop; in modes where a daemon cannot be told, that is `false`
    /// although the task resolves.
    pub fn cancel(&self) -> bool {
        match self.0.core.upgrade() {
            Some(core) => core.cancel(self.0.key),
            None => false,
        }
    }

    /// Calls back when the task resolves, on the thread that settles it; at once if it has resolved. The callback must
    /// not block; if it panics, that ends it and nothing else.
    pub fn on_settle(&self, callback: impl FnOnce() + Send + 'static) {
        self.watch(0, callback);
    }

    pub(crate) fn core(&self) -> &Weak<Core> {
        &self.0.core
    }

    /// As [`TaskHandle::on_settle`], until [`Cell::unwatch`].
    pub(crate) fn watch(&self, watch: u64, callback: impl FnOnce() + Send + 'static) {
        let mut waiters = self.0.waiters.lock();
        if self.0.outcome.get().is_none() {
            let callback = Box::new(callback);
            waiters.push(Waiter { watch, callback });
            return;
        }
        drop(waiters);
        call(callback);
    }
}

/// A callback that panics harms neither those that come after it nor the thread that serves the hub.
fn call(callback: impl FnOnce()) {
    let _ = guarded("a callback of a task", callback);
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id())
            .field("outcome", &self.outcome())
            .finish()
    }
}
