//! Quick looks at the state of a session.

use std::sync::OnceLock;

use super::ffi::{self, Length, SEXP};
use super::{Jump, Scope, Sexp};

/// The state of a variable that is active.
const ACTIVE: u8 = 2;

impl Scope {
    /// Names of all variables of the global environment, unsorted.
    pub(crate) fn global_names(&self) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds nothing.
        unsafe { self.fresh(|| ffi::R_lsInternal3(ffi::R_GlobalEnv, 1, 0)) }
    }

    /// Whether no variable can be made or removed there.
    pub(crate) fn globals_are_locked(&self) -> Result<bool, Jump> {
        // SAFETY: the closure holds nothing.
        unsafe { self.protected(|| ffi::R_EnvironmentIsLocked(ffi::R_GlobalEnv) != 0) }
    }

    /// Of variables of the global environment, whether they are locked (1) or active (2), as a sum. All of them exist.
    pub(crate) fn binding_states(&self, names: Sexp<'_>) -> Result<Vec<u8>, Jump> {
        let mut states = vec![0; names.len(self)?];
        let (start, length) = (states.as_mut_ptr(), states.len());
        // SAFETY: the closure holds plain data; `states` has room for each. What a bound name is the name of, is a symbol
        // that exists.
        unsafe {
            self.protected(|| {
                for i in 0..length {
                    let name = ffi::Rf_installTrChar(ffi::STRING_ELT(names.raw(), i as Length));
                    let locked = ffi::R_BindingIsLocked(name, ffi::R_GlobalEnv) != 0;
                    let active = ffi::R_BindingIsActive(name, ffi::R_GlobalEnv) != 0;
                    *start.add(i) = u8::from(locked) + ACTIVE * u8::from(active);
                }
            })?;
        }
        Ok(states)
    }

    /// A list of the values of variables of the global environment in these states; `NULL` for active ones, which would run, and for
    /// the random seed, which is to change.
    pub(crate) fn binding_values(&self, names: Sexp<'_>, states: &[u8]) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds plain data and a borrowed slice, with a state for each name. What is looked at goes into the
        // protected list before the next look.
        unsafe {
            self.fresh(|| {
                let values = ffi::Rf_allocVector(ffi::VECSXP, states.len() as Length);
                ffi::Rf_protect(values);
                for (i, state) in states.iter().enumerate() {
                    let value = value_of(ffi::STRING_ELT(names.raw(), i as Length), *state);
                    ffi::SET_VECTOR_ELT(values, i as Length, value);
                }
                ffi::Rf_unprotect(1);
                values
            })
        }
    }

    /// Whether those values have these addresses.
    pub(crate) fn has_values(
        &self,
        names: Sexp<'_>,
        states: &[u8],
        addresses: &[usize],
    ) -> Result<bool, Jump> {
        // SAFETY: as above; of the values the addresses alone are looked at.
        unsafe {
            self.protected(|| {
                let mut expected = states.iter().zip(addresses).enumerate();
                expected.all(|(i, (state, address))| {
                    let name = ffi::STRING_ELT(names.raw(), i as Length);
                    value_of(name, *state) as usize == *address
                })
            })
        }
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

/// # Safety
/// Where R may jump, with the name of a variable of the global environment that is in this state.
unsafe fn value_of(name: SEXP, state: u8) -> SEXP {
    // SAFETY: the caller's promise.
    unsafe {
        let symbol = ffi::Rf_installTrChar(name);
        if state & ACTIVE != 0 || symbol == ffi::Rf_install(c".Random.seed".as_ptr()) {
            return ffi::R_NilValue;
        }
        let call = ffi::Rf_protect(look_at(name));
        let value = ffi::Rf_eval(call, ffi::R_BaseEnv);
        ffi::Rf_unprotect(1);
        value
    }
}

/// A call that answers the value of a global variable of this name, or `NULL`. Evaluating its symbol instead fails where the value is
/// that of a missing argument.
///
/// # Safety
/// Where R may jump, with a protected string. The result is not protected.
pub(super) unsafe fn look_at(name: SEXP) -> SEXP {
    // SAFETY: the caller's promise; what is fresh is protected until it is part of the call.
    unsafe {
        let names = ffi::Rf_protect(ffi::Rf_allocVector(ffi::STRSXP, 1));
        ffi::SET_STRING_ELT(names, 0, name);
        let rest = ffi::Rf_protect(ffi::Rf_cons(names, ffi::R_NilValue));
        let rest = ffi::Rf_protect(ffi::Rf_cons(ffi::R_GlobalEnv, rest));
        let call = ffi::Rf_lcons(ffi::Rf_install(c".subset2".as_ptr()), rest);
        ffi::Rf_unprotect(3);
        call
    }
}

impl Sexp<'_> {
    /// The address of the object, in the sense of [`identities`](Self::identities).
    pub(crate) fn identity(self) -> usize {
        self.raw() as usize
    }

    /// Cells and values of a pairlist, as addresses: to be compared, not to be followed. The tag of a cell does not change.
    pub(crate) fn identities(self) -> impl Iterator<Item = (usize, usize)> {
        self.pairs()
            .map(|(cell, value)| (cell as usize, value as usize))
    }

    fn pairs(self) -> impl Iterator<Item = (SEXP, SEXP)> {
        // SAFETY: on R's thread; a pairlist is followed to its end, which is `NULL`.
        unsafe {
            let is_list = ffi::TYPEOF(self.raw()) == ffi::LISTSXP;
            let mut cell = if is_list { self.raw() } else { ffi::R_NilValue };
            std::iter::from_fn(move || {
                if cell == ffi::R_NilValue {
                    return None;
                }
                let pair = (cell, ffi::CAR(cell));
                cell = ffi::CDR(cell);
                Some(pair)
            })
        }
    }

    /// A list of the values of a pairlist and of its cells: what keeps them alive.
    pub(crate) fn parts(self, scope: &Scope) -> Result<Sexp<'_>, Jump> {
        let length = self.pairs().count();
        // SAFETY: the closure holds plain data; the pairlist has `length` cells, as nothing has run since.
        unsafe {
            scope.fresh(|| {
                let list = ffi::Rf_allocVector(ffi::VECSXP, 2 * length as Length);
                for (i, (cell, value)) in self.pairs().take(length).enumerate() {
                    ffi::SET_VECTOR_ELT(list, 2 * i as Length, cell);
                    ffi::SET_VECTOR_ELT(list, 2 * i as Length + 1, value);
                }
                list
            })
        }
    }

    /// The numbers of a vector; none for what is not one.
    pub(crate) fn numbers(self, scope: &Scope) -> Result<Vec<f64>, Jump> {
        // SAFETY: on R's thread; any object has a type.
        let kind = unsafe { ffi::TYPEOF(self.raw()) };
        if kind != ffi::REALSXP && kind != ffi::INTSXP {
            return Ok(Vec::new());
        }
        let mut numbers = vec![0.0; self.len(scope)?];
        let (start, length) = (numbers.as_mut_ptr(), numbers.len());
        // SAFETY: the closure holds plain data; the vector has its type, and `numbers` has room for each.
        unsafe {
            scope.protected(|| {
                for i in 0..length {
                    *start.add(i) = if kind == ffi::REALSXP {
                        ffi::REAL_ELT(self.raw(), i as Length)
                    } else {
                        f64::from(ffi::INTEGER_ELT(self.raw(), i as Length))
                    };
                }
            })?;
        }
        Ok(numbers)
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
