//! Hubs that have been closed, whose threads still end the connections of daemons.
//!
//! Whoever closes a hub need not see that: with a thousand daemons, each of which wakes up to leave, it takes long. But what comes
//! next may need the address or the descriptors: the next hub waits for it, and so do daemons that there are too few descriptors for.
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

/// Waits until the threads of closed hubs have ended, except in a callback of a hub, which might wait for itself.
pub(crate) fn wait() {
    if is_inside_any() {
        return;
    }
    let closing = std::mem::take(&mut *CLOSING.lock());
    for (process, thread) in closing {
        // A forked child has a copy of the list, but not the threads.
        if process == std::process::id() {
            let _ = thread.join();
        }
    }
}

/// Whether there are descriptors for so many daemons more, those of closed hubs among them.
///
/// # Errors
/// [`OutOfFiles`] says how many there are for.
pub fn check_room_for(daemons: u64) -> Result<(), OutOfFiles> {
    mirai_lanes::check_room_for(daemons).or_else(|_| {
        wait();
        mirai_lanes::check_room_for(daemons)
    })
}
