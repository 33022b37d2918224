//! Peers that have connected and are no daemons yet: how many there may be, and which one gives way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::accounts::Source;

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

/// The peers that have connected and are not daemons yet. When there is no room, one of the source that has most places gives
/// way to a peer from elsewhere, at once; to another of its own the oldest one that has said nothing, or else the oldest,
/// after some time. Peers of this machine's lane are all of one source, `None`.
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
    /// How many places each source has.
    places: HashMap<Option<Source>, usize>,
}

#[derive(Debug)]
struct Entry {
    source: Option<Source>,
    since: Instant,
    dismissal: Arc<Dismissal>,
}

/// Tells a newcomer that it is to go.
#[derive(Debug, Default)]
struct Dismissal {
    told: Notify,
    is_for_elsewhere: AtomicBool,
}

/// For whom a newcomer gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// One that came from the same source.
    ItsOwn,
    /// One that came from elsewhere.
    Elsewhere,
}

impl Entry {
    /// Has the newcomer go for one from `source`.
    fn give_way(&self, source: Option<Source>) {
        let is_for_elsewhere = self.source != source;
        let dismissal = &self.dismissal;
        (dismissal.is_for_elsewhere).store(is_for_elsewhere, Ordering::Relaxed);
        dismissal.told.notify_one();
    }
}

impl Here {
    /// Makes room for one more from there, by dropping another if need be. `Err` says when that will be possible.
    fn make_room(
        &mut self,
        room: Room,
        now: Instant,
        source: Option<Source>,
    ) -> Result<(), Instant> {
        if self.silent.len() + self.spoken.len() < room.places {
            return Ok(());
        }
        if let Some(oldest) = self.oldest_of_greediest(source) {
            oldest.give_way(source);
            return Ok(());
        }
        let oldest = [
            (&self.silent, room.silent),
            (&self.spoken, room.undisturbed),
        ]
        .into_iter()
        .filter_map(|(here, peace)| {
            let (number, entry) = here.first_key_value()?;
            Some((entry.since + peace, *number))
        });
        // The silent one where both could go.
        let due = oldest.clone().find(|(until, _)| *until <= now);
        let Some((until, number)) = due.or_else(|| oldest.min()) else {
            return Ok(());
        };
        if until > now {
            return Err(until);
        }
        if let Some(entry) = self.remove(number) {
            entry.give_way(source);
        }
        Ok(())
    }

    /// Takes out the oldest of the source that has most places, the silent first, if that has two more than this one: so that
    /// they do not push each other out.
    fn oldest_of_greediest(&mut self, source: Option<Source>) -> Option<Entry> {
        let mine = self.places.get(&source).copied().unwrap_or_default();
        let (greediest, most) = self.places.iter().max_by_key(|(_, count)| **count)?;
        if *most < mine + 2 {
            return None;
        }
        let mut all = self.silent.iter().chain(&self.spoken);
        let (number, _) = all.find(|(_, entry)| entry.source == *greediest)?;
        let number = *number;
        self.remove(number)
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.silent.remove(&number);
        let entry = entry.or_else(|| self.spoken.remove(&number))?;
        if let Some(count) = self.places.get_mut(&entry.source) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&entry.source);
            }
        }
        Some(entry)
    }

    fn enter(&mut self, now: Instant, source: Option<Source>) -> (u64, Arc<Dismissal>) {
        let number = self.next;
        self.next += 1;
        let dismissal = Arc::new(Dismissal::default());
        *self.places.entry(source).or_default() += 1;
        let entry = Entry {
            source,
            since: now,
            dismissal: Arc::clone(&dismissal),
        };
        self.silent.insert(number, entry);
        (number, dismissal)
    }

    fn has_spoken(&mut self, number: u64) {
        if let Some(entry) = self.silent.remove(&number) {
            self.spoken.insert(number, entry);
        }
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
    pub(crate) fn admit(
        self: &Arc<Self>,
        now: Instant,
        source: Option<Source>,
    ) -> Result<Newcomer, Instant> {
        let mut here = self.here.lock();
        here.make_room(self.room, now, source)?;
        let (number, dismissal) = here.enter(now, source);
        Ok(Newcomer {
            all: Arc::clone(self),
            number,
            dismissal,
            is_silent: AtomicBool::new(true),
        })
    }

    /// Admits one more, when there is room.
    pub(crate) async fn take_in(self: &Arc<Self>, source: Option<Source>) -> Newcomer {
        loop {
            let full_until = match self.admit(Instant::now(), source) {
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
    dismissal: Arc<Dismissal>,
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
    pub(crate) async fn gives_way(&self) -> For {
        self.dismissal.told.notified().await;
        match self.dismissal.is_for_elsewhere.load(Ordering::Relaxed) {
            true => For::Elsewhere,
            false => For::ItsOwn,
        }
    }

    /// The peer is known: it no longer counts as a newcomer.
    pub(crate) fn is_known(&self) {
        if self.all.here.lock().remove(self.number).is_some() {
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
    use proptest::prelude::*;
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
            .map(|_| all.admit(now, None).expect("there is room"))
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
        let until = all
            .admit(now, None)
            .expect_err("each has some time for itself");
        assert_eq!(until, now + Room::STRANGERS.silent);
        let next = all.admit(until, None).unwrap();
        assert!(is_dropped(&here[0]));
        assert!(!here[1..].iter().any(is_dropped), "there is room for one");
        let _next = (next, all.admit(until, None).unwrap());
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
            let next = all.admit(later, None).unwrap();
            assert!(is_dropped(newcomer));
            next.has_spoken();
            std::mem::forget(next);
        }
        let until = all
            .admit(later, None)
            .expect_err("those who speak have more time");
        assert_eq!(until, now + Room::STRANGERS.undisturbed);
        all.admit(until, None).unwrap();
        assert!(is_dropped(&here[0]));
    }

    #[test]
    fn those_who_are_known_or_gone_leave_room() {
        let all = Newcomers::new(Room::STRANGERS);
        let now = Instant::now();
        let mut here = full(&all, now);
        here[3].is_known();
        here.push(all.admit(now, None).unwrap());
        all.admit(now, None).unwrap_err();
        drop(here.swap_remove(5));
        here.push(all.admit(now, None).unwrap());
        here[3].is_known();
        all.admit(now + Room::STRANGERS.undisturbed, None).unwrap();
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
            let mut waiting = pin!(all.take_in(None));
            let polled = waiting
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
            here.pop();
            waiting.await;
        });
    }

    fn from(number: u8) -> Option<Source> {
        Some(Source::of(([192, 0, 2, number], 1).into()))
    }

    #[test]
    fn a_peer_from_elsewhere_gets_a_place_of_the_source_that_has_most() {
        let all = Newcomers::new(Room::STRANGERS);
        let now = Instant::now();
        let greedy: Vec<_> = (0..Room::STRANGERS.places)
            .map(|_| all.admit(now, from(1)).unwrap())
            .collect();
        greedy[0].has_spoken();
        all.admit(now, from(1))
            .expect_err("one of its own waits for it");
        let other = all.admit(now, from(2)).unwrap();
        let whom = now_or_never(greedy[1].gives_way());
        assert_eq!(whom, Some(For::Elsewhere), "the oldest that is silent");
        assert!(!is_dropped(&greedy[0]));
        let others: Vec<_> = (0..Room::STRANGERS.places / 2 - 1)
            .map(|_| all.admit(now, from(2)).unwrap())
            .collect();
        all.admit(now, from(2))
            .expect_err("both have as many places");
        all.admit(now, from(1)).unwrap_err();
        assert!(!is_dropped(&other) && !others.iter().any(is_dropped));
        let later = now + Room::STRANGERS.silent;
        let _next = all.admit(later, from(1)).unwrap();
        assert_eq!(now_or_never(greedy[129].gives_way()), Some(For::ItsOwn));
    }

    proptest! {
        /// Whoever comes and goes: places are counted, never more than there are, and a source that has less than its share of
        /// them gets one without waiting.
        #[test]
        fn each_source_has_its_share(steps in prop::collection::vec((0_u8..4, 0_u8..4), 1..100)) {
            let room = Room { places: 12, ..Room::STRANGERS };
            let all = Newcomers::new(room);
            let now = Instant::now();
            let mut here: Vec<(u8, Newcomer)> = Vec::new();
            for (source, step) in steps {
                if step == 0 {
                    if let Some(place) = here.iter().position(|(of, _)| *of == source) {
                        here.swap_remove(place);
                    }
                    continue;
                }
                here.retain(|(_, newcomer)| !is_dropped(newcomer));
                let mine = here.iter().filter(|(of, _)| *of == source).count();
                match all.admit(now, from(source)) {
                    Ok(newcomer) => {
                        if step == 1 {
                            newcomer.has_spoken();
                        }
                        here.push((source, newcomer));
                    }
                    Err(_) => prop_assert!(mine + 1 >= room.places / 4, "it has {} places", mine),
                }
                here.retain(|(_, newcomer)| !is_dropped(newcomer));
                prop_assert!(here.len() <= room.places);
                let places = all.here.lock().places.clone();
                for of in 0..4 {
                    let count = here.iter().filter(|(other, _)| *other == of).count();
                    prop_assert_eq!(places.get(&from(of)).copied().unwrap_or_default(), count);
                }
            }
        }
    }
}
