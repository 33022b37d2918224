//! Makes work of the scheduler's effects.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_scheduler::{DaemonId, Effect, KillReason, Mode, RunId, Settled, TaskId};
use mirai_wire::{Payload, RunEnd, SETUP_RUN, ToDaemon};

use super::open::Open;
use super::table::Table;
use super::work::Work;
use crate::Outcome;
use crate::deaths::{Deaths, ProcessFate};
use crate::member::{Condemned, Member};
use crate::parts::Parts;
use crate::presence::Presence;
use crate::setups::SetUps;
use crate::task::SharedPart;
use crate::timer::Timer;

/// What a daemon's report carries besides the ids.
pub(crate) struct Report {
    pub end: RunEnd,
    /// How long the evaluation has taken.
    pub took: Duration,
    pub payload: Payload,
}

/// The scheduler never uses this run.
pub(super) const SETUP: RunId = RunId(SETUP_RUN);

/// Makes work of the scheduler's effects: what they touch of the state, while the scheduler has lent them out.
pub(super) struct Performer<'a> {
    pub(super) tasks: &'a mut Table<Open>,
    pub(super) members: &'a mut Table<Member>,
    pub(super) setups: &'a SetUps,
    pub(super) numbers: &'a mut BTreeMap<u32, DaemonId>,
    pub(super) deaths: &'a mut Deaths,
    pub(super) given_up: Option<&'a str>,
    pub(super) reports: u64,
    pub(super) grace: Duration,
    pub(super) mode: Mode,
    pub(super) work: &'a mut Work,
    pub(super) now: Instant,
    /// Of the event, until the task that it is about is settled.
    pub(super) report: Option<Report>,
    pub(super) loss: Loss,
    /// Where each daemon has one task: those that have their outcome without it.
    pub(super) given_up_tasks: Vec<TaskId>,
    /// Runs that were sent to nobody, as their task was never launched for.
    pub(super) passed_over: Vec<(DaemonId, RunId)>,
}

impl Performer<'_> {
    pub(super) fn perform(&mut self, timer: &Timer, effect: Effect) {
        match effect {
            Effect::Send {
                to,
                task,
                run,
                attempt,
                ..
            } => self.send(to, task, run, attempt),
            Effect::SetUp { daemon, setup } => {
                if let Some(member) = self.members.get_mut(daemon.index())
                    && let Some(parts) = self.setups.get(member.is_replacement, setup)
                {
                    self.work.rouse(member);
                    send(member, parts, SETUP, 1, None);
                    self.work.flush.push(Arc::clone(&member.links.data));
                }
            }
            Effect::Interrupt { daemon, run } => {
                if let Some(member) = self.members.get(daemon.index()) {
                    let control = &member.links.control;
                    control.queue(&ToDaemon::Cancel { run: run.0 }, Payload::new());
                    self.work.flush.push(Arc::clone(control));
                }
            }
            Effect::Kill { daemon, task, why } => self.kill(daemon, task, why),
            Effect::Forget { daemon } => self.forget(daemon),
            Effect::Settle { task, how } => self.settle(task, how),
            Effect::Release { task } => {
                self.work.released.extend(self.tasks.remove(task.index()));
            }
            Effect::ArmTimer { at } => timer.arm(at),
        }
    }

    pub(super) fn send(&mut self, to: DaemonId, task: TaskId, run: RunId, attempt: u32) {
        let (Some(member), Some(open)) = (
            self.members.get_mut(to.index()),
            self.tasks.get_mut(task.index()),
        ) else {
            return;
        };
        if open.is_given_up {
            match open.is_unlaunched {
                true => self.passed_over.push((to, run)),
                false => send_away(member, self.work),
            }
            return;
        }
        member.workload.begins(self.now);
        self.work.rouse(member);
        open.attempts = attempt;
        let word = member.offer(run);
        send(member, &open.parts, run, attempt, word);
        self.work.flush.push(Arc::clone(&member.links.data));
    }

    pub(super) fn kill(&mut self, daemon: DaemonId, task: TaskId, why: KillReason) {
        let Some(member) = self.members.get_mut(daemon.index()) else {
            return;
        };
        let open = self.tasks.get(task.index());
        self.deaths.note_kill(self.now);
        member.condemned = Some(Condemned {
            why,
            task: open.map(|open| (open.cell.number(), open.attempts)),
            activity: None,
        });
        self.work.end(member, |work| &mut work.killed);
    }

    /// What was sent to the daemon is settled right after this.
    pub(super) fn forget(&mut self, daemon: DaemonId) {
        let Some(member) = self.members.remove(daemon.index()) else {
            return;
        };
        self.numbers.remove(&member.number);
        let of_job = member.job().and_then(|job| self.deaths.job_end(job));
        let is_known = of_job.is_some();
        let fate = of_job.cloned().unwrap_or_else(|| ProcessFate {
            how: format!(
                "lost its connection, and did not return within {:?}",
                self.grace
            ),
            output: String::new(),
        });
        let death = member.death(None, false, Some(fate), self.now);
        self.loss = Loss::StayedAway(match is_known {
            true => death.to_string(),
            false => format!("its daemon {}", death.end()),
        });
        self.deaths.push(death.clone());
        let reports = self.reports;
        self.work.presence.push(Presence::Died { death, reports });
        self.work.forgotten.push(member);
    }

    pub(super) fn settle(&mut self, task: TaskId, how: Settled) {
        let Some(open) = self.tasks.get_mut(task.index()) else {
            return;
        };
        if self.mode == Mode::Single && is_giving_up(how) {
            open.is_given_up = true;
            self.given_up_tasks.push(task);
        }
        if let (Settled::Lost, Loss::StayedAway(_)) = (how, &self.loss)
            && let Some(death) = self.deaths.last()
        {
            death.task = Some((open.cell.number(), open.attempts));
        }
        let outcome = match (how, self.given_up) {
            (Settled::Abandoned, Some(reason)) => {
                Outcome::Lost(format!("no daemon is there: {reason}"))
            }
            _ => outcome(how, self.report.take(), &self.loss, open.attempts),
        };
        self.work.settle.push((Arc::clone(&open.cell), outcome));
    }
}

/// Whether a task with this outcome may still be under evaluation.
pub(super) fn is_giving_up(how: Settled) -> bool {
    match how {
        Settled::TimedOut | Settled::RanOut | Settled::Cancelled => true,
        Settled::Ended | Settled::Lost | Settled::Abandoned | Settled::Reset => false,
    }
}

/// There is no task for a daemon that was to have one, any more.
pub(super) fn send_away(member: &mut Member, work: &mut Work) {
    let control = &member.links.control;
    control.queue(&ToDaemon::Exit, Payload::new());
    work.flush.push(Arc::clone(control));
    stop(member, work);
}

/// It is no death. A process that was not launched from here is not killed: its connections end.
pub(super) fn stop(member: &mut Member, work: &mut Work) {
    member.is_dismissed = true;
    work.end(member, |work| &mut work.stopped);
}

/// Queues a task for a daemon, and first what of it is shared and new there.
pub(super) fn send(
    member: &mut Member,
    parts: &Parts,
    run: RunId,
    attempt: u32,
    word: Option<u16>,
) {
    let shared = parts.shared.as_ref().map(|SharedPart(part)| {
        if member.parts.insert(part.id) {
            let bytes = part.bytes.clone();
            member.queue(ToDaemon::Shared { id: part.id }, bytes);
        }
        part.id
    });
    let message = ToDaemon::Task {
        run: run.0,
        shared,
        flags: parts.flags,
        attempt,
        word,
    };
    member.queue(message, parts.body.clone());
}

/// How a daemon was lost.
pub(super) enum Loss {
    /// What is known of its death.
    Died(Option<String>),
    /// Its connection broke, and it has not returned; with what is known.
    StayedAway(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Died(Some(how)) | Loss::StayedAway(how) => f.write_str(how),
            Loss::Died(None) => f.write_str("its daemon died"),
        }
    }
}

pub(super) fn outcome(how: Settled, report: Option<Report>, loss: &Loss, attempts: u32) -> Outcome {
    match (how, report) {
        (
            Settled::Ended,
            Some(Report {
                end: RunEnd::Value,
                payload,
                ..
            }),
        ) => Outcome::Value(payload),
        (
            Settled::Ended,
            Some(Report {
                end: RunEnd::Failed,
                payload,
                ..
            }),
        ) => Outcome::Failed(payload),
        (
            Settled::Ended,
            Some(Report {
                end: RunEnd::Interrupted,
                ..
            }),
        ) => Outcome::Interrupted,
        (
            Settled::Ended,
            Some(Report {
                end: RunEnd::OutOfMemory,
                ..
            }),
        ) => Outcome::OutOfMemory,
        (Settled::TimedOut, _) => Outcome::TimedOut,
        (Settled::RanOut, _) => Outcome::RanTooLong,
        (Settled::Cancelled, _) => Outcome::Cancelled,
        (Settled::Lost | Settled::Ended, _) if attempts > 1 => Outcome::Lost(format!(
            "{loss}; so did those of {} before, at which it was tried",
            attempts - 1
        )),
        (Settled::Lost | Settled::Abandoned | Settled::Ended, _) => Outcome::Lost(loss.to_string()),
        (Settled::Reset, _) => Outcome::Reset,
    }
}
