//! Waiting on R's thread.

use std::time::Duration;

use crate::absent::tell;
use crate::rapi::Failure;
use crate::rapi::Scope;

/// Interval at which interrupts are looked for: the longest that a user waits for the effect of Ctrl-C.
const SLICE: Duration = Duration::from_millis(200);

/// Calls `wait`, which takes at most the given time, until it returns something; an interrupt ends this by R's jump, as
/// does another signal that R handles so. Meanwhile users are told of daemons that will not come.
pub(crate) fn interruptibly<T>(
    scope: &Scope,
    mut wait: impl FnMut(Duration) -> Option<T>,
) -> Result<T, Failure> {
    loop {
        let result = wait(SLICE);
        tell(scope)?;
        if let Some(result) = result {
            return Ok(result);
        }
        scope.deliver_signals()?;
        scope.check_interrupt()?;
    }
}
