//! Transports between a hub and its daemons.
//!
//! A *lane* is a kind of connection. The hub sees every lane through [`Listener`], an enum of what takes daemons in, and
//! the trait [`Connection`], a stream of bytes that is read and written without blocking. A daemon dials with [`dial`]
//! and gets a blocking one, a [`Dialled`].
//!
//! The local lane is Unix stream sockets, abstract ones on Linux, where peers prove themselves by their uid; on other
//! platforms it is TCP on the loopback interface, where they prove themselves by a secret in a file of the user's.
//! The network lane is TCP, TLS and WebSocket, where peers prove themselves by certificates, a token, or both, if the hub
//! asks for them. This crate knows no frames, no scheduler and no R.
#![deny(unsafe_code)]

mod address;
mod alarm;
mod arrival;
mod blocking;
mod code;
mod connection;
mod credentials;
mod descriptors;
mod endpoints;
mod error;
#[cfg(unix)]
mod local;
#[cfg(any(not(unix), test))]
#[cfg_attr(unix, allow(dead_code, reason = "tested here, used elsewhere"))]
mod loopback;
mod network;
mod patience;
#[cfg(target_os = "linux")]
mod peer;
mod process;
mod spin;
mod words;

#[cfg(unix)]
use local as lane;
#[cfg(not(unix))]
use loopback as lane;

pub use address::Address;
pub use alarm::Alarm;
pub use arrival::Arrival;
pub use code::ErrorCode;
pub use connection::{Connection, Dialled, HOST_SILENCE, Proof, SILENCE};
pub use credentials::{Access, Credentials, new_token};
pub use descriptors::{OutOfFiles, RoomFor, check_room, check_room_for};
pub use endpoints::{Listener, dial, listen};
pub use error::LaneError;
pub use mirai_handshake::{HandshakeError, Token, TokenError};
pub use network::{
    DaemonTls, Failure, HubTls, NetworkAddress, NetworkListener, NoFrame, Refusal, Scheme,
    TlsFailure, interfaces,
};
pub use patience::Patience;
#[cfg(target_os = "linux")]
pub use peer::peer_pid;
pub use process::{
    HostWatch, ProcessEnd, Wake, end_forked_copy, end_this_process, end_what_is_left_behind,
    thread_hint,
};
pub use spin::Spin;
pub use words::{Passed, SharedWords};
