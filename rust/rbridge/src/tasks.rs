//! The host's tasks: looking at them, waiting for them, cancelling them.

use std::cell::Cell;
use std::time::Duration;

use mirai_hub::{Outcome, Progress, TaskHandle, Watch};

use crate::failure::Failure;
use crate::host::Host;
use crate::rapi::{Handle, Kept, Scope, Sexp, unpickle};

/// Between two looks for an interrupt, the longest that a user waits for the effect of Ctrl-C.
pub(crate) const SLICE: Duration = Duration::from_millis(200);

impl Handle for TaskHandle {
    const NAME: &'static str = "task";
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

/// Entry: the value of a task, made anew at each call; of one that is pending, the unresolved value. An R error in
/// unserializing it is R's.
pub(crate) fn task_value<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    match handle(scope, task)?.outcome() {
        None => Ok(UNRESOLVED.get().map_or(scope.null(), Kept::get)),
        Some(Outcome::Value(bytes) | Outcome::Failed(bytes)) => unpickle(scope, bytes),
        Some(Outcome::Interrupted) => {
            let value = scope.string("")?;
            scope.set_class(value, &["miraiInterrupt", "errorValue", "try-error"])?;
            Ok(value)
        }
        Some(outcome) => {
            let value = scope.integer(outcome.code().unwrap_or_default())?;
            scope.set_class(value, &["errorValue", "try-error"])?;
            Ok(value)
        }
    }
}

/// Entry: why a task was lost, for people; `NULL` for any other task.
pub(crate) fn task_reason<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    match handle(scope, task)?.outcome() {
        Some(Outcome::Lost(reason)) => Ok(scope.string(reason)?),
        _ => Ok(scope.null()),
    }
}

/// Entry: waits until a task has an outcome; `TRUE`.
pub(crate) fn task_wait<'r>(scope: &'r Scope, task: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let task = handle(scope, task)?;
    while !task.wait_for(SLICE) {
        scope.check_interrupt()?;
    }
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
    let tasks = handles(scope, tasks)?;
    let at_least = (at_least.count(scope, "at_least")? as usize).min(tasks.len());
    let stop_on_failure = stop_on_failure.flag(scope, "stop_on_failure")?;
    let is_reached = |progress: &Progress| {
        progress.done >= at_least || (stop_on_failure && progress.first_failure.is_some())
    };
    let mut progress = now(&tasks);
    if !is_reached(&progress) {
        let watched: Vec<TaskHandle> = tasks.into_iter().cloned().collect();
        let watch = Watch::new(&watched);
        loop {
            progress = watch.wait(at_least, stop_on_failure, SLICE);
            if is_reached(&progress) {
                break;
            }
            scope.check_interrupt()?;
        }
    }
    let position = |index: Option<usize>| index.map_or(0, |index| index as i32 + 1);
    let Progress {
        done,
        first_failure,
        first_done,
    } = progress;
    Ok(scope.integers(&[done as i32, position(first_failure), position(first_done)])?)
}

/// Entry: waits until one of the tasks has an outcome: its position, from 1, of several the lowest. 0 if there is nobody to
/// work on them: no daemon is connected to their hub, and no more is to come, as `expected` or more ever connected.
pub(crate) fn tasks_wait_served<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    tasks: Sexp<'r>,
    expected: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let tasks: Vec<TaskHandle> = handles(scope, tasks)?.into_iter().cloned().collect();
    let expected = expected.count(scope, "expected")?;
    let first_done = || tasks.iter().position(|task| task.outcome().is_some());
    let mut done = first_done();
    if done.is_none() {
        let watch = Watch::new(&tasks);
        while watch.wait(1, false, SLICE).done == 0 {
            scope.check_interrupt()?;
            // Asked for anew, as the handlers of an interrupt may have closed it, and all tasks have an outcome then.
            let Ok(hub) = Host::open(scope, hub) else {
                continue;
            };
            let counts = hub.counts();
            if counts.connections == 0 && counts.cumulative >= expected {
                break;
            }
        }
        done = first_done();
    }
    Ok(scope.integer(done.map_or(0, |index| index as i32 + 1))?)
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

fn now(tasks: &[&TaskHandle]) -> Progress {
    let mut progress = Progress::default();
    for (index, task) in tasks.iter().enumerate() {
        if let Some(outcome) = task.outcome() {
            progress.done += 1;
            progress.first_done.get_or_insert(index);
            if outcome.is_failure() {
                progress.first_failure.get_or_insert(index);
            }
        }
    }
    progress
}

fn handle<'r>(scope: &Scope, task: Sexp<'r>) -> Result<&'r TaskHandle, Failure> {
    task.handle(scope, "task")
}

/// The tasks of a list.
pub(crate) fn handles<'r>(scope: &Scope, tasks: Sexp<'r>) -> Result<Vec<&'r TaskHandle>, Failure> {
    tasks
        .elements(scope, "tasks")?
        .map(|task| handle(scope, task))
        .collect()
}
