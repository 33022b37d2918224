//! Entries in slots that are used again, named by keys that are not.

use std::ops::{Index, IndexMut};

/// Index of an entry in its slab.
pub(crate) type Slot = u32;

/// Bits of a key that tell the slot; the others tell which entry of that slot.
const SLOT_BITS: u32 = 26;

/// The most entries a slab may have.
const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// Slabs with up to this many slots are not shrunk.
const SMALL: usize = 1 << 10;

/// Ends the chain of free slots.
const END: Slot = Slot::MAX;

/// Names one entry of a slab: its slot, and its number among all entries the slab ever had, so that the key of an entry
/// that was removed matches none that came later. Numbers come again after 2^38 entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Key(u64);

impl Key {
    /// Numbers begin with 1, so no entry has this one.
    const FREE: Self = Self(0);

    pub(crate) fn new(slot: Slot, number: u64) -> Self {
        Self(number << SLOT_BITS | u64::from(slot))
    }

    pub(crate) fn slot(self) -> Slot {
        (self.0 % MAX_SLOTS as u64) as Slot
    }

    pub(crate) fn number(self) -> u64 {
        self.0 >> SLOT_BITS
    }
}

#[derive(Debug)]
struct Entry<T> {
    /// [`Key::FREE`] for a free slot.
    key: Key,
    next_free: Slot,
    value: T,
}

/// A slab. Adding, finding and removing take constant time; so does shrinking, spread over the removals before it.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Slot,
    len: usize,
    last_number: u64,
    /// When no more than this many entries are left, free slots may be given up.
    shrinks_at: usize,
    /// How many entries were removed since free slots were last looked at.
    removed: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: END,
            len: 0,
            last_number: 0,
            shrinks_at: 0,
            removed: 0,
        }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> Slot {
        self.len += 1;
        self.last_number += 1;
        let number = self.last_number;
        let slot = self.free;
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            return self.grow(number, value);
        };
        self.free = entry.next_free;
        *entry = Entry {
            key: Key::new(slot, number),
            next_free: END,
            value,
        };
        slot
    }

    /// The slot of an entry that is still there.
    pub(crate) fn find(&self, key: Key) -> Option<Slot> {
        let slot = key.slot();
        let entry = self.entries.get(slot as usize)?;
        (entry.key == key && key != Key::FREE).then_some(slot)
    }

    /// The key of the entry in a slot that is in use.
    pub(crate) fn key(&self, slot: Slot) -> Key {
        self.entries[slot as usize].key
    }

    /// Frees a slot that is in use; its key matches nothing from now on.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot as usize];
        entry.key = Key::FREE;
        entry.next_free = self.free;
        self.free = slot;
        self.len -= 1;
        self.removed += 1;
        let width = self.entries.len();
        let is_due =
            self.len <= self.shrinks_at || (self.removed >= width && self.len <= width / 4);
        if is_due && width > SMALL {
            self.shrink();
        }
    }

    /// Removes all entries; their keys match nothing from now on.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            last_number: self.last_number,
            ..Self::default()
        };
    }

    /// Number of slots; all that are in use are below it.
    pub(crate) fn width(&self) -> usize {
        self.entries.len()
    }

    /// Slots in use, lowest first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.entries.len() as Slot).filter(|slot| self.entries[*slot as usize].key != Key::FREE)
    }

    #[cold]
    fn grow(&mut self, number: u64, value: T) -> Slot {
        assert!(
            self.entries.len() < MAX_SLOTS,
            "fewer entries than slot numbers"
        );
        let slot = self.entries.len() as Slot;
        self.entries.push(Entry {
            key: Key::new(slot, number),
            next_free: END,
            value,
        });
        self.shrinks_at = self.entries.len() / 4;
        slot
    }

    /// Gives up the free slots behind the last one in use. The other free ones are used lowest first from now on, so that
    /// the upper ones become free by the time of the next look. Where the last one is in use, that takes as long and frees
    /// nothing: then it is done once in half as many removals as there are slots.
    #[cold]
    fn shrink(&mut self) {
        self.shrinks_at = self.len / 2;
        let is_last_used = (self.entries.last()).is_some_and(|entry| entry.key != Key::FREE);
        if is_last_used && self.removed < self.entries.len() / 2 {
            return;
        }
        self.removed = 0;
        let last = self
            .entries
            .iter()
            .rposition(|entry| entry.key != Key::FREE);
        self.entries.truncate(last.map_or(0, |last| last + 1));
        self.entries.shrink_to(self.entries.len() + SMALL / 2);
        self.free = END;
        for slot in (0..self.entries.len()).rev() {
            if self.entries[slot].key == Key::FREE {
                self.entries[slot].next_free = self.free;
                self.free = slot as Slot;
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl<T> Index<Slot> for Slab<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        &self.entries[slot as usize].value
    }
}

impl<T> IndexMut<Slot> for Slab<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.entries[slot as usize].value
    }
}
