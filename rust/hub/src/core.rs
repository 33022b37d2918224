//! The core of a hub: carries the scheduler's decisions out.
//!
//! Who is in here at the same time: R's main thread (submits, cancels, asks, waits for room or for daemons), whichever thread
//! drives the reactor (reports, daemons that come and go, deadlines; see `reactor.rs`), threads of the launcher (a launch that
//! failed, by way of `HubHandle`), `mirai-close`, and any thread that drops the last handle of a shared part.
//!
//! *`Core::state`* guards the scheduler together with the tables that belong to its ids, so that an event, its effects and the
//! tables change as one. Effects are translated under it: frames are queued at a `Link`, and the rest becomes an entry in
//! `Work`. It is never held while bytes are written, callbacks run or payloads are freed: `Work::finish()` does that after it
//! is let go. A link's queue may be locked under it, and nothing else.
//!
//! *`Core::welcome`* guards the function that makes the settings of the next daemon. It is held only while the function is
//! taken out or put back, never while it runs, and never together with `state`.
//!
//! `presence` and `room` are waited for under `state` by threads that submit or start daemons, and signalled without it: `presence`
//! after a daemon has come or gone, `room` after the number of queued bytes may have fallen.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use mirai_lanes::{OutOfFiles, Passed};
use mirai_scheduler::{
    Claims, Counts, DaemonId, Effect, Event, KillReason, Memory, Mode, PartId, RunId, Scheduler,
    SchedulerOptions, Settled, TaskId, TaskOptions,
};
use mirai_wire::{Origin, Payload, Return, ReturnKey, ReturnTicket, RunEnd, SETUP_RUN, ToDaemon};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::accounts::Source;
use crate::activity::Activity;
use crate::callback::{Panicked, guarded};
use crate::cell::Cell;
use crate::claims::Offers;
use crate::deaths::{Death, Deaths, JobListener, ProcessFate};
use crate::link::Link;
use crate::member::{Condemned, Links, Member, Seat};
use crate::options::BreakTimes;
use crate::parts::Parts;
use crate::presence::{Presence, PresenceListener};
use crate::reactor::{Reactor, after, is_inside};
use crate::setups::{Added, ReplayLimit, SetUps};
use crate::task::{PartOwner, SharedPart};
use crate::timer::Timer;
use crate::unserved::{Service, Unserved, UnservedListener};
use crate::{MAX_EVALUATIONS, MemoryReturn, Outcome, SubmitError, Task, Welcome, Worker};

/// What the hub, its handles and the reactor's tasks share.
pub(crate) struct Core {
    /// See [`HubOptions::launcher`](crate::HubOptions::launcher).
    pub launcher: u64,
    memory_return: Option<&'static MemoryReturn>,
    state: Mutex<State>,
    /// Waited for under `state`; signalled without it, after a daemon has come or gone.
    presence: Condvar,
    /// Waited for under `state`; signalled without it, after queued bytes may have fallen.
    room: Condvar,
    welcome: Mutex<Option<Welcome>>,
    listener: Mutex<Option<PresenceListener>>,
    /// Daemons whose connections the hub's thread ends as it stops.
    leaving: Mutex<Table<Member>>,
    /// Weak, as the reactor's tasks own this.
    reactor: Weak<Reactor>,
    pub timer: Timer,
    pub stop: Notify,
    /// Told when it is known how a process has ended.
    end_told: Notify,
    /// Told when a daemon of a job has fallen silent.
    job_listeners: Mutex<Vec<Arc<JobListener>>>,
    /// Told when a wait for nothing begins.
    pub unserved_begins: Notify,
    pub mode: Mode,
    pub times: BreakTimes,
}

struct State {
    scheduler: Scheduler,
    /// Open tasks by slot of their id.
    tasks: Table<Open>,
    /// Connected daemons by slot of their id.
    members: Table<Member>,
    /// Ids of these by the numbers they have for users, which rise as they join and never come again.
    numbers: BTreeMap<u32, DaemonId>,
    /// What daemons evaluate before their first task.
    setups: SetUps,
    /// How many that join are taken for replacements, whoever they are.
    replacements: u64,
    last_daemon: u32,
    /// Processes that have joined and not been [asked for](Core::take_joined) since.
    joined: HashSet<u32>,
    /// Likewise those that were turned away for want of descriptors.
    turned_away: HashMap<u32, OutOfFiles>,
    deaths: Deaths,
    /// Number of reports received.
    reports: u64,
    /// Why no daemon will come any more.
    given_up: Option<String>,
    /// When daemons are replaced again, if as many were launched as may be for now.
    heals_again: Option<SystemTime>,
    service: Service,
    /// Whether the listener is to be told when tasks wait.
    asks_for_waiting: bool,
    changes: u64,
    is_closed: bool,
    mode: Mode,
    /// How long a daemon whose connection broke may stay away.
    grace: Duration,
    /// How long one may take to stop.
    kill_after: Option<Duration>,
}

struct Open {
    cell: Arc<Cell>,
    parts: Parts,
    /// How often a daemon has begun it, and not said goodbye before.
    attempts: u32,
    /// Whether it has its outcome, and not from a daemon, where each daemon has one task.
    is_given_up: bool,
    /// Whether no daemon was launched for it there.
    is_unlaunched: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.cell.note_freed(self.parts.body.len());
    }
}

/// Bytes a task takes besides its body: what is here, and about as much in the scheduler and around allocations.
const TASK_COST: u64 = 2 * (size_of::<Cell>() + size_of::<Open>() + size_of::<Payload>()) as u64;

/// How long to wait for what the launcher says of the end of a daemon that it has started: usually a millisecond, on a machine under
/// load some hundred.
const END_WITHIN: Duration = Duration::from_secs(1);

/// The scheduler never uses this run.
const SETUP: RunId = RunId(SETUP_RUN);

/// What there is for each slot of the scheduler's ids.
struct Table<T>(Vec<Option<T>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Table<T> {
    fn insert(&mut self, index: usize, value: T) {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(value);
    }

    fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index)?.as_ref()
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.0.get_mut(index)?.as_mut()
    }

    fn remove(&mut self, index: usize) -> Option<T> {
        self.0.get_mut(index)?.take()
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }

    /// Gives up most of what is above the slots that are in use.
    fn shrink(&mut self, slots: usize) {
        if self.0.len() > 2 * slots + SMALL {
            self.0.truncate(slots);
            self.0.shrink_to(slots + SMALL);
        }
    }
}

impl Claims for Table<Member> {
    fn take_back(&mut self, daemon: DaemonId, run: RunId) -> bool {
        let member = self.get_mut(daemon.index());
        let offers = member.and_then(|member| member.offers.as_mut());
        offers.is_some_and(|offers| offers.take_back(run.0))
    }
}

/// Tables with up to this many slots are not shrunk.
const SMALL: usize = 1 << 10;

/// What a daemon's report carries besides the ids.
pub(crate) struct Report {
    pub end: RunEnd,
    /// How long the evaluation has taken.
    pub took: Duration,
    pub payload: Payload,
}

/// What remains to be done once the state is unlocked.
#[derive(Default)]
struct Work {
    flush: Vec<Arc<Link>>,
    settle: Vec<(Arc<Cell>, Outcome)>,
    released: Vec<Open>,
    unused: Vec<Parts>,
    /// Daemons that have not returned.
    forgotten: Vec<Member>,
    /// Connections that others have taken the place of.
    replaced: Vec<Links>,
    /// Processes that are to be killed.
    killed: Vec<Links>,
    /// Processes that are to end.
    stopped: Vec<Links>,
    /// Numbers of daemons that are to be gone, whose processes are not to be killed.
    dismissed: Vec<u32>,
    /// For those who ask daemons that rested.
    roused: Vec<Arc<Notify>>,
    /// For the listener.
    presence: Vec<Presence>,
}

impl Work {
    /// A daemon has something to do.
    fn rouse(&mut self, member: &mut Member) {
        if std::mem::take(&mut member.rests) {
            self.roused.push(Arc::clone(&member.links.roused));
        }
    }

    /// Has a daemon end: in the way of that list if it was launched from here and its process is known, else by its connections.
    fn end(&mut self, member: &Member, processes: fn(&mut Work) -> &mut Vec<Links>) {
        if member.links.pid.is_some() && member.links.is_launched {
            processes(self).push(member.links.clone());
        } else {
            self.dismissed.push(member.number);
        }
    }

    fn finish(self) {
        // Before it is told: it may be past its goodbye right after.
        for links in self.stopped {
            links.stop.ask();
        }
        for link in self.flush {
            link.flush();
        }
        for roused in self.roused {
            roused.notify_one();
        }
        for (cell, outcome) in self.settle {
            cell.settle(outcome);
        }
        for links in self.killed {
            // Whoever watches the process does it.
            links.kill.notify_one();
        }
        for links in self.replaced {
            links.shutdown();
        }
        for member in &self.forgotten {
            member.links.shutdown();
        }
        // Dropped here, without the lock: the last user of a shared part takes it to tell the daemons.
        drop((self.released, self.unused, self.forgotten));
    }
}

impl Core {
    pub(crate) fn new(
        launcher: u64,
        mode: Mode,
        capacity: Option<u64>,
        welcome: Option<Welcome>,
        times: BreakTimes,
        memory_return: Option<&'static MemoryReturn>,
        reactor: Weak<Reactor>,
    ) -> Core {
        let state = State {
            scheduler: Scheduler::new(SchedulerOptions {
                mode,
                capacity,
                grace: whole_millis(times.grace),
                kill_after: times.kill_after.map(whole_millis),
            }),
            tasks: Table::default(),
            members: Table::default(),
            numbers: BTreeMap::new(),
            setups: SetUps::default(),
            replacements: 0,
            last_daemon: 0,
            joined: HashSet::new(),
            turned_away: HashMap::new(),
            deaths: Deaths::default(),
            reports: 0,
            given_up: None,
            heals_again: None,
            service: Service::default(),
            asks_for_waiting: false,
            changes: 0,
            is_closed: false,
            mode,
            grace: times.grace,
            kill_after: times.kill_after,
        };
        Core {
            launcher,
            state: Mutex::new(state),
            memory_return,
            presence: Condvar::new(),
            room: Condvar::new(),
            welcome: Mutex::new(welcome),
            listener: Mutex::new(None),
            leaving: Mutex::default(),
            reactor,
            timer: Timer::new(),
            stop: Notify::new(),
            end_told: Notify::new(),
            job_listeners: Mutex::default(),
            unserved_begins: Notify::new(),
            mode,
            times,
        }
    }

    /// Where this thread may wait for outcomes, attending to the connections meanwhile.
    pub(crate) fn reactor(&self) -> Option<Arc<Reactor>> {
        Reactor::admits_this_thread()
            .then(|| self.reactor.upgrade())
            .flatten()
    }

    /// Whether this thread runs the reactor, as in a callback, so that it must not wait for the end of it.
    pub(crate) fn is_run_here(&self) -> bool {
        is_inside(self.reactor.as_ptr())
    }

    /// Lets `change` act on the state, then does what follows from it.
    fn with_state<T>(&self, change: impl FnOnce(&mut State, &Timer, &mut Work) -> T) -> T {
        let mut work = Work::default();
        let (result, is_unserved) = {
            let mut state = self.state.lock();
            let result = change(&mut state, &self.timer, &mut work);
            state.note_waiting(&mut work);
            (result, state.note_service())
        };
        if is_unserved {
            self.unserved_begins.notify_one();
        }
        let has_forgotten = !work.forgotten.is_empty();
        let presence = std::mem::take(&mut work.presence);
        let dismissed = std::mem::take(&mut work.dismissed);
        self.room.notify_all();
        work.finish();
        self.tell_listener(presence);
        for number in dismissed {
            self.dismiss(number);
        }
        if has_forgotten {
            self.note_change();
        }
        result
    }

    fn tell_listener(&self, presence: Vec<Presence>) {
        if presence.is_empty() {
            return;
        }
        let listener = self.listener.lock().clone();
        if let Some(listener) = listener {
            for presence in presence {
                let _ = guarded("the listener to daemons", || listener(presence));
            }
        }
    }

    pub(crate) fn listen(&self, listener: PresenceListener) {
        *self.listener.lock() = Some(listener);
    }

    /// From now on what is evaluated everywhere is kept for replacements.
    pub(crate) fn keep_for_replacements(&self, limit: ReplayLimit) {
        self.state.lock().setups.set_limit(limit);
    }

    pub(crate) fn expect_replacements(&self, count: u64) {
        self.state.lock().replacements += count;
    }

    pub(crate) fn expect_fewer_replacements(&self, count: u64) {
        let mut state = self.state.lock();
        state.replacements = state.replacements.saturating_sub(count);
    }

    pub(crate) fn expects_replacements(&self) -> bool {
        self.state.lock().replacements > 0
    }

    pub(crate) fn tell_when_waiting(&self) {
        self.with_state(|state, _, _| state.asks_for_waiting = true);
    }

    /// No daemon will come any more, for this reason: what waits is lost while there is none.
    pub(crate) fn give_up(&self, reason: String) {
        self.with_state(|state, timer, work| {
            state.given_up = Some(reason);
            state.handle(timer, work, Event::NoDaemonsExpected, None);
        });
        self.note_change();
    }

    /// Why no daemon will come, if that is so.
    pub(crate) fn given_up(&self) -> Option<String> {
        self.state.lock().given_up.clone()
    }

    pub(crate) fn set_heals_again(&self, at: Option<SystemTime>) {
        self.state.lock().heals_again = at;
    }

    pub(crate) fn heals_again(&self) -> Option<SystemTime> {
        self.state.lock().heals_again
    }

    /// Daemons are launched again.
    pub(crate) fn expect_daemons(&self) {
        self.with_state(|state, timer, work| {
            if state.given_up.take().is_some() {
                state.handle(timer, work, Event::DaemonsExpected, None);
            }
        });
    }

    pub(crate) fn note_starting(&self, count: u64) {
        self.with_state(|state, _, _| state.service.starting += count);
    }

    pub(crate) fn note_not_starting(&self, count: u64) {
        self.with_state(|state, _, _| {
            state.service.starting = state.service.starting.saturating_sub(count);
        });
    }

    pub(crate) fn note_expected(&self, count: u64) {
        self.with_state(|state, _, _| state.service.expected += count);
    }

    pub(crate) fn note_not_expected(&self, count: u64) {
        self.with_state(|state, _, _| {
            state.service.expected = state.service.expected.saturating_sub(count);
        });
    }

    pub(crate) fn starting(&self) -> u64 {
        self.state.lock().service.pending()
    }

    /// Whether daemons are on their way: launched, or away for a while.
    pub(crate) fn awaits_daemons(&self) -> bool {
        let state = self.state.lock();
        state.service.pending() > 0 || state.scheduler.counts().suspects > 0
    }

    /// When it is to be told that tasks wait for nothing, if they do.
    pub(crate) fn unserved_due(&self, patience: Duration) -> Option<Instant> {
        self.state.lock().service.due(patience)
    }

    /// What is to be told of this now.
    pub(crate) fn take_unserved(&self, listener: &UnservedListener) -> Option<Unserved> {
        let mut state = self.state.lock();
        let due = state.service.due(listener.patience)?;
        if due > Instant::now() {
            return None;
        }
        state.service.tell(listener.is_repeated);
        let counts = state.scheduler.counts();
        Some(Unserved {
            tasks: counts.awaiting,
            joined: counts.cumulative,
            last_death: state.deaths.last().cloned(),
        })
    }

    pub(crate) fn submit(self: &Arc<Self>, task: Task) -> Result<Arc<Cell>, SubmitError> {
        self.with_state(|state, timer, work| {
            if state.is_closed {
                work.unused.push(task.into());
                return Err(SubmitError::Closed);
            }
            if !state.scheduler.admits() {
                return Err(SubmitError::Full(Box::new(task)));
            }
            Ok(self.take_in(state, timer, work, task))
        })
    }

    /// Takes tasks from the front until there is none left or the queue is at its capacity, and adds their cells.
    pub(crate) fn submit_many(
        self: &Arc<Self>,
        tasks: &mut VecDeque<Task>,
        mut opened: impl FnMut(Arc<Cell>),
    ) -> Result<(), SubmitError> {
        self.with_state(|state, timer, work| {
            if state.is_closed {
                return Err(SubmitError::Closed);
            }
            while state.scheduler.admits()
                && let Some(task) = tasks.pop_front()
            {
                opened(self.take_in(state, timer, work, task));
            }
            Ok(())
        })
    }

    fn take_in(&self, state: &mut State, timer: &Timer, work: &mut Work, task: Task) -> Arc<Cell> {
        let options = options_of(&task, self, &state.numbers);
        let id = state.scheduler.reserve();
        let cell = state.open(id, task.into(), self.memory_return);
        let event = Event::TaskSubmitted { task: id, options };
        state.handle(timer, work, event, None);
        cell
    }

    /// Without `min`, on the daemons that are connected now and on all that come later.
    pub(crate) fn everywhere(
        self: &Arc<Self>,
        task: Task,
        min: Option<u32>,
        is_kept: bool,
    ) -> Result<Vec<Arc<Cell>>, SubmitError> {
        let mut new = None;
        let cells: Vec<Arc<Cell>> = self.with_state(|state, timer, work| {
            let options = options_of(&task, Arc::as_ptr(self), &state.numbers);
            let parts = Parts::from(task);
            if state.is_closed {
                work.unused.push(parts);
                return Err(SubmitError::Closed);
            }
            let count = match min {
                Some(count) if count > MAX_EVALUATIONS => {
                    work.unused.push(parts);
                    return Err(SubmitError::TooMany { count });
                }
                Some(min) => {
                    if is_kept {
                        new = state.keep_for_replacements(work, parts.clone());
                    }
                    state.scheduler.everywhere_count(min)
                }
                None => {
                    state.setups.add(parts.clone());
                    state.handle(timer, work, Event::SetUpAdded, None);
                    state.scheduler.members()
                }
            };
            let ids: Vec<TaskId> = (0..count).map(|_| state.scheduler.reserve()).collect();
            let cells = ids
                .iter()
                .map(|id| state.open(*id, parts.clone(), self.memory_return))
                .collect();
            work.unused.push(parts);
            if count > 0 {
                let event = Event::EverywhereSubmitted {
                    tasks: ids,
                    options,
                };
                state.handle(timer, work, event, None);
            }
            Ok(cells)
        })?;
        if let Some(number) = new {
            self.note_whether_all_fail(&cells, number);
        }
        Ok(cells)
    }

    /// A set-up that has failed wherever it was evaluated is taken for one that has set up nothing, and is not replayed.
    fn note_whether_all_fail(self: &Arc<Self>, cells: &[Arc<Cell>], number: u64) {
        let open = Arc::new(AtomicUsize::new(cells.len()));
        for cell in cells {
            let (core, open) = (Arc::downgrade(self), Arc::clone(&open));
            let of = Arc::downgrade(cell);
            cell.watch(0, move || {
                let has_failed = (of.upgrade())
                    .is_some_and(|cell| matches!(cell.outcome(), Some(Outcome::Failed(_))));
                // That of one that has not is known at once.
                if has_failed && open.fetch_sub(1, Ordering::AcqRel) > 1 {
                    return;
                }
                if let Some(core) = core.upgrade() {
                    core.with_state(|state, _, work| {
                        let forgotten = state.setups.note_result(number, has_failed);
                        work.unused.extend(forgotten);
                    });
                }
            });
        }
    }

    pub(crate) fn cancel(&self, task: TaskId, force: bool) -> bool {
        self.with_state(|state, timer, work| {
            // Without a queue in between a daemon has tasks of others, so that the task runs on, and callers are told so.
            let is_cancellable = state.scheduler.is_cancellable(task);
            state.handle(timer, work, Event::CancelAsked { task, force }, None);
            let is_stopped =
                is_cancellable || (state.mode == Mode::Single && !work.settle.is_empty());
            is_stopped || !(work.killed.is_empty() && work.dismissed.is_empty())
        })
    }

    /// The daemon that a task was to have for itself could not be launched: those that come are for others.
    pub(crate) fn note_not_launched(&self, task: TaskId) {
        self.with_state(|state, timer, work| {
            let cancelled = Event::CancelAsked { task, force: false };
            state.handle(timer, work, cancelled, None);
            let open = state.tasks.get_mut(task.index());
            if let Some(open) = open.filter(|open| open.cell.key == task) {
                open.is_unlaunched = true;
            }
        });
    }

    /// Kills the daemon that works on the task of this number.
    pub(crate) fn force(&self, number: u64) -> bool {
        let task = {
            let state = self.state.lock();
            let at_work = |daemon: &DaemonId| {
                let (task, _) = state.scheduler.daemon_task(*daemon)?;
                let open = state.tasks.get(task.index())?;
                (open.cell.number() == number).then_some(task)
            };
            state.numbers.values().find_map(at_work)
        };
        task.is_some_and(|task| self.cancel(task, true))
    }

    pub(crate) fn timer_fired(&self) {
        self.with_state(|state, timer, work| state.handle(timer, work, Event::TimerFired, None));
    }

    /// A daemon that was launched for one task will never come.
    pub(crate) fn launch_failed(&self, reason: String) {
        self.with_state(|state, timer, work| {
            state.handle(timer, work, Event::LaunchFailed, None);
            for (_, outcome) in &mut work.settle {
                *outcome = Outcome::Lost(reason.clone());
            }
        });
        self.note_change();
    }

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

    /// The process of a daemon has ended, in this way.
    pub(crate) fn note_end(&self, pid: u32, fate: ProcessFate) {
        let mut state = self.state.lock();
        let is_there = state
            .members
            .values_mut()
            .any(|member| member.links.pid == Some(pid));
        state.deaths.note_end(pid, fate, is_there);
        drop(state);
        self.end_told.notify_waiters();
    }

    /// Waits until it is known how a process has ended, not for long.
    pub(crate) async fn end_told(&self, pid: u32) {
        let told = async {
            loop {
                let next = self.end_told.notified();
                if self.state.lock().deaths.has_end(pid) {
                    break;
                }
                next.await;
            }
        };
        // Nobody tells when the fork server has died as well.
        let _ = tokio::time::timeout(END_WITHIN, told).await;
    }

    /// A scheduler says how a job has ended. What of it is away is lost at once if it `is_gone` for sure, and otherwise returns or
    /// is lost later.
    pub(crate) fn note_job_end(&self, job: &str, fate: ProcessFate, is_gone: bool) {
        self.with_state(|state, timer, work| {
            state.deaths.note_job_end(job, fate, is_gone);
            let members = state.numbers.values();
            let is_lost = |daemon: &&DaemonId| {
                let member = state.members.get(daemon.index());
                member.is_some_and(|member| member.is_away && member.job() == Some(job))
            };
            let lost: Vec<DaemonId> = members.filter(is_lost).copied().collect();
            if is_gone {
                for daemon in lost {
                    state.lose(timer, work, daemon);
                }
            }
        });
        self.note_change();
    }

    pub(crate) fn listen_to_jobs(&self, listener: JobListener) {
        self.job_listeners.lock().push(Arc::new(listener));
    }

    /// The daemon's connection is broken: whoever follows its job asks how that is.
    fn tell_of_silence(&self, job: &str) {
        let listeners = self.job_listeners.lock().clone();
        for listener in listeners {
            if !listener(job) {
                let mut kept = self.job_listeners.lock();
                kept.retain(|other| !Arc::ptr_eq(other, &listener));
            }
        }
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

    pub(crate) fn deaths(&self) -> Vec<Death> {
        self.state.lock().deaths.all()
    }

    /// What a daemon was at as it was killed.
    pub(crate) fn note_activity(&self, seat: Seat, activity: Option<Activity>) {
        let mut state = self.state.lock();
        let member = state.members.get_mut(seat.daemon.index());
        if let Some(condemned) = member.and_then(|member| member.condemned.as_mut()) {
            condemned.activity = activity;
        }
    }

    /// A daemon has told where it runs.
    pub(crate) fn note_origin(&self, seat: Seat, origin: Origin) {
        let mut state = self.state.lock();
        if !origin.job.is_empty() {
            // Its scheduler has begun the job again.
            state.deaths.forget_job_end(&origin.job);
        }
        if let Some(member) = state.seated(seat) {
            member.origin = Some(Arc::new(origin));
        }
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

    pub(crate) fn share(self: &Arc<Self>, bytes: Payload) -> SharedPart {
        let part = self.state.lock().scheduler.add_part(bytes.len() as u64);
        let core = Arc::downgrade(self);
        SharedPart::new(bytes, part, core)
    }

    /// Settles everything and ends all connections; with `exit` the daemons are told to exit first. Connections that end without a
    /// last word are left to the hub's thread if that `is_at_work`: each end wakes a process, which may take this processor.
    pub(crate) fn close(&self, exit: bool, is_at_work: bool) {
        let mut members = self.with_state(|state, timer, work| {
            if state.is_closed {
                return Table::default();
            }
            state.is_closed = true;
            let ignored = state.scheduler.ignored();
            if ignored > 0 {
                log::debug!("{ignored} reports were of nothing that was there");
            }
            state.handle(timer, work, Event::Reset, None);
            work.unused.append(&mut state.setups.take());
            state.numbers.clear();
            std::mem::take(&mut state.members)
        });
        for member in members.values_mut() {
            if !is_at_work || member.ends_with_a_word(exit) {
                member.end(exit);
            }
        }
        if is_at_work {
            *self.leaving.lock() = members;
        }
        let listener = self.listener.lock().take();
        drop(listener);
        self.stop.notify_one();
        self.note_change();
    }

    /// Ends the connections that [`close`](Self::close) has left.
    pub(crate) fn end_leaving(&self) {
        let mut members = std::mem::take(&mut *self.leaving.lock());
        for member in members.values_mut() {
            member.links.shutdown();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
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

    /// See [`Deaths::take_kill`].
    pub(crate) fn take_kill(&self) -> bool {
        self.state.lock().deaths.take_kill(Instant::now())
    }

    pub(crate) fn note_change(&self) {
        self.state.lock().changes += 1;
        self.presence.notify_all();
    }

    /// Waits until daemons have come or gone since `seen`, at most for `slice`; gives the new state of the count.
    pub(crate) fn wait_change(&self, seen: u64, slice: Duration) -> u64 {
        let until = after(slice);
        let mut state = self.state.lock();
        while state.changes == seen && !self.presence.wait_until(&mut state, until).timed_out() {}
        state.changes
    }

    /// Waits until the queue admits a task, at most for `slice`; says whether it does, or the hub has closed.
    pub(crate) fn wait_admission(&self, slice: Duration) -> bool {
        let until = after(slice);
        let mut state = self.state.lock();
        while !state.scheduler.admits() && !state.is_closed {
            if self.room.wait_until(&mut state, until).timed_out() {
                return state.scheduler.admits();
            }
        }
        true
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().scheduler.counts()
    }

    pub(crate) fn memory(&self) -> Memory {
        self.state.lock().scheduler.memory()
    }

    pub(crate) fn has_worker(&self, id: u32) -> bool {
        self.state.lock().numbers.contains_key(&id)
    }

    pub(crate) fn workers(&self) -> Vec<Worker> {
        let now = Instant::now();
        let state = self.state.lock();
        let worker = |daemon: &DaemonId| {
            let member = state.members.get(daemon.index())?;
            let task = state.scheduler.daemon_task(*daemon);
            let open = task.and_then(|(task, _)| state.tasks.get(task.index()));
            let cell = open.map(|open| &*open.cell);
            let in_set_up = state.scheduler.is_being_set_up(*daemon);
            Some(member.describe(cell, in_set_up, now))
        };
        state.numbers.values().filter_map(worker).collect()
    }
}

impl PartOwner for Core {
    fn note_unused_part(&self, id: u64, part: PartId) {
        self.with_state(|state, _, work| {
            state.scheduler.drop_part(part);
            for member in state
                .members
                .values_mut()
                .filter_map(|member| member.parts.remove(&id).then_some(member))
            {
                member.queue(ToDaemon::Forget { id }, Payload::new());
                work.flush.push(Arc::clone(&member.links.data));
            }
        });
    }
}

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn options_of(task: &Task, core: *const Core, numbers: &BTreeMap<u32, DaemonId>) -> TaskOptions {
    // The clock is cut to whole milliseconds: one more, so that none resolves early.
    let timeout = task.timeout.map(|timeout| match whole_millis(timeout) {
        0 => 0,
        millis => millis.saturating_add(1),
    });
    let runtime = task.runtime.map(|time| whole_millis(time).max(1));
    TaskOptions {
        bytes: task.body.len() as u64 + TASK_COST,
        // That of another hub is none of this scheduler's.
        retries: task.retries,
        part: (task.shared.as_ref()).and_then(|SharedPart(part)| part.part_of(core)),
        timeout,
        runtime: runtime.and_then(|millis| NonZeroU64::new(millis.saturating_add(1))),
        to: task.to.and_then(|number| numbers.get(&number).copied()),
    }
}

impl State {
    /// Whether a wait for nothing has begun.
    fn note_service(&mut self) -> bool {
        let waiting = self.scheduler.counts().awaiting;
        !self.is_closed
            && self
                .service
                .note(Instant::now, self.scheduler.members(), waiting)
    }

    fn note_waiting(&mut self, work: &mut Work) {
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
    fn seated(&mut self, seat: Seat) -> Option<&mut Member> {
        let member = self.members.get_mut(seat.daemon.index())?;
        (member.connection == seat.connection).then_some(member)
    }

    /// Keeps a set-up for daemons that take the place of others; its number, if it is kept.
    fn keep_for_replacements(&mut self, work: &mut Work, parts: Parts) -> Option<u64> {
        match self.setups.add_for_replacements(parts) {
            Added::Kept(number) => return Some(number),
            Added::TooMuch => work.presence.push(Presence::TooMuchToReplay),
            Added::NotKept => {}
        }
        None
    }

    fn lose(&mut self, timer: &Timer, work: &mut Work, daemon: DaemonId) {
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
    fn death(&mut self, daemon: DaemonId) -> Option<Death> {
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

    fn open(
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
    fn welcome(
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
    fn handle(&mut self, timer: &Timer, work: &mut Work, event: Event, report: Option<Report>) {
        self.handle_loss(timer, work, event, report, Loss::Died(None));
    }

    /// The same for an event by which tasks may be lost.
    fn handle_loss(
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
    fn stop_daemon_at(&mut self, work: &mut Work, task: TaskId) {
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

/// Whether a task with this outcome may still be under evaluation.
fn is_giving_up(how: Settled) -> bool {
    match how {
        Settled::TimedOut | Settled::RanOut | Settled::Cancelled => true,
        Settled::Ended | Settled::Lost | Settled::Abandoned | Settled::Reset => false,
    }
}

/// Makes work of the scheduler's effects: what they touch of the state, while the scheduler has lent them out.
struct Performer<'a> {
    tasks: &'a mut Table<Open>,
    members: &'a mut Table<Member>,
    setups: &'a SetUps,
    numbers: &'a mut BTreeMap<u32, DaemonId>,
    deaths: &'a mut Deaths,
    given_up: Option<&'a str>,
    reports: u64,
    grace: Duration,
    mode: Mode,
    work: &'a mut Work,
    now: Instant,
    /// Of the event, until the task that it is about is settled.
    report: Option<Report>,
    loss: Loss,
    /// Where each daemon has one task: those that have their outcome without it.
    given_up_tasks: Vec<TaskId>,
    /// Runs that were sent to nobody, as their task was never launched for.
    passed_over: Vec<(DaemonId, RunId)>,
}

impl Performer<'_> {
    fn perform(&mut self, timer: &Timer, effect: Effect) {
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

    fn send(&mut self, to: DaemonId, task: TaskId, run: RunId, attempt: u32) {
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

    fn kill(&mut self, daemon: DaemonId, task: TaskId, why: KillReason) {
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
    fn forget(&mut self, daemon: DaemonId) {
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

    fn settle(&mut self, task: TaskId, how: Settled) {
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

/// There is no task for a daemon that was to have one, any more.
fn send_away(member: &mut Member, work: &mut Work) {
    let control = &member.links.control;
    control.queue(&ToDaemon::Exit, Payload::new());
    work.flush.push(Arc::clone(control));
    stop(member, work);
}

/// It is no death. A process that was not launched from here is not killed: its connections end.
fn stop(member: &mut Member, work: &mut Work) {
    member.is_dismissed = true;
    work.end(member, |work| &mut work.stopped);
}

/// Queues a task for a daemon, and first what of it is shared and new there.
fn send(member: &mut Member, parts: &Parts, run: RunId, attempt: u32, word: Option<u16>) {
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

/// How a daemon was lost.
enum Loss {
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

fn outcome(how: Settled, report: Option<Report>, loss: &Loss, attempts: u32) -> Outcome {
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
