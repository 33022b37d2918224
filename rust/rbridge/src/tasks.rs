//! The host's tasks: looking at them, waiting for them, cancelling them. An argument `task` is a mirai without a value, or a
//! pointer; so are the elements of `tasks`.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mirai_hub::{ErrorCode, Outcome, TaskHandle, Watch};

use crate::absent::{For, note_untold};
use crate::batch::{Batch, Open, open_task, r_number, read_form, task_of};
use crate::hub::SessionHub;
use crate::memory::note_object;
use crate::rapi::{Failure, Handle, Kept, Scope, Sexp, unpickle};
use crate::wait::interruptibly;

impl Handle for Watch {
    const NAME: &'static str = "watch";
}

/// What `task_state` answers.
mod state {
    pub const PENDING: i32 = 0;
    pub const VALUE: i32 = 1;
    pub const ERROR: i32 = 2;
    pub const INTERRUPT: i32 = 3;
    pub const CODE: i32 = 4;
}

thread_local! {
    /// The value of what has none yet; R knows it by identity. On R's thread only, as a `Kept` is. Never dropped: when
    /// the thread ends, R's memory is no longer to be touched.
    static UNRESOLVED: Cell<Option<&'static Kept>> = const { Cell::new(None) };
}

/// Entry: makes `x` the value that pending tasks have.
pub(crate) fn set_unresolved<'r>(scope: &'r Scope, x: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let kept = Kept::new(scope, x)?;
    UNRESOLVED.set(Some(Box::leak(Box::new(kept))));
    Ok(scope.null())
}

/// Entry: whether `x` is that value.
pub(crate) fn is_unresolved<'r>(scope: &'r Scope, x: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let same = UNRESOLVED.get().is_some_and(|kept| kept.get().is(x));
    Ok(scope.logical(same)?)
}

/// Entry: the number of a task; rises over the life of the process.
pub(crate) fn task_id<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let id = task_of(scope, task)?.id();
    Ok(scope.integer(r_number(id))?)
}

/// Entry: a number like that of a task, for one that needs no hub.
pub(crate) fn task_number<'r>(scope: &'r Scope) -> Result<Sexp<'r>, Failure> {
    Ok(scope.integer(r_number(mirai_hub::take_task_number()))?)
}

/// Entry: 0 pending, 1 value, 2 error, 3 interrupt, 4 error code.
pub(crate) fn task_state<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let Some(task) = unread(scope, task)? else {
        return Ok(scope.integer(state::VALUE)?);
    };
    let state = match task.outcome() {
        None => state::PENDING,
        Some(Outcome::Value(_)) => state::VALUE,
        Some(Outcome::Failed(_)) => state::ERROR,
        Some(Outcome::Interrupted) => state::INTERRUPT,
        Some(_) => state::CODE,
    };
    Ok(scope.integer(state)?)
}

/// Entry: a list of the value of a task, made anew at each call; of one that is pending, of the unresolved value. By itself a
/// value could be taken for a failure, as it may have any class. An R error in unserializing it is R's.
pub(crate) fn task_value<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let value = match unread(scope, task)? {
        Some(task) => value_of(scope, &task)?,
        None => task.settled_value(scope)?,
    };
    Ok(scope.list(&[value])?)
}

/// As [`task_of`]; `None` for a mirai that has its value. Whoever calls has seen that it has none; but a finalizer may have read it
/// since, or the handler of a condition.
fn unread(scope: &Scope, x: Sexp<'_>) -> Result<Option<TaskHandle>, Failure> {
    if x.is_environment() {
        let task = open_task(scope, x)?;
        let is_read = task.is_none() && !x.attr(scope, c"task")?.is_pointer();
        if task.is_some() || (is_read && x.inherits(scope, c"mirai")?) {
            return Ok(task);
        }
    }
    task_of(scope, x).map(Some)
}

/// The value that a task has now.
pub(crate) fn value_of<'r>(scope: &'r Scope, task: &TaskHandle) -> Result<Sexp<'r>, Failure> {
    match task.outcome() {
        None => Ok(UNRESOLVED.get().map_or(scope.null(), Kept::get)),
        Some(Outcome::Value(bytes) | Outcome::Failed(bytes)) => {
            let value = unpickle(scope, bytes)?;
            note_object(scope, bytes.len())?;
            Ok(value)
        }
        Some(Outcome::Interrupted) => {
            let value = scope.string("")?;
            scope.set_class(value, &["miraiInterrupt", "errorValue", "try-error"])?;
            Ok(value)
        }
        Some(outcome) => {
            let value = scope.integer(outcome.code().map_or(0, ErrorCode::number))?;
            if let Some(reason) = reason_of(outcome) {
                scope.set_attr(value, c"reason", scope.string(reason)?)?;
            }
            scope.set_class(value, &["errorValue", "try-error"])?;
            Ok(value)
        }
    }
}

/// What is known besides the code. A timeout without a reason is that from the submission, as ever.
fn reason_of(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Lost(reason) => Some(reason),
        Outcome::RanTooLong => Some("it ran for longer than its `.runtime`"),
        _ => None,
    }
}

/// Entry: the object that stands for a task: an environment with the active binding `data`, the variable `value`, and the
/// attributes `id`, `task` and `class`. `form` is what all of them have in common, see [`read_form`].
pub(crate) fn mirai_new<'r>(
    scope: &'r Scope,
    task: Sexp<'r>,
    form: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let handle: &TaskHandle = task.handle(scope, "task")?;
    let mirai = scope.environment(&read_form(scope, form)?, r_number(handle.id()), task)?;
    task.put_beside(mirai);
    Ok(mirai)
}

/// Entry: the objects that stand for tasks of a hub that have no outcome yet: a list of two lists, each filled up with `NULL`.
pub(crate) fn hub_open_mirai<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let hub = SessionHub::open(scope, hub)?;
    let is_open = |task: &TaskHandle| hub.has(task) && task.outcome().is_none();
    let single = scope.all_beside(is_open)?;
    let together = scope.all_of(Batch::mirai, |batch| batch.places(is_open))?;
    Ok(scope.list(&[single, together])?)
}

/// Entry: waits until the task of a mirai has an outcome, and takes its value, which from then on is the variable `value` of
/// the mirai; the mirai lets go of the task. An R error in unserializing it is R's, and changes nothing. Of one that has its value,
/// that.
pub(crate) fn task_fetch<'r>(scope: &'r Scope, mirai: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let Some(open) = Open::find(scope, mirai)? else {
        return match unread(scope, mirai)? {
            Some(_) => Err(Failure::error("`mirai` must be a mirai")),
            None => Ok(mirai.settled_value(scope)?),
        };
    };
    interruptibly(scope, |slice| open.task.wait_for(slice).then_some(()))?;
    let value = value_of(scope, &open.task)?;
    open.settle(scope, mirai, value)?;
    Ok(value)
}

/// Entry: gives a mirai its value, and has it let go of the task. Does nothing if it has one.
pub(crate) fn mirai_settle<'r>(
    scope: &'r Scope,
    mirai: Sexp<'r>,
    value: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    if !mirai.is_environment() {
        return Err(Failure::error("`mirai` must be an environment"));
    }
    if let Some(open) = Open::find(scope, mirai)? {
        open.settle(scope, mirai, value)?;
    }
    Ok(scope.null())
}

/// Entry: waits until a task has an outcome; `TRUE`.
pub(crate) fn task_wait<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    if let Some(task) = unread(scope, task)? {
        interruptibly(scope, |slice| task.wait_for(slice).then_some(()))?;
    }
    Ok(scope.logical(true)?)
}

/// Entry: once all of these tasks of `everywhere()` have an outcome, and some have failed, R is told.
pub(crate) fn tasks_note_failure<'r>(
    scope: &'r Scope,
    tasks: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let tasks = tasks_of(scope, tasks)?;
    let open = Arc::new(AtomicUsize::new(tasks.len()));
    let has_failed = Arc::new(AtomicBool::new(false));
    for task in tasks {
        let (open, has_failed) = (Arc::clone(&open), Arc::clone(&has_failed));
        let handle = task.clone();
        task.on_settle(move || {
            if handle.outcome().is_some_and(Outcome::is_failure) {
                has_failed.store(true, Ordering::Relaxed);
            }
            if open.fetch_sub(1, Ordering::AcqRel) == 1 && has_failed.load(Ordering::Relaxed) {
                note_untold(For::Everywhere, "", "");
            }
        });
    }
    Ok(scope.null())
}

/// Entry: watches tasks from now on, for a row of waits. Mirai that have their value are none of them.
pub(crate) fn tasks_watch<'r>(scope: &'r Scope, tasks: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let mut open = Vec::new();
    for task in tasks.elements(scope, "tasks")? {
        open.extend(unread(scope, task)?);
    }
    Ok(scope.pointer(Watch::new(&open), None)?)
}

/// Entry: waits until `at_least` of the tasks of a watch have an outcome or, with `stop_on_failure`, one has failed. Three integers:
/// the number of tasks that have an outcome, and the positions, from 1, of the first to fail and of the first to get an
/// outcome at all, 0 for none. First in time while they are watched, lowest among those before.
pub(crate) fn watch_wait<'r>(
    scope: &'r Scope,
    watch: Sexp<'r>,
    at_least: Sexp<'r>,
    stop_on_failure: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let watch: &Watch = watch.handle(scope, "watch")?;
    let at_least = (at_least.count(scope, "at_least")? as usize).min(watch.len());
    let stop_on_failure = stop_on_failure.flag(scope, "stop_on_failure")?;
    let progress = interruptibly(scope, |slice| {
        let progress = watch.wait(at_least, stop_on_failure, slice);
        let is_reached =
            progress.done >= at_least || (stop_on_failure && progress.first_failure.is_some());
        is_reached.then_some(progress)
    })?;
    let position = |index: Option<usize>| index.map_or(0, |index| index as i32 + 1);
    Ok(scope.integers(&[
        progress.done as i32,
        position(progress.first_failure),
        position(progress.first_done),
    ])?)
}

/// Entry: waits until one of the tasks has an outcome: its position, from 1, of several the lowest. 0 if there is nobody to
/// work on them: no daemon is connected to their hub, and no more is to come, as `expected` or more ever connected.
pub(crate) fn tasks_wait_served<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    tasks: Sexp<'r>,
    expected: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let tasks = tasks_of(scope, tasks)?;
    let expected = expected.count(scope, "expected")?;
    let watch = Watch::new(&tasks);
    let is_done = interruptibly(scope, |slice| {
        if watch.wait(1, false, slice).done > 0 {
            return Some(true);
        }
        // Asked for anew, as the handlers of an interrupt may have closed it, and all tasks have an outcome then.
        let counts = SessionHub::open(scope, hub).ok()?.counts();
        (counts.connections == 0 && counts.cumulative >= expected).then_some(false)
    })?;
    let first = tasks.iter().position(|task| task.outcome().is_some());
    let position = first
        .filter(|_| is_done)
        .map_or(0, |index| index as i32 + 1);
    Ok(scope.integer(position)?)
}

/// Entry: cancels a task; whether it has been taken out of the queue or its daemon told to stop. With `force`, a daemon that is at it
/// is killed.
pub(crate) fn task_cancel<'r>(
    scope: &'r Scope,
    task: Sexp<'r>,
    force: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let cancel = way_to_cancel(scope, force)?;
    let task = unread(scope, task)?;
    Ok(scope.logical(task.as_ref().is_some_and(cancel))?)
}

/// Entry: the launch of the daemon that the task was to have for itself has failed.
pub(crate) fn task_not_launched<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    task_of(scope, task)?.not_launched();
    Ok(scope.null())
}

/// How tasks are cancelled.
pub(crate) fn way_to_cancel(
    scope: &Scope,
    force: Sexp<'_>,
) -> Result<fn(&TaskHandle) -> bool, Failure> {
    Ok(match force.flag(scope, "force")? {
        true => TaskHandle::cancel_by_force,
        false => TaskHandle::cancel,
    })
}

/// The tasks of a list.
pub(crate) fn tasks_of(scope: &Scope, tasks: Sexp<'_>) -> Result<Vec<TaskHandle>, Failure> {
    tasks
        .elements(scope, "tasks")?
        .map(|task| task_of(scope, task))
        .collect()
}
