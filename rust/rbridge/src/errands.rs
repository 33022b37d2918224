//! Daemons that commands of the user's start elsewhere: running these, and waiting for what comes of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mirai_launcher::{Context, Errand};

use crate::follow::{AtEnd, Follower, Kind, Launch, await_followers, leave_followers};
use crate::hub::{SessionHub, wait_until};
use crate::rapi::{Failure, Handle, Scope, Sexp};
use crate::wait::interruptibly;

/// What has become of one launch.
struct Ticket(Arc<Launch>);

impl Handle for Ticket {
    const NAME: &'static str = "ticket of a launch elsewhere";
}

/// Entry: runs command lines in the background, each of which starts `counts` daemons of the hub somewhere. Returns at once,
/// with a ticket for `errands_wait`. `kind`: "session" for commands that last as long as their daemons, as `ssh` does, also when
/// they have gone into the background; "submission" for those that hand jobs to a scheduler; or "other". `forwards`: what they say also goes to stdout. `at_end`: what the daemons do once the hub is closed:
/// `TRUE` leave, `NA` end their tasks and leave, `FALSE` stay. `is_awaited`: the caller waits, and says itself what has become of
/// them; else users are told as it turns out.
#[allow(clippy::too_many_arguments)]
pub(crate) fn run_errands<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    lines: Sexp<'r>,
    counts: Sexp<'r>,
    kind: Sexp<'r>,
    forwards: Sexp<'r>,
    at_end: Sexp<'r>,
    is_awaited: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let lines = lines.strings(scope, "lines")?;
    let counts = counts.numbers(scope)?.to_vec();
    let kind = match &*kind.string(scope, "kind")? {
        "session" => Kind::Session,
        "submission" => Kind::Submission,
        _ => Kind::Other,
    };
    let forwards = forwards.flag(scope, "forwards")?;
    let at_end = match at_end.logical(scope, "at_end")? {
        Some(true) => AtEnd::Leave,
        None => AtEnd::EndTasks,
        Some(false) => AtEnd::Stay,
    };
    let is_awaited = is_awaited.flag(scope, "is_awaited")?;
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    let hub = SessionHub::open(scope, hub)?;
    let mut context = Context::capture(Vec::new(), None).map_err(|error| {
        Failure::error(format!(
            "commands cannot start in the working directory: {error}; setwd() to one that is there"
        ))
    })?;
    session_hub.token_variable.apply(&mut context);
    let total = counts.iter().map(|count| *count as u64).sum();
    let launch = Arc::new(Launch::new(hub.handle(), session_hub, total, is_awaited));
    session_hub.note_launching(&hub, total);
    let mut follower = Follower::new(Arc::clone(&launch), context.clone(), kind, at_end);
    for (line, count) in lines.into_iter().zip(counts) {
        let errand = Errand {
            line,
            context: context.clone(),
            forwards,
        };
        follower.run(errand, count as u64);
    }
    session_hub.follow(follower.start().map_err(no_thread)?);
    Ok(scope.pointer(Ticket(launch), None)?)
}

/// Entry: as `run_errands`, for daemons that a service was asked for by `command`: it has agreed to `n`, in these words, and the
/// requests that have `failed` say why. The caller tells of those.
pub(crate) fn follow_requests<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    n: Sexp<'r>,
    said: Sexp<'r>,
    failed: Sexp<'r>,
    command: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let n = n.count(scope, "n")?;
    let said = said.string(scope, "said")?;
    let failed = failed.strings(scope, "failed")?;
    let command = command.string(scope, "command")?;
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    let hub = SessionHub::open(scope, hub)?;
    let total = n + failed.len() as u64;
    session_hub.note_launching(&hub, total);
    let launch = Arc::new(Launch::new(hub.handle(), session_hub, total, true));
    for reason in &failed {
        launch.note_absent(1, reason, &command);
    }
    launch.is_awaited.store(false, Ordering::Relaxed);
    let context = Context {
        environment: Vec::new(),
        working_dir: "/".into(),
        library_paths: Vec::new(),
        package: None,
    };
    let mut follower = Follower::new(Arc::clone(&launch), context, Kind::Other, AtEnd::Leave);
    follower.expect(n, command, said);
    session_hub.follow(follower.start().map_err(no_thread)?);
    Ok(scope.pointer(Ticket(launch), None)?)
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::error(format!("a thread cannot be started: {error}"))
}

/// Entry: waits until each daemon of a launch has connected, or has been lost, or is in the hands of others such as a
/// scheduler, or `patience` (in seconds) is over; from then on users are told of what goes wrong. A list: the numbers
/// `connected` and `failed`, and why the first one was lost (`reason`) and by which `command`.
pub(crate) fn errands_wait<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    ticket: Sexp<'r>,
    patience: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let ticket: &Ticket = ticket.handle(scope, "ticket")?;
    let launch = Arc::clone(&ticket.0);
    let patience = patience.seconds(scope, "patience")?;
    wait_until(scope, hub, Some(patience), |_| launch.is_settled())?;
    launch.is_awaited.store(false, Ordering::Relaxed);
    launch.absent().outcome(scope, launch.came())
}

/// Entry: waits until what was left of the launches of pools that have been closed is ended, or `patience` (in seconds) is over.
pub(crate) fn errands_settle<'r>(
    scope: &'r Scope,
    patience: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let end = Instant::now() + patience.seconds(scope, "patience")?;
    interruptibly(scope, |slice| {
        (await_followers(slice) || Instant::now() >= end).then_some(())
    })?;
    leave_followers();
    Ok(scope.null())
}
