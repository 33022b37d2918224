//! Message authentication codes: what a proof is computed over, and how it is checked.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Token;

/// Bytes of a proof.
pub(crate) const CODE_LEN: usize = 32;

pub(crate) type Code = [u8; CODE_LEN];

/// What a code is for. No two sides and uses share one, so none can stand for another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use {
    DaemonProof,
    HubProof,
    DaemonRecords,
    HubRecords,
}

impl Use {
    fn label(self) -> &'static [u8] {
        match self {
            Use::DaemonProof => b"mirai daemon proves itself",
            Use::HubProof => b"mirai hub proves itself",
            Use::DaemonRecords => b"mirai records of daemon",
            Use::HubRecords => b"mirai records of hub",
        }
    }
}

pub(crate) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// The code of a handshake for `what`: label, its length, and the messages, which have fixed lengths.
fn over(token: &Token, what: Use, opening: &[u8], answer: &[u8]) -> Hmac<Sha256> {
    let label = what.label();
    let mut code = keyed(token.bytes());
    code.update(&[label.len() as u8]);
    code.update(label);
    code.update(opening);
    code.update(answer);
    code
}

pub(crate) fn prove(token: &Token, what: Use, opening: &[u8], answer: &[u8]) -> Code {
    over(token, what, opening, answer)
        .finalize()
        .into_bytes()
        .into()
}

/// Compares in constant time.
pub(crate) fn is_proved(
    token: &Token,
    what: Use,
    opening: &[u8],
    answer: &[u8],
    proof: &[u8],
) -> bool {
    over(token, what, opening, answer)
        .verify_slice(proof)
        .is_ok()
}

/// The keys of the records after a handshake, one for each direction.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub(crate) daemon: Code,
    pub(crate) hub: Code,
}

impl Keys {
    pub(crate) fn of(token: &Token, opening: &[u8], answer: &[u8]) -> Keys {
        Keys {
            daemon: prove(token, Use::DaemonRecords, opening, answer),
            hub: prove(token, Use::HubRecords, opening, answer),
        }
    }
}

impl fmt::Debug for Keys {
    // They stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}
