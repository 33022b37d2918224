//! The worker side: connects to a hub, evaluates its tasks one at a time, and knows when to leave.
//!
//! [`run_worker`] blocks the calling thread: it reads tasks from the data connection, hands them to an [`Evaluator`], and writes
//! the replies. A small second thread reads the control connection, so that a cancellation reaches a busy daemon, and
//! the end of the hub's process one that waits. What tasks mean is the evaluator's business; nothing here knows R.
//!
//! Where to start: `worker.rs` is the loop over hubs and tasks, `current.rs` the lock that keeps a late interrupt from
//! hitting the next task, `control.rs` the second thread, `session.rs` the handshake.
#![forbid(unsafe_code)]

mod clock;
mod connect;
mod connections;
mod control;
mod current;
mod data;
mod error;
mod evaluator;
mod leave;
mod limits;
mod options;
mod origin;
mod outbox;
mod session;
mod worker;

pub use error::WorkerError;
pub use evaluator::{Absence, Evaluation, Evaluator, Interrupter, Task};
pub use leave::LeaveHandle;
pub use mirai_lanes::{Address, Credentials, ErrorCode, end_this_process, end_what_is_left_behind};
pub use mirai_wire::{Origin, Payload, RunEnd, TaskFlags};
pub use options::{AutoExit, ExitReason, WorkerOptions};
pub use worker::run_worker;
