//! Peers that have connected and are no daemons yet: how many there may be, and which one gives way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many may be here, and for how long each of them in peace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    places: usize,
    /// Time that each has to say something before it may be dropped for another.
    silent: Duration,
    /// The same for those that have. One that a busy machine delays for longer connects again.
    undisturbed: Duration,
}

impl Room {
    /// For peers of which nothing is known. Daemons say hello as they connect, and are known after a millisecond, over a
    /// network after some round trips.
    pub(crate) const STRANGERS: Room = Room {
        places: 256,
        silent: Duration::from_millis(100),
        undisturbed: Duration::from_millis(500),
    };

    /// For control connections whose data connection is to come. Those of thousands of daemons that connect at once stand in
    /// line behind the control connections of the others.
    pub(crate) const HALVES: Room = Room {
        places: 4096,
        silent: Duration::from_secs(10),
        undisturbed: Duration::from_secs(10),
    };
}

/// The peers that have connected and are not daemons yet. When there is no room, the oldest one that has said nothing is
/// dropped for the next, or else the oldest.
#[derive(Debug)]
pub(crate) struct Newcomers {
    room: Room,
    here: Mutex<Here>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Here {
    next: u64,
    /// By arrival, as the others.
    silent: BTreeMap<u64, Entry>,
    spoken: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    gives_way: Arc<Notify>,
}

impl Here {
    /// Makes room for one more, by dropping the oldest if need be. `Err` says when that will be possible.
    fn make_room(&mut self, room: Room, now: Instant) -> Result<(), Instant> {
        if self.silent.len() + self.spoken.len() < room.places {
            return Ok(());
        }
        let mut full_until = None;
        for (here, peace) in [
            (&mut self.silent, room.silent),
            (&mut self.spoken, room.undisturbed),
        ] {
            let Some(oldest) = here.first_entry() else {
                continue;
            };
            let until = oldest.get().since + peace;
            if until <= now {
                oldest.remove().gives_way.notify_one();
                return Ok(());
            }
            full_until = Some(full_until.map_or(until, |other| until.min(other)));
        }
        full_until.map_or(Ok(()), Err)
    }

    fn enter(&mut self, now: Instant) -> (u64, Arc<Notify>) {
        let number = self.next;
        self.next += 1;
        let gives_way = Arc::new(Notify::new());
        let entry = Entry {
            since: now,
            gives_way: Arc::clone(&gives_way),
        };
        self.silent.insert(number, entry);
        (number, gives_way)
    }

    fn has_spoken(&mut self, number: u64) {
        if let Some(entry) = self.silent.remove(&number) {
            self.spoken.insert(number, entry);
        }
    }

    /// Whether it was here.
    fn leave(&mut self, number: u64) -> bool {
        self.silent.remove(&number).is_some() || self.spoken.remove(&number).is_some()
    }
}

impl Newcomers {
    pub(crate) fn new(room: Room) -> Arc<Newcomers> {
        Arc::new(Newcomers {
            room,
            here: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// Admits one more if there is room, or if one who is here can be dropped for it. `Err` says when that will be possible.
    fn admit(self: &Arc<Self>, now: Instant) -> Result<Newcomer, Instant> {
        let mut here = self.here.lock();
        here.make_room(self.room, now)?;
        let (number, gives_way) = here.enter(now);
        Ok(Newcomer {
            all: Arc::clone(self),
            number,
            gives_way,
            is_silent: AtomicBool::new(true),
        })
    }

    /// Admits one more, when there is room.
    pub(crate) async fn take_in(self: &Arc<Self>) -> Newcomer {
        loop {
            let full_until = match self.admit(Instant::now()) {
                Ok(newcomer) => return newcomer,
                Err(until) => until,
            };
            tokio::select! {
                () = self.left.notified() => {}
                () = tokio::time::sleep_until(full_until) => {}
            }
        }
    }
}

/// A place among the newcomers, until the peer is known or this is dropped.
#[derive(Debug)]
pub(crate) struct Newcomer {
    all: Arc<Newcomers>,
    number: u64,
    gives_way: Arc<Notify>,
    is_silent: AtomicBool,
}

impl Newcomer {
    /// The peer has said something.
    pub(crate) fn has_spoken(&self) {
        self.is_silent.store(false, Ordering::Relaxed);
        self.all.here.lock().has_spoken(self.number);
    }

    /// Whether the peer has said nothing.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Resolves when this newcomer is to be dropped.
    pub(crate) async fn gives_way(&self) {
        self.gives_way.notified().await;
    }

    /// The peer is known: it no longer counts as a newcomer.
    pub(crate) fn is_known(&self) {
        if self.all.here.lock().leave(self.number) {
            self.all.left.notify_one();
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.is_known();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn now_or_never<T>(work: impl Future<Output = T>) -> Option<T> {
        match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    fn full(all: &Arc<Newcomers>, now: Instant) -> Vec<Newcomer> {
        (0..all.room.places)
            .map(|_| all.admit(now).expect("there is room"))
            .collect()
    }

    fn is_dropped(newcomer: &Newcomer) -> bool {
        now_or_never(newcomer.gives_way()).is_some()
    }

    #[test]
    fn the_one_that_has_been_here_longest_gives_way() {
        let all = Newcomers::new(Room::STRANGERS);
        let now = Instant::now();
        let here = full(&all, now);
        let until = all.admit(now).expect_err("each has some time for itself");
        assert_eq!(until, now + Room::STRANGERS.silent);
        let next = all.admit(until).unwrap();
        assert!(is_dropped(&here[0]));
        assert!(!here[1..].iter().any(is_dropped), "there is room for one");
        let _next = (next, all.admit(until).unwrap());
        assert!(is_dropped(&here[1]));
    }

    #[test]
    fn the_silent_give_way_before_those_who_speak() {
        let all = Newcomers::new(Room::STRANGERS);
        let now = Instant::now();
        let mut here = full(&all, now);
        let silent = here.split_off(200);
        here.iter().for_each(Newcomer::has_spoken);
        let later = now + Room::STRANGERS.silent;
        for newcomer in &silent {
            let next = all.admit(later).unwrap();
            assert!(is_dropped(newcomer));
            next.has_spoken();
            std::mem::forget(next);
        }
        let until = all
            .admit(later)
            .expect_err("those who speak have more time");
        assert_eq!(until, now + Room::STRANGERS.undisturbed);
        all.admit(until).unwrap();
        assert!(is_dropped(&here[0]));
    }

    #[test]
    fn those_who_are_known_or_gone_leave_room() {
        let all = Newcomers::new(Room::STRANGERS);
        let now = Instant::now();
        let mut here = full(&all, now);
        here[3].is_known();
        here.push(all.admit(now).unwrap());
        all.admit(now).unwrap_err();
        drop(here.swap_remove(5));
        here.push(all.admit(now).unwrap());
        here[3].is_known();
        all.admit(now + Room::STRANGERS.undisturbed).unwrap();
        assert!(is_dropped(&here[0]));
    }

    #[test]
    fn who_waits_is_taken_in_as_another_leaves() {
        let all = Newcomers::new(Room {
            silent: Duration::from_secs(3600),
            ..Room::STRANGERS
        });
        let mut here = full(&all, Instant::now());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut waiting = pin!(all.take_in());
            let polled = waiting
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
            here.pop();
            waiting.await;
        });
    }
}
