//! The dispatcher as a pure state machine: typed events in, typed effects out.
//!
//! [`Scheduler`] owns every decision about which daemon evaluates which task and when a task has its outcome: the one
//! FIFO queue, dealing in turn, the barrier of `everywhere()`, cancellation, timeouts, when a daemon that does not stop is killed, the memory gate, how many tasks a
//! daemon is sent ahead of their turn, and what becomes of tasks whose daemon dies, leaves, or cannot be reached for a while.
//! It knows no clock (`now` is passed in, and so is what tells whether a daemon has begun a task: [`Claims`]), no socket,
//! thread, payload or R; a task is an id and a number of bytes to it. All state has changed when [`Scheduler::handle`] returns; the iterator it
//! returns only drains the effects.
//!
//! # The life of a task
//!
//! [`Scheduler::reserve`] gives its id, [`Event::TaskSubmitted`] opens it. It waits, is sent under a [`RunId`], and is
//! *settled* exactly once ([`Effect::Settle`]) and *released* exactly once ([`Effect::Release`]), the latter never
//! before the former. Between the two lies the time in which nobody waits for the task any more, while a daemon
//! still evaluates it.
//!
//! # Cost
//!
//! Tasks and daemons live in slabs and are chained through their slots, deadlines in a hierarchical wheel, so each
//! operation takes constant time, cancellation included; slabs shrink after a burst, at a cost that is constant when spread over
//! the tasks of the burst. The exceptions: a daemon that goes takes time in proportion to what was sent to it and to the
//! pending barriers it had not passed, each of which may lose an evaluation with it; a daemon that reports in another order
//! than that of sending is charged for what it has of earlier runs; what is taken back from a daemon takes time in proportion
//! to its number; and a task that is put back has to pass those that were put
//! back before it and submitted after it: none, if daemons give back in the order in which they were sent to.
//!
//! Start reading at `scheduler.rs`, then `dispatch.rs`.
#![forbid(unsafe_code)]

mod ahead;
mod claims;
mod clocks;
mod daemons;
mod departure;
mod dispatch;
mod due;
mod effect;
mod ending;
mod event;
mod ids;
#[cfg(test)]
mod invariants;
mod list;
mod memory;
mod pace;
mod queue;
mod scheduler;
mod slab;
mod submission;
mod suspicion;
mod tally;
mod tasks;
#[cfg(test)]
mod tests;
mod timers;

pub use claims::Claims;
pub use effect::{Effect, Effects, KillReason, Settled};
pub use event::{Event, Mode, SchedulerOptions, TaskOptions};
pub use ids::{DaemonId, PartId, RunId, TaskId, Tick};
pub use memory::Memory;
pub use scheduler::Scheduler;
pub use tally::Counts;
