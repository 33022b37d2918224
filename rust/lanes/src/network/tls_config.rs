//! What rustls needs to know, from PEM.

use std::sync::Arc;

use pem::Pem;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::private_key::private_key;
use super::trust::Trust;
use crate::LaneError;

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
const REVOKED: &str = "X509 CRL";

pub(super) fn is_key(section: &Pem) -> bool {
    section.tag().ends_with("PRIVATE KEY")
}

/// What a side shows, as texts in PEM.
pub(super) struct Shown<'a> {
    pub certificate: &'a str,
    pub key: &'a str,
    pub password: Option<&'a str>,
}

/// For a hub; with certificates that daemons have to have, if it has some.
pub(super) fn of_hub(
    shown: &Shown<'_>,
    trusted: Option<&str>,
) -> Result<Arc<ServerConfig>, LaneError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(no_tls)?;
    let builder = match trusted {
        None => builder.with_no_client_auth(),
        Some(trusted) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(trusted) {
                roots.add(certificate).map_err(|_| unreadable_trust())?;
            }
            let daemons = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(daemons.build().map_err(no_tls)?)
        }
    };
    let (chain, key) = own(shown)?;
    let mut config = builder.with_single_cert(chain, key).map_err(unreadable)?;
    // A daemon connects twice, at once: to take up a session again is not worth keeping it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For a daemon.
pub(super) fn of_daemon(
    trusted: &str,
    revoked: Option<&str>,
    shown: Option<&Shown<'_>>,
) -> Result<Arc<ClientConfig>, LaneError> {
    let provider = provider();
    let has_list = revoked.is_some();
    let revoked: Vec<Pem> = match revoked {
        None => Vec::new(),
        Some(text) => sections(text, |section| section.tag() == REVOKED).collect(),
    };
    // Whoever gives a list relies on it: one that cannot be read is no empty one.
    if has_list && revoked.is_empty() {
        return Err(unreadable_trust());
    }
    let trust = Trust::new(certificates(trusted).collect(), &revoked, &provider)
        .ok_or_else(unreadable_trust)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(no_tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust));
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let (chain, key) = own(shown)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(unreadable)?
        }
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The name that the hub's certificate has to have.
pub(super) fn name(host: &str) -> Result<ServerName<'static>, LaneError> {
    ServerName::try_from(host.to_owned()).map_err(|_| LaneError::Certificate {
        reason: "the host has a name that no certificate can have",
    })
}

/// TLS 1.2 and 1.3, by ring; nothing is set for the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn sections(text: &str, is_wanted: impl Fn(&Pem) -> bool) -> impl Iterator<Item = Pem> {
    let all = pem::parse_many(text).unwrap_or_default();
    all.into_iter().filter(move |section| is_wanted(section))
}

fn certificates(text: &str) -> impl Iterator<Item = CertificateDer<'static>> {
    sections(text, |section| section.tag() == CERTIFICATE)
        .map(|section| CertificateDer::from(section.into_contents()))
}

/// The chain and the key.
fn own(
    shown: &Shown<'_>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), LaneError> {
    let chain: Vec<_> = certificates(shown.certificate).collect();
    let section = sections(shown.key, is_key).next();
    let key = section.and_then(|section| private_key(&section, shown.password));
    match key {
        Some(key) => Ok((chain, key)),
        None => Err(unreadable(())),
    }
}

fn unreadable<E>(_: E) -> LaneError {
    LaneError::Certificate {
        reason: "the certificate or its private key cannot be read, the password is wrong, or they are of a kind that is \
            not supported",
    }
}

fn unreadable_trust() -> LaneError {
    LaneError::Certificate {
        reason: "the certificates to trust, or the list of revoked ones, cannot be read",
    }
}

fn no_tls<E>(_: E) -> LaneError {
    LaneError::Certificate {
        reason: "TLS could not be set up",
    }
}
