//! The host's tasks: looking at them, waiting for them, cancelling them.

use std::cell::Cell;

use mirai_hub::{ErrorCode, Outcome, TaskHandle, Watch};

use crate::failure::Failure;
use crate::hub::SessionHub;
use crate::memory::note_object;
use crate::rapi::{Handle, Kept, Scope, Sexp, unpickle};
use crate::wait::interruptibly;

impl Handle for TaskHandle {
    const NAME: &'static str = "task";
    const LISTED: bool = true;
}

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
    let id = handle(scope, task)?.id();
    Ok(scope.integer(r_number(id))?)
}

/// Entry: a number like that of a task, for one that needs no hub.
pub(crate) fn task_number<'r>(scope: &'r Scope) -> Result<Sexp<'r>, Failure> {
    Ok(scope.integer(r_number(mirai_hub::take_task_number()))?)
}

/// Beyond two thousand million R has no integer for it: numbers start again.
fn r_number(id: u64) -> i32 {
    (id % i32::MAX as u64) as i32
}

/// Entry: 0 pending, 1 value, 2 error, 3 interrupt, 4 error code.
pub(crate) fn task_state<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let state = match handle(scope, task)?.outcome() {
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
    let value = value_of(scope, task)?;
    Ok(scope.list(&[value])?)
}

fn value_of<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    match handle(scope, task)?.outcome() {
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
            scope.set_class(value, &["errorValue", "try-error"])?;
            Ok(value)
        }
    }
}

/// Entry: the object that stands for a task: an environment with the active bindings `data` and `value`, functions, and the
/// attributes `id`, `task` and `class`. Both are there from the start, as R code that goes through an environment counts the
/// variables before it looks at them.
pub(crate) fn mirai_new<'r>(
    scope: &'r Scope,
    task: Sexp<'r>,
    data: Sexp<'r>,
    value: Sexp<'r>,
    class: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let id = handle(scope, task)?.id();
    if !(data.is_function() && value.is_function()) {
        return Err(Failure::error("`data` and `value` must be functions"));
    }
    let id = scope.integer(r_number(id))?;
    let mirai = scope.active_environment(&[(c"data", data), (c"value", value)])?;
    scope.set_attr(mirai, c"id", id)?;
    scope.set_attr(mirai, c"task", task)?;
    scope.set_attr(mirai, c"class", class)?;
    task.put_beside(mirai);
    Ok(mirai)
}

/// Entry: the objects that stand for tasks of a hub that have no outcome yet: a list, filled up with `NULL`.
pub(crate) fn hub_open_mirai<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let hub = SessionHub::open(scope, hub)?;
    let is_open = |task: &TaskHandle| hub.has(task) && task.outcome().is_none();
    Ok(scope.all_beside(is_open)?)
}

/// Entry: waits until a task has an outcome, and takes its value, which from then on is the attribute `value` of its mirai;
/// the mirai lets go of the task. An R error in unserializing it is R's, and changes nothing.
pub(crate) fn task_fetch<'r>(
    scope: &'r Scope,
    task: Sexp<'r>,
    mirai: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    if !mirai.is_environment() {
        return Err(Failure::error("`mirai` must be an environment"));
    }
    let handle = handle(scope, task)?;
    interruptibly(scope, |slice| handle.wait_for(slice).then_some(()))?;
    let value = value_of(scope, task)?;
    scope.set_attr(mirai, c"value", value)?;
    scope.set_attr(mirai, c"task", scope.null())?;
    Ok(value)
}

/// Entry: waits until a task has an outcome; `TRUE`.
pub(crate) fn task_wait<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let task = handle(scope, task)?;
    interruptibly(scope, |slice| task.wait_for(slice).then_some(()))?;
    Ok(scope.logical(true)?)
}

/// Entry: waits until `at_least` of the tasks have an outcome or, with `stop_on_failure`, one has failed. Three integers:
/// the number of tasks that have an outcome, and the positions, from 1, of the first to fail and of the first to get an
/// outcome at all, 0 for none. First in time while this waits, lowest among those before.
pub(crate) fn tasks_wait<'r>(
    scope: &'r Scope,
    tasks: Sexp<'r>,
    at_least: Sexp<'r>,
    stop_on_failure: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let tasks = owned_handles(scope, tasks)?;
    wait_for_some(scope, &Watch::new(&tasks), at_least, stop_on_failure)
}

/// Entry: for a row of waits for the same tasks: watches them from now on.
pub(crate) fn tasks_watch<'r>(scope: &'r Scope, tasks: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let watch = Watch::new(&owned_handles(scope, tasks)?);
    Ok(scope.pointer(watch, None)?)
}

/// Entry: as `tasks_wait`, for the tasks of a watch.
pub(crate) fn watch_wait<'r>(
    scope: &'r Scope,
    watch: Sexp<'r>,
    at_least: Sexp<'r>,
    stop_on_failure: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let watch = watch.handle(scope, "watch")?;
    wait_for_some(scope, watch, at_least, stop_on_failure)
}

fn wait_for_some<'r>(
    scope: &'r Scope,
    watch: &Watch,
    at_least: Sexp<'r>,
    stop_on_failure: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
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
    let tasks = owned_handles(scope, tasks)?;
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

/// Entry: number of tasks without an outcome.
pub(crate) fn tasks_pending<'r>(scope: &'r Scope, tasks: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let tasks = handles(scope, tasks)?;
    let pending = tasks.iter().filter(|task| task.outcome().is_none()).count();
    Ok(scope.integer(pending as i32)?)
}

/// Entry: cancels a task; whether it has been taken out of the queue or its daemon told to stop.
pub(crate) fn task_cancel<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    Ok(scope.logical(handle(scope, task)?.cancel())?)
}

fn handle<'r>(scope: &Scope, task: Sexp<'r>) -> Result<&'r TaskHandle, Failure> {
    task.handle(scope, "task")
}

fn owned_handles<'r>(scope: &Scope, tasks: Sexp<'r>) -> Result<Vec<TaskHandle>, Failure> {
    Ok(handles(scope, tasks)?.into_iter().cloned().collect())
}

/// The tasks of a list.
pub(crate) fn handles<'r>(scope: &Scope, tasks: Sexp<'r>) -> Result<Vec<&'r TaskHandle>, Failure> {
    tasks
        .elements(scope, "tasks")?
        .map(|task| handle(scope, task))
        .collect()
}
