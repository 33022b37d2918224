//! Environments and attributes.

use std::ffi::CStr;

use super::ffi;
use super::{Jump, Scope, Sexp};

impl Scope {
    /// A new environment without a parent, with these active bindings of functions.
    pub(crate) fn active_environment(
        &self,
        bindings: &[(&CStr, Sexp<'_>)],
    ) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds pointers to protected functions and borrowed names; the fresh environment is protected
        // while it is filled.
        unsafe {
            self.fresh(|| {
                let env = ffi::Rf_protect(ffi::R_NewEnv(ffi::R_EmptyEnv, 0, 0));
                // Each one is put before those that are there.
                for (name, f) in bindings.iter().rev() {
                    ffi::R_MakeActiveBinding(ffi::Rf_install(name.as_ptr()), f.raw(), env);
                }
                ffi::Rf_unprotect(1);
                env
            })
        }
    }

    /// Sets an attribute; `NULL` removes it.
    pub(crate) fn set_attr(&self, x: Sexp<'_>, name: &CStr, value: Sexp<'_>) -> Result<(), Jump> {
        // SAFETY: the closure holds pointers to protected objects and a borrowed name.
        unsafe {
            self.protected(|| {
                ffi::Rf_setAttrib(x.raw(), ffi::Rf_install(name.as_ptr()), value.raw());
            })
        }
    }
}

impl Sexp<'_> {
    /// Whether this is an environment.
    pub(crate) fn is_environment(self) -> bool {
        // SAFETY: on R's thread.
        unsafe { ffi::TYPEOF(self.raw()) == ffi::ENVSXP }
    }
}
