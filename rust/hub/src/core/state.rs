//! What the lock of the core guards: the scheduler and the tables that belong to its ids.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mirai_lanes::{OutOfFiles, Passed};
use mirai_scheduler::{DaemonId, Event, Mode, Scheduler, TaskId};
use mirai_wire::{Payload, ReturnTicket, ToDaemon};

use super::open::Open;
use super::performer::{Loss, Performer, Report, stop};
use super::table::Table;
use super::work::Work;
use crate::MemoryReturn;
use crate::cell::Cell;
use crate::deaths::{Death, Deaths};
use crate::member::{Links, Member, Seat};
use crate::parts::Parts;
use crate::presence::{Presence, PresenceListener};
use crate::setups::{Added, SetUps};
use crate::timer::Timer;
use crate::unserved::Service;

pub(super) struct State {
    pub(super) scheduler: Scheduler,
    /// Open tasks by slot of their id.
    pub(super) tasks: Table<Open>,
    /// Connected daemons by slot of their id.
    pub(super) members: Table<Member>,
    /// Ids of these by the numbers they have for users, which rise as they join and never come again.
    pub(super) numbers: BTreeMap<u32, DaemonId>,
    /// What daemons evaluate before their first task.
    pub(super) setups: SetUps,
    /// How many that join are taken for replacements, whoever they are.
    pub(super) replacements: u64,
    pub(super) last_daemon: u32,
    /// Processes that have joined and not been [asked for](Core::take_joined) since.
    pub(super) joined: HashSet<u32>,
    /// Likewise those that were turned away for want of descriptors.
    pub(super) turned_away: HashMap<u32, OutOfFiles>,
    pub(super) deaths: Deaths,
    /// Of schedulers, by which daemons have come.
    pub(super) jobs: HashSet<String>,
    /// Number of reports received.
    pub(super) reports: u64,
    /// Why no daemon will come any more.
    pub(super) given_up: Option<String>,
    /// When daemons are replaced again, if as many were launched as may be for now.
    pub(super) heals_again: Option<SystemTime>,
    pub(super) service: Service,
    /// Whether the listener is to be told when tasks wait.
    pub(super) asks_for_waiting: bool,
    /// Told of what happens to daemons, once this is unlocked.
    pub(super) listener: Option<PresenceListener>,
    pub(super) changes: u64,
    pub(super) is_closed: bool,
    pub(super) mode: Mode,
    /// How long a daemon whose connection broke may stay away.
    pub(super) grace: Duration,
    /// How long one may take to stop.
    pub(super) kill_after: Option<Duration>,
}

impl State {
    /// Whether a wait for nothing has begun.
    pub(super) fn note_service(&mut self) -> bool {
        let waiting = self.scheduler.counts().awaiting;
        !self.is_closed
            && self
                .service
                .note(Instant::now, self.scheduler.members(), waiting)
    }

    pub(super) fn note_waiting(&mut self, work: &mut Work) {
        if !self.asks_for_waiting {
            return;
        }
        let tasks = self.scheduler.counts().awaiting;
        if tasks > 0 {
            self.asks_for_waiting = false;
            let reports = self.reports;
            work.presence.push(Presence::Waiting { tasks, reports });
        }
    }

    /// The daemon, if this is the connection that it has now.
    pub(super) fn seated(&mut self, seat: Seat) -> Option<&mut Member> {
        let member = self.members.get_mut(seat.daemon.index())?;
        (member.connection == seat.connection).then_some(member)
    }

    /// Keeps a set-up for daemons that take the place of others; its number, if it is kept.
    pub(super) fn keep_for_replacements(&mut self, work: &mut Work, parts: Parts) -> Option<u64> {
        match self.setups.add_for_replacements(parts) {
            Added::Kept(number) => return Some(number),
            Added::TooMuch => work.presence.push(Presence::TooMuchToReplay),
            Added::NotKept => {}
        }
        None
    }

    pub(super) fn lose(&mut self, timer: &Timer, work: &mut Work, daemon: DaemonId) {
        let mut death = self.death(daemon);
        let task = self.scheduler.daemon_task(daemon);
        let loss = Loss::Died(death.as_ref().map(Death::to_string));
        self.handle_loss(timer, work, Event::DaemonLost { daemon }, None, loss);
        if let Some(member) = self.members.remove(daemon.index()) {
            self.numbers.remove(&member.number);
        }
        let open = task.and_then(|(task, _)| self.tasks.get(task.index()));
        let still_open = open.map(|open| open.cell.number());
        if let Some(death) = &mut death {
            death.is_retried =
                still_open.is_some() && still_open == death.task.map(|(task, _)| task);
        }
        let presence = match death {
            Some(death) => {
                self.deaths.push(death.clone());
                let reports = self.reports;
                Presence::Died { death, reports }
            }
            None => Presence::Left,
        };
        work.presence.push(presence);
    }

    /// The death of a daemon, unless it was to leave.
    pub(super) fn death(&mut self, daemon: DaemonId) -> Option<Death> {
        let member = self.members.get(daemon.index())?;
        let fate = member.links.pid.and_then(|pid| self.deaths.take_end(pid));
        let fate = fate.or_else(|| self.deaths.job_end(member.job()?).cloned());
        if self.scheduler.is_leaving(daemon) {
            let now = Instant::now();
            return member.quits.then(|| member.quitting(now));
        }
        if let Some(death) = member.killing(self.kill_after, fate.as_ref(), Instant::now()) {
            return Some(death);
        }
        if member.is_dismissed {
            return None;
        }
        let task = self.scheduler.daemon_task(daemon);
        let begun = task.filter(|(_, run)| member.has_begun(*run));
        let open = begun.and_then(|(task, _)| self.tasks.get(task.index()));
        let task = open.map(|open| (open.cell.number(), open.attempts));
        let in_set_up = self.scheduler.is_being_set_up(daemon);
        Some(member.death(task, in_set_up, fate, Instant::now()))
    }

    pub(super) fn open(
        &mut self,
        id: TaskId,
        parts: Parts,
        memory_return: Option<&'static MemoryReturn>,
    ) -> Arc<Cell> {
        let cell = Cell::new(id, memory_return);
        let open = Open {
            cell: Arc::clone(&cell),
            parts,
            attempts: 0,
            is_given_up: false,
            is_unlaunched: false,
        };
        self.tasks.insert(id.index(), open);
        cell
    }

    /// Gives a daemon its number, and tells it.
    pub(super) fn welcome(
        &mut self,
        work: &mut Work,
        links: &Links,
        ticket: Option<ReturnTicket>,
        settings: Payload,
        passed: Option<Passed>,
    ) -> u32 {
        self.service.joined(links.is_launched);
        self.last_daemon += 1;
        self.joined.extend(links.pid);
        let welcome = ToDaemon::Welcome {
            daemon: self.last_daemon,
            ticket,
            ahead: passed.is_some(),
        };
        links.data.queue_passing(&welcome, settings, passed);
        work.flush.push(Arc::clone(&links.data));
        self.last_daemon
    }

    /// Tells the scheduler, and turns its effects into work.
    pub(super) fn handle(
        &mut self,
        timer: &Timer,
        work: &mut Work,
        event: Event,
        report: Option<Report>,
    ) {
        self.handle_loss(timer, work, event, report, Loss::Died(None));
    }

    /// The same for an event by which tasks may be lost.
    pub(super) fn handle_loss(
        &mut self,
        timer: &Timer,
        work: &mut Work,
        event: Event,
        report: Option<Report>,
        loss: Loss,
    ) {
        let now = Instant::now();
        let effects = self
            .scheduler
            .handle(timer.tick(now), event, &mut self.members);
        let mut performer = Performer {
            tasks: &mut self.tasks,
            members: &mut self.members,
            setups: &self.setups,
            numbers: &mut self.numbers,
            deaths: &mut self.deaths,
            given_up: self.given_up.as_deref(),
            reports: self.reports,
            grace: self.grace,
            mode: self.mode,
            work,
            now,
            report,
            loss,
            given_up_tasks: Vec::new(),
            passed_over: Vec::new(),
        };
        for effect in effects {
            performer.perform(timer, effect);
        }
        let (given_up_tasks, passed_over) = (performer.given_up_tasks, performer.passed_over);
        self.tasks.shrink(self.scheduler.task_slots());
        for task in given_up_tasks {
            self.stop_daemon_at(work, task);
        }
        for (daemon, run) in passed_over {
            let (took, last) = (Duration::ZERO, false);
            let event = Event::TaskEnded {
                daemon,
                run,
                took,
                last,
            };
            self.handle(timer, work, event, None);
        }
    }

    /// Nobody waits for the only task that a daemon will have: it is interrupted, upon which it leaves, or is killed. One that is yet
    /// to come is [sent away](send_away).
    pub(super) fn stop_daemon_at(&mut self, work: &mut Work, task: TaskId) {
        let at_it = |daemon: &DaemonId| {
            let (at, run) = self.scheduler.daemon_task(*daemon)?;
            (at == task).then_some((daemon.index(), run))
        };
        let Some((daemon, run)) = self.numbers.values().find_map(at_it) else {
            return;
        };
        let Some(member) = self.members.get_mut(daemon) else {
            return;
        };
        // In this order, as it is to know that it was told to leave when the interrupt has it do so: then it ends what its task has
        // started, as when it is killed.
        let control = &member.links.control;
        control.queue(&ToDaemon::Exit, Payload::new());
        control.queue(&ToDaemon::Cancel { run: run.0 }, Payload::new());
        work.flush.push(Arc::clone(control));
        stop(member, work);
    }
}
