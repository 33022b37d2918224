//! What the scheduler has promised: every effect is held against what is known from outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;

use super::super::claims::Table;
use crate::{
    DaemonId, Effect, Event, KillReason, Mode, RunId, Scheduler, Settled, TaskId, TaskOptions, Tick,
};

#[derive(Clone, Debug)]
struct Ticket {
    order: u64,
    bytes: u64,
    retries: u32,
    /// How many daemons have died evaluating it.
    deaths: u32,
    deadline: Option<u64>,
    /// For how long it may run, and when it was sent.
    runtime: Option<u64>,
    sent_at: u64,
    /// When its daemon was asked to stop it.
    interrupted_at: Option<u64>,
    barrier: Option<usize>,
    /// The daemon it has to go to, which was there at submission.
    to: Option<DaemonId>,
    settled: bool,
    on: Option<DaemonId>,
    /// It was sent before its turn, and is not known to have begun.
    ahead: bool,
    /// How often it was sent, and how often a daemon has begun it.
    sends: u32,
    begun: u32,
}

impl Ticket {
    fn may_be_retried(&self, mode: Mode) -> bool {
        self.deaths < self.retries && self.barrier.is_none() && mode != Mode::Single
    }

    /// Whether its bytes count.
    fn is_held(&self, mode: Mode) -> bool {
        self.on.is_none() || self.ahead || (!self.settled && self.may_be_retried(mode))
    }
}

#[derive(Debug)]
struct Barrier {
    last_order: u64,
    unhanded: BTreeSet<TaskId>,
    members: BTreeSet<DaemonId>,
    served: BTreeSet<DaemonId>,
    /// Some were cancelled, so not every member gets one.
    cut: bool,
}

/// The event whose effects are being checked.
#[derive(Debug)]
enum Cause {
    Report(TaskId),
    Departure,
    Death(VecDeque<(RunId, TaskId)>),
    Cancel(TaskId),
    /// With what those had that were forgotten.
    Timer(VecDeque<(RunId, TaskId)>),
    Reset,
    LaunchFailure,
    Submission,
    Other,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    mode: Mode,
    kill_after: Option<u64>,
    /// Daemons that are being killed.
    condemned: BTreeSet<DaemonId>,
    now: u64,
    cause: Cause,
    open: BTreeMap<TaskId, Ticket>,
    deadlines: BTreeSet<(u64, TaskId)>,
    /// Tasks sent to each connected daemon, oldest first.
    connected: BTreeMap<DaemonId, VecDeque<(RunId, TaskId)>>,
    setups: usize,
    /// What connected daemons have to do before their first task.
    setting_up: BTreeMap<DaemonId, usize>,
    /// Those of the connected that are not to be reached.
    suspects: BTreeSet<DaemonId>,
    /// Daemons that said goodbye, whose end is to come.
    leaving: BTreeSet<DaemonId>,
    barriers: Vec<Barrier>,
    held: BTreeSet<usize>,
    last_run: u64,
    /// Orders of submission of the tasks that wait.
    line: BTreeSet<u64>,
    submitted: u64,
    settled: BTreeMap<Settled, u64>,
    used: u64,
    awaiting: u64,
    executing: u64,
    ignored: u64,
    fingerprint: u64,
}

impl Ledger {
    pub(crate) fn new(mode: Mode, kill_after: Option<u64>) -> Self {
        Self {
            mode,
            kill_after,
            condemned: BTreeSet::new(),
            now: 0,
            cause: Cause::Other,
            open: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            connected: BTreeMap::new(),
            setups: 0,
            setting_up: BTreeMap::new(),
            suspects: BTreeSet::new(),
            leaving: BTreeSet::new(),
            barriers: vec![],
            held: BTreeSet::new(),
            last_run: 0,
            line: BTreeSet::new(),
            submitted: 0,
            settled: BTreeMap::new(),
            used: 0,
            awaiting: 0,
            executing: 0,
            ignored: 0,
            fingerprint: 0,
        }
    }

    pub(crate) fn submitted(&self) -> u64 {
        self.submitted
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.settled.keys().all(|how| *how == Settled::Ended)
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn all_released(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn unsettled(&self) -> Vec<TaskId> {
        let open = self.open.iter().filter(|(_, ticket)| !ticket.settled);
        open.map(|(task, _)| *task).collect()
    }

    /// A daemon begins to evaluate: the second time for one task would be once too often, unless it may be retried.
    pub(crate) fn begin(&mut self, task: TaskId) {
        if let Some(ticket) = self.open.get_mut(&task) {
            ticket.begun += 1;
            let most = if ticket.retries == 0 { 1 } else { ticket.sends };
            assert!(ticket.begun <= most, "{task:?} is evaluated too often");
        }
    }

    /// What was decided about runs that were sent ahead.
    pub(crate) fn note_claims(&mut self, claims: &Table) {
        for run in &claims.refused {
            if let Some((daemon, _)) = self.find(*run) {
                let sent = self.connected[&daemon].clone();
                let begun = sent.iter().take_while(|sent| sent.0 <= *run);
                begun.for_each(|(_, task)| self.begin_ahead(*task));
            }
        }
        for run in &claims.taken {
            let (daemon, task) = self.find(*run).expect("taken back once");
            let sent = self.connected.get_mut(&daemon).expect("it is there");
            sent.retain(|sent| sent.0 != *run);
            self.put_in_line(task);
        }
    }

    fn find(&self, run: RunId) -> Option<(DaemonId, TaskId)> {
        self.connected.iter().find_map(|(daemon, sent)| {
            let (_, task) = sent.iter().find(|sent| sent.0 == run)?;
            Some((*daemon, *task))
        })
    }

    /// A task that was sent ahead has begun.
    fn begin_ahead(&mut self, task: TaskId) {
        let mode = self.mode;
        let ticket = self.open.get_mut(&task).expect("the task is open");
        if std::mem::replace(&mut ticket.ahead, false) {
            self.awaiting -= 1;
            self.executing += 1;
            self.used -= u64::from(!ticket.is_held(mode)) * ticket.bytes;
        }
    }

    /// A task that was sent waits again.
    fn put_in_line(&mut self, task: TaskId) {
        let mode = self.mode;
        let ticket = self.open.get_mut(&task).expect("not released");
        self.line.insert(ticket.order);
        if !ticket.ahead {
            self.used += u64::from(!ticket.is_held(mode)) * ticket.bytes;
            self.executing -= 1;
            self.awaiting += u64::from(!ticket.settled);
        }
        ticket.ahead = false;
        ticket.on = None;
    }

    pub(crate) fn before(&mut self, now: u64, event: &Event) {
        self.now = now;
        self.cause = match event {
            Event::DaemonJoined {
                daemon,
                more_setups,
                ..
            } => {
                self.connected.insert(*daemon, VecDeque::new());
                self.setting_up.insert(*daemon, self.setups + more_setups);
                Cause::Other
            }
            Event::SetUpAdded => {
                self.setups += 1;
                Cause::Other
            }
            Event::SetUpEnded { daemon, .. } => {
                self.end_setup(*daemon);
                Cause::Other
            }
            Event::DaemonLost { daemon } => self.lose(*daemon),
            Event::DaemonSuspected { daemon } => {
                let known = self.connected.contains_key(daemon);
                self.ignored += u64::from(!(known && self.suspects.insert(*daemon)));
                Cause::Other
            }
            Event::DaemonHeldUp { .. } => Cause::Other,
            Event::DaemonReturned { daemon } => {
                self.suspects.remove(daemon);
                self.ignored += u64::from(!self.connected.contains_key(daemon));
                Cause::Other
            }
            Event::DaemonLeaving { daemon } if self.suspects.contains(daemon) => {
                self.ignored += 1;
                Cause::Other
            }
            Event::DaemonLeaving { daemon } => {
                let connected = self.connected.contains_key(daemon);
                self.ignored += u64::from(!connected);
                self.depart(*daemon);
                Cause::Departure
            }
            Event::TaskSubmitted { task, options } => {
                self.accept(*task, *options, false, None);
                Cause::Submission
            }
            Event::EverywhereSubmitted { tasks, options } => {
                self.accept_everywhere(tasks, *options);
                Cause::Submission
            }
            Event::TaskEnded {
                daemon, run, last, ..
            } => self.report(*daemon, *run, *last),
            Event::CancelAsked { task, .. } => Cause::Cancel(*task),
            Event::TimerFired => Cause::Timer(VecDeque::new()),
            Event::LaunchFailed => Cause::LaunchFailure,
            // Played by the properties alone.
            Event::NoDaemonsExpected | Event::DaemonsExpected => Cause::Other,
            Event::Reset => {
                self.connected.clear();
                self.suspects.clear();
                self.leaving.clear();
                self.setups = 0;
                Cause::Reset
            }
        };
    }

    pub(crate) fn check(&mut self, effect: Effect) {
        self.note_fingerprint(effect);
        match effect {
            Effect::Send {
                to,
                task,
                run,
                attempt,
                ahead,
            } => self.check_send(to, task, run, attempt, ahead),
            Effect::Interrupt { daemon, run } => {
                assert_eq!(self.mode, Mode::Queue, "only a queue interrupts");
                let sent = &self.connected[&daemon];
                let begun = sent.iter().filter(|(_, task)| !self.open[task].ahead);
                let current = begun.clone().find(|sent| sent.0 == run);
                let current = current.expect("the interrupt is for what the daemon has");
                assert!(
                    self.open[&current.1].settled,
                    "nobody waits for it any more"
                );
                let task = current.1;
                let ticket = self.open.get_mut(&task).expect("the task is open");
                ticket.interrupted_at = Some(self.now);
            }
            Effect::Kill { daemon, task, why } => self.check_kill(daemon, task, why),
            Effect::SetUp { daemon, setup } => {
                assert!(
                    self.connected[&daemon].is_empty(),
                    "set up before its first task"
                );
                assert!(setup < self.setting_up[&daemon], "a set-up that was added");
            }
            Effect::Settle { task, how } => self.check_settle(task, how),
            Effect::Release { task } => {
                let ticket = self.open.remove(&task).expect("released once");
                assert!(ticket.settled, "released after it was settled");
                match ticket.on {
                    Some(_) => self.executing -= 1,
                    None => {
                        self.used -= ticket.bytes;
                        self.line.remove(&ticket.order);
                    }
                }
            }
            Effect::Forget { daemon } => {
                assert!(self.suspects.remove(&daemon), "only suspects are forgotten");
                let had = self.connected.remove(&daemon).expect("a suspect is known");
                let had = self.take_back(daemon, had);
                let Cause::Timer(lost) = &mut self.cause else {
                    panic!("its grace is over");
                };
                lost.extend(had);
            }
            Effect::ArmTimer { .. } => {}
        }
    }

    /// Nobody waits for anything that a daemon which is killed has begun last, and it has had its time to stop.
    fn check_kill(&mut self, daemon: DaemonId, task: TaskId, why: KillReason) {
        assert_ne!(self.mode, Mode::Direct);
        assert!(self.condemned.insert(daemon), "killed once");
        let last = self.connected[&daemon].back().map(|(_, task)| *task);
        assert_eq!(last, Some(task), "nothing was begun after that");
        let ticket = &self.open[&task];
        assert!(ticket.settled && !ticket.ahead, "nobody waits for it");
        match why {
            KillReason::Deaf => {
                let since = ticket.interrupted_at.expect("it was asked to stop");
                let time = self.kill_after.expect("there is a limit");
                assert!(self.now - since >= time, "it has had its time");
            }
            KillReason::Forced => assert!(
                matches!(self.cause, Cause::Cancel(asked) if asked == task),
                "it was asked for"
            ),
        }
    }

    fn lose(&mut self, daemon: DaemonId) -> Cause {
        self.suspects.remove(&daemon);
        match self.connected.remove(&daemon) {
            Some(sent) => Cause::Death(self.take_back(daemon, sent)),
            None => {
                self.ignored += u64::from(!self.leaving.remove(&daemon));
                Cause::Other
            }
        }
    }

    /// What may be retried of what a daemon had waits again; the rest.
    fn take_back(
        &mut self,
        daemon: DaemonId,
        sent: VecDeque<(RunId, TaskId)>,
    ) -> VecDeque<(RunId, TaskId)> {
        let mut lost = VecDeque::new();
        let is_set_up = self.setting_up[&daemon] == 0;
        for (place, (run, task)) in sent.into_iter().enumerate() {
            self.begin_ahead(task);
            let ticket = self.open.get_mut(&task).expect("not released");
            if ticket.settled || !ticket.may_be_retried(self.mode) {
                lost.push_back((run, task));
                continue;
            }
            ticket.deaths += u32::from(is_set_up && (place == 0 || self.mode == Mode::Queue));
            ticket.on = None;
            self.executing -= 1;
            self.awaiting += 1;
            self.line.insert(ticket.order);
        }
        lost
    }

    pub(crate) fn after(&self, scheduler: &Scheduler) {
        let counts = scheduler.counts();
        assert_eq!(
            (counts.connections + counts.suspects, counts.suspects),
            (self.connected.len() as u64, self.suspects.len() as u64),
            "connections"
        );
        assert_eq!(counts.awaiting, self.awaiting, "awaiting");
        assert_eq!(counts.executing, self.executing, "executing");
        let completed = self.submitted - self.awaiting - self.executing;
        assert_eq!(counts.completed, completed, "completed");
        assert_eq!(scheduler.memory().used, self.used, "bytes of queued tasks");
        assert_eq!(scheduler.ignored(), self.ignored, "ignored reports");
        if let (Cause::Timer(_), Some((deadline, task))) = (&self.cause, self.deadlines.first()) {
            assert!(*deadline > self.now, "{task:?} has timed out");
        }
    }

    fn accept(
        &mut self,
        task: TaskId,
        options: TaskOptions,
        everywhere: bool,
        barrier: Option<usize>,
    ) {
        self.submitted += 1;
        self.line.insert(self.submitted);
        self.used += options.bytes;
        self.awaiting += 1;
        let runtime = options.runtime.map(NonZeroU64::get);
        let deadline = options.timeout.map(|timeout| self.now + timeout);
        self.deadlines
            .extend(deadline.map(|deadline| (deadline, task)));
        let ticket = Ticket {
            order: self.submitted,
            bytes: options.bytes,
            retries: options.retries,
            deaths: 0,
            deadline,
            runtime,
            sent_at: 0,
            interrupted_at: None,
            barrier,
            to: options.to.filter(|to| {
                self.mode == Mode::Direct && !everywhere && self.connected.contains_key(to)
            }),
            settled: false,
            on: None,
            ahead: false,
            sends: 0,
            begun: 0,
        };
        assert!(
            self.open.insert(task, ticket).is_none(),
            "ids of open tasks differ"
        );
    }

    fn accept_everywhere(&mut self, tasks: &[TaskId], options: TaskOptions) {
        let barrier = (self.mode == Mode::Queue).then_some(self.barriers.len());
        tasks
            .iter()
            .for_each(|&task| self.accept(task, options, true, barrier));
        if let Some(barrier) = barrier {
            self.barriers.push(Barrier {
                last_order: self.submitted,
                unhanded: tasks.iter().copied().collect(),
                members: self.connected.keys().copied().collect(),
                served: BTreeSet::new(),
                cut: false,
            });
            self.held.insert(barrier);
        }
    }

    fn report(&mut self, daemon: DaemonId, run: RunId, last: bool) -> Cause {
        let sent = self.connected.get_mut(&daemon);
        let sent = sent.filter(|_| !self.suspects.contains(&daemon));
        let place = |sent: &VecDeque<(RunId, TaskId)>| sent.iter().position(|sent| sent.0 == run);
        let sent = sent.and_then(|sent| Some((place(sent)?, sent)));
        let Some((_, task)) = sent.and_then(|(place, sent)| sent.remove(place)) else {
            self.ignored += 1;
            return Cause::Other;
        };
        self.begin_ahead(task);
        let next = self.connected[&daemon].front();
        if let Some((_, next)) = next.filter(|_| self.mode == Mode::Queue) {
            self.begin_ahead(*next);
        }
        if last {
            self.depart(daemon);
        }
        Cause::Report(task)
    }

    fn end_setup(&mut self, daemon: DaemonId) {
        let is_suspect = self.suspects.contains(&daemon);
        match self.setting_up.get_mut(&daemon) {
            Some(left) if *left > 0 && !is_suspect && self.connected.contains_key(&daemon) => {
                *left -= 1
            }
            Some(_) | None => self.ignored += 1,
        }
    }

    /// What the daemon had been sent waits again, until the effects say otherwise.
    fn depart(&mut self, daemon: DaemonId) {
        let Some(sent) = self.connected.remove(&daemon) else {
            return;
        };
        self.leaving.insert(daemon);
        for (_, task) in sent {
            self.put_in_line(task);
        }
    }

    fn check_send(&mut self, to: DaemonId, task: TaskId, run: RunId, attempt: u32, ahead: bool) {
        assert!(run.0 > self.last_run, "runs rise");
        self.last_run = run.0;
        let sent = self
            .connected
            .get_mut(&to)
            .expect("nothing goes to a daemon that is gone");
        assert!(
            self.mode == Mode::Direct || sent.is_empty() != ahead,
            "nothing else goes to a busy daemon, and nothing to one that is not"
        );
        assert!(
            self.mode == Mode::Direct || self.setting_up[&to] == 0,
            "nothing goes to a daemon that is being set up"
        );
        sent.push_back((run, task));
        assert!(
            !self.condemned.contains(&to),
            "nothing goes to a daemon that is killed"
        );
        let ticket = self.open.get_mut(&task).expect("the task is open");
        assert!(
            !self.suspects.contains(&to) || ticket.to == Some(to),
            "nothing goes to a suspect but what is meant for it"
        );
        assert_eq!(ticket.on.replace(to), None, "a task is on one daemon");
        assert!(
            !ticket.settled || self.mode != Mode::Queue,
            "a settled task does not start"
        );
        assert_eq!(attempt, ticket.deaths + 1, "attempts are counted");
        assert!(
            ticket.begun == 0 || ticket.retries > 0,
            "what was begun is not sent again"
        );
        let astray = ticket
            .to
            .is_some_and(|wanted| wanted != to && ticket.sends == 0);
        assert!(!astray, "a task goes to the daemon it is meant for");
        if ahead {
            assert!(self.held.is_empty(), "nothing goes ahead of a barrier");
            ticket.ahead = true;
        } else {
            self.used -= u64::from(!ticket.is_held(self.mode)) * ticket.bytes;
            self.awaiting -= u64::from(!ticket.settled);
            self.executing += 1;
        }
        assert!(!ahead || ticket.runtime.is_none(), "its time would run");
        ticket.sent_at = self.now;
        ticket.sends += 1;
        let head = self.line.first() == Some(&ticket.order);
        assert!(
            head || self.mode == Mode::Direct,
            "starts are in order of submission"
        );
        self.line.remove(&ticket.order);
        let (order, barrier) = (ticket.order, ticket.barrier);
        self.check_barriers(to, order);
        if let Some(barrier) = barrier {
            self.hand_over(barrier, task);
            assert!(
                self.barriers[barrier].served.insert(to),
                "one evaluation for each"
            );
        }
    }

    fn check_barriers(&self, to: DaemonId, order: u64) {
        if let Some(&held) = self.held.first() {
            assert!(
                order <= self.barriers[held].last_order,
                "barriers hold what comes later"
            );
        }
        for barrier in self
            .barriers
            .iter()
            .filter(|barrier| barrier.last_order < order)
        {
            let Barrier {
                members,
                served,
                cut,
                ..
            } = barrier;
            let missed = members.contains(&to) && !served.contains(&to);
            assert!(!missed || *cut, "members have had their evaluation");
        }
    }

    fn hand_over(&mut self, barrier: usize, task: TaskId) {
        let unhanded = &mut self.barriers[barrier].unhanded;
        unhanded.remove(&task);
        if unhanded.is_empty() {
            self.held.remove(&barrier);
        }
    }

    fn check_settle(&mut self, task: TaskId, how: Settled) {
        *self.settled.entry(how).or_default() += 1;
        self.begin_ahead(task);
        let ticket = self
            .open
            .get_mut(&task)
            .expect("settled before it is released");
        let was_held = ticket.is_held(self.mode);
        assert!(
            !std::mem::replace(&mut ticket.settled, true),
            "settled once"
        );
        self.used -= u64::from(was_held && !ticket.is_held(self.mode)) * ticket.bytes;
        self.awaiting -= u64::from(ticket.on.is_none());
        let deadline = ticket.deadline.inspect(|deadline| {
            self.deadlines.remove(&(*deadline, task));
        });
        let expired = deadline.is_some_and(|deadline| deadline <= self.now);
        let has_run_out = ticket.runtime.is_some_and(|runtime| {
            ticket.on.is_some() && self.now >= ticket.sent_at.saturating_add(runtime)
        });
        let unsent_evaluation = ticket.barrier.is_some() && ticket.on.is_none();
        let right = match (&self.cause, how) {
            (Cause::Report(ended), Settled::Ended) => *ended == task,
            (Cause::Death(sent) | Cause::Timer(sent), Settled::Lost) => {
                unsent_evaluation || sent.iter().any(|(_, sent)| *sent == task)
            }
            (Cause::Report(_) | Cause::Departure, Settled::Lost) => unsent_evaluation,
            (Cause::LaunchFailure, Settled::Lost) => ticket.on.is_none(),
            (Cause::Cancel(asked), Settled::Cancelled) => *asked == task,
            (Cause::Timer(_) | Cause::Submission, Settled::TimedOut) => expired,
            (Cause::Timer(_), Settled::RanOut) => has_run_out,
            (Cause::Reset, Settled::Reset) => true,
            _ => false,
        };
        assert!(right, "{how:?} of {task:?} follows from {:?}", self.cause);
        if let Some(barrier) = ticket.barrier {
            let cut = matches!(how, Settled::Cancelled | Settled::TimedOut) && ticket.sends == 0;
            self.barriers[barrier].cut |= cut;
            self.hand_over(barrier, task);
        }
    }

    fn note_fingerprint(&mut self, effect: Effect) {
        for byte in format!("{effect:?}").bytes() {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.fingerprint = self.fingerprint.rotate_left(1) ^ Tick(self.now).0;
    }
}
