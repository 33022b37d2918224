use std::time::Duration;

use tokio::time::Instant;

/// What is paid for turning a peer away whom the lane knew at once: about fifty times what that takes of the reactor.
pub(crate) const AT_ONCE: Duration = Duration::from_micros(250);

/// What is paid for one whose messages were read first.
pub(crate) const AFTER_READING: Duration = Duration::from_millis(2);

/// How much may be owed before the door closes.
const CREDIT: Duration = Duration::from_millis(25);

/// Where peers come in. Those that are turned away take time that tasks need, so each of them has its price in time during
/// which no other comes in: after a burst the door stays closed until all has been paid for. Peers that wait in front of it
/// are the system's, and cost nothing.
#[derive(Debug)]
pub(crate) struct Door {
    /// When all will have been paid for.
    paid: Instant,
    is_closed: bool,
}

impl Door {
    pub(crate) fn new(now: Instant) -> Door {
        Door {
            paid: now,
            is_closed: false,
        }
    }

    /// A peer has been turned away.
    pub(crate) fn charge(&mut self, now: Instant, price: Duration) {
        self.paid = self.paid.max(now) + price;
        self.is_closed |= self.paid - now > CREDIT;
    }

    /// Until when it stays closed; `None` if it is open.
    pub(crate) fn closed_until(&mut self, now: Instant) -> Option<Instant> {
        self.is_closed &= self.paid > now;
        self.is_closed.then_some(self.paid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of those who come all the time are turned away in a second.
    fn turned_away(price: Duration) -> u32 {
        let begin = Instant::now();
        let mut now = begin;
        let mut door = Door::new(now);
        let mut count = 0;
        while now < begin + Duration::from_secs(1) {
            match door.closed_until(now) {
                Some(until) => now = until,
                None => {
                    door.charge(now, price);
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_waits() {
        let now = Instant::now();
        let mut door = Door::new(now);
        for _ in 0..100 {
            assert_eq!(door.closed_until(now), None);
            door.charge(now, AT_ONCE);
        }
        assert_eq!(door.closed_until(now), None, "all its credit is used");
        door.charge(now, AT_ONCE);
        let until = door.closed_until(now).expect("it is closed");
        assert_eq!(until, now + 101 * AT_ONCE);
        // It opens when all is paid, not for one more as soon as that is paid.
        assert_eq!(door.closed_until(until - AT_ONCE), Some(until));
        assert_eq!(door.closed_until(until), None);
    }

    #[test]
    fn those_who_come_all_the_time_are_few() {
        assert!((3900..4200).contains(&turned_away(AT_ONCE)));
        assert!((490..530).contains(&turned_away(AFTER_READING)));
    }

    #[test]
    fn those_who_come_now_and_then_close_nothing() {
        let mut now = Instant::now();
        let mut door = Door::new(now);
        for _ in 0..10_000 {
            assert_eq!(door.closed_until(now), None);
            door.charge(now, AFTER_READING);
            now += AFTER_READING;
        }
    }

    #[test]
    fn what_comes_up_while_it_is_closed_is_paid_for_too() {
        let now = Instant::now();
        let mut door = Door::new(now);
        door.charge(now, 2 * CREDIT);
        door.charge(now + CREDIT, CREDIT);
        assert_eq!(door.closed_until(now + CREDIT), Some(now + 3 * CREDIT));
    }
}
