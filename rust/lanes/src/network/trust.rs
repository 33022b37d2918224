//! Which certificates a daemon takes for its hub's.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pem::Pem;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::ext::pkix::SubjectAltName;

/// Trusts a hub whose certificate is signed by one of those that were given, over others that it shows; or is itself one of
/// them, as users make such certificates for one hub. These are often those of an authority at the same time, and have their
/// host as the common name only: both are taken, as by Mbed TLS at wss://.
#[derive(Debug)]
pub(super) struct Trust {
    trusted: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateList>,
    /// `None` where no certificate that was given is valid at this time.
    by_signature: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// `None` if something of it cannot be read.
    pub(super) fn new(
        trusted: Vec<CertificateDer<'static>>,
        revoked: &[Pem],
        provider: &Arc<CryptoProvider>,
    ) -> Option<Trust> {
        let mut roots = RootCertStore::empty();
        for certificate in &trusted {
            let is_valid = check_time(&parsed(certificate).ok()?, now()).is_ok();
            if is_valid {
                roots.add(certificate.clone()).ok()?;
            }
        }
        let lists = |section: &Pem| CertificateList::from_der(section.contents());
        let by_signature = match roots.is_empty() {
            true => None,
            false => {
                let mut builder = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(provider),
                );
                if !revoked.is_empty() {
                    let lists = revoked.iter().map(|section| {
                        CertificateRevocationListDer::from(section.contents().to_vec())
                    });
                    // A chain may have parts that the lists say nothing of.
                    builder = builder
                        .with_crls(lists)
                        .allow_unknown_revocation_status()
                        .enforce_revocation_expiration();
                }
                Some(builder.build().ok()?)
            }
        };
        Some(Trust {
            trusted,
            revoked: revoked.iter().map(lists).collect::<Result<_, _>>().ok()?,
            by_signature,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    fn check_itself(
        &self,
        certificate: &CertificateDer<'_>,
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = parsed(certificate)?;
        check_time(&parsed, now)?;
        let is_revoked = self
            .revoked
            .iter()
            .map(|list| &list.tbs_cert_list)
            .any(|list| {
                list.issuer == *parsed.tbs_certificate().issuer()
                    && list.revoked_certificates.iter().flatten().any(|revoked| {
                        revoked.serial_number == *parsed.tbs_certificate().serial_number()
                    })
            });
        if is_revoked {
            return Err(CertificateError::Revoked.into());
        }
        match verify_server_name(&ParsedCertificate::try_from(certificate)?, host) {
            Err(error) if is_other_name(&error) => check_common_name(&parsed, host, error),
            done => done,
        }
    }
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixTime::since_unix_epoch(since.unwrap_or(Duration::ZERO))
}

fn parsed(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn check_time(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    let validity = certificate.tbs_certificate().validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn is_other_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

/// The common name counts where there are no other names.
fn check_common_name(
    certificate: &Certificate,
    host: &ServerName<'_>,
    otherwise: Error,
) -> Result<(), Error> {
    let of_names = SubjectAltName::OID;
    let certificate = certificate.tbs_certificate();
    let mut extensions = certificate.extensions().into_iter().flatten();
    let has_names = extensions.any(|extension| extension.extn_id == of_names);
    let common_name = certificate.subject().common_name().ok().flatten();
    match common_name {
        Some(name) if !has_names && name.value().eq_ignore_ascii_case(&host.to_str()) => Ok(()),
        _ => Err(otherwise),
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusted.iter().any(|trusted| trusted == certificate) {
            self.check_itself(certificate, host, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        let by_signature = self
            .by_signature
            .as_ref()
            .ok_or(CertificateError::UnknownIssuer)?;
        // The name comes last there: all else is good where it is another.
        match by_signature.verify_server_cert(certificate, between, host, ocsp_response, now) {
            Err(error) if is_other_name(&error) => {
                check_common_name(&parsed(certificate)?, host, error)?;
                Ok(ServerCertVerified::assertion())
            }
            done => done,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
