//! How a hub and a daemon prove to each other over a network that they know the same token, and how what they say after
//! that is kept from being changed.
//!
//! ```text
//! daemon                                                     hub
//!   opening: version, has a token?, nonce      --------->
//!                                              <---------    answer: open, prove or refused, nonce
//!   proof: code over opening and answer        --------->                                 (only to "prove")
//!                                              <---------    verdict: proof of its own, or wrong
//! ```
//!
//! A proof is HMAC-SHA256, keyed by the token, over the side's role, the opening and the answer: both nonces, versions and
//! choices are in it, so none can be replayed, mirrored or talked down. The daemon proves itself first: a stranger learns
//! nothing of the token from the hub. All messages have a fixed length; the hub reads no more than it expects.
//!
//! Without TLS, what follows travels in [records](Sealer) with a code each, keyed by the handshake and numbered. They are
//! authentic, and not secret.
//!
//! This crate does no I/O, knows no clock and draws no random numbers: nonces are handed in. Start reading at [`Hub`].
#![forbid(unsafe_code)]

mod code;
mod daemon;
mod error;
mod hub;
mod message;
mod record;
mod token;

pub use code::Keys;
pub use daemon::Daemon;
pub use error::HandshakeError;
pub use hub::Hub;
pub use message::{NONCE_LEN, Nonce};
pub use record::{MAX_PLAIN, OVERHEAD, Opener, Sealer};
pub use token::{TOKEN_LEN, Token, TokenError};

/// Version of the handshake and its records.
pub const VERSION: u16 = 1;

/// What a side of the handshake does next.
#[derive(Debug)]
pub enum Step {
    /// Send this, then read as many bytes as the side wants.
    Send(Vec<u8>),
    /// Send this (it may be empty); the peer has proved itself, if a token was asked for.
    Done(Vec<u8>, Option<Keys>),
}
