//! Tokens: the secret that hub and daemons share.

use std::fmt;

use thiserror::Error;

/// Bytes of a token: as many as the key of the code takes without being shortened.
pub const TOKEN_LEN: usize = 32;

/// The secret of those who may connect.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; TOKEN_LEN]);

/// A text that is not a token.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("a token has {} hexadecimal digits", 2 * TOKEN_LEN)]
pub struct TokenError;

impl Token {
    /// A token of these bytes, which have to be random.
    pub fn new(bytes: [u8; TOKEN_LEN]) -> Token {
        Token(bytes)
    }

    /// Reads a token as [`to_text`](Self::to_text) writes it.
    ///
    /// # Errors
    /// When it is not one; the message does not contain the text.
    pub fn parse(text: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        if text.len() != 2 * TOKEN_LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TokenError);
        }
        let mut bytes = [0; TOKEN_LEN];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| TokenError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| TokenError)?;
        }
        Ok(Token(bytes))
    }

    /// The token as hexadecimal digits. Whoever sees them may connect.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The token's bytes. Whoever has them may connect.
    pub fn to_bytes(&self) -> [u8; TOKEN_LEN] {
        self.0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Token {
    // It stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_from_their_text_and_stay_out_of_logs() {
        let token = Token::new(std::array::from_fn(|at| at as u8 * 7));
        let text = token.to_text();
        assert_eq!(Token::parse(&format!(" {text}\n")).unwrap(), token);
        assert_eq!(Token::parse(&text.to_uppercase()).unwrap(), token);
        assert!(!format!("{token:?}").contains(&text[..8]));
    }

    #[test]
    fn other_texts_are_no_tokens() {
        for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Token::parse(text), Err(TokenError), "{text}");
        }
        assert!(Token::parse(&"+1".repeat(32)).is_err());
    }
}
