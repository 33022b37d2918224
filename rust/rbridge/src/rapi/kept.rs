//! Objects that outlive a scope.

use std::sync::OnceLock;

use super::ffi::{self, SEXP};
use super::{Jump, Scope, Sexp};

/// An object of R that stays alive until this is dropped. It is held by a cell of one doubly linked pairlist: `CAR` is
/// the cell before, `CDR` the one after, `TAG` the object.
pub(crate) struct Kept {
    cell: SEXP,
}

impl Kept {
    /// Keeps `x` alive.
    pub(crate) fn new(scope: &Scope, x: Sexp<'_>) -> Result<Kept, Jump> {
        let head = head();
        // SAFETY: the closure holds pointers; `x`, `head` and the cell after it are alive, and the new cell is reachable
        // from `head` before anything allocates again. Which cell is after `head` is asked for only then: finalizers, which run as
        // something is allocated, keep and let go of objects, too.
        let cell = unsafe {
            scope.protected(|| {
                let cell = ffi::Rf_cons(head, ffi::R_NilValue);
                let after = ffi::CDR(head);
                ffi::SETCDR(cell, after);
                ffi::SET_TAG(cell, x.raw());
                ffi::SETCDR(head, cell);
                ffi::SETCAR(after, cell);
                cell
            })?
        };
        Ok(Kept { cell })
    }

    /// The object.
    pub(crate) fn get(&self) -> Sexp<'_> {
        // SAFETY: alive as long as the cell is in the list, thus as long as `self`. The cell is a pairlist.
        unsafe { Sexp::new(ffi::TAG(self.cell)) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: on R's thread, as a `Kept` holds a bare pointer and is not `Send`. The list begins and ends with a
        // sentinel, so there is a cell on both sides. None of this allocates.
        unsafe {
            let before = ffi::CAR(self.cell);
            let after = ffi::CDR(self.cell);
            ffi::SETCDR(before, after);
            ffi::SETCAR(after, before);
        }
    }
}

struct List(SEXP);
// SAFETY: only an entry, on R's thread, leads to the functions that use it.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

static LIST: OnceLock<List> = OnceLock::new();

fn head() -> SEXP {
    LIST.get()
        .expect("invariant: the library is loaded through its init routine")
        .0
}

/// # Safety
/// On R's main thread, once, where R may jump: in the init routine.
pub(super) unsafe fn make_list() {
    // SAFETY: the caller's promise; each cell is protected before the next call that allocates.
    LIST.get_or_init(|| unsafe {
        let end = ffi::Rf_protect(ffi::Rf_cons(ffi::R_NilValue, ffi::R_NilValue));
        let head = ffi::Rf_protect(ffi::Rf_cons(ffi::R_NilValue, end));
        ffi::SETCAR(end, head);
        ffi::R_PreserveObject(head);
        ffi::Rf_unprotect(2);
        List(head)
    });
}
