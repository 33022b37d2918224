//! What a task resolves to.

use mirai_lanes::ErrorCode;
use mirai_wire::Payload;

/// What a task resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The evaluation returned these bytes.
    Value(Payload),
    /// The evaluation failed; the bytes describe the error.
    Failed(Payload),
    /// The evaluation was interrupted by something else than a cancellation.
    Interrupted,
    /// The daemon had no memory for the task, or this process none for its outcome.
    OutOfMemory,
    /// The task's timeout was reached.
    TimedOut,
    /// The task has run for longer than it may.
    RanTooLong,
    /// The task was cancelled.
    Cancelled,
    /// The daemon that evaluated it died or stayed away for longer than its grace, or no daemon could be started; the text
    /// says which.
    Lost(String),
    /// The hub was closed.
    Reset,
}

impl Outcome {
    /// Whether this is anything but a value.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Outcome::Value(_))
    }

    /// The code that R users know this outcome by; `None` for a value or an error object.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Outcome::Value(_) | Outcome::Failed(_) | Outcome::Interrupted => None,
            Outcome::OutOfMemory => Some(ErrorCode::OUT_OF_MEMORY),
            Outcome::TimedOut | Outcome::RanTooLong => Some(ErrorCode::TIMED_OUT),
            Outcome::Lost(_) | Outcome::Reset => Some(ErrorCode::RESET),
            Outcome::Cancelled => Some(ErrorCode::CANCELLED),
        }
    }
}
