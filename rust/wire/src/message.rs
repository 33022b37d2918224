//! The messages between hub and daemons.

use serde::{Deserialize, Serialize};

/// Joins the data and the control connection of one daemon: 16 random bytes chosen by the daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PairKey(pub [u8; 16]);

impl std::fmt::Debug for PairKey {
    // The key lets a peer claim the other half of a connection: it stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PairKey(..)")
    }
}

/// By which a daemon shows, after a broken connection, that it is the one that was there: 16 random bytes chosen by the
/// hub.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnKey(pub [u8; 16]);

impl ReturnKey {
    /// Whether this is the same key, in the same time for all keys.
    pub fn is(&self, other: &ReturnKey) -> bool {
        let pairs = self.0.iter().zip(other.0);
        std::hint::black_box(pairs.fold(0, |rest, (a, b)| rest | (a ^ b))) == 0
    }
}

impl std::fmt::Debug for ReturnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReturnKey(..)")
    }
}

/// What a daemon needs to know of connections that break while both processes live: when they have, and how to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnTicket {
    /// To be shown.
    pub key: ReturnKey,
    /// Milliseconds for which the hub waits, from when it notices the break; with 0 there is no return.
    pub grace: u32,
    /// Milliseconds without a sign of the other side after which both take a connection for broken.
    pub silence: u32,
}

/// A daemon wants to go on where it was before its connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// Its number, from `Welcome`.
    pub daemon: u32,
    /// From its ticket.
    pub key: ReturnKey,
    /// `Task`, `Shared` and `Forget` messages that it has received since `Welcome`: the hub sends those that follow again.
    pub received: u64,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Tasks and results.
    Data,
    /// Cancellation, exit and the end of the host; read by a thread of its own in the daemon.
    Control,
}

/// First message of a daemon on each of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What this connection is for.
    pub role: Role,
    /// The same on both connections of a daemon.
    pub pair: PairKey,
    /// The daemon was told that tasks are dealt to it directly (`dispatcher = FALSE`).
    pub direct: bool,
    /// Process id of the daemon, for lanes that do not know it. It is believed together with `launcher`.
    pub pid: u32,
    /// The number by which the launcher identifies the daemon; 0 for none.
    pub launcher: u64,
    /// It takes tasks before their turn, where it gets words for [claims](crate::claim) with its welcome.
    pub ahead: bool,
    /// On the data connection of a daemon that has been there before.
    pub returning: Option<Return>,
}

/// Why a hub does not take a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefuseReason {
    /// The daemon's `dispatcher` setting is not the hub's.
    Mode {
        /// The hub deals tasks directly.
        hub_is_direct: bool,
    },
    /// The protocol version differs.
    Version,
    /// The hub is closing.
    Closing,
    /// The hub's process can open no more files.
    Files,
    /// The daemon wants to return, and the hub does not know it, or not any more.
    Forgotten,
}

/// Bits that travel with a task and are given to the evaluator unread. What they mean is its business, but for the one
/// named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskFlags(pub u8);

impl TaskFlags {
    /// The task belongs to an `everywhere()`: its effects become the daemon's clean state.
    pub const EVERYWHERE: TaskFlags = TaskFlags(1);
}

/// The run of set-ups before a daemon's first task: they belong to no task, nobody waits for them, and no limit counts
/// them.
pub const SETUP_RUN: u64 = 0;

/// How a run of a task ended, as its daemon reports it. The payload of the report is the value or the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// The evaluation returned; the payload is its value.
    Value,
    /// The evaluation failed; the payload describes the error.
    Failed,
    /// The evaluation was interrupted; there is no payload.
    Interrupted,
    /// The daemon had no memory for what was sent, and evaluated nothing; there is no payload.
    OutOfMemory,
}

/// Why a daemon leaves by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaveReason {
    /// It was idle for its `idletime`.
    IdleTime,
    /// It has lived for its `walltime`.
    WallTime,
    /// It has evaluated its `maxtasks`.
    MaxTasks,
    /// It was told to exit.
    Told,
    /// A signal has its process end, which nobody had planned for the pool.
    Quits,
}

/// Messages from the hub. `Welcome`, `WelcomeBack`, `Task`, `Shared`, `Forget` and `Received` travel on the data connection,
/// `ControlTaken`, `Cancel`, `Exit`, `Goodbye` and `Ping` on the control connection, `Refuse` on either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDaemon {
    /// The daemon is accepted. The payload holds settings for the evaluator.
    Welcome {
        /// Number of the daemon in the life of the hub, from 1.
        daemon: u32,
        /// For its return, over lanes whose connections break while both processes live.
        ticket: Option<ReturnTicket>,
        /// A descriptor comes with this message: that of the words for [claims](crate::claim).
        ahead: bool,
    },
    /// The daemon has returned. What it had not received follows.
    WelcomeBack {
        /// As in `Received`: the daemon sends what follows again.
        received: u64,
    },
    /// Acknowledges reports, which the daemon need not keep any longer. Not sent for each report.
    Received {
        /// `Ended` and `Leaving` messages since `Welcome`.
        count: u64,
    },
    /// The control connection is accepted; the daemon may open its data connection.
    ControlTaken,
    /// The daemon is refused; the connection ends.
    Refuse(RefuseReason),
    /// Evaluate the payload.
    Task {
        /// Identifies this run in the report and in `Cancel`.
        run: u64,
        /// A part of the task sent before with `Shared`.
        shared: Option<u64>,
        /// For the evaluator.
        flags: TaskFlags,
        /// Number of the attempt at this task, from 1.
        attempt: u32,
        /// Which word decides whether the daemon may [begin](crate::claim::begin) it; `None` where its turn has come.
        word: Option<u16>,
    },
    /// Keep the payload: tasks refer to it.
    Shared {
        /// Number of the part.
        id: u64,
    },
    /// No further task refers to this part.
    Forget {
        /// Number of the part.
        id: u64,
    },
    /// Interrupt this run if it is still being evaluated.
    Cancel {
        /// The run meant: a late message never hits the next one.
        run: u64,
    },
    /// Leave, whatever `autoexit` says, after the task in progress.
    Exit,
    /// The hub closes: the end of the connection that follows is no break. Where a daemon may return only.
    Goodbye,
    /// Answer `Pong`: comes at regular intervals where the lane does not tell whether the peer is there.
    Ping {
        /// Milliseconds by which the next one may come later than usual, as the daemon has nothing to do.
        pause: u32,
    },
}

/// Messages from a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromDaemon {
    /// First message of each connection.
    Hello(Hello),
    /// A run has ended; the payload is what [`RunEnd`] says.
    Ended {
        /// The run.
        run: u64,
        /// How it ended.
        end: RunEnd,
        /// Microseconds of its evaluation.
        took: u64,
        /// The daemon leaves now; what was sent meanwhile is not begun.
        last: Option<LeaveReason>,
    },
    /// The daemon leaves while idle; what was sent meanwhile is not begun.
    Leaving(LeaveReason),
    /// The answer to `Ping`, on the control connection.
    Pong,
    /// Where the daemon runs: the payload is an [`Origin`](crate::Origin). Once on each data connection, after the welcome.
    Origin,
}
