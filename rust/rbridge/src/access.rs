//! Who may connect to a hub over a network, and what a daemon shows there: from R's arguments to keys and back.

use std::path::Path;

use mirai_hub::{
    Access, Address, ErrorCode, HubError, HubTls, LaneError, Token, interfaces, new_token,
};
use mirai_launcher::hide_arguments;
use mirai_worker::Credentials;

use crate::rapi::{Failure, Scope, Sexp};

/// The environment variable with a token, for those who can't, or shouldn't, write it into a command.
const TOKEN_VARIABLE: &str = "MIRAI_TOKEN";

/// A hub's access as R has it.
pub(crate) struct Asked<'r> {
    /// `NULL`, the path of a file with a certificate and its key, or the two as texts.
    pub tls: Sexp<'r>,
    /// `NULL`, or the password of the key.
    pub password: Sexp<'r>,
    /// `TRUE`, `FALSE`, or `NA` for what fits the address.
    pub token: Sexp<'r>,
}

/// Whom a hub at `address` admits, and the credentials that peers need for it, as text; empty for none.
pub(crate) fn access(
    scope: &Scope,
    address: &Address,
    asked: &Asked<'_>,
) -> Result<(Access, String), Failure> {
    let wants_token = asked.token.logical(scope, "token")?;
    let tls = own_certificate(scope, asked)?;
    let Address::Network(network) = address else {
        return within_machine(address, tls.is_some() || wants_token == Some(true));
    };
    if tls.is_none() && network.scheme().has_tls() {
        let (mut access, mut credentials) =
            Access::single_use(network.host()).map_err(HubError::Listen)?;
        if wants_token == Some(false) {
            access.token = None;
            credentials.token = None;
        } else if let Some(token) = token_of_environment()? {
            access.token = Some(token.clone());
            credentials.token = Some(token);
        }
        return Ok((access, credentials.to_text()));
    }
    let token = match wants_token {
        Some(true) => match token_of_environment()? {
            Some(token) => Some(token),
            None => Some(new_token().map_err(HubError::Listen)?),
        },
        _ => None,
    };
    let credentials = Credentials {
        tls: None,
        token: token.clone(),
    };
    Ok((Access { tls, token }, credentials.to_text()))
}

/// On this machine the system reports whose processes the peers are.
fn within_machine(address: &Address, has_asked: bool) -> Result<(Access, String), Failure> {
    if has_asked {
        let url = address.to_string();
        return Err(Failure::coded_with(
            ErrorCode::UNSUPPORTED,
            &format!(
                "`{url}` is for processes of this machine and this user only: certificates and tokens are for \
                 addresses such as tls+tcp:// and tcp://"
            ),
        ));
    }
    Ok((Access::default(), String::new()))
}

fn own_certificate(scope: &Scope, asked: &Asked<'_>) -> Result<Option<HubTls>, Failure> {
    if asked.tls.is_null() {
        return Ok(None);
    }
    let password = match asked.password.is_null() {
        true => None,
        false => Some(asked.password.string(scope, "pass")?),
    };
    let texts = asked.tls.strings(scope, "tls")?;
    let tls = match &texts[..] {
        [path] => HubTls::read(Path::new(path), password.as_deref()).map_err(lane_failure)?,
        [certificate, key] => HubTls::own(certificate, key, password.as_deref()),
        _ => return Err(Failure::error("`tls` must be one or two strings")),
    };
    Ok(Some(tls))
}

/// The credentials of a daemon. `tlscert`: `NULL`, the path of a file with certificates, or the texts of these and of a
/// list of revoked ones.
pub(crate) fn credentials(scope: &Scope, tlscert: Sexp<'_>) -> Result<Credentials, Failure> {
    let mut credentials = Credentials::default();
    if !tlscert.is_null() {
        if let Err(error) = hide_arguments() {
            log::debug!("the command line goes on to be seen: {error}");
        }
        let texts = tlscert.strings(scope, "tlscert")?;
        credentials = match &texts[..] {
            [path] => Credentials::read(Path::new(path)).map_err(lane_failure)?,
            [text, revoked] => Credentials::parse(text, revoked),
            _ => return Err(Failure::error("`tlscert` must be one or two strings")),
        };
    }
    if credentials.token.is_none() {
        credentials.token = token_of_environment()?;
    }
    Ok(credentials)
}

fn token_of_environment() -> Result<Option<Token>, Failure> {
    let Some(text) = std::env::var_os(TOKEN_VARIABLE) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    if text.trim().is_empty() {
        return Ok(None);
    }
    let token = Token::parse(&text).map_err(|error| {
        Failure::error(format!(
            "the environment variable {TOKEN_VARIABLE} holds no token: {error}"
        ))
    })?;
    Ok(Some(token))
}

/// Entry: the IPv4 addresses by which other machines may reach this one, named by interface; empty where they cannot be told.
pub(crate) fn network_addresses<'r>(scope: &'r Scope) -> Result<Sexp<'r>, Failure> {
    let all = interfaces().unwrap_or_else(|error| {
        log::debug!("the addresses of this machine cannot be told: {error}");
        Vec::new()
    });
    let addresses: Vec<String> = all.iter().map(|(_, ip)| ip.to_string()).collect();
    let names: Vec<&str> = all.iter().map(|(name, _)| &**name).collect();
    let texts: Vec<&str> = addresses.iter().map(|text| &**text).collect();
    let result = scope.strings(&texts)?;
    scope.set_attr(result, c"names", scope.strings(&names)?)?;
    Ok(result)
}

fn lane_failure(error: LaneError) -> Failure {
    Failure::coded_with(error.code(), &error)
}
