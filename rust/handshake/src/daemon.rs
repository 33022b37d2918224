//! The daemon's side of a handshake, as a state machine.

use crate::code::{CODE_LEN, Keys, Use, is_proved, prove};
use crate::message::{HEAD_LEN, Head, Sender, answer, decode, encode, opening, verdict};
use crate::{HandshakeError, Nonce, Step, Token};

/// The daemon's side of a handshake: as [`Hub`](crate::Hub), with an opening to send first.
#[derive(Debug)]
pub struct Daemon {
    token: Option<Token>,
    opening: Head,
    state: State,
}

#[derive(Debug)]
enum State {
    Answer,
    Verdict { answer: Head },
    Over,
}

impl Daemon {
    /// A handshake for one connection, and the opening to send. With a token, the hub has to prove that it knows it.
    /// The nonce has to be random.
    pub fn new(token: Option<Token>, nonce: Nonce) -> (Daemon, Vec<u8>) {
        let choice = match token {
            Some(_) => opening::HAS_TOKEN,
            None => opening::NO_TOKEN,
        };
        let opening = encode(Sender::Daemon, choice, &nonce);
        let daemon = Daemon {
            token,
            opening,
            state: State::Answer,
        };
        (daemon, opening.to_vec())
    }

    /// How many bytes have to be read next.
    pub fn wants(&self) -> usize {
        match self.state {
            State::Answer => HEAD_LEN,
            State::Verdict { .. } => 1 + CODE_LEN,
            State::Over => 0,
        }
    }

    /// Processes the bytes that were [wanted](Self::wants).
    ///
    /// # Errors
    /// Why the connection is not made.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Step, HandshakeError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Answer => self.answer(bytes),
            State::Verdict { answer } => self.verdict(&answer, bytes),
            State::Over => Err(HandshakeError::NotMirai),
        }
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Step, HandshakeError> {
        let (answer, choice) = decode(Sender::Hub, bytes)?;
        match (choice, &self.token) {
            (answer::OPEN, None) => Ok(Step::Done(Vec::new(), None)),
            (answer::OPEN, Some(_)) => Err(HandshakeError::TokenIgnored),
            (answer::PROVE, Some(token)) => {
                let proof = prove(token, Use::DaemonProof, &self.opening, &answer);
                self.state = State::Verdict { answer };
                Ok(Step::Send(proof.to_vec()))
            }
            (answer::TOKEN_WANTED, None) => Err(HandshakeError::TokenWanted),
            _ => Err(HandshakeError::NotMirai),
        }
    }

    fn verdict(&self, answer: &Head, bytes: &[u8]) -> Result<Step, HandshakeError> {
        let known = bytes.split_first().zip(self.token.as_ref());
        match known {
            Some(((&verdict::PROVED, proof), token))
                if is_proved(token, Use::HubProof, &self.opening, answer, proof) =>
            {
                Ok(Step::Done(
                    Vec::new(),
                    Some(Keys::of(token, &self.opening, answer)),
                ))
            }
            _ => Err(HandshakeError::Unproven),
        }
    }
}
