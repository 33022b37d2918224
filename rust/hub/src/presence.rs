//! Who comes and who goes, for those who keep a pool at its size.

use std::sync::Arc;

use crate::Death;

/// What has happened to a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It has joined.
    Joined {
        /// The launcher that the hub knows has started it.
        launched: bool,
        /// It takes the place of another.
        replaces: bool,
    },
    /// It has left, as was to be expected.
    Left,
    /// It has died.
    Died {
        /// What is known of it.
        death: Death,
        /// Number of reports that the hub has received so far, from all daemons.
        reports: u64,
    },
    /// A replacement has failed at what is replayed on it; it is there.
    NotSetUp {
        /// Its number, as of a [`Worker`](crate::Worker).
        id: u32,
        /// As above.
        reports: u64,
    },
    /// More was evaluated everywhere than [may be kept](crate::ReplayLimit).
    TooMuchToReplay,
    /// So many tasks wait, as [was asked](crate::HubHandle::tell_when_waiting).
    Waiting {
        /// Tasks that wait for a daemon.
        tasks: u64,
        /// As above.
        reports: u64,
    },
}

/// Is told of daemons, on the thread that notices and without any lock. It must return quickly.
pub type PresenceListener = Arc<dyn Fn(Presence) + Send + Sync>;
