//! What nanonext sees of our tasks. Packages above read a mirai by nanonext's functions, whose C code looks for an object of
//! nanonext's in it. So each task has a *shadow*: a request of a socket of nanonext's, made by R code and answered from here
//! when the task settles. nanonext itself then resolves its object, and signals the condition variable that goes with it.

use std::collections::HashMap;
use std::sync::Arc;

use mirai_hub::TaskHandle;
#[cfg(unix)]
use mirai_replier::Replier;
use parking_lot::Mutex;

use crate::batch::task_of;
use crate::rapi::{Failure, Handle, Scope, Sexp};
#[cfg(unix)]
use crate::sys::with_signals_blocked;

/// The tasks whose requests are still to come, by number. Locked for as long as it takes to put one in or out.
type Expected = Arc<Mutex<HashMap<u64, TaskHandle>>>;

/// The end of the bridge that answers.
pub(crate) struct Shadows {
    #[cfg(unix)]
    replier: Replier,
    expected: Expected,
}

impl Handle for Shadows {
    const NAME: &'static str = "bridge";
}

/// Entry: the answering end of a bridge: its pointer. `name` is one that nobody can guess, `folder` one that other users cannot
/// enter, `reply` the body of each answer, as raw bytes.
#[cfg(unix)]
pub(crate) fn shadows_open<'r>(
    scope: &'r Scope,
    name: Sexp<'r>,
    folder: Sexp<'r>,
    reply: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let name = name.string(scope, "name")?;
    let folder = folder.path(scope, "folder")?;
    let reply = reply.bytes(scope, "reply")?;
    let expected = Expected::default();
    let asked = Arc::clone(&expected);
    let on_request = move |number, ticket: mirai_replier::Ticket| {
        let task = asked.lock().remove(&number);
        match task {
            Some(task) => task.on_settle(move || ticket.reply()),
            // Nobody else's.
            None => ticket.reply(),
        }
    };
    let replier = with_signals_blocked(|| Replier::listen(&name, &folder, reply, on_request))
        .map_err(|error| Failure::error(error.to_string()))?;
    Ok(scope.pointer(Shadows { replier, expected }, None)?)
}

/// Entry: an error, as there are no such sockets here.
#[cfg(not(unix))]
pub(crate) fn shadows_open<'r>(
    _scope: &'r Scope,
    _name: Sexp<'r>,
    _folder: Sexp<'r>,
    _reply: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    Err(Failure::error("there are no Unix sockets on this platform"))
}

/// Entry: where nanonext's socket is to dial.
pub(crate) fn shadows_url<'r>(scope: &'r Scope, shadows: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let shadows: &Shadows = shadows.handle(scope, "shadows")?;
    #[cfg(unix)]
    let url = shadows.replier.url();
    #[cfg(not(unix))]
    let url = "";
    let _ = &shadows.expected;
    Ok(scope.string(url)?)
}

/// Entry: the body of the request for a task, as raw bytes. From now on that is expected, once.
pub(crate) fn shadows_expect<'r>(
    scope: &'r Scope,
    shadows: Sexp<'r>,
    task: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let shadows: &Shadows = shadows.handle(scope, "shadows")?;
    let task = task_of(scope, task)?;
    let request = scope.raw(&task.id().to_be_bytes())?;
    shadows.expected.lock().insert(task.id(), task);
    Ok(request)
}
