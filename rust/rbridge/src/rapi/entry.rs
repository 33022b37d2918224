//! Entries: the functions that R calls, what each of them does around its body, and their registration.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use extendr_api::metadata::{Func, Metadata};

use super::failure::Failure;
use super::ffi::{self, DllInfo, SEXP};
use super::main_thread::{is_main_thread, remember_main_thread};
use super::protect::make_token;
use super::{Jump, Scope, Sexp, beside, kept};
use crate::sys::signals;

/// Runs the body of an entry. Its result, its failure, a panic in it and a jump of R's are all handled here. Nothing
/// of Rust's is alive any more when a jump goes on.
///
/// # Safety
/// Called by R through `.Call` with `arguments`, as the last act of a function that owns nothing.
pub(crate) unsafe fn run_entry<const N: usize>(
    arguments: [SEXP; N],
    body: impl for<'r> FnOnce(&'r Scope, [Sexp<'r>; N]) -> Result<Sexp<'r>, Failure> + Copy,
) -> SEXP {
    if !is_main_thread() {
        log::error!("an entry of mirai was called from another thread than R's");
        // SAFETY: a constant of R.
        return unsafe { ffi::R_NilValue };
    }
    let is_nested = signals::set_native(true);
    // SAFETY: the caller's promise.
    let result = unsafe { inside(arguments, body) };
    signals::set_native(is_nested);
    if !is_nested && signals::is_pending() {
        // SAFETY: nothing of Rust's is alive, so that R may quit or jump; an object is protected as its handlers may
        // allocate.
        unsafe {
            ffi::Rf_protect(*result.as_ref().unwrap_or(&ffi::R_NilValue));
            signals::deliver();
            ffi::Rf_unprotect(1);
        }
    }
    match result {
        Ok(value) => value,
        // SAFETY: this frame and the caller's own nothing; `inside` has returned.
        Err(jump) => unsafe { jump.carry_on() },
    }
}

/// # Safety
/// As for [`run_entry()`]. The result is not protected: nothing may allocate before R has it.
#[inline(never)]
unsafe fn inside<const N: usize>(
    arguments: [SEXP; N],
    body: impl for<'r> FnOnce(&'r Scope, [Sexp<'r>; N]) -> Result<Sexp<'r>, Failure>,
) -> Result<SEXP, Jump> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: on R's thread, and dropped in this closure.
        let scope = unsafe { Scope::enter() };
        // SAFETY: R protects the arguments of a .Call.
        let arguments = arguments.map(|x| unsafe { Sexp::new(x) });
        body(&scope, arguments).map(Sexp::raw)
    }));
    let failure = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(Failure::Jump(jump))) => return Err(jump),
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::Panic(panic_text(&*panic)),
    };
    // SAFETY: as above.
    let scope = unsafe { Scope::enter() };
    failure.into_r(&scope).map(Sexp::raw)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
        .to_owned()
}

/// Writes the function that R calls for each entry, and `methods`, their list for registration.
macro_rules! entries {
    ($($path:path => $name:ident($($argument:ident),*);)*) => {
        /// The entries, for registration as `wrap__<name>`.
        pub(crate) fn methods() -> Vec<extendr_api::metadata::Func> {
            vec![$({
                #[allow(unsafe_code)]
                unsafe extern "C-unwind" fn $name(
                    $($argument: extendr_api::SEXP),*
                ) -> extendr_api::SEXP {
                    // SAFETY: R calls this by .Call, and this is all it does.
                    unsafe {
                        $crate::rapi::run_entry(
                            [$($argument),*],
                            |scope, [$($argument),*]| $path(scope, $($argument),*),
                        )
                    }
                }
                extendr_api::metadata::Func {
                    doc: "",
                    rust_name: stringify!($name),
                    mod_name: stringify!($name),
                    r_name: stringify!($name),
                    c_name: concat!("wrap__", stringify!($name)),
                    args: vec![$(extendr_api::metadata::Arg {
                        name: stringify!($argument),
                        arg_type: "SEXP",
                        default: None,
                    }),*],
                    return_type: "SEXP",
                    func_ptr: $name as *const u8,
                    hidden: false,
                    invisible: None,
                }
            }),*]
        }
    };
}
pub(crate) use entries;

/// Makes this thread R's, and `functions` what R can call.
///
/// # Safety
/// On R's main thread, as R loads the library, with the library's own `info`.
pub(crate) unsafe fn register(info: *mut DllInfo, functions: Vec<Func>) {
    remember_main_thread();
    signals::install();
    // SAFETY: this is the init routine. A jump for want of memory leaves it to R; nothing here has to be dropped.
    unsafe {
        make_token();
        kept::make_list();
        beside::make_class(info);
    }
    let methods = Metadata {
        name: "mirai",
        functions,
        impls: Vec::new(),
    };
    // SAFETY: `info` is R's, and the functions have as many arguments as their descriptions say.
    unsafe { extendr_api::register_call_methods(info, methods) };
}
