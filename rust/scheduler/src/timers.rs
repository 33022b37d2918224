//! Deadlines, of whatever it may be, in a hierarchical wheel.
//!
//! Level 0 has a spot per millisecond, each further level spots 64 times as long. A deadline lives at the level of the
//! highest group of six bits in which it differs from `elapsed`, so each occupied spot lies ahead of `elapsed` within the
//! current turn of its level, and any at a lower level comes before those of a higher one. A deadline moves down at
//! most once per level.

use std::marker::PhantomData;

use crate::Tick;
use crate::list::{Chain, Link, List};
use crate::slab::{Slab, Slot};

const BITS: u32 = 6;
const SPOTS: usize = 1 << BITS;
/// Enough for any 64-bit deadline.
const LEVELS: usize = 11;

/// One deadline, and what is due then.
#[derive(Debug)]
struct Timer<W> {
    deadline: Tick,
    spot: u16,
    what: W,
    link: Link,
}

/// Lists of timers: one for each spot.
#[derive(Debug)]
struct Spot<W>(PhantomData<W>);

impl<W> Chain for Spot<W> {
    type Entry = Timer<W>;

    fn link(timer: &mut Timer<W>) -> &mut Link {
        &mut timer.link
    }

    fn look(timer: &Timer<W>) -> &Link {
        &timer.link
    }
}

/// All deadlines. Whoever sets one keeps its slot, until it is due or removed.
#[derive(Debug)]
pub(crate) struct Wheel<W> {
    elapsed: u64,
    /// A bit per level with an occupied spot.
    levels: u16,
    /// A bit per occupied spot of each level.
    occupied: [u64; LEVELS],
    spots: Vec<List<Spot<W>>>,
    timers: Slab<Timer<W>>,
}

impl<W> Default for Wheel<W> {
    fn default() -> Self {
        let spots = std::iter::repeat_with(List::default)
            .take(LEVELS * SPOTS)
            .collect();
        Self {
            elapsed: 0,
            levels: 0,
            occupied: [0; LEVELS],
            spots,
            timers: Slab::default(),
        }
    }
}

impl<W: Copy> Wheel<W> {
    /// Sets a deadline.
    pub(crate) fn insert(&mut self, now: Tick, deadline: Tick, what: W) -> Slot {
        if self.levels == 0 {
            self.elapsed = now.0;
        }
        let slot = self.timers.insert(Timer {
            deadline,
            spot: 0,
            what,
            link: Link::LOOSE,
        });
        self.place(slot);
        slot
    }

    /// Removes a deadline that is set.
    pub(crate) fn remove(&mut self, slot: Slot) -> W {
        self.take_out(slot);
        let what = self.timers[slot].what;
        self.timers.remove(slot);
        what
    }

    /// Removes and returns what is due next; `None` when nothing more is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<W> {
        while let Some((spot, start)) = self.earliest() {
            if start > now.0 {
                break;
            }
            self.elapsed = start;
            if spot < SPOTS {
                let slot = self.spots[spot].front()?;
                return Some(self.remove(slot));
            }
            self.move_down(spot);
        }
        self.elapsed = self.elapsed.max(now.0);
        None
    }

    /// A time no later than the earliest deadline, at which to look again.
    pub(crate) fn next_look(&self) -> Option<Tick> {
        self.earliest().map(|(_, start)| Tick(start))
    }

    /// Deadlines of a spot that has begun go to the levels below, in their order.
    fn move_down(&mut self, spot: usize) {
        while let Some(slot) = self.spots[spot].front() {
            self.take_out(slot);
            self.place(slot);
        }
    }

    fn place(&mut self, slot: Slot) {
        let deadline = self.timers[slot].deadline.0;
        let level = level_of(self.elapsed, deadline);
        let index = (deadline >> (BITS * level as u32)) as usize % SPOTS;
        let spot = level * SPOTS + index;
        self.spots[spot].push_back(&mut self.timers, slot);
        self.occupied[level] |= 1 << index;
        self.levels |= 1 << level;
        self.timers[slot].spot = spot as u16;
    }

    fn take_out(&mut self, slot: Slot) {
        let spot = self.timers[slot].spot as usize;
        self.spots[spot].remove(&mut self.timers, slot);
        if self.spots[spot].is_empty() {
            let level = spot / SPOTS;
            self.occupied[level] &= !(1 << (spot % SPOTS));
            if self.occupied[level] == 0 {
                self.levels &= !(1 << level);
            }
        }
    }

    /// The first occupied spot and the time at which it begins.
    fn earliest(&self) -> Option<(usize, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        let index = self.occupied[level].trailing_zeros() as usize;
        let shift = BITS * level as u32;
        // Above the highest level there are no bits left to keep.
        let turn = (u64::MAX.checked_shl(shift + BITS)).unwrap_or(0);
        let start = (self.elapsed & turn) | (index as u64) << shift;
        Some((level * SPOTS + index, start))
    }

    /// What has a deadline, in no order.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) -> Vec<(Slot, W)> {
        let mut found = Vec::new();
        for (spot, list) in self.spots.iter().enumerate() {
            let (level, index) = (spot / SPOTS, spot % SPOTS);
            let occupied = self.occupied[level] >> index & 1 == 1;
            assert_eq!(occupied, !list.is_empty(), "the map of spots is exact");
            assert!(
                !occupied || self.levels >> level & 1 == 1,
                "the map of levels is exact"
            );
            for slot in list.slots(&self.timers) {
                let timer = &self.timers[slot];
                assert_eq!(timer.spot as usize, spot, "a timer knows its spot");
                assert_eq!(
                    level_of(self.elapsed, timer.deadline.0),
                    level,
                    "each deadline is at its level"
                );
                found.push((slot, timer.what));
            }
        }
        assert_eq!(self.timers.len(), found.len(), "each timer is in a spot");
        found
    }
}

fn level_of(elapsed: u64, deadline: u64) -> usize {
    let differing = (elapsed ^ deadline) | 1;
    ((u64::BITS - 1 - differing.leading_zeros()) / BITS) as usize
}
