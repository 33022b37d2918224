//! Doubly linked lists through the slots of a slab: no allocation, removal from the middle in constant time.

use std::marker::PhantomData;

use crate::slab::{Slab, Slot};

/// Marks the end of a list, so that a link takes 8 bytes.
const END: Slot = Slot::MAX;

/// The entries before and after an entry in one kind of list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    previous: Slot,
    next: Slot,
}

impl Link {
    pub(crate) const LOOSE: Link = Link {
        previous: END,
        next: END,
    };
}

/// A kind of list: which entries it chains, and where these keep their links.
pub(crate) trait Chain {
    type Entry;
    fn link(entry: &mut Self::Entry) -> &mut Link;
    fn look(entry: &Self::Entry) -> &Link;
}

/// A list of one kind. An entry may be in one list of a kind at a time, and the owner knows in which.
#[derive(Debug)]
pub(crate) struct List<C> {
    head: Slot,
    tail: Slot,
    len: u32,
    chain: PhantomData<C>,
}

impl<C> Default for List<C> {
    fn default() -> Self {
        Self {
            head: END,
            tail: END,
            len: 0,
            chain: PhantomData,
        }
    }
}

impl<C: Chain> List<C> {
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn front(&self) -> Option<Slot> {
        (self.head != END).then_some(self.head)
    }

    pub(crate) fn back(&self) -> Option<Slot> {
        (self.tail != END).then_some(self.tail)
    }

    /// The entry before one of this list.
    pub(crate) fn before(entries: &Slab<C::Entry>, slot: Slot) -> Option<Slot> {
        let Link { previous, .. } = *C::look(&entries[slot]);
        (previous != END).then_some(previous)
    }

    /// All entries, from the front.
    pub(crate) fn iter(&self, entries: &Slab<C::Entry>) -> impl Iterator<Item = Slot> {
        std::iter::successors(self.front(), |slot| {
            let Link { next, .. } = *C::look(&entries[*slot]);
            (next != END).then_some(next)
        })
    }

    pub(crate) fn push_back(&mut self, entries: &mut Slab<C::Entry>, slot: Slot) {
        *C::link(&mut entries[slot]) = Link {
            previous: self.tail,
            next: END,
        };
        match self.back() {
            Some(tail) => C::link(&mut entries[tail]).next = slot,
            None => self.head = slot,
        }
        self.tail = slot;
        self.len += 1;
    }

    pub(crate) fn push_front(&mut self, entries: &mut Slab<C::Entry>, slot: Slot) {
        *C::link(&mut entries[slot]) = Link {
            previous: END,
            next: self.head,
        };
        match self.front() {
            Some(head) => C::link(&mut entries[head]).previous = slot,
            None => self.tail = slot,
        }
        self.head = slot;
        self.len += 1;
    }

    /// Puts an entry behind another of this list, or at the front.
    pub(crate) fn insert_after(
        &mut self,
        entries: &mut Slab<C::Entry>,
        previous: Option<Slot>,
        slot: Slot,
    ) {
        let Some(previous) = previous else {
            return self.push_front(entries, slot);
        };
        let next = C::look(&entries[previous]).next;
        if next == END {
            return self.push_back(entries, slot);
        }
        *C::link(&mut entries[slot]) = Link { previous, next };
        C::link(&mut entries[previous]).next = slot;
        C::link(&mut entries[next]).previous = slot;
        self.len += 1;
    }

    pub(crate) fn pop_front(&mut self, entries: &mut Slab<C::Entry>) -> Option<Slot> {
        let slot = self.front()?;
        self.remove(entries, slot);
        Some(slot)
    }

    /// Takes out an entry, which must be in this list.
    pub(crate) fn remove(&mut self, entries: &mut Slab<C::Entry>, slot: Slot) {
        let Link { previous, next } = std::mem::replace(C::link(&mut entries[slot]), Link::LOOSE);
        match previous {
            END => self.head = next,
            _ => C::link(&mut entries[previous]).next = next,
        }
        match next {
            END => self.tail = previous,
            _ => C::link(&mut entries[next]).previous = previous,
        }
        self.len -= 1;
    }

    /// Moves all of `other` behind the entries of this list, in constant time.
    pub(crate) fn append(&mut self, entries: &mut Slab<C::Entry>, other: &mut Self) {
        let other = std::mem::take(other);
        let Some(first) = other.front() else { return };
        match self.back() {
            Some(tail) => {
                C::link(&mut entries[tail]).next = first;
                C::link(&mut entries[first]).previous = tail;
            }
            None => self.head = first,
        }
        self.tail = other.tail;
        self.len += other.len;
    }

    #[cfg(test)]
    pub(crate) fn slots(&self, entries: &Slab<C::Entry>) -> Vec<Slot> {
        let mut found = Vec::new();
        let (mut previous, mut slot) = (END, self.head);
        while slot != END {
            let link = C::look(&entries[slot]);
            assert_eq!(link.previous, previous, "links agree in both directions");
            found.push(slot);
            (previous, slot) = (slot, link.next);
        }
        assert_eq!(self.tail, previous, "the tail is the last entry");
        assert_eq!(
            self.len as usize,
            found.len(),
            "the length is that of the chain"
        );
        found
    }
}
