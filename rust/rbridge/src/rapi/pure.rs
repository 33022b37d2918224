//! Evaluation of an element of a map whose function is pure (see `crate::pure`).

use super::evaluation::{Setting, setting};
use super::failure::Failure;
use super::ffi;
use super::{Kept, Scope, Sexp};

/// How the evaluation of a pure function has ended.
pub(crate) enum Pure<'s> {
    Value(Sexp<'s>),
    /// With an error or a warning, of which nobody has been told.
    Condition,
}

impl Scope {
    /// The value of a call, which is there without its first argument. Only an interrupt leaves it as a jump.
    pub(crate) fn evaluate_pure(&self, call: &Kept, x: Sexp<'_>) -> Result<Pure<'_>, Failure> {
        let Setting { session, names, .. } = setting()?;
        let call = call.get().raw();
        // SAFETY: the closure holds plain data and protected objects; what is fresh is protected until it is part of the call.
        // The missing argument is an object of R's, which no such call has as its value.
        let value = unsafe {
            self.fresh(|| {
                ffi::Rf_defineVar(names.pure, call, session);
                let rest = ffi::Rf_protect(ffi::Rf_cons(x.raw(), ffi::CDR(ffi::CDR(call))));
                let whole = ffi::Rf_protect(ffi::Rf_lcons(ffi::CAR(call), rest));
                let value = ffi::Rf_protect(ffi::Rf_eval(whole, ffi::R_GlobalEnv));
                ffi::Rf_defineVar(names.pure, ffi::R_NilValue, session);
                let is_told = ffi::Rf_eval(names.signalled, session) != ffi::R_NilValue;
                ffi::Rf_unprotect(3);
                if is_told { ffi::R_MissingArg } else { value }
            })
        };
        match value {
            // SAFETY: a constant of R.
            Ok(value) if value.raw() != unsafe { ffi::R_MissingArg } => Ok(Pure::Value(value)),
            Ok(_) => {
                self.forget_conditions()?;
                Ok(Pure::Condition)
            }
            Err(jump) => {
                if jump.carries(c"interrupt") || self.has_noted_interrupt()? {
                    return Err(jump.into());
                }
                jump.abandon();
                self.forget_conditions()?;
                Ok(Pure::Condition)
            }
        }
    }

    /// Whether the last that the handlers have noted is an interrupt.
    pub(crate) fn has_noted_interrupt(&self) -> Result<bool, Failure> {
        let Setting { session, names, .. } = setting()?;
        // SAFETY: the closure holds objects that are kept; what is looked at is kept by the session's state.
        Ok(unsafe {
            self.protected(|| {
                let noted = ffi::Rf_eval(names.noted, session);
                ffi::Rf_inherits(noted, c"interrupt".as_ptr()) != 0
            })?
        })
    }

    /// What the handlers have noted is noted again as the element is evaluated once more.
    pub(crate) fn forget_conditions(&self) -> Result<(), Failure> {
        let Setting { session, names, .. } = setting()?;
        // SAFETY: as above.
        unsafe {
            self.protected(|| {
                for name in [names.pure, names.signalled, names.noted] {
                    ffi::Rf_defineVar(name, ffi::R_NilValue, session);
                }
            })?;
        }
        Ok(())
    }
}

impl Sexp<'_> {
    /// Whether it is a vector that may compute its elements.
    pub(crate) fn is_altrep(self) -> bool {
        // SAFETY: on R's thread; reads a bit of the object.
        unsafe { ffi::ALTREP(self.raw()) != 0 }
    }
}
