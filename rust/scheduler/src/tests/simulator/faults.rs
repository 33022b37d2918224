//! What goes wrong in a run, and how often.

use super::chance::Chance;
use crate::Mode;

/// Numbers named `_percent` are chances per occasion; times are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub(crate) mode: Mode,
    pub(crate) daemons: u64,
    /// Things the client does: submissions and cancellations.
    pub(crate) actions: u64,
    /// Longest pause between two of these.
    pub(crate) pause: u64,
    pub(crate) delay: u64,
    pub(crate) evaluation: u64,
    pub(crate) everywhere_percent: u64,
    /// One more thing for daemons to do before their first task.
    pub(crate) setup_percent: u64,
    pub(crate) cancel_percent: u64,
    pub(crate) timeout_percent: u64,
    /// The task is meant for one daemon, which may be gone.
    pub(crate) target_percent: u64,
    /// Daemons are sent tasks ahead of their turn.
    pub(crate) ahead: bool,
    /// Microseconds that evaluations are said to take, whatever they do take.
    pub(crate) took: u64,
    /// How often at most a task may be retried.
    pub(crate) retries: u64,
    /// The daemon dies during an evaluation.
    pub(crate) crash_percent: u64,
    /// The hub takes a daemon for dead that still evaluates, and reports later.
    pub(crate) disconnect_percent: u64,
    /// Nothing comes through for a while, and then what was said meanwhile.
    pub(crate) partition_percent: u64,
    /// How long a daemon may stay away: half of the partitions last longer.
    pub(crate) grace: u64,
    /// A report arrives twice.
    pub(crate) repeat_percent: u64,
    /// The evaluation does not notice an interrupt.
    pub(crate) deaf_percent: u64,
    /// The task may run for so long only.
    pub(crate) runtime_percent: u64,
    /// A cancellation is by force.
    pub(crate) force_percent: u64,
    /// Who does not stop is killed after so long.
    pub(crate) kill_after: Option<u64>,
    /// A launch fails, where each task has its own.
    pub(crate) launch_percent: u64,
    /// A daemon leaves after that long without a task.
    pub(crate) idle_limit: Option<u64>,
    /// A daemon leaves after that many tasks.
    pub(crate) task_limit: Option<u64>,
    /// A daemon that died or left is replaced.
    pub(crate) replace_percent: u64,
    pub(crate) reset_percent: u64,
    /// Events between two checks of all invariants.
    pub(crate) check_every: u64,
}

impl Faults {
    pub(crate) fn none(seed: u64) -> Self {
        let mut chance = Chance::new(!seed);
        Self {
            mode: if chance.percent(50) {
                Mode::Queue
            } else {
                Mode::Direct
            },
            daemons: 1 + chance.below(8),
            actions: 200,
            pause: 1 + chance.below(10),
            delay: 1 + chance.below(10),
            evaluation: 1 + chance.below(50),
            everywhere_percent: 5,
            setup_percent: 1,
            cancel_percent: 0,
            timeout_percent: 0,
            target_percent: 0,
            ahead: chance.percent(60),
            took: 10 + chance.below(200),
            retries: 0,
            crash_percent: 0,
            disconnect_percent: 0,
            partition_percent: 0,
            grace: 1 + chance.below(300),
            repeat_percent: 0,
            deaf_percent: 0,
            runtime_percent: 0,
            force_percent: 0,
            kill_after: None,
            launch_percent: 0,
            idle_limit: None,
            task_limit: None,
            replace_percent: 0,
            reset_percent: 0,
            check_every: 1,
        }
    }

    /// Each kind of fault is absent from some runs, so that the others go far.
    pub(crate) fn drawn(seed: u64) -> Self {
        let mut chance = Chance::new(!seed);
        let mut some = |of: u64| {
            if chance.percent(60) {
                chance.below(of + 1)
            } else {
                0
            }
        };
        let (idle, tasks) = (some(60), some(5));
        let drawn = Self {
            everywhere_percent: some(20),
            setup_percent: some(3),
            cancel_percent: some(30),
            timeout_percent: some(50),
            crash_percent: some(10),
            disconnect_percent: some(5),
            partition_percent: some(10),
            repeat_percent: some(10),
            deaf_percent: some(50),
            launch_percent: some(20),
            idle_limit: (idle > 0).then_some(idle),
            task_limit: (tasks > 0).then_some(tasks),
            replace_percent: 100 - some(60),
            reset_percent: u64::from(some(10) > 8),
            target_percent: some(50),
            retries: some(3),
            runtime_percent: some(40),
            force_percent: some(30),
            kill_after: [None, Some(0), Some(some(40)), Some(some(200))][some(3) as usize],
            ..Self::none(seed)
        };
        let mode = [
            Mode::Queue,
            Mode::Queue,
            Mode::Queue,
            Mode::Direct,
            Mode::Single,
        ];
        match *chance.choose(&mode).expect("one of them") {
            // Daemons of one task each are no pool to reach everywhere.
            Mode::Single => Self {
                mode: Mode::Single,
                everywhere_percent: 0,
                ..drawn
            },
            mode => Self { mode, ..drawn },
        }
    }

    /// Many of everything.
    pub(crate) fn crowd() -> Self {
        Self {
            mode: Mode::Queue,
            daemons: 1_000,
            actions: 102_500,
            pause: 1,
            delay: 3,
            evaluation: 20,
            everywhere_percent: 0,
            setup_percent: 0,
            cancel_percent: 1,
            timeout_percent: 1,
            crash_percent: 1,
            retries: 1,
            partition_percent: 1,
            runtime_percent: 1,
            kill_after: Some(30),
            repeat_percent: 1,
            deaf_percent: 50,
            replace_percent: 100,
            check_every: 50_000,
            ..Self::none(0)
        }
    }
}
