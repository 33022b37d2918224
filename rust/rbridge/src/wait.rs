//! Waiting on R's thread.

use std::time::Duration;

use crate::failure::Failure;
use crate::rapi::Scope;

/// Between two looks for an interrupt, the longest that a user waits for the effect of Ctrl-C.
const SLICE: Duration = Duration::from_millis(200);

/// Calls `wait`, which takes at most the given time, until it has something; an interrupt ends this by R's jump, as does
/// another signal that R handles so.
pub(crate) fn interruptibly<T>(
    scope: &Scope,
    mut wait: impl FnMut(Duration) -> Option<T>,
) -> Result<T, Failure> {
    loop {
        if let Some(result) = wait(SLICE) {
            return Ok(result);
        }
        scope.deliver_signals()?;
        scope.check_interrupt()?;
    }
}
