//! What a task can leave behind in a session, and whether it has: a cheap look after each task, so that the clean-up in
//! R (R/cleanup.R) is entered only where something has changed.
//!
//! A snapshot holds addresses and keeps what they point to alive, so that an equal address means an unchanged thing. A
//! difference may be a false alarm (an option set to the value it had); R looks closer then.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::rapi::{Handle, Scope, Sexp};
use crate::sys::Environment;

/// Bits of the answer of [`session_changed`].
mod area {
    /// Global variables were made, changed or removed.
    pub const GLOBALS: i32 = 1;
    /// Packages or environments were attached or detached.
    pub const SEARCH: i32 = 2;
    /// Options were set, added or removed.
    pub const OPTIONS: i32 = 4;
    /// Environment variables were.
    pub const ENVIRONMENT: i32 = 8;
    /// The working directory was changed.
    pub const FOLDER: i32 = 16;
    /// Output or messages go elsewhere.
    pub const SINKS: i32 = 32;
    /// Graphics devices were opened or closed.
    pub const DEVICES: i32 = 64;
    /// Random numbers are of another kind.
    pub const KIND: i32 = 128;
}

/// The state of a session at one moment.
pub(crate) struct Snapshot {
    globals: Vec<(usize, usize)>,
    search: Vec<usize>,
    options: Vec<(usize, usize)>,
    environment: Environment,
    folder: Option<PathBuf>,
    sinks: [Option<i32>; 2],
    devices: i32,
    kind: Option<i32>,
}

impl Handle for Snapshot {
    const NAME: &'static str = "session snapshot";
}

/// Entry: takes a snapshot. `globals` is a list of the global variables (`as.list.environment()`, unsorted), `options` is
/// `.Options`, `search` is `search()`; `output` and `messages` are the numbers of the connections that output and messages
/// go to, `kind` is the first number that `.Random.seed` has or would have: `NULL` for these means not to look.
pub(crate) fn session_snapshot<'r>(
    scope: &'r Scope,
    globals: Sexp<'r>,
    options: Sexp<'r>,
    search: Sexp<'r>,
    output: Sexp<'r>,
    messages: Sexp<'r>,
    kind: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let snapshot = Snapshot {
        globals: globals.variables(scope)?,
        search: search.string_identities(scope)?,
        options: options.identities().collect(),
        environment: Environment::now(),
        folder: std::env::current_dir().ok(),
        sinks: [output.first_integer(scope)?, messages.first_integer(scope)?],
        devices: scope.device_count(),
        kind: kind.first_integer(scope)?,
    };
    let alive = [globals, search, options.values(scope)?];
    Ok(scope.pointer(snapshot, Some(scope.list(&alive)?))?)
}

/// Entry: which areas differ from the snapshot, as the sum of their bits: 1 globals, 2 search path, 4 options,
/// 8 environment variables, 16 working directory, 32 sinks, 64 graphics devices, 128 kind of random numbers. `seed` is
/// the current `.Random.seed` or `NULL`, which itself never counts as a changed variable.
#[allow(clippy::too_many_arguments)]
pub(crate) fn session_changed<'r>(
    scope: &'r Scope,
    snapshot: Sexp<'r>,
    globals: Sexp<'r>,
    options: Sexp<'r>,
    search: Sexp<'r>,
    output: Sexp<'r>,
    messages: Sexp<'r>,
    seed: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let then: &Snapshot = snapshot.handle(scope, "snapshot")?;
    let mut changed = 0;
    let mut note = |area, differs| {
        if differs {
            changed |= area;
        }
    };
    note(area::GLOBALS, !globals.has_variables(scope, &then.globals)?);
    note(area::SEARCH, !search.has_strings(scope, &then.search)?);
    note(
        area::OPTIONS,
        !options.identities().eq(then.options.iter().copied()),
    );
    note(area::ENVIRONMENT, !then.environment.is_current());
    note(area::FOLDER, std::env::current_dir().ok() != then.folder);
    let sinks = [output.first_integer(scope)?, messages.first_integer(scope)?];
    note(area::SINKS, sinks != then.sinks);
    note(area::DEVICES, scope.device_count() != then.devices);
    let kind = seed.first_integer(scope)?;
    note(
        area::KIND,
        then.kind.is_some() && kind.is_some() && kind != then.kind,
    );
    Ok(scope.integer(changed)?)
}

/// Entry: a number that changes when an environment variable does.
pub(crate) fn environment_stamp<'r>(scope: &'r Scope) -> Result<Sexp<'r>, Failure> {
    let stamp = Environment::stamp();
    Ok(scope.integers(&[stamp as i32, (stamp >> 32) as i32])?)
}
