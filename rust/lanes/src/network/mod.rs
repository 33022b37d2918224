//! The network lane: TCP, and TLS by rustls, on the system's sockets; WebSocket, with TLS or without, on these at the hub
//! ([`websocket`]), and at a daemon on NNG's byte streams.
//!
//! NNG runs a few threads of its own, from the first address of its kind that is dialled on and for the rest of the
//! process. They read and write into buffers of a [`Duplex`](duplex::Duplex) and wake who waits for it. Each buffer has a
//! bound, so a peer that stops reading costs no more than that. So has what [`tls`] keeps, and plain TCP has the system's
//! buffers only.
//!
//! Before a connection is given out, both sides prove themselves ([`opening`]): by certificates where there is TLS, and by a
//! token where the hub asks for one. Without TLS, a token also keeps what follows from being changed ([`sealed`]).
//!
//! Start reading at [`listener`]; all that is unsafe is in [`sys`].

mod address;
mod dial;
mod duplex;
mod failure;
mod identity;
mod incoming;
mod interfaces;
mod listener;
mod nng_dialling;
mod opening;
mod outgoing;
mod parked;
mod private_key;
mod sealed;
mod sys;
mod tcp;
mod tls;
mod tls_config;
mod tls_failure;
mod trust;
mod web_request;
mod websocket;

pub use address::{NetworkAddress, Scheme};
pub(crate) use dial::dial;
pub use failure::Failure;
pub use identity::{DaemonTls, HubTls};
pub(crate) use identity::{read_file, to_text};
pub use interfaces::interfaces;
pub(crate) use listener::NetworkArrival;
pub use listener::NetworkListener;
pub use opening::Refusal;
pub use tls_failure::TlsFailure;
pub use websocket::NoFrame;
