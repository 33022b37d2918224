//! Quick looks at the state of a session.

use std::sync::OnceLock;

use super::ffi::{self, Length, SEXP};
use super::{Jump, Scope, Sexp};

impl Scope {
    /// Number of graphics devices.
    pub(crate) fn device_count(&self) -> i32 {
        // SAFETY: on R's thread; reads a variable.
        unsafe { ffi::Rf_NumDevices() }
    }

    /// Address of the string `.Random.seed`, in the sense of [`Sexp::string_identities`].
    pub(crate) fn seed_name(&self) -> Result<usize, Jump> {
        static NAME: OnceLock<usize> = OnceLock::new();
        if let Some(name) = NAME.get() {
            return Ok(*name);
        }
        // SAFETY: the closure holds nothing. The name of a symbol lives for ever.
        let name = unsafe {
            self.protected(|| ffi::PRINTNAME(ffi::Rf_install(c".Random.seed".as_ptr())))?
        };
        Ok(*NAME.get_or_init(|| name as usize))
    }
}

impl Sexp<'_> {
    /// Tags and values of a pairlist, as addresses: to be compared, not to be followed.
    pub(crate) fn identities(self) -> impl Iterator<Item = (usize, usize)> {
        let mut cell = self.raw();
        std::iter::from_fn(move || {
            // SAFETY: on R's thread; a pairlist is followed to its end, which is not one.
            unsafe {
                if ffi::TYPEOF(cell) != ffi::LISTSXP {
                    return None;
                }
                let pair = (ffi::TAG(cell) as usize, ffi::CAR(cell) as usize);
                cell = ffi::CDR(cell);
                Some(pair)
            }
        })
    }

    /// Names and values of a list of variables, as addresses, without `.Random.seed`.
    pub(crate) fn variables(self, scope: &Scope) -> Result<Vec<(usize, usize)>, Jump> {
        let seed = scope.seed_name()?;
        let length = self.len(scope)?;
        let mut variables = Vec::with_capacity(length);
        for i in 0..length {
            // SAFETY: the closure holds plain data.
            let variable = unsafe { scope.protected(|| variable(self.raw(), i))? };
            if variable.0 != seed {
                variables.push(variable);
            }
        }
        Ok(variables)
    }

    /// Whether this is a list of these variables in this order, beside `.Random.seed`.
    pub(crate) fn has_variables(
        self,
        scope: &Scope,
        variables: &[(usize, usize)],
    ) -> Result<bool, Jump> {
        let seed = scope.seed_name()?;
        // SAFETY: the closure holds plain data and a borrowed slice, and so does what it makes of them.
        unsafe {
            scope.protected(|| {
                let length = ffi::Rf_xlength(self.raw()) as usize;
                (0..length)
                    .map(|i| variable(self.raw(), i))
                    .filter(|variable| variable.0 != seed)
                    .eq(variables.iter().copied())
            })
        }
    }

    /// A list of the values of a pairlist.
    pub(crate) fn values(self, scope: &Scope) -> Result<Sexp<'_>, Jump> {
        let length = self.identities().count();
        // SAFETY: the closure holds plain data; the pairlist has `length` cells, as nothing has run since.
        unsafe {
            scope.fresh(|| {
                let list = ffi::Rf_allocVector(ffi::VECSXP, length as Length);
                let mut cell = self.raw();
                for i in 0..length {
                    ffi::SET_VECTOR_ELT(list, i as Length, ffi::CAR(cell));
                    cell = ffi::CDR(cell);
                }
                list
            })
        }
    }

    /// Addresses of the strings of a character vector: equal strings of one encoding have the same one. Empty for what
    /// is not a character vector.
    pub(crate) fn string_identities(self, scope: &Scope) -> Result<Vec<usize>, Jump> {
        // SAFETY: on R's thread; any object has a type.
        if unsafe { ffi::TYPEOF(self.raw()) } != ffi::STRSXP {
            return Ok(Vec::new());
        }
        let mut identities = vec![0; self.len(scope)?];
        let (start, length) = (identities.as_mut_ptr(), identities.len());
        // SAFETY: the closure holds plain data; `identities` has room for each.
        unsafe {
            scope.protected(|| {
                for i in 0..length {
                    *start.add(i) = ffi::STRING_ELT(self.raw(), i as Length) as usize;
                }
            })?;
        }
        Ok(identities)
    }

    /// Whether this is a character vector of these strings.
    pub(crate) fn has_strings(self, scope: &Scope, identities: &[usize]) -> Result<bool, Jump> {
        // SAFETY: the closure holds a pointer and a borrowed slice; elements are within the vector.
        unsafe {
            scope.protected(|| {
                ffi::TYPEOF(self.raw()) == ffi::STRSXP
                    && ffi::Rf_xlength(self.raw()) as usize == identities.len()
                    && identities
                        .iter()
                        .enumerate()
                        .all(|(i, s)| ffi::STRING_ELT(self.raw(), i as Length) as usize == *s)
            })
        }
    }
}

/// Name and value of an element of a named list, as addresses; zeros for what is none.
///
/// # Safety
/// Where R may jump.
unsafe fn variable(list: SEXP, i: usize) -> (usize, usize) {
    // SAFETY: types and lengths are looked at first.
    unsafe {
        let names = ffi::Rf_getAttrib(list, ffi::R_NamesSymbol);
        if ffi::TYPEOF(list) != ffi::VECSXP
            || ffi::TYPEOF(names) != ffi::STRSXP
            || ffi::Rf_xlength(list) as usize <= i
        {
            return (0, 0);
        }
        let name = ffi::STRING_ELT(names, i as Length);
        (name as usize, ffi::VECTOR_ELT(list, i as Length) as usize)
    }
}
