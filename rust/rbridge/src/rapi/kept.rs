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
        // from `head` before anything allocates again.
        let cell = unsafe {
            scope.protected(|| {
                let after = ffi::CDR(head);
                let cell = ffi::Rf_cons(head, after);
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

/// A list of R's that is there as long as another object, which its elements may refer to.
pub(crate) struct Beside(Kept);

impl Beside {
    /// `list`, for as long as `object` is there.
    pub(crate) fn new(scope: &Scope, object: Sexp<'_>, list: Sexp<'_>) -> Result<Beside, Jump> {
        // SAFETY: the closure holds protected objects.
        let reference = unsafe {
            scope.fresh(|| ffi::R_MakeWeakRef(object.raw(), list.raw(), ffi::R_NilValue, 0))?
        };
        Kept::new(scope, reference).map(Beside)
    }

    /// The elements at these places, for as long as nothing is allocated.
    pub(super) fn elements(&self, places: &[usize]) -> impl Iterator<Item = SEXP> {
        let list = self.list();
        places.iter().filter_map(move |place| {
            let list = list?;
            // SAFETY: on R's thread, and within the list.
            unsafe {
                let is_within = *place < ffi::Rf_xlength(list) as usize;
                is_within.then(|| ffi::VECTOR_ELT(list, *place as ffi::Length))
            }
        })
    }

    /// Lets go of the element at this place.
    pub(crate) fn clear(&self, place: usize) {
        if let Some(list) = self.list() {
            // SAFETY: on R's thread; within the list.
            unsafe {
                if place < ffi::Rf_xlength(list) as usize {
                    ffi::SET_VECTOR_ELT(list, place as ffi::Length, ffi::R_NilValue);
                }
            }
        }
    }

    /// It is gone once the object is.
    fn list(&self) -> Option<SEXP> {
        // SAFETY: on R's thread, with a weak reference; a list is there as long as it is what that refers to.
        unsafe {
            let list = ffi::R_WeakRefValue(self.0.get().raw());
            (ffi::TYPEOF(list) == ffi::VECSXP).then_some(list)
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
