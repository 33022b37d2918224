//! Who has a task that was sent: decided without waiting for a word of the daemon.

use crate::{DaemonId, RunId};

/// What daemons and the scheduler decide between them, at the moment of the call: a run that was sent is either begun by its
/// daemon or taken back, and whoever comes first has it. Those that were sent [ahead](crate::Effect::Send) of their turn are
/// taken back at any time, the others once their daemon is gone.
pub trait Claims {
    /// Takes back a run that its daemon has not begun: from now on it never does. False if it has begun it, or where
    /// nobody can tell.
    fn take_back(&mut self, daemon: DaemonId, run: RunId) -> bool;
}

/// For daemons of which nobody can tell.
impl Claims for () {
    fn take_back(&mut self, _: DaemonId, _: RunId) -> bool {
        false
    }
}
