//! The worker loop: one hub after the other, and the tasks of each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_lanes::{Alarm, Dialled, HostWatch, SharedWords, end_forked_copy};
use mirai_wire::{Frame, FromDaemon, LeaveReason, Payload, RunEnd, SETUP_RUN, ToDaemon, claim};

use crate::clock::{Clock, SystemClock};
use crate::connect::{Patience, connect};
use crate::connections::Connections;
use crate::control::{Control, Prepared, Watcher};
use crate::current::Current;
use crate::data::Data;
use crate::limits::WorkerLimits;
use crate::options::LOOK;
use crate::outbox::Outbox;
use crate::session::{Membership, Next, Session};
use crate::{
    Absence, AutoExit, Evaluation, Evaluator, ExitReason, Interrupter, Task, WorkerError,
    WorkerOptions,
};

/// Becomes a daemon of the hub at `options.address`, and returns when it leaves.
///
/// # Errors
/// [`WorkerError`], when the hub cannot be reached or does not take the daemon. Losing the hub later is no error.
pub fn run_worker(
    options: &WorkerOptions,
    evaluator: &mut dyn Evaluator,
    interrupter: Arc<dyn Interrupter>,
) -> Result<ExitReason, WorkerError> {
    let clock = SystemClock;
    let mut limits = WorkerLimits::new(options, clock.now());
    let mut patience = match options.asyncdial {
        true => Patience::UntilHeard,
        false => Patience::None,
    };
    loop {
        let prepared = Prepared::new(&interrupter)?;
        let connected = match connect(options, &limits, evaluator, patience, &clock)? {
            Ok(session) => session,
            Err(reason) => return Ok(reason),
        };
        match run_session(
            connected,
            prepared,
            options,
            &mut limits,
            evaluator,
            &interrupter,
        )? {
            End::Left(reason) => return Ok(reason.into()),
            End::Interrupted => return Ok(ExitReason::Interrupted),
            End::HubGone if options.autoexit == AutoExit::No => {
                evaluator.hub_is_gone();
                patience = Patience::UntilTaken;
            }
            End::HubGone => return Ok(ExitReason::Ended),
        }
    }
}

/// How long a daemon that leaves by itself waits at most until its hub has received all that it sent.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// How long a process that was launched for a daemon may take to end once its daemon has left and its host is gone: what R runs at
/// its end may hang, and nobody is left then to notice.
const WAY_OUT: Duration = Duration::from_secs(5);

/// How the session with one hub ended.
enum End {
    /// The daemon leaves, and has told the hub.
    Left(LeaveReason),
    HubGone,
    /// Someone at this process wanted it to stop; the hub has been told.
    Interrupted,
}

fn run_session(
    session: Session,
    prepared: Prepared,
    options: &WorkerOptions,
    limits: &mut WorkerLimits,
    evaluator: &mut dyn Evaluator,
    interrupter: &Arc<dyn Interrupter>,
) -> Result<End, WorkerError> {
    let membership = session.membership;
    session.set_silence();
    let connections = Arc::new(Connections::new(Arc::clone(&session.control.connection)));
    let data_connection = Arc::clone(&session.data.connection);
    let words = session.words.map(Arc::new);
    let outbox = outbox(&words, &data_connection)?;
    let data = Data::new(
        session.data,
        &options.leave,
        Arc::clone(&connections),
        membership.is_some_and(|membership| membership.may_return()),
        outbox.clone(),
    );
    let mut data = Open(data);
    evaluator.welcome(&session.settings);
    let current = Arc::new(Current::default());
    let control = Control::start(
        prepared,
        Watcher {
            host: HostWatch::new(data_connection.host_pid())
                .with_alarm(outbox.as_ref().map(|outbox| outbox.alarm())),
            outbox,
            data: data_connection,
            channel: session.control,
            connections: Arc::clone(&connections),
            returning: membership.map(|membership| (membership, options.clone())),
            current: Arc::clone(&current),
            interrupter: Arc::clone(interrupter),
            autoexit: options.autoexit,
            told: Arc::default(),
            pause: Duration::ZERO,
        },
    );
    let mut service = Service {
        data: &mut data.0,
        limits,
        evaluator: &mut *evaluator,
        interrupter: &**interrupter,
        current: &current,
        options,
        clock: &SystemClock,
        process: std::process::id(),
        lost_parts: Vec::new(),
        words,
    };
    let end = service.run_tasks();
    deliver_last(&mut data.0, &end, membership, options);
    let hub_is_gone = matches!(end, Ok(End::HubGone));
    let (was_told, host) = control.finish(hub_is_gone);
    if options.launcher != 0 && options.autoexit == AutoExit::Yes {
        see_out(host, hub_is_gone && !was_told, interrupter);
    }
    tell_of_absences(connections.take_absences(), evaluator);
    match end {
        Ok(End::HubGone | End::Left(_)) if was_told => Ok(End::Left(LeaveReason::Told)),
        end => end,
    }
}

/// Has this process end soon after its host, whatever it does on its way out.
fn see_out(host: Option<HostWatch>, hub_is_gone: bool, interrupter: &Arc<dyn Interrupter>) {
    let interrupter = Arc::clone(interrupter);
    // Without a thread the process ends as R does.
    let _ = std::thread::Builder::new()
        .name("mirai-way-out".to_owned())
        .spawn(move || {
            interrupter.on_control_thread();
            if host.is_some_and(|host| host.wait_for_end()) || hub_is_gone {
                std::thread::sleep(WAY_OUT);
                interrupter.end_process();
            }
        });
}

fn tell_of_absences(absences: VecDeque<Absence>, evaluator: &mut dyn Evaluator) {
    absences
        .iter()
        .for_each(|absence| evaluator.was_away(absence));
}

/// A daemon that leaves by itself waits until its last report has arrived.
fn deliver_last(
    data: &mut Data,
    end: &Result<End, WorkerError>,
    membership: Option<Membership>,
    options: &WorkerOptions,
) {
    if let (Some(membership), Ok(End::Left(reason))) = (membership, end)
        && (*reason != LeaveReason::Told || options.leave.is_asked())
    {
        let grace = Duration::from_millis(membership.ticket.grace.into());
        data.deliver(SystemClock.now() + grace.min(DELIVERED_WITHIN));
    }
}

/// Where tasks come before their turn, reports on them are written together.
fn outbox(
    words: &Option<Arc<SharedWords>>,
    data: &Arc<dyn Dialled>,
) -> Result<Option<Arc<Outbox>>, WorkerError> {
    let Some(words) = words else {
        return Ok(None);
    };
    let alarm = Arc::new(Alarm::new()?);
    let outbox = Outbox::new(Arc::clone(data), alarm, Arc::clone(words));
    Ok(Some(Arc::new(outbox)))
}

/// The data connection, which ends with the service, also when the evaluator panics: then the hub learns from the end of
/// the stream that the task is lost, and sends no other.
struct Open(Data);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// A run that a panic leaves is over: else the control thread would end the process for it.
struct EndOfRun<'a>(&'a Current);

impl Drop for EndOfRun<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A session with one hub.
struct Service<'a> {
    data: &'a mut Data,
    limits: &'a mut WorkerLimits,
    evaluator: &'a mut dyn Evaluator,
    interrupter: &'a dyn Interrupter,
    current: &'a Current,
    options: &'a WorkerOptions,
    clock: &'a dyn Clock,
    /// Number of the process that this runs in.
    process: u32,
    /// Parts for which there was no memory.
    lost_parts: Vec<u64>,
    /// By which the hub knows which tasks have begun.
    words: Option<Arc<SharedWords>>,
}

impl Service<'_> {
    fn run_tasks(&mut self) -> Result<End, WorkerError> {
        loop {
            tell_of_absences(self.data.take_absences(), self.evaluator);
            let now = self.clock.now();
            if let Some(reason) = self.limits.reached_idle(now) {
                return Ok(self.leave(reason));
            }
            let next = self.data.next(self.deadline(now), self.clock)?;
            // Also where a task came: it has not been begun, so another daemon gets it.
            if self.options.leave.is_asked() {
                return Ok(self.leave(self.options.leave.reason()));
            }
            if self.options.attended && self.evaluator.wants_to_leave() {
                self.leave(LeaveReason::Told);
                return Ok(End::Interrupted);
            }
            let Frame {
                message,
                payload,
                lost,
            } = match next {
                Next::Message(frame) => frame,
                Next::Late => continue,
                Next::End => return Ok(End::HubGone),
            };
            match message {
                ToDaemon::Task {
                    run,
                    shared,
                    flags,
                    attempt,
                    word,
                } => {
                    if let Some(word) = word
                        && !self.claim(word, run)?
                    {
                        continue;
                    }
                    let task = Task {
                        body: &payload,
                        part: shared,
                        flags,
                        attempt,
                    };
                    if let Some(end) = self.run_task(run, task, lost) {
                        return Ok(end);
                    }
                    drop(payload);
                    self.evaluator.after(flags);
                }
                ToDaemon::Shared { id } if lost => self.lost_parts.push(id),
                ToDaemon::Shared { id } => self.evaluator.keep_part(id, payload),
                ToDaemon::Forget { id } => {
                    self.lost_parts.retain(|lost| *lost != id);
                    self.evaluator.forget_part(id);
                }
                _ => return Err(WorkerError::OutOfTurn),
            }
        }
    }

    /// Evaluates a task, unless it or its part was `lost` on the way, and reports on it; `Some` if that is the daemon's end.
    fn run_task(&mut self, run: u64, task: Task<'_>, lost: bool) -> Option<End> {
        let lost = lost || task.part.is_some_and(|id| self.lost_parts.contains(&id));
        match self.evaluate(run, (!lost).then_some(task)) {
            Ok(None) => None,
            Ok(Some(reason)) => Some(End::Left(reason)),
            Err(_) => Some(End::HubGone),
        }
    }

    /// Begins a run. False if the hub has taken it back, is gone, or has told the daemon to leave.
    fn claim(&self, word: u16, run: u64) -> Result<bool, WorkerError> {
        let words = self.words.as_ref().map_or(&[][..], |words| words.all());
        let word = words.get(usize::from(word)).ok_or(WorkerError::OutOfTurn)?;
        Ok(!self.data.is_over() && claim::begin(word, run))
    }

    /// Until when to wait for a message.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        let look = self.options.attended.then(|| now + LOOK);
        [self.limits.deadline(), look].into_iter().flatten().min()
    }

    /// Evaluates a task and replies. Returns the limit that was reached with it, if any. `None` for a task stands for
    /// one that there was no memory for.
    fn evaluate(
        &mut self,
        run: u64,
        task: Option<Task<'_>>,
    ) -> std::io::Result<Option<LeaveReason>> {
        let mut evaluation = Evaluation {
            end: RunEnd::Interrupted,
            payload: Payload::new(),
        };
        let begun = self.clock.now();
        if self.current.begin(run) {
            let unwinding = EndOfRun(self.current);
            evaluation = match task {
                Some(task) => {
                    let evaluation = self.evaluator.evaluate(task);
                    // The task may have come back twice: in a copy, too, that it has forked.
                    end_forked_copy(self.process);
                    evaluation
                }
                None => Evaluation {
                    end: RunEnd::OutOfMemory,
                    payload: Payload::new(),
                },
            };
            std::mem::forget(unwinding);
            if self.current.end() {
                self.interrupter.clear_interrupt();
            }
        }
        let now = self.clock.now();
        let last = if run == SETUP_RUN {
            self.limits.setup_ended(now);
            None
        } else {
            self.limits.task_ended(now)
        };
        let took = now.saturating_duration_since(begun).as_micros();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        let Evaluation { end, payload } = evaluation;
        let payload = match end {
            RunEnd::Interrupted => Payload::new(),
            _ => payload,
        };
        let ended = FromDaemon::Ended {
            run,
            end,
            took,
            last,
        };
        match last {
            None => self.data.report(ended, payload, now)?,
            Some(_) => self.data.send(ended, payload)?,
        }
        Ok(last)
    }

    fn leave(&mut self, reason: LeaveReason) -> End {
        // The hub may be gone by now: then there is nobody to tell.
        let _ = self.data.send(FromDaemon::Leaving(reason), Payload::new());
        End::Left(reason)
    }
}

#[cfg(test)]
mod tests;
