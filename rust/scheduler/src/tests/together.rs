//! Random scripts with daemons that are sent tasks ahead, and that begin them or not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::claims::Table;
use super::properties::config;
use crate::{
    DaemonId, Effect, Event, Mode, RunId, Scheduler, SchedulerOptions, Settled, TaskId,
    TaskOptions, Tick,
};

/// What an evaluation takes.
const TOOK: Duration = Duration::from_micros(30);

#[derive(Clone, Debug)]
enum Line {
    Join {
        ahead: bool,
    },
    Submit {
        count: usize,
        timeout: Option<u64>,
        retries: u32,
    },
    Everywhere,
    /// A daemon goes on to the next task that it may begin. The report on the one before is on its way.
    Begin(usize),
    /// The hub gets reports of a daemon.
    Deliver {
        daemon: usize,
        count: usize,
    },
    Lose(usize),
    Leave(usize),
    Cancel {
        task: usize,
        force: bool,
    },
    /// The first of those that were killed is dead.
    Die,
    Advance(u64),
}

fn line() -> impl Strategy<Value = Line> {
    let timeout = prop_oneof![4 => Just(None), 1 => (1u64..30).prop_map(Some)];
    prop_oneof![
        2 => prop::bool::weighted(0.8).prop_map(|ahead| Line::Join { ahead }),
        6 => (1usize..40, timeout, 0u32..2).prop_map(|(count, timeout, retries)| Line::Submit {
            count,
            timeout,
            retries
        }),
        1 => Just(Line::Everywhere),
        40 => any::<usize>().prop_map(Line::Begin),
        20 => (any::<usize>(), 1usize..20).prop_map(|(daemon, count)| Line::Deliver { daemon, count }),
        1 => any::<usize>().prop_map(Line::Lose),
        1 => any::<usize>().prop_map(Line::Leave),
        6 => any::<usize>().prop_flat_map(|task| {
            prop::bool::weighted(0.2).prop_map(move |force| Line::Cancel { task, force })
        }),
        4 => Just(Line::Die),
        4 => (0u64..8).prop_map(Line::Advance),
    ]
}

#[derive(Default)]
struct Daemon {
    /// It begins nothing that the scheduler has taken back.
    claims: bool,
    inbox: VecDeque<(RunId, TaskId, bool)>,
    running: Option<RunId>,
    reports: VecDeque<RunId>,
}

/// What became of a task.
#[derive(Default)]
struct Fate {
    settled: u32,
    released: u32,
    run: Option<RunId>,
    begun: u32,
    /// It may be lost with its daemon without having begun.
    goes_along: bool,
    sends: u32,
    retries: u32,
}

struct Stage {
    scheduler: Scheduler,
    claims: Table,
    now: u64,
    daemons: Vec<(DaemonId, Daemon)>,
    fates: BTreeMap<TaskId, Fate>,
    open: BTreeSet<TaskId>,
    dying: VecDeque<DaemonId>,
}

impl Stage {
    /// It is known how short tasks are.
    fn new(kill_after: Option<u64>) -> Self {
        let mut scheduler = Scheduler::new(SchedulerOptions {
            mode: Mode::Queue,
            capacity: None,
            grace: 0,
            kill_after,
        });
        (0..20).for_each(|_| scheduler.pace.note(TOOK));
        Self {
            scheduler,
            claims: Table::default(),
            now: 0,
            daemons: vec![],
            fates: BTreeMap::new(),
            open: BTreeSet::new(),
            dying: VecDeque::new(),
        }
    }

    fn play(&mut self, line: &Line) {
        match *line {
            Line::Join { ahead } => self.join(ahead),
            Line::Submit {
                count,
                timeout,
                retries,
            } => {
                let options = TaskOptions {
                    bytes: 100,
                    timeout,
                    retries,
                    ..TaskOptions::default()
                };
                (0..count).for_each(|_| {
                    let task = self.reserve(retries);
                    self.happen(Event::TaskSubmitted { task, options });
                });
            }
            Line::Everywhere => {
                let count = self.scheduler.everywhere_count(0);
                let tasks: Vec<_> = (0..count).map(|_| self.reserve(0)).collect();
                for task in &tasks {
                    let fate = self.fates.get_mut(task).expect("a task of ours");
                    fate.goes_along = true;
                }
                let options = TaskOptions::default();
                self.happen(Event::EverywhereSubmitted { tasks, options });
            }
            Line::Begin(n) => self.begin(n),
            Line::Deliver { daemon, count } => self.deliver(daemon, count),
            Line::Lose(n) => {
                if let Some((daemon, _)) = self.take(n) {
                    self.happen(Event::DaemonLost { daemon });
                }
            }
            Line::Leave(n) => self.leave(n),
            Line::Cancel { task: n, force } => {
                let task = self.open.iter().nth(n % self.open.len().max(1)).copied();
                if let Some(task) = task {
                    self.happen(Event::CancelAsked { task, force });
                }
            }
            Line::Die => self.die(),
            Line::Advance(by) => {
                self.now += by;
                self.happen(Event::TimerFired);
            }
        }
    }

    fn join(&mut self, ahead: bool) {
        let daemon = self.scheduler.reserve_daemon();
        let state = Daemon {
            claims: ahead,
            ..Daemon::default()
        };
        self.daemons.push((daemon, state));
        self.happen(Event::DaemonJoined {
            daemon,
            ahead,
            more_setups: 0,
        });
    }

    fn reserve(&mut self, retries: u32) -> TaskId {
        let task = self.scheduler.reserve();
        let fate = Fate {
            retries,
            ..Fate::default()
        };
        self.fates.insert(task, fate);
        self.open.insert(task);
        task
    }

    fn take(&mut self, n: usize) -> Option<(DaemonId, Daemon)> {
        let place = n.checked_rem(self.daemons.len())?;
        Some(self.daemons.swap_remove(place))
    }

    /// Only an idle daemon says goodbye, and after all its reports.
    fn leave(&mut self, n: usize) {
        let Some(place) = n.checked_rem(self.daemons.len()) else {
            return;
        };
        if self.daemons[place].1.running.is_none() {
            self.deliver(place, usize::MAX);
            let (daemon, _) = self.daemons.swap_remove(place);
            self.happen(Event::DaemonLeaving { daemon });
        }
    }

    /// What it has come to is read, and what it was at is nothing that anybody waits for.
    fn die(&mut self) {
        let Some(daemon) = self.dying.pop_front() else {
            return;
        };
        let Some(place) = self.daemons.iter().position(|(id, _)| *id == daemon) else {
            return;
        };
        self.deliver(place, usize::MAX);
        let (_, state) = self.daemons.swap_remove(place);
        let of_run = |fate: &&Fate| state.running.is_some() && fate.run == state.running;
        let fate = self.fates.values().find(of_run);
        assert!(fate.is_none_or(|fate| fate.settled == 1), "an innocent one");
        self.happen(Event::DaemonLost { daemon });
    }

    fn begin(&mut self, n: usize) {
        let Some(place) = n.checked_rem(self.daemons.len()) else {
            return;
        };
        let (_, daemon) = &mut self.daemons[place];
        daemon.reports.extend(daemon.running.take());
        while let Some((run, task, offered)) = daemon.inbox.pop_front() {
            if !offered || self.claims.begin(run) {
                daemon.running = Some(run);
                let fate = self.fates.get_mut(&task).expect("a task of ours");
                fate.begun += 1;
                fate.run = Some(run);
                assert!(fate.begun <= 1 + fate.retries, "{task:?} begins too often");
                return;
            }
        }
    }

    fn deliver(&mut self, n: usize, count: usize) {
        let Some(place) = n.checked_rem(self.daemons.len()) else {
            return;
        };
        for _ in 0..count {
            let (daemon, state) = &mut self.daemons[place];
            let Some(run) = state.reports.pop_front() else {
                return;
            };
            let event = Event::TaskEnded {
                daemon: *daemon,
                run,
                took: TOOK,
                last: false,
            };
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        let effects = self
            .scheduler
            .handle(Tick(self.now), event, &mut self.claims);
        let effects: Vec<_> = effects.collect();
        self.scheduler.check_invariants();
        effects.into_iter().for_each(|effect| self.perform(effect));
        let counts = self.scheduler.counts();
        let submitted = self.fates.len() as u64;
        let all = counts.awaiting + counts.executing + counts.completed;
        assert_eq!(all, submitted, "each task counts once");
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, task, run, .. } => {
                let daemon = self.daemons.iter_mut().find(|(id, _)| *id == to);
                let (_, daemon) = daemon.expect("nothing goes to one that is gone");
                if daemon.claims {
                    self.claims.offer(run);
                }
                daemon.inbox.push_back((run, task, daemon.claims));
                let fate = self.fates.get_mut(&task).expect("a task of ours");
                fate.sends += 1;
                fate.goes_along |= !daemon.claims || fate.sends > 2;
            }
            Effect::Settle { task, how } => {
                let fate = self.fates.get_mut(&task).expect("a task of ours");
                fate.settled += 1;
                let is_due = how != Settled::Lost || fate.begun > 0 || fate.goes_along;
                assert!(is_due, "{task:?} is lost and has not begun");
                assert_eq!((fate.settled, fate.released), (1, 0), "settled once");
                self.open.remove(&task);
            }
            Effect::Release { task } => {
                let fate = self.fates.get_mut(&task).expect("a task of ours");
                fate.released += 1;
                assert_eq!((fate.settled, fate.released), (1, 1), "released once");
            }
            Effect::Kill { daemon, .. } => self.dying.push_back(daemon),
            Effect::Interrupt { .. }
            | Effect::SetUp { .. }
            | Effect::Forget { .. }
            | Effect::ArmTimer { .. } => {}
        }
    }

    /// Daemons that do their work bring everything to its end.
    fn finish(&mut self) {
        self.join(true);
        for turn in 0..100_000 {
            if self.fates.values().all(|fate| fate.released == 1) {
                break;
            }
            self.die();
            if self.daemons.is_empty() {
                self.join(true);
            }
            self.begin(turn);
            self.deliver(turn, 1);
        }
        self.scheduler.check_empty();
        assert!(self.fates.values().all(|fate| fate.released == 1));
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn whatever_crosses_each_task_has_one_end(script in prop::collection::vec(line(), 0..200)) {
        let kill_after = [None, Some(0), Some(2), Some(20)][script.len() % 4];
        let mut stage = Stage::new(kill_after);
        script.iter().for_each(|line| stage.play(line));
        stage.finish();
    }
}
