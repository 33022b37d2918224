//! Small plain values, serialized without R's serializer, which takes a microsecond for each. Their form is that of `plain`.

use std::ffi::c_int;

use super::attributes::{Attributes, attributes_of};
use super::failure::Failure;
use super::ffi::{self, Length, SEXP};
use super::plain::{ASCII, BYTES, LATIN1, LONGEST, MISSING, NULL, STRING, UTF8};
use super::{Jump, Scope, Sexp, pickle};

/// What every object begins with that this session serializes.
pub(crate) struct Preface(Vec<u8>);

impl Preface {
    /// As it is now: it has the encoding of the locale.
    pub(crate) fn new(scope: &Scope) -> Result<Preface, Failure> {
        let mut bytes = pickle(scope, scope.null(), Vec::new())?.bytes;
        bytes.truncate(bytes.len() - size_of::<i32>());
        Ok(Preface(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A list, or a vector of a type whose elements are plain, without a class.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'r> {
    x: Sexp<'r>,
    kind: c_int,
    pub len: usize,
}

/// A string of R's, before anything else of R's runs.
#[derive(Clone, Copy)]
pub(super) struct Text {
    start: *const u8,
    pub(super) len: usize,
    encoding: c_int,
    is_missing: bool,
}

impl<'r> Elements<'r> {
    pub(crate) fn new(scope: &Scope, x: Sexp<'r>, argument: &str) -> Result<Self, Failure> {
        // SAFETY: on R's thread; any object has a type.
        let kind = unsafe { ffi::TYPEOF(x.raw()) };
        match kind {
            ffi::LGLSXP | ffi::INTSXP | ffi::REALSXP | ffi::STRSXP | ffi::RAWSXP | ffi::VECSXP => {
                Ok(Elements {
                    x,
                    kind,
                    len: x.len(scope)?,
                })
            }
            _ => Err(Failure::error(format!(
                "`{argument}` must be a list or a plain vector"
            ))),
        }
    }

    /// Appends to `bytes` the serialized form of `x[[i]]`, as R's serializer writes it. `i` is below the length.
    pub(crate) fn pickle(
        &self,
        scope: &Scope,
        i: usize,
        preface: &Preface,
        mut bytes: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let at = self.position(i);
        let x = self.x.raw();
        // SAFETY: the closures hold plain data; `at` is within the vector, which has the type.
        unsafe {
            match self.kind {
                ffi::VECSXP => {
                    return preface.pickle(scope, Sexp::new(ffi::VECTOR_ELT(x, at)), bytes);
                }
                ffi::STRSXP => {
                    let text = scope.protected(|| text_of(ffi::STRING_ELT(x, at)))?;
                    preface.begin(&mut bytes, self.kind, 8 + text.len);
                    push_text(&mut bytes, text);
                }
                ffi::REALSXP => {
                    let value = scope.protected(|| ffi::REAL_ELT(x, at))?;
                    preface.begin(&mut bytes, self.kind, 8);
                    bytes.extend(value.to_ne_bytes());
                }
                ffi::RAWSXP => {
                    let value = scope.protected(|| ffi::RAW_ELT(x, at))?;
                    preface.begin(&mut bytes, self.kind, 1);
                    bytes.push(value);
                }
                kind => {
                    let value = scope.protected(|| {
                        if kind == ffi::LGLSXP {
                            ffi::LOGICAL_ELT(x, at)
                        } else {
                            ffi::INTEGER_ELT(x, at)
                        }
                    })?;
                    preface.begin(&mut bytes, kind, 4);
                    bytes.extend(value.to_ne_bytes());
                }
            }
        }
        Ok(bytes)
    }

    /// `x[[i]]`. `i` is below the length.
    pub(crate) fn element<'s>(&self, scope: &'s Scope, i: usize) -> Result<Sexp<'s>, Jump> {
        let at = self.position(i);
        let (x, kind) = (self.x.raw(), self.kind);
        // SAFETY: the closure holds plain data; `at` is within the vector, which has the type. A string is protected while
        // its vector is made.
        unsafe {
            scope.fresh(|| {
                if kind == ffi::VECSXP {
                    return ffi::VECTOR_ELT(x, at);
                }
                if kind == ffi::STRSXP {
                    let string = ffi::Rf_protect(ffi::STRING_ELT(x, at));
                    let one = ffi::Rf_allocVector(kind, 1);
                    ffi::SET_STRING_ELT(one, 0, string);
                    ffi::Rf_unprotect(1);
                    return one;
                }
                let one = ffi::Rf_allocVector(kind, 1);
                match kind {
                    ffi::REALSXP => *ffi::REAL(one) = ffi::REAL_ELT(x, at),
                    ffi::RAWSXP => *ffi::RAW(one) = ffi::RAW_ELT(x, at),
                    ffi::LGLSXP => *ffi::LOGICAL(one) = ffi::LOGICAL_ELT(x, at),
                    _ => *ffi::INTEGER(one) = ffi::INTEGER_ELT(x, at),
                }
                one
            })
        }
    }

    fn position(&self, i: usize) -> Length {
        assert!(i < self.len, "invariant: within the vector");
        i as Length
    }
}

impl Preface {
    /// Appends to `bytes` the serialized form of any object: what [`read_plain`] reads without R's serializer, if no string depends on
    /// the locale.
    pub(crate) fn pickle(
        &self,
        scope: &Scope,
        x: Sexp<'_>,
        mut bytes: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let kind = x.kind();
        match plain_data(scope, x)? {
            None => return Ok(pickle(scope, x, bytes)?.bytes),
            Some(Plain::Nothing) => {
                bytes.extend_from_slice(&self.0);
                bytes.extend(NULL.to_ne_bytes());
            }
            // SAFETY: `x` is protected, and its elements stay where they are. A string is one of its elements.
            Some(Plain::Text(text)) => unsafe {
                self.begin(&mut bytes, kind, 8 + text.len);
                push_text(&mut bytes, text);
            },
            Some(Plain::Numbers { start, size, len }) => {
                self.begin_vector(&mut bytes, kind, len, size);
                // SAFETY: as above; the vector has so many bytes.
                bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(start, size) });
            }
        }
        Ok(bytes)
    }

    /// Begins an object: a vector of one element that takes `rest` bytes.
    fn begin(&self, bytes: &mut Vec<u8>, kind: c_int, rest: usize) {
        self.begin_vector(bytes, kind, 1, rest);
    }

    fn begin_vector(&self, bytes: &mut Vec<u8>, kind: c_int, len: i32, rest: usize) {
        bytes.reserve_exact(self.0.len() + 2 * size_of::<i32>() + rest);
        bytes.extend_from_slice(&self.0);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(len.to_ne_bytes());
    }
}

/// What there is to write of an object without attributes.
#[derive(Clone, Copy)]
pub(super) enum Plain {
    Nothing,
    Text(Text),
    Numbers {
        start: *const u8,
        size: usize,
        len: i32,
    },
}

/// `None` for what is left to R's serializer.
fn plain_data(scope: &Scope, x: Sexp<'_>) -> Result<Option<Plain>, Jump> {
    let (x, kind) = (x.raw(), x.kind());
    if kind == ffi::NILSXP {
        return Ok(Some(Plain::Nothing));
    }
    if element_size(kind).is_none() {
        return Ok(None);
    }
    // SAFETY: the closure holds a protected object.
    unsafe { scope.protected(|| plain_vector(x)) }
}

/// Bytes of an element of a plain vector, 0 for a string; `None` for what is not one.
fn element_size(kind: c_int) -> Option<usize> {
    match kind {
        ffi::LGLSXP | ffi::INTSXP => Some(size_of::<i32>()),
        ffi::REALSXP => Some(size_of::<f64>()),
        ffi::RAWSXP => Some(1),
        ffi::STRSXP => Some(0),
        _ => None,
    }
}

/// `None` for what is left to R's serializer.
///
/// # Safety
/// Where R may jump, with a protected object.
pub(super) unsafe fn plain_vector(x: SEXP) -> Option<Plain> {
    // SAFETY: the caller's promise; the object is of one of these types.
    unsafe {
        let kind = ffi::TYPEOF(x);
        if kind == ffi::NILSXP {
            return Some(Plain::Nothing);
        }
        let size = element_size(kind)?;
        let len = ffi::Rf_xlength(x) as usize;
        if len > LONGEST || (size == 0 && len != 1) || attributes_of(x) != Attributes::None {
            return None;
        }
        let start: *const u8 = match kind {
            ffi::REALSXP => ffi::REAL(x).cast(),
            ffi::RAWSXP => ffi::RAW(x),
            ffi::LGLSXP => ffi::LOGICAL(x).cast(),
            ffi::INTSXP => ffi::INTEGER(x).cast(),
            _ => {
                let text = text_of(ffi::STRING_ELT(x, 0));
                return text.is_same_everywhere().then_some(Plain::Text(text));
            }
        };
        Some(Plain::Numbers {
            start,
            size: len * size,
            len: len as i32,
        })
    }
}

impl Text {
    /// Whether its bytes mean the same in all locales.
    pub(super) fn is_same_everywhere(&self) -> bool {
        // SAFETY: the string that this is of is still there.
        let is_ascii = || unsafe { std::slice::from_raw_parts(self.start, self.len) }.is_ascii();
        self.is_missing || self.encoding != ffi::CE_NATIVE || is_ascii()
    }
}

/// # Safety
/// On R's thread, with a string of R's.
pub(super) unsafe fn text_of(string: SEXP) -> Text {
    // SAFETY: the caller's promise.
    unsafe {
        Text {
            start: ffi::R_CHAR(string).cast(),
            len: ffi::Rf_xlength(string) as usize,
            encoding: ffi::Rf_getCharCE(string),
            is_missing: string == ffi::R_NaString,
        }
    }
}

/// # Safety
/// The string that `text` is of is still there.
pub(super) unsafe fn push_text(bytes: &mut Vec<u8>, text: Text) {
    if text.is_missing {
        bytes.extend(STRING.to_ne_bytes());
        bytes.extend(MISSING.to_ne_bytes());
        return;
    }
    // SAFETY: the caller's promise.
    let characters = unsafe { std::slice::from_raw_parts(text.start, text.len) };
    let levels = match text.encoding {
        ffi::CE_UTF8 => UTF8,
        ffi::CE_LATIN1 => LATIN1,
        ffi::CE_BYTES => BYTES,
        _ if characters.is_ascii() => ASCII,
        _ => 0,
    };
    bytes.extend((STRING | levels).to_ne_bytes());
    // R has no longer strings.
    bytes.extend((text.len as i32).to_ne_bytes());
    bytes.extend_from_slice(characters);
}
