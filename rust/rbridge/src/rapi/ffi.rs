//! Declarations of the functions of R that are used, all of them part of its documented C interface. They are declared
//! here rather than taken from extendr because R leaves most of them by a jump, which `extern "C-unwind"` allows.
#![allow(missing_docs, non_upper_case_globals, non_snake_case)]

use std::ffi::{c_char, c_int, c_void};

pub use extendr_api::{DllInfo, SEXP};

/// `R_xlen_t`.
pub type Length = isize;

pub const NILSXP: c_int = 0;
pub const SYMSXP: c_int = 1;
pub const LISTSXP: c_int = 2;
pub const CLOSXP: c_int = 3;
pub const ENVSXP: c_int = 4;
pub const PROMSXP: c_int = 5;
pub const LANGSXP: c_int = 6;
pub const BUILTINSXP: c_int = 8;
pub const CHARSXP: c_int = 9;
pub const LGLSXP: c_int = 10;
pub const INTSXP: c_int = 13;
pub const REALSXP: c_int = 14;
pub const STRSXP: c_int = 16;
pub const VECSXP: c_int = 19;
pub const BCODESXP: c_int = 21;
pub const EXTPTRSXP: c_int = 22;
pub const WEAKREFSXP: c_int = 23;
pub const RAWSXP: c_int = 24;

pub const CE_NATIVE: c_int = 0;
pub const CE_UTF8: c_int = 1;
pub const CE_LATIN1: c_int = 2;
pub const CE_BYTES: c_int = 3;

/// `R_pstream_any_format`.
pub const STREAM_ANY: c_int = 0;
/// `R_pstream_binary_format`: native byte order.
pub const STREAM_BINARY: c_int = 2;

/// `R_altrep_class_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AltrepClass {
    class: SEXP,
}

pub type AltrepLength = Option<unsafe extern "C-unwind" fn(SEXP) -> Length>;

pub type PersistHook = Option<unsafe extern "C-unwind" fn(SEXP, SEXP) -> SEXP>;

/// `struct R_outpstream_st`.
#[repr(C)]
pub struct OutStream {
    pub data: *mut c_void,
    pub format: c_int,
    pub version: c_int,
    pub out_char: Option<unsafe extern "C-unwind" fn(*mut OutStream, c_int)>,
    pub out_bytes: Option<unsafe extern "C-unwind" fn(*mut OutStream, *mut c_void, c_int)>,
    pub hook: PersistHook,
    pub hook_data: SEXP,
}

/// `struct R_inpstream_st`.
#[repr(C)]
pub struct InStream {
    pub data: *mut c_void,
    pub format: c_int,
    pub in_char: Option<unsafe extern "C-unwind" fn(*mut InStream) -> c_int>,
    pub in_bytes: Option<unsafe extern "C-unwind" fn(*mut InStream, *mut c_void, c_int)>,
    pub hook: PersistHook,
    pub hook_data: SEXP,
    pub native_encoding: [c_char; 64],
    pub nat2nat: *mut c_void,
    pub nat2utf8: *mut c_void,
}

unsafe extern "C-unwind" {
    pub static R_NilValue: SEXP;
    pub static R_BlankScalarString: SEXP;
    pub static R_GlobalEnv: SEXP;
    pub static R_BaseEnv: SEXP;
    pub static R_NaString: SEXP;
    pub static R_NaReal: f64;
    pub static R_ClassSymbol: SEXP;
    pub static R_NamesSymbol: SEXP;
    pub static R_MissingArg: SEXP;
    pub static R_QuoteSymbol: SEXP;

    // These neither allocate nor jump on the types they are used with.
    pub fn TYPEOF(x: SEXP) -> c_int;
    pub fn Rf_xlength(x: SEXP) -> Length;
    pub fn CAR(x: SEXP) -> SEXP;
    pub fn CDR(x: SEXP) -> SEXP;
    pub fn TAG(x: SEXP) -> SEXP;
    pub fn SETCAR(x: SEXP, value: SEXP) -> SEXP;
    pub fn SETCDR(x: SEXP, value: SEXP) -> SEXP;
    pub fn SET_TAG(x: SEXP, value: SEXP);
    pub fn VECTOR_ELT(x: SEXP, i: Length) -> SEXP;
    pub fn SET_VECTOR_ELT(x: SEXP, i: Length, value: SEXP) -> SEXP;
    pub fn SET_STRING_ELT(x: SEXP, i: Length, value: SEXP);
    pub fn PRINTNAME(x: SEXP) -> SEXP;
    pub fn Rf_inherits(x: SEXP, class: *const c_char) -> c_int;
    pub fn R_CHAR(x: SEXP) -> *const c_char;
    pub fn Rf_getCharCE(x: SEXP) -> c_int;
    pub fn Rf_protect(x: SEXP) -> SEXP;
    pub fn Rf_unprotect(n: c_int);
    pub fn R_ExternalPtrAddr(x: SEXP) -> *mut c_void;
    pub fn R_ExternalPtrTag(x: SEXP) -> SEXP;
    pub fn R_ExternalPtrProtected(x: SEXP) -> SEXP;
    pub fn R_SetExternalPtrProtected(x: SEXP, beside: SEXP);
    pub fn R_ClearExternalPtr(x: SEXP);
    pub fn R_SetExternalPtrAddr(x: SEXP, address: *mut c_void);
    pub fn R_altrep_data1(x: SEXP) -> SEXP;
    pub fn Rf_NumDevices() -> c_int;
    pub fn IS_S4_OBJECT(x: SEXP) -> c_int;
    pub fn ALTREP(x: SEXP) -> c_int;

    // These allocate, evaluate or check, so they can jump. Element access of strings and numbers is among them: an
    // ALTREP vector may compute.
    pub fn STRING_ELT(x: SEXP, i: Length) -> SEXP;
    pub fn INTEGER_ELT(x: SEXP, i: Length) -> c_int;
    pub fn LOGICAL_ELT(x: SEXP, i: Length) -> c_int;
    pub fn REAL_ELT(x: SEXP, i: Length) -> f64;
    pub fn RAW_ELT(x: SEXP, i: Length) -> u8;
    pub fn INTEGER(x: SEXP) -> *mut c_int;
    pub fn REAL(x: SEXP) -> *mut f64;
    pub fn LOGICAL(x: SEXP) -> *mut c_int;
    pub fn RAW(x: SEXP) -> *mut u8;
    #[cfg(unix)]
    pub fn Rf_translateChar(x: SEXP) -> *const c_char;
    pub fn Rf_translateCharUTF8(x: SEXP) -> *const c_char;
    pub fn Rf_allocVector(kind: c_int, length: Length) -> SEXP;
    pub fn Rf_duplicate(x: SEXP) -> SEXP;
    pub fn Rf_shallow_duplicate(x: SEXP) -> SEXP;
    pub fn Rf_cons(car: SEXP, cdr: SEXP) -> SEXP;
    pub fn Rf_lcons(car: SEXP, cdr: SEXP) -> SEXP;
    pub fn Rf_install(name: *const c_char) -> SEXP;
    pub fn Rf_mkCharLenCE(bytes: *const c_char, length: c_int, encoding: c_int) -> SEXP;
    pub fn R_lsInternal3(env: SEXP, all: c_int, sorted: c_int) -> SEXP;
    pub fn R_NewEnv(parent: SEXP, hash: c_int, size: c_int) -> SEXP;
    pub fn R_MakeActiveBinding(name: SEXP, f: SEXP, env: SEXP);
    pub fn Rf_getAttrib(x: SEXP, name: SEXP) -> SEXP;
    pub fn Rf_setAttrib(x: SEXP, name: SEXP, value: SEXP) -> SEXP;
    pub fn SHALLOW_DUPLICATE_ATTRIB(to: SEXP, from: SEXP);
    pub fn Rf_defineVar(name: SEXP, value: SEXP, env: SEXP);
    pub fn Rf_eval(call: SEXP, env: SEXP) -> SEXP;
    pub fn R_CheckUserInterrupt();
    pub fn R_MakeExternalPtr(address: *mut c_void, tag: SEXP, kept: SEXP) -> SEXP;
    pub fn R_make_altinteger_class(
        name: *const c_char,
        package: *const c_char,
        info: *mut DllInfo,
    ) -> AltrepClass;
    pub fn R_set_altrep_Length_method(class: AltrepClass, length: AltrepLength);
    pub fn R_new_altrep(class: AltrepClass, data1: SEXP, data2: SEXP) -> SEXP;
    pub fn R_MakeWeakRef(key: SEXP, value: SEXP, finalizer: SEXP, on_exit: c_int) -> SEXP;
    pub fn R_RegisterCFinalizerEx(
        x: SEXP,
        finalizer: Option<unsafe extern "C-unwind" fn(SEXP)>,
        on_exit: c_int,
    );
    pub fn R_PreserveObject(x: SEXP);
    pub fn R_ReleaseObject(x: SEXP);
    pub fn R_GetCCallable(
        package: *const c_char,
        name: *const c_char,
    ) -> unsafe extern "C-unwind" fn();
    pub fn R_MakeUnwindCont() -> SEXP;
    pub fn R_ContinueUnwind(token: SEXP) -> !;

    pub fn R_InitOutPStream(
        stream: *mut OutStream,
        data: *mut c_void,
        format: c_int,
        version: c_int,
        out_char: Option<unsafe extern "C-unwind" fn(*mut OutStream, c_int)>,
        out_bytes: Option<unsafe extern "C-unwind" fn(*mut OutStream, *mut c_void, c_int)>,
        hook: PersistHook,
        hook_data: SEXP,
    );
    pub fn R_InitInPStream(
        stream: *mut InStream,
        data: *mut c_void,
        format: c_int,
        in_char: Option<unsafe extern "C-unwind" fn(*mut InStream) -> c_int>,
        in_bytes: Option<unsafe extern "C-unwind" fn(*mut InStream, *mut c_void, c_int)>,
        hook: PersistHook,
        hook_data: SEXP,
    );
    pub fn R_EnvironmentIsLocked(env: SEXP) -> c_int;
    pub fn R_BindingIsLocked(name: SEXP, env: SEXP) -> c_int;
    pub fn R_LockBinding(name: SEXP, env: SEXP);
    pub fn R_unLockBinding(name: SEXP, env: SEXP);
    pub fn R_BindingIsActive(name: SEXP, env: SEXP) -> c_int;
    pub fn Rf_installTrChar(name: SEXP) -> SEXP;
    pub fn R_gc();
    pub fn R_CheckStack();
    pub fn R_Serialize(x: SEXP, stream: *mut OutStream);
    pub fn R_Unserialize(stream: *mut InStream) -> SEXP;

    /// Of src/protect.c.
    pub fn mirai_protected(
        body: unsafe extern "C-unwind" fn(*mut c_void) -> SEXP,
        data: *mut c_void,
        token: SEXP,
    ) -> c_int;
}
