//! Hubs that have been closed, whose threads still end the connections of daemons.
//!
//! Whoever closes a hub need not see that: with a thousand daemons, each of which wakes up to leave, it takes long. Addresses are free
//! before that. But what comes next may need the descriptors: a hub or daemons that there are too few for wait for it.
//! Entered by R's main thread, and any other that opens or closes a hub.

use std::thread::JoinHandle;

use mirai_lanes::OutOfFiles;
use parking_lot::Mutex;

use crate::reactor::is_inside_any;

/// Threads that have been told to end, and the processes that they are in.
static CLOSING: Mutex<Vec<(u32, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// Leaves the thread of a closed hub to [`wait`].
pub(crate) fn note(thread: JoinHandle<()>) {
    let mut closing = CLOSING.lock();
    closing.retain(|(_, thread)| !thread.is_finished());
    closing.push((std::process::id(), thread));
}

/// Waits until the threads of closed hubs have ended, except in a callback of a hub, which might wait for itself. Whether there was
/// any.
fn wait() -> bool {
    if is_inside_any() {
        return false;
    }
    let closing = std::mem::take(&mut *CLOSING.lock());
    let any = !closing.is_empty();
    for (process, thread) in closing {
        // A forked child has a copy of the list, but not the threads.
        if process == std::process::id() {
            let _ = thread.join();
        }
    }
    any
}

/// Tries again without closed hubs if something fails with them.
pub(crate) fn or_after_those<T, E>(attempt: impl Fn() -> Result<T, E>) -> Result<T, E> {
    attempt().or_else(|error| if wait() { attempt() } else { Err(error) })
}

/// Whether there are descriptors for so many daemons more, those of closed hubs among them.
///
/// # Errors
/// [`OutOfFiles`] says how many there are for.
pub fn check_room_for(daemons: u64) -> Result<(), OutOfFiles> {
    or_after_those(|| mirai_lanes::check_room_for(daemons))
}
