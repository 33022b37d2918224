//! Asking a daemon from another thread to leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use mirai_lanes::Dialled;
use mirai_wire::LeaveReason;
use parking_lot::Mutex;

/// Asks a daemon, from any thread, to leave once it has no task: it says goodbye to its hub, and [`run_worker`](crate::run_worker)
/// returns. Clones ask the same daemon.
#[derive(Debug, Clone, Default)]
pub struct LeaveHandle(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    is_asked: AtomicBool,
    /// Its process is about to end, whether the daemon leaves or not.
    quits: AtomicBool,
    /// What an idle daemon reads from.
    data: Mutex<Option<Weak<dyn Dialled>>>,
}

impl LeaveHandle {
    /// Asks the daemon to leave as its process is about to end: its hub takes it for dead.
    pub fn ask_as_process_ends(&self) {
        self.0.quits.store(true, Ordering::SeqCst);
        self.ask();
    }

    /// Asks the daemon to leave. Does not wait for it.
    pub fn ask(&self) {
        self.0.is_asked.store(true, Ordering::SeqCst);
        let data = self.0.data.lock().as_ref().and_then(Weak::upgrade);
        // Wakes one that reads; one that is about to read sees the end at once.
        if let Some(data) = data {
            data.end_reading();
        }
    }

    /// Whether the daemon is to leave.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::SeqCst)
    }

    /// Why it does.
    pub(crate) fn reason(&self) -> LeaveReason {
        match self.0.quits.load(Ordering::SeqCst) {
            true => LeaveReason::Quits,
            false => LeaveReason::Told,
        }
    }

    /// Notes the connection that the daemon reads from: asking ends that reading, at once if it was asked before.
    pub(crate) fn reads_from(&self, data: &Arc<dyn Dialled>) {
        *self.0.data.lock() = Some(Arc::downgrade(data));
        if self.is_asked() {
            data.end_reading();
        }
    }
}
