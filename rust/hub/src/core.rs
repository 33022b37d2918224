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

mod ends;
mod membership;
mod open;
mod performer;
mod state;
mod submission;
mod table;
mod work;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use mirai_scheduler::{Counts, DaemonId, Event, Memory, Mode, Scheduler, SchedulerOptions};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::callback::guarded;
use crate::deaths::{Deaths, JobListener};
use crate::member::Member;
use crate::options::BreakTimes;
use crate::presence::PresenceListener;
use crate::reactor::{Reactor, after, is_inside};
use crate::setups::{ReplayLimit, SetUps};
use crate::timer::Timer;
use crate::unserved::{Service, Unserved, UnservedListener};
use crate::{MemoryReturn, Welcome, Worker};

pub(crate) use self::performer::Report;
use self::state::State;
use self::table::Table;
use self::work::Work;
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
            jobs: HashSet::new(),
            reports: 0,
            given_up: None,
            heals_again: None,
            service: Service::default(),
            asks_for_waiting: false,
            listener: None,
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
        let (result, is_unserved, listener) = {
            let mut state = self.state.lock();
            let result = change(&mut state, &self.timer, &mut work);
            state.note_waiting(&mut work);
            // Whoever comes to listen later has counted what has happened here.
            let has_news = !work.presence.is_empty();
            let listener = has_news.then(|| state.listener.clone()).flatten();
            (result, state.note_service(), listener)
        };
        if is_unserved {
            self.unserved_begins.notify_one();
        }
        let has_forgotten = !work.forgotten.is_empty();
        let presence = std::mem::take(&mut work.presence);
        let dismissed = std::mem::take(&mut work.dismissed);
        self.room.notify_all();
        work.finish();
        if let Some(listener) = listener {
            for presence in presence {
                let _ = guarded("the listener to daemons", || listener(presence));
            }
        }
        for number in dismissed {
            self.dismiss(number);
        }
        if has_forgotten {
            self.note_change();
        }
        result
    }

    pub(crate) fn listen(&self, listener: PresenceListener) -> Counts {
        let mut state = self.state.lock();
        let earlier = state.listener.replace(listener);
        let counts = state.scheduler.counts();
        drop(state);
        // Without the lock, as what it holds may come here.
        drop(earlier);
        counts
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

    pub(crate) fn timer_fired(&self) {
        self.with_state(|state, timer, work| state.handle(timer, work, Event::TimerFired, None));
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
        let listener = self.state.lock().listener.take();
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

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
