use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_wire::{Frame, FromDaemon, LeaveReason, RunEnd, SETUP_RUN, ToDaemon};

use crate::control::Control;
use crate::current::Current;
use crate::limits::Limits;
use crate::session::{Channel, Next, Session};
use crate::{AutoExit, DaemonError, Evaluation, Evaluator, ExitReason, Interrupter, Options, Task};

/// Pause between attempts to reach a hub that does not listen yet: short beside the start of a session, long enough
/// to cost nothing.
const DIAL_PAUSE: Duration = Duration::from_millis(100);

/// Becomes a daemon of the hub at `options.address`, and returns when it leaves.
///
/// # Errors
/// [`DaemonError`], when the hub cannot be reached or does not take the daemon. Losing the hub later is no error.
pub fn run(
    options: &Options,
    evaluator: &mut dyn Evaluator,
    interrupter: Arc<dyn Interrupter>,
) -> Result<ExitReason, DaemonError> {
    let mut limits = Limits::new(options);
    let mut session = connect(options, &limits, options.asyncdial)?;
    loop {
        let Some(connected) = session else {
            return Ok(limits.reached_idle().map_or(ExitReason::Ended, Into::into));
        };
        match serve(connected, options, &mut limits, evaluator, &interrupter)? {
            End::Left(reason) => return Ok(reason.into()),
            End::HubGone if options.autoexit == AutoExit::No => {
                session = connect(options, &limits, true)?
            }
            End::HubGone => return Ok(ExitReason::Ended),
        }
    }
}

/// How the service of one hub ended.
enum End {
    /// The daemon leaves, and has said so.
    Left(LeaveReason),
    HubGone,
}

/// Connects; with `patiently`, tries until a hub is there. `None` when a limit was reached first.
fn connect(
    options: &Options,
    limits: &Limits,
    patiently: bool,
) -> Result<Option<Session>, DaemonError> {
    loop {
        match Session::open(&options.address, options.direct) {
            Ok(session) => return Ok(Some(session)),
            Err(DaemonError::Dial(error)) if patiently && error.is_absence() => {}
            // A hub that is just closing: its successor may listen at the same address.
            Err(DaemonError::Io(_)) if patiently => {}
            Err(error) => return Err(error),
        }
        if limits.reached_idle().is_some() {
            return Ok(None);
        }
        let pause = limits.deadline().map_or(DIAL_PAUSE, |deadline| {
            deadline
                .saturating_duration_since(Instant::now())
                .min(DIAL_PAUSE)
        });
        std::thread::sleep(pause);
    }
}

fn serve(
    session: Session,
    options: &Options,
    limits: &mut Limits,
    evaluator: &mut dyn Evaluator,
    interrupter: &Arc<dyn Interrupter>,
) -> Result<End, DaemonError> {
    let Session {
        mut data,
        control,
        settings,
    } = session;
    evaluator.welcome(&settings);
    let current = Arc::new(Current::default());
    let control = Control::start(
        control,
        &data.stream,
        Arc::clone(&current),
        Arc::clone(interrupter),
        options.autoexit,
    )?;
    let mut service = Service {
        data: &mut data,
        limits,
        evaluator,
        interrupter: &**interrupter,
        current: &current,
        lost_parts: Vec::new(),
    };
    let end = service.run();
    let was_told = control.finish(matches!(end, Ok(End::HubGone)));
    data.shutdown();
    match end {
        Ok(End::HubGone) if was_told => Ok(End::Left(LeaveReason::Told)),
        end => end,
    }
}

/// The service of one hub.
struct Service<'a> {
    data: &'a mut Channel,
    limits: &'a mut Limits,
    evaluator: &'a mut dyn Evaluator,
    interrupter: &'a dyn Interrupter,
    current: &'a Current,
    /// Parts for which there was no memory.
    lost_parts: Vec<u64>,
}

impl Service<'_> {
    fn run(&mut self) -> Result<End, DaemonError> {
        loop {
            if let Some(reason) = self.limits.reached_idle() {
                return Ok(self.leave(reason));
            }
            let Frame {
                message,
                payload,
                lost,
            } = match self.data.next(self.limits.deadline())? {
                Next::Message(frame) => frame,
                Next::Late => continue,
                Next::End => return Ok(End::HubGone),
            };
            match message {
                ToDaemon::Task { run, shared, flags } => {
                    let task = Task {
                        body: &payload,
                        part: shared,
                        flags,
                    };
                    let lost = lost || shared.is_some_and(|id| self.lost_parts.contains(&id));
                    let last = match self.evaluate(run, (!lost).then_some(task)) {
                        Ok(last) => last,
                        Err(_) => return Ok(End::HubGone),
                    };
                    if let Some(reason) = last {
                        return Ok(End::Left(reason));
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
                _ => return Err(DaemonError::OutOfTurn),
            }
        }
    }

    /// Evaluates a task and replies; the limit that was reached with it, if any. Without a task, there was no memory for
    /// it.
    fn evaluate(
        &mut self,
        run: u64,
        task: Option<Task<'_>>,
    ) -> std::io::Result<Option<LeaveReason>> {
        let mut evaluation = Evaluation {
            end: RunEnd::Interrupted,
            payload: Vec::new(),
        };
        if self.current.begin(run) {
            evaluation = match task {
                Some(task) => self.evaluator.evaluate(task),
                None => Evaluation {
                    end: RunEnd::OutOfMemory,
                    payload: Vec::new(),
                },
            };
            if self.current.end() {
                self.interrupter.settle();
            }
        }
        let last = if run == SETUP_RUN {
            self.limits.setup_ended();
            None
        } else {
            self.limits.task_ended()
        };
        let Evaluation { end, payload } = evaluation;
        let payload = if end == RunEnd::Interrupted {
            &[][..]
        } else {
            &payload
        };
        self.data
            .send(&FromDaemon::Ended { run, end, last }, payload)?;
        Ok(last)
    }

    fn leave(&mut self, reason: LeaveReason) -> End {
        // The hub may be gone by now: then there is nobody to tell.
        let _ = self.data.send(&FromDaemon::Leaving(reason), &[]);
        End::Left(reason)
    }
}
