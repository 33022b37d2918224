//! The frame format: preamble, prefix, header, payload.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Payload, WireError};

/// Version of the protocol; peers of different versions end the connection at once.
pub const VERSION: u16 = 2;

/// Bytes of the preamble.
pub const PREAMBLE_LEN: usize = 8;

/// Bytes before a header.
pub const PREFIX_LEN: usize = 12;

/// Longest header in bytes: the longest message of this version takes about 40, the rest is room to grow.
pub const MAX_HEADER: usize = 256;

const MAGIC: [u8; 6] = *b"mirai\0";

/// First bytes of a connection, from the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preamble {
    /// Protocol version of the sender.
    pub version: u16,
}

impl Preamble {
    /// The preamble of this library.
    pub const OURS: Preamble = Preamble { version: VERSION };

    /// The bytes to send.
    pub fn encode(self) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[..6].copy_from_slice(&MAGIC);
        bytes[6..].copy_from_slice(&self.version.to_le_bytes());
        bytes
    }

    /// Checks the bytes of a peer.
    ///
    /// # Errors
    /// [`WireError::NotMirai`] or [`WireError::Version`].
    pub fn check(bytes: [u8; PREAMBLE_LEN]) -> Result<(), WireError> {
        let [m0, m1, m2, m3, m4, m5, v0, v1] = bytes;
        if [m0, m1, m2, m3, m4, m5] != MAGIC {
            return Err(WireError::NotMirai);
        }
        match u16::from_le_bytes([v0, v1]) {
            VERSION => Ok(()),
            theirs => Err(WireError::Version {
                theirs,
                ours: VERSION,
            }),
        }
    }
}

/// One message with its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<M> {
    /// The message.
    pub message: M,
    /// Empty where the message has none.
    pub payload: Payload,
    /// There was no memory for the payload, which is empty then.
    pub lost: bool,
}

/// Encodes prefix and header of a frame whose payload has `payload_len` bytes, so that payloads are written from where
/// they lie, without a copy.
pub fn encode_head<M: Serialize>(message: &M, payload_len: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(PREFIX_LEN + 32);
    head.resize(PREFIX_LEN, 0);
    let header_len =
        bincode::serde::encode_into_std_write(message, &mut head, bincode::config::standard())
            .expect("messages are plain data, and writing to a vector cannot fail");
    assert!(
        header_len <= MAX_HEADER,
        "invariant: every message fits MAX_HEADER"
    );
    head[..4].copy_from_slice(&(header_len as u32).to_le_bytes());
    head[4..PREFIX_LEN].copy_from_slice(&payload_len.to_le_bytes());
    head
}

/// The two lengths before a header, within limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub header_len: usize,
    pub payload_len: usize,
}

impl Prefix {
    pub(crate) fn decode(bytes: [u8; PREFIX_LEN], max_payload: u64) -> Result<Prefix, WireError> {
        let [h0, h1, h2, h3, p @ ..] = bytes;
        let header_len = u64::from(u32::from_le_bytes([h0, h1, h2, h3]));
        let len = u64::from_le_bytes(p);
        if header_len > MAX_HEADER as u64 {
            return Err(WireError::HeaderTooLong {
                len: header_len,
                limit: MAX_HEADER as u64,
            });
        }
        let limit = max_payload.min(usize::MAX as u64);
        if len > limit {
            return Err(WireError::PayloadTooLong { len, limit });
        }
        Ok(Prefix {
            header_len: header_len as usize,
            payload_len: len as usize,
        })
    }
}

/// Decodes a header; all its bytes must be used.
pub(crate) fn decode_header<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, WireError> {
    let config = bincode::config::standard().with_limit::<MAX_HEADER>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((message, used)) if used == bytes.len() => Ok(message),
        Ok(_) | Err(_) => Err(WireError::BadHeader),
    }
}
