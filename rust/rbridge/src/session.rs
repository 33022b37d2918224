//! What a task can leave behind in a session, and whether it has: a cheap look after each task, so that the clean-up in
//! R (R/cleanup.R) is entered only where something has changed.
//!
//! A snapshot holds addresses and keeps what they point to alive, so that an equal address means an unchanged thing. A
//! difference may be a false alarm (an option set to the value it had); R looks closer then.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use crate::rapi::{Failure, Handle, Scope, Sexp};
use crate::sys::{Environment, Process};

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
    /// The global environment was locked or unlocked.
    pub const LOCK: i32 = 256;
    /// Variables in it were locked, unlocked, or made active.
    pub const BINDINGS: i32 = 512;
    /// The folders that packages are looked for in were changed.
    pub const LIBRARIES: i32 = 1024;
    /// Umask, priority or processors of the process were.
    pub const PROCESS: i32 = 2048;
    /// The locale was.
    pub const LOCALE: i32 = 4096;
    /// Rprof() was started or stopped.
    pub const PROFILER: i32 = 8192;
    /// One of the numbers is another.
    pub const NUMBERS: i32 = 16384;
    /// Global variables that were there have other values, or are gone.
    pub const VALUES: i32 = 32768;
}

/// The state of a session at one moment.
pub(crate) struct Snapshot {
    /// The global variables in the order of the last look at them.
    globals: RefCell<Globals>,
    /// Their states and values at the time of the snapshot, by name.
    known: HashMap<usize, (u8, usize)>,
    is_locked: bool,
    search: Vec<usize>,
    /// Cells and values.
    options: Vec<(usize, usize)>,
    environment: Environment,
    folder: Option<PathBuf>,
    sinks: [Option<i32>; 2],
    devices: i32,
    kind: Option<i32>,
    libraries: usize,
    process: Process,
    numbers: Vec<f64>,
}

/// Names and values by address, and what [`binding_states`](Scope::binding_states) says of each.
struct Globals {
    names: Vec<usize>,
    states: Vec<u8>,
    values: Vec<usize>,
}

impl Globals {
    fn of(scope: &Scope, names: Sexp<'_>, values: Sexp<'_>) -> Result<Globals, Failure> {
        Ok(Globals {
            names: names.string_identities(scope)?,
            states: scope.binding_states(names)?,
            values: values
                .elements(scope, "values")?
                .map(Sexp::identity)
                .collect(),
        })
    }

    fn iter(&self) -> impl Iterator<Item = (usize, (u8, usize))> {
        let found = self.states.iter().copied().zip(self.values.iter().copied());
        self.names.iter().copied().zip(found)
    }
}

impl Handle for Snapshot {
    const NAME: &'static str = "session snapshot";
}

/// Entry: takes a snapshot. `options` is `.Options`, `search` is `search()`; `output` and `messages` are the numbers of
/// the connections that output and messages go to, `kind` is the first number that `.Random.seed` has or would have:
/// `NULL` for these means not to look. `libraries` is the object that `.libPaths()` answers,
/// `numbers` whatever else can be told by numbers.
#[allow(clippy::too_many_arguments)]
pub(crate) fn session_snapshot<'r>(
    scope: &'r Scope,
    options: Sexp<'r>,
    search: Sexp<'r>,
    output: Sexp<'r>,
    messages: Sexp<'r>,
    kind: Sexp<'r>,
    libraries: Sexp<'r>,
    numbers: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let names = scope.global_names()?;
    let values = scope.binding_values(names, &scope.binding_states(names)?)?;
    let globals = Globals::of(scope, names, values)?;
    let snapshot = Snapshot {
        known: globals.iter().collect(),
        globals: RefCell::new(globals),
        is_locked: scope.globals_are_locked()?,
        search: search.string_identities(scope)?,
        options: options.identities().collect(),
        environment: Environment::now(),
        folder: std::env::current_dir().ok(),
        sinks: [output.first_integer(scope)?, messages.first_integer(scope)?],
        devices: scope.device_count(),
        kind: kind.first_integer(scope)?,
        libraries: libraries.identity(),
        process: Process::now(),
        numbers: numbers.numbers(scope)?,
    };
    let alive = [names, values, search, options.parts(scope)?, libraries];
    Ok(scope.pointer(snapshot, Some(scope.list(&alive)?))?)
}

/// Entry: which areas differ from the snapshot, as the sum of their bits: 1 new global variables, 2 search path, 4
/// options, 8 environment variables, 16 working directory, 32 sinks, 64 graphics devices, 128 kind of random numbers,
/// 256 lock of the global environment, 512 locked and active variables there, 1024 libraries, 2048 attributes of the process,
/// 4096 locale, 8192 profiler, 16384 numbers, 32768 values of global variables. `seed` is the current `.Random.seed` or `NULL`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn session_changed<'r>(
    scope: &'r Scope,
    snapshot: Sexp<'r>,
    options: Sexp<'r>,
    search: Sexp<'r>,
    output: Sexp<'r>,
    messages: Sexp<'r>,
    seed: Sexp<'r>,
    libraries: Sexp<'r>,
    numbers: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let then: &Snapshot = snapshot.handle(scope, "snapshot")?;
    let mut changed = then.look_at_globals(scope)?;
    let mut note = |area, differs| {
        if differs {
            changed |= area;
        }
    };
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
    note(area::LOCK, scope.globals_are_locked()? != then.is_locked);
    note(area::LIBRARIES, libraries.identity() != then.libraries);
    let process = then.process.differences();
    note(area::PROCESS, process.attributes);
    note(area::LOCALE, process.locale);
    note(area::PROFILER, process.profiler);
    note(area::NUMBERS, numbers.numbers(scope)? != then.numbers);
    Ok(scope.integer(changed)?)
}

/// Entry: umask, priority and processors as in the snapshot, as far as they may be set.
pub(crate) fn session_restore_process<'r>(
    scope: &'r Scope,
    snapshot: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let then: &Snapshot = snapshot.handle(scope, "snapshot")?;
    then.process.restore_attributes();
    Ok(scope.null())
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
        .filter(|(_, name)| *name != seed && !then.known.contains_key(name))
        .map(|(i, _)| i)
        .collect();
    Ok(scope.pick_strings(names, &new)?)
}

impl Snapshot {
    /// The bits for new variables, and for known ones in another state, with another value, or gone.
    fn look_at_globals(&self, scope: &Scope) -> Result<i32, Failure> {
        // An inner scope: the list of names is garbage at once.
        let scope = scope.inner();
        let names = scope.global_names()?;
        if names.has_strings(&scope, &self.globals.borrow().names)? {
            let then = self.globals.borrow();
            if scope.binding_states(names)? != then.states {
                return Ok(area::BINDINGS);
            }
            let same = scope.has_values(names, &then.states, &then.values)?;
            return Ok(if same { 0 } else { area::VALUES });
        }
        let states = scope.binding_states(names)?;
        let now = Globals::of(&scope, names, scope.binding_values(names, &states)?)?;
        let seed = scope.seed_name()?;
        let mut changed = 0;
        let mut missing = self.known.len() - usize::from(self.known.contains_key(&seed));
        for (name, (state, value)) in now.iter() {
            match self.known.get(&name) {
                Some((then, _)) if *then != state => changed |= area::BINDINGS,
                _ if name == seed => changed |= if state == 0 { 0 } else { area::BINDINGS },
                Some((_, then)) if *then != value => changed |= area::VALUES,
                Some(_) => missing -= 1,
                None => changed |= area::GLOBALS,
            }
        }
        if missing > 0 {
            changed |= area::VALUES;
        }
        if changed == 0 {
            // The same in another order, or with the seed or without: that is what to expect from now on. The snapshot keeps its names
            // and values alive, and the name of the seed lives for ever, so that none of these addresses comes to mean another one.
            *self.globals.borrow_mut() = now;
        }
        Ok(changed)
    }
}
