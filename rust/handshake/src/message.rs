//! The messages of a handshake as bytes.

use crate::{HandshakeError, VERSION};

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 32;

/// A number that is used once: random bytes, fresh for each connection.
pub type Nonce = [u8; NONCE_LEN];

/// Bytes of an opening, and of an answer.
pub(crate) const HEAD_LEN: usize = 48;

const FROM_DAEMON: [u8; 6] = *b"mirai>";
const FROM_HUB: [u8; 6] = *b"mirai<";

/// What an opening or an answer says besides its version: one byte, then seven that are zero.
pub(crate) type Head = [u8; HEAD_LEN];

/// Of an opening.
pub(crate) mod opening {
    pub(crate) const NO_TOKEN: u8 = 0;
    pub(crate) const HAS_TOKEN: u8 = 1;
}

/// Of an answer.
pub(crate) mod answer {
    pub(crate) const OPEN: u8 = 0;
    pub(crate) const PROVE: u8 = 1;
    pub(crate) const OTHER_VERSION: u8 = 2;
    pub(crate) const TOKEN_WANTED: u8 = 3;
}

/// Of a verdict.
pub(crate) mod verdict {
    pub(crate) const WRONG: u8 = 0;
    pub(crate) const PROVED: u8 = 1;
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Sender {
    Daemon,
    Hub,
}

impl Sender {
    fn magic(self) -> [u8; 6] {
        match self {
            Sender::Daemon => FROM_DAEMON,
            Sender::Hub => FROM_HUB,
        }
    }
}

pub(crate) fn encode(sender: Sender, choice: u8, nonce: &Nonce) -> Head {
    let mut head = [0; HEAD_LEN];
    head[..6].copy_from_slice(&sender.magic());
    head[6..8].copy_from_slice(&VERSION.to_le_bytes());
    head[8] = choice;
    head[16..].copy_from_slice(nonce);
    head
}

/// The choice of an opening or an answer, of our version.
pub(crate) fn decode(sender: Sender, bytes: &[u8]) -> Result<(Head, u8), HandshakeError> {
    let head: Head = bytes.try_into().map_err(|_| HandshakeError::NotMirai)?;
    if head[..6] != sender.magic() {
        return Err(HandshakeError::NotMirai);
    }
    match u16::from_le_bytes([head[6], head[7]]) {
        VERSION if head[9..16] == [0; 7] => Ok((head, head[8])),
        VERSION => Err(HandshakeError::NotMirai),
        theirs => Err(HandshakeError::Version { theirs }),
    }
}
