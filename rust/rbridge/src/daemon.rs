//! The daemon's side: evaluates tasks by R functions, and can be interrupted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mirai_hub::{ErrorCode, LaneError};
use mirai_launcher::{note_memory, note_quitting, shorten_discarded_output, take_known_by};
use mirai_worker::{
    Absence, Address, AutoExit, Evaluation, Evaluator, ExitReason, Interrupter, LeaveHandle,
    Payload, RunEnd, Task, TaskFlags, WorkerError, WorkerOptions, end_this_process,
    end_what_is_left_behind, run_worker,
};
use parking_lot::Mutex;

use crate::access::credentials;
use crate::launch::adopt_stdio;
use crate::part;
use crate::payload::{decode_settings, decode_task, encode_result, object_of_task};
use crate::pure::PureCalls;
use crate::rapi::{Failure, Given, Jump, Kept, MAP, Preface, Scope, Sexp};
use crate::rng::Seed;
use crate::sys::{
    Interruptible, block_signals, enter_kernel, is_in_foreground, signals, without_interrupts,
};

/// Entry: becomes a daemon of the hub at `url`, and returns the code of why it left. `autoexit` is 1 to leave with the
/// hub, 0 to stay, `NA` to finish the task first, also at SIGTERM. `idletime` and `walltime` in milliseconds, `maxtasks` a number, each
/// `Inf` for no limit. `attended`: someone may interrupt it while it is idle, even if this process is not in the foreground
/// of a terminal; then the code is negative. `tempdir` is removed when the process has to be ended amid a task. `handlers` is a list of ten R
/// functions, of which the fourth and the last two may be `NULL`:
///
/// - `welcome(stream, settings)`: a hub has taken the daemon; `stream` is a seed or `NULL`, `settings` what
///   [`hub_open`](crate::hub::hub_open) was given. Answers the snapshot to come back to after a task, or `NULL`.
/// - `evaluate(object, shared, flags, stream)`: the value, in a pool with hooks or a trace. Errors and interrupts leave it as jumps.
/// - `failed(failure)`: an error object for what R could not unserialize or serialize, or `NULL` for an interrupt. When R
///   has jumped, `failure` is the condition that the jump has carried, or `NULL`: then the caller of this entry has noted
///   why. Otherwise it is a message.
/// - `written()`: the value has been serialized.
/// - `after(flags, streamed)`: the reply has been sent; `streamed` says that the task had a stream of its own. Answers as `welcome` does.
/// - `look(snapshot)`: 0 if nothing is to be put back after a task. Then `after` is not called.
/// - `pure_call(shared)` and `are_names_of_base(functions, variables)`, of [`PureCalls`].
/// - `away(broke, ended, returned)`: the connection was broken from the one moment to the other, in seconds since 1970, when the daemon
///   had returned to its hub or had given up.
/// - `left()`: the hub is gone, and the daemon looks for the next one.
///
/// The caller runs this under handlers of its own for errors and interrupts, so that one outside of a task is not R's to
/// report: they are never reached, as jumps end here.
#[allow(clippy::too_many_arguments)]
pub(crate) fn daemon_run<'r>(
    scope: &'r Scope,
    url: Sexp<'r>,
    direct: Sexp<'r>,
    asyncdial: Sexp<'r>,
    autoexit: Sexp<'r>,
    idletime: Sexp<'r>,
    walltime: Sexp<'r>,
    maxtasks: Sexp<'r>,
    attended: Sexp<'r>,
    handlers: Sexp<'r>,
    tempdir: Sexp<'r>,
    tlscert: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let url = url.string(scope, "url")?;
    let autoexit = autoexit.number(scope, "autoexit")?;
    let address = Address::parse(&url).map_err(WorkerError::Dial)?;
    let options = WorkerOptions {
        credentials: credentials(scope, tlscert)?,
        direct: direct.flag(scope, "direct")?,
        asyncdial: asyncdial.flag(scope, "asyncdial")?,
        autoexit: match autoexit {
            code if code.is_nan() => AutoExit::Finish,
            0.0 => AutoExit::No,
            _ => AutoExit::Yes,
        },
        idletime: millis(idletime.number(scope, "idletime")?),
        walltime: millis(walltime.number(scope, "walltime")?),
        maxtasks: tasks(maxtasks.number(scope, "maxtasks")?),
        attended: attended.flag(scope, "attended")? || is_in_foreground(),
        launcher: take_known_by(),
        ..WorkerOptions::new(address)
    };
    leave_when_r_quits(&options.leave);
    // One that finishes its task when the host goes does so, too, when it is asked to go itself.
    let sigterm = match options.autoexit {
        AutoExit::Finish => signals::note_sigterm(),
        AutoExit::Yes | AutoExit::No => None,
    };
    let interrupter = Arc::new(RInterrupter {
        thread: Interruptible::this(),
        swallowed: AtomicBool::new(false),
        tempdir: tempdir.path(scope, "tempdir")?,
    });
    let mut evaluator = REvaluator::new(scope, handlers, Arc::clone(&interrupter))?;
    let reason = run_worker(&options, &mut evaluator, interrupter);
    drop(sigterm);
    // What an idle daemon has noted belongs to no task; as an error it would take the place of the code.
    signals::forget_errors();
    part::clear();
    let reason = reason?;
    drop(evaluator);
    // As when it is killed. What leaves at a limit of its own may have started something that is to stay.
    if reason == ExitReason::Ended && options.launcher != 0 {
        end_what_is_left_behind();
    }
    Ok(scope.integer(reason.code())?)
}

/// Number of the attempt at the task that is evaluated.
static ATTEMPT: AtomicU32 = AtomicU32::new(1);

/// Entry: the number of the attempt at the task that is evaluated, from 1; 1 outside of any.
pub(crate) fn task_attempt<'r>(scope: &'r Scope) -> Result<Sexp<'r>, Failure> {
    let attempt = ATTEMPT.load(Ordering::Relaxed);
    Ok(scope.integer(i32::try_from(attempt).unwrap_or(i32::MAX))?)
}

/// The daemon that this process is, or was last.
static DAEMON: Mutex<Option<LeaveHandle>> = Mutex::new(None);

/// An idle daemon waits for as long as it takes: a signal by which R quits has it leave, and R acts on it then.
fn leave_when_r_quits(daemon: &LeaveHandle) {
    let is_first = DAEMON.lock().replace(daemon.clone()).is_none();
    if is_first {
        signals::watch_quitting(|| {
            let daemon = DAEMON.lock().clone();
            match daemon {
                Some(daemon) if signals::quits_now() => daemon.ask_as_process_ends(),
                Some(daemon) => daemon.ask(),
                None => {}
            }
        });
    }
}

/// A limit in milliseconds; `None` for one that no clock reaches.
fn millis(limit: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(limit / 1000.0).ok()
}

fn tasks(limit: f64) -> Option<u64> {
    (limit < u64::MAX as f64).then_some(limit as u64)
}

/// How is found out whether a task has left anything.
enum Tidiness {
    /// Only by putting everything back.
    Unknown,
    /// Nobody minds what it leaves.
    Ignored,
    /// By this call.
    Looked(Kept),
}

/// After so many tasks it is looked whether the output that nobody sees has become long.
const BETWEEN_LOOKS: u64 = 64;

/// After a task of so long it is looked how much memory there is, and what it has changed: next to it that takes no time.
const LONG_TASK: Duration = Duration::from_millis(10);

/// Evaluates tasks by calling R functions. While no task is here, it holds nothing of R's but these and unserialized
/// parts.
struct REvaluator<'r> {
    scope: &'r Scope,
    welcome: Sexp<'r>,
    evaluate: Sexp<'r>,
    failed: Sexp<'r>,
    written: Option<Sexp<'r>>,
    after: Sexp<'r>,
    look: Sexp<'r>,
    pure: PureCalls<'r>,
    /// The task could do nothing but compute.
    was_pure: bool,
    away: Option<Sexp<'r>>,
    left: Option<Sexp<'r>>,
    preface: Preface,
    tidiness: Tidiness,
    /// Tasks are evaluated without R code around them.
    is_plain: bool,
    /// The task has a stream of its own.
    streamed: bool,
    /// An interrupt came before work that none is to leave, and since then no task.
    was_interrupted: bool,
    /// Tasks so far.
    done: u64,
    /// When the last one began.
    begun: Instant,
    interrupter: Arc<RInterrupter>,
}

impl<'r> REvaluator<'r> {
    fn new(
        scope: &'r Scope,
        handlers: Sexp<'r>,
        interrupter: Arc<RInterrupter>,
    ) -> Result<REvaluator<'r>, Failure> {
        let handlers: Vec<Sexp<'r>> = handlers.elements(scope, "handlers")?.collect();
        let &[
            welcome,
            evaluate,
            failed,
            written,
            after,
            look,
            call,
            base,
            away,
            left,
        ] = &handlers[..]
        else {
            return Err(Failure::error("`handlers` must be ten"));
        };
        if ![welcome, evaluate, failed, after, look, call, base]
            .iter()
            .all(|f| f.is_function())
        {
            return Err(Failure::error("`handlers` must be functions"));
        }
        let [written, away, left] =
            [written, away, left].map(|optional| Some(optional).filter(|f| f.is_function()));
        Ok(REvaluator {
            scope,
            welcome,
            evaluate,
            failed,
            written,
            after,
            look,
            pure: PureCalls::new(call, base),
            was_pure: false,
            away,
            left,
            preface: Preface::new(scope)?,
            tidiness: Tidiness::Unknown,
            is_plain: false,
            streamed: false,
            was_interrupted: false,
            done: 0,
            begun: Instant::now(),
            interrupter,
        })
    }

    fn attempt(&mut self, scope: &Scope, task: &Task<'_>) -> Result<Evaluation, Failure> {
        if let Some(value) = self.attempt_pure(scope, task)? {
            let payload = encode_result(scope, value, &self.preface)?;
            self.was_pure = true;
            return Ok(Evaluation {
                end: RunEnd::Value,
                payload: payload.into(),
            });
        }
        let (stream, object) = decode_task(scope, task.body)?;
        self.streamed = stream.is_some();
        let given = Given {
            object,
            shared: match task.part {
                Some(id) => part::object(scope, id)?,
                None => scope.null(),
            },
            flags: task.flags.0.into(),
        };
        let value = if self.is_plain {
            scope.evaluate_task(&given, stream.as_ref().map(|seed| &seed[..]))?
        } else {
            let stream = seed_or_null(scope, stream)?;
            let flags = scope.integer(given.flags)?;
            scope.call(self.evaluate, &[object, given.shared, flags, stream])?
        };
        let payload = encode_result(scope, value, &self.preface)?;
        if let Some(written) = self.written {
            scope.call(written, &[])?;
        }
        Ok(Evaluation {
            end: RunEnd::Value,
            payload: payload.into(),
        })
    }

    /// The value of a task that can do nothing but compute, not even draw random numbers from its stream.
    fn attempt_pure<'s>(
        &mut self,
        scope: &'s Scope,
        task: &Task<'_>,
    ) -> Result<Option<Sexp<'s>>, Failure> {
        self.was_pure = false;
        self.streamed = false;
        let is_element = self.is_plain && i32::from(task.flags.0) == MAP;
        if is_element
            && let Some(part) = task.part
            && let Some(element) = object_of_task(task.body)
            && let Some(value) = self.pure.evaluate(scope, part, element)?
        {
            return Ok(Some(value));
        }
        self.pure.disturb(is_element);
        Ok(None)
    }

    /// Runs R code between tasks, which an interrupt would leave in the middle. One that comes waits, for
    /// [`wants_to_leave`](Evaluator::wants_to_leave).
    fn uninterrupted<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.was_interrupted |= self.scope.inner().swallow_interrupts();
        without_interrupts(|| signals::held(|| work(self)))
    }

    /// Whether the task has left nothing. That its stream is over, and that something went along with it, is left to `after`.
    fn is_tidy(&self, scope: &Scope, flags: TaskFlags) -> Result<bool, Failure> {
        let has_nothing_beside = scope.forget_task()?;
        if self.streamed || !has_nothing_beside {
            return Ok(false);
        }
        match &self.tidiness {
            Tidiness::Ignored => Ok(true),
            Tidiness::Looked(call) if flags != TaskFlags::EVERYWHERE => Ok(scope.is_zero(call)?),
            _ => Ok(false),
        }
    }

    /// Puts back what the task has changed.
    fn put_back(&mut self, scope: &Scope, flags: TaskFlags) -> Result<(), Failure> {
        let streamed = std::mem::take(&mut self.streamed);
        let arguments = [scope.integer(flags.0.into())?, scope.logical(streamed)?];
        let snapshot = scope.call(self.after, &arguments)?;
        self.tidiness = self.look_for(scope, snapshot)?;
        Ok(())
    }

    fn look_for(&self, scope: &Scope, snapshot: Sexp<'_>) -> Result<Tidiness, Failure> {
        if snapshot.is_null() {
            return Ok(Tidiness::Ignored);
        }
        Ok(Tidiness::Looked(scope.call_of(self.look, snapshot)?))
    }

    /// The end of a task that has failed outside of `evaluate`: it cannot be read, its value cannot be serialized, or an
    /// interrupt came as `evaluate` was leaving.
    fn failure(&self, scope: &Scope, failure: Failure) -> Result<Evaluation, Failure> {
        let failure = match failure {
            Failure::Jump(jump) => jump.condition(scope)?,
            Failure::Error(message) | Failure::Coded(_, message) | Failure::Panic(message) => {
                scope.string(&message)?
            }
            Failure::Forked(what) => scope.string(what)?,
        };
        let error = scope.call(self.failed, &[failure])?;
        if error.is_null() {
            return Ok(interrupted());
        }
        let payload = encode_result(scope, error, &self.preface)?;
        Ok(Evaluation {
            end: RunEnd::Failed,
            payload: payload.into(),
        })
    }
}

impl Evaluator for REvaluator<'_> {
    fn welcome(&mut self, settings: &[u8]) {
        adopt_stdio();
        let scope = self.scope.inner();
        self.tidiness = Tidiness::Unknown;
        self.is_plain = false;
        self.pure.clear();
        let called = self.uninterrupted(|this| {
            let (seed, settings) = decode_settings(&scope, settings)?;
            let stream = seed_or_null(&scope, seed)?;
            let snapshot = scope.call(this.welcome, &[stream, settings])?;
            this.tidiness = this.look_for(&scope, snapshot)?;
            this.is_plain = scope.evaluates_plainly()?;
            Ok::<_, Failure>(())
        });
        if let Err(failure) = called {
            log::warn!("the daemon's handler `welcome` was left: {failure:?}");
        }
    }

    fn evaluate(&mut self, task: Task<'_>) -> Evaluation {
        let scope = self.scope.inner();
        signals::forget_errors();
        // Of a SIGINT that came while there was nothing to interrupt.
        let swallowed = scope.swallow_interrupts();
        self.was_interrupted = false;
        ATTEMPT.store(task.attempt, Ordering::Relaxed);
        self.begun = Instant::now();
        if swallowed | self.interrupter.swallowed.swap(false, Ordering::Relaxed) {
            // The caller has noted it as the reason of a failure that is none.
            if let Err(jump) = scope.call(self.failed, &[scope.null()]) {
                give_up("failed", jump.into());
            }
        }
        let evaluation = signals::in_task(|| {
            self.attempt(&scope, &task)
                .or_else(|failure| self.failure(&scope, failure))
        });
        let evaluation = evaluation.unwrap_or_else(|failure| {
            // Another jump on the way out of the first one.
            log::warn!("the end of a task could not be told: {failure:?}");
            interrupted()
        });
        if evaluation.end == RunEnd::Interrupted && signals::quits_now() {
            // R quits here, unless something of the user's prevents it.
            note_quitting(signals::quitting());
            if let Err(jump) = scope.deliver_signals() {
                jump.abandon();
            }
            note_quitting(None);
        }
        evaluation
    }

    fn after(&mut self, flags: TaskFlags) {
        ATTEMPT.store(1, Ordering::Relaxed);
        self.done = self.done.wrapping_add(1);
        if self.done.is_multiple_of(BETWEEN_LOOKS) {
            shorten_discarded_output();
        }
        if self.begun.elapsed() >= LONG_TASK {
            note_memory();
            self.pure.note_long();
        }
        if std::mem::take(&mut self.was_pure) {
            if !self.scope.has_collected() {
                return;
            }
            self.pure.doubt();
        }
        let is_tidy = {
            let scope = self.scope.inner();
            signals::held(|| self.is_tidy(&scope, flags))
        };
        match is_tidy {
            Ok(true) => return,
            Ok(false) => {}
            Err(failure) => give_up("look", failure),
        }
        // A time limit of the task's own, or a late interrupt, may stop it once.
        for _ in 0..3 {
            let scope = self.scope.inner();
            match signals::held(|| self.put_back(&scope, flags)) {
                Ok(()) => break,
                Err(failure) => give_up("after", failure),
            }
        }
    }

    fn keep_part(&mut self, id: u64, bytes: Payload) {
        part::insert(id, bytes);
    }

    fn forget_part(&mut self, id: u64) {
        part::remove(id);
        self.pure.forget(id);
    }

    fn was_away(&mut self, absence: &Absence) {
        let Some(away) = self.away else {
            return;
        };
        let scope = self.scope.inner();
        let told = || {
            let [broke, ended] = [absence.broke, absence.ended].map(seconds);
            let arguments = [
                scope.doubles(&[broke])?,
                scope.doubles(&[ended])?,
                scope.logical(absence.has_returned)?,
            ];
            scope.call(away, &arguments)
        };
        if let Err(jump) = self.uninterrupted(|_| told()) {
            give_up("away", jump.into());
        }
    }

    fn hub_is_gone(&mut self) {
        let Some(left) = self.left else { return };
        let told = self.uninterrupted(|this| this.scope.inner().call(left, &[]).map(drop));
        if let Err(jump) = told {
            give_up("left", jump.into());
        }
    }

    fn wants_to_leave(&mut self) -> bool {
        let was_interrupted = std::mem::take(&mut self.was_interrupted);
        self.scope.inner().swallow_interrupts() || was_interrupted
    }
}

fn seed_or_null(scope: &Scope, seed: Option<Seed>) -> Result<Sexp<'_>, Jump> {
    seed.map_or(Ok(scope.null()), |seed| scope.integers(&seed))
}

/// Since 1970.
fn seconds(moment: SystemTime) -> f64 {
    moment
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

fn interrupted() -> Evaluation {
    Evaluation {
        end: RunEnd::Interrupted,
        payload: Payload::new(),
    }
}

/// Gives up a jump out of a handler, and logs it.
fn give_up(handler: &str, failure: Failure) {
    if let Failure::Jump(jump) = failure {
        jump.abandon();
    }
    log::warn!("the daemon's handler `{handler}` was left by an error or an interrupt");
}

/// Interrupts R by the signal that Ctrl-C sends: `R_interrupts_pending` is R's alone to write.
struct RInterrupter {
    thread: Interruptible,
    /// An interrupt has been taken away since the last task.
    swallowed: AtomicBool,
    tempdir: PathBuf,
}

impl Interrupter for RInterrupter {
    fn interrupt(&self) {
        self.thread.interrupt();
    }

    fn clear_interrupt(&self) {
        if let Some(scope) = Scope::here() {
            // The signal has been sent, but perhaps not delivered: that happens on the way back from the kernel.
            enter_kernel();
            if scope.swallow_interrupts() {
                self.swallowed.store(true, Ordering::Relaxed);
            }
        }
    }

    fn on_control_thread(&self) {
        block_signals();
    }

    fn end_process(&self) {
        // A process that a signal ends leaves its folder behind.
        let _ = std::fs::remove_dir_all(&self.tempdir);
        end_this_process();
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Failure {
        match &error {
            WorkerError::Dial(LaneError::Os { url, .. }) if error.code() == ErrorCode::REFUSED => {
                Failure::coded_with(ErrorCode::REFUSED, &format!("no host listens at `{url}`"))
            }
            _ => Failure::coded_with(error.code(), &error),
        }
    }
}
