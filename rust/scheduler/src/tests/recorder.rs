//! A scheduler whose effects are recorded, and have to be claimed.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::time::Duration;

use super::claims::Table;
use crate::slab::Key;
use crate::{
    Counts, DaemonId, Effect, Event, KillReason, Mode, RunId, Scheduler, SchedulerOptions, Settled,
    TaskId, TaskOptions, Tick,
};

/// Feeds events to a scheduler. Every effect is to be claimed by [`Recorder::expect`] before the next event and before
/// the end of the test.
pub(crate) struct Recorder {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: u64,
    /// The ids of daemons, by the numbers that tests give them.
    daemons: BTreeMap<u32, DaemonId>,
    unclaimed: VecDeque<Effect>,
    pub(crate) claims: Table,
    /// What each evaluation takes.
    pub(crate) took: Duration,
}

impl Recorder {
    pub(crate) fn new(mode: Mode) -> Self {
        Self::with_capacity(mode, None)
    }

    pub(crate) fn with_capacity(mode: Mode, capacity: Option<u64>) -> Self {
        let scheduler = Scheduler::new(SchedulerOptions {
            mode,
            capacity,
            grace: 0,
            kill_after: None,
        });
        Self {
            scheduler,
            now: 0,
            daemons: BTreeMap::new(),
            unclaimed: VecDeque::new(),
            claims: Table::default(),
            took: Duration::from_millis(100),
        }
    }

    /// With daemons 1 to `n` connected, which may stay away for 100 ms.
    pub(crate) fn with_grace(mode: Mode, n: u32) -> Self {
        let mut recorder = Self::new(mode);
        recorder.scheduler.grace = 100;
        (1..=n).for_each(|daemon| recorder.join(daemon));
        recorder
    }

    /// With daemons 1 to `n` connected.
    pub(crate) fn with_daemons(mode: Mode, n: u32) -> Self {
        let mut recorder = Self::new(mode);
        (1..=n).for_each(|daemon| recorder.join(daemon));
        recorder
    }

    pub(crate) fn event(&mut self, event: Event) {
        assert!(
            self.unclaimed.is_empty(),
            "unclaimed before {event:?}: {:?}",
            self.unclaimed
        );
        let claims = &mut self.claims;
        let effects = self.scheduler.handle(Tick(self.now), event, claims);
        let effects: Vec<_> = effects.collect();
        for effect in &effects {
            if let Effect::Send {
                run, ahead: true, ..
            } = effect
            {
                claims.offer(*run);
            }
        }
        let effects = effects.into_iter().map(|effect| self.by_number(effect));
        self.unclaimed.extend(effects.collect::<Vec<_>>());
        self.scheduler.check_invariants();
    }

    /// The daemon that tests call `number`: it gets its id when it is first named.
    pub(crate) fn daemon(&mut self, number: u32) -> DaemonId {
        let reserve = || self.scheduler.reserve_daemon();
        *self.daemons.entry(number).or_insert_with(reserve)
    }

    /// The same effect as [`send`] and [`interrupt`] write it.
    fn by_number(&self, mut effect: Effect) -> Effect {
        if let Effect::Send { to: daemon, .. }
        | Effect::SetUp { daemon, .. }
        | Effect::Forget { daemon }
        | Effect::Kill { daemon, .. }
        | Effect::Interrupt { daemon, .. } = &mut effect
        {
            let (number, _) = (self.daemons.iter())
                .find(|(_, id)| *id == daemon)
                .expect("a daemon of ours");
            *daemon = written(*number);
        }
        effect
    }

    /// Claims all effects of the last event, in their order.
    #[track_caller]
    pub(crate) fn expect<const N: usize>(&mut self, effects: [Effect; N]) {
        let recorded: Vec<_> = self.unclaimed.drain(..).collect();
        assert_eq!(recorded, effects);
    }

    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        self.expect([]);
    }

    /// Claims effects that an earlier test has looked at.
    pub(crate) fn skip(&mut self) -> Vec<Effect> {
        self.unclaimed.drain(..).collect()
    }

    pub(crate) fn join(&mut self, daemon: u32) {
        let daemon = self.daemon(daemon);
        let ahead = false;
        self.event(Event::DaemonJoined {
            daemon,
            ahead,
            more_setups: 0,
        });
    }

    pub(crate) fn join_with_setups(&mut self, daemon: u32, more_setups: usize) {
        let daemon = self.daemon(daemon);
        self.event(Event::DaemonJoined {
            daemon,
            ahead: false,
            more_setups,
        });
    }

    /// A daemon that takes tasks ahead of their turn.
    pub(crate) fn join_ahead(&mut self, daemon: u32) {
        let daemon = self.daemon(daemon);
        let ahead = true;
        self.event(Event::DaemonJoined {
            daemon,
            ahead,
            more_setups: 0,
        });
    }

    pub(crate) fn lose(&mut self, daemon: u32) {
        let daemon = self.daemon(daemon);
        self.event(Event::DaemonLost { daemon });
    }

    pub(crate) fn suspect(&mut self, daemon: u32) {
        let daemon = self.daemon(daemon);
        self.event(Event::DaemonSuspected { daemon });
    }

    pub(crate) fn hold_up(&mut self, daemon: u32, millis: u64) {
        let daemon = self.daemon(daemon);
        self.event(Event::DaemonHeldUp { daemon, millis });
    }

    pub(crate) fn come_back(&mut self, daemon: u32) {
        let daemon = self.daemon(daemon);
        self.event(Event::DaemonReturned { daemon });
    }

    pub(crate) fn leave(&mut self, daemon: u32) {
        let daemon = self.daemon(daemon);
        self.event(Event::DaemonLeaving { daemon });
    }

    pub(crate) fn submit(&mut self) -> TaskId {
        self.submit_with(TaskOptions::default())
    }

    pub(crate) fn submit_bytes(&mut self, bytes: u64) -> TaskId {
        self.submit_with(TaskOptions {
            bytes,
            ..TaskOptions::default()
        })
    }

    pub(crate) fn submit_timed(&mut self, timeout: u64) -> TaskId {
        self.submit_with(TaskOptions {
            timeout: Some(timeout),
            ..TaskOptions::default()
        })
    }

    pub(crate) fn submit_to(&mut self, daemon: u32) -> TaskId {
        let to = self.daemon(daemon);
        self.submit_with(TaskOptions {
            to: Some(to),
            ..TaskOptions::default()
        })
    }

    pub(crate) fn submit_with(&mut self, options: TaskOptions) -> TaskId {
        let task = self.scheduler.reserve();
        self.event(Event::TaskSubmitted { task, options });
        task
    }

    /// `N` is what the caller expects `everywhere_count(min)` to be.
    #[track_caller]
    pub(crate) fn everywhere<const N: usize>(&mut self, min: u32) -> [TaskId; N] {
        assert_eq!(self.scheduler.everywhere_count(min) as usize, N);
        let tasks = std::array::from_fn(|_| self.scheduler.reserve());
        let options = TaskOptions::default();
        self.event(Event::EverywhereSubmitted {
            tasks: tasks.to_vec(),
            options,
        });
        tasks
    }

    pub(crate) fn end(&mut self, daemon: u32, run: u64) {
        let daemon = self.daemon(daemon);
        self.event(Event::TaskEnded {
            daemon,
            run: RunId(run),
            took: self.took,
            last: false,
        });
    }

    /// The same once the effects of the last event are claimed.
    #[track_caller]
    pub(crate) fn end_after<const N: usize>(
        &mut self,
        effects: [Effect; N],
        daemon: u32,
        run: u64,
    ) {
        self.expect(effects);
        self.end(daemon, run);
    }

    pub(crate) fn end_last(&mut self, daemon: u32, run: u64) {
        let daemon = self.daemon(daemon);
        self.event(Event::TaskEnded {
            daemon,
            run: RunId(run),
            took: self.took,
            last: true,
        });
    }

    pub(crate) fn end_setup(&mut self, daemon: u32, last: bool) {
        let daemon = self.daemon(daemon);
        self.event(Event::SetUpEnded { daemon, last });
    }

    pub(crate) fn cancel(&mut self, task: TaskId) {
        let force = false;
        self.event(Event::CancelAsked { task, force });
    }

    pub(crate) fn force(&mut self, task: TaskId) {
        let force = true;
        self.event(Event::CancelAsked { task, force });
    }

    /// With daemons 1 to `n` connected, which have 100 ms to stop.
    pub(crate) fn with_kills(mode: Mode, n: u32) -> Self {
        let mut recorder = Self::with_daemons(mode, n);
        recorder.scheduler.kill_after = Some(100);
        recorder
    }

    pub(crate) fn submit_limited(&mut self, runtime: u64) -> TaskId {
        self.submit_with(TaskOptions {
            runtime: NonZeroU64::new(runtime),
            ..TaskOptions::default()
        })
    }

    pub(crate) fn fire_at(&mut self, now: u64) {
        self.now = now;
        self.event(Event::TimerFired);
    }

    /// Awaiting, executing, completed.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let Counts {
            awaiting,
            executing,
            completed,
            ..
        } = self.scheduler.counts();
        (awaiting, executing, completed)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(
                self.unclaimed.is_empty(),
                "unclaimed at the end: {:?}",
                self.unclaimed
            );
        }
    }
}

/// Stands for a daemon in effects that tests write down.
fn written(daemon: u32) -> DaemonId {
    DaemonId(Key::new(0, daemon.into()))
}

pub(crate) fn send(to: u32, task: TaskId, run: u64) -> Effect {
    Effect::Send {
        to: written(to),
        task,
        run: RunId(run),
        attempt: 1,
        ahead: false,
    }
}

/// The same after other daemons have died evaluating the task.
pub(crate) fn send_again(to: u32, task: TaskId, run: u64, attempt: u32) -> Effect {
    Effect::Send {
        to: written(to),
        task,
        run: RunId(run),
        attempt,
        ahead: false,
    }
}

pub(crate) fn set_up(daemon: u32, setup: usize) -> Effect {
    Effect::SetUp {
        daemon: written(daemon),
        setup,
    }
}

pub(crate) fn interrupt(daemon: u32, run: u64) -> Effect {
    Effect::Interrupt {
        daemon: written(daemon),
        run: RunId(run),
    }
}

pub(crate) fn forget(daemon: u32) -> Effect {
    Effect::Forget {
        daemon: written(daemon),
    }
}

pub(crate) fn kill(daemon: u32, task: TaskId, why: KillReason) -> Effect {
    Effect::Kill {
        daemon: written(daemon),
        task,
        why,
    }
}

pub(crate) fn ran_out(task: TaskId) -> Effect {
    settle(task, Settled::RanOut)
}

pub(crate) fn settle(task: TaskId, how: Settled) -> Effect {
    Effect::Settle { task, how }
}

pub(crate) fn ended(task: TaskId) -> Effect {
    settle(task, Settled::Ended)
}

pub(crate) fn lost(task: TaskId) -> Effect {
    settle(task, Settled::Lost)
}

pub(crate) fn cancelled(task: TaskId) -> Effect {
    settle(task, Settled::Cancelled)
}

pub(crate) fn timed_out(task: TaskId) -> Effect {
    settle(task, Settled::TimedOut)
}

pub(crate) fn release(task: TaskId) -> Effect {
    Effect::Release { task }
}

pub(crate) fn arm(at: u64) -> Effect {
    Effect::ArmTimer { at: Tick(at) }
}
