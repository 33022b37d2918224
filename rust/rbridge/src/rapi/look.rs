//! Quick looks at the state of a session.

use std::sync::OnceLock;

use super::ffi::{self, Length};
use super::{Jump, Scope, Sexp};

impl Scope {
    /// Names of all variables of the global environment, unsorted.
    pub(crate) fn global_names(&self) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds nothing.
        unsafe { self.fresh(|| ffi::R_lsInternal3(ffi::R_GlobalEnv, 1, 0)) }
    }

    /// The strings of `x` at `indices`.
    pub(crate) fn pick_strings(&self, x: Sexp<'_>, indices: &[usize]) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a pointer and a borrowed slice of indices into `x`, a character vector.
        unsafe {
            self.fresh(|| {
                let picked = ffi::Rf_allocVector(ffi::STRSXP, indices.len() as Length);
                ffi::Rf_protect(picked);
                for (to, from) in indices.iter().enumerate() {
                    let string = ffi::STRING_ELT(x.raw(), *from as Length);
                    ffi::SET_STRING_ELT(picked, to as Length, string);
                }
                ffi::Rf_unprotect(1);
                picked
            })
        }
    }

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
