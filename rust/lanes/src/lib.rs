//! Transports between a hub and its daemons.
//!
//! A *lane* is a kind of connection. The hub sees every lane through two traits: [`Listener`], which takes daemons in,
//! and [`Connection`], a stream of bytes that is read and written without blocking. A daemon dials with [`dial`] and
//! gets a blocking [`Dialled`] stream.
//!
//! The local lane ([`local`]) is Unix stream sockets, abstract ones on Linux; peers prove themselves by their uid.
//! This crate knows no frames, no scheduler and no R.
#![deny(unsafe_code)]

mod address;
mod connection;
mod error;
#[cfg(unix)]
pub mod local;
mod process;
mod spin;

pub use address::Address;
pub use connection::{Connection, Dialled, Listener, dial, listen, receive_now, send};
pub use error::LaneError;
pub use process::{HostWatch, ProcessEnd, Wake};
pub use spin::Spin;
