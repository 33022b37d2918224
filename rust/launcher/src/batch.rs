//! A launch on its way: its daemons, together or in parts.

use crate::context::{Context, ServerKey};
use crate::event::{DaemonEvent, LaunchFailure};
use crate::sys;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names a launch, over all launchers of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchId(u64);

impl LaunchId {
    /// A number that no launch before has had.
    pub(crate) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Receives the events of a launch, on threads of the launcher. It must return quickly: other
/// events wait for it.
pub type EventHandler = Arc<dyn Fn(DaemonEvent) + Send + Sync>;

/// A request, with what was read from the host's process when it was made.
pub(crate) struct Launch {
    pub(crate) id: LaunchId,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "finds a server"))]
    pub(crate) key: ServerKey,
    pub(crate) context: Context,
    pub(crate) daemons: Vec<String>,
    pub(crate) output: sys::HostOutput,
    pub(crate) handler: EventHandler,
}

impl Launch {
    pub(crate) fn all(self: Arc<Self>) -> Batch {
        let range = 0..self.daemons.len();
        Batch {
            launch: self,
            range,
        }
    }
}

/// Some daemons of a launch, by position.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) launch: Arc<Launch>,
    pub(crate) range: Range<usize>,
}

impl Batch {
    /// The batch without its first `n` daemons.
    #[cfg(target_os = "linux")]
    pub(crate) fn after(&self, n: usize) -> Self {
        Self {
            launch: Arc::clone(&self.launch),
            range: (self.range.start + n).min(self.range.end)..self.range.end,
        }
    }

    pub(crate) fn report(&self, event: DaemonEvent) {
        (self.launch.handler)(event);
    }

    pub(crate) fn fail(&self, failure: &LaunchFailure) {
        let failure = Arc::new(failure.clone());
        for daemon in self.range.clone() {
            let failure = Arc::clone(&failure);
            self.report(DaemonEvent::Failed { daemon, failure });
        }
    }
}
