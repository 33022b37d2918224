//! Reading the arguments of entries. R has checked them for the user; these checks keep a wrong call from doing harm.

use std::ffi::CStr;
#[cfg(unix)]
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::Failure;
use super::ffi;
use super::{Jump, Scope, Sexp};

impl<'r> Sexp<'r> {
    /// The number of its type.
    pub(crate) fn kind(self) -> i32 {
        // SAFETY: on R's thread; any object has a type.
        unsafe { ffi::TYPEOF(self.raw()) }
    }

    /// Number of elements.
    pub(crate) fn len(self, scope: &Scope) -> Result<usize, Jump> {
        // SAFETY: the closure holds a pointer. An ALTREP vector may compute its length.
        Ok(unsafe { scope.protected(|| ffi::Rf_xlength(self.raw()))? } as usize)
    }

    /// Whether this is `NULL`.
    pub(crate) fn is_null(self) -> bool {
        self.kind() == ffi::NILSXP
    }

    /// Whether this is a list.
    pub(crate) fn is_list(self) -> bool {
        self.kind() == ffi::VECSXP
    }

    /// Whether this is a function.
    pub(crate) fn is_function(self) -> bool {
        matches!(self.kind(), ffi::CLOSXP | ffi::BUILTINSXP)
    }

    /// Whether this is an external pointer.
    pub(crate) fn is_pointer(self) -> bool {
        self.kind() == ffi::EXTPTRSXP
    }

    /// Whether this has a class, in the sense of R's `inherits()`.
    pub(crate) fn inherits(self, scope: &Scope, class: &CStr) -> Result<bool, Jump> {
        // SAFETY: the closure holds a pointer and a borrowed name.
        unsafe { scope.protected(|| ffi::Rf_inherits(self.raw(), class.as_ptr()) != 0) }
    }

    /// Whether both are the same object.
    pub(crate) fn is(self, other: Sexp<'_>) -> bool {
        self.raw() == other.raw()
    }

    /// One number, integer or double; an `NA` of either is a NaN.
    pub(crate) fn number(self, scope: &Scope, argument: &str) -> Result<f64, Failure> {
        let kind = self.kind();
        if !matches!(kind, ffi::INTSXP | ffi::REALSXP) || self.len(scope)? != 1 {
            return Err(Failure::error(format!("`{argument}` must be a number")));
        }
        // SAFETY: the closure holds a pointer; the vector has its type and one element.
        Ok(unsafe {
            scope.protected(|| {
                if kind == ffi::REALSXP {
                    ffi::REAL_ELT(self.raw(), 0)
                } else {
                    match ffi::INTEGER_ELT(self.raw(), 0) {
                        i32::MIN => f64::NAN,
                        value => value.into(),
                    }
                }
            })?
        })
    }

    /// One number or `NULL`.
    pub(crate) fn optional_number(
        self,
        scope: &Scope,
        argument: &str,
    ) -> Result<Option<f64>, Failure> {
        if self.is_null() {
            Ok(None)
        } else {
            self.number(scope, argument).map(Some)
        }
    }

    /// One number of seconds from 0 that a clock reaches.
    pub(crate) fn seconds(self, scope: &Scope, argument: &str) -> Result<Duration, Failure> {
        Duration::try_from_secs_f64(self.number(scope, argument)?)
            .map_err(|_| Failure::error(format!("`{argument}` must be a number of seconds")))
    }

    /// One whole number from 0.
    pub(crate) fn count(self, scope: &Scope, argument: &str) -> Result<u64, Failure> {
        let number = self.number(scope, argument)?;
        if number >= 0.0 && number <= u64::MAX as f64 {
            Ok(number as u64)
        } else {
            Err(Failure::error(format!(
                "`{argument}` must be a number of at least 0"
            )))
        }
    }

    /// `TRUE`, `FALSE` or, as `None`, `NA`.
    pub(crate) fn logical(self, scope: &Scope, argument: &str) -> Result<Option<bool>, Failure> {
        if self.kind() != ffi::LGLSXP || self.len(scope)? != 1 {
            return Err(Failure::error(format!(
                "`{argument}` must be a logical value"
            )));
        }
        // SAFETY: the closure holds a pointer; the vector has its type and one element.
        let value = unsafe { scope.protected(|| ffi::LOGICAL_ELT(self.raw(), 0))? };
        Ok((value != i32::MIN).then_some(value != 0))
    }

    /// `TRUE` or `FALSE`.
    pub(crate) fn flag(self, scope: &Scope, argument: &str) -> Result<bool, Failure> {
        self.logical(scope, argument)?
            .ok_or_else(|| Failure::error(format!("`{argument}` must be TRUE or FALSE")))
    }

    /// One string.
    pub(crate) fn string(self, scope: &Scope, argument: &str) -> Result<String, Failure> {
        let wrong = || Failure::error(format!("`{argument}` must be a string"));
        let mut strings = self
            .strings(scope, argument)
            .map_err(|failure| match failure {
                Failure::Error(_) => wrong(),
                other => other,
            })?;
        match strings.pop() {
            Some(string) if strings.is_empty() => Ok(string),
            _ => Err(wrong()),
        }
    }

    /// Strings, none of them `NA`.
    pub(crate) fn strings(self, scope: &Scope, argument: &str) -> Result<Vec<String>, Failure> {
        let wrong = || Failure::error(format!("`{argument}` must be a character vector"));
        if self.kind() != ffi::STRSXP {
            return Err(wrong());
        }
        let length = self.len(scope)?;
        let mut strings = Vec::with_capacity(length);
        for i in 0..length {
            // SAFETY: the closure holds plain data; `i` is within the vector. The translation lives until R's .Call
            // returns, and is copied here.
            let text = unsafe {
                scope.protected(|| {
                    let string = ffi::STRING_ELT(self.raw(), i as ffi::Length);
                    if string == ffi::R_NaString {
                        std::ptr::null()
                    } else {
                        ffi::Rf_translateCharUTF8(string)
                    }
                })?
            };
            if text.is_null() {
                return Err(wrong());
            }
            // SAFETY: R's strings end in NUL; see above.
            let text = unsafe { CStr::from_ptr(text) };
            strings.push(text.to_string_lossy().into_owned());
        }
        Ok(strings)
    }

    /// Number of strings of a character vector; `None` for what is none.
    pub(crate) fn strings_len(self, scope: &Scope) -> Result<Option<usize>, Jump> {
        if self.kind() != ffi::STRSXP {
            return Ok(None);
        }
        self.len(scope).map(Some)
    }

    /// The path of a file, which may be bytes that are no text.
    #[cfg(unix)]
    pub(crate) fn path(self, scope: &Scope, argument: &str) -> Result<PathBuf, Failure> {
        use std::os::unix::ffi::OsStringExt;
        if self.kind() != ffi::STRSXP || self.len(scope)? != 1 {
            return Err(Failure::error(format!("`{argument}` must be a path")));
        }
        // SAFETY: the closure holds plain data; the vector has an element. The translation, to the encoding of the session, in
        // which R itself calls the system, lives until R's .Call returns, and is copied here. It ends in NUL.
        let bytes = unsafe {
            let text = scope.protected(|| ffi::Rf_translateChar(ffi::STRING_ELT(self.raw(), 0)))?;
            CStr::from_ptr(text).to_bytes().to_vec()
        };
        Ok(OsString::from_vec(bytes).into())
    }

    /// The path of a file.
    #[cfg(not(unix))]
    pub(crate) fn path(self, scope: &Scope, argument: &str) -> Result<PathBuf, Failure> {
        self.string(scope, argument).map(PathBuf::from)
    }

    /// Whole numbers, exactly `N`.
    pub(crate) fn integers<const N: usize>(
        self,
        scope: &Scope,
        argument: &str,
    ) -> Result<[i32; N], Failure> {
        if self.kind() != ffi::INTSXP || self.len(scope)? != N {
            return Err(Failure::error(format!("`{argument}` must be {N} integers")));
        }
        // SAFETY: the closure holds a pointer; the vector has its type and length.
        Ok(unsafe {
            scope.protected(|| {
                std::array::from_fn(|i| ffi::INTEGER_ELT(self.raw(), i as ffi::Length))
            })?
        })
    }

    /// First element of an integer vector, if there is one.
    pub(crate) fn first_integer(self, scope: &Scope) -> Result<Option<i32>, Jump> {
        if self.kind() != ffi::INTSXP || self.len(scope)? == 0 {
            return Ok(None);
        }
        // SAFETY: the closure holds a pointer; the vector has its type and an element.
        unsafe {
            scope
                .protected(|| ffi::INTEGER_ELT(self.raw(), 0))
                .map(Some)
        }
    }

    /// The elements of a list.
    pub(crate) fn elements(
        self,
        scope: &Scope,
        argument: &str,
    ) -> Result<impl ExactSizeIterator<Item = Sexp<'r>> + use<'r>, Failure> {
        if self.kind() != ffi::VECSXP {
            return Err(Failure::error(format!("`{argument}` must be a list")));
        }
        let length = self.len(scope)?;
        // SAFETY: within the list, whose elements live as long as it does: what entries are given is not changed while
        // they run. Lists are not computed (no ALTREP lists before R 4.3, and access to those does not jump).
        Ok((0..length)
            .map(move |i| unsafe { Sexp::new(ffi::VECTOR_ELT(self.raw(), i as ffi::Length)) }))
    }

    /// The bytes of a raw vector, copied.
    pub(crate) fn bytes(self, scope: &Scope, argument: &str) -> Result<Vec<u8>, Failure> {
        if self.kind() != ffi::RAWSXP {
            return Err(Failure::error(format!("`{argument}` must be a raw vector")));
        }
        let length = self.len(scope)?;
        // SAFETY: the closure holds a pointer; the address is used before R runs again.
        Ok(unsafe {
            let start = scope.protected(|| ffi::RAW(self.raw()))?;
            std::slice::from_raw_parts(start, length).to_vec()
        })
    }
}
