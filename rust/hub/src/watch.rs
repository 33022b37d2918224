//! Waiting for a set of tasks.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Outcome;
use crate::cell::{Cell as TaskCell, take_watch_number};
use crate::core::Core;
use crate::handle::TaskHandle;
use crate::reactor::{after, wait_in};

/// Progress of a set of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Number of resolved tasks.
    pub done: usize,
    /// Index of the first task, in order of time, that resolved to anything but a value; of those already resolved when
    /// the watch began, the lowest index.
    pub first_failure: Option<usize>,
    /// Index of the first task to resolve, in the same sense.
    pub first_done: Option<usize>,
}

/// Watches a set of tasks: one registration for each, one wake-up for the waiter when what it waits for has happened.
/// Dropping it ends the registrations, so that a task may be watched any number of times.
///
/// It belongs to one thread at a time, as one waiter can be woken; other threads make a watch of their own.
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<mirai_hub::Watch>();
/// ```
pub struct Watch {
    number: u64,
    cells: Vec<Weak<TaskCell>>,
    /// The hub of all the tasks, if they have the same.
    core: Option<Weak<Core>>,
    shared: Arc<Shared>,
    /// Not `Sync`.
    one_waiter: PhantomData<Cell<()>>,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    progress: Progress,
    /// What the waiter waits for, so that other tasks resolve without waking it.
    wanted: usize,
    wakes_on_failure: bool,
}

impl Seen {
    fn note(&mut self, index: usize, failed: bool) {
        self.progress.done += 1;
        self.progress.first_done.get_or_insert(index);
        if failed {
            self.progress.first_failure.get_or_insert(index);
        }
    }

    fn is_reached(&self) -> bool {
        self.progress.done >= self.wanted
            || (self.wakes_on_failure && self.progress.first_failure.is_some())
    }
}

impl Watch {
    /// Begins to watch. Indices of [`Progress`] are positions in `tasks`.
    pub fn new(tasks: &[TaskHandle]) -> Watch {
        let seen = Seen {
            progress: Progress::default(),
            wanted: usize::MAX,
            wakes_on_failure: false,
        };
        let shared = Arc::new(Shared {
            seen: Mutex::new(seen),
            changed: Notify::new(),
        });
        let number = take_watch_number();
        let mut cells = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.iter().enumerate() {
            let shared = Arc::clone(&shared);
            // The cell outlives its own callback: a handle inside it would be a cycle while the task is open.
            let cell = Arc::downgrade(&task.cell);
            cells.push(Weak::clone(&cell));
            task.cell.watch(number, move || {
                let failed = cell
                    .upgrade()
                    .is_some_and(|cell| cell.outcome().is_some_and(Outcome::is_failure));
                let mut seen = shared.seen.lock();
                seen.note(index, failed);
                if seen.is_reached() {
                    shared.changed.notify_one();
                }
            });
        }
        Watch {
            number,
            cells,
            core: one_core(tasks).cloned(),
            shared,
            one_waiter: PhantomData,
        }
    }

    /// The number of tasks.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are no tasks.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Waits until `at_least` tasks have resolved, or, with `stop_on_failure`, one has failed; at most for `slice`. The
    /// waiting thread serves the connections of the tasks' hub meanwhile, if they have the same.
    pub fn wait(&self, at_least: usize, stop_on_failure: bool, slice: Duration) -> Progress {
        let until = after(slice);
        {
            let mut seen = self.shared.seen.lock();
            seen.wanted = at_least;
            seen.wakes_on_failure = stop_on_failure;
        }
        let core = self.core.as_ref().and_then(Weak::upgrade);
        let reactor = core.and_then(|core| core.reactor());
        loop {
            let seen = *self.shared.seen.lock();
            let rest = until.saturating_duration_since(Instant::now());
            if seen.is_reached() || rest.is_zero() {
                return seen.progress;
            }
            // One that came before this call wakes at once, and nothing is missed.
            wait_in(reactor.as_deref(), self.shared.changed.notified(), rest);
        }
    }
}

fn one_core(tasks: &[TaskHandle]) -> Option<&Weak<Core>> {
    let core = &tasks.first()?.core;
    tasks
        .iter()
        .all(|task| Weak::ptr_eq(&task.core, core))
        .then_some(core)
}

impl Drop for Watch {
    fn drop(&mut self) {
        for cell in self.cells.iter().filter_map(Weak::upgrade) {
            cell.unwatch(self.number);
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("number", &self.number)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
