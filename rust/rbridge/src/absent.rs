//! Daemons that were launched and will never come: counted for each launch and each hub, and told to the user.
//!
//! The launcher's threads bring the news at any time, when R cannot be called. What nobody waits for by name, as
//! `daemons(n)` does, is kept here until R's thread [comes by](tell): in a wait, or as a task is submitted.

use std::cell::Cell;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mirai_hub::{Death, Unserved, UnservedListener};
use parking_lot::Mutex;

use crate::rapi::{Failure, Jump, Kept, Scope, Sexp};
use crate::table::Table;

/// Limit of reasons that are kept; further ones are only counted.
const MOST_REASONS: usize = 20;

/// Deaths that are told at the same time are shown up to this many.
const MOST_SHOWN: usize = 5;

/// The daemons that will not come, of one launch or one hub.
#[derive(Clone, Default)]
pub(crate) struct Absent {
    pub count: u64,
    reasons: Vec<Reason>,
}

#[derive(Clone)]
struct Reason {
    /// Why, as text for users.
    text: String,
    /// The command that shows the same failure.
    command: String,
    /// Number of daemons with this reason.
    count: u32,
}

impl Reason {
    fn of_one(text: &str, command: &str) -> Reason {
        Reason {
            text: text.to_owned(),
            command: command.to_owned(),
            count: 1,
        }
    }
}

impl Absent {
    pub(crate) fn note(&mut self, text: &str, command: &str) {
        self.count += 1;
        add(
            &mut self.reasons,
            Reason::of_one(text, command),
            MOST_REASONS,
        );
    }

    /// The reasons, for R: a list of `count`, `reason` and `command`.
    pub(crate) fn table<'r>(&self, scope: &'r Scope) -> Result<Sexp<'r>, Failure> {
        Table::new(scope, &self.reasons)
            .integers("count", |reason| Some(reason.count))?
            .texts("reason", |reason| Some(&reason.text))?
            .texts("command", |reason| Some(&reason.command))?
            .list()
    }

    /// What has come of a launch, for R: a list of the numbers `connected` and `failed`, and why the first one was lost
    /// (`reason`) and by which `command`.
    pub(crate) fn outcome<'r>(
        &self,
        scope: &'r Scope,
        connected: u64,
    ) -> Result<Sexp<'r>, Failure> {
        let integer = |number: u64| scope.integer(number.try_into().unwrap_or(i32::MAX));
        let first = self.reasons.first();
        let values = [
            integer(connected)?,
            integer(self.count)?,
            scope.string(first.map_or("", |reason| &reason.text))?,
            scope.string(first.map_or("", |reason| &reason.command))?,
        ];
        Ok(scope.named_list(&["connected", "failed", "reason", "command"], &values)?)
    }
}

fn add(reasons: &mut Vec<Reason>, reason: Reason, most: usize) {
    if let Some(known) = reasons.iter_mut().find(|known| known.text == reason.text) {
        known.count += reason.count;
    } else if reasons.len() < most {
        reasons.push(reason);
    } else if let Some(last) = reasons.last_mut() {
        last.count += reason.count;
    }
}

/// Deaths that are told at the same time are one incident.
fn together(deaths: &[Reason]) -> Reason {
    let count = deaths.iter().map(|death| death.count).sum::<u32>();
    let shown = &deaths[..deaths.len().min(MOST_SHOWN)];
    let texts: Vec<&str> = shown.iter().map(|death| &*death.text).collect();
    let mut text = texts.join("\n");
    if count as usize > shown.len() {
        text += &format!(
            "\nand {} more, see `status()$deaths`",
            count as usize - shown.len()
        );
    }
    Reason {
        text,
        command: String::new(),
        count,
    }
}

/// A reason, with what the process has said.
pub(crate) fn with_output(reason: &str, output: &str) -> String {
    match output.trim_end() {
        "" => reason.to_owned(),
        output => format!("{reason}. Its output:\n{output}"),
    }
}

/// What lacks the daemon; R knows these words.
#[derive(Clone, Copy)]
pub(crate) enum For {
    /// A pool that heals by R code, which is to launch so many; the text is its key.
    Relaunch,
    /// Nobody: a daemon has taken the place of another, in the pool of this key. Tracing wants to know.
    Replaced,
    /// The tasks of a pool.
    Pool,
    /// The one task that it was launched for.
    Task,
    /// A launch that takes long, as its fork server does not answer.
    Launch,
    /// The tasks of daemons that had come: what they came by has ended.
    Lost,
    /// A task, or nothing, in a pool that heals: a daemon of it has died.
    Died,
    /// The tasks of a pool that does not heal any more.
    GivenUp,
    /// Nothing yet: daemons on other machines have not come so far.
    Elsewhere,
    /// Tasks that wait while nobody will serve them.
    Unserved,
    /// Nobody: `everywhere()` has failed. R knows what.
    Everywhere,
}

/// Number of these.
const FORS: usize = 11;

impl For {
    /// In the order in which R is told: what is to be done comes before what is only said, as who is warned may leave by a jump.
    const ALL: [(For, &str); FORS] = [
        (For::Relaunch, "relaunch"),
        (For::Replaced, "replaced"),
        (For::Pool, "pool"),
        (For::Task, "task"),
        (For::Launch, "launch"),
        (For::Lost, "lost"),
        (For::Died, "died"),
        (For::GivenUp, "given-up"),
        (For::Elsewhere, "elsewhere"),
        (For::Unserved, "unserved"),
        (For::Everywhere, "everywhere"),
    ];

    /// The limit of texts. Keys of pools are kept in any number.
    fn most(self) -> usize {
        match self {
            For::Relaunch | For::Replaced => usize::MAX,
            _ => MOST_REASONS,
        }
    }
}

/// What R has not been told yet, by [`For`]. Locked by the launcher's threads as well, so R's thread never waits for
/// it: a forked child may find it locked for good.
static UNTOLD: Mutex<[Vec<Reason>; FORS]> = Mutex::new([const { Vec::new() }; FORS]);

/// Others hold that lock for some instructions. Longer than this, in a forked child only.
const LOCKED_FOR: Duration = Duration::from_secs(1);

/// The process that has something untold; 0 for none.
static HAS_UNTOLD: AtomicU32 = AtomicU32::new(0);

/// Asks R's event loop for a turn in which to tell, once that is in use. On any thread.
static ASK_FOR_TURN: OnceLock<fn()> = OnceLock::new();

/// What is noted from here on is told in a turn of the event loop, too.
pub(crate) fn tell_in_turns(ask_for_turn: fn()) {
    let _ = ASK_FOR_TURN.set(ask_for_turn);
}

thread_local! {
    /// The R function that warns. As for the unresolved value.
    static WARN: Cell<Option<&'static Kept>> = const { Cell::new(None) };

    /// Whether R's event loop has called.
    static BY_MESSAGES: Cell<bool> = const { Cell::new(false) };
}

/// A daemon will not come, or not soon, and nobody waits for it by name.
pub(crate) fn note_untold(missed: For, text: &str, command: &str) {
    add(
        &mut UNTOLD.lock()[missed as usize],
        Reason::of_one(text, command),
        missed.most(),
    );
    ask_to_tell();
}

fn ask_to_tell() {
    HAS_UNTOLD.store(process::id(), Ordering::Release);
    if let Some(ask_for_turn) = ASK_FOR_TURN.get() {
        ask_for_turn();
    }
}

fn has_untold() -> bool {
    HAS_UNTOLD.load(Ordering::Acquire) != 0
}

/// Has R warn of what has not been told yet.
#[inline]
pub(crate) fn tell(scope: &Scope) -> Result<(), Jump> {
    if has_untold() {
        tell_now(scope)
    } else {
        Ok(())
    }
}

/// Runs `work`, a turn of the event loop. Nobody has called there: R is told by messages, which no setting makes an error.
pub(crate) fn in_turn<T>(work: impl FnOnce() -> T) -> T {
    let before = BY_MESSAGES.replace(true);
    let result = work();
    BY_MESSAGES.set(before);
    result
}

#[cold]
fn tell_now(scope: &Scope) -> Result<(), Jump> {
    if HAS_UNTOLD.swap(0, Ordering::Acquire) != process::id() {
        return Ok(());
    }
    let Some(mut untold) = UNTOLD
        .try_lock()
        .map(|mut untold| std::mem::take(&mut *untold))
    else {
        HAS_UNTOLD.store(process::id(), Ordering::Release);
        return Ok(());
    };
    let deaths = &mut untold[For::Died as usize];
    if deaths.len() > 1 {
        *deaths = vec![together(deaths)];
    }
    tell_each(scope, untold)
}

fn tell_each(scope: &Scope, mut untold: [Vec<Reason>; FORS]) -> Result<(), Jump> {
    for (missed, word) in For::ALL {
        while !untold[missed as usize].is_empty() {
            let reason = untold[missed as usize].remove(0);
            if let Err(jump) = warn(scope, word, &reason) {
                put_back(untold);
                return Err(jump);
            }
        }
    }
    Ok(())
}

/// Entry: has R launch what pools lack that heal by R code, and leaves untold what is only to be said: who just looks, again and
/// again, whether a task is done is not to wait for one that nobody will do, nor to be warned in the midst of something else.
pub(crate) fn launch_lacking<'r>(scope: &'r Scope) -> Result<Sexp<'r>, Failure> {
    // In this order: whoever polls is not to ask the system for the process each time.
    if has_untold()
        && HAS_UNTOLD.load(Ordering::Acquire) == process::id()
        && let Some(mut untold) = UNTOLD.try_lock()
    {
        let mut due = [const { Vec::new() }; FORS];
        due[For::Relaunch as usize] = std::mem::take(&mut untold[For::Relaunch as usize]);
        drop(untold);
        tell_each(scope, due)?;
    }
    Ok(scope.null())
}

/// Whoever was told has left by a jump: the rest is told the next time, before what has come meanwhile.
fn put_back(mut untold: [Vec<Reason>; FORS]) {
    if untold.iter().all(Vec::is_empty) {
        return;
    }
    let Some(mut later) = UNTOLD.try_lock_for(LOCKED_FOR) else {
        // Not in this process: it has forked meanwhile.
        return;
    };
    for (missed, _) in For::ALL {
        let reasons = &mut untold[missed as usize];
        for reason in later[missed as usize].drain(..) {
            add(reasons, reason, missed.most());
        }
    }
    *later = untold;
    drop(later);
    ask_to_tell();
}

fn warn(scope: &Scope, missed: &str, reason: &Reason) -> Result<(), Jump> {
    if let Some(function) = WARN.get() {
        let arguments = [
            scope.string(missed)?,
            scope.integer(reason.count.try_into().unwrap_or(i32::MAX))?,
            scope.string(&reason.text)?,
            scope.string(&reason.command)?,
            scope.logical(BY_MESSAGES.get())?,
        ];
        scope.call(function.get(), &arguments)?;
    }
    Ok(())
}

/// For how long tasks wait before users are told that nobody will serve them: where daemons are started by this session, and
/// where they come from elsewhere.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_ELSEWHERE: Duration = Duration::from_secs(10);

/// Has users told of tasks that nobody will serve: where daemons are started by this session each time that happens, else once.
/// `profile` is empty for the default one.
pub(crate) fn unserved_listener(is_local: bool, profile: String) -> UnservedListener {
    UnservedListener {
        patience: if is_local {
            PATIENCE
        } else {
            PATIENCE_ELSEWHERE
        },
        is_repeated: is_local,
        tell: Box::new(move |unserved| {
            let missed = if is_local {
                For::Unserved
            } else {
                For::Elsewhere
            };
            note_untold(missed, &unserved_text(&unserved, is_local, &profile), "");
        }),
    }
}

fn unserved_text(unserved: &Unserved, is_local: bool, profile: &str) -> String {
    let (of, argument) = match profile {
        "" => (String::new(), String::new()),
        profile => (
            format!(" of profile {profile:?}"),
            format!(".compute = {profile:?}"),
        ),
    };
    let tasks = match unserved.tasks {
        1 => format!("a task{of} waits"),
        many => format!("{many} tasks{of} wait"),
    };
    let mut text = if is_local {
        format!(
            "{tasks}, and no daemon is there or being started: launch_local({argument}) starts one."
        )
    } else if unserved.joined == 0 {
        format!("{tasks}, and no daemon has connected yet")
    } else {
        format!("{tasks}, and no daemon is connected any more")
    };
    if let Some(death) = &unserved.last_death {
        if !is_local {
            text += ".";
        }
        text += &format!(" The last death: {}", incident(death));
    }
    text
}

/// A death as users are told of it.
pub(crate) fn incident(death: &Death) -> String {
    let mut text = format!("daemon {}{} {}", death.id, death.whereabouts(), death.end());
    if let Some((task, _)) = death.task {
        text += &format!(", at task {task}");
    }
    text + &death.last_words()
}

/// Entry: from its first call on, `f(missed, count, reason, command, by_message)` warns of daemons that will not come.
pub(crate) fn set_absence_warning<'r>(scope: &'r Scope, f: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    if !f.is_function() {
        return Err(Failure::error("`f` must be a function"));
    }
    if WARN.get().is_some() {
        return Ok(scope.null());
    }
    let kept = Kept::new(scope, f)?;
    WARN.set(Some(Box::leak(Box::new(kept))));
    Ok(scope.null())
}
