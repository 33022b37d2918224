//! The traits that the user of this crate implements: evaluating tasks, interrupting them.

use std::time::SystemTime;

use mirai_wire::{Payload, RunEnd, TaskFlags};

/// A task as the evaluator gets it.
#[derive(Debug)]
pub struct Task<'a> {
    /// The bytes that were submitted.
    pub body: &'a [u8],
    /// Number of a part given before with [`Evaluator::keep_part`].
    pub part: Option<u64>,
    /// Flags that were submitted.
    pub flags: TaskFlags,
    /// How many workers have begun it, this one included: the others have died.
    pub attempt: u32,
}

/// How an evaluation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Value, failure or interrupt.
    pub end: RunEnd,
    /// The value or a description of the error; ignored after an interrupt.
    pub payload: Payload,
}

/// A time in which a daemon had no connection to its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// When the daemon noticed that the connection was broken.
    pub broke: SystemTime,
    /// When it had another one, or gave up.
    pub ended: SystemTime,
    /// Whether it has returned to the hub.
    pub has_returned: bool,
}

/// Evaluates tasks, on the thread that called [`run_worker`](crate::run_worker).
pub trait Evaluator {
    /// Called once a hub has accepted the daemon, with the hub's settings; once per connection.
    fn welcome(&mut self, settings: &[u8]);
    /// Evaluates a task; an interrupt makes it return early. A panic here or in another function leaves
    /// [`run_worker`](crate::run_worker), after the connection has been ended, so that the task is lost to the hub.
    fn evaluate(&mut self, task: Task<'_>) -> Evaluation;
    /// Cleans up. Called after the reply to a task was written, but not after the last task.
    fn after(&mut self, flags: TaskFlags);
    /// Keeps a part that tasks refer to by its number.
    fn keep_part(&mut self, id: u64, bytes: Payload);
    /// No further task refers to this part.
    fn forget_part(&mut self, id: u64);
    /// Called after an absence, between tasks: one that began or ended during a task is told after it.
    fn was_away(&mut self, _absence: &Absence) {}
    /// Called when a hub is gone and the daemon begins to look for the next one.
    fn hub_is_gone(&mut self) {}
    /// Whether someone at this process wants it to stop. Asked between tasks if
    /// [`WorkerOptions::attended`](crate::WorkerOptions), several times a second.
    fn wants_to_leave(&mut self) -> bool {
        false
    }
}

/// Reaches the evaluating thread from the control thread.
pub trait Interrupter: Send + Sync {
    /// Interrupts the evaluation. Called on the control thread while a lock is held that also ends an evaluation: it
    /// must not block.
    fn interrupt(&self);
    /// An interrupt was sent and the evaluation has ended: removes an interrupt that is still pending, so that it does
    /// not reach the next one. Called on the evaluating thread.
    fn clear_interrupt(&self);
    /// Called as the control thread begins, on that thread. It should take no signals that are meant for the evaluating
    /// thread.
    fn on_control_thread(&self) {}
    /// Ends the process: the hub is gone and a task has exceeded its grace period. Called on the control thread.
    fn end_process(&self) {
        mirai_lanes::end_this_process();
    }
}
