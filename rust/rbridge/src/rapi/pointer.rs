//! Rust values behind external pointers.

use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::catch_unwind;
use std::sync::OnceLock;

use super::failure::Failure;
use super::ffi::{self, Length, SEXP};
use super::{Beside, Jump, Scope, Sexp};
use crate::sys::{process_number, signals};

/// A Rust type that R holds by an external pointer. Dropping one must not wait, join or call R: R does it amid a garbage
/// collection.
pub(crate) trait Handle: 'static {
    /// Its name in messages.
    const NAME: &'static str;
    /// Whether it is dropped when the session ends, if it has not been before.
    const DROP_AT_EXIT: bool = false;
    /// Whether [`Scope::all_beside`] or [`Scope::all_of`] finds what is beside its pointers.
    const LISTED: bool = false;
}

thread_local! {
    /// The values of the types that are listed. On R's thread only.
    static LISTED: RefCell<Vec<Listed>> = const { RefCell::new(Vec::new()) };
}

/// A value and its pointer. The value is there until the finalizer of the pointer takes it off the list. R loses finalizers that are
/// registered while it runs others: then the value stays for ever, and the pointer may be gone. So pointers are used only after
/// [`finalizable`] has been asked.
#[derive(Clone, Copy)]
struct Listed {
    content: *mut Content<()>,
    pointer: SEXP,
}

impl Listed {
    /// Whether the pointer is alive, as far as `finalizable` were a moment ago.
    fn is_alive(&self, finalizable: &HashSet<SEXP>) -> bool {
        // SAFETY: on R's thread; what R has a finalizer for is alive. Of the same address it may be another pointer by now.
        finalizable.contains(&self.pointer)
            && unsafe { ffi::R_ExternalPtrAddr(self.pointer) } == self.content.cast()
    }

    /// The value, if it is of this type.
    fn value<T: Handle>(&self) -> Option<&T> {
        // SAFETY: the content is there while it is listed; its type is looked at before the rest.
        unsafe {
            ((*self.content).header.kind == TypeId::of::<T>())
                .then(|| &(*self.content.cast::<Content<T>>()).value)
        }
    }
}

#[repr(C)]
struct Content<T> {
    // First in memory, whatever `T` is.
    header: Header,
    /// Position in `LISTED`.
    place: Cell<usize>,
    value: T,
}

#[derive(Clone, Copy)]
struct Header {
    kind: TypeId,
    /// The process that made it. In a forked child the value is a copy whose threads are missing.
    process: u32,
}

impl Scope {
    /// An external pointer to `value`, which keeps `beside` alive.
    pub(crate) fn pointer<T: Handle>(
        &self,
        value: T,
        beside: Option<Sexp<'_>>,
    ) -> Result<Sexp<'_>, Jump> {
        let tag = tag(self)?;
        let header = Header {
            kind: TypeId::of::<T>(),
            process: process_number(),
        };
        // The address is set last, so that nobody owns the box twice when R jumps for want of memory.
        let beside = beside.unwrap_or(self.null()).raw();
        // SAFETY: the closure holds pointers; the pointer is protected while its finalizer is registered.
        let pointer = unsafe {
            self.fresh(|| {
                let pointer =
                    ffi::Rf_protect(ffi::R_MakeExternalPtr(std::ptr::null_mut(), tag, beside));
                ffi::R_RegisterCFinalizerEx(pointer, Some(finalize::<T>), T::DROP_AT_EXIT.into());
                ffi::Rf_unprotect(1);
                pointer
            })?
        };
        let place = Cell::new(if T::LISTED {
            LISTED.with_borrow(Vec::len)
        } else {
            usize::MAX
        });
        let content = Content {
            header,
            place,
            value,
        };
        let address = Box::into_raw(Box::new(content));
        // SAFETY: a fresh external pointer of ours.
        unsafe { ffi::R_SetExternalPtrAddr(pointer.raw(), address.cast()) };
        if T::LISTED {
            let entry = Listed {
                content: address.cast(),
                pointer: pointer.raw(),
            };
            LISTED.with_borrow_mut(|listed| listed.push(entry));
        }
        Ok(pointer)
    }

    /// What has been [put beside](Sexp::put_beside) the pointers of a listed type whose values are `wanted`: a list, filled up
    /// with `NULL`.
    pub(crate) fn all_beside<T: Handle>(
        &self,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Sexp<'_>, Jump> {
        let finalizable = finalizable(self)?;
        let list = self.empty_list(LISTED.with_borrow(Vec::len))?;
        // Nothing allocates from here on, so that the pointers stay. There may be fewer than before.
        let mut place = 0;
        each_listed::<T>(&finalizable, |pointer, value| {
            if wanted(value) {
                // SAFETY: the pointer is alive; within the list.
                let beside = unsafe { Sexp::new(ffi::R_ExternalPtrProtected(pointer)) };
                list.put(place, beside);
                place += 1;
            }
        });
        Ok(list)
    }

    /// The elements of what is kept [beside](Beside) values of a listed type, at the places that `wanted` names: a list, filled up
    /// with `NULL`.
    pub(crate) fn all_of<T: Handle>(
        &self,
        beside: impl Fn(&T) -> Option<&Beside>,
        wanted: impl Fn(&T) -> Vec<usize>,
    ) -> Result<Sexp<'_>, Jump> {
        let finalizable = finalizable(self)?;
        let mut count = 0;
        each_listed::<T>(&finalizable, |_, value| count += wanted(value).len());
        let list = self.empty_list(count)?;
        // Nothing allocates from here on. There may be fewer than before.
        let mut place = 0;
        each_listed::<T>(&finalizable, |_, value| {
            let places = wanted(value);
            for element in beside(value)
                .iter()
                .flat_map(|beside| beside.elements(&places))
            {
                if place < count {
                    // SAFETY: the element is alive.
                    list.put(place, unsafe { Sexp::new(element) });
                    place += 1;
                }
            }
        });
        Ok(list)
    }
}

/// Looks at all values of a listed type whose pointers are alive. `look` allocates nothing of R's.
fn each_listed<T: Handle>(finalizable: &HashSet<SEXP>, mut look: impl FnMut(SEXP, &T)) {
    LISTED.with_borrow(|listed| {
        for entry in listed.iter().filter(|entry| entry.is_alive(finalizable)) {
            if let Some(value) = entry.value() {
                look(entry.pointer, value);
            }
        }
    });
}

/// What R has finalizers or weak references for: a new one leads to those before it.
fn finalizable(scope: &Scope) -> Result<HashSet<SEXP>, Jump> {
    const KEY: Length = 0;
    const NEXT: Length = 3;
    let scope = scope.inner();
    // SAFETY: the closure holds nothing; the pointer is protected while it is referred to.
    let mut reference = unsafe {
        scope.fresh(|| {
            let nothing = ffi::R_NilValue;
            let key = ffi::Rf_protect(ffi::R_MakeExternalPtr(
                std::ptr::null_mut(),
                nothing,
                nothing,
            ));
            let reference = ffi::R_MakeWeakRef(key, nothing, nothing, 0);
            ffi::Rf_unprotect(1);
            reference
        })?
    }
    .raw();
    let mut found = HashSet::new();
    // SAFETY: on R's thread.
    while unsafe { ffi::TYPEOF(reference) } == ffi::WEAKREFSXP {
        // SAFETY: a weak reference is a vector to R's accessor, of these elements. Those in R's list are alive, and nothing is
        // allocated.
        let (key, next) = unsafe {
            scope.protected(|| {
                (
                    ffi::VECTOR_ELT(reference, KEY),
                    ffi::VECTOR_ELT(reference, NEXT),
                )
            })?
        };
        found.insert(key);
        reference = next;
    }
    Ok(found)
}

impl<'r> Sexp<'r> {
    /// Whether this is an external pointer to a value of this type that is there.
    pub(crate) fn holds<T: Handle>(self, scope: &Scope) -> Result<bool, Jump> {
        // SAFETY: on R's thread; the type is looked at before the rest. With our tag, the address is that of a `Content` of some
        // type, or null.
        unsafe {
            if ffi::TYPEOF(self.raw()) != ffi::EXTPTRSXP
                || ffi::R_ExternalPtrTag(self.raw()) != tag(scope)?
            {
                return Ok(false);
            }
            let content = ffi::R_ExternalPtrAddr(self.raw()).cast::<Content<()>>();
            Ok(!content.is_null() && (*content).header.kind == TypeId::of::<T>())
        }
    }

    /// Keeps `beside` alive for as long as this external pointer is there, in place of what it has kept before.
    pub(crate) fn put_beside(self, beside: Sexp<'_>) {
        // SAFETY: on R's thread; both are protected, and nothing is allocated. Callers have taken the handle of the pointer.
        unsafe { ffi::R_SetExternalPtrProtected(self.raw(), beside.raw()) };
    }

    /// The Rust value behind an external pointer given as `argument`.
    pub(crate) fn handle<T: Handle>(self, scope: &Scope, argument: &str) -> Result<&'r T, Failure> {
        let wrong = || Failure::error(format!("`{argument}` must be a {} pointer", T::NAME));
        // SAFETY: on R's thread; the type is looked at before the rest.
        let (address, tagged) = unsafe {
            if ffi::TYPEOF(self.raw()) != ffi::EXTPTRSXP {
                return Err(wrong());
            }
            (
                ffi::R_ExternalPtrAddr(self.raw()),
                ffi::R_ExternalPtrTag(self.raw()) == tag(scope)?,
            )
        };
        if !tagged {
            return Err(wrong());
        }
        if address.is_null() {
            return Err(Failure::error(format!(
                "this {} belongs to another session, or to one that has ended",
                T::NAME
            )));
        }
        // SAFETY: our tag: the address is that of a `Content` of some type, alive until the finalizer runs, which is not
        // before R has dropped the pointer. The header is at the same place in each.
        let header = unsafe { (*address.cast::<Content<()>>()).header };
        if header.kind != TypeId::of::<T>() {
            return Err(wrong());
        }
        if header.process != process_number() {
            return Err(Failure::Forked(T::NAME));
        }
        // SAFETY: as above, and its type has been checked.
        Ok(unsafe { &(*address.cast::<Content<T>>()).value })
    }
}

/// Marks external pointers as ours: a symbol nobody else installs by accident.
fn tag(scope: &Scope) -> Result<SEXP, Jump> {
    struct Tag(SEXP);
    // SAFETY: only a scope, on R's thread, leads here; a symbol lives for ever.
    unsafe impl Send for Tag {}
    // SAFETY: as above.
    unsafe impl Sync for Tag {}
    static TAG: OnceLock<Tag> = OnceLock::new();
    if let Some(tag) = TAG.get() {
        return Ok(tag.0);
    }
    // SAFETY: the closure holds nothing; the name is NUL-terminated.
    let symbol = unsafe { scope.protected(|| ffi::Rf_install(c"mirai:::handle".as_ptr()))? };
    Ok(TAG.get_or_init(|| Tag(symbol)).0)
}

unsafe extern "C-unwind" fn finalize<T: Handle>(pointer: SEXP) {
    // SAFETY: R calls this once for a pointer made above, on its main thread.
    let content = unsafe {
        let address = ffi::R_ExternalPtrAddr(pointer).cast::<Content<T>>();
        ffi::R_ClearExternalPtr(pointer);
        if address.is_null() {
            return;
        }
        Box::from_raw(address)
    };
    if T::LISTED {
        forget_place(content.place.get());
    }
    finally(|| {
        if content.header.process == process_number() {
            drop(content);
        } else {
            std::mem::forget(content);
        }
    });
}

/// Takes a pointer off the list: the last one comes in its place.
fn forget_place(place: usize) {
    LISTED.with_borrow_mut(|listed| {
        if place >= listed.len() {
            return;
        }
        listed.swap_remove(place);
        if let Some(moved) = listed.get(place) {
            // SAFETY: the content is there while it is listed.
            unsafe { (*moved.content).place.set(place) };
        }
    });
}

/// Runs native code in a finalizer; nothing if it panics.
pub(super) fn finally<T>(work: impl FnOnce() -> T) -> Option<T> {
    let was_native = signals::set_native(true);
    let result = catch_unwind(std::panic::AssertUnwindSafe(work)).ok();
    signals::set_native(was_native);
    // As if it came now, in R's garbage collection.
    if !was_native && signals::is_pending() {
        signals::deliver();
    }
    result
}
