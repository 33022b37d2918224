//! Random scripts, played to the scheduler and to a naive model of it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::model::Model;
use crate::{
    DaemonId, Effect, Event, Mode, RunId, Scheduler, SchedulerOptions, TaskId, TaskOptions, Tick,
};

/// What an evaluation takes.
const TOOK: std::time::Duration = std::time::Duration::from_micros(20);

/// Options of a task; the daemon it is meant for is one of those that there ever were, or has not come yet.
#[derive(Clone, Copy, Debug)]
struct Wish {
    bytes: u64,
    timeout: Option<u64>,
    runtime: Option<NonZeroU64>,
    retries: u32,
    to: Option<usize>,
}

/// A line of a script. Numbers choose among what is there when the line is played.
#[derive(Clone, Debug)]
enum Line {
    /// With so many set-ups more than all have.
    Join(usize),
    JoinAgain(usize),
    Lose(usize),
    LoseUnknown(usize),
    Leave(usize),
    Suspect(usize),
    HoldUp {
        daemon: usize,
        millis: u64,
    },
    /// A daemon comes back that is suspect, or that is not.
    Return {
        daemon: usize,
        suspect: bool,
    },
    /// Something comes of a connection that is broken.
    ReportSuspect(usize),
    Submit(Wish),
    Everywhere {
        min: u32,
        wish: Wish,
    },
    End {
        daemon: usize,
        last: bool,
    },
    EndWrongly {
        daemon: usize,
        run: u64,
    },
    AddSetUp,
    EndSetUp {
        daemon: usize,
        last: bool,
    },
    EndSetUpWrongly(usize),
    Cancel {
        task: usize,
        force: bool,
    },
    CancelReleased(usize),
    Advance(u64),
    FailLaunch,
    /// Whether daemons are expected from here on.
    Expect(bool),
    Reset,
}

fn wish() -> impl Strategy<Value = Wish> {
    let timeout = prop_oneof![4 => Just(None), 2 => (0u64..300).prop_map(Some)];
    let to = prop_oneof![3 => Just(None), 1 => (0usize..12).prop_map(Some)];
    let retries = prop_oneof![2 => Just(0), 1 => 1u32..3];
    let runtime = prop_oneof![4 => Just(None), 2 => (1u64..300).prop_map(NonZeroU64::new)];
    let wish = (0u64..1000, timeout, runtime, retries, to);
    wish.prop_map(|(bytes, timeout, runtime, retries, to)| Wish {
        bytes,
        timeout,
        runtime,
        retries,
        to,
    })
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        60 => any::<usize>().prop_flat_map(|daemon| {
            prop::bool::weighted(0.1).prop_map(move |last| Line::End { daemon, last })
        }),
        50 => wish().prop_map(Line::Submit),
        16 => Just(Line::Join(0)),
        4 => (1usize..3).prop_map(Line::Join),
        30 => any::<usize>().prop_flat_map(|daemon| {
            prop::bool::weighted(0.05).prop_map(move |last| Line::EndSetUp { daemon, last })
        }),
        3 => Just(Line::AddSetUp),
        2 => any::<usize>().prop_map(Line::EndSetUpWrongly),
        12 => any::<usize>().prop_flat_map(|task| {
            prop::bool::weighted(0.2).prop_map(move |force| Line::Cancel { task, force })
        }),
        12 => prop_oneof![9 => 0u64..150, 1 => 1000u64..2000].prop_map(Line::Advance),
        10 => (0u32..6, wish()).prop_map(|(min, wish)| Line::Everywhere { min, wish }),
        8 => any::<usize>().prop_map(Line::Lose),
        8 => any::<usize>().prop_map(Line::Leave),
        12 => any::<usize>().prop_map(Line::Suspect),
        6 => (any::<usize>(), 0u64..150).prop_map(|(daemon, millis)| Line::HoldUp { daemon, millis }),
        10 => any::<usize>().prop_flat_map(|daemon| {
            prop::bool::weighted(0.9).prop_map(move |suspect| Line::Return { daemon, suspect })
        }),
        3 => any::<usize>().prop_map(Line::ReportSuspect),
        3 => (any::<usize>(), 0u64..40).prop_map(|(daemon, run)| Line::EndWrongly { daemon, run }),
        2 => any::<usize>().prop_map(Line::CancelReleased),
        2 => any::<usize>().prop_map(Line::JoinAgain),
        2 => (0usize..60).prop_map(Line::LoseUnknown),
        2 => Just(Line::FailLaunch),
        3 => prop::bool::weighted(0.7).prop_map(Line::Expect),
        1 => Just(Line::Reset),
    ]
}

fn script() -> impl Strategy<Value = Vec<Line>> {
    prop::collection::vec(line(), 0..160)
}

/// The scheduler and the model, side by side.
struct Stage {
    scheduler: Scheduler,
    model: Model,
    /// The ids of all daemons there ever were, and last of the next to come.
    daemons: Vec<DaemonId>,
    released: Vec<TaskId>,
    fates: BTreeMap<TaskId, (u32, u32)>,
    last_first_send: u64,
    orders: BTreeMap<TaskId, u64>,
    sent: BTreeSet<TaskId>,
    log: Vec<Effect>,
    mode: Mode,
}

impl Stage {
    fn new(mode: Mode, grace: u64, kill_after: Option<u64>) -> Self {
        let mut scheduler = Scheduler::new(SchedulerOptions {
            mode,
            capacity: Some(5000),
            grace,
            kill_after,
        });
        Self {
            daemons: vec![scheduler.reserve_daemon()],
            scheduler,
            model: Model::new(mode, grace, kill_after),
            released: vec![],
            fates: BTreeMap::new(),
            last_first_send: 0,
            orders: BTreeMap::new(),
            sent: BTreeSet::new(),
            log: vec![],
            mode,
        }
    }

    fn play(&mut self, line: &Line) {
        match *line {
            Line::Join(more_setups) => {
                let daemon = self.daemon(usize::MAX);
                self.happen(Event::DaemonJoined {
                    daemon,
                    ahead: false,
                    more_setups,
                });
                self.daemons.push(self.scheduler.reserve_daemon());
            }
            Line::JoinAgain(n) => self.with_daemon(n, |daemon| Event::DaemonJoined {
                daemon,
                ahead: false,
                more_setups: 0,
            }),
            Line::Lose(n) => self.with_daemon(n, |daemon| Event::DaemonLost { daemon }),
            Line::LoseUnknown(n) => {
                let daemon = self.daemon(n);
                self.happen(Event::DaemonLost { daemon });
            }
            Line::Leave(n) => self.with_daemon(n, |daemon| Event::DaemonLeaving { daemon }),
            Line::Suspect(n) => self.with_daemon(n, |daemon| Event::DaemonSuspected { daemon }),
            Line::HoldUp { daemon: n, millis } => {
                let daemon = self.daemon(n);
                self.happen(Event::DaemonHeldUp { daemon, millis });
            }
            Line::Return { daemon: n, suspect } => self.come_back(n, suspect),
            Line::ReportSuspect(n) => self.report_suspect(n),
            Line::Submit(wish) => {
                let options = self.options(wish);
                let task = self.reserve();
                self.happen(Event::TaskSubmitted { task, options });
            }
            Line::Everywhere { min, wish } => {
                let options = self.options(wish);
                let count = self.scheduler.everywhere_count(min);
                let tasks = (0..count).map(|_| self.reserve()).collect();
                self.happen(Event::EverywhereSubmitted { tasks, options });
            }
            Line::End { daemon, last } => self.end(daemon, last),
            Line::EndWrongly { daemon, run } => {
                self.with_daemon(daemon, |daemon| Event::TaskEnded {
                    daemon,
                    run: RunId(run),
                    took: TOOK,
                    last: false,
                })
            }
            Line::AddSetUp => self.happen(Event::SetUpAdded),
            Line::EndSetUp { daemon, last } => self.end_setup(daemon, last),
            Line::EndSetUpWrongly(n) => {
                self.with_daemon(n, |daemon| Event::SetUpEnded {
                    daemon,
                    last: false,
                });
            }
            Line::Cancel { task: n, force } => {
                self.cancel(choose(&self.model.tasks(), n).copied(), force);
            }
            Line::CancelReleased(n) => self.cancel(choose(&self.released, n).copied(), true),
            Line::Advance(by) => {
                self.model.now += by;
                self.happen(Event::TimerFired);
            }
            Line::FailLaunch => self.happen(Event::LaunchFailed),
            Line::Expect(true) => self.happen(Event::DaemonsExpected),
            Line::Expect(false) => self.happen(Event::NoDaemonsExpected),
            Line::Reset => {
                self.happen(Event::Reset);
                self.daemons.push(self.scheduler.reserve_daemon());
            }
        }
    }

    fn cancel(&mut self, task: Option<TaskId>, force: bool) {
        if let Some(task) = task {
            self.happen(Event::CancelAsked { task, force });
        }
    }

    fn daemon(&self, n: usize) -> DaemonId {
        self.daemons[n.min(self.daemons.len() - 1)]
    }

    fn options(&self, wish: Wish) -> TaskOptions {
        let Wish {
            bytes,
            timeout,
            runtime,
            retries,
            to,
        } = wish;
        let to = to.map(|n| self.daemon(n));
        TaskOptions {
            bytes,
            timeout,
            runtime,
            retries,
            to,
            part: None,
        }
    }

    fn with_daemon(&mut self, n: usize, event: impl FnOnce(DaemonId) -> Event) {
        if let Some(&daemon) = choose(self.model.connected(), n) {
            self.happen(event(daemon));
        }
    }

    fn come_back(&mut self, n: usize, suspect: bool) {
        let suspects = self.model.suspects();
        let among = match suspect {
            true => &suspects[..],
            false => self.model.connected(),
        };
        if let Some(&daemon) = choose(among, n) {
            self.happen(Event::DaemonReturned { daemon });
        }
    }

    fn report_suspect(&mut self, n: usize) {
        let suspects = self.model.suspects();
        let Some(&daemon) = choose(&suspects, n) else {
            return;
        };
        let runs = self.model.runs(daemon);
        let run = runs.first().map_or(RunId(0), |(run, _)| *run);
        let last = n.is_multiple_of(2);
        self.happen(Event::TaskEnded {
            daemon,
            run,
            took: TOOK,
            last,
        });
        self.happen(Event::SetUpEnded { daemon, last });
        self.happen(Event::DaemonLeaving { daemon });
        self.happen(Event::DaemonSuspected { daemon });
        self.happen(Event::DaemonJoined {
            daemon,
            ahead: false,
            more_setups: 0,
        });
    }

    /// Ends a task of a busy daemon, in one of two cases the first that it has.
    fn end(&mut self, n: usize, last: bool) {
        let is_busy = |daemon: &DaemonId| !self.model.runs(*daemon).is_empty();
        let busy = self.model.connected().iter().copied().filter(is_busy);
        let busy: Vec<_> = busy.collect();
        let Some(&daemon) = choose(&busy, n) else {
            return;
        };
        let runs = self.model.runs(daemon);
        let first = (!self.model.setting_up().contains(&daemon)).then_some(runs[0].0);
        let task = self.scheduler.daemon_task(daemon);
        assert_eq!(task.map(|(_, run)| run), first);
        let place = if n.is_multiple_of(2) {
            0
        } else {
            n % runs.len()
        };
        let (run, _) = runs[place];
        assert!(self.scheduler.has_run(daemon, run));
        self.happen(Event::TaskEnded {
            daemon,
            run,
            took: TOOK,
            last,
        });
    }

    fn end_setup(&mut self, n: usize, last: bool) {
        if let Some(&daemon) = choose(&self.model.setting_up(), n) {
            self.happen(Event::SetUpEnded { daemon, last });
        }
    }

    fn reserve(&mut self) -> TaskId {
        let task = self.scheduler.reserve();
        self.orders.insert(task, self.orders.len() as u64 + 1);
        self.fates.insert(task, (0, 0));
        task
    }

    fn happen(&mut self, event: Event) {
        let now = Tick(self.model.now);
        let effects: Vec<_> = self.scheduler.handle(now, event.clone(), &mut ()).collect();
        self.scheduler.check_invariants();
        self.log.extend(&effects);
        let (timers, others): (Vec<_>, Vec<_>) = effects
            .into_iter()
            .partition(|effect| matches!(effect, Effect::ArmTimer { .. }));
        assert_eq!(
            others,
            self.model.handle(event.clone()),
            "effects of {event:?}"
        );
        self.check_timers(&event, &timers);
        others.into_iter().for_each(|effect| self.note(effect));
        assert_eq!(self.scheduler.counts(), self.model.counts());
        assert_eq!(self.scheduler.ignored(), self.model.ignored);
        let memory = self.scheduler.memory();
        assert_eq!(
            (memory.used, memory.peak),
            (self.model.used(), self.model.peak)
        );
        assert_eq!(self.scheduler.admits(), memory.used < 5000);
    }

    /// A timer is armed no later than the earliest deadline, and again whenever it has fired.
    fn check_timers(&self, event: &Event, timers: &[Effect]) {
        if let (Event::TimerFired, Some(earliest)) = (event, self.model.earliest_deadline()) {
            // Once more for what was sent then.
            let [.., Effect::ArmTimer { at }] = timers else {
                panic!("it is armed")
            };
            assert!(at.0 <= earliest && at.0 > self.model.now);
        }
    }

    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Settle { task, .. } => {
                let fate = self.fates.get_mut(&task).expect("a task of ours");
                fate.0 += 1;
                assert_eq!(*fate, (1, 0), "settled once, before it is released");
            }
            Effect::Release { task } => {
                let fate = self.fates.get_mut(&task).expect("a task of ours");
                fate.1 += 1;
                assert_eq!(*fate, (1, 1), "released once, after it was settled");
                self.released.push(task);
            }
            Effect::Send { task, .. } => {
                let order = self.orders[&task];
                if self.sent.insert(task) && self.mode != Mode::Direct {
                    assert!(order > self.last_first_send, "first starts are in order");
                    self.last_first_send = order;
                }
            }
            Effect::Interrupt { .. } => assert_eq!(self.mode, Mode::Queue),
            Effect::Kill { .. } => assert_ne!(self.mode, Mode::Direct),
            Effect::SetUp { .. } | Effect::Forget { .. } | Effect::ArmTimer { .. } => {}
        }
    }

    /// With enough daemons that do their work everything comes to its end.
    fn finish(&mut self) {
        for _ in 0..100_000 {
            if self.model.tasks().is_empty() {
                break;
            }
            if let Some(daemon) = self.model.condemned() {
                self.happen(Event::DaemonLost { daemon });
            } else if self
                .model
                .connected()
                .iter()
                .any(|&daemon| !self.model.runs(daemon).is_empty())
            {
                self.end(0, false);
            } else if !self.model.setting_up().is_empty() {
                self.end_setup(0, false);
            } else if !self.model.suspects().is_empty() {
                self.come_back(0, true);
            } else {
                self.play(&Line::Join(0));
            }
        }
        self.scheduler.check_empty();
        assert!(
            self.fates.values().all(|fate| *fate == (1, 1)),
            "each task came to its end"
        );
    }
}

fn choose<T>(from: &[T], n: usize) -> Option<&T> {
    from.get(n.checked_rem(from.len())?)
}

/// Fewer cases than proptest's default keep the whole suite within seconds; PROPTEST_CASES asks for more.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(cases),
    }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn a_queue_does_what_the_model_does(script in script()) {
        play(Mode::Queue, &script);
    }

    #[test]
    fn dealing_does_what_the_model_does(script in script()) {
        play(Mode::Direct, &script);
    }

    #[test]
    fn single_does_what_the_model_does(script in script()) {
        play(Mode::Single, &script);
    }
}

proptest! {
    #![proptest_config(config(20))]

    #[test]
    fn the_same_script_has_the_same_effects(script in script()) {
        for mode in [Mode::Queue, Mode::Direct, Mode::Single] {
            assert_eq!(play(mode, &script), play(mode, &script));
        }
    }
}

fn play(mode: Mode, script: &[Line]) -> Vec<Effect> {
    // A third of the scripts without any.
    let grace = [0, 40, 400][script.len() % 3];
    let kill_after = [None, Some(100), Some(7), Some(0)][script.len() % 4];
    let mut stage = Stage::new(mode, grace, kill_after);
    script.iter().for_each(|line| stage.play(line));
    stage.finish();
    stage.log
}
