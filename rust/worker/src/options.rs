//! How a daemon is to run, and why it has left.

use std::time::Duration;

use mirai_lanes::{Address, Credentials};
use mirai_wire::{LeaveReason, Origin};

use crate::{LeaveHandle, origin};

/// Interval at which an attended daemon looks for an interrupt.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// What a daemon does when its hub is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoExit {
    /// Leave at once; a task in progress has 200 ms, then the process is ended.
    #[default]
    Yes,
    /// Finish the task in progress, then leave.
    Finish,
    /// Stay, and wait for a hub to listen at the same address.
    No,
}

/// How a daemon runs.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Where the hub listens.
    pub address: Address,
    /// Credentials for an address of a network.
    pub credentials: Credentials,
    /// Tasks are dealt to the daemon directly; has to agree with the hub.
    pub direct: bool,
    /// Keep trying until a hub listens, instead of failing at once.
    pub asyncdial: bool,
    /// What to do when the hub is gone.
    pub autoexit: AutoExit,
    /// Leave after this long without a task.
    pub idletime: Option<Duration>,
    /// Leave this long after the start; a task in progress is finished.
    pub walltime: Option<Duration>,
    /// Leave after this many tasks; 0 counts as 1.
    pub maxtasks: Option<u64>,
    /// Someone at this process may want it to stop: ask [`Evaluator::wants_to_leave`](crate::Evaluator::wants_to_leave)
    /// while there is no task.
    pub attended: bool,
    /// The number by which the launcher of this process identifies it; 0 for none.
    pub launcher: u64,
    /// Where this process runs, for the hub's users to read.
    pub origin: Origin,
    /// The handle by which other threads ask the daemon to leave.
    pub leave: LeaveHandle,
}

impl WorkerOptions {
    /// A daemon without limits, which runs where the system and the environment say.
    pub fn new(address: Address) -> WorkerOptions {
        WorkerOptions {
            address,
            credentials: Credentials::default(),
            direct: false,
            asyncdial: false,
            autoexit: AutoExit::default(),
            idletime: None,
            walltime: None,
            maxtasks: None,
            attended: false,
            launcher: 0,
            origin: origin::here(),
            leave: LeaveHandle::default(),
        }
    }
}

/// Why a daemon has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// Its connection ended, or it was told to leave.
    Ended,
    /// Its idle time was reached.
    IdleTime,
    /// Its wall time was reached.
    WallTime,
    /// Its number of tasks was reached.
    MaxTasks,
    /// Someone at this process wanted it to stop.
    Interrupted,
}

impl ExitReason {
    /// The number `daemon()` returns in R; of an interrupt, which it does not return from, a negative one.
    pub fn code(self) -> i32 {
        match self {
            ExitReason::Ended => 0,
            ExitReason::IdleTime => 1,
            ExitReason::WallTime => 2,
            ExitReason::MaxTasks => 3,
            ExitReason::Interrupted => -1,
        }
    }
}

impl From<LeaveReason> for ExitReason {
    fn from(reason: LeaveReason) -> Self {
        match reason {
            LeaveReason::IdleTime => ExitReason::IdleTime,
            LeaveReason::WallTime => ExitReason::WallTime,
            LeaveReason::MaxTasks => ExitReason::MaxTasks,
            LeaveReason::Told | LeaveReason::Quits => ExitReason::Ended,
        }
    }
}
