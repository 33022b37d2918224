//! The serialized form of small tasks, written without R's serializer: that makes a table of 9 kB for each object.
//!
//! What is written here consists of calls, names, lists and short plain vectors, as those in `scalars.rs`:
//!
//! ```text
//! call := flags:i32 tag? item call        CAR and CDR; flags of the rest are those of a pairlist, its end is NULL
//! name := 1:i32 string | reference:i32    the first time and later
//! list := flags:i32 length:i32 item*length attributes?
//! ```

use super::attributes::{Attributes, attributes_of};
use super::ffi::{self, Length, SEXP};
use super::plain::NULL;
use super::scalars::{Plain, Text, plain_vector, push_text, text_of};
use super::{Jump, Preface, Scope, Sexp};

/// Flags of a name that comes for the first time.
const NAME: i32 = 1;
/// Flags of a name that has come before, below its number.
const REFERENCE: i32 = 255;
/// Flags of an argument that is not there.
const MISSING_ARGUMENT: i32 = 251;
/// Flags of a pairlist.
const PAIRLIST: i32 = 2;
/// Flag of what has attributes.
const HAS_ATTRIBUTES: i32 = 1 << 9;
/// Flag of a cell of a pairlist that has a name.
const HAS_TAG: i32 = 1 << 10;

/// The most names, items, and items within each other: R's serializer is not slower with what is larger.
const NAMES: usize = 32;
const ITEMS: usize = 128;
const DEPTH: usize = 24;

/// Writes into the room that there is. Plain data, as R may jump over it.
struct Writer<'b> {
    bytes: &'b mut Vec<u8>,
    names: [SEXP; NAMES],
    names_len: usize,
    items: usize,
}

/// What is left to R's serializer, or has no room.
struct Unfit;

impl Preface {
    /// Appends the serialized form of a small object, within the capacity of `bytes`. False, with `bytes` as they were, where
    /// that is R's serializer's to do.
    pub(crate) fn pickle_small(
        &self,
        scope: &Scope,
        object: Sexp<'_>,
        bytes: &mut Vec<u8>,
    ) -> Result<bool, Jump> {
        let before = bytes.len();
        let room: *mut Vec<u8> = bytes;
        let preface: *const [u8] = &raw const *self.bytes();
        // SAFETY: the closure holds pointers to what is outside of it. Nothing is allocated but by R, and what R jumps out of
        // owns nothing.
        let fits = unsafe {
            scope.protected(|| {
                let mut writer = Writer {
                    bytes: &mut *room,
                    names: [std::ptr::null_mut(); NAMES],
                    names_len: 0,
                    items: 0,
                };
                let begun = writer.push(&*preface);
                begun.and_then(|()| writer.item(object.raw(), 0)).is_ok()
            })
        };
        if !matches!(fits, Ok(true)) {
            bytes.truncate(before);
        }
        fits
    }
}

impl Writer<'_> {
    fn push(&mut self, piece: &[u8]) -> Result<(), Unfit> {
        if self.bytes.capacity() - self.bytes.len() < piece.len() {
            return Err(Unfit);
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn number(&mut self, number: i32) -> Result<(), Unfit> {
        self.push(&number.to_ne_bytes())
    }

    /// # Safety
    /// Where R may jump, with a protected object.
    unsafe fn item(&mut self, x: SEXP, depth: usize) -> Result<(), Unfit> {
        self.items += 1;
        if depth > DEPTH || self.items > ITEMS {
            return Err(Unfit);
        }
        // SAFETY: the caller's promise; parts of an object that is protected are so, too.
        unsafe {
            match ffi::TYPEOF(x) {
                ffi::SYMSXP => self.name(x),
                ffi::LANGSXP => self.call(x, depth),
                ffi::VECSXP => self.list(x, depth),
                ffi::STRSXP if ffi::Rf_xlength(x) != 1 => self.strings(x),
                _ => self.vector(x),
            }
        }
    }

    /// # Safety
    /// As for `item`.
    unsafe fn vector(&mut self, x: SEXP) -> Result<(), Unfit> {
        // SAFETY: the caller's promise; what is plain stays where it is.
        unsafe {
            let kind = ffi::TYPEOF(x);
            match plain_vector(x).ok_or(Unfit)? {
                Plain::Nothing => self.number(NULL),
                Plain::Text(text) => {
                    self.number(kind)?;
                    self.number(1)?;
                    self.text(text)
                }
                Plain::Numbers { start, size, len } => {
                    self.number(kind)?;
                    self.number(len)?;
                    self.push(std::slice::from_raw_parts(start, size))
                }
            }
        }
    }

    /// # Safety
    /// With the text of a string that is protected.
    unsafe fn text(&mut self, text: Text) -> Result<(), Unfit> {
        let room = self.bytes.capacity() - self.bytes.len();
        if room < 8 + text.len || !text.is_same_everywhere() {
            return Err(Unfit);
        }
        // SAFETY: the caller's promise.
        unsafe { push_text(self.bytes, text) };
        Ok(())
    }

    /// # Safety
    /// As for `item`, with a character vector.
    unsafe fn strings(&mut self, x: SEXP) -> Result<(), Unfit> {
        // SAFETY: the caller's promise.
        unsafe {
            let len = ffi::Rf_xlength(x);
            if len > ITEMS as Length || attributes_of(x) != Attributes::None {
                return Err(Unfit);
            }
            self.number(ffi::STRSXP)?;
            self.number(len as i32)?;
            for i in 0..len {
                self.text(text_of(ffi::STRING_ELT(x, i)))?;
            }
        }
        Ok(())
    }

    /// # Safety
    /// As for `item`, with a symbol.
    unsafe fn name(&mut self, name: SEXP) -> Result<(), Unfit> {
        // SAFETY: the caller's promise; R's constant.
        unsafe {
            if name == ffi::R_MissingArg {
                return self.number(MISSING_ARGUMENT);
            }
            // What R marks places with is of this type, too.
            if ffi::TYPEOF(ffi::PRINTNAME(name)) != ffi::CHARSXP {
                return Err(Unfit);
            }
            let known = &self.names[..self.names_len];
            if let Some(at) = known.iter().position(|other| *other == name) {
                return self.number((at as i32 + 1) << 8 | REFERENCE);
            }
            *self.names.get_mut(self.names_len).ok_or(Unfit)? = name;
            self.names_len += 1;
            self.number(NAME)?;
            self.text(text_of(ffi::PRINTNAME(name)))
        }
    }

    /// # Safety
    /// As for `item`, with a call.
    unsafe fn call(&mut self, call: SEXP, depth: usize) -> Result<(), Unfit> {
        // SAFETY: the caller's promise.
        unsafe {
            let mut cell = call;
            while cell != ffi::R_NilValue {
                let kind = ffi::TYPEOF(cell);
                let is_whole = cell == call;
                // Attributes of cells within a call have no meaning to R, and none of its code sets them.
                let is_usual = if is_whole {
                    kind == ffi::LANGSXP && attributes_of(cell) == Attributes::None
                } else {
                    kind == ffi::LISTSXP
                };
                if !is_usual {
                    return Err(Unfit);
                }
                let tag = ffi::TAG(cell);
                let has_tag = ffi::TYPEOF(tag) == ffi::SYMSXP;
                self.number(kind | if has_tag { HAS_TAG } else { 0 })?;
                if has_tag {
                    self.name(tag)?;
                }
                self.item(ffi::CAR(cell), depth + 1)?;
                cell = ffi::CDR(cell);
            }
        }
        self.number(NULL)
    }

    /// # Safety
    /// As for `item`, with a list.
    unsafe fn list(&mut self, list: SEXP, depth: usize) -> Result<(), Unfit> {
        // SAFETY: the caller's promise. The names are part of the list.
        unsafe {
            let len = ffi::Rf_xlength(list);
            if len > ITEMS as Length {
                return Err(Unfit);
            }
            let is_named = match attributes_of(list) {
                Attributes::None => false,
                Attributes::Names => true,
                Attributes::Other => return Err(Unfit),
            };
            self.number(ffi::VECSXP | if is_named { HAS_ATTRIBUTES } else { 0 })?;
            self.number(len as i32)?;
            for i in 0..len {
                self.item(ffi::VECTOR_ELT(list, i), depth + 1)?;
            }
            if is_named {
                let names = ffi::Rf_getAttrib(list, ffi::R_NamesSymbol);
                if ffi::TYPEOF(names) != ffi::STRSXP {
                    return Err(Unfit);
                }
                self.number(PAIRLIST | HAS_TAG)?;
                self.name(ffi::R_NamesSymbol)?;
                self.strings(names)?;
                self.number(NULL)?;
            }
        }
        Ok(())
    }
}
