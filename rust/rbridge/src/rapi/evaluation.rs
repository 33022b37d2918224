//! Evaluation of a task in a frame of its own, without R code of ours around it: a call of a closure takes a microsecond or two.

use std::cell::Cell;

use super::build::quoted;
use super::failure::Failure;
use super::ffi::{self, Length, SEXP};
use super::look::look_at;
use super::{Jump, Kept, Scope, Sexp};

/// Size of the table of an environment, as `new.env()` has it.
const TABLE: i32 = 29;

/// What the evaluation of tasks needs of the package: the environment of the session's state, the call that stands at the top of
/// every task, and the function that is given the value and the expression where something goes along with a value.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) session: SEXP,
    top: SEXP,
    with_beside: SEXP,
    /// A call that answers the random seed.
    look_at_seed: SEXP,
    pub(super) names: Names,
}

/// Symbols, which live for ever.
#[derive(Clone, Copy)]
pub(super) struct Names {
    /// Of the session's state.
    seed: SEXP,
    given: SEXP,
    pub(super) signalled: SEXP,
    pub(super) noted: SEXP,
    pub(super) pure: SEXP,
    beside: SEXP,
    serial: SEXP,
    tracer: SEXP,
    /// Of the frame around the call at the top.
    expr: SEXP,
    env: SEXP,
    object: SEXP,
    shared: SEXP,
    flags: SEXP,
    /// Of the environment of an element of a map.
    f: SEXP,
    args: SEXP,
    x: SEXP,
    /// Of the global environment.
    random_seed: SEXP,
}

thread_local! {
    /// On R's thread only. Its objects are kept for ever.
    static SETTING: Cell<Option<Setting>> = const { Cell::new(None) };
}

/// A task as it has come.
#[derive(Clone, Copy)]
pub(crate) struct Given<'r> {
    pub object: Sexp<'r>,
    /// What all tasks of a map have in common, or `NULL`.
    pub shared: Sexp<'r>,
    pub flags: i32,
}

/// What is evaluated, and where.
#[derive(Clone, Copy)]
struct Parts {
    expr: SEXP,
    globals: SEXP,
    locals: Locals,
}

#[derive(Clone, Copy)]
enum Locals {
    /// A list with names, or `NULL`.
    List(SEXP),
    Map {
        f: SEXP,
        args: SEXP,
        x: SEXP,
    },
}

/// Flags of an element of a map, and of one that comes beside the context of a trace, as in R/evaluate.R.
pub(crate) const MAP: i32 = 2;
const MAP_TRACED: i32 = 6;

impl Scope {
    /// Sets what [`evaluate_task`](Self::evaluate_task) needs: once, as the package is loaded.
    pub(crate) fn set_evaluation(
        &self,
        session: Sexp<'_>,
        top: Sexp<'_>,
        with_beside: Sexp<'_>,
    ) -> Result<(), Failure> {
        if !session.is_environment() || !top.is_call() || !with_beside.is_function() {
            return Err(Failure::error(
                "an environment, a call and a function are needed",
            ));
        }
        // SAFETY: the closure holds nothing; the name of a symbol lives for ever.
        let look_at_seed =
            unsafe { self.fresh(|| look_at(ffi::PRINTNAME(symbol(c".Random.seed"))))? };
        for x in [session, top, with_beside, look_at_seed] {
            std::mem::forget(Kept::new(self, x)?);
        }
        // SAFETY: the closure holds nothing; symbols are never collected.
        let names = unsafe { self.protected(|| Names::new())? };
        SETTING.set(Some(Setting {
            session: session.raw(),
            top: top.raw(),
            with_beside: with_beside.raw(),
            look_at_seed: look_at_seed.raw(),
            names,
        }));
        Ok(())
    }

    /// The value of a task. Its frames begin with the call at the top, from a frame that the session's state knows as `given`.
    /// `stream` is the random stream that it has of its own.
    pub(crate) fn evaluate_task(
        &self,
        given: &Given<'_>,
        stream: Option<&[i32]>,
    ) -> Result<Sexp<'_>, Failure> {
        let setting = setting()?;
        let parts = Parts::of(given)
            .ok_or_else(|| Failure::error("the task is not of the parts that it should have"))?;
        // SAFETY: the closure holds plain data, and objects that are protected or part of ones that are.
        let value = unsafe {
            self.fresh(|| {
                let Setting { session, names, .. } = setting;
                let seed = ffi::Rf_protect(ffi::Rf_eval(setting.look_at_seed, ffi::R_BaseEnv));
                ffi::Rf_defineVar(names.seed, seed, session);
                ffi::Rf_unprotect(1);
                define_all(parts.globals, ffi::R_GlobalEnv);
                let env = ffi::Rf_protect(ffi::R_NewEnv(ffi::R_GlobalEnv, 1, TABLE));
                match parts.locals {
                    Locals::List(list) => define_all(list, env),
                    Locals::Map { f, args, x } => {
                        ffi::Rf_defineVar(names.f, f, env);
                        ffi::Rf_defineVar(names.args, args, env);
                        ffi::Rf_defineVar(names.x, x, env);
                    }
                }
                // After the globals, which may hold a seed.
                if let Some(stream) = stream {
                    let seed = ffi::Rf_allocVector(ffi::INTSXP, stream.len() as Length);
                    ffi::Rf_protect(seed);
                    ffi::INTEGER(seed).copy_from_nonoverlapping(stream.as_ptr(), stream.len());
                    ffi::Rf_defineVar(names.random_seed, seed, ffi::R_GlobalEnv);
                    ffi::Rf_unprotect(1);
                }
                let frame = ffi::Rf_protect(ffi::R_NewEnv(ffi::R_BaseEnv, 0, 0));
                let flags = ffi::Rf_protect(ffi::Rf_allocVector(ffi::INTSXP, 1));
                *ffi::INTEGER(flags) = given.flags;
                ffi::Rf_defineVar(names.flags, flags, frame);
                ffi::Rf_defineVar(names.shared, given.shared.raw(), frame);
                ffi::Rf_defineVar(names.object, given.object.raw(), frame);
                ffi::Rf_defineVar(names.env, env, frame);
                ffi::Rf_defineVar(names.expr, parts.expr, frame);
                ffi::Rf_defineVar(names.given, frame, session);
                let value = ffi::Rf_protect(ffi::Rf_eval(setting.top, frame));
                let value = with_beside(setting, value, parts.expr);
                ffi::Rf_unprotect(4);
                value
            })?
        };
        Ok(value)
    }

    /// Whether tasks are evaluated without hooks for serialization and without a trace.
    pub(crate) fn evaluates_plainly(&self) -> Result<bool, Failure> {
        let Setting { session, names, .. } = setting()?;
        // SAFETY: the closure holds objects that are kept. Both variables exist.
        Ok(unsafe {
            self.protected(|| {
                ffi::Rf_eval(names.serial, session) == ffi::R_NilValue
                    && ffi::Rf_eval(names.tracer, session) == ffi::R_NilValue
            })?
        })
    }

    /// Has the session's state forget the last task. Whether there is nothing that goes along with it.
    pub(crate) fn forget_task(&self) -> Result<bool, Failure> {
        let Setting { session, names, .. } = setting()?;
        // SAFETY: as above.
        Ok(unsafe {
            self.protected(|| {
                ffi::Rf_defineVar(names.given, ffi::R_NilValue, session);
                ffi::Rf_defineVar(names.signalled, ffi::R_NilValue, session);
                ffi::Rf_defineVar(names.pure, ffi::R_NilValue, session);
                ffi::Rf_eval(names.beside, session) == ffi::R_NilValue
            })?
        })
    }

    /// A call that, evaluated by [`is_zero`](Self::is_zero), gives the function this argument.
    pub(crate) fn call_of(&self, function: Sexp<'_>, argument: Sexp<'_>) -> Result<Kept, Jump> {
        // SAFETY: the closure holds protected objects; the pairlist is protected while the call is made.
        let call = unsafe {
            self.fresh(|| {
                let rest = ffi::Rf_protect(ffi::Rf_cons(argument.raw(), ffi::R_NilValue));
                let call = ffi::Rf_lcons(function.raw(), rest);
                ffi::Rf_unprotect(1);
                call
            })?
        };
        Kept::new(self, call)
    }

    /// Whether this call answers the integer 0.
    pub(crate) fn is_zero(&self, call: &Kept) -> Result<bool, Jump> {
        let call = call.get().raw();
        // SAFETY: the closure holds an object that is kept. The answer is looked at before anything allocates.
        unsafe {
            self.protected(|| {
                let answer = ffi::Rf_eval(call, ffi::R_BaseEnv);
                ffi::TYPEOF(answer) == ffi::INTSXP
                    && ffi::Rf_xlength(answer) == 1
                    && ffi::INTEGER_ELT(answer, 0) == 0
            })
        }
    }
}

impl Names {
    /// # Safety
    /// Where R may jump.
    unsafe fn new() -> Names {
        // SAFETY: the caller's promise.
        unsafe {
            Names {
                seed: symbol(c"seed"),
                given: symbol(c"given"),
                signalled: symbol(c"signalled"),
                noted: symbol(c"noted"),
                pure: symbol(c"pure"),
                beside: symbol(c"beside"),
                serial: symbol(c"serial"),
                tracer: symbol(c"tracer"),
                expr: symbol(c".__task_expr__."),
                env: symbol(c".__task_env__."),
                object: symbol(c"object"),
                shared: symbol(c"shared"),
                flags: symbol(c"flags"),
                f: symbol(c".f"),
                args: symbol(c".args"),
                x: symbol(c".x"),
                random_seed: symbol(c".Random.seed"),
            }
        }
    }
}

impl Parts {
    /// As R/tasks.R makes them; `None` for anything else.
    fn of(given: &Given<'_>) -> Option<Parts> {
        let object = given.object.raw();
        if given.flags < MAP {
            return Some(Parts {
                expr: part(object, 0)?,
                globals: part(object, 2)?,
                locals: Locals::List(part(object, 1)?),
            });
        }
        let shared = given.shared.raw();
        Some(Parts {
            expr: part(shared, 0)?,
            globals: part(shared, 3)?,
            locals: Locals::Map {
                f: part(shared, 1)?,
                args: part(shared, 2)?,
                x: if given.flags == MAP_TRACED {
                    part(object, 0)?
                } else {
                    object
                },
            },
        })
    }
}

/// An element of what should be a list.
fn part(list: SEXP, i: Length) -> Option<SEXP> {
    // SAFETY: on R's thread, as a `SEXP` is at hand only there; within the list.
    unsafe {
        (ffi::TYPEOF(list) == ffi::VECSXP && i < ffi::Rf_xlength(list))
            .then(|| ffi::VECTOR_ELT(list, i))
    }
}

pub(super) fn setting() -> Result<Setting, Failure> {
    SETTING
        .get()
        .ok_or_else(|| Failure::error("the package has not been loaded as a whole"))
}

/// # Safety
/// Where R may jump.
unsafe fn symbol(name: &std::ffi::CStr) -> SEXP {
    // SAFETY: the caller's promise; R copies the name.
    unsafe { ffi::Rf_install(name.as_ptr()) }
}

/// Defines variables: the elements of a list with names. Anything else defines none.
///
/// # Safety
/// Where R may jump, with a protected list and environment.
unsafe fn define_all(list: SEXP, env: SEXP) {
    // SAFETY: the caller's promise; within the list and its names.
    unsafe {
        if ffi::TYPEOF(list) != ffi::VECSXP || ffi::Rf_xlength(list) == 0 {
            return;
        }
        let names = ffi::Rf_getAttrib(list, ffi::R_NamesSymbol);
        if ffi::TYPEOF(names) != ffi::STRSXP {
            return;
        }
        ffi::Rf_protect(names);
        for i in 0..ffi::Rf_xlength(list) {
            let name = ffi::Rf_installTrChar(ffi::STRING_ELT(names, i));
            ffi::Rf_defineVar(name, ffi::VECTOR_ELT(list, i), env);
        }
        ffi::Rf_unprotect(1);
    }
}

/// The value, with what goes along with it.
///
/// # Safety
/// Where R may jump, with protected objects. The result is not protected.
unsafe fn with_beside(setting: Setting, value: SEXP, expr: SEXP) -> SEXP {
    // SAFETY: the caller's promise; what is fresh is protected until it is part of the call.
    unsafe {
        if ffi::Rf_eval(setting.names.beside, setting.session) == ffi::R_NilValue {
            return value;
        }
        let rest = ffi::Rf_protect(ffi::Rf_cons(quoted(expr), ffi::R_NilValue));
        let value = ffi::Rf_protect(quoted(value));
        let rest = ffi::Rf_protect(ffi::Rf_cons(value, rest));
        let call = ffi::Rf_protect(ffi::Rf_lcons(setting.with_beside, rest));
        let result = ffi::Rf_eval(call, ffi::R_BaseEnv);
        ffi::Rf_unprotect(4);
        result
    }
}
