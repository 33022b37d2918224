//! Counts peers that were turned away, by kind, and limits how often that is logged.

use std::time::Duration;

use mirai_lanes::LaneError;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Shortest time between two log entries of the same kind.
const QUIET: Duration = Duration::from_secs(60);

/// Peers that a hub has turned away since it opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// They run as another user of this machine.
    pub strangers: u64,
    /// They did not prove that they may connect, by certificate, token, or at all; or what came over the connection of one that had
    /// was not all its own.
    pub unproven: u64,
    /// They did not complete their greeting in time.
    pub silent: u64,
    /// They were admitted and then spoke another protocol or version, were set up for another hub, or found no free
    /// descriptors.
    pub unfit: u64,
}

/// Why a peer was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stranger,
    Unproven,
    Silent,
    Unfit,
}

impl Kind {
    pub(crate) fn of(error: &LaneError) -> Kind {
        match error {
            LaneError::Stranger { .. } => Kind::Stranger,
            _ => Kind::Unproven,
        }
    }
}

/// Counts refusals, and decides which of them to log.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    refused: Refused,
    /// When each kind was last logged.
    logged: [Option<Instant>; 4],
}

impl Refusals {
    /// Counts one. Returns the count of its kind if it is to be logged.
    pub(crate) fn count(&self, kind: Kind, now: Instant) -> Option<u64> {
        let mut counts = self.0.lock();
        let refused = &mut counts.refused;
        let count = match kind {
            Kind::Stranger => &mut refused.strangers,
            Kind::Unproven => &mut refused.unproven,
            Kind::Silent => &mut refused.silent,
            Kind::Unfit => &mut refused.unfit,
        };
        *count += 1;
        let count = *count;
        let logged = &mut counts.logged[kind as usize];
        let is_due = logged.is_none_or(|before| now >= before + QUIET);
        if is_due {
            *logged = Some(now);
        }
        is_due.then_some(count)
    }

    pub(crate) fn so_far(&self) -> Refused {
        self.0.lock().refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_and_one_of_a_kind_is_logged_each_minute() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!(refusals.count(Kind::Stranger, now), Some(1));
        assert_eq!(refusals.count(Kind::Stranger, now + QUIET / 2), None);
        assert_eq!(refusals.count(Kind::Silent, now), Some(1));
        assert_eq!(refusals.count(Kind::Stranger, now + QUIET), Some(3));
        let refused = Refused {
            strangers: 3,
            silent: 1,
            ..Refused::default()
        };
        assert_eq!(refusals.so_far(), refused);
    }
}
