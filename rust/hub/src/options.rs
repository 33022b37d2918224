//! How a hub is opened.

use std::time::Duration;

use mirai_lanes::{Access, Address, SILENCE};
use mirai_scheduler::Mode;
use mirai_wire::Payload;

use crate::{MemoryReturn, UnservedListener};

/// Makes the settings for the `n`-th daemon to join, from 0: bytes that its evaluator gets before any task. It runs on
/// whichever thread drives the connections, one call at a time.
pub type Welcome = Box<dyn FnMut(u64) -> Payload + Send>;

/// What [`HubOptions::grace`] is unless said otherwise: longer than a router takes to restart a line, and short beside the
/// time that is lost with a task.
pub const GRACE: Duration = Duration::from_secs(10);

/// How to open a hub.
pub struct HubOptions {
    /// Where to listen.
    pub address: Address,
    /// Where to listen as well: daemons serve one queue, wherever they connect.
    pub also: Vec<Address>,
    /// Who may connect, at an address of a network.
    pub access: Access,
    /// Number by which daemons launched from this process identify themselves, so that their process ids can be
    /// trusted; 0 for none.
    pub launcher: u64,
    /// How tasks find their daemons.
    pub mode: Mode,
    /// Submissions are refused while queued tasks take this many bytes or more; `None` for no limit.
    pub capacity: Option<u64>,
    /// Settings for daemons; `None` for none.
    pub welcome: Option<Welcome>,
    /// How long a daemon whose connection breaks may stay away before it is lost, at an address of a network; zero is not at
    /// all.
    pub grace: Duration,
    /// How long nothing may be heard of the machine of a daemon before the connection is taken for broken, by both sides, at an
    /// address of a network: [`SILENCE`] is the default.
    pub silence: Duration,
    /// How long a daemon may take to stop a task that it was asked to stop before it is killed or, where it cannot be, sent away; `None`
    /// is for ever, zero is at once.
    pub kill_after: Option<Duration>,
    /// Receives reports of freed memory; `None` for nobody.
    pub memory_return: Option<&'static MemoryReturn>,
    /// Is told of tasks that wait for nothing; `None` for nobody.
    pub unserved: Option<UnservedListener>,
}

impl HubOptions {
    /// A hub with one FIFO queue and no limits.
    pub fn new(address: Address) -> HubOptions {
        HubOptions {
            address,
            also: Vec::new(),
            access: Access::default(),
            launcher: 0,
            mode: Mode::Queue,
            capacity: None,
            welcome: None,
            grace: GRACE,
            silence: SILENCE,
            kill_after: None,
            memory_return: None,
            unserved: None,
        }
    }
}

/// Limit of evaluations per call of [`Hub::everywhere`](crate::Hub::everywhere): more than the daemons a hub can have.
pub const MAX_EVALUATIONS: u32 = 1 << 16;

/// When a connection over a network is taken for broken, a daemon for lost, and one that does not stop is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BreakTimes {
    /// See [`HubOptions::grace`].
    pub grace: Duration,
    /// See [`HubOptions::silence`].
    pub silence: Duration,
    /// See [`HubOptions::kill_after`].
    pub kill_after: Option<Duration>,
}

/// The number that daemons show which the [launcher](HubOptions::launcher) of this number has started in place of others.
pub fn launcher_of_replacements(launcher: u64) -> u64 {
    launcher ^ (1 << 63)
}
