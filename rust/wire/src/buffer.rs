//! Reading: bytes of one connection become frames.

use serde::de::DeserializeOwned;

use crate::frame::{Prefix, decode_header};
use crate::{Frame, PREAMBLE_LEN, PREFIX_LEN, Payload, Preamble, WireError};

/// Bytes read at once while frames are small: a few hundred small results, and little enough to hold once per connection.
const WINDOW: usize = 32 * 1024;

/// Payloads from this size on are read straight into their own vector instead of through the window.
const LARGE: usize = 16 * 1024;

/// Memory set aside for a payload before its bytes arrive; the rest is added as they do, so an announced length alone
/// costs the reader no more than this.
const FIRST_RESERVE: usize = 64 * 1024 * 1024;

/// What a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Longest payload in bytes.
    pub max_payload: u64,
}

impl FrameLimits {
    /// Before a peer has proved itself: its messages have no payload.
    pub const STRANGER: FrameLimits = FrameLimits { max_payload: 0 };
    /// From a known peer: 1 TiB, more than R's serialisation of anything that fits a machine.
    pub const PEER: FrameLimits = FrameLimits {
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
    limits: FrameLimits,
}

/// A large payload under way: its header is decoded when the payload is complete.
#[derive(Debug)]
struct Large {
    header: Vec<u8>,
    len: usize,
    body: Body,
    /// Whether [`FrameBuffer::begun`] has told of it.
    is_told: bool,
}

/// Of a payload under way.
#[derive(Debug)]
enum Body {
    Kept(Vec<u8>),
    /// There was no memory for it: this many bytes have gone by.
    Lost(usize),
}

impl FrameBuffer {
    /// An empty buffer.
    pub fn new(limits: FrameLimits) -> Self {
        FrameBuffer {
            window: vec![0; WINDOW].into_boxed_slice(),
            start: 0,
            end: 0,
            large: None,
            limits,
        }
    }

    /// Changes what is accepted from the next frame on.
    pub fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// Whether the peer may close now without cutting a frame short.
    pub fn is_between_frames(&self) -> bool {
        self.start == self.end && self.large.is_none()
    }

    /// Whether [`next_frame`](Self::next_frame) has a frame, or an error, without further bytes.
    pub fn has_frame(&self) -> bool {
        if let Some(large) = &self.large {
            return large.missing() == 0;
        }
        let bytes = &self.window[self.start..self.end];
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LEN>() else {
            return false;
        };
        match Prefix::decode(*prefix, self.limits.max_payload) {
            Ok(prefix) => rest.len() >= prefix.header_len.saturating_add(prefix.payload_len),
            Err(_) => true,
        }
    }

    /// Takes in bytes that are at hand, as many as are [wanted](Self::want) at once. Returns the rest of them.
    pub fn take_in<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let count = match self.want() {
            Want::Window(window) => {
                let count = window.len().min(bytes.len());
                window[..count].copy_from_slice(&bytes[..count]);
                self.filled(count);
                count
            }
            Want::Payload { into, missing } => {
                let count = missing.min(bytes.len());
                into.extend_from_slice(&bytes[..count]);
                count
            }
        };
        &bytes[count..]
    }

    /// Where the next bytes belong. Call it after [`next_frame`](Self::next_frame) has answered `None`.
    pub fn want(&mut self) -> Want<'_> {
        if let Some(large) = &mut self.large {
            let missing = large.reserve();
            match &mut large.body {
                Body::Kept(payload) => {
                    return Want::Payload {
                        into: payload,
                        missing,
                    };
                }
                // The window is empty: bytes that nobody wants go by in it.
                Body::Lost(_) => return Want::Window(&mut self.window[..missing.min(WINDOW)]),
            }
        }
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        Want::Window(&mut self.window[self.end..])
    }

    /// Reports `count` bytes read into [`Want::Window`].
    ///
    /// # Panics
    /// When `count` exceeds the slice that was offered: a bug of the caller.
    pub fn filled(&mut self, count: usize) {
        if let Some(Large {
            len,
            body: Body::Lost(gone),
            ..
        }) = &mut self.large
        {
            assert!(
                count <= *len - *gone,
                "more bytes reported than were wanted"
            );
            *gone += count;
            return;
        }
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

    /// The message whose payload has begun to come, if it is a large one that this has not told of before. Call it after
    /// [`next_frame`](Self::next_frame) has answered `None`.
    ///
    /// # Errors
    /// As of [`next_frame`](Self::next_frame).
    pub fn begun<M: DeserializeOwned>(&mut self) -> Result<Option<M>, WireError> {
        match self.large.as_mut().filter(|large| !large.is_told) {
            Some(large) => {
                large.is_told = true;
                decode_header(&large.header).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Lets the payload that has [begun](Self::begun) to come go by: its frame will be one that is [lost](Frame::lost).
    pub fn let_go(&mut self) {
        if let Some(large) = &mut self.large {
            large.body = Body::Lost(large.len - large.missing());
        }
    }

    /// Takes the next complete frame.
    ///
    /// # Errors
    /// Whatever is wrong with the peer's bytes; the connection is of no further use then.
    pub fn next_frame<M: DeserializeOwned>(&mut self) -> Result<Option<Frame<M>>, WireError> {
        if let Some(large) = self.large.take_if(|large| large.missing() == 0) {
            let (payload, lost) = match large.body {
                Body::Kept(payload) => (payload.into(), false),
                Body::Lost(_) => (Payload::new(), true),
            };
            return Ok(Some(Frame {
                message: decode_header(&large.header)?,
                payload,
                lost,
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
                payload: Payload::copy_from_slice(payload),
                lost: false,
            };
            self.start += PREFIX_LEN + prefix.header_len + prefix.payload_len;
            return Ok(Some(frame));
        }
        if prefix.payload_len >= LARGE {
            let mut large = Large {
                header: header.to_vec(),
                len: prefix.payload_len,
                body: Body::Kept(Vec::new()),
                is_told: false,
            };
            large.reserve();
            match &mut large.body {
                Body::Kept(payload) => payload.extend_from_slice(rest),
                Body::Lost(gone) => *gone = rest.len(),
            }
            self.large = Some(large);
            self.start = 0;
            self.end = 0;
        }
        Ok(None)
    }
}

impl Large {
    /// Bytes that have not come yet.
    fn missing(&self) -> usize {
        match &self.body {
            Body::Kept(payload) => self.len - payload.len(),
            Body::Lost(gone) => self.len - gone,
        }
    }

    /// Makes room, and says how many bytes may come now. Without memory the payload is lost, not the connection.
    fn reserve(&mut self) -> usize {
        let missing = self.missing();
        let Body::Kept(payload) = &mut self.body else {
            return missing;
        };
        let have = payload.len();
        if payload.capacity() == have {
            let target = self.len.min(FIRST_RESERVE.max(have.saturating_mul(2)));
            if payload.try_reserve_exact(target - have).is_err() {
                self.body = Body::Lost(have);
                return missing;
            }
        }
        missing.min(payload.capacity() - have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ToDaemon, encode_head};

    #[test]
    fn a_payload_without_memory_is_lost_and_the_next_frame_is_not() {
        let len = 10 * WINDOW + 123;
        let mut bytes = encode_head(&ToDaemon::Shared { id: 1 }, len as u64);
        bytes.resize(bytes.len() + len, 7);
        bytes.extend(encode_head(&ToDaemon::Shared { id: 2 }, 3));
        bytes.extend([1, 2, 3]);

        let mut buffer = FrameBuffer::new(FrameLimits::PEER);
        let mut rest = buffer.take_in(&bytes);
        assert_eq!(buffer.next_frame::<ToDaemon>(), Ok(None));
        let (piece, later) = rest.split_at(100);
        assert!(buffer.take_in(piece).is_empty());
        rest = later;
        let begun = buffer.begun::<ToDaemon>();
        assert_eq!(begun, Ok(Some(ToDaemon::Shared { id: 1 })));
        assert_eq!(buffer.begun::<ToDaemon>(), Ok(None), "it is told once");
        buffer.let_go();
        let large = buffer.large.as_ref().expect("it is under way");
        assert!(matches!(large.body, Body::Lost(gone) if gone > 0));

        let mut frames = Vec::new();
        while !rest.is_empty() {
            rest = buffer.take_in(rest);
            while let Some(frame) = buffer.next_frame::<ToDaemon>().unwrap() {
                frames.push((frame.message, frame.payload, frame.lost));
            }
        }
        let expected = [
            (ToDaemon::Shared { id: 1 }, Payload::new(), true),
            (ToDaemon::Shared { id: 2 }, vec![1, 2, 3].into(), false),
        ];
        assert_eq!(frames, expected);
        assert!(buffer.is_between_frames());
    }
}
