//! Environments and attributes.

use std::ffi::CStr;

use super::ffi;
use super::{Jump, Scope, Sexp};

impl Scope {
    /// A new environment without a parent, in which `name` is an active binding of the function `f`, and `empty` a variable
    /// that is `NULL`. Who goes through the environment comes to `name` first.
    pub(crate) fn active_environment(
        &self,
        name: &CStr,
        f: Sexp<'_>,
        empty: &CStr,
    ) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds a pointer to a protected function and borrowed names; the fresh environment is
        // protected while it is filled.
        unsafe {
            self.fresh(|| {
                let env = ffi::Rf_protect(ffi::R_NewEnv(ffi::R_EmptyEnv, 0, 0));
                // Each one is put before those that are there.
                ffi::Rf_defineVar(ffi::Rf_install(empty.as_ptr()), ffi::R_NilValue, env);
                ffi::R_MakeActiveBinding(ffi::Rf_install(name.as_ptr()), f.raw(), env);
                ffi::Rf_unprotect(1);
                env
            })
        }
    }

    /// Assigns a variable in an environment.
    pub(crate) fn define(&self, env: Sexp<'_>, name: &CStr, value: Sexp<'_>) -> Result<(), Jump> {
        // SAFETY: the closure holds pointers to protected objects and a borrowed name; the caller has seen that `env` is
        // an environment.
        unsafe {
            self.protected(|| {
                ffi::Rf_defineVar(ffi::Rf_install(name.as_ptr()), value.raw(), env.raw());
            })
        }
    }

    /// Sets an attribute; `NULL` removes it.
    pub(crate) fn set_attr(&self, x: Sexp<'_>, name: &CStr, value: Sexp<'_>) -> Result<(), Jump> {
        // SAFETY: as for `define`.
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
