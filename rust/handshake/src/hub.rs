//! The hub's side of a handshake, as a state machine.

use crate::code::{CODE_LEN, Keys, Use, is_proved, prove};
use crate::message::{HEAD_LEN, Head, Sender, answer, decode, encode, opening, verdict};
use crate::{HandshakeError, Nonce, Step, Token};

/// The hub's side of a handshake: read [`wants`](Self::wants) bytes, pass them to [`read`](Self::read), and do what it
/// returns, until it is done or fails. In either case, send the peer the bytes that it returns.
#[derive(Debug)]
pub struct Hub {
    token: Option<Token>,
    nonce: Nonce,
    state: State,
}

#[derive(Debug)]
enum State {
    Opening,
    Proof { opening: Head, answer: Head },
    Over,
}

impl Hub {
    /// A handshake for one connection. With a token, peers have to prove that they know it. The nonce has to be random.
    pub fn new(token: Option<Token>, nonce: Nonce) -> Hub {
        Hub {
            token,
            nonce,
            state: State::Opening,
        }
    }

    /// How many bytes have to be read next.
    pub fn wants(&self) -> usize {
        match self.state {
            State::Opening => HEAD_LEN,
            State::Proof { .. } => CODE_LEN,
            State::Over => 0,
        }
    }

    /// Processes the bytes that were [wanted](Self::wants).
    ///
    /// # Errors
    /// Why the peer is turned away, and what to tell it before the connection is closed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Step, (HandshakeError, Vec<u8>)> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Opening => self.opening(bytes),
            State::Proof { opening, answer } => self.proof(&opening, &answer, bytes),
            State::Over => Err((HandshakeError::NotMirai, Vec::new())),
        }
    }

    fn opening(&mut self, bytes: &[u8]) -> Result<Step, (HandshakeError, Vec<u8>)> {
        let say = |choice| encode(Sender::Hub, choice, &self.nonce).to_vec();
        let (opening, choice) = decode(Sender::Daemon, bytes).map_err(|error| match error {
            HandshakeError::Version { .. } => (error, say(answer::OTHER_VERSION)),
            _ => (error, Vec::new()),
        })?;
        match (choice, &self.token) {
            (opening::NO_TOKEN | opening::HAS_TOKEN, None) => {
                Ok(Step::Done(say(answer::OPEN), None))
            }
            (opening::NO_TOKEN, Some(_)) => {
                Err((HandshakeError::TokenWanted, say(answer::TOKEN_WANTED)))
            }
            (opening::HAS_TOKEN, Some(_)) => {
                let answer = encode(Sender::Hub, answer::PROVE, &self.nonce);
                self.state = State::Proof { opening, answer };
                Ok(Step::Send(answer.to_vec()))
            }
            _ => Err((HandshakeError::NotMirai, Vec::new())),
        }
    }

    fn proof(
        &self,
        opening: &Head,
        answer: &Head,
        proof: &[u8],
    ) -> Result<Step, (HandshakeError, Vec<u8>)> {
        let known = self
            .token
            .as_ref()
            .filter(|token| is_proved(token, Use::DaemonProof, opening, answer, proof));
        let Some(token) = known else {
            let mut wrong = vec![verdict::WRONG];
            wrong.resize(1 + CODE_LEN, 0);
            return Err((HandshakeError::Unproven, wrong));
        };
        let mut proved = vec![verdict::PROVED];
        proved.extend_from_slice(&prove(token, Use::HubProof, opening, answer));
        Ok(Step::Done(proved, Some(Keys::of(token, opening, answer))))
    }
}
