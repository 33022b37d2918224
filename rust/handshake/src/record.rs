//! Records: what is sent after a handshake with a token, with a code for each piece.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::code::keyed;
use crate::{HandshakeError, Keys};

/// Most bytes of a record: what a reader has to hold before it knows that they are the peer's.
pub const MAX_PLAIN: usize = 32 * 1024;

/// Bytes before what is sent: its length.
const LEN: usize = 4;

/// Bytes of a code after it: half of HMAC-SHA256, as usual.
const TAG: usize = 16;

/// Bytes that a record adds.
pub const OVERHEAD: usize = LEN + TAG;

/// One direction: its key, and the number of the next record, which is in its code. So a record that is repeated, left out
/// or moved is not the one expected.
#[derive(Clone)]
struct Numbered {
    code: Hmac<Sha256>,
    next: u64,
}

impl Numbered {
    fn new(key: &[u8]) -> Numbered {
        Numbered {
            code: keyed(key),
            next: 0,
        }
    }

    fn code(&mut self, len: [u8; LEN], plain: &[&[u8]]) -> Hmac<Sha256> {
        let mut code = self.code.clone();
        code.update(&self.next.to_le_bytes());
        code.update(&len);
        for part in plain {
            code.update(part);
        }
        self.next += 1;
        code
    }
}

impl fmt::Debug for Numbered {
    // The key stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Numbered({})", self.next)
    }
}

/// Puts what is sent into records: length, bytes, code.
#[derive(Debug)]
pub struct Sealer(Numbered);

impl Sealer {
    /// Seals what the daemon sends.
    pub fn of_daemon(keys: &Keys) -> Sealer {
        Sealer(Numbered::new(&keys.daemon))
    }

    /// Seals what the hub sends.
    pub fn of_hub(keys: &Keys) -> Sealer {
        Sealer(Numbered::new(&keys.hub))
    }

    /// Returns the bytes to write before and after these parts, which together are one record.
    ///
    /// # Panics
    /// When they have more than [`MAX_PLAIN`] bytes together: a bug of the caller.
    pub fn seal(&mut self, plain: &[&[u8]]) -> ([u8; LEN], [u8; TAG]) {
        let len = plain.iter().map(|part| part.len()).sum::<usize>();
        assert!(len <= MAX_PLAIN, "a record is longer than its limit");
        let len = (len as u32).to_le_bytes();
        let code = self.0.code(len, plain).finalize().into_bytes();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&code[..TAG]);
        (len, tag)
    }
}

/// Takes what the peer sent out of its records, once they are whole and proved: a pure buffer.
///
/// Ask [`room`](Self::room) where to read to, report what was read with [`filled`](Self::filled), then take with
/// [`take`](Self::take) until there is nothing.
#[derive(Debug)]
pub struct Opener {
    numbered: Numbered,
    buffer: Vec<u8>,
    filled: usize,
    /// What of the record at the beginning has been proved and not been taken.
    plain: std::ops::Range<usize>,
}

impl Opener {
    /// Opens what the daemon sends.
    pub fn of_daemon(keys: &Keys) -> Opener {
        Opener::new(&keys.daemon)
    }

    /// Opens what the hub sends.
    pub fn of_hub(keys: &Keys) -> Opener {
        Opener::new(&keys.hub)
    }

    fn new(key: &[u8]) -> Opener {
        Opener {
            numbered: Numbered::new(key),
            buffer: Vec::new(),
            filled: 0,
            plain: 0..0,
        }
    }

    /// Whether [`take`](Self::take) has something without a further read, or fails.
    pub fn is_ready(&self) -> bool {
        !self.plain.is_empty() || self.whole() != Ok(None)
    }

    /// Where the next bytes belong: the rest of the record under way and no more.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`] when no record can be that long.
    pub fn room(&mut self) -> Result<&mut [u8], HandshakeError> {
        let end = match self.len()? {
            Some(len) => len + OVERHEAD,
            None => LEN,
        };
        // What was needed once is kept for the next; a buffer of zeroes is not touched before it is needed.
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        Ok(&mut self.buffer[self.filled..end])
    }

    /// Reports `count` bytes read into [`room`](Self::room).
    ///
    /// # Panics
    /// When `count` exceeds the slice that was offered: a bug of the caller.
    pub fn filled(&mut self, count: usize) {
        assert!(
            count <= self.buffer.len() - self.filled,
            "more bytes reported than there was room for"
        );
        self.filled += count;
    }

    /// Takes bytes out with `copy`, which is given those that are proved; 0 when there are none.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`]; the connection is of no further use then.
    pub fn take(&mut self, copy: impl FnOnce(&[u8]) -> usize) -> Result<usize, HandshakeError> {
        if self.plain.is_empty() && !self.open()? {
            return Ok(0);
        }
        let count = copy(&self.buffer[self.plain.clone()]).min(self.plain.len());
        self.plain.start += count;
        if self.plain.is_empty() {
            self.filled = 0;
        }
        Ok(count)
    }

    /// The length that the record under way announces, once it is there.
    fn len(&self) -> Result<Option<usize>, HandshakeError> {
        let Some(len) = self.buffer[..self.filled].first_chunk::<LEN>() else {
            return Ok(None);
        };
        match u32::from_le_bytes(*len) as usize {
            len @ 1..=MAX_PLAIN => Ok(Some(len)),
            _ => Err(HandshakeError::Forged),
        }
    }

    /// The length of the record under way, once it is whole.
    fn whole(&self) -> Result<Option<usize>, HandshakeError> {
        Ok(self.len()?.filter(|len| self.filled == len + OVERHEAD))
    }

    /// Proves the record under way; `false` while it is not whole.
    fn open(&mut self) -> Result<bool, HandshakeError> {
        let Some(len) = self.whole()? else {
            return Ok(false);
        };
        let (head, rest) = self.buffer[..self.filled].split_at(LEN);
        let (plain, tag) = rest.split_at(len);
        let head = head.try_into().map_err(|_| HandshakeError::Forged)?;
        self.numbered
            .code(head, &[plain])
            .verify_truncated_left(tag)
            .map_err(|_| HandshakeError::Forged)?;
        self.plain = LEN..LEN + len;
        Ok(true)
    }
}
