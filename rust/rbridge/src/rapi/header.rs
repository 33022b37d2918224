//! Flags of an object that R sets and has no way to read or to take away again: that an environment is locked, that a
//! function is to be debugged once. They are bits of the word that every object begins with. Which one is not assumed
//! but found out, by the difference that R makes to an object of the caller's own.

use super::Sexp;

/// The part of the word that flags are in: above it the allocator keeps what kind of memory the object is in.
const FLAGS: u32 = 0x1fff_ffff;

impl Sexp<'_> {
    /// The flags of the object.
    pub(crate) fn flags(self) -> u32 {
        // SAFETY: on R's thread; every object begins with a header of more than four bytes, aligned to eight.
        unsafe { self.raw().cast::<u32>().read() & FLAGS }
    }

    /// Takes flags away.
    pub(crate) fn clear_flags(self, flags: u32) {
        let word = self.raw().cast::<u32>();
        // SAFETY: as above; nothing else writes to it meanwhile. The caller has seen R set these flags, and on objects of
        // this type unset they are the default.
        unsafe { word.write(word.read() & !(flags & FLAGS)) };
    }
}
