//! Bytes that a daemon has to say and has not said yet, where its hub finds them if the daemon dies before it has.
//!
//! One side adds and clears, the other reads after the end of the first. What was said already may be found all the same, if
//! the daemon has died before it could clear.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::claim;

/// A place in shared memory: the number of bytes, and room for them.
#[derive(Debug, Clone, Copy)]
pub struct Shelf<'a> {
    len: &'a AtomicU64,
    room: &'a [AtomicU8],
}

impl<'a> Shelf<'a> {
    /// The shelf in what hub and daemon share: the number is in the first word that is for no claim. `None` if there are not
    /// as many words.
    pub fn of(words: &'a [AtomicU64], room: &'a [AtomicU8]) -> Option<Shelf<'a>> {
        let len = words.get(claim::WORDS)?;
        Some(Shelf { len, room })
    }

    /// Adds bytes. False, and nothing is added, if there is no room for them.
    pub fn add(&self, bytes: &[u8]) -> bool {
        let len = self.len();
        let Some(place) = self.room[len..].get(..bytes.len()) else {
            return false;
        };
        for (to, byte) in place.iter().zip(bytes) {
            to.store(*byte, Ordering::Relaxed);
        }
        let len = (len + bytes.len()) as u64;
        self.len.store(len, Ordering::Release);
        true
    }

    /// Removes all.
    pub fn clear(&self) {
        self.len.store(0, Ordering::Release);
    }

    /// What is there.
    pub fn read(&self) -> Vec<u8> {
        let bytes = self.room[..self.len()].iter();
        bytes.map(|byte| byte.load(Ordering::Relaxed)).collect()
    }

    /// The other process may have written anything.
    fn len(&self) -> usize {
        let len = usize::try_from(self.len.load(Ordering::Acquire));
        len.unwrap_or(usize::MAX).min(self.room.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_there_until_they_are_cleared() {
        let room: Vec<AtomicU8> = (0..10).map(AtomicU8::new).collect();
        let shelf = Shelf {
            len: &AtomicU64::new(0),
            room: &room,
        };
        assert!(shelf.add(b"abc"));
        assert!(shelf.add(b"defghij"));
        assert_eq!(shelf.read(), b"abcdefghij");
        assert!(!shelf.add(b"k"));
        shelf.clear();
        assert!(shelf.read().is_empty());
        assert!(shelf.add(b"k"));
        assert_eq!(shelf.read(), b"k");
    }

    #[test]
    fn no_number_is_too_large() {
        let room = [AtomicU8::new(7)];
        let shelf = Shelf {
            len: &AtomicU64::new(u64::MAX),
            room: &room,
        };
        assert_eq!(shelf.read(), [7]);
        assert!(!shelf.add(b"x"));
    }
}
