//! A list of R's that lives as long as an external pointer, and is not saved along with it.
//!
//! The pointer keeps a vector without elements that is made by a class of ours (ALTREP) and has the list as its data: R's garbage
//! collector follows that, and its serializer writes an empty vector. A weak reference would do without a class, but R loses those
//! that are made while it runs finalizers, and then lets their values go.

use std::sync::OnceLock;

use super::ffi::{self, AltrepClass, DllInfo, Length, SEXP};
use super::{Jump, Scope, Sexp};

/// The list beside a pointer, for the value behind that.
pub(crate) struct Beside {
    pointer: SEXP,
}

struct Class(AltrepClass);
// SAFETY: only a scope, on R's thread, leads to the functions that use it; R keeps it for ever.
unsafe impl Send for Class {}
// SAFETY: as above.
unsafe impl Sync for Class {}

static CLASS: OnceLock<Class> = OnceLock::new();

/// # Safety
/// On R's main thread, in the init routine, with the library's own `info`.
pub(super) unsafe fn make_class(info: *mut DllInfo) {
    // SAFETY: the caller's promise; the names are NUL-terminated.
    CLASS.get_or_init(|| unsafe {
        let class = ffi::R_make_altinteger_class(c"mirai_beside".as_ptr(), c"mirai".as_ptr(), info);
        ffi::R_set_altrep_Length_method(class, Some(no_elements));
        Class(class)
    });
}

unsafe extern "C-unwind" fn no_elements(_: SEXP) -> Length {
    0
}

impl Beside {
    /// `list`, for as long as `pointer` is there, whose value this is for: nobody else may have it.
    pub(crate) fn new(scope: &Scope, pointer: Sexp<'_>, list: Sexp<'_>) -> Result<Beside, Jump> {
        let class = CLASS
            .get()
            .expect("invariant: the library is loaded through its init routine")
            .0;
        // SAFETY: the closure holds protected objects.
        let holder =
            unsafe { scope.fresh(|| ffi::R_new_altrep(class, list.raw(), ffi::R_NilValue))? };
        pointer.put_beside(holder);
        Ok(Beside {
            pointer: pointer.raw(),
        })
    }

    /// The elements at these places, for as long as nothing is allocated.
    pub(super) fn elements(&self, places: &[usize]) -> impl Iterator<Item = SEXP> {
        let list = self.list();
        places.iter().filter_map(move |place| {
            // SAFETY: on R's thread, and within the list.
            unsafe {
                let is_within = *place < ffi::Rf_xlength(list) as usize;
                is_within.then(|| ffi::VECTOR_ELT(list, *place as Length))
            }
        })
    }

    /// Whether the element at this place is this one.
    pub(crate) fn has(&self, place: usize, x: Sexp<'_>) -> bool {
        let list = self.list();
        // SAFETY: on R's thread; within the list.
        unsafe {
            place < ffi::Rf_xlength(list) as usize
                && ffi::VECTOR_ELT(list, place as Length) == x.raw()
        }
    }

    /// Lets go of the element at this place.
    pub(crate) fn clear(&self, place: usize) {
        let list = self.list();
        // SAFETY: on R's thread; within the list.
        unsafe {
            if place < ffi::Rf_xlength(list) as usize {
                ffi::SET_VECTOR_ELT(list, place as Length, ffi::R_NilValue);
            }
        }
    }

    fn list(&self) -> SEXP {
        // SAFETY: on R's thread. The pointer is alive, as its value is in use, and has kept a vector of the class since `new()`.
        unsafe { ffi::R_altrep_data1(ffi::R_ExternalPtrProtected(self.pointer)) }
    }
}
