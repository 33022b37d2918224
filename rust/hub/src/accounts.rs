//! What each source of connections owes for peers that were turned away: the one that floods a port pays for it, and not the
//! daemons that come from elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use crate::throttle::{Price, Throttle};

/// How many sources have an account of their own; further ones share one until one of these owes nothing. An account is some
/// 60 bytes, and most are paid after milliseconds.
const MOST: usize = 1024;

/// Where connections come from: an address, or of IPv6 the network that one customer of a provider has, as a host there takes
/// as many addresses as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(peer: SocketAddr) -> Source {
        Source(match peer.ip().to_canonical() {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !0 << 64).into(),
        })
    }
}

/// What sources owe.
#[derive(Debug)]
pub(crate) struct Accounts {
    open: HashMap<Source, Account>,
    /// That of all who found no account free.
    shared: Account,
    most: usize,
}

#[derive(Debug)]
struct Account {
    throttle: Throttle,
    /// Until when it is known to be closed by who asked [`Accounts::take_untold`].
    told: Instant,
}

impl Account {
    fn new(now: Instant) -> Account {
        Account {
            throttle: Throttle::new(now),
            told: now,
        }
    }
}

impl Accounts {
    pub(crate) fn new(now: Instant) -> Accounts {
        Accounts {
            open: HashMap::new(),
            shared: Account::new(now),
            most: MOST,
        }
    }

    /// A peer from there has been turned away.
    pub(crate) fn charge(&mut self, now: Instant, source: Source, price: Price) {
        if self.open.len() >= self.most && !self.open.contains_key(&source) {
            self.open.retain(|_, account| account.throttle.owes(now));
        }
        let has_room = self.open.len() < self.most;
        let account = match self.open.get_mut(&source) {
            Some(account) => account,
            None if has_room => self.open.entry(source).or_insert(Account::new(now)),
            None => &mut self.shared,
        };
        account.throttle.charge(now, price.of_source);
    }

    fn account(&mut self, source: Source) -> Option<&mut Account> {
        let is_full = self.open.len() >= self.most;
        match self.open.get_mut(&source) {
            Some(account) => Some(account),
            None => is_full.then_some(&mut self.shared),
        }
    }

    /// Until when nobody from there is heard; `None` if they are.
    pub(crate) fn closed_until(&mut self, now: Instant, source: Source) -> Option<Instant> {
        self.account(source)?.throttle.closed_until(now)
    }

    /// For how long nobody from there is heard, in whole milliseconds, less what this has said before.
    pub(crate) fn take_untold(&mut self, now: Instant, source: Source) -> Option<Duration> {
        let account = self.account(source)?;
        let until = account.throttle.closed_until(now)?;
        let begin = account.told.max(now);
        let whole = until.saturating_duration_since(begin).as_millis() as u64;
        let untold = Duration::from_millis(whole);
        account.told = begin + untold;
        (whole > 0).then_some(untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::{AFTER_READING, AT_ONCE};
    use proptest::prelude::*;

    fn source(number: u32) -> Source {
        Source::of((number.to_be_bytes(), 1).into())
    }

    fn owes(accounts: &mut Accounts, now: Instant, source: Source) -> bool {
        let account = accounts.account(source);
        account.is_some_and(|account| account.throttle.owes(now))
    }

    fn flooded(accounts: &mut Accounts, now: Instant, source: Source) {
        while accounts.closed_until(now, source).is_none() {
            accounts.charge(now, source, AFTER_READING);
        }
    }

    #[test]
    fn whoever_floods_is_not_heard_for_a_while_and_others_are() {
        let now = Instant::now();
        let mut accounts = Accounts::new(now);
        flooded(&mut accounts, now, source(1));
        assert_eq!(accounts.closed_until(now, source(2)), None);
        assert!(!owes(&mut accounts, now, source(2)));
        let until = accounts.closed_until(now, source(1)).unwrap();
        assert_eq!(accounts.closed_until(until, source(1)), None);
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_source() {
        let source = |ip: &str| Source::of((ip.parse::<IpAddr>().unwrap(), 7).into());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ff:0:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn those_without_an_account_share_one_until_another_is_paid() {
        let now = Instant::now();
        let mut accounts = Accounts::new(now);
        accounts.most = 2;
        flooded(&mut accounts, now, source(1));
        accounts.charge(now, source(2), AT_ONCE);
        assert_eq!(accounts.closed_until(now, source(3)), None);
        flooded(&mut accounts, now, source(3));
        assert!(accounts.closed_until(now, source(4)).is_some());
        let later = now + AT_ONCE.of_source;
        accounts.charge(later, source(3), AT_ONCE);
        assert_eq!(accounts.closed_until(later, source(3)), None);
        assert!(accounts.closed_until(later, source(1)).is_some());
    }

    proptest! {
        /// However they come: each source is heard as if there were no others, nobody is kept out by another, memory has a bound,
        /// and what is told of closed times is all of them, once.
        #[test]
        fn sources_are_apart(steps in prop::collection::vec((0_u32..6, 0_u64..3000, any::<bool>(), any::<bool>()), 1..400)) {
            let begin = Instant::now();
            let mut now = begin;
            let mut accounts = Accounts::new(now);
            let mut alone: Vec<Throttle> = (0..5).map(|_| Throttle::new(now)).collect();
            let mut told = Duration::ZERO;
            let mut closed = Duration::ZERO;
            for (number, micros, is_read, is_asked) in steps {
                now += Duration::from_micros(micros);
                let Some(throttle) = alone.get_mut(number as usize) else {
                    prop_assert_eq!(accounts.closed_until(now, source(number)), None, "it is never charged");
                    continue;
                };
                let price = if is_read { AFTER_READING } else { AT_ONCE };
                let before = throttle.closed_until(now);
                throttle.charge(now, price.of_source);
                accounts.charge(now, source(number), price);
                let after = throttle.closed_until(now);
                prop_assert_eq!(accounts.closed_until(now, source(number)), after);
                if number == 0 {
                    closed += after.map_or(Duration::ZERO, |after| after - before.unwrap_or(now));
                }
                if is_asked {
                    let untold = accounts.take_untold(now, source(number));
                    prop_assert!(untold.unwrap_or_default() <= after.map_or(Duration::ZERO, |after| after - now));
                    told += untold.filter(|_| number == 0).unwrap_or_default();
                }
            }
            prop_assert!(told <= closed);
            prop_assert!(accounts.open.len() <= 5);
        }

        /// The table never grows beyond its bound, and whoever owes something is still known to.
        #[test]
        fn the_table_has_a_bound(steps in prop::collection::vec((0_u32..50, 0_u64..2000), 1..300)) {
            let mut now = Instant::now();
            let mut accounts = Accounts::new(now);
            accounts.most = 8;
            for (number, micros) in steps {
                now += Duration::from_micros(micros);
                accounts.charge(now, source(number), AFTER_READING);
                prop_assert!(accounts.open.len() <= 8);
                prop_assert!(owes(&mut accounts, now, source(number)));
            }
        }
    }
}
