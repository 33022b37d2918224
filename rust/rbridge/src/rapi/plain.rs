//! The serialized form of small plain values, and its reader.
//!
//! ```text
//! object := "B\n" version:i32 writer:i32 reader:i32 length:i32 encoding:u8*length item
//! item   := flags:i32 length:i32 data
//! ```
//!
//! Flags of a vector without attributes are its type. Those of a string say in which encoding it is.

use std::ffi::c_int;

use super::ffi::{self, Length, SEXP};
use super::{Jump, Scope, Sexp};

/// Flags of `NULL`.
pub(super) const NULL: i32 = 254;
/// Type of a string in a character vector.
pub(super) const STRING: i32 = 9;

const LEVELS: u32 = 12;
pub(super) const BYTES: i32 = 1 << (1 + LEVELS);
pub(super) const LATIN1: i32 = 1 << (2 + LEVELS);
pub(super) const UTF8: i32 = 1 << (3 + LEVELS);
pub(super) const ASCII: i32 = 1 << (6 + LEVELS);

/// Length of a missing string.
pub(super) const MISSING: i32 = -1;

/// Longest vector that is read and written so: a longer one is not done faster.
pub(super) const LONGEST: usize = 1 << 10;

/// Reads an object that is `NULL`, or a short vector without attributes: of numbers, or of one string. `None` for any
/// other, and for what R may have to say something of.
pub(crate) fn read_plain<'r>(scope: &'r Scope, bytes: &[u8]) -> Result<Option<Sexp<'r>>, Jump> {
    let Some((kind, rest)) = plain_item(bytes) else {
        return Ok(None);
    };
    if kind == NULL {
        return Ok(rest.is_empty().then(|| scope.null()));
    }
    if kind == ffi::STRSXP {
        return match take(rest) {
            Some((1, string)) => read_string(scope, string),
            _ => Ok(None),
        };
    }
    let Some(numbers) = Numbers::of(kind, rest) else {
        return Ok(None);
    };
    // SAFETY: the closure holds plain data and a borrowed slice.
    Ok(Some(unsafe { scope.fresh(|| numbers.vector())? }))
}

/// A short vector of numbers, before it is made.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'b> {
    kind: c_int,
    length: usize,
    /// As many bytes as the vector takes.
    data: &'b [u8],
}

impl<'b> Numbers<'b> {
    /// `None` for any other object.
    pub(super) fn read(bytes: &'b [u8]) -> Option<Numbers<'b>> {
        let (kind, rest) = plain_item(bytes)?;
        Numbers::of(kind, rest)
    }

    fn of(kind: c_int, rest: &'b [u8]) -> Option<Numbers<'b>> {
        let size = match kind {
            ffi::LGLSXP | ffi::INTSXP => size_of::<i32>(),
            ffi::REALSXP => size_of::<f64>(),
            ffi::RAWSXP => 1,
            _ => return None,
        };
        let (length, data) = take(rest)?;
        let length = usize::try_from(length).ok()?;
        let fits = length <= LONGEST && data.len() == length * size;
        fits.then_some(Numbers { kind, length, data })
    }

    /// # Safety
    /// Where R may jump. The result is not protected.
    pub(super) unsafe fn vector(self) -> SEXP {
        // SAFETY: the caller's promise; the vector is of one of the types above, and takes as many bytes as there are.
        unsafe {
            let x = ffi::Rf_allocVector(self.kind, self.length as Length);
            let to: *mut u8 = match self.kind {
                ffi::REALSXP => ffi::REAL(x).cast(),
                ffi::RAWSXP => ffi::RAW(x),
                ffi::LGLSXP => ffi::LOGICAL(x).cast(),
                _ => ffi::INTEGER(x).cast(),
            };
            to.copy_from_nonoverlapping(self.data.as_ptr(), self.data.len());
            x
        }
    }
}

/// Flags and rest of what is after the preface.
fn plain_item(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let rest = bytes.strip_prefix(b"B\n")?;
    let (version, rest) = take(rest)?;
    let (_, rest) = take(rest)?;
    let (_, rest) = take(rest)?;
    let (length, rest) = take(rest)?;
    if version != 3 {
        return None;
    }
    take(rest.get(usize::try_from(length).ok()?..)?)
}

fn read_string<'r>(scope: &'r Scope, bytes: &[u8]) -> Result<Option<Sexp<'r>>, Jump> {
    let Some((flags, rest)) = take(bytes) else {
        return Ok(None);
    };
    let Some((length, text)) = take(rest) else {
        return Ok(None);
    };
    let encoding = match flags {
        _ if flags == STRING | ASCII => ffi::CE_NATIVE,
        _ if flags == STRING | UTF8 => ffi::CE_UTF8,
        // What is in the encoding of the other side's locale R may have to translate.
        _ => return Ok(None),
    };
    if usize::try_from(length) != Ok(text.len()) || (encoding == ffi::CE_NATIVE && !text.is_ascii())
    {
        return Ok(None);
    }
    // SAFETY: the closure holds a borrowed slice; the string is protected while its vector is made.
    let vector = unsafe {
        scope.fresh(|| {
            let string = ffi::Rf_mkCharLenCE(text.as_ptr().cast(), length, encoding);
            ffi::Rf_protect(string);
            let x = ffi::Rf_allocVector(ffi::STRSXP, 1);
            ffi::SET_STRING_ELT(x, 0, string);
            ffi::Rf_unprotect(1);
            x
        })?
    };
    Ok(Some(vector))
}

fn take(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((i32::from_ne_bytes(*number), rest))
}
