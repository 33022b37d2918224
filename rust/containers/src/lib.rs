//! A small HTTP API by which R sessions start and stop workers in containers on the machine where it runs.
//!
//! It stands between R and a container engine: R's side is four routes that take and give JSON, the engine's side is Docker's API
//! over a Unix socket, which podman speaks as well. It knows nothing of R or of mirai's protocol: a worker is a container of one
//! image, to which the address of a host is given by its environment. Nothing is kept here: which workers there are, and whose,
//! the engine knows by their labels.
//!
//! Start at [`Api::answer`] (`api.rs`), which has a line for each route; `workers.rs` says what these do, `engine.rs` how the
//! engine is asked for it, `server.rs` is what there is of HTTP, and `tls.rs` of TLS.
#![forbid(unsafe_code)]

mod api;
mod arguments;
mod engine;
mod journal;
mod places;
mod server;
mod settings;
mod tls;
mod unanswered;
mod workers;

pub use api::{Api, Asked, Reply};
pub use engine::{Engine, EngineError};
pub use journal::Entry;
pub use server::serve;
pub use settings::{Settings, SettingsError};
pub use tls::{TlsError, tls_with};
