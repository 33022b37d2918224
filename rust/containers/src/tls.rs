//! TLS: the certificate that callers are shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why there is no TLS with the certificate that was named.
#[derive(Debug, thiserror::Error)]
#[error("the certificate and private key in {} cannot be used: {reason}", .path.display())]
pub struct TlsError {
    path: PathBuf,
    reason: String,
}

/// TLS by a file in PEM format, of a certificate, the chain above it, and the private key, which is not encrypted.
///
/// # Errors
/// When the file cannot be read, or is not that.
pub fn tls_with(path: &Path) -> Result<TlsAcceptor, TlsError> {
    let failed = |reason: String| TlsError {
        path: path.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| failed(error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(certificates, key))
        .map_err(|error| failed(error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
