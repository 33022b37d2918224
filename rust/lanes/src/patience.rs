//! How long to wait for a hub, and who may end that wait early.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// Interval at which the caller is asked whether to give up.
const SLICE: Duration = Duration::from_millis(200);

/// How long to wait for a hub, and a function that may end the wait before: it is called at intervals, on the waiting
/// thread.
pub struct Patience<'a> {
    until: Instant,
    ask_at: Instant,
    gives_up: &'a mut dyn FnMut() -> bool,
    /// It has ended the wait, and is not called again.
    has_given_up: bool,
}

impl fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl<'a> Patience<'a> {
    /// Allows waiting for `within`, unless `gives_up` returns true before. It is not called for what takes no time.
    pub fn new(within: Duration, gives_up: &'a mut dyn FnMut() -> bool) -> Patience<'a> {
        let now = Instant::now();
        Patience {
            until: now + within,
            ask_at: now + SLICE,
            gives_up,
            has_given_up: false,
        }
    }

    /// Runs the first of `of` attempts with its share of the time that is left.
    pub(crate) fn share<T>(&mut self, of: usize, attempt: impl FnOnce(&mut Self) -> T) -> T {
        let now = Instant::now();
        let rest = self.until.saturating_duration_since(now);
        let parts = u32::try_from(of).unwrap_or(u32::MAX).max(1);
        let whole = std::mem::replace(&mut self.until, now + rest / parts);
        let result = attempt(self);
        self.until = whole;
        result
    }

    /// How long to wait before the next call of this; never zero.
    ///
    /// # Errors
    /// `TimedOut` when the time is over; `Other` when the function has ended the wait.
    pub fn slice(&mut self) -> io::Result<Duration> {
        let now = Instant::now();
        if !self.has_given_up && now >= self.ask_at {
            self.ask_at = now + SLICE;
            self.has_given_up = (self.gives_up)();
        }
        if self.has_given_up {
            return Err(io::Error::other("somebody has given up"));
        }
        let rest = self.until.saturating_duration_since(now);
        if rest.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nobody answered in time",
            ));
        }
        Ok(rest.min(SLICE))
    }

    /// All the time that is left, for a wait that cannot be interrupted.
    #[cfg(any(not(unix), test))]
    pub(crate) fn rest(&mut self) -> io::Result<Duration> {
        self.slice()?;
        Ok(self
            .until
            .saturating_duration_since(Instant::now())
            .max(SLICE))
    }

    /// Until when to wait before the next call of this.
    ///
    /// # Errors
    /// As for [`slice`](Self::slice).
    pub fn moment(&mut self) -> io::Result<Instant> {
        self.slice().map(|slice| Instant::now() + slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_with_its_time_or_before() {
        let mut never = || false;
        let mut none = Patience::new(Duration::ZERO, &mut never);
        assert_eq!(none.slice().unwrap_err().kind(), io::ErrorKind::TimedOut);

        let mut asked = 0;
        let mut third = || {
            asked += 1;
            asked == 3
        };
        let mut patience = Patience::new(Duration::from_secs(1000), &mut third);
        let end = loop {
            match patience.slice() {
                Ok(slice) => assert!(slice <= SLICE && !slice.is_zero()),
                Err(end) => break end,
            }
            // As if the slice had passed.
            patience.ask_at = Instant::now();
        };
        assert_eq!(end.kind(), io::ErrorKind::Other);
        patience.slice().expect_err("given up for good");
        assert_eq!(asked, 3);
    }

    #[test]
    fn what_takes_no_time_is_not_asked_about() {
        let mut asked = || panic!("it is asked");
        let mut patience = Patience::new(Duration::from_secs(1000), &mut asked);
        patience.slice().unwrap();
        patience.share(3, Patience::slice).unwrap();
    }

    #[test]
    fn each_of_several_has_its_share() {
        let mut never = || false;
        let mut patience = Patience::new(Duration::from_secs(3000), &mut never);
        let whole = patience.until;
        let third = patience.share(3, |share| share.until);
        assert!(third + Duration::from_secs(1900) < whole);
        assert_eq!(patience.until, whole);
    }
}
