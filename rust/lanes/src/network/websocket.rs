//! The hub's end of a WebSocket (RFC 6455) on TCP or TLS; the daemon's is NNG's.
//!
//! NNG has a server for them, too, but that takes in whoever connects and waits for ever for the request, out of sight of those
//! who count newcomers and turn them away. Here a peer costs a bounded amount from its first byte on: a request of
//! [`MOST_REQUEST`] at most, and then one buffer to read into. Frames are not gathered: what has come of one is given out.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use thiserror::Error;

use super::opening::{Refusal, write_all};
use super::sealed::{append_to, copy_into, first, is_empty};
use super::web_request::{Answer, answer};
use crate::Connection;

/// Bytes of a request, of which that of a daemon has some two hundred.
const MOST_REQUEST: usize = 8 * 1024;

/// Room for what is read at once: at rest, and most.
const SMALL: usize = 4 * 1024;
const MOST: usize = 64 * 1024;

/// Frames in a row that bring no data: somebody would have the hub read them for ever.
const MOST_VAIN: u32 = 64;

/// Bytes of the writer's in one frame; NNG gathers them, and takes a megabyte at most.
const MOST_FRAME: usize = 64 * 1024;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The last fragment of a message.
const LAST: u8 = 0x80;

/// "Normal closure".
const CLOSING: [u8; 4] = [LAST | CLOSE, 2, 0x03, 0xe8];

/// The hub's end.
///
/// The lock of a direction is held while bytes are read from or written to the connection below, which never waits; that for
/// writing is also taken under that for reading, to answer a ping.
#[derive(Debug)]
pub(super) struct WebSocket {
    below: Box<dyn Connection>,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
}

impl WebSocket {
    /// Waits for the request of a peer that is to ask for `path`, however long that takes, and answers it.
    pub(super) async fn accept(
        below: Box<dyn Connection>,
        path: &str,
    ) -> Result<WebSocket, Refusal> {
        let mut request = Vec::new();
        let end = loop {
            match read_request(&*below, &mut request).await {
                Ok(Some(end)) => break end,
                Ok(None) if request.len() < MOST_REQUEST => {}
                Ok(None) => return refuse(below, Answer::TOO_LONG).await,
                Err(refusal) => {
                    below.shutdown();
                    return Err(refusal);
                }
            }
        };
        match answer(&request[..end], path) {
            Answer::Accepted(text) => write_all(&*below, text.as_bytes()).await?,
            refused => return refuse(below, refused).await,
        }
        // A daemon says nothing before it has the answer.
        request.drain(..end);
        Ok(WebSocket {
            below,
            incoming: Mutex::new(Incoming::new(request)),
            outgoing: Mutex::default(),
        })
    }

    fn take(&self, copy: impl FnOnce(&[u8]) -> usize) -> io::Result<usize> {
        let mut incoming = self.incoming.lock();
        let mut is_filled = false;
        loop {
            match self.look(&mut incoming)? {
                Found::Data => return Ok(incoming.take(copy)),
                Found::End => return Ok(0),
                // Others on this thread come before what more there is.
                Found::Nothing if is_filled => return Err(io::ErrorKind::WouldBlock.into()),
                Found::Nothing => {}
            }
            if incoming.fill(&*self.below)? == 0 {
                return Ok(0);
            }
            is_filled = true;
        }
    }

    /// What has been read; pings are answered.
    fn look(&self, incoming: &mut Incoming) -> io::Result<Found> {
        incoming.decode(|payload| self.outgoing.lock().answer(payload, &*self.below))
    }
}

/// Reads some of a request. Returns where it ends, when it does.
async fn read_request(
    below: &dyn Connection,
    request: &mut Vec<u8>,
) -> Result<Option<usize>, Refusal> {
    poll_fn(|cx| below.poll_readable(cx)).await?;
    // What was there has no end, but may have the beginning of one.
    let searched = request.len().saturating_sub(3);
    let mut piece = [0; 1024];
    match below.try_read(&mut piece) {
        Ok(0) => return Err(Refusal::Gone),
        Ok(count) => request.extend_from_slice(&piece[..count]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error.into()),
    }
    let end = request[searched..]
        .windows(4)
        .position(|four| four == b"\r\n\r\n");
    Ok(end.map(|end| searched + end + 4))
}

async fn refuse(below: Box<dyn Connection>, answer: Answer) -> Result<WebSocket, Refusal> {
    // It may be gone already.
    let _ = write_all(&*below, answer.text().as_bytes()).await;
    below.shutdown();
    Err(Refusal::NoWebSocket)
}

/// What there is for the reader.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Data,
    Nothing,
    /// The peer has closed the connection.
    End,
}

/// What has been read, `start..end` of `buffer`, and where in a frame that is.
#[derive(Debug)]
struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Up to here the mask has been taken off.
    plain: usize,
    /// Bytes of the frame's data that have not come.
    left: u64,
    mask: [u8; 4],
    /// Frames in a row that have brought no data.
    vain: u32,
    is_closed: bool,
}

/// The beginning of a frame.
struct Head {
    kind: u8,
    len: u64,
    mask: [u8; 4],
    /// Its own bytes.
    size: usize,
}

impl Head {
    /// Of `bytes`; `None` where that is not all of it.
    fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
        let &[first, second, ..] = bytes else {
            return Ok(None);
        };
        let (kind, is_last) = (first & 0x0f, first & LAST != 0);
        let is_control = kind >= CLOSE;
        let short = second & 0x7f;
        let is_known = matches!(kind, CONTINUATION | BINARY | CLOSE | PING | PONG);
        let is_masked = second & 0x80 != 0;
        if first & 0x70 != 0 || !is_known || !is_masked || (is_control && (short > 125 || !is_last))
        {
            return Err(malformed());
        }
        let len_size = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let size = 2 + len_size + 4;
        if bytes.len() < size {
            return Ok(None);
        }
        let long = &bytes[2..2 + len_size];
        let len = match len_size {
            0 => short.into(),
            _ => long
                .iter()
                .fold(0_u64, |len, byte| len << 8 | u64::from(*byte)),
        };
        let mut mask = [0; 4];
        mask.copy_from_slice(&bytes[size - 4..size]);
        Ok(Some(Head {
            kind,
            len,
            mask,
            size,
        }))
    }
}

/// A peer has sent something that is no frame of a WebSocket, or too many frames without data: what ends the connection, in
/// the error of a read.
#[derive(Debug, Error)]
#[error("the peer has sent something that is no frame of a WebSocket")]
pub struct NoFrame;

impl NoFrame {
    /// Whether a read has failed for that.
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<NoFrame>())
    }
}

fn malformed() -> io::Error {
    io::Error::other(NoFrame)
}

impl Incoming {
    fn new(buffer: Vec<u8>) -> Incoming {
        Incoming {
            start: 0,
            end: buffer.len(),
            buffer,
            plain: 0,
            left: 0,
            mask: [0; 4],
            vain: 0,
            is_closed: false,
        }
    }

    /// Goes on to data, if there is some. `ping` is given what a ping carries.
    fn decode(&mut self, mut ping: impl FnMut(&[u8])) -> io::Result<Found> {
        loop {
            if self.start < self.plain {
                self.vain = 0;
                return Ok(Found::Data);
            }
            if self.is_closed {
                return Ok(Found::End);
            }
            if self.start == self.end {
                return Ok(Found::Nothing);
            }
            if self.left > 0 {
                self.unmask();
                continue;
            }
            let Some(head) = Head::parse(&self.buffer[self.start..self.end])? else {
                return Ok(Found::Nothing);
            };
            let after_head = self.start + head.size;
            if head.kind < CLOSE {
                self.note_vain(head.len == 0)?;
                self.start = after_head;
                self.plain = after_head;
                (self.left, self.mask) = (head.len, head.mask);
                continue;
            }
            // Of these, at most 125 bytes.
            let whole = after_head + head.len as usize;
            if self.end < whole {
                return Ok(Found::Nothing);
            }
            self.note_vain(true)?;
            let payload = &mut self.buffer[after_head..whole];
            mask(payload, head.mask);
            match head.kind {
                PING => ping(payload),
                CLOSE => self.is_closed = true,
                _ => {}
            }
            self.start = whole;
            self.plain = whole;
        }
    }

    /// Counts a frame if it brings no data.
    fn note_vain(&mut self, is_vain: bool) -> io::Result<()> {
        self.vain += u32::from(is_vain);
        if self.vain > MOST_VAIN {
            return Err(malformed());
        }
        Ok(())
    }

    /// Takes the mask off what has come of a frame.
    fn unmask(&mut self) {
        let here = self.end - self.start;
        let count = usize::try_from(self.left).map_or(here, |left| left.min(here));
        let data = &mut self.buffer[self.start..self.start + count];
        mask(data, self.mask);
        self.mask.rotate_left(count % 4);
        self.plain = self.start + count;
        self.left -= count as u64;
    }

    /// After [`decode`](Self::decode) has found data.
    fn take(&mut self, copy: impl FnOnce(&[u8]) -> usize) -> usize {
        let count = copy(&self.buffer[self.start..self.plain]);
        self.start += count;
        count
    }

    /// Reads more, when all but the beginning of a head or of a ping has been taken. The buffer grows while it is filled.
    fn fill(&mut self, below: &dyn Connection) -> io::Result<usize> {
        let was_full = self.end == self.buffer.len() && self.start == self.end;
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.plain = 0;
        let len = match self.buffer.len() {
            len if len < SMALL => SMALL,
            len if was_full => (4 * len).min(MOST),
            len => len,
        };
        self.buffer.resize(len, 0);
        let read = below.try_read(&mut self.buffer[self.end..]);
        match &read {
            Ok(count) => self.end += count,
            // A large one is let go.
            Err(_) if self.end == 0 && self.buffer.len() > SMALL => self.buffer = Vec::new(),
            Err(_) => {}
        }
        read
    }
}

/// Puts a mask on or takes it off.
fn mask(bytes: &mut [u8], mask: [u8; 4]) {
    for piece in bytes.chunks_mut(4) {
        for (byte, with) in piece.iter_mut().zip(mask) {
            *byte ^= with;
        }
    }
}

/// The frame that is being written.
#[derive(Debug, Default)]
struct Outgoing {
    /// Its head, perhaps after an answer to a ping; `sent` of these bytes are on their way.
    head: Vec<u8>,
    sent: usize,
    /// Bytes of the writer's that are still to come in it.
    left: usize,
    /// What the last ping carried that has not been answered.
    pong: Option<Vec<u8>>,
}

impl Outgoing {
    /// Whether nothing is under way: below, bytes that could not be sent have to be offered again as they were.
    fn is_between_frames(&self) -> bool {
        self.left == 0 && self.sent == self.head.len()
    }

    /// Answers a ping, now or with the next frame.
    fn answer(&mut self, payload: &[u8], below: &dyn Connection) {
        self.pong = Some(payload.to_vec());
        if self.is_between_frames() {
            self.prepare_pong();
            // A failure shows to whoever writes next.
            let _ = self.send(below, &[]);
        }
    }

    fn prepare_pong(&mut self) {
        if let Some(payload) = self.pong.take() {
            self.head.clear();
            self.sent = 0;
            self.head.extend([LAST | PONG, payload.len() as u8]);
            self.head.extend(payload);
        }
    }

    /// Begins a frame of so many bytes.
    fn begin(&mut self, len: usize) {
        if self.sent == self.head.len() {
            self.head.clear();
            self.sent = 0;
            self.prepare_pong();
        }
        self.head.push(LAST | BINARY);
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(len @ ..=125), _) => self.head.push(len),
            (_, Ok(len)) => {
                self.head.push(126);
                self.head.extend(len.to_be_bytes());
            }
            _ => {
                self.head.push(127);
                self.head.extend((len as u64).to_be_bytes());
            }
        }
        self.left = len;
    }

    /// Writes the head and the beginning of `parts`. Returns how many bytes of these have gone.
    fn send(&mut self, below: &dyn Connection, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let data = first(parts, self.left);
        loop {
            let mut all = vec![IoSlice::new(&self.head[self.sent..])];
            all.extend(data.iter().map(|part| IoSlice::new(part)));
            if is_empty(&all) {
                return Ok(0);
            }
            let count = below.try_write(&all)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let of_head = count.min(self.head.len() - self.sent);
            self.sent += of_head;
            let of_data = count - of_head;
            self.left -= of_data;
            if of_data > 0 {
                return Ok(of_data);
            }
        }
    }
}

impl Connection for WebSocket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error shows when it is read.
        let found = self.look(&mut self.incoming.lock());
        match found {
            Ok(Found::Nothing) => self.below.poll_readable(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_writable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.take(copy_into(into))
    }

    fn try_read_append(&self, into: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
        self.take(append_to(into, limit))
    }

    /// After `WouldBlock` the same bytes have to be offered again: some of them may be on their way.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if is_empty(parts) {
            return Ok(0);
        }
        let mut outgoing = self.outgoing.lock();
        if outgoing.left == 0 {
            let all: usize = parts.iter().map(|part| part.len()).sum();
            outgoing.begin(all.min(MOST_FRAME));
        }
        outgoing.send(&*self.below, parts)
    }

    fn shutdown(&self) {
        let outgoing = self.outgoing.lock();
        if outgoing.is_between_frames() {
            // Whoever does not read does without it.
            let _ = self.below.try_write(&[IoSlice::new(&CLOSING)]);
        }
        self.below.shutdown();
    }

    fn below(&self) -> Option<&dyn Connection> {
        Some(&*self.below)
    }
}

#[cfg(test)]
mod tests;
