//! What the scheduler should do, said in the simplest way: plain vectors that are searched from the front.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use crate::{
    Counts, DaemonId, Effect, Event, KillReason, Mode, RunId, Settled, TaskId, TaskOptions,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whereabouts {
    Waiting { returned: bool },
    Sent { daemon: DaemonId, run: RunId },
}

#[derive(Clone, Debug)]
struct Open {
    task: TaskId,
    order: u64,
    bytes: u64,
    retries: u32,
    runtime: Option<NonZeroU64>,
    /// How many daemons have died evaluating it.
    deaths: u32,
    /// When, and how many deadlines there were before.
    deadline: Option<(u64, u64)>,
    barrier: Option<usize>,
    settled: bool,
    whereabouts: Whereabouts,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Late {
    Task(TaskId),
    Suspect(DaemonId),
    Clock(DaemonId),
}

#[derive(Debug)]
struct Barrier {
    /// Connected at submission, and since.
    members: BTreeSet<DaemonId>,
    /// Have got an evaluation, or found none for them.
    passed: BTreeSet<DaemonId>,
}

/// Slices of the time to stop, and milliseconds of late ones, that a daemon still has.
type Left = (u64, u64);

#[derive(Debug)]
pub(crate) struct Model {
    mode: Mode,
    pub(crate) now: u64,
    open: Vec<Open>,
    barriers: Vec<Barrier>,
    idle: Vec<DaemonId>,
    parked: Vec<DaemonId>,
    /// The barrier the parked have passed.
    parked_at: Option<usize>,
    turns: Vec<DaemonId>,
    grace: u64,
    /// When the grace of each is over, and how many deadlines there were before that one.
    suspects: BTreeMap<DaemonId, (u64, u64)>,
    deadlines: u64,
    kill_after: Option<u64>,
    /// When each daemon has begun the first of its tasks.
    since: BTreeMap<DaemonId, u64>,
    /// The deadline of each at that: when, how many there were before, and after how many slices of time it is killed, if so, or how
    /// much time of late ones.
    clocks: BTreeMap<DaemonId, (u64, u64, Option<Left>)>,
    condemned: BTreeSet<DaemonId>,
    leaving: BTreeSet<DaemonId>,
    setups: usize,
    expects_none: bool,
    /// What each daemon has to do before its first task.
    setting_up: BTreeMap<DaemonId, usize>,
    last_run: u64,
    submitted: u64,
    cumulative: u64,
    pub(crate) ignored: u64,
    pub(crate) peak: u64,
    effects: Vec<Effect>,
}

impl Model {
    pub(crate) fn new(mode: Mode, grace: u64, kill_after: Option<u64>) -> Self {
        Self {
            mode,
            now: 0,
            open: vec![],
            barriers: vec![],
            idle: vec![],
            parked: vec![],
            parked_at: None,
            turns: vec![],
            grace,
            suspects: BTreeMap::new(),
            deadlines: 0,
            kill_after,
            since: BTreeMap::new(),
            clocks: BTreeMap::new(),
            condemned: BTreeSet::new(),
            leaving: BTreeSet::new(),
            setups: 0,
            expects_none: false,
            setting_up: BTreeMap::new(),
            last_run: 0,
            submitted: 0,
            cumulative: 0,
            ignored: 0,
            peak: 0,
            effects: vec![],
        }
    }

    /// The effects the scheduler should have, but for the arming of timers.
    pub(crate) fn handle(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::DaemonJoined {
                daemon,
                more_setups,
                ..
            } => self.join(daemon, more_setups),
            Event::DaemonLost { daemon } => self.lose(daemon),
            Event::DaemonSuspected { daemon } => self.suspect(daemon),
            Event::DaemonHeldUp { daemon, millis } => self.hold_up(daemon, millis),
            Event::DaemonReturned { daemon } => self.come_back(daemon),
            Event::DaemonLeaving { daemon } if self.suspects.contains_key(&daemon) => {
                self.ignored += 1;
            }
            Event::DaemonLeaving { daemon } => self.leave(daemon),
            Event::SetUpAdded => self.setups += 1,
            Event::SetUpEnded { daemon, last } => self.end_setup(daemon, last),
            Event::TaskSubmitted { task, options } => self.submit(task, options),
            Event::EverywhereSubmitted { tasks, options } => self.everywhere(tasks, options),
            Event::TaskEnded {
                daemon, run, last, ..
            } => self.end(daemon, run, last),
            Event::CancelAsked { task, force } => self.cancel(task, force),
            Event::TimerFired => self.time_out(),
            Event::LaunchFailed => self.fail_launch(),
            Event::NoDaemonsExpected => self.expects_none = true,
            Event::DaemonsExpected => self.expects_none = false,
            Event::Reset => self.reset(),
        }
        while self.dispatch() {}
        if self.expects_none && self.turns.is_empty() && self.suspects.is_empty() {
            self.abandon();
        }
        self.peak = self.peak.max(self.used());
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn counts(&self) -> Counts {
        let waiting = |open: &&Open| waits(open) && !open.settled;
        let awaiting = self.open.iter().filter(waiting).count() as u64;
        let executing = self.open.iter().filter(|open| !waits(open)).count() as u64;
        Counts {
            connections: self.turns.len() as u64,
            suspects: self.suspects.len() as u64,
            cumulative: self.cumulative,
            awaiting,
            executing,
            completed: self.submitted - awaiting - executing,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.open
            .iter()
            .filter(|open| waits(open) || (!open.settled && self.may_be_retried(open)))
            .map(|open| open.bytes)
            .sum()
    }

    fn may_be_retried(&self, open: &Open) -> bool {
        open.deaths < open.retries && open.barrier.is_none() && self.mode != Mode::Single
    }

    /// In order of slots, as nothing else says which comes first.
    fn abandon(&mut self) {
        let mut waiting = self.waiting();
        waiting.sort_by_key(|task| task.index());
        for task in waiting {
            self.finish(task, Settled::Abandoned);
        }
    }

    pub(crate) fn earliest_deadline(&self) -> Option<u64> {
        let open = self.open.iter().filter(|open| !open.settled);
        let tasks = open.filter_map(|open| open.deadline);
        let suspects = self.suspects.values().copied();
        let clocks = self.clocks.values().map(|(at, order, _)| (*at, *order));
        tasks.chain(suspects).chain(clocks).map(|(at, _)| at).min()
    }

    /// Tasks that are not released, in order of submission.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        self.open.iter().map(|open| open.task).collect()
    }

    pub(crate) fn connected(&self) -> &[DaemonId] {
        &self.turns
    }

    pub(crate) fn suspects(&self) -> Vec<DaemonId> {
        self.suspects.keys().copied().collect()
    }

    fn is_member(&self, daemon: DaemonId) -> bool {
        self.turns.contains(&daemon) || self.suspects.contains_key(&daemon)
    }

    fn next_deadline(&mut self, after: u64) -> (u64, u64) {
        self.deadlines += 1;
        (self.now + after, self.deadlines)
    }

    fn suspect(&mut self, daemon: DaemonId) {
        if !self.turns.contains(&daemon) {
            self.ignored += 1;
        } else if self.grace == 0 {
            self.effects.push(Effect::Forget { daemon });
            self.lose(daemon);
        } else {
            for list in [&mut self.turns, &mut self.idle, &mut self.parked] {
                list.retain(|other| *other != daemon);
            }
            if matches!(self.clocks.get(&daemon), Some((_, _, Some(_)))) {
                self.clocks.remove(&daemon);
            }
            let until = self.next_deadline(self.grace);
            self.suspects.insert(daemon, until);
        }
    }

    fn hold_up(&mut self, daemon: DaemonId, millis: u64) {
        if let Some((until, order)) = self.suspects.get_mut(&daemon) {
            self.deadlines += 1;
            (*until, *order) = (*until + millis, self.deadlines);
        }
    }

    /// Sets the deadline of a daemon by the first of its tasks.
    fn wind(&mut self, daemon: DaemonId) {
        self.clocks.remove(&daemon);
        let Some(&(_, task)) = self.runs(daemon).first() else {
            return;
        };
        let first = self.get(task).clone();
        if first.settled && self.mode == Mode::Queue {
            self.begin_slices(daemon);
        } else if let (Some(runtime), false) = (first.runtime, first.settled)
            && !self.setting_up.contains_key(&daemon)
        {
            self.deadlines += 1;
            let due = self.since[&daemon] + runtime.get();
            self.clocks.insert(daemon, (due, self.deadlines, None));
        }
    }

    fn note_turn(&mut self, daemon: DaemonId) {
        self.since.insert(daemon, self.now);
        self.wind(daemon);
    }

    fn slice(&self) -> u64 {
        self.kill_after.unwrap_or(0).div_ceil(4).max(1)
    }

    fn begin_slices(&mut self, daemon: DaemonId) {
        if let Some(time) = self.kill_after {
            let left = (time.div_ceil(self.slice()).max(1), (10 * time).max(1000));
            self.begin_slice(daemon, left);
        }
    }

    fn begin_slice(&mut self, daemon: DaemonId, left: Left) {
        if !self.condemned.contains(&daemon) && !self.suspects.contains_key(&daemon) {
            let (due, order) = self.next_deadline(self.slice());
            self.clocks.insert(daemon, (due, order, Some(left)));
        }
    }

    fn clock_due(&mut self, daemon: DaemonId, deadline: (u64, u64)) {
        let Some(&(due, order, left)) = self.clocks.get(&daemon) else {
            return;
        };
        if (due, order) != deadline {
            return;
        }
        self.clocks.remove(&daemon);
        let runs = self.runs(daemon);
        let Some((mut slices, mut patience)) = left else {
            return self.give_up(runs[0].1, Settled::RanOut);
        };
        match self.now > due + self.slice().clamp(10, 50) {
            true => {
                let took = self.now - due + self.slice();
                patience = patience.saturating_sub(took.min(self.slice().max(50)));
            }
            false => slices -= 1,
        }
        match slices == 0 || patience == 0 {
            true => self.kill(daemon, KillReason::Deaf),
            false => self.begin_slice(daemon, (slices, patience)),
        }
    }

    fn kill(&mut self, daemon: DaemonId, why: KillReason) {
        let runs = self.runs(daemon);
        let Some(&(_, task)) = runs.last() else {
            return;
        };
        if self.get(task).settled && self.condemned.insert(daemon) {
            self.clocks.remove(&daemon);
            self.effects.push(Effect::Kill { daemon, task, why });
        }
    }

    fn cancel(&mut self, task: TaskId, force: bool) {
        self.give_up(task, Settled::Cancelled);
        let open = self.open.iter().find(|open| open.task == task);
        if let Some(Whereabouts::Sent { daemon, .. }) = open.map(|open| open.whereabouts)
            && force
            && self.mode != Mode::Direct
        {
            self.kill(daemon, KillReason::Forced);
        }
    }

    pub(crate) fn condemned(&self) -> Option<DaemonId> {
        self.condemned.first().copied()
    }

    fn come_back(&mut self, daemon: DaemonId) {
        if !self.is_member(daemon) {
            self.ignored += 1;
            return;
        }
        if self.suspects.remove(&daemon).is_some() {
            self.turns.push(daemon);
            if self.runs(daemon).is_empty() && !self.setting_up.contains_key(&daemon) {
                self.rest(daemon);
            }
        }
        if self.mode == Mode::Queue {
            for (run, task) in self.runs(daemon) {
                if self.get(task).settled {
                    self.effects.push(Effect::Interrupt { daemon, run });
                }
            }
        }
        self.wind(daemon);
    }

    fn end_grace(&mut self, daemon: DaemonId, until: u64) {
        if self.now >= until + 1000 {
            let until = self.next_deadline(self.grace);
            self.suspects.insert(daemon, until);
        } else {
            self.effects.push(Effect::Forget { daemon });
            self.lose(daemon);
        }
    }

    /// What was sent to a daemon, in order of sending.
    pub(crate) fn runs(&self, daemon: DaemonId) -> Vec<(RunId, TaskId)> {
        let mut runs: Vec<_> = self
            .open
            .iter()
            .filter_map(|open| match open.whereabouts {
                Whereabouts::Sent { daemon: to, run } if to == daemon => Some((run, open.task)),
                Whereabouts::Sent { .. } | Whereabouts::Waiting { .. } => None,
            })
            .collect();
        runs.sort();
        runs
    }

    fn join(&mut self, daemon: DaemonId, more_setups: usize) {
        if self.is_member(daemon) || self.leaving.contains(&daemon) {
            self.ignored += 1;
            return;
        }
        self.cumulative += 1;
        self.turns.push(daemon);
        let setups = self.setups + more_setups;
        if setups == 0 {
            self.idle.push(daemon);
            return;
        }
        self.setting_up.insert(daemon, setups);
        self.effects
            .extend((0..setups).map(|setup| Effect::SetUp { daemon, setup }));
    }

    fn end_setup(&mut self, daemon: DaemonId, last: bool) {
        match self.setting_up.get_mut(&daemon) {
            _ if self.suspects.contains_key(&daemon) => self.ignored += 1,
            None => self.ignored += 1,
            Some(_) if last => self.leave(daemon),
            Some(1) => {
                self.setting_up.remove(&daemon);
                self.note_turn(daemon);
                if self.runs(daemon).is_empty() {
                    self.rest(daemon);
                }
            }
            Some(left) => *left -= 1,
        }
    }

    /// Daemons that are being set up and to be reached.
    pub(crate) fn setting_up(&self) -> Vec<DaemonId> {
        let reach = |daemon: &&DaemonId| self.turns.contains(daemon);
        self.setting_up.keys().filter(reach).copied().collect()
    }

    fn lose(&mut self, daemon: DaemonId) {
        if self.leaving.remove(&daemon) {
            return;
        }
        let is_set_up = !self.setting_up.contains_key(&daemon);
        if !self.disconnect(daemon) {
            self.ignored += 1;
            return;
        }
        let mut is_first = !is_set_up;
        for (_, task) in self.runs(daemon) {
            let has_begun = !std::mem::replace(&mut is_first, true);
            let open = self.get(task).clone();
            if open.settled || !self.may_be_retried(&open) {
                self.finish(task, Settled::Lost);
                continue;
            }
            let open = self.get(task);
            open.deaths += u32::from(has_begun);
            open.whereabouts = Whereabouts::Waiting { returned: true };
        }
        self.quit_barriers(daemon, true);
    }

    fn leave(&mut self, daemon: DaemonId) {
        if !self.disconnect(daemon) {
            self.ignored += 1;
            return;
        }
        self.leaving.insert(daemon);
        let others = !(self.turns.is_empty() && self.suspects.is_empty());
        for (_, task) in self.runs(daemon) {
            let open = self.get(task);
            if open.settled || (open.barrier.is_some() && others) {
                self.finish(task, Settled::Lost);
            } else {
                open.whereabouts = Whereabouts::Waiting { returned: true };
            }
        }
        self.quit_barriers(daemon, others);
    }

    fn disconnect(&mut self, daemon: DaemonId) -> bool {
        let was = self.is_member(daemon);
        self.suspects.remove(&daemon);
        self.clocks.remove(&daemon);
        self.condemned.remove(&daemon);
        for list in [&mut self.turns, &mut self.idle, &mut self.parked] {
            list.retain(|other| *other != daemon);
        }
        self.setting_up.remove(&daemon);
        was
    }

    fn quit_barriers(&mut self, daemon: DaemonId, dropping: bool) {
        for barrier in 0..self.barriers.len() {
            let evaluations = self.evaluations(barrier);
            let members = self.members_to_come(barrier);
            if self.barriers[barrier].members.remove(&daemon)
                && !self.barriers[barrier].passed.contains(&daemon)
                && evaluations.len() >= members
                && dropping
                && let Some(&last) = evaluations.last()
            {
                self.finish(last, Settled::Lost);
            }
        }
    }

    fn submit(&mut self, task: TaskId, options: TaskOptions) {
        if !self.accept(task, options, None) || self.mode != Mode::Direct {
            return;
        }
        match options.to {
            Some(daemon) if self.is_member(daemon) => self.send(task, daemon),
            Some(_) | None if self.waiting().len() == 1 => self.deal(task),
            Some(_) | None => {}
        }
    }

    fn everywhere(&mut self, tasks: Vec<TaskId>, options: TaskOptions) {
        let barrier = (self.mode == Mode::Queue).then_some(self.barriers.len());
        if barrier.is_some() {
            let members = self.turns.iter().chain(self.suspects.keys());
            let members = members.copied().collect();
            self.barriers.push(Barrier {
                members,
                passed: BTreeSet::new(),
            });
        }
        for task in tasks {
            if self.accept(task, options, barrier) && self.mode == Mode::Direct {
                self.deal(task);
            }
        }
    }

    fn accept(&mut self, task: TaskId, options: TaskOptions, barrier: Option<usize>) -> bool {
        self.submitted += 1;
        if options.timeout == Some(0) {
            self.effects.push(Effect::Settle {
                task,
                how: Settled::TimedOut,
            });
            self.effects.push(Effect::Release { task });
            return false;
        }
        let deadline = (options.timeout).map(|timeout| self.next_deadline(timeout));
        self.open.push(Open {
            task,
            order: self.submitted,
            bytes: options.bytes,
            retries: options.retries,
            runtime: options.runtime,
            deaths: 0,
            deadline,
            barrier,
            settled: false,
            whereabouts: Whereabouts::Waiting { returned: false },
        });
        true
    }

    fn deal(&mut self, task: TaskId) {
        if !self.turns.is_empty() {
            self.turns.rotate_left(1);
            let daemon = self.turns[self.turns.len() - 1];
            self.send(task, daemon);
        }
    }

    fn end(&mut self, daemon: DaemonId, run: RunId, last: bool) {
        match self.runs(daemon).iter().find(|sent| sent.0 == run) {
            _ if self.suspects.contains_key(&daemon) => self.ignored += 1,
            Some(&(_, task)) => {
                self.finish(task, Settled::Ended);
                self.note_turn(daemon);
                if last {
                    self.leave(daemon);
                } else if self.runs(daemon).is_empty() && !self.setting_up.contains_key(&daemon) {
                    self.rest(daemon);
                }
            }
            None => self.ignored += 1,
        }
    }

    fn rest(&mut self, daemon: DaemonId) {
        if self.condemned.contains(&daemon) {
            return;
        }
        match self.barrier_at_head() {
            Some(barrier) if self.barriers[barrier].passed.contains(&daemon) => {
                self.parked.insert(0, daemon);
            }
            Some(_) | None => self.idle.insert(0, daemon),
        }
    }

    fn give_up(&mut self, task: TaskId, how: Settled) {
        let Some(index) = self.open.iter().position(|open| open.task == task) else {
            return;
        };
        let open = &mut self.open[index];
        if open.settled {
            return;
        }
        match (self.mode, open.whereabouts) {
            (Mode::Queue, Whereabouts::Waiting { .. }) => self.finish(task, how),
            (Mode::Queue, Whereabouts::Sent { daemon, run }) => {
                open.settled = true;
                self.effects.push(Effect::Settle { task, how });
                self.effects.push(Effect::Interrupt { daemon, run });
                if self.kill_after == Some(0) && !self.suspects.contains_key(&daemon) {
                    return self.kill(daemon, KillReason::Deaf);
                }
                self.clocks.remove(&daemon);
                self.begin_slices(daemon);
            }
            (Mode::Direct | Mode::Single, _) => {
                open.settled = true;
                self.effects.push(Effect::Settle { task, how });
            }
        }
    }

    fn time_out(&mut self) {
        // What is set meanwhile is not due yet.
        let tasks = self.open.iter().filter(|open| !open.settled);
        let tasks = tasks.filter_map(|open| Some((open.deadline?, Late::Task(open.task))));
        let suspects = self.suspects.iter();
        let suspects = suspects.map(|(&daemon, &until)| (until, Late::Suspect(daemon)));
        let clocks = self.clocks.iter();
        let clocks = clocks.map(|(&daemon, &(at, order, _))| ((at, order), Late::Clock(daemon)));
        let mut due: Vec<_> = tasks.chain(suspects).chain(clocks).collect();
        due.retain(|((deadline, _), _)| *deadline <= self.now);
        due.sort();
        for (deadline, what) in due {
            match what {
                Late::Task(task) => self.give_up(task, Settled::TimedOut),
                Late::Suspect(daemon) => self.end_grace(daemon, deadline.0),
                Late::Clock(daemon) => self.clock_due(daemon, deadline),
            }
        }
    }

    fn fail_launch(&mut self) {
        match self.waiting().first() {
            Some(&task) if self.mode == Mode::Single => self.finish(task, Settled::Lost),
            Some(_) | None => self.ignored += 1,
        }
    }

    fn reset(&mut self) {
        let mut tasks = self.tasks();
        tasks.sort_by_key(|task| task.index());
        tasks
            .into_iter()
            .for_each(|task| self.finish(task, Settled::Reset));
        self.barriers.clear();
        for list in [&mut self.turns, &mut self.idle, &mut self.parked] {
            list.clear();
        }
        self.suspects.clear();
        self.leaving.clear();
        self.clocks.clear();
        self.condemned.clear();
        self.setups = 0;
        self.setting_up.clear();
        self.parked_at = None;
    }

    fn finish(&mut self, task: TaskId, how: Settled) {
        if !self.get(task).settled {
            self.effects.push(Effect::Settle { task, how });
        }
        self.effects.push(Effect::Release { task });
        self.open.retain(|open| open.task != task);
    }

    /// One step of bringing tasks and daemons together.
    fn dispatch(&mut self) -> bool {
        if self.parked_at != self.barrier_at_head() {
            self.idle.append(&mut self.parked);
            self.parked_at = self.barrier_at_head();
        }
        let Some(&task) = self.waiting().first() else {
            return false;
        };
        if self.get(task).whereabouts == (Whereabouts::Waiting { returned: true }) {
            let daemon = self.parked.first().or(self.idle.first()).copied();
            daemon.inspect(|&daemon| self.send(task, daemon));
            return daemon.is_some();
        }
        let Some(&daemon) = self.idle.first() else {
            return false;
        };
        let barrier = self.get(task).barrier;
        match barrier {
            Some(barrier) if !self.may_evaluate(daemon, barrier) => {
                self.idle.remove(0);
                self.parked.push(daemon);
                self.barriers[barrier].passed.insert(daemon);
            }
            Some(_) | None => self.send(task, daemon),
        }
        true
    }

    fn may_evaluate(&self, daemon: DaemonId, barrier: usize) -> bool {
        let member = self.barriers[barrier].members.contains(&daemon);
        member || self.evaluations(barrier).len() > self.members_to_come(barrier)
    }

    fn send(&mut self, task: TaskId, daemon: DaemonId) {
        self.last_run += 1;
        let run = RunId(self.last_run);
        let attempt = self.get(task).deaths + 1;
        self.effects.push(Effect::Send {
            to: daemon,
            task,
            run,
            attempt,
            ahead: false,
        });
        let open = self.get(task);
        open.whereabouts = Whereabouts::Sent { daemon, run };
        if let Some(barrier) = open.barrier
            && let Some(barrier) = self.barriers.get_mut(barrier)
        {
            barrier.passed.insert(daemon);
        }
        for list in [&mut self.idle, &mut self.parked] {
            list.retain(|other| *other != daemon);
        }
        if self.runs(daemon).len() == 1 {
            self.note_turn(daemon);
        }
    }

    /// Waiting tasks, first in line first.
    fn waiting(&self) -> Vec<TaskId> {
        let mut waiting: Vec<_> = self.open.iter().filter(|open| waits(open)).collect();
        waiting.sort_by_key(|open| (!returned(open), open.order));
        waiting.iter().map(|open| open.task).collect()
    }

    /// The barrier that holds what was not put back.
    fn barrier_at_head(&self) -> Option<usize> {
        let line = self
            .open
            .iter()
            .filter(|open| waits(open) && !returned(open));
        line.min_by_key(|open| open.order)?.barrier
    }

    /// Evaluations of a barrier that have never been sent.
    fn evaluations(&self, barrier: usize) -> Vec<TaskId> {
        let of = |open: &&Open| waits(open) && !returned(open) && open.barrier == Some(barrier);
        self.open.iter().filter(of).map(|open| open.task).collect()
    }

    fn members_to_come(&self, barrier: usize) -> usize {
        let Barrier { members, passed } = &self.barriers[barrier];
        members.difference(passed).count()
    }

    fn get(&mut self, task: TaskId) -> &mut Open {
        let found = self.open.iter_mut().find(|open| open.task == task);
        found.expect("the task is open")
    }
}

fn waits(open: &Open) -> bool {
    matches!(open.whereabouts, Whereabouts::Waiting { .. })
}

fn returned(open: &Open) -> bool {
    open.whereabouts == Whereabouts::Waiting { returned: true }
}
