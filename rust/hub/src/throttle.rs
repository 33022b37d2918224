//! The throttle: how often peers may be turned away, so that tasks keep their share of the reactor.

use std::time::Duration;

use tokio::time::Instant;

/// What a peer costs that is turned away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Price {
    /// Where it came from, so that nobody from there is heard for a while.
    pub of_source: Duration,
    /// All, over a network: twice what it takes of the reactor, so that no number of sources takes more than half of that.
    pub of_all: Duration,
}

/// A peer that the lane turned away at once, or that said nothing.
pub(crate) const AT_ONCE: Price = Price {
    of_source: Duration::from_micros(250),
    of_all: Duration::from_micros(60),
};

/// A peer whose messages were read first.
pub(crate) const AFTER_READING: Price = Price {
    of_source: Duration::from_millis(2),
    of_all: Duration::from_micros(300),
};

/// A peer that was not heard, as others from there were turned away. Its source pays no more for that: it would never come in.
pub(crate) const UNHEARD: Price = Price {
    of_source: Duration::ZERO,
    of_all: Duration::from_micros(15),
};

/// By so much a source pays less while daemons are on their way, which may come from there: they stand in line behind those
/// who are turned away, each with two connections, and one that has been away has little time.
pub(crate) const DISCOUNT: u32 = 4;

impl Price {
    pub(crate) fn discounted(self) -> Price {
        Price {
            of_source: self.of_source / DISCOUNT,
            ..self
        }
    }
}

/// The debt at which it closes.
const CREDIT: Duration = Duration::from_millis(25);

/// Limits the rate at which peers are turned away, all or those of one source. That takes time that tasks need, so each such
/// peer adds a price in time to a debt, which falls as time passes. Once it has exceeded [`CREDIT`], no peer is accepted until
/// nothing is owed; those that wait meanwhile wait in the system's queue, at no cost here.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// When nothing will be owed any more.
    paid: Instant,
    is_closed: bool,
}

impl Throttle {
    pub(crate) fn new(now: Instant) -> Throttle {
        Throttle {
            paid: now,
            is_closed: false,
        }
    }

    /// Whether anything is owed.
    pub(crate) fn owes(&self, now: Instant) -> bool {
        self.paid > now
    }

    /// A peer has been turned away.
    pub(crate) fn charge(&mut self, now: Instant, price: Duration) {
        self.paid = self.paid.max(now) + price;
        self.is_closed |= self.paid - now > CREDIT;
    }

    /// Until when no peer is accepted; `None` if they are.
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
        let mut throttle = Throttle::new(now);
        let mut count = 0;
        while now < begin + Duration::from_secs(1) {
            match throttle.closed_until(now) {
                Some(until) => now = until,
                None => {
                    throttle.charge(now, price);
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_waits() {
        let now = Instant::now();
        let mut throttle = Throttle::new(now);
        for _ in 0..100 {
            assert_eq!(throttle.closed_until(now), None);
            throttle.charge(now, AT_ONCE.of_source);
        }
        assert_eq!(throttle.closed_until(now), None, "all its credit is used");
        throttle.charge(now, AT_ONCE.of_source);
        let until = throttle.closed_until(now).expect("it is closed");
        assert_eq!(until, now + 101 * AT_ONCE.of_source);
        // It opens when all is paid, not for one more as soon as that is paid.
        assert_eq!(
            throttle.closed_until(until - AT_ONCE.of_source),
            Some(until)
        );
        assert_eq!(throttle.closed_until(until), None);
    }

    #[test]
    fn those_who_come_all_the_time_are_few() {
        assert!((3900..4200).contains(&turned_away(AT_ONCE.of_source)));
        assert!((490..530).contains(&turned_away(AFTER_READING.of_source)));
    }

    #[test]
    fn those_who_come_now_and_then_close_nothing() {
        let mut now = Instant::now();
        let mut throttle = Throttle::new(now);
        for _ in 0..10_000 {
            assert_eq!(throttle.closed_until(now), None);
            throttle.charge(now, AFTER_READING.of_source);
            now += AFTER_READING.of_source;
        }
    }

    #[test]
    fn what_comes_up_while_it_is_closed_is_paid_for_too() {
        let now = Instant::now();
        let mut throttle = Throttle::new(now);
        throttle.charge(now, 2 * CREDIT);
        throttle.charge(now + CREDIT, CREDIT);
        assert_eq!(throttle.closed_until(now + CREDIT), Some(now + 3 * CREDIT));
    }
}
