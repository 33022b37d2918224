//! Tasks that wait while nobody will serve them: no daemon is there, and none is being started.

use std::time::{Duration, Instant};

use crate::Death;

/// Tasks that have waited for nothing.
#[derive(Debug, Clone)]
pub struct Unserved {
    /// How many wait.
    pub tasks: u64,
    /// How many daemons have ever joined.
    pub joined: u64,
    /// The last death of a daemon.
    pub last_death: Option<Death>,
}

/// Who is told of such tasks.
pub struct UnservedListener {
    /// How long they have to wait before.
    pub patience: Duration,
    /// Whether it is told again after a daemon has been there; else once for all.
    pub is_repeated: bool,
    /// Called on the hub's thread or on R's while that waits, without any lock.
    pub tell: Box<dyn Fn(Unserved) + Send + Sync>,
}

/// Since when nobody will serve what waits.
#[derive(Debug, Default)]
pub(crate) struct Service {
    /// Daemons that are being started from this process.
    pub starting: u64,
    /// Daemons that others were asked to start, and that have neither come nor failed.
    pub expected: u64,
    since: Option<Instant>,
    is_told: bool,
    /// Once for all.
    is_over: bool,
}

impl Service {
    /// A daemon has joined: what comes after it is another incident.
    pub(crate) fn joined(&mut self, is_launched: bool) {
        self.is_told = self.is_over;
        let pending = match is_launched {
            true => &mut self.starting,
            false => &mut self.expected,
        };
        *pending = pending.saturating_sub(1);
    }

    /// Daemons that may come.
    pub(crate) fn pending(&self) -> u64 {
        self.starting + self.expected
    }

    /// To be asked after each change: whether a wait for nothing has begun. `members` are the daemons, `waiting` the tasks; the
    /// clock is read only if it has.
    pub(crate) fn note(
        &mut self,
        now: impl FnOnce() -> Instant,
        members: u32,
        waiting: u64,
    ) -> bool {
        if members > 0 || self.pending() > 0 || waiting == 0 {
            self.since = None;
            return false;
        }
        let begins = self.since.is_none() && !self.is_told;
        if begins {
            self.since = Some(now());
        }
        begins
    }

    /// When it is to be told, unless that has been or something will happen.
    pub(crate) fn due(&self, patience: Duration) -> Option<Instant> {
        self.since
            .filter(|_| !self.is_told)
            .and_then(|since| since.checked_add(patience))
    }

    /// It is told now, and again after a daemon has been there, if that is asked for.
    pub(crate) fn tell(&mut self, is_repeated: bool) {
        self.is_told = true;
        self.is_over = !is_repeated;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[test]
    fn it_is_due_once_while_tasks_wait_and_nobody_is_there_or_coming() {
        let now = Instant::now();
        let mut service = Service::default();
        assert!(!service.note(|| now, 0, 0), "nothing waits");
        assert!(!service.note(|| now, 1, 5), "a daemon is there");
        assert!(service.note(|| now, 0, 5));
        assert!(!service.note(|| now, 0, 6), "it has begun before");
        let due = Some(now + PATIENCE);
        assert_eq!(service.due(PATIENCE), due);
        assert!(!service.note(|| now + PATIENCE / 2, 0, 7));
        assert_eq!(service.due(PATIENCE), due, "further tasks change nothing");
        service.tell(true);
        assert!(!service.note(|| now, 0, 8));
        assert_eq!(service.due(PATIENCE), None);
        service.joined(true);
        assert!(!service.note(|| now, 1, 8));
        assert!(service.note(|| now, 0, 8));
        service.tell(false);
        service.joined(true);
        assert!(!service.note(|| now, 0, 8), "once for all");
    }

    #[test]
    fn what_is_being_started_ends_the_wait() {
        let now = Instant::now();
        let mut service = Service::default();
        assert!(service.note(|| now, 0, 1));
        service.starting = 1;
        assert!(!service.note(|| now, 0, 1));
        assert_eq!(service.due(PATIENCE), None);
        service.starting = 0;
        assert!(service.note(|| now, 0, 1), "it has not come");
    }

    #[test]
    fn those_that_others_start_are_waited_for_as_well() {
        let now = Instant::now();
        let mut service = Service {
            expected: 2,
            ..Service::default()
        };
        assert!(!service.note(|| now, 0, 1));
        service.joined(false);
        service.joined(false);
        assert!(!service.note(|| now, 1, 1));
        assert!(service.note(|| now, 0, 1), "both have come, and gone");
        // One that somebody has started by hand.
        service.joined(false);
        assert_eq!(service.pending(), 0);
    }
}
