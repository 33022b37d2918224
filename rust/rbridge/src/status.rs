//! What `status()` and `info()` show of a hub.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use mirai_hub::{Activity, Death, Origin, Worker};

use crate::absent::tell;
use crate::hub::SessionHub;
use crate::rapi::{Failure, Scope, Sexp};
use crate::table::Table;

/// Entry: number of daemons that are being started by this session.
pub(crate) fn hub_starting<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    counted(scope, [SessionHub::open(scope, hub)?.starting()])
}

/// Entry: numbers of daemons connected and ever connected, and of tasks awaiting, executing and completed.
pub(crate) fn hub_info<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    tell(scope)?;
    let counts = SessionHub::open(scope, hub)?.counts();
    let numbers = [
        counts.connections,
        counts.cumulative,
        counts.awaiting,
        counts.executing,
        counts.completed,
    ];
    counted(scope, numbers)
}

/// Entry: the launched daemons of a hub that will never come, by reason: a list of `count`, `reason` and `command`.
pub(crate) fn hub_absent<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    let absent = session_hub.absent.lock().clone();
    absent.table(scope)
}

/// Entry: how many peers were turned away: strangers, unproven, silent and unfit ones.
pub(crate) fn hub_refused<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let refused = SessionHub::open(scope, hub)?.refused();
    let numbers = [
        refused.strangers,
        refused.unproven,
        refused.silent,
        refused.unfit,
    ];
    counted(scope, numbers)
}

fn counted<'r, const N: usize>(scope: &'r Scope, counts: [u64; N]) -> Result<Sexp<'r>, Failure> {
    Ok(scope.integers(&counts.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))?)
}

/// Entry: why the pool starts no daemons any more; `NA` unless that is so.
pub(crate) fn hub_given_up<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let reason = SessionHub::open(scope, hub)?.given_up();
    Ok(scope.optional_strings(&[reason.as_deref()])?)
}

/// Entry: when daemons are replaced again, in seconds since 1970, where as many were launched as may be for now; else `NA`.
pub(crate) fn hub_heals_again<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let at = SessionHub::open(scope, hub)?.heals_again();
    let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let seconds = since.map_or(scope.na_real(), |since| since.as_secs_f64());
    Ok(scope.doubles(&[seconds])?)
}

/// Entry: bytes of queued tasks: now, at most so far, and the limit or `NA`.
pub(crate) fn hub_memory<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let memory = SessionHub::open(scope, hub)?.memory();
    let capacity = memory
        .capacity
        .map_or(scope.na_real(), |bytes| bytes as f64);
    Ok(scope.doubles(&[memory.used as f64, memory.peak as f64, capacity])?)
}

/// Entry: the connected daemons, as columns. `age` (seconds) and `over` (nobody waits for it any more) are of the task that a
/// daemon is at, whose number is `task`; `setup` is for how many seconds it has been set up; `busy` is in seconds; `ready` is
/// `FALSE` if something that it had to set up has failed; `activity` is what its process is at, as a word. What is unknown or not the
/// case is `NA`.
pub(crate) fn hub_workers<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let workers = SessionHub::open(scope, hub)?.workers();
    Table::new(scope, &workers)
        .integers("id", |worker| Some(worker.id))?
        .integers("pid", |worker| worker.pid)?
        .integers("task", |worker| worker.task.map(|task| task.number))?
        .doubles("age", |worker| worker.task.map(|task| seconds(task.age)))?
        .logicals("over", |worker| {
            worker.task.is_some_and(|task| task.is_over)
        })?
        .doubles("setup", |worker| worker.setting_up.map(seconds))?
        .integers("done", |worker| Some(worker.done))?
        .doubles("busy", |worker| Some(seconds(worker.busy)))?
        .logicals("ready", |worker| worker.is_set_up)?
        .logicals("away", |worker| worker.is_away)?
        .integers("returns", |worker| Some(worker.returns))?
        .texts("address", |worker| Some(address(worker.peer)))?
        .texts("host", |worker| host(&worker.origin))?
        .texts("job", |worker| job(&worker.origin))?
        .logicals("replaces", |worker| worker.is_replacement)?
        .texts("activity", activity)?
        .list()
}

/// Entry: the daemons that the hub has lost, as columns. `time` is in seconds since 1970, `age` in seconds since it joined; `task` and
/// `attempt` are numbers of what it was at; `reason` says how it ended, `output` its last words. What is unknown or not the case is `NA`.
pub(crate) fn hub_deaths<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let deaths = SessionHub::open(scope, hub)?.deaths();
    let since_1970 = |death: &Death| death.at.duration_since(UNIX_EPOCH).ok();
    Table::new(scope, &deaths)
        .doubles("time", |death| since_1970(death).map(seconds))?
        .integers("id", |death| Some(death.id))?
        .integers("pid", |death| death.pid)?
        .texts("address", |death| Some(address(death.peer)))?
        .texts("host", |death| host(&death.origin))?
        .texts("job", |death| job(&death.origin))?
        .doubles("age", |death| Some(seconds(death.age)))?
        .integers("done", |death| Some(death.done))?
        .integers("task", |death| death.task.map(|(task, _)| task))?
        .integers("attempt", |death| death.task.map(|(_, attempt)| attempt))?
        .texts("reason", |death| Some(death.end()))?
        .texts("output", |death| known(&death.output))?
        .logicals("retried", |death| death.is_retried)?
        .logicals("killed", |death| death.is_killed)?
        .list()
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// What the process of a daemon of this machine is at: of one that rests only if it is stopped.
fn activity(worker: &Worker) -> Option<&'static str> {
    let activity = worker.pid.and_then(Activity::of)?;
    let is_at_work = worker.task.is_some() || worker.setting_up.is_some();
    (is_at_work || activity == Activity::Stopped).then(|| activity.name())
}

/// Where a daemon is; `"local"` if it connects within the machine.
fn address(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "local".to_owned(), |peer| peer.to_string())
}

/// The name of the machine that a daemon runs on.
fn host(origin: &Option<Arc<Origin>>) -> Option<&str> {
    origin.as_deref().and_then(|origin| known(&origin.host))
}

/// The job that a daemon runs in.
fn job(origin: &Option<Arc<Origin>>) -> Option<&str> {
    origin.as_deref().and_then(|origin| known(&origin.job))
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
