//! What the scheduler is told.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::{DaemonId, PartId, RunId, TaskId};

/// How tasks find their daemons.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// One FIFO queue; each daemon has at most one task that it evaluates. Cancelled and timed-out tasks are interrupted.
    #[default]
    Queue,
    /// Tasks are dealt to the daemons in turn at submission and wait there. Cancelling only ends the waiting for a task.
    Direct,
    /// One FIFO queue, as with [`Mode::Queue`], for daemons that evaluate a single task. Cancelling only ends the
    /// waiting for a task.
    Single,
}

/// Fixed properties of a scheduler.
#[derive(Clone, Debug, Default)]
pub struct SchedulerOptions {
    /// How tasks find their daemons.
    pub mode: Mode,
    /// [`Scheduler::admits`](crate::Scheduler::admits) is false while queued tasks take this many bytes or more; `None`
    /// for no limit.
    pub capacity: Option<u64>,
    /// Milliseconds for which a daemon whose connection broke may stay away before it is lost; 0 is not at all.
    pub grace: u64,
    /// Milliseconds from an interrupt until a daemon that still has not reported on its task is [killed](crate::Effect::Kill)
    /// ([`Mode::Queue`] only); `None` is never, 0 is at once.
    pub kill_after: Option<u64>,
}

/// Properties of a task.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskOptions {
    /// Bytes the task occupies while it is queued, besides its part.
    pub bytes: u64,
    /// What it has in common with others: it counts once, as long as any of them is queued.
    pub part: Option<PartId>,
    /// Milliseconds from submission until it is given up; `None` is never, 0 is at once.
    pub timeout: Option<u64>,
    /// Milliseconds from the beginning of each attempt until it is given up; `None` is never.
    pub runtime: Option<NonZeroU64>,
    /// How often it may begin again after a daemon has died evaluating it.
    pub retries: u32,
    /// The daemon it is meant for ([`Mode::Direct`] only). One that is not connected cannot have it: the task is dealt.
    pub to: Option<DaemonId>,
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A daemon has connected and is ready.
    DaemonJoined {
        /// An id from [`Scheduler::reserve_daemon`](crate::Scheduler::reserve_daemon).
        daemon: DaemonId,
        /// It may be sent tasks before their turn ([`Mode::Queue`] only), as there are [`Claims`](crate::Claims) for it.
        ahead: bool,
        /// Set-ups that it has besides those that [all](Event::SetUpAdded) have; the caller knows in which order.
        more_setups: usize,
    },
    /// A daemon has died or its connection has ended. What it was evaluating is lost, or waits again at the head of the queue
    /// where it may be [retried](TaskOptions::retries).
    DaemonLost {
        /// The daemon; one that was leaving is forgotten without a trace.
        daemon: DaemonId,
    },
    /// The connection of a daemon has broken, and the daemon may be alive. It keeps what was sent to it, gets nothing
    /// more from the queue, and is lost when it has not returned within [`SchedulerOptions::grace`].
    DaemonSuspected {
        /// The daemon.
        daemon: DaemonId,
    },
    /// A daemon could not come back for so long, by no fault of its own: its grace lasts longer by that. Without effect where it is
    /// not [suspected](Event::DaemonSuspected).
    DaemonHeldUp {
        /// The daemon.
        daemon: DaemonId,
        /// How long.
        millis: u64,
    },
    /// A daemon has connected again, whether it was suspected or not. What interrupts it may have missed comes once more.
    DaemonReturned {
        /// The daemon.
        daemon: DaemonId,
    },
    /// A daemon has said goodbye while it was idle. What was sent to it meanwhile was not begun and goes back to the head
    /// of the queue. Its end of connection may follow as [`Event::DaemonLost`].
    DaemonLeaving {
        /// The daemon.
        daemon: DaemonId,
    },
    /// Daemons that join from now on have one more thing to do before their first task: see
    /// [`Effect::SetUp`](crate::Effect::SetUp). Until the next [`Event::Reset`].
    SetUpAdded,
    /// A daemon is done with the first of its set-ups that it was not done with.
    SetUpEnded {
        /// The daemon.
        daemon: DaemonId,
        /// The daemon leaves after this one.
        last: bool,
    },
    /// A task is submitted.
    TaskSubmitted {
        /// An id from [`Scheduler::reserve`](crate::Scheduler::reserve).
        task: TaskId,
        /// Its properties.
        options: TaskOptions,
    },
    /// One evaluation per daemon, and a barrier for what is submitted afterwards.
    EverywhereSubmitted {
        /// Reserved ids, as many as [`Scheduler::everywhere_count`](crate::Scheduler::everywhere_count) says.
        tasks: Vec<TaskId>,
        /// Properties of each.
        options: TaskOptions,
    },
    /// A daemon has reported on a task.
    TaskEnded {
        /// The daemon that reports.
        daemon: DaemonId,
        /// The run it reports on.
        run: RunId,
        /// How long the evaluation has taken.
        took: Duration,
        /// The daemon leaves after this one. Further tasks sent to it were not begun and go back to the head of the queue.
        last: bool,
    },
    /// A task is to be cancelled.
    CancelAsked {
        /// The task; one that has its outcome stays as it is.
        task: TaskId,
        /// Whether its daemon is to be killed if it has begun the task and not reported on it, whatever outcome that has
        /// (in other modes than [`Mode::Direct`], where a daemon has tasks of others, too).
        force: bool,
    },
    /// The time of the last [`Effect::ArmTimer`](crate::Effect::ArmTimer) has come.
    TimerFired,
    /// A daemon launched for one task will never come ([`Mode::Single`]): the oldest waiting task is lost.
    LaunchFailed,
    /// Nobody will launch daemons any more: without any, what waits is lost, and so is what is submitted. Until the next
    /// [`Event::DaemonsExpected`].
    NoDaemonsExpected,
    /// Daemons are launched.
    DaemonsExpected,
    /// The pool ends: all open tasks settle as reset, all daemons are forgotten.
    Reset,
}
