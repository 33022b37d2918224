//! What each side of a network connection shows and asks for: certificates, token.

use std::path::Path;

use mirai_handshake::{TOKEN_LEN, Token};
use pem::Pem;

use crate::{DaemonTls, HubTls, LaneError, network};

/// Who may connect to a hub over a network, and how the hub proves who it is.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// For addresses with TLS.
    pub tls: Option<HubTls>,
    /// The token that peers have to know.
    pub token: Option<Token>,
}

/// What a daemon shows to its hub over a network, and what it requires of the hub.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// For addresses with TLS.
    pub tls: Option<DaemonTls>,
    /// The token that the hub has to know, and asks for.
    pub token: Option<Token>,
}

/// Label of the PEM section that holds the token.
const TOKEN: &str = "MIRAI TOKEN";

impl Access {
    /// Admits those who have the credentials returned with it, and nobody else: single-use certificates for TLS at
    /// `host`, and a token.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn single_use(host: &str) -> Result<(Access, Credentials), LaneError> {
        let (of_hub, of_daemon) = HubTls::single_use(host)?;
        let token = new_token()?;
        let access = Access {
            tls: Some(of_hub),
            token: Some(token.clone()),
        };
        let credentials = Credentials {
            tls: Some(of_daemon),
            token: Some(token),
        };
        Ok((access, credentials))
    }
}

/// A new random token.
///
/// # Errors
/// When the system gives no random numbers.
pub fn new_token() -> Result<Token, LaneError> {
    let mut bytes = [0; TOKEN_LEN];
    getrandom::fill(&mut bytes).map_err(|error| LaneError::Os {
        url: "token".to_owned(),
        source: std::io::Error::other(error),
    })?;
    Ok(Token::new(bytes))
}

impl Credentials {
    /// Reads what [`to_text`](Self::to_text) has written, or certificates to trust as they come from elsewhere; with a list
    /// of revoked ones, which may be empty.
    pub fn parse(text: &str, revoked: &str) -> Credentials {
        let sections = pem::parse_many(text).unwrap_or_default();
        let token = sections
            .iter()
            .find(|section| section.tag() == TOKEN)
            .and_then(|section| section.contents().try_into().ok())
            .map(Token::new);
        let is_token_alone = token.is_some() && sections.len() == 1;
        Credentials {
            tls: (!is_token_alone).then(|| DaemonTls::trusting(text, revoked)),
            token,
        }
    }

    /// Reads the same from a file, without a list of revoked certificates.
    ///
    /// # Errors
    /// [`LaneError::File`], with code 12 when there is none.
    pub fn read(path: &Path) -> Result<Credentials, LaneError> {
        Ok(Credentials::parse(&network::read_file(path)?, ""))
    }

    /// All of it as one text in PEM format. Whoever has it may connect.
    pub fn to_text(&self) -> String {
        let mut text = self.tls.as_ref().map_or(String::new(), DaemonTls::to_text);
        if let Some(token) = &self.token {
            text += &network::to_text(&Pem::new(TOKEN, token.to_bytes()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_travel_as_one_text() {
        let (_, credentials) = Access::single_use("127.0.0.1").unwrap();
        let text = credentials.to_text();
        let again = Credentials::parse(&text, "");
        assert!(again.tls.is_some() && again.token == credentials.token);
        assert!(again.to_text() == text);
        let token_alone = Credentials {
            tls: None,
            ..credentials
        };
        let again = Credentials::parse(&token_alone.to_text(), "");
        assert!(again.tls.is_none() && again.token == token_alone.token);
    }

    #[test]
    fn secrets_stay_out_of_logs() {
        let (access, credentials) = Access::single_use("127.0.0.1").unwrap();
        let shown = format!("{access:?} {credentials:?}");
        assert!(shown.len() < 200, "{shown}");
    }

    #[test]
    fn what_is_no_pem_is_found_out_when_it_is_used() {
        let credentials = Credentials::parse("certainly no certificate", "");
        assert!(credentials.tls.is_some() && credentials.token.is_none());
    }
}
