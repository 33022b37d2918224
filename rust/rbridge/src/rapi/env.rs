//! Environments and attributes.

use std::cell::Cell;
use std::ffi::CStr;

use super::ffi::{self, Length, SEXP};
use super::plain::Numbers;
use super::{Jump, Scope, Sexp};

/// How many objects are made between two looks for an interrupt.
const AT_A_TIME: usize = 1 << 10;

/// What environments have in common that are made alike: their parent, an active binding, and a class.
pub(crate) struct Form<'r> {
    pub parent: Sexp<'r>,
    /// A call that makes the function of the binding `data` in the environment that it is evaluated in.
    pub data: Sexp<'r>,
    pub class: Sexp<'r>,
}

impl Scope {
    /// A list of environments of this form, one for each number, which it has as the attribute `id`; `task` is an attribute of
    /// all. Both variables, `data` and `value`, are there from the start, as R code that goes through an environment counts the
    /// variables before it looks at them.
    pub(crate) fn environments(
        &self,
        form: &Form<'_>,
        ids: &[i32],
        task: Sexp<'_>,
    ) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the closure holds protected objects and a borrowed slice; each fresh object is protected, or part of one that
        // is, before the next one is made.
        unsafe {
            self.fresh(|| {
                let list = ffi::Rf_protect(ffi::Rf_allocVector(ffi::VECSXP, ids.len() as Length));
                // What all have the attributes of, but for the number.
                let model = ffi::Rf_protect(ffi::R_NewEnv(form.parent.raw(), 0, 0));
                mark(model, form, 0, task.raw());
                for (i, id) in ids.iter().enumerate() {
                    if i % AT_A_TIME == AT_A_TIME - 1 {
                        ffi::R_CheckUserInterrupt();
                    }
                    let env = ffi::R_NewEnv(form.parent.raw(), 0, 0);
                    ffi::SET_VECTOR_ELT(list, i as Length, env);
                    fill(env, form);
                    ffi::SHALLOW_DUPLICATE_ATTRIB(env, model);
                    number(env, *id);
                }
                ffi::Rf_unprotect(2);
                list
            })
        }
    }

    /// One such environment.
    pub(crate) fn environment(
        &self,
        form: &Form<'_>,
        id: i32,
        task: Sexp<'_>,
    ) -> Result<Sexp<'_>, Jump> {
        // SAFETY: as for `environments`.
        unsafe {
            self.fresh(|| {
                let env = ffi::Rf_protect(ffi::R_NewEnv(form.parent.raw(), 0, 0));
                fill(env, form);
                mark(env, form, id, task.raw());
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

/// The attributes that lead from a mirai to its task, and the variable in which it has its value: looked up by name once, as there
/// are three looks at each of a million elements.
#[derive(Clone, Copy)]
struct Marks {
    task: SEXP,
    id: SEXP,
    value: SEXP,
    data: SEXP,
    /// The function that reads a variable of an environment, and of no other.
    read: SEXP,
}

impl Marks {
    /// # Safety
    /// On R's thread, where R may jump.
    unsafe fn get() -> Marks {
        thread_local! {
            /// On R's thread only. Symbols live for ever.
            static MARKS: Cell<Option<Marks>> = const { Cell::new(None) };
        }
        if let Some(marks) = MARKS.get() {
            return marks;
        }
        // SAFETY: the caller's promise.
        let marks = unsafe {
            Marks {
                task: ffi::Rf_install(c"task".as_ptr()),
                id: ffi::Rf_install(c"id".as_ptr()),
                value: ffi::Rf_install(c"value".as_ptr()),
                data: ffi::Rf_install(c"data".as_ptr()),
                read: ffi::Rf_install(c".subset2".as_ptr()),
            }
        };
        MARKS.set(Some(marks));
        marks
    }
}

impl Scope {
    /// A mirai gets its value, and lets go of its task.
    pub(crate) fn settle(&self, mirai: Sexp<'_>, value: Sexp<'_>) -> Result<(), Jump> {
        // SAFETY: the closure holds pointers to protected objects.
        unsafe {
            self.protected(|| {
                settle(mirai.raw(), value.raw());
            })
        }
    }

    /// The same, where the value is a short vector of numbers: it is made from its serialized form by the same call. `None`, and
    /// nothing done, for any other.
    pub(crate) fn settle_numbers(
        &self,
        mirai: Sexp<'_>,
        bytes: &[u8],
    ) -> Result<Option<Sexp<'_>>, Jump> {
        let Some(numbers) = Numbers::read(bytes) else {
            return Ok(None);
        };
        // SAFETY: the closure holds plain data, a borrowed slice and a pointer to a protected object; what is fresh is protected
        // while that gets it.
        let value = unsafe {
            self.fresh(|| {
                let value = ffi::Rf_protect(numbers.vector());
                settle(mirai.raw(), value);
                ffi::Rf_unprotect(1);
                value
            })?
        };
        Ok(Some(value))
    }
}

/// # Safety
/// Where R may jump, with protected objects, the first of which is an environment.
unsafe fn settle(mirai: SEXP, value: SEXP) {
    // SAFETY: the caller's promise.
    unsafe {
        let marks = Marks::get();
        // Where variables are locked as well, it gets its value all the same. Those of a locked environment are there.
        let is_locked = ffi::R_EnvironmentIsLocked(mirai) != 0
            && ffi::R_BindingIsLocked(marks.value, mirai) != 0;
        if is_locked {
            ffi::R_unLockBinding(marks.value, mirai);
        }
        ffi::Rf_defineVar(marks.value, value, mirai);
        if is_locked {
            ffi::R_LockBinding(marks.value, mirai);
        }
        ffi::Rf_setAttrib(mirai, marks.task, ffi::R_NilValue);
    }
}

/// # Safety
/// Where R may jump, with a protected environment.
unsafe fn fill(env: SEXP, form: &Form<'_>) {
    // SAFETY: the caller's promise; what is fresh is protected until it is part of the environment.
    unsafe {
        let marks = Marks::get();
        // Each variable is put before those that are there: `data` is looked at first, and sets `value`.
        ffi::Rf_defineVar(marks.value, ffi::R_NilValue, env);
        let data = ffi::Rf_protect(ffi::Rf_eval(form.data.raw(), env));
        ffi::R_MakeActiveBinding(marks.data, data, env);
        ffi::Rf_unprotect(1);
    }
}

/// # Safety
/// Where R may jump, with protected objects, the first of which is an environment.
unsafe fn mark(env: SEXP, form: &Form<'_>, id: i32, task: SEXP) {
    // SAFETY: the caller's promise.
    unsafe {
        number(env, id);
        ffi::Rf_setAttrib(env, Marks::get().task, task);
        ffi::Rf_setAttrib(env, ffi::R_ClassSymbol, form.class.raw());
    }
}

/// # Safety
/// Where R may jump, with a protected environment.
unsafe fn number(env: SEXP, id: i32) {
    // SAFETY: the caller's promise; the number is protected until it is part of the environment.
    unsafe {
        let number = ffi::Rf_protect(ffi::Rf_allocVector(ffi::INTSXP, 1));
        *ffi::INTEGER(number) = id;
        ffi::Rf_setAttrib(env, Marks::get().id, number);
        ffi::Rf_unprotect(1);
    }
}

impl Sexp<'_> {
    /// Whether this is an environment.
    pub(crate) fn is_environment(self) -> bool {
        // SAFETY: on R's thread.
        unsafe { ffi::TYPEOF(self.raw()) == ffi::ENVSXP }
    }

    /// Whether this is a call.
    pub(crate) fn is_call(self) -> bool {
        // SAFETY: on R's thread.
        unsafe { ffi::TYPEOF(self.raw()) == ffi::LANGSXP }
    }

    /// What leads from a mirai to its task: the attributes `task`, and `id`, if it has one.
    pub(crate) fn task_and_id<'s>(self, scope: &'s Scope) -> Result<(Sexp<'s>, Option<i32>), Jump> {
        // SAFETY: the closure holds a pointer to a protected object, which keeps its attributes.
        unsafe {
            scope.fresh_with(|| {
                let marks = Marks::get();
                let id = ffi::Rf_getAttrib(self.raw(), marks.id);
                let has_id = ffi::TYPEOF(id) == ffi::INTSXP && ffi::Rf_xlength(id) > 0;
                let id = has_id.then(|| ffi::INTEGER_ELT(id, 0));
                (ffi::Rf_getAttrib(self.raw(), marks.task), id)
            })
        }
    }

    /// The value of a mirai that has it, which may be the missing argument; `NULL` of anything but an environment.
    pub(crate) fn settled_value<'s>(self, scope: &'s Scope) -> Result<Sexp<'s>, Jump> {
        if !self.is_environment() {
            return Ok(scope.null());
        }
        // SAFETY: the closure holds a pointer to a protected object; what is fresh is protected until it is part of the call. A
        // symbol's name lives for ever.
        unsafe {
            scope.fresh(|| {
                let marks = Marks::get();
                let name = ffi::Rf_protect(ffi::Rf_allocVector(ffi::STRSXP, 1));
                ffi::SET_STRING_ELT(name, 0, ffi::PRINTNAME(marks.value));
                let rest = ffi::Rf_protect(ffi::Rf_cons(name, ffi::R_NilValue));
                let rest = ffi::Rf_protect(ffi::Rf_cons(self.raw(), rest));
                let call = ffi::Rf_protect(ffi::Rf_lcons(marks.read, rest));
                let value = ffi::Rf_eval(call, ffi::R_BaseEnv);
                ffi::Rf_unprotect(4);
                value
            })
        }
    }

    /// An attribute, of a name that is none of R's own; `NULL` where there is none.
    pub(crate) fn attr<'s>(self, scope: &'s Scope, name: &CStr) -> Result<Sexp<'s>, Jump> {
        // SAFETY: the closure holds a pointer to a protected object and a borrowed name.
        unsafe { scope.fresh(|| ffi::Rf_getAttrib(self.raw(), ffi::Rf_install(name.as_ptr()))) }
    }
}
