//! Why a hub cannot be opened, and why a task is not taken.

use std::io;

use mirai_lanes::{ErrorCode, LaneError, OutOfFiles, thread_hint};
use thiserror::Error;

use crate::Task;

/// Why a hub could not be opened.
#[derive(Debug, Error)]
pub enum HubError {
    /// Listening failed.
    #[error(transparent)]
    Listen(#[from] LaneError),
    /// This process can open no more files.
    #[error(transparent)]
    Files(#[from] OutOfFiles),
    /// The hub's thread or its runtime could not be started.
    #[error("the hub's thread could not be started: {0}{hint}", hint = thread_hint(.0))]
    Thread(#[source] io::Error),
}

impl HubError {
    /// The code that R users know this error by.
    pub fn code(&self) -> ErrorCode {
        match self {
            // To dial, this means that nobody listens there; to listen, that there is no such folder.
            HubError::Listen(error @ LaneError::Os { .. }) if error.is_absence() => {
                ErrorCode::NOT_FOUND
            }
            HubError::Listen(error) => error.code(),
            HubError::Files(_) => ErrorCode::OUT_OF_FILES,
            HubError::Thread(error) => match ErrorCode::of_io(error) {
                code @ ErrorCode::OUT_OF_FILES => code,
                // No room for a thread.
                _ => ErrorCode::OUT_OF_MEMORY,
            },
        }
    }
}

/// Why a task was not accepted.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// Queued tasks have reached the hub's capacity; the task is given back. Try again after
    /// [`wait_admission`](crate::Hub::wait_admission).
    #[error("the queue is at its capacity")]
    Full(Box<Task>),
    /// More than [`MAX_EVALUATIONS`](crate::MAX_EVALUATIONS) evaluations were asked for at once. Each takes memory here
    /// before a daemon begins any.
    #[error(
        "at most {} evaluations may be asked for at once, not {count}",
        crate::MAX_EVALUATIONS
    )]
    TooMany {
        /// The number asked for.
        count: u32,
    },
    /// The hub is closed: no later try will succeed.
    #[error("the hub is closed")]
    Closed,
}
