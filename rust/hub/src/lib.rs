//! The hub: listens, queues, hands tasks to the daemons that dial in, and settles each task exactly once.
//!
//! A [`Hub`] runs the pure state machine of `mirai-scheduler` on real connections and clocks, on one thread of its own or
//! on one that waits for an outcome.
//! Tasks and results are opaque bytes; what they mean is between the submitter and the daemon's evaluator. Nothing here
//! knows R.
//!
//! ```no_run
//! use mirai_hub::{Address, Hub, HubOptions, Task};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = Hub::open(HubOptions::new(Address::parse("ipc:///tmp/example")?))?;
//! let task = hub.submit(Task::new(b"payload for a daemon".to_vec()))?;
//! let outcome = task.wait();   // needs a daemon at that address: see the example `hub_and_workers`
//! println!("{outcome:?}");
//! # Ok(())
//! # }
//! ```
//!
//! Where to start: [`Hub`] (`hub.rs`) is the public interface; `core.rs` performs what the scheduler decides; `reactor.rs` says on
//! which thread; `daemons.rs` takes daemons in and reads from them; `link.rs` writes to them.
#![forbid(unsafe_code)]

mod accounts;
mod activity;
mod attending;
mod callback;
mod cell;
mod claims;
mod closing;
mod core;
mod daemons;
mod deaths;
mod error;
mod handle;
mod healing;
mod hub;
mod link;
mod member;
mod memory_return;
mod newcomers;
mod options;
mod outcome;
mod parts;
mod presence;
mod reactor;
mod reading;
mod refusals;
mod setups;
mod task;
mod throttle;
mod timer;
mod unacknowledged;
mod unserved;
mod watch;
mod worker;

pub use activity::Activity;
pub use cell::take_task_number;
pub use closing::check_room_for;
pub use deaths::{Death, JobListener, ProcessFate};
pub use error::{HubError, SubmitError};
pub use handle::TaskHandle;
pub use healing::{HealingOptions, HealingPolicy, HealingStep, MOST_IN_A_ROW};
pub use hub::{Hub, HubHandle};
pub use memory_return::{MemoryReturn, StartThread};
pub use mirai_lanes::{
    Access, Address, ErrorCode, HubTls, LaneError, OutOfFiles, Token, interfaces, new_token,
};
pub use mirai_scheduler::{Counts, Memory, Mode};
pub use mirai_wire::{Origin, Payload, TaskFlags};
pub use options::{GRACE, HubOptions, MAX_EVALUATIONS, Welcome, launcher_of_replacements};
pub use outcome::Outcome;
pub use presence::{Presence, PresenceListener};
pub use refusals::Refused;
pub use setups::ReplayLimit;
pub use task::{SharedPart, Task};
pub use unserved::{Unserved, UnservedListener};
pub use watch::{Progress, Watch};
pub use worker::{Running, Worker};
