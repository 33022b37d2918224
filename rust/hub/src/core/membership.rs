//! Daemons that come, report, leave and return.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_lanes::OutOfFiles;
use mirai_scheduler::{Event, Mode, RunId};
use mirai_wire::{Origin, Payload, Return, ReturnKey, ReturnTicket, RunEnd, ToDaemon};

use super::performer::{Report, SETUP, send_away};
use super::{Core, whole_millis};
use crate::accounts::Source;
use crate::callback::{Panicked, guarded};
use crate::claims::Offers;
use crate::member::{Links, Member, Seat};
use crate::options::BreakTimes;
use crate::presence::Presence;

/// Names that are kept of jobs whose daemons have come.
const MOST_JOBS: usize = 100_000;

impl Core {
    /// Takes a daemon in; its welcome goes out before any task. Where its connection `may_break`, it gets what it needs
    /// for a return; where it takes tasks `ahead` of their turn, and a queue has them, what it needs for that.
    pub(crate) fn join(&self, links: Links, may_break: bool, ahead: bool) -> Option<Seat> {
        let id = self.state.lock().scheduler.reserve_daemon();
        let Ok(settings) = self.next_settings() else {
            // Without its settings it would be another daemon than was asked for.
            self.state.lock().scheduler.give_back(id);
            return None;
        };
        let ticket = may_break.then(|| new_ticket(self.times));
        let ahead = ahead && self.mode == Mode::Queue && links.data.connection.passes();
        let (offers, passed) = ahead.then(|| Offers::new().ok()).flatten().unzip();
        let seat = self.with_state(|state, timer, work| {
            if state.is_closed {
                return None;
            }
            let number = state.welcome(work, &links, ticket, settings, passed);
            let ahead = offers.is_some();
            let is_replacement = links.is_replacement || state.replacements > 0;
            state.replacements = state.replacements.saturating_sub(1);
            work.presence.push(Presence::Joined {
                launched: links.is_launched,
                replaces: is_replacement,
            });
            let more_setups = match is_replacement {
                true => state.setups.count_for_replacements(),
                false => 0,
            };
            let mut member = Member::new(number, links, ticket, Instant::now());
            member.offers = offers;
            member.is_replacement = is_replacement;
            let seat = Seat {
                daemon: id,
                connection: member.connection,
            };
            state.members.insert(id.index(), member);
            state.numbers.insert(number, id);
            let joined = Event::DaemonJoined {
                daemon: id,
                ahead,
                more_setups,
            };
            state.handle(timer, work, joined, None);
            // Nobody would tell it to leave.
            if state.mode == Mode::Single
                && state.scheduler.daemon_task(id).is_none()
                && let Some(member) = state.members.get_mut(id.index())
            {
                send_away(member, work);
            }
            Some(seat)
        });
        self.note_change();
        seat
    }

    /// Takes in again a daemon whose connection broke, or is about to; `None` if there is no such daemon.
    pub(crate) fn come_back(&self, back: &Return, links: Links) -> Option<Seat> {
        let seat = self.with_state(|state, timer, work| {
            let daemon = *state.numbers.get(&back.daemon)?;
            let member = state.members.get_mut(daemon.index())?;
            let data = Arc::clone(&links.data);
            work.replaced.push(member.come_back(back, links)?);
            work.flush.push(data);
            let connection = member.connection;
            state.handle(timer, work, Event::DaemonReturned { daemon }, None);
            Some(Seat { daemon, connection })
        });
        self.note_change();
        seat
    }

    /// Settings for the daemon that joins next; `Err` if the function that makes them has panicked. One connection is
    /// served at a time, so between the two locks nobody misses the function, which runs under neither.
    fn next_settings(&self) -> Result<Payload, Panicked> {
        let nth = u64::from(self.state.lock().last_daemon);
        let Some(mut welcome) = self.welcome.lock().take() else {
            return Ok(Payload::new());
        };
        let settings = guarded("the function that welcomes daemons", || welcome(nth));
        *self.welcome.lock() = Some(welcome);
        settings
    }

    /// A daemon has reported on a run.
    pub(crate) fn ended(&self, seat: Seat, run: u64, last: bool, report: Report) {
        let Seat { daemon, .. } = seat;
        let bytes = report.payload.len();
        self.with_state(|state, timer, work| {
            let now = Instant::now();
            let is_there = state.scheduler.has_run(daemon, RunId(run));
            let Some(member) = state.seated(seat) else {
                return;
            };
            if member.note_report(Some(run), bytes, last) {
                work.flush.push(Arc::clone(&member.links.data));
            }
            if let Some(offers) = &mut member.offers {
                offers.note_report(run);
            }
            let run = RunId(run);
            if run == SETUP {
                let is_set_up = report.end == RunEnd::Value;
                member.workload.note_setup(is_set_up);
                if member.is_replacement && !is_set_up {
                    let id = member.number;
                    let reports = state.reports;
                    work.presence.push(Presence::NotSetUp { id, reports });
                }
                state.handle(timer, work, Event::SetUpEnded { daemon, last }, None);
                return;
            }
            if is_there {
                member.workload.ended(now);
            }
            let took = report.took;
            let event = Event::TaskEnded {
                daemon,
                run,
                took,
                last,
            };
            state.reports += 1;
            state.handle(timer, work, event, Some(report));
            if let Some(member) = state.members.get_mut(daemon.index())
                && state.scheduler.daemon_task(daemon).is_some()
            {
                member.workload.begins(now);
            }
        });
        if let Some(reactor) = self.reactor.upgrade() {
            reactor.note_served();
        }
    }

    /// A daemon of this process id cannot be taken in.
    pub(crate) fn turn_away(&self, pid: Option<u32>, full: OutOfFiles) {
        let pid = pid.map(|pid| (pid, full));
        self.state.lock().turned_away.extend(pid);
    }

    pub(crate) fn take_turned_away(&self, pid: u32) -> Option<OutOfFiles> {
        self.state.lock().turned_away.remove(&pid)
    }

    pub(crate) fn take_joined(&self, pid: u32) -> bool {
        self.state.lock().joined.remove(&pid)
    }

    pub(crate) fn has_joined(&self, pid: u32) -> bool {
        self.state.lock().joined.contains(&pid)
    }

    /// What a daemon that has died had to say, if it was not said already.
    pub(crate) fn unsaid(&self, seat: Seat) -> Vec<u8> {
        let mut state = self.state.lock();
        let member = state.seated(seat);
        let offers = member.and_then(|member| member.offers.as_ref());
        offers.map_or_else(Vec::new, Offers::unsaid)
    }

    pub(crate) fn may_return(&self, seat: Seat) -> bool {
        let mut state = self.state.lock();
        state.seated(seat).is_some_and(|member| member.may_return())
    }

    /// A daemon has told where it runs.
    pub(crate) fn note_origin(&self, seat: Seat, origin: Origin) {
        let mut state = self.state.lock();
        if !origin.job.is_empty() {
            // Its scheduler has begun the job again.
            state.deaths.forget_job_end(&origin.job);
            if state.jobs.len() < MOST_JOBS {
                state.jobs.insert(origin.job.clone());
            }
        }
        if let Some(member) = state.seated(seat) {
            member.origin = Some(Arc::new(origin));
        }
    }

    /// Whether a daemon has come by such a job, by its own words; `None` if none has told of any, or not all are known any more.
    pub(crate) fn has_come_by(&self, is_it: &dyn Fn(&str) -> bool) -> Option<bool> {
        let state = self.state.lock();
        let is_known = (1..MOST_JOBS).contains(&state.jobs.len());
        is_known.then(|| state.jobs.iter().any(|job| is_it(job)))
    }

    /// A daemon has said goodbye, perhaps as a signal has it end.
    pub(crate) fn leaving(&self, seat: Seat, quits: bool) {
        self.with_state(|state, timer, work| {
            let Some(member) = state.seated(seat) else {
                return;
            };
            member.quits = quits;
            if member.note_report(None, 0, true) {
                work.flush.push(Arc::clone(&member.links.data));
            }
            let daemon = seat.daemon;
            state.handle(timer, work, Event::DaemonLeaving { daemon }, None);
        });
    }

    /// A daemon is gone, unless it is there over another connection by now.
    pub(crate) fn lost(&self, seat: Seat) {
        self.with_state(|state, timer, work| {
            if state.seated(seat).is_some() {
                state.lose(timer, work, seat.daemon);
            }
        });
        self.note_change();
    }

    /// The connection of a daemon is broken. How long it may stay away; `None` if it is gone, or there over another
    /// connection.
    pub(crate) fn broke(&self, seat: Seat) -> Option<Duration> {
        let mut job = None;
        let grace = self.with_state(|state, timer, work| {
            let daemon = seat.daemon;
            let member = state.members.get_mut(daemon.index());
            let member = member.filter(|member| member.connection == seat.connection)?;
            let is_gone = |job: &str| state.deaths.job_is_gone(job);
            if !member.may_return() || member.job().is_some_and(is_gone) {
                state.lose(timer, work, daemon);
                return None;
            }
            member.is_away = true;
            job = member.job().map(str::to_owned);
            state.handle(timer, work, Event::DaemonSuspected { daemon }, None);
            Some(self.times.grace)
        });
        if let Some(job) = job {
            self.tell_of_silence(&job);
        }
        self.note_change();
        grace
    }

    /// Whether a daemon has nothing to do. Who asks is [roused](Links::roused) when that changes.
    pub(crate) fn rests(&self, seat: Seat) -> bool {
        let mut state = self.state.lock();
        let scheduler = &state.scheduler;
        let rests =
            scheduler.daemon_task(seat.daemon).is_none() && !scheduler.is_being_set_up(seat.daemon);
        if let Some(member) = state.seated(seat) {
            member.rests = rests;
        }
        rests
    }

    /// Whether a report on that run may come from a daemon.
    pub(crate) fn expects(&self, seat: Seat, run: u64) -> bool {
        let run = RunId(run);
        let mut state = self.state.lock();
        let is_there = run == SETUP || state.scheduler.has_run(seat.daemon, run);
        is_there && state.seated(seat).is_some()
    }

    /// Peers from there, or from anywhere, were not heard for so long: that is not held against the daemons that are away.
    pub(crate) fn hold_up(&self, source: Option<Source>, time: Duration) {
        let is_from_there = |member: &Member| {
            let peer = member.links.peer.map(Source::of);
            member.is_away && (source.is_none() || peer == source)
        };
        if self.state.lock().scheduler.counts().suspects == 0 {
            return;
        }
        self.with_state(|state, timer, work| {
            let members = state.numbers.values();
            let away = members.filter(|daemon| {
                let member = state.members.get(daemon.index());
                member.is_some_and(is_from_there)
            });
            let millis = whole_millis(time);
            for daemon in away.copied().collect::<Vec<_>>() {
                let event = Event::DaemonHeldUp { daemon, millis };
                state.handle(timer, work, event, None);
            }
        });
    }

    /// Has the daemon of this number leave. That it is gone is noticed as with any other; one that is away is refused when
    /// it returns.
    pub(crate) fn dismiss(&self, id: u32) {
        let links = self.with_state(|state, timer, work| {
            let daemon = *state.numbers.get(&id)?;
            let member = state.members.get_mut(daemon.index())?;
            member.is_dismissed = true;
            if !member.is_away {
                return Some(member.links.clone());
            }
            state.lose(timer, work, daemon);
            None
        });
        match links {
            Some(links) => links.end(&ToDaemon::Exit),
            None => self.note_change(),
        }
    }
}

/// Without random numbers there is no return: a broken connection is the end.
fn new_ticket(times: BreakTimes) -> ReturnTicket {
    let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let grace = millis(times.grace);
    let mut key = [0; 16];
    let may_return = getrandom::fill(&mut key).is_ok();
    ReturnTicket {
        key: ReturnKey(key),
        grace: if may_return { grace } else { 0 },
        silence: millis(times.silence),
    }
}
