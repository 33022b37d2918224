//! Entries for the evaluation of tasks where R code of ours is around it: in synchronous profiles, with hooks for serialization,
//! with a trace.

use crate::rapi::{Failure, Given, Scope, Sexp};
use crate::rng::optional_seed;

/// Entry: what all evaluations need. `session` is the environment of the session's state, `top` the call that stands at the top of
/// each task, `with_beside` the function that is given value and expression if `session` has something `beside`.
pub(crate) fn set_evaluation<'r>(
    scope: &'r Scope,
    session: Sexp<'r>,
    top: Sexp<'r>,
    with_beside: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    scope.set_evaluation(session, top, with_beside)?;
    Ok(scope.null())
}

/// Entry: the value of a task, of the parts that R/tasks.R says. `shared` is `NULL` but in a map, `stream` but where the task has a
/// stream of its own. Errors and interrupts leave it as jumps.
pub(crate) fn task_evaluate<'r>(
    scope: &'r Scope,
    object: Sexp<'r>,
    shared: Sexp<'r>,
    flags: Sexp<'r>,
    stream: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let stream = optional_seed(scope, stream, "stream")?;
    let given = Given {
        object,
        shared,
        flags: flags.count(scope, "flags")? as i32,
    };
    scope.evaluate_task(&given, stream.as_ref().map(|seed| &seed[..]))
}
