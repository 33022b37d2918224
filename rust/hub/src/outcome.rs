/// What a task resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The evaluation returned these bytes.
    Value(Vec<u8>),
    /// The evaluation failed; the bytes describe the error.
    Failed(Vec<u8>),
    /// The evaluation was interrupted by something else than a cancellation.
    Interrupted,
    /// The daemon had no memory for the task, or this process none for its outcome.
    OutOfMemory,
    /// The task's timeout was reached.
    TimedOut,
    /// The task was cancelled.
    Cancelled,
    /// The daemon that evaluated it died, or no daemon could be started; the text says which, for people.
    Lost(String),
    /// The hub was closed.
    Reset,
}

impl Outcome {
    /// Whether this is anything but a value.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Outcome::Value(_))
    }

    /// The number R users know an outcome by that has neither value nor error object: 2 out of memory, 5 timed out, 19 lost or reset,
    /// 20 cancelled (the numbers are NNG's error codes of these meanings).
    pub fn code(&self) -> Option<i32> {
        match self {
            Outcome::Value(_) | Outcome::Failed(_) | Outcome::Interrupted => None,
            Outcome::OutOfMemory => Some(2),
            Outcome::TimedOut => Some(5),
            Outcome::Lost(_) | Outcome::Reset => Some(19),
            Outcome::Cancelled => Some(20),
        }
    }
}
