//! Whether an object has attributes.

use super::build::quoted;
use super::ffi::{self, SEXP};

/// What attributes an object has, as far as that matters to those who serialize it.
#[derive(PartialEq, Eq, Clone, Copy)]
pub(super) enum Attributes {
    None,
    /// Names, and nothing else.
    Names,
    Other,
}

/// R's interface has no other way to ask for all of them.
///
/// # Safety
/// Where R may jump, with a protected object.
pub(super) unsafe fn attributes_of(x: SEXP) -> Attributes {
    // SAFETY: the caller's promise; what is fresh is protected until it has been looked at.
    unsafe {
        if ffi::IS_S4_OBJECT(x) != 0 {
            return Attributes::Other;
        }
        let argument = ffi::Rf_protect(quoted(x));
        let rest = ffi::Rf_protect(ffi::Rf_cons(argument, ffi::R_NilValue));
        let call = ffi::Rf_lcons(ffi::Rf_install(c"attributes".as_ptr()), rest);
        ffi::Rf_protect(call);
        let attributes = ffi::Rf_protect(ffi::Rf_eval(call, ffi::R_BaseEnv));
        let found = if ffi::TYPEOF(attributes) == ffi::NILSXP {
            Attributes::None
        } else if ffi::Rf_xlength(attributes) == 1
            && ffi::TYPEOF(ffi::Rf_getAttrib(x, ffi::R_NamesSymbol)) == ffi::STRSXP
        {
            Attributes::Names
        } else {
            Attributes::Other
        };
        ffi::Rf_unprotect(4);
        found
    }
}
