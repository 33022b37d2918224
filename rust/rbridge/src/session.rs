//! What a task can leave behind in a session, and whether it has: a cheap look after each task, so that the clean-up in
//! R (R/cleanup.R) is entered only where something has changed.
//!
//! A snapshot holds addresses and keeps what they point to alive, so that an equal address means an unchanged thing. A
//! difference may be a false alarm (an option set to the value it had); R looks closer then.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;

use crate::failure::Failure;
use crate::rapi::{Handle, Jump, Scope, Sexp};
use crate::sys::Environment;

/// Bits of the answer of [`session_changed`].
mod area {
    /// There are variables in the global environment that were not there.
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
    /// Names of global variables, in the order of the last look at them.
    globals: RefCell<Vec<usize>>,
    /// The names at the time of the snapshot.
    known: HashSet<usize>,
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

/// Entry: takes a snapshot. `options` is `.Options`, `search` is `search()`; `output` and `messages` are the numbers of
/// the connections that output and messages go to, `kind` is the first number that `.Random.seed` has or would have:
/// `NULL` for these means not to look.
pub(crate) fn session_snapshot<'r>(
    scope: &'r Scope,
    options: Sexp<'r>,
    search: Sexp<'r>,
    output: Sexp<'r>,
    messages: Sexp<'r>,
    kind: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let names = scope.global_names()?;
    let globals = names.string_identities(scope)?;
    let snapshot = Snapshot {
        known: globals.iter().copied().collect(),
        globals: RefCell::new(globals),
        search: search.string_identities(scope)?,
        options: options.identities().collect(),
        environment: Environment::now(),
        folder: std::env::current_dir().ok(),
        sinks: [output.first_integer(scope)?, messages.first_integer(scope)?],
        devices: scope.device_count(),
        kind: kind.first_integer(scope)?,
    };
    let alive = [names, search, options.values(scope)?];
    Ok(scope.pointer(snapshot, Some(scope.list(&alive)?))?)
}

/// Entry: which areas differ from the snapshot, as the sum of their bits: 1 new global variables, 2 search path, 4
/// options, 8 environment variables, 16 working directory, 32 sinks, 64 graphics devices, 128 kind of random numbers.
/// `seed` is the current `.Random.seed` or `NULL`.
pub(crate) fn session_changed<'r>(
    scope: &'r Scope,
    snapshot: Sexp<'r>,
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
    note(area::GLOBALS, then.has_new_globals(scope)?);
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

/// Entry: names of the global variables that the snapshot does not have, `.Random.seed` never among them.
pub(crate) fn session_new_globals<'r>(
    scope: &'r Scope,
    snapshot: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let then: &Snapshot = snapshot.handle(scope, "snapshot")?;
    let seed = scope.seed_name()?;
    let names = scope.global_names()?;
    let new: Vec<usize> = names
        .string_identities(scope)?
        .into_iter()
        .enumerate()
        .filter(|(_, name)| *name != seed && !then.known.contains(name))
        .map(|(i, _)| i)
        .collect();
    Ok(scope.pick_strings(names, &new)?)
}

impl Snapshot {
    fn has_new_globals(&self, scope: &Scope) -> Result<bool, Jump> {
        // An inner scope: the list of names is garbage at once.
        let scope = scope.inner();
        let names = scope.global_names()?;
        if names.has_strings(&scope, &self.globals.borrow())? {
            return Ok(false);
        }
        let seed = scope.seed_name()?;
        let now = names.string_identities(&scope)?;
        if now
            .iter()
            .any(|name| *name != seed && !self.known.contains(name))
        {
            return Ok(true);
        }
        // Fewer names, or the same in another order: that is what to expect from now on. The snapshot keeps its names
        // alive, and the name of the seed lives for ever, so that none of these addresses comes to mean another one.
        *self.globals.borrow_mut() = now;
        Ok(false)
    }
}
