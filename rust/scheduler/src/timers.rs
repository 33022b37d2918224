//! Deadlines of tasks, in a hierarchical wheel.
//!
//! Level 0 has a spot per millisecond, each further level spots 64 times as long. A deadline lives at the level of the
//! highest group of six bits in which it differs from `elapsed`, so each occupied spot lies ahead of `elapsed` within the
//! current turn of its level, and any at a lower level comes before those of a higher one. A deadline moves down at
//! most once per level.

use crate::Tick;
use crate::list::{Chain, Link, List, Slot};
use crate::tasks::Task;

const BITS: u32 = 6;
const SPOTS: usize = 1 << BITS;
/// Enough for any 64-bit deadline.
const LEVELS: usize = 11;

/// The deadline of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Off,
    On { deadline: Tick, spot: u16 },
}

/// Lists of tasks by deadline.
#[derive(Debug)]
struct Due;

impl Chain for Due {
    type Entry = Task;

    fn link(task: &mut Task) -> &mut Link {
        &mut task.due
    }

    #[cfg(test)]
    fn look(task: &Task) -> &Link {
        &task.due
    }
}

/// The deadlines of all tasks that have one.
#[derive(Debug)]
pub(crate) struct Wheel {
    elapsed: u64,
    /// A bit per level with an occupied spot.
    levels: u16,
    /// A bit per occupied spot of each level.
    occupied: [u64; LEVELS],
    spots: Vec<List<Due>>,
}

impl Default for Wheel {
    fn default() -> Self {
        let spots = std::iter::repeat_with(List::default)
            .take(LEVELS * SPOTS)
            .collect();
        Self {
            elapsed: 0,
            levels: 0,
            occupied: [0; LEVELS],
            spots,
        }
    }
}

impl Wheel {
    /// Sets the deadline of a task that has none.
    pub(crate) fn insert(&mut self, tasks: &mut [Task], slot: Slot, now: Tick, deadline: Tick) {
        if self.levels == 0 {
            self.elapsed = now.0;
        }
        self.place(tasks, slot, deadline);
    }

    /// Takes the deadline from a task, if it has one.
    pub(crate) fn remove(&mut self, tasks: &mut [Task], slot: Slot) {
        let timer = std::mem::replace(&mut tasks[slot as usize].timer, Timer::Off);
        if let Timer::On { spot, .. } = timer {
            self.spots[spot as usize].remove(tasks, slot);
            self.note_removal(spot as usize);
        }
    }

    /// The next task whose deadline has come; `None` when there is none at `now`.
    pub(crate) fn pop_due(&mut self, tasks: &mut [Task], now: Tick) -> Option<Slot> {
        while let Some((spot, start)) = self.earliest() {
            if start > now.0 {
                break;
            }
            self.elapsed = start;
            if spot < SPOTS {
                let slot = self.spots[spot].front()?;
                self.remove(tasks, slot);
                return Some(slot);
            }
            self.move_down(tasks, spot);
        }
        self.elapsed = self.elapsed.max(now.0);
        None
    }

    /// A time no later than the earliest deadline, at which to look again.
    pub(crate) fn next_look(&self) -> Option<Tick> {
        self.earliest().map(|(_, start)| Tick(start))
    }

    /// Deadlines of a spot that has begun go to the levels below, in their order.
    fn move_down(&mut self, tasks: &mut [Task], spot: usize) {
        while let Some(slot) = self.spots[spot].front() {
            let Timer::On { deadline, .. } = tasks[slot as usize].timer else {
                unreachable!("a task in the wheel has a deadline");
            };
            self.remove(tasks, slot);
            self.place(tasks, slot, deadline);
        }
    }

    fn place(&mut self, tasks: &mut [Task], slot: Slot, deadline: Tick) {
        let level = level_of(self.elapsed, deadline.0);
        let index = (deadline.0 >> (BITS * level as u32)) as usize % SPOTS;
        let spot = level * SPOTS + index;
        self.spots[spot].push_back(tasks, slot);
        self.occupied[level] |= 1 << index;
        self.levels |= 1 << level;
        tasks[slot as usize].timer = Timer::On {
            deadline,
            spot: spot as u16,
        };
    }

    fn note_removal(&mut self, spot: usize) {
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

    #[cfg(test)]
    pub(crate) fn check_invariants(&self, tasks: &[Task]) -> usize {
        let mut found = 0;
        for (spot, list) in self.spots.iter().enumerate() {
            let (level, index) = (spot / SPOTS, spot % SPOTS);
            let occupied = self.occupied[level] >> index & 1 == 1;
            assert_eq!(occupied, !list.is_empty(), "the map of spots is exact");
            assert!(
                !occupied || self.levels >> level & 1 == 1,
                "the map of levels is exact"
            );
            for slot in list.slots(tasks) {
                let Timer::On {
                    deadline,
                    spot: noted,
                } = tasks[slot as usize].timer
                else {
                    panic!("a task in the wheel has a deadline");
                };
                assert_eq!(noted as usize, spot, "a task knows its spot");
                assert_eq!(
                    level_of(self.elapsed, deadline.0),
                    level,
                    "each deadline is at its level"
                );
                found += 1;
            }
        }
        found
    }
}

fn level_of(elapsed: u64, deadline: u64) -> usize {
    let differing = (elapsed ^ deadline) | 1;
    ((u64::BITS - 1 - differing.leading_zeros()) / BITS) as usize
}
