//! Frames and messages between a hub and its daemons.
//!
//! A connection opens with a [`Preamble`] from the daemon, then carries [frames](Frame): a fixed prefix with two
//! lengths, a small header (one message, encoded with bincode) and a payload of opaque bytes.
//!
//! ```text
//! connection := preamble frame*
//! preamble   := "mirai" 0x00 version:u16
//! frame      := header_len:u32 payload_len:u64 header payload        integers little-endian
//! ```
//!
//! Messages are named by direction: [`ToDaemon`] and [`FromDaemon`]. This crate does no I/O, knows no clock and no
//! R: bytes go in, messages come out, and no sequence of bytes makes it panic or allocate more than the
//! [`FrameLimits`] allow. Start reading at [`FrameBuffer`].
#![forbid(unsafe_code)]

mod buffer;
pub mod claim;
mod error;
mod frame;
mod message;
mod origin;
mod payload;
mod shelf;

pub use buffer::{FrameBuffer, FrameLimits, Want};
pub use error::WireError;
pub use frame::{Frame, MAX_HEADER, PREAMBLE_LEN, PREFIX_LEN, Preamble, VERSION, encode_head};
pub use message::{
    FromDaemon, Hello, LeaveReason, PairKey, RefuseReason, Return, ReturnKey, ReturnTicket, Role,
    RunEnd, SETUP_RUN, TaskFlags, ToDaemon,
};
pub use origin::Origin;
pub use payload::Payload;
pub use shelf::Shelf;
