//! Protected calls, scopes and the values they hold.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ffi::{self, SEXP};
use super::main_thread::is_main_thread;
use crate::sys::signals;

/// An object of R, protected for as long as `'r`, which is the life of a scope or of an entry's arguments.
#[derive(Clone, Copy)]
pub(crate) struct Sexp<'r>(SEXP, PhantomData<&'r Scope>);

impl<'r> Sexp<'r> {
    /// # Safety
    /// `x` is an object of R that stays protected for `'r`.
    pub(super) unsafe fn new(x: SEXP) -> Sexp<'r> {
        Sexp(x, PhantomData)
    }

    /// The bare pointer, for calls in this module.
    pub(super) fn raw(self) -> SEXP {
        self.0
    }
}

/// Number of scopes alive; they nest. Read and written on R's thread alone.
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// Proof of being on R's thread in an entry, and the owner of the objects made there.
pub(crate) struct Scope {
    depth: u32,
    held: Cell<i32>,
    /// Neither `Send` nor `Sync`.
    here: PhantomData<*mut ()>,
}

impl Scope {
    /// # Safety
    /// On R's main thread only, and dropped before R's frame beneath is left.
    pub(super) unsafe fn enter() -> Scope {
        let depth = DEPTH.load(Ordering::Relaxed) + 1;
        DEPTH.store(depth, Ordering::Relaxed);
        Scope {
            depth,
            held: Cell::new(0),
            here: PhantomData,
        }
    }

    /// A scope, if this is R's thread: for what is called from there, but not by an entry.
    pub(crate) fn here() -> Option<Scope> {
        // SAFETY: on R's thread; a value that is not `Send` stays a local of it.
        is_main_thread().then(|| unsafe { Scope::enter() })
    }

    /// A scope within this one, for the turns of a loop: what it protects is released when it ends. Until then the outer
    /// one cannot protect anything.
    pub(crate) fn inner(&self) -> Scope {
        // SAFETY: `self` shows that this is R's thread; the result is a local of a frame above.
        unsafe { Scope::enter() }
    }

    /// Calls R where it may jump.
    ///
    /// # Safety
    /// `body` leaves nothing behind when it is jumped out of: it holds plain data and calls R, and nothing else.
    pub(super) unsafe fn protected<T: Copy>(
        &self,
        body: impl FnOnce() -> T + Copy,
    ) -> Result<T, Jump> {
        struct Work<F, T> {
            body: F,
            result: MaybeUninit<T>,
        }
        unsafe extern "C-unwind" fn run<F: FnOnce() -> T + Copy, T: Copy>(
            work: *mut c_void,
        ) -> SEXP {
            // SAFETY: the address of `work` below, which outlives the call.
            let work = unsafe { &mut *work.cast::<Work<F, T>>() };
            work.result.write((work.body)());
            // The result goes by `work`: one returned here would be kept alive by the token until its next use.
            // SAFETY: a constant of R.
            unsafe { ffi::R_NilValue }
        }
        fn trampoline<F: FnOnce() -> T + Copy, T: Copy>(
            _: &Work<F, T>,
        ) -> unsafe extern "C-unwind" fn(*mut c_void) -> SEXP {
            run::<F, T>
        }
        let mut work = Work {
            body,
            result: MaybeUninit::uninit(),
        };
        let entry = trampoline(&work);
        let was_native = signals::set_native(false);
        // SAFETY: `self` shows that this is R's thread. The frames of `run` and `body` own nothing, so that the jump out
        // of them that mirai_protected stops drops nothing.
        let jumped = unsafe { ffi::mirai_protected(entry, (&raw mut work).cast(), token()) };
        signals::set_native(was_native);
        if jumped == 0 {
            // SAFETY: `run` has returned, so it has written.
            Ok(unsafe { work.result.assume_init() })
        } else {
            Err(Jump(PhantomData))
        }
    }

    /// Calls R for a fresh object, and protects it.
    ///
    /// # Safety
    /// As for [`protected`](Self::protected), and `body` returns an object of R.
    pub(super) unsafe fn fresh(
        &self,
        body: impl FnOnce() -> SEXP + Copy,
    ) -> Result<Sexp<'_>, Jump> {
        // SAFETY: the caller's promise.
        let (x, ()) = unsafe { self.fresh_with(|| (body(), ()))? };
        Ok(x)
    }

    /// Calls R for a fresh object and something else.
    ///
    /// # Safety
    /// As for [`fresh`](Self::fresh).
    pub(super) unsafe fn fresh_with<T: Copy>(
        &self,
        body: impl FnOnce() -> (SEXP, T) + Copy,
    ) -> Result<(Sexp<'_>, T), Jump> {
        assert_eq!(
            self.depth,
            DEPTH.load(Ordering::Relaxed),
            "invariant: only the innermost scope protects"
        );
        // SAFETY: the caller's promise; protecting is part of the call, since it can jump when the stack is full.
        let (x, beside) = unsafe {
            self.protected(|| {
                let (x, beside) = body();
                (ffi::Rf_protect(x), beside)
            })?
        };
        self.held.set(self.held.get() + 1);
        // SAFETY: it has just been protected, until this scope is dropped.
        Ok((unsafe { Sexp::new(x) }, beside))
    }

    /// Lets R act on signals that came while native code ran.
    pub(crate) fn deliver_signals(&self) -> Result<(), Jump> {
        if !signals::is_pending() {
            return Ok(());
        }
        // SAFETY: the closure holds nothing.
        unsafe { self.protected(signals::deliver) }
    }

    /// Lets R act on a pending interrupt.
    pub(crate) fn check_interrupt(&self) -> Result<(), Jump> {
        // SAFETY: the closure holds nothing.
        unsafe { self.protected(|| ffi::R_CheckUserInterrupt()) }
    }

    /// Removes pending interrupts. Returns whether there were any.
    pub(crate) fn swallow_interrupts(&self) -> bool {
        let mut found = false;
        while let Err(jump) = self.check_interrupt() {
            jump.abandon();
            found = true;
        }
        found
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        DEPTH.store(self.depth - 1, Ordering::Relaxed);
        let held = self.held.get();
        if held > 0 {
            // SAFETY: scopes nest, so these are the topmost entries of the stack.
            unsafe { ffi::Rf_unprotect(held) };
        }
    }
}

/// R has jumped out of a protected call and waits to go on. [`run_entry()`](super::run_entry) carries it on; dropping it elsewhere gives it up.
#[must_use]
#[derive(Debug)]
pub(crate) struct Jump(PhantomData<*mut ()>);

impl Jump {
    /// Ends the jump here, as R sees it.
    pub(crate) fn abandon(self) {}

    /// Ends the jump here, and returns what it carries: the first element of what R hands over to a handler that leaves
    /// is the condition, if there is one as an object. `NULL` for other jumps.
    pub(crate) fn condition<'s>(&self, scope: &'s Scope) -> Result<Sexp<'s>, Jump> {
        // SAFETY: on R's thread, as a `Jump` is not `Send`; the token is a pairlist, and a list of at least one element has
        // a first. A jump to top level carries no object at all.
        unsafe {
            let carried = ffi::CAR(token());
            if !carried.is_null()
                && ffi::TYPEOF(carried) == ffi::VECSXP
                && ffi::Rf_xlength(carried) > 0
            {
                scope.fresh(|| ffi::VECTOR_ELT(carried, 0))
            } else {
                Ok(scope.null())
            }
        }
    }

    /// Whether that is a condition of this class.
    pub(crate) fn carries(&self, class: &CStr) -> bool {
        // SAFETY: as above; nothing is evaluated, nor does anything jump.
        unsafe {
            let carried = ffi::CAR(token());
            !carried.is_null()
                && ffi::TYPEOF(carried) == ffi::VECSXP
                && ffi::Rf_xlength(carried) > 0
                && ffi::Rf_inherits(ffi::VECTOR_ELT(carried, 0), class.as_ptr()) != 0
        }
    }

    /// Leaves, with the jump, all frames up to its target.
    ///
    /// # Safety
    /// No frame between here and R's has anything to drop.
    pub(super) unsafe fn carry_on(self) -> ! {
        std::mem::forget(self);
        // SAFETY: the token holds the jump, since one jump at a time exists: R code runs between the stop of a jump and
        // this call nowhere.
        unsafe { ffi::R_ContinueUnwind(token()) }
    }
}

impl Drop for Jump {
    fn drop(&mut self) {
        // What the jump carried would else live until the next one.
        // SAFETY: on R's thread, as a `Jump` is not `Send`; the token is a pairlist and nil is an object of R.
        unsafe { ffi::SETCAR(token(), ffi::R_NilValue) };
    }
}

struct Token(SEXP);
// SAFETY: only an entry, on R's thread, leads to the functions that use it.
unsafe impl Send for Token {}
// SAFETY: as above.
unsafe impl Sync for Token {}

static TOKEN: OnceLock<Token> = OnceLock::new();

/// One continuation token serves all calls: it holds something from the stop of a jump until it is carried on only.
fn token() -> SEXP {
    TOKEN
        .get()
        .expect("invariant: the library is loaded through its init routine")
        .0
}

/// # Safety
/// On R's main thread, once, where R may jump: in the init routine.
pub(super) unsafe fn make_token() {
    // SAFETY: the caller's promise; preserved before anything else allocates.
    TOKEN.get_or_init(|| unsafe {
        let token = ffi::Rf_protect(ffi::R_MakeUnwindCont());
        ffi::R_PreserveObject(token);
        ffi::Rf_unprotect(1);
        Token(token)
    });
}
