//! Being told of R's garbage collections.
//!
//! What tells is garbage with a finalizer. It is registered anew as it has told, so that it ages as what survives does, and
//! is told of the collections that objects of its age take part in.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::ffi::{self, SEXP};
use super::pointer::finally;
use super::{Jump, Scope};

/// A listener to R's garbage collections.
pub(crate) trait Listener: 'static {
    /// Called after a garbage collection; returns whether to be called after further ones. Must not wait, join or call
    /// R.
    fn collected(number: usize) -> bool;
}

/// An object that lives. R keeps what has a finalizer in a list, the newest first. While it runs the finalizers of those at
/// its beginning, it drops what they register there; once it has passed an object that lives, it no longer does. So
/// each listener has one before it.
static GUARD: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

impl Scope {
    /// Tells `L`, by this number, of the next collection, and of further ones.
    pub(crate) fn listen<L: Listener>(&self, number: usize) -> Result<(), Jump> {
        let address = number as *mut c_void;
        // SAFETY: the closure holds plain data; the pointer is protected until it is registered. What it points to is
        // only ever read as a number.
        unsafe {
            self.protected(|| {
                let nothing = ffi::R_NilValue;
                let pointer = ffi::Rf_protect(ffi::R_MakeExternalPtr(address, nothing, nothing));
                register::<L>(pointer);
                ffi::Rf_unprotect(1);
            })
        }
    }
}

/// Whether there has been a collection since the last [`watch_for_collection`](Scope::watch_for_collection).
static COLLECTED: AtomicBool = AtomicBool::new(true);

impl Scope {
    /// From here on [`has_collected`](Self::has_collected) tells of the first collection: by garbage with a finalizer that is too
    /// young for a collection to pass it over. There are two of it, as one may age before its finalizer is registered.
    pub(crate) fn watch_for_collection(&self) -> Result<(), Jump> {
        COLLECTED.store(false, Ordering::Relaxed);
        // SAFETY: the closure holds nothing; the pointer is protected until it is registered.
        unsafe {
            self.protected(|| {
                for _ in 0..2 {
                    let nothing = ffi::R_NilValue;
                    let pointer = ffi::R_MakeExternalPtr(null_mut(), nothing, nothing);
                    ffi::Rf_protect(pointer);
                    ffi::R_RegisterCFinalizerEx(pointer, Some(note_collection), 0);
                    ffi::Rf_unprotect(1);
                }
            })
        }
    }

    /// Whether garbage has been collected, and finalizers have run.
    pub(crate) fn has_collected(&self) -> bool {
        COLLECTED.load(Ordering::Relaxed)
    }
}

unsafe extern "C-unwind" fn note_collection(_: SEXP) {
    COLLECTED.store(true, Ordering::Relaxed);
}

/// # Safety
/// On R's thread, where R may jump, with a pointer made by [`Scope::listen`] that is protected.
unsafe fn register<L: Listener>(pointer: SEXP) {
    // SAFETY: the caller's promise; the guard is kept until it is released here, once. After a jump there is none, or the
    // one before.
    unsafe {
        ffi::R_RegisterCFinalizerEx(pointer, Some(listened::<L>), 0);
        let nothing = ffi::R_NilValue;
        let guard = ffi::Rf_protect(ffi::R_MakeExternalPtr(null_mut(), nothing, nothing));
        ffi::R_RegisterCFinalizerEx(guard, Some(ignored), 0);
        ffi::R_PreserveObject(guard);
        ffi::Rf_unprotect(1);
        let before = GUARD.swap(guard.cast(), Ordering::Relaxed);
        if !before.is_null() {
            ffi::R_ReleaseObject(before.cast());
        }
    }
}

unsafe extern "C-unwind" fn listened<L: Listener>(pointer: SEXP) {
    // SAFETY: R calls this for a pointer made above, which it protects meanwhile, on its main thread.
    let number = unsafe { ffi::R_ExternalPtrAddr(pointer) } as usize;
    if finally(|| L::collected(number)) == Some(true) {
        // SAFETY: as above; R may jump, as nothing is held.
        unsafe { register::<L>(pointer) };
    }
}

unsafe extern "C-unwind" fn ignored(_: SEXP) {}
