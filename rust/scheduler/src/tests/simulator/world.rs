//! Time, links, daemons and a client around the scheduler.

use std::collections::{BTreeMap, VecDeque};

use std::num::NonZeroU64;
use std::time::Duration;

use super::super::claims::Table;
use super::chance::Chance;
use super::faults::Faults;
use super::ledger::Ledger;
use crate::{
    DaemonId, Effect, Event, Mode, RunId, Scheduler, SchedulerOptions, TaskId, TaskOptions, Tick,
};

/// Something that will happen, somewhere.
#[derive(Debug)]
enum Happening {
    ClientActs,
    TimerDue {
        at: u64,
    },
    Launched,
    LaunchFailed,
    TaskArrives {
        daemon: DaemonId,
        run: RunId,
        task: Option<TaskId>,
        offered: bool,
    },
    InterruptArrives {
        daemon: DaemonId,
        run: RunId,
    },
    EvaluationEnds {
        daemon: DaemonId,
        run: RunId,
    },
    PartitionEnds {
        daemon: DaemonId,
    },
    IdleLimit {
        daemon: DaemonId,
        since: u64,
    },
    Killed {
        daemon: DaemonId,
    },
    /// At the scheduler.
    Told(Event),
}

/// The run of set-ups.
const SETUP: RunId = RunId(0);

/// The daemon's own side. It ends when it is removed, whatever the scheduler knows of it.
#[derive(Debug, Default)]
struct Daemon {
    /// Tasks, and set-ups, which are none and have the run 0.
    inbox: VecDeque<(RunId, Option<TaskId>, bool)>,
    running: Option<RunId>,
    evaluated: u64,
    idle_since: u64,
    /// When the last message each way arrives: links keep their order.
    last_in: u64,
    last_out: u64,
    /// The connection is gone; the daemon has not noticed.
    cut_off: bool,
    /// Nothing comes through.
    partition: Option<Partition>,
}

/// What is said meanwhile, and comes afterwards.
#[derive(Debug, Default)]
struct Partition {
    to_daemon: Vec<Happening>,
    to_hub: Vec<Event>,
    /// The hub has been told, or will be.
    is_noticed: bool,
    /// The daemon leaves once its report has arrived.
    leaves: bool,
}

pub(crate) struct World {
    pub(crate) ledger: Ledger,
    scheduler: Scheduler,
    chance: Chance,
    faults: Faults,
    healed: bool,
    now: u64,
    event_queue: BTreeMap<(u64, u64), Happening>,
    noted: u64,
    armed: Option<u64>,
    daemons: BTreeMap<DaemonId, Daemon>,
    claims: Table,
    /// The ids of the daemons that came last, and of the next to come.
    latest: VecDeque<DaemonId>,
    recent: VecDeque<TaskId>,
    actions: u64,
    events: u64,
    /// Print what happens.
    traced: bool,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults, traced: bool) -> Self {
        let options = SchedulerOptions {
            mode: faults.mode,
            capacity: None,
            grace: faults.grace,
            kill_after: faults.kill_after,
        };
        let mut scheduler = Scheduler::new(options);
        let mut world = Self {
            ledger: Ledger::new(faults.mode, faults.kill_after),
            latest: VecDeque::from([scheduler.reserve_daemon()]),
            scheduler,
            chance: Chance::new(seed),
            healed: false,
            now: 0,
            event_queue: BTreeMap::new(),
            noted: 0,
            armed: None,
            daemons: BTreeMap::new(),
            claims: Table::default(),
            recent: VecDeque::new(),
            actions: faults.actions,
            events: 0,
            traced,
            faults,
        };
        if world.faults.mode != Mode::Single {
            (0..world.faults.daemons).for_each(|_| world.launch());
        }
        world.soon(Happening::ClientActs, 20);
        world
    }

    /// Until the client has done all it wanted.
    pub(crate) fn run_faults(&mut self, max_steps: u64) {
        let mut steps = 0;
        while self.actions > 0 {
            self.step();
            steps += 1;
            assert!(steps < max_steps, "the client gets on");
        }
    }

    /// Nothing fails from here on.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.faults.crash_percent = 0;
        self.faults.disconnect_percent = 0;
        self.faults.partition_percent = 0;
        self.faults.repeat_percent = 0;
        self.faults.deaf_percent = 0;
        self.faults.launch_percent = 0;
        self.faults.idle_limit = None;
        self.faults.task_limit = None;
        self.faults.replace_percent = 100;
    }

    /// Every task comes to its end once there are daemons enough.
    pub(crate) fn run_until_settled(&mut self, max_steps: u64) {
        for _ in 0..max_steps {
            if self.ledger.all_released() {
                self.scheduler.check_empty();
                return;
            }
            if self.event_queue.is_empty() {
                self.launch();
            }
            self.step();
        }
        panic!("never settled: {:?}", self.ledger.unsettled());
    }

    fn step(&mut self) {
        let Some(((time, _), happening)) = self.event_queue.pop_first() else {
            self.soon(Happening::ClientActs, 1);
            return;
        };
        self.now = time;
        match happening {
            Happening::ClientActs => self.act(),
            Happening::TimerDue { at } => {
                if self.armed == Some(at) {
                    self.armed = None;
                    self.tell(Event::TimerFired);
                }
            }
            Happening::Launched => self.join(),
            Happening::LaunchFailed => {
                if self.scheduler.counts().awaiting > 0 {
                    self.tell(Event::LaunchFailed);
                }
            }
            Happening::TaskArrives {
                daemon,
                run,
                task,
                offered,
            } => self.receive(daemon, (run, task, offered)),
            Happening::InterruptArrives { daemon, run } => self.interrupt(daemon, run),
            Happening::EvaluationEnds { daemon, run } => self.end(daemon, run),
            Happening::PartitionEnds { daemon } => self.end_partition(daemon),
            Happening::IdleLimit { daemon, since } => self.idle_limit(daemon, since),
            Happening::Killed { daemon } => self.be_killed(daemon),
            Happening::Told(event) => self.tell(event),
        }
    }

    fn tell(&mut self, event: Event) {
        if self.traced {
            eprintln!("{:>6} ms {event:?}", self.now);
        }
        let claims = &mut self.claims;
        claims.forget_answers();
        let effects = self.scheduler.handle(Tick(self.now), event.clone(), claims);
        let effects: Vec<_> = effects.collect();
        self.ledger.note_claims(&self.claims);
        self.ledger.before(self.now, &event);
        for effect in effects {
            if self.traced {
                eprintln!("          -> {effect:?}");
            }
            self.ledger.check(effect);
            self.perform(effect);
        }
        self.ledger.after(&self.scheduler);
        self.events += 1;
        if self.events.is_multiple_of(self.faults.check_every) {
            self.scheduler.check_invariants();
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, task, run, .. } => {
                let offered = self.faults.ahead && self.faults.mode == Mode::Queue;
                if offered {
                    self.claims.offer(run);
                }
                self.carry_to_daemon(
                    to,
                    Happening::TaskArrives {
                        daemon: to,
                        run,
                        task: Some(task),
                        offered,
                    },
                );
            }
            Effect::SetUp { daemon, .. } => {
                let (run, task) = (SETUP, None);
                let arrival = Happening::TaskArrives {
                    daemon,
                    run,
                    task,
                    offered: false,
                };
                self.carry_to_daemon(daemon, arrival);
            }
            // On a connection of its own, so it may overtake the task it is meant for, and be lost with that.
            Effect::Interrupt { daemon, .. } if self.is_apart(daemon) => {}
            Effect::Interrupt { daemon, run } => {
                self.soon(
                    Happening::InterruptArrives { daemon, run },
                    self.faults.delay,
                );
            }
            Effect::ArmTimer { at } => {
                self.armed = Some(at.0);
                let late = self.chance.below(5);
                self.note(at.0.max(self.now) + late, Happening::TimerDue { at: at.0 });
            }
            Effect::Forget { daemon } => self.cut_off(daemon),
            Effect::Kill { daemon, .. } => self.soon(Happening::Killed { daemon }, 3),
            Effect::Settle { .. } | Effect::Release { .. } => {}
        }
    }

    // The client.

    fn act(&mut self) {
        if self.healed || self.actions == 0 {
            return;
        }
        self.actions -= 1;
        if self.chance.percent(self.faults.cancel_percent) {
            self.cancel();
        } else if self.chance.percent(self.faults.everywhere_percent) {
            self.submit_everywhere();
        } else if self.chance.percent(self.faults.setup_percent) {
            self.tell(Event::SetUpAdded);
        } else if self.faults.reset_percent > 0 && self.chance.below(100) == 0 {
            self.reset();
        } else {
            self.submit();
        }
        // Bursts: half of what follows comes at once.
        let pause = if self.chance.percent(50) {
            1
        } else {
            self.faults.pause
        };
        self.soon(Happening::ClientActs, pause);
    }

    fn submit(&mut self) {
        let task = self.scheduler.reserve();
        let options = self.options();
        self.remember(task);
        self.tell(Event::TaskSubmitted { task, options });
        self.launch_for_one();
    }

    fn submit_everywhere(&mut self) {
        let min = self.chance.below(self.faults.daemons + 2) as u32;
        let count = self.scheduler.everywhere_count(min);
        let tasks: Vec<_> = (0..count).map(|_| self.scheduler.reserve()).collect();
        let options = self.options();
        tasks.iter().for_each(|&task| self.remember(task));
        self.tell(Event::EverywhereSubmitted { tasks, options });
    }

    fn options(&mut self) -> TaskOptions {
        let timed = self.chance.percent(self.faults.timeout_percent);
        let timeout = timed.then(|| self.chance.below(self.faults.evaluation * 4));
        let limited = self.chance.percent(self.faults.runtime_percent);
        let runtime = limited.then(|| self.chance.below(self.faults.evaluation * 2) + 1);
        let targeted = self.chance.percent(self.faults.target_percent);
        // One of the last to come, or the next.
        let to = targeted
            .then(|| self.chance.choose(self.latest.make_contiguous()).copied())
            .flatten();
        TaskOptions {
            bytes: self.chance.below(1_000),
            timeout,
            runtime: runtime.and_then(NonZeroU64::new),
            retries: self.chance.below(self.faults.retries + 1) as u32,
            to,
            part: None,
        }
    }

    fn remember(&mut self, task: TaskId) {
        self.recent.push_back(task);
        if self.recent.len() > 30 {
            self.recent.pop_front();
        }
    }

    fn cancel(&mut self) {
        let task = self.chance.choose(self.recent.make_contiguous()).copied();
        if let Some(task) = task {
            let force = self.chance.percent(self.faults.force_percent);
            self.tell(Event::CancelAsked { task, force });
        }
    }

    fn reset(&mut self) {
        self.tell(Event::Reset);
        self.expect_another();
        self.daemons
            .values_mut()
            .for_each(|daemon| daemon.cut_off = true);
        if self.faults.mode != Mode::Single {
            (0..self.faults.daemons).for_each(|_| self.launch());
        }
    }

    // Daemons.

    fn launch(&mut self) {
        self.soon(Happening::Launched, 50);
    }

    fn launch_for_one(&mut self) {
        if self.faults.mode == Mode::Single {
            let fails = self.chance.percent(self.faults.launch_percent);
            self.soon(
                if fails {
                    Happening::LaunchFailed
                } else {
                    Happening::Launched
                },
                50,
            );
        }
    }

    fn join(&mut self) {
        let Some(&daemon) = self.latest.back() else {
            return;
        };
        self.daemons.insert(
            daemon,
            Daemon {
                idle_since: self.now,
                ..Daemon::default()
            },
        );
        self.watch_idleness(daemon);
        let ahead = self.faults.ahead;
        self.tell(Event::DaemonJoined {
            daemon,
            ahead,
            more_setups: 0,
        });
        self.expect_another();
    }

    fn expect_another(&mut self) {
        self.latest.push_back(self.scheduler.reserve_daemon());
        if self.latest.len() as u64 > self.faults.daemons + 1 {
            self.latest.pop_front();
        }
    }

    fn receive(&mut self, daemon: DaemonId, sent: (RunId, Option<TaskId>, bool)) {
        if let Some(entry) = self.daemons.get_mut(&daemon) {
            entry.inbox.push_back(sent);
            self.begin(daemon);
        }
    }

    fn begin(&mut self, daemon: DaemonId) {
        let Some(entry) = self.daemons.get_mut(&daemon) else {
            return;
        };
        let leaves = (entry.partition.as_ref()).is_some_and(|partition| partition.leaves);
        if entry.running.is_some() || leaves {
            return;
        }
        let claims = &mut self.claims;
        let may_begin = |(run, _, offered): &(RunId, _, bool)| !offered || claims.begin(*run);
        let next = std::iter::from_fn(|| entry.inbox.pop_front()).find(may_begin);
        let Some((run, task, _)) = next else {
            return;
        };
        entry.running = Some(run);
        if let Some(task) = task {
            self.ledger.begin(task);
        }
        let slow = if self.chance.percent(5) { 10 } else { 1 };
        self.soon(
            Happening::EvaluationEnds { daemon, run },
            self.faults.evaluation * slow,
        );
        if self.is_apart(daemon) {
        } else if self.chance.percent(self.faults.disconnect_percent) {
            self.disconnect(daemon);
        } else if self.chance.percent(self.faults.partition_percent) {
            self.begin_partition(daemon);
        }
    }

    fn interrupt(&mut self, daemon: DaemonId, run: RunId) {
        let running = self.daemons.get(&daemon).and_then(|entry| entry.running);
        if running == Some(run) && !self.chance.percent(self.faults.deaf_percent) {
            self.end(daemon, run);
        }
    }

    fn end(&mut self, daemon: DaemonId, run: RunId) {
        let Some(entry) = self.daemons.get_mut(&daemon) else {
            return;
        };
        if entry.running != Some(run) {
            return;
        }
        if self.chance.percent(self.faults.crash_percent) {
            self.quit(daemon);
            return;
        }
        entry.running = None;
        entry.idle_since = self.now;
        if run == SETUP {
            self.carry_to_hub(
                daemon,
                Event::SetUpEnded {
                    daemon,
                    last: false,
                },
            );
            self.begin(daemon);
            self.watch_idleness(daemon);
            return;
        }
        entry.evaluated += 1;
        let single = self.faults.mode == Mode::Single;
        let limit = if single {
            Some(1)
        } else {
            self.faults.task_limit
        };
        let last = limit.is_some_and(|limit| entry.evaluated >= limit);
        let took = Duration::from_micros(self.faults.took);
        let report = Event::TaskEnded {
            daemon,
            run,
            took,
            last,
        };
        if self.chance.percent(self.faults.repeat_percent) {
            self.carry_to_hub(daemon, report.clone());
        }
        self.carry_to_hub(daemon, report);
        let partition = self
            .daemons
            .get_mut(&daemon)
            .and_then(|entry| entry.partition.as_mut());
        if let (true, Some(partition)) = (last, partition) {
            partition.leaves = true;
        } else if last {
            self.quit(daemon);
        } else {
            self.begin(daemon);
            self.watch_idleness(daemon);
        }
    }

    fn watch_idleness(&mut self, daemon: DaemonId) {
        let since = self.now;
        if let Some(limit) = self.faults.idle_limit {
            self.note(self.now + limit, Happening::IdleLimit { daemon, since });
        }
    }

    /// What is under way to the daemon, or has arrived and was not begun, crosses with its goodbye.
    fn idle_limit(&mut self, daemon: DaemonId, since: u64) {
        let Some(entry) = self.daemons.get(&daemon) else {
            return;
        };
        let is_idle = entry.running.is_none() && entry.idle_since == since;
        if is_idle && entry.partition.is_none() && self.faults.idle_limit.is_some() {
            self.carry_to_hub(daemon, Event::DaemonLeaving { daemon });
            self.quit(daemon);
        }
    }

    /// What it has said is still read. One that cannot be reached is lost with its connection.
    fn be_killed(&mut self, daemon: DaemonId) {
        if self.is_apart(daemon) {
            self.tell(Event::DaemonLost { daemon });
            self.cut_off(daemon);
        } else {
            self.quit(daemon);
        }
    }

    /// Within a partition the hub learns only that nothing comes any more.
    fn quit(&mut self, daemon: DaemonId) {
        self.carry_to_hub(daemon, Event::DaemonLost { daemon });
        let Some(entry) = self.daemons.remove(&daemon) else {
            return;
        };
        if entry
            .partition
            .is_some_and(|partition| !partition.is_noticed)
        {
            let event = Event::DaemonSuspected { daemon };
            self.note(self.now + self.faults.grace, Happening::Told(event));
        }
        if !entry.cut_off {
            self.replace();
        }
    }

    /// The scheduler is told of a loss; the daemon works on and reports what nobody wants to know.
    fn disconnect(&mut self, daemon: DaemonId) {
        self.carry_to_hub(daemon, Event::DaemonLost { daemon });
        self.cut_off(daemon);
    }

    fn cut_off(&mut self, daemon: DaemonId) {
        if let Some(entry) = self.daemons.get_mut(&daemon)
            && !std::mem::replace(&mut entry.cut_off, true)
        {
            self.replace();
        }
    }

    fn is_apart(&self, daemon: DaemonId) -> bool {
        let entry = self.daemons.get(&daemon);
        entry.is_some_and(|entry| entry.partition.is_some())
    }

    fn begin_partition(&mut self, daemon: DaemonId) {
        // Else the daemon is there again before the hub notices.
        let is_noticed = self.chance.percent(80);
        if is_noticed {
            self.carry_to_hub(daemon, Event::DaemonSuspected { daemon });
        }
        if let Some(entry) = self.daemons.get_mut(&daemon) {
            entry.partition = Some(Partition {
                is_noticed,
                ..Partition::default()
            });
        }
        self.soon(Happening::PartitionEnds { daemon }, 2 * self.faults.grace);
    }

    fn end_partition(&mut self, daemon: DaemonId) {
        let Some(entry) = self.daemons.get_mut(&daemon) else {
            return;
        };
        let Some(partition) = entry.partition.take() else {
            return;
        };
        if entry.cut_off {
            self.daemons.remove(&daemon);
            return;
        }
        self.carry_to_hub(daemon, Event::DaemonReturned { daemon });
        for event in partition.to_hub {
            self.carry_to_hub(daemon, event);
        }
        for happening in partition.to_daemon {
            self.carry_to_daemon(daemon, happening);
        }
        if partition.leaves {
            self.quit(daemon);
        }
    }

    fn replace(&mut self) {
        if self.faults.mode != Mode::Single && self.chance.percent(self.faults.replace_percent) {
            self.launch();
        }
    }

    // Links.

    fn carry_to_daemon(&mut self, daemon: DaemonId, happening: Happening) {
        let delay = self.delay();
        let Some(entry) = self.daemons.get_mut(&daemon) else {
            return;
        };
        if let Some(partition) = &mut entry.partition {
            partition.to_daemon.push(happening);
        } else if !entry.cut_off {
            entry.last_in = entry.last_in.max(self.now + delay);
            let at = entry.last_in;
            self.note(at, happening);
        }
    }

    /// Reports of a daemon that is cut off still arrive, as stale ones.
    fn carry_to_hub(&mut self, daemon: DaemonId, event: Event) {
        let delay = self.delay();
        let Some(entry) = self.daemons.get_mut(&daemon) else {
            return;
        };
        if let Some(partition) = &mut entry.partition {
            partition.to_hub.push(event);
            return;
        }
        entry.last_out = entry.last_out.max(self.now + delay);
        let at = entry.last_out;
        self.note(at, Happening::Told(event));
    }

    fn delay(&mut self) -> u64 {
        let stalled = if self.chance.percent(2) { 20 } else { 1 };
        self.chance.below(self.faults.delay * stalled)
    }

    fn soon(&mut self, happening: Happening, within: u64) {
        let delay = self.chance.below(within);
        self.note(self.now + delay, happening);
    }

    fn note(&mut self, at: u64, happening: Happening) {
        self.noted += 1;
        self.event_queue.insert((at, self.noted), happening);
    }
}
