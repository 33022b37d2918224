use serde::de::DeserializeOwned;

use crate::frame::{Prefix, decode_header};
use crate::{Frame, PREAMBLE_LEN, PREFIX_LEN, Preamble, WireError};

/// Bytes read at once while frames are small: a few hundred small results, and little enough to hold once per connection.
const WINDOW: usize = 32 * 1024;

/// Payloads from this size on are read straight into their own vector instead of through the window.
const LARGE: usize = 16 * 1024;

/// Memory set aside for a payload before its bytes arrive; the rest is added as they do, so an announced length alone
/// costs the reader no more than this.
const FIRST_RESERVE: usize = 64 * 1024 * 1024;

/// What a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest payload in bytes.
    pub max_payload: u64,
}

impl Limits {
    /// Before a peer has proved itself: its messages have no payload.
    pub const STRANGER: Limits = Limits { max_payload: 0 };
    /// From a known peer: 1 TiB, more than R's serialisation of anything that fits a machine.
    pub const PEER: Limits = Limits {
        max_payload: 1 << 40,
    };
}

/// Where the next bytes from the peer belong.
#[derive(Debug)]
pub enum Want<'a> {
    /// Read up to this many bytes, then report them with [`FrameBuffer::filled`].
    Window(&'a mut [u8]),
    /// Append up to `missing` bytes to this vector (it has spare capacity); nothing to report.
    Payload {
        /// The payload so far.
        into: &'a mut Vec<u8>,
        /// Bytes that may be appended now; at least one.
        missing: usize,
    },
}

/// Turns bytes of one connection into frames: a pure buffer with no I/O of its own.
///
/// Ask [`want`](Self::want) where to read to, read, then take frames with [`next_frame`](Self::next_frame) until it has
/// none.
#[derive(Debug)]
pub struct FrameBuffer {
    window: Box<[u8]>,
    start: usize,
    end: usize,
    large: Option<Large>,
    limits: Limits,
}

/// A large payload under way: its header is decoded when the payload is complete.
#[derive(Debug)]
struct Large {
    header: Vec<u8>,
    payload: Vec<u8>,
    len: usize,
}

impl FrameBuffer {
    /// An empty buffer.
    pub fn new(limits: Limits) -> Self {
        FrameBuffer {
            window: vec![0; WINDOW].into_boxed_slice(),
            start: 0,
            end: 0,
            large: None,
            limits,
        }
    }

    /// Changes what is accepted from the next frame on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether the peer may close now without cutting a frame short.
    pub fn is_between_frames(&self) -> bool {
        self.start == self.end && self.large.is_none()
    }

    /// Where the next bytes belong. Call it after [`next_frame`](Self::next_frame) has answered `None`.
    ///
    /// # Errors
    /// [`WireError::OutOfMemory`] when a payload cannot grow.
    pub fn want(&mut self) -> Result<Want<'_>, WireError> {
        if let Some(large) = &mut self.large {
            let missing = large.reserve()?;
            return Ok(Want::Payload {
                into: &mut large.payload,
                missing,
            });
        }
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        Ok(Want::Window(&mut self.window[self.end..]))
    }

    /// Reports `count` bytes read into [`Want::Window`].
    ///
    /// # Panics
    /// When `count` exceeds the slice that was offered: a bug of the caller.
    pub fn filled(&mut self, count: usize) {
        assert!(
            count <= self.window.len() - self.end,
            "more bytes reported than the window holds"
        );
        self.end += count;
    }

    /// Takes and checks the preamble, once its bytes are there.
    ///
    /// # Errors
    /// [`WireError::NotMirai`] or [`WireError::Version`].
    pub fn next_preamble(&mut self) -> Result<Option<()>, WireError> {
        match self.window[self.start..self.end].first_chunk::<PREAMBLE_LEN>() {
            None => Ok(None),
            Some(bytes) => {
                Preamble::check(*bytes)?;
                self.start += PREAMBLE_LEN;
                Ok(Some(()))
            }
        }
    }

    /// Takes the next complete frame.
    ///
    /// # Errors
    /// Whatever is wrong with the peer's bytes; the connection is of no further use then.
    pub fn next_frame<M: DeserializeOwned>(&mut self) -> Result<Option<Frame<M>>, WireError> {
        if let Some(large) = self.large.take_if(|large| large.payload.len() == large.len) {
            return Ok(Some(Frame {
                message: decode_header(&large.header)?,
                payload: large.payload,
            }));
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let bytes = &self.window[self.start..self.end];
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let prefix = Prefix::decode(*prefix, self.limits.max_payload)?;
        let Some((header, rest)) = rest.split_at_checked(prefix.header_len) else {
            return Ok(None);
        };
        if let Some(payload) = rest.get(..prefix.payload_len) {
            let frame = Frame {
                message: decode_header(header)?,
                payload: payload.to_vec(),
            };
            self.start += PREFIX_LEN + prefix.header_len + prefix.payload_len;
            return Ok(Some(frame));
        }
        if prefix.payload_len >= LARGE {
            let mut large = Large {
                header: header.to_vec(),
                payload: Vec::new(),
                len: prefix.payload_len,
            };
            large.reserve()?;
            large.payload.extend_from_slice(rest);
            self.large = Some(large);
            self.start = self.end;
        }
        Ok(None)
    }
}

impl Large {
    /// Makes room, and says how many bytes may be appended.
    fn reserve(&mut self) -> Result<usize, WireError> {
        let have = self.payload.len();
        if self.payload.capacity() == have {
            let target = self.len.min(FIRST_RESERVE.max(have.saturating_mul(2)));
            self.payload
                .try_reserve_exact(target - have)
                .map_err(|_| WireError::OutOfMemory {
                    len: self.len as u64,
                })?;
        }
        Ok((self.len - have).min(self.payload.capacity() - have))
    }
}
