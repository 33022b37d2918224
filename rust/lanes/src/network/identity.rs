//! Certificates: what each side of TLS shows and trusts, as texts.

use std::ffi::CString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::sys::TlsConfig;
use super::tls_config::{self, CERTIFICATE, Shown, is_key};
use crate::LaneError;

/// A name in each certificate that [`single_use`](HubTls::single_use) makes for a hub. Daemons look for it, as these trust
/// that one certificate alone, and the hub may have many names, or none that it knows of.
const HUB_NAME: &str = "hub.mirai.invalid";

/// Life of single-use certificates: longer than that of any pool.
const VALID_FOR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Clocks of other machines may be behind by this much.
const SKEW: Duration = Duration::from_secs(24 * 3600);

/// The certificate that a hub shows to peers, and which peers it trusts.
#[derive(Clone)]
pub struct HubTls {
    certificate: String,
    key: String,
    password: Option<String>,
    /// Certificates of daemons to trust; without them any daemon may connect.
    trusted: Option<String>,
}

/// Which hub a daemon trusts, and the certificate that it shows.
#[derive(Clone)]
pub struct DaemonTls {
    trusted: String,
    revoked: Option<String>,
    own: Option<Own>,
}

#[derive(Clone)]
struct Own {
    certificate: String,
    key: String,
}

impl Own {
    fn shown(&self) -> Shown<'_> {
        Shown {
            certificate: &self.certificate,
            key: &self.key,
            password: None,
        }
    }
}

impl HubTls {
    /// New certificates for a hub at `host` and its daemons, made on the spot: each side trusts that one of the other and
    /// nothing else.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn single_use(host: &str) -> Result<(HubTls, DaemonTls), LaneError> {
        let hub_names = match host {
            "" => vec![HUB_NAME.to_owned()],
            host => vec![host.to_owned(), HUB_NAME.to_owned()],
        };
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        let hub = make(hub_names, "mirai hub", server)?;
        let daemon = make(
            vec!["daemon.mirai.invalid".to_owned()],
            "mirai daemon",
            client,
        )?;
        let of_hub = HubTls {
            certificate: hub.certificate.clone(),
            key: hub.key,
            password: None,
            trusted: Some(daemon.certificate.clone()),
        };
        let of_daemon = DaemonTls {
            trusted: hub.certificate,
            revoked: None,
            own: Some(daemon),
        };
        Ok((of_hub, of_daemon))
    }

    /// A certificate, with the chain above it, and its private key, which may be in the same text; encrypted keys need a
    /// password.
    pub fn own(certificate: &str, key: &str, password: Option<&str>) -> HubTls {
        HubTls {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            password: password.map(str::to_owned),
            trusted: None,
        }
    }

    /// Reads the same from a file.
    ///
    /// # Errors
    /// [`LaneError::File`], with code 12 when there is none.
    pub fn read(path: &Path, password: Option<&str>) -> Result<HubTls, LaneError> {
        let text = read_file(path)?;
        Ok(HubTls::own(&text, &text, password))
    }

    fn shown(&self) -> Shown<'_> {
        Shown {
            certificate: &self.certificate,
            key: &self.key,
            password: self.password.as_deref(),
        }
    }

    /// Checks the texts.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, LaneError> {
        let shown = self.shown();
        check_own(&shown)?;
        if let Some(trusted) = &self.trusted {
            check_trusted(trusted)?;
        }
        tls_config::of_hub(&shown, self.trusted.as_deref())
    }
}

impl DaemonTls {
    /// The certificates that the hub's may be signed by, and a list of revoked ones, which may be empty. A certificate with
    /// a private key among them is the daemon's own.
    pub fn trusting(text: &str, revoked: &str) -> DaemonTls {
        let sections = pem::parse_many(text).unwrap_or_default();
        let mut certificates = Vec::new();
        let mut own = None;
        for section in sections {
            if section.tag() == CERTIFICATE {
                certificates.push(to_text(&section));
            } else if is_key(&section)
                && let Some(certificate) = certificates.pop()
            {
                own = Some(Own {
                    certificate,
                    key: to_text(&section),
                });
            }
        }
        DaemonTls {
            trusted: certificates.concat(),
            revoked: (!revoked.trim().is_empty()).then(|| revoked.to_owned()),
            own,
        }
    }

    /// All of it as one text, for [`trusting`](Self::trusting). Whoever has it may connect as a daemon.
    pub fn to_text(&self) -> String {
        let own = self.own.as_ref();
        let [certificate, key] = own.map_or(["", ""], |own| [&own.certificate, &own.key]);
        [&self.trusted, certificate, key].concat()
    }

    /// The name that the certificate of a hub at `host` has to have.
    fn name_of<'a>(&self, host: &'a str) -> &'a str {
        match self.own {
            Some(_) => HUB_NAME,
            None => host,
        }
    }

    /// Checks the texts, for a hub at `host`.
    pub(super) fn client(
        &self,
        host: &str,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), LaneError> {
        let shown = self.own.as_ref().map(Own::shown);
        check_trusted(&self.trusted)?;
        if let Some(shown) = &shown {
            check_own(shown)?;
        }
        let name = tls_config::name(self.name_of(host))?;
        let config = tls_config::of_daemon(&self.trusted, self.revoked.as_deref(), shown.as_ref())?;
        Ok((config, name))
    }

    /// The same for a WebSocket.
    pub(super) fn web_config(&self, host: &str) -> Result<TlsConfig, LaneError> {
        let config = TlsConfig::client(self.name_of(host)).map_err(no_tls)?;
        trust(&config, &self.trusted, self.revoked.as_deref())?;
        if let Some(own) = &self.own {
            show(&config, &own.shown())?;
        }
        Ok(config)
    }
}

impl fmt::Debug for HubTls {
    // Keys and passwords stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubTls(..)")
    }
}

impl fmt::Debug for DaemonTls {
    // Keys stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DaemonTls(..)")
    }
}

/// A section with plain line ends, as rcgen writes them.
pub(crate) fn to_text(section: &Pem) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(section, config)
}

fn has(text: &str, what: impl Fn(&Pem) -> bool) -> bool {
    pem::parse_many(text).is_ok_and(|sections| sections.iter().any(what))
}

fn check_own(shown: &Shown<'_>) -> Result<(), LaneError> {
    if !has(shown.certificate, |section| section.tag() == CERTIFICATE) {
        return Err(LaneError::Certificate {
            reason: "there is no certificate in what was given",
        });
    }
    if !has(shown.key, is_key) {
        return Err(LaneError::Certificate {
            reason: "there is no private key in what was given",
        });
    }
    Ok(())
}

fn check_trusted(trusted: &str) -> Result<(), LaneError> {
    match has(trusted, |section| section.tag() == CERTIFICATE) {
        true => Ok(()),
        false => Err(LaneError::Certificate {
            reason: "there is no certificate to trust in what was given",
        }),
    }
}

fn show(config: &TlsConfig, shown: &Shown<'_>) -> Result<(), LaneError> {
    check_own(shown)?;
    let reason = "the certificate or its private key cannot be read, or the password is wrong";
    let password = shown.password.map(text).transpose()?;
    config
        .own(
            &text(shown.certificate)?,
            &text(shown.key)?,
            password.as_deref(),
        )
        .map_err(|_| LaneError::Certificate { reason })
}

fn trust(config: &TlsConfig, trusted: &str, revoked: Option<&str>) -> Result<(), LaneError> {
    check_trusted(trusted)?;
    let revoked = revoked.map(text).transpose()?;
    config
        .trust(&text(trusted)?, revoked.as_deref())
        .map_err(|_| LaneError::Certificate {
            reason: "the certificates to trust, or the list of revoked ones, cannot be read",
        })
}

fn text(text: &str) -> Result<CString, LaneError> {
    CString::new(text).map_err(|_| LaneError::Certificate {
        reason: "there is a NUL in what was given",
    })
}

fn no_tls(_: super::Failure) -> LaneError {
    LaneError::Certificate {
        reason: "TLS could not be set up",
    }
}

pub(crate) fn read_file(path: &Path) -> Result<String, LaneError> {
    std::fs::read_to_string(path).map_err(|source| LaneError::File {
        path: path.to_owned(),
        source,
    })
}

/// A self-signed certificate for these names, with a new key on P-256.
fn make(
    names: Vec<String>,
    subject: &str,
    use_as: ExtendedKeyUsagePurpose,
) -> Result<Own, LaneError> {
    let failed = |_| LaneError::Certificate {
        reason: "a certificate could not be made",
    };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(names).map_err(failed)?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(SKEW);
    params.not_after = epoch + now + VALID_FOR;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "mirai");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![use_as];
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Own {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}
