//! Lists of mirai: looking at them, waiting for them, collecting their values, cancelling them, in one call for all.
//!
//! Elements of a list may be anything. What is no mirai, or has its value, has no task.

use std::time::Instant;

use mirai_hub::{Outcome, TaskHandle, Watch};

use crate::batch::{Open, Row, open_task};
use crate::memory::note_object;
use crate::rapi::{Failure, Scope, Sexp};
use crate::tasks::{value_of, way_to_cancel};
use crate::wait::interruptibly;

/// Entry: number of those elements of a list that are mirai whose task has no outcome.
pub(crate) fn mirai_pending<'r>(scope: &'r Scope, x: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let mut pending = 0;
    for element in x.elements(scope, "x")? {
        let task = open_task(scope, element)?;
        pending += i32::from(task.is_some_and(|task| task.outcome().is_none()));
    }
    Ok(scope.integer(pending)?)
}

/// Entry: waits until all those elements of a list that are mirai have an outcome; `TRUE`.
pub(crate) fn mirai_wait<'r>(scope: &'r Scope, x: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    wait_for_all(scope, x)?;
    Ok(scope.logical(true)?)
}

fn wait_for_all(scope: &Scope, x: Sexp<'_>) -> Result<(), Failure> {
    let mut open = Vec::new();
    for element in x.elements(scope, "x")? {
        open.extend(pending(open_task(scope, element)?));
    }
    wait_for_tasks(scope, open)
}

/// The task, if it has no outcome yet.
fn pending(task: Option<TaskHandle>) -> Option<TaskHandle> {
    task.filter(|task| task.outcome().is_none())
}

/// Waits until all have an outcome. Mostly the last one is also the last to end: one wait, and no registration of the others.
fn wait_for_tasks(scope: &Scope, mut open: Vec<TaskHandle>) -> Result<(), Failure> {
    interruptibly(scope, |slice| {
        let begun = Instant::now();
        while let Some(task) = open.last() {
            if !task.wait_for(slice.saturating_sub(begun.elapsed())) {
                return None;
            }
            open.pop();
        }
        Some(())
    })
}

/// How many values are taken between two looks for an interrupt.
const AT_A_TIME: usize = 1 << 10;

/// How many values are waited for and taken at a time: daemons have work for longer than it takes to read them, which is done
/// while they are in the processor's caches.
const BLOCK: usize = 1 << 8;

/// Entry: waits until all of a list of mirai have an outcome, and takes their values, as `task_fetch` does: a list of these.
/// Values are taken as they come, so the mirai whose turn has been have them where this is left by an error or an interrupt.
/// `NULL`, once all have an outcome, if the value of some needs more than that.
pub(crate) fn mirai_collect<'r>(scope: &'r Scope, x: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let mirai: Vec<Sexp<'_>> = x.elements(scope, "x")?.collect();
    let values = scope.empty_list(mirai.len())?;
    for (nth, block) in mirai.chunks(BLOCK).enumerate() {
        wait_for_block(scope, block)?;
        if !take_block(&scope.inner(), block, values, nth * BLOCK)? {
            wait_for_all(scope, x)?;
            return Ok(scope.null());
        }
    }
    Ok(values)
}

fn wait_for_block(scope: &Scope, block: &[Sexp<'_>]) -> Result<(), Failure> {
    // Where the last one has its outcome, few others have none.
    if let Some(last) = block.last() {
        let last = pending(open_task(scope, *last)?);
        wait_for_tasks(scope, last.into_iter().collect())?;
    }
    let mut open = Vec::new();
    {
        let scope = scope.inner();
        let mut row = Row::new(&scope, block)?;
        for mirai in block {
            open.extend(pending(row.open_task(&scope.inner(), *mirai)?));
        }
    }
    wait_for_tasks(scope, open)
}

/// Puts the values of mirai that have an outcome into a list, from a place on. `false` if it ends before one that needs more
/// than that.
fn take_block(
    scope: &Scope,
    block: &[Sexp<'_>],
    values: Sexp<'_>,
    from: usize,
) -> Result<bool, Failure> {
    let mut row = Row::new(scope, block)?;
    let mut known = None;
    for (i, mirai) in block.iter().enumerate() {
        let scope = scope.inner();
        let value = match row.find(&scope, *mirai)? {
            Some(open) if open.is_marked(&scope, &mut known)? => return Ok(false),
            Some(open) => take(&scope, &open, *mirai)?,
            None => mirai.settled_value(&scope)?,
        };
        values.put(from + i, value);
    }
    scope.deliver_signals()?;
    scope.check_interrupt()?;
    Ok(true)
}

/// The value of a task that has an outcome, which its mirai gets.
fn take<'r>(scope: &'r Scope, open: &Open<'_>, mirai: Sexp<'_>) -> Result<Sexp<'r>, Failure> {
    if let Some(Outcome::Value(bytes)) = open.task.outcome()
        && let Some(value) = scope.settle_numbers(mirai, bytes)?
    {
        open.let_go(scope)?;
        note_object(scope, bytes.len())?;
        return Ok(value);
    }
    let value = value_of(scope, &open.task)?;
    open.settle(scope, mirai, value)?;
    Ok(value)
}

/// Entry: takes the values of a list of mirai that are there, as `task_fetch` does, in the order of the list and after the first
/// `seen`. Ends before one that has no outcome yet, or that is R code's to look at: its value needs more than that, or, with
/// `failing`, is an error value, or, with `flat`, is not of the type of the first one's. The number of those seen now.
pub(crate) fn mirai_take<'r>(
    scope: &'r Scope,
    x: Sexp<'r>,
    seen: Sexp<'r>,
    failing: Sexp<'r>,
    flat: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let seen = seen.count(scope, "seen")? as usize;
    let failing = failing.flag(scope, "failing")?;
    let flat = flat.flag(scope, "flat")?;
    let elements = x.elements(scope, "x")?;
    let mut first = None;
    if flat && let Some(mirai) = x.elements(scope, "x")?.next().filter(|_| seen > 0) {
        first = Some(mirai.settled_value(&scope.inner())?.kind());
    }
    let mut known = None;
    let mut reached = seen;
    for (i, mirai) in elements.enumerate().skip(seen) {
        if i % AT_A_TIME == AT_A_TIME - 1 {
            scope.deliver_signals()?;
            scope.check_interrupt()?;
        }
        let scope = scope.inner();
        let value = match Open::find(&scope, mirai)? {
            Some(open) if open.task.outcome().is_none() => break,
            Some(open) if open.is_marked(&scope, &mut known)? => break,
            Some(open) => take(&scope, &open, mirai)?,
            None => mirai.settled_value(&scope)?,
        };
        if (failing && value.inherits(&scope, c"errorValue")?)
            || (flat && *first.get_or_insert(value.kind()) != value.kind())
        {
            break;
        }
        reached = i + 1;
    }
    Ok(scope.integer(i32::try_from(reached).unwrap_or(i32::MAX))?)
}

/// Entry: the position of a mirai in a list that has an outcome, from 1: of several the lowest. Waits if there is none; 0 for a
/// list without a mirai.
pub(crate) fn mirai_race<'r>(scope: &'r Scope, x: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let mut open = Vec::new();
    let mut places = Vec::new();
    for (i, element) in x.elements(scope, "x")?.enumerate() {
        let is_settled = match open_task(scope, element)? {
            Some(task) if task.outcome().is_none() => {
                open.push(task);
                places.push(i);
                false
            }
            Some(_) => true,
            None => element.is_environment() && element.inherits(scope, c"mirai")?,
        };
        if is_settled {
            // One before it may have come meanwhile, and earlier.
            let before = open.iter().position(|task| task.outcome().is_some());
            let first = before.and_then(|at| places.get(at).copied());
            return Ok(scope.integer(position(first.unwrap_or(i)))?);
        }
    }
    if open.is_empty() {
        return Ok(scope.integer(0)?);
    }
    let watch = Watch::new(&open);
    let first = interruptibly(scope, |slice| watch.wait(1, false, slice).first_done)?;
    Ok(scope.integer(places.get(first).map_or(0, |i| position(*i)))?)
}

fn position(i: usize) -> i32 {
    i32::try_from(i + 1).unwrap_or(i32::MAX)
}

/// Entry: cancels the tasks of a list of mirai: whether each has been taken out of the queue or its daemon told to stop, `FALSE` for
/// what is no mirai or has a value; with `force` as in `task_cancel`. From the last to the first, so that tasks in the queue go before those that would make room for them.
pub(crate) fn mirai_cancel<'r>(
    scope: &'r Scope,
    x: Sexp<'r>,
    force: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let cancel = way_to_cancel(scope, force)?;
    let elements: Vec<_> = x.elements(scope, "x")?.collect();
    let mut tasks = Vec::with_capacity(elements.len());
    for element in elements {
        tasks.push(open_task(scope, element)?);
    }
    let mut stopped = vec![false; tasks.len()];
    for (task, stopped) in tasks.iter().zip(&mut stopped).rev() {
        *stopped = task.as_ref().is_some_and(cancel);
    }
    Ok(scope.logicals(&stopped)?)
}
