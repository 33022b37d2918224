//! Memory of the host's tasks and their values, given back to the system after they have gone.

use std::process;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use mirai_hub::MemoryReturn;

use crate::rapi::{Jump, Listener, Scope};
use crate::sys;

static MEMORY: MemoryReturn = MemoryReturn::new(sys::give_back_memory, |work| {
    sys::start_thread("mirai-memory", work)
});

/// Receives hubs' reports of freed memory; `None` where the C library returns memory by itself.
pub(crate) fn memory_return() -> Option<&'static MemoryReturn> {
    sys::KEEPS_FREE_MEMORY.then_some(&MEMORY)
}

/// The latest listener to R's garbage collections; earlier ones are ignored.
static LISTENER: AtomicUsize = AtomicUsize::new(0);

/// The process that it listens in. Values that a forked child has of its parent are the parent's to free.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Records that R has an object whose serialised form has `bytes`. As R does not report when it frees the object, its
/// collections are listened to.
pub(crate) fn note_object(scope: &Scope, bytes: usize) -> Result<(), Jump> {
    match memory_return() {
        Some(memory) if memory.note_kept(bytes) => {
            PROCESS.store(sys::process_number(), Ordering::Relaxed);
            scope.listen::<Collections>(LISTENER.fetch_add(1, Ordering::Relaxed) + 1)
        }
        _ => Ok(()),
    }
}

struct Collections;

impl Listener for Collections {
    fn collected(number: usize) -> bool {
        number == LISTENER.load(Ordering::Relaxed)
            && PROCESS.load(Ordering::Relaxed) == process::id()
            && MEMORY.note_collection()
    }
}
