//! Who may connect to a hub over a network, and what a daemon shows there: from R's arguments to keys and back.

use std::ffi::OsString;
use std::path::Path;

use mirai_hub::{
    Access, Address, ErrorCode, HubError, HubTls, LaneError, Token, interfaces, new_token,
};
use mirai_launcher::{Context, hide_arguments};
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

/// Whom a hub admits, and what its daemons are given for that.
#[derive(Default)]
pub(crate) struct Admission {
    /// What the hub asks for.
    pub access: Access,
    /// What daemons have to show beside the token of their environment, as text; empty for nothing.
    pub shown: String,
    /// The token in the environment of daemons that this session starts.
    pub variable: TokenVariable,
}

/// What daemons that this session starts have as [`TOKEN_VARIABLE`].
#[derive(Clone, Default, PartialEq)]
pub(crate) enum TokenVariable {
    /// What the session has.
    #[default]
    Inherited,
    /// What it had when the hub was opened, which asks for it.
    Fixed(OsString),
    /// Nothing: with a token a daemon would not trust a hub that asks for none.
    Absent,
}

impl TokenVariable {
    /// Puts it into the state that daemons start from.
    pub(crate) fn apply(&self, context: &mut Context) {
        match self {
            TokenVariable::Inherited => {}
            TokenVariable::Fixed(token) => context.set(TOKEN_VARIABLE, Some(token)),
            TokenVariable::Absent => context.set(TOKEN_VARIABLE, None),
        }
    }
}

/// Whom a hub at `address` admits.
pub(crate) fn admission(
    scope: &Scope,
    address: &Address,
    asked: &Asked<'_>,
) -> Result<Admission, Failure> {
    let wants_token = asked.token.logical(scope, "token")?;
    let tls = own_certificate(scope, asked)?;
    let Address::Network(network) = address else {
        return within_machine(address, tls.is_some() || wants_token == Some(true));
    };
    let (tls, of_daemons) = match tls {
        None if network.scheme().has_tls() => {
            let (of_hub, of_daemons) =
                HubTls::single_use(network.host()).map_err(HubError::Listen)?;
            (Some(of_hub), Some(of_daemons))
        }
        tls => (tls, None),
    };
    let mut shown = Credentials {
        tls: of_daemons,
        token: None,
    };
    let mut variable = TokenVariable::Absent;
    let mut token = None;
    if wants_token.unwrap_or(shown.tls.is_some()) {
        if let Some((of_environment, text)) = token_of_environment()? {
            variable = TokenVariable::Fixed(text);
            token = Some(of_environment);
        } else {
            variable = TokenVariable::Inherited;
            token = Some(new_token().map_err(HubError::Listen)?);
            shown.token.clone_from(&token);
        }
    }
    Ok(Admission {
        access: Access { tls, token },
        shown: shown.to_text(),
        variable,
    })
}

/// On this machine the system reports whose processes the peers are.
fn within_machine(address: &Address, has_asked: bool) -> Result<Admission, Failure> {
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
    Ok(Admission::default())
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
        let texts = tlscert.strings(scope, "tlscert")?;
        // A path is no secret.
        let secrets = if texts.len() > 1 { &texts[..] } else { &[] };
        if let Err(error) = hide_arguments(secrets) {
            log::debug!("the command line goes on to be seen: {error}");
        }
        credentials = match &texts[..] {
            [path] => Credentials::read(Path::new(path)).map_err(lane_failure)?,
            [text, revoked] => Credentials::parse(text, revoked),
            _ => return Err(Failure::error("`tlscert` must be one or two strings")),
        };
    }
    if credentials.token.is_none() {
        credentials.token = token_of_environment()?.map(|(token, _)| token);
    }
    Ok(credentials)
}

/// The token of this process, and its text.
fn token_of_environment() -> Result<Option<(Token, OsString)>, Failure> {
    let Some(value) = std::env::var_os(TOKEN_VARIABLE) else {
        return Ok(None);
    };
    let text = value.to_string_lossy();
    if text.trim().is_empty() {
        return Ok(None);
    }
    let token = Token::parse(&text).map_err(|error| {
        Failure::error(format!(
            "the environment variable {TOKEN_VARIABLE} holds no token: {error}"
        ))
    })?;
    Ok(Some((token, value)))
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
