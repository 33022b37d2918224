//! Making values of R, and calling its functions.

use super::ffi::{self, SEXP};
use super::{Jump, Scope, Sexp};

impl Scope {
    /// `NULL`.
    pub(crate) fn null(&self) -> Sexp<'static> {
        // SAFETY: a constant of R.
        unsafe { Sexp::new(ffi::R_NilValue) }
    }

    /// `NA_real_`.
    pub(crate) fn na_real(&self) -> f64 {
        // SAFETY: a constant of R.
        unsafe { ffi::R_NaReal }
    }

    /// `x`, protected for as long as this scope.
    pub(crate) fn hold(&self, x: Sexp<'_>) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a pointer to an object that is alive.
        unsafe { self.fresh(|| x.raw()) }
    }

    /// A logical scalar.
    pub(crate) fn logical(&self, value: bool) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds plain data; the vector has one element.
        unsafe {
            self.fresh(|| {
                let x = ffi::Rf_allocVector(ffi::LGLSXP, 1);
                *ffi::LOGICAL(x) = value.into();
                x
            })
        }
    }

    /// A logical vector.
    pub(crate) fn logicals(&self, values: &[bool]) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a borrowed slice; the vector has its length.
        unsafe {
            self.fresh(|| {
                let x = ffi::Rf_allocVector(ffi::LGLSXP, values.len() as ffi::Length);
                let start = ffi::LOGICAL(x);
                for (i, value) in values.iter().enumerate() {
                    *start.add(i) = (*value).into();
                }
                x
            })
        }
    }

    /// An integer scalar.
    pub(crate) fn integer(&self, value: i32) -> Result<Sexp<'_>, Jump> {
        self.integers(&[value])
    }

    /// An integer vector.
    pub(crate) fn integers(&self, values: &[i32]) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a borrowed slice; the vector has its length, and both do not overlap.
        unsafe {
            self.fresh(|| {
                let x = ffi::Rf_allocVector(ffi::INTSXP, values.len() as ffi::Length);
                ffi::INTEGER(x).copy_from_nonoverlapping(values.as_ptr(), values.len());
                x
            })
        }
    }

    /// A double vector.
    pub(crate) fn doubles(&self, values: &[f64]) -> Result<Sexp<'_>, Jump> {
        // SAFETY: as for `integers`.
        unsafe {
            self.fresh(|| {
                let x = ffi::Rf_allocVector(ffi::REALSXP, values.len() as ffi::Length);
                ffi::REAL(x).copy_from_nonoverlapping(values.as_ptr(), values.len());
                x
            })
        }
    }

    /// A raw vector.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<Sexp<'_>, Jump> {
        // SAFETY: as for `integers`.
        unsafe {
            self.fresh(|| {
                let x = ffi::Rf_allocVector(ffi::RAWSXP, bytes.len() as ffi::Length);
                ffi::RAW(x).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                x
            })
        }
    }

    /// A character vector, in UTF-8.
    pub(crate) fn strings(&self, values: &[&str]) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a borrowed slice.
        unsafe { self.fresh(|| strings(values.iter().copied().map(Some))) }
    }

    /// A character vector, in UTF-8, with `NA` for none.
    pub(crate) fn optional_strings(&self, values: &[Option<&str>]) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a borrowed slice.
        unsafe { self.fresh(|| strings(values.iter().copied())) }
    }

    /// A character scalar, in UTF-8.
    pub(crate) fn string(&self, value: &str) -> Result<Sexp<'_>, Jump> {
        self.strings(&[value])
    }

    /// A list.
    pub(crate) fn list(&self, values: &[Sexp<'_>]) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a borrowed slice; its elements are protected, and the list has its length.
        unsafe {
            self.fresh(|| {
                let list = ffi::Rf_allocVector(ffi::VECSXP, values.len() as ffi::Length);
                for (i, value) in values.iter().enumerate() {
                    ffi::SET_VECTOR_ELT(list, i as ffi::Length, value.raw());
                }
                list
            })
        }
    }

    /// A list of `len` times `NULL`, to be filled by [`put`](Sexp::put).
    pub(crate) fn empty_list(&self, len: usize) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a number.
        unsafe { self.fresh(|| ffi::Rf_allocVector(ffi::VECSXP, len as ffi::Length)) }
    }

    /// A list of the same elements.
    pub(crate) fn same_list(&self, list: Sexp<'_>) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a pointer; both are lists of one length.
        unsafe {
            self.fresh(|| {
                let len = ffi::Rf_xlength(list.raw());
                let copy = ffi::Rf_allocVector(ffi::VECSXP, len);
                for i in 0..len {
                    ffi::SET_VECTOR_ELT(copy, i, ffi::VECTOR_ELT(list.raw(), i));
                }
                copy
            })
        }
    }

    /// A list of the same elements, with the same attributes.
    pub(crate) fn shallow_copy(&self, list: Sexp<'_>) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a pointer.
        unsafe { self.fresh(|| ffi::Rf_shallow_duplicate(list.raw())) }
    }

    /// A copy that shares nothing which can be changed where it lies, but for references.
    pub(crate) fn deep_copy(&self, x: Sexp<'_>) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a pointer.
        unsafe { self.fresh(|| ffi::Rf_duplicate(x.raw())) }
    }

    /// A list with names.
    pub(crate) fn named_list(&self, names: &[&str], values: &[Sexp<'_>]) -> Result<Sexp<'_>, Jump> {
        let list = self.list(values)?;
        // SAFETY: a constant of R.
        self.set_attribute(list, unsafe { ffi::R_NamesSymbol }, names)?;
        Ok(list)
    }

    /// Gives `x`, which nobody else has seen yet, a class.
    pub(crate) fn set_class(&self, x: Sexp<'_>, classes: &[&str]) -> Result<(), Jump> {
        // SAFETY: a constant of R.
        self.set_attribute(x, unsafe { ffi::R_ClassSymbol }, classes)
    }

    fn set_attribute(&self, x: Sexp<'_>, name: SEXP, values: &[&str]) -> Result<(), Jump> {
        // SAFETY: the closure holds pointers and a borrowed slice; the fresh vector is protected while it is set.
        unsafe {
            self.protected(|| {
                let values = ffi::Rf_protect(strings(values.iter().copied().map(Some)));
                ffi::Rf_setAttrib(x.raw(), name, values);
                ffi::Rf_unprotect(1);
            })
        }
    }

    /// Calls an R function with these arguments, as they are: language among them is not evaluated.
    pub(crate) fn call(
        &self,
        function: Sexp<'_>,
        arguments: &[Sexp<'_>],
    ) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds protected objects by a borrowed slice; what it makes is protected at once.
        unsafe {
            self.fresh(|| {
                let mut call = ffi::Rf_protect(ffi::R_NilValue);
                for argument in arguments.iter().rev() {
                    let argument = ffi::Rf_protect(quoted(argument.raw()));
                    let longer = ffi::Rf_cons(argument, call);
                    ffi::Rf_unprotect(2);
                    call = ffi::Rf_protect(longer);
                }
                let whole = ffi::Rf_protect(ffi::Rf_lcons(function.raw(), call));
                let result = ffi::Rf_eval(whole, ffi::R_GlobalEnv);
                ffi::Rf_unprotect(2);
                result
            })
        }
    }
}

impl Sexp<'_> {
    /// Sets an element of a list that nobody else has seen yet.
    pub(crate) fn put(self, i: usize, value: Sexp<'_>) {
        // SAFETY: on R's thread; it is a list with that element.
        unsafe {
            assert!(
                ffi::TYPEOF(self.raw()) == ffi::VECSXP && i < ffi::Rf_xlength(self.raw()) as usize,
                "invariant: within the list"
            );
            ffi::SET_VECTOR_ELT(self.raw(), i as ffi::Length, value.raw());
        }
    }
}

/// # Safety
/// Where R may jump, so `values` must own nothing.
unsafe fn strings<'a>(values: impl ExactSizeIterator<Item = Option<&'a str>>) -> SEXP {
    // SAFETY: the vector is protected while its elements are made, and has as many. No string is longer than an `int`
    // holds: they are messages and names.
    unsafe {
        let x = ffi::Rf_protect(ffi::Rf_allocVector(
            ffi::STRSXP,
            values.len() as ffi::Length,
        ));
        for (i, value) in values.enumerate() {
            let string = value.map_or(ffi::R_NaString, |value| {
                let length = value.len().min(i32::MAX as usize) as i32;
                ffi::Rf_mkCharLenCE(value.as_ptr().cast(), length, ffi::CE_UTF8)
            });
            ffi::SET_STRING_ELT(x, i as ffi::Length, string);
        }
        ffi::Rf_unprotect(1);
        x
    }
}

/// `x` such that its evaluation gives `x`.
///
/// # Safety
/// Where R may jump, with `x` protected. The result is not.
pub(super) unsafe fn quoted(x: SEXP) -> SEXP {
    // SAFETY: the fresh pairlist is protected while the call is made.
    unsafe {
        match ffi::TYPEOF(x) {
            ffi::SYMSXP | ffi::LANGSXP | ffi::PROMSXP | ffi::BCODESXP => {
                let rest = ffi::Rf_protect(ffi::Rf_cons(x, ffi::R_NilValue));
                let call = ffi::Rf_lcons(ffi::R_QuoteSymbol, rest);
                ffi::Rf_unprotect(1);
                call
            }
            _ => x,
        }
    }
}
