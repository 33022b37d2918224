//! A request, and sending it.

use std::sync::Arc;
use std::time::Duration;

use ureq::http;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::{HttpError, Response};

/// Whom to take for the host of an `https` URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Whoever has a certificate that this system trusts.
    #[default]
    System,
    /// Whoever has a certificate that is signed by one of these, as PEM.
    Certificates(String),
    /// Whoever answers.
    Anyone,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    timeout: Duration,
    limit: u64,
    trust: Trust,
}

impl Request {
    /// A request without headers and body, with 5 s for all of it, and 16 MB for the answer.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Request {
        Request {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            timeout: Duration::from_secs(5),
            limit: 16 << 20,
            trust: Trust::System,
        }
    }

    /// With this header, after those that are there.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body, which a GET or DELETE cannot have.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = Some(body.into());
        self
    }

    /// With this time for all of it, from looking up the host to the last byte.
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = timeout;
        self
    }

    /// With room for so many bytes of the answer's body.
    pub fn limit(mut self, bytes: u64) -> Request {
        self.limit = bytes;
        self
    }

    /// Trusting these.
    pub fn trust(mut self, trust: Trust) -> Request {
        self.trust = trust;
        self
    }

    /// Sends it, and waits for the answer.
    pub fn send(self) -> Result<Response, HttpError> {
        let (timeout, limit) = (self.timeout, self.limit);
        let failed = |error| HttpError::of(error, timeout, limit);
        let agent = self.agent()?;
        let mut head = http::Request::builder()
            .method(self.method.as_str())
            .uri(&self.url);
        for (name, value) in &self.headers {
            head = head.header(name, value);
        }
        let wrong = |error: http::Error| HttpError::Request(format!("`{}`: {error}", self.url));
        let answer = match self.body {
            None => agent.run(head.body(()).map_err(wrong)?),
            Some(body) => agent.run(head.body(body).map_err(wrong)?),
        };
        let (head, mut body) = answer.map_err(failed)?.into_parts();
        let headers = head.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), value.into_owned())
        });
        Ok(Response {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: body
                .with_config()
                .limit(limit)
                .read_to_vec()
                .map_err(failed)?,
        })
    }

    fn agent(&self) -> Result<ureq::Agent, HttpError> {
        let roots = match &self.trust {
            Trust::Certificates(text) => RootCerts::Specific(Arc::new(certificates(text)?)),
            Trust::System | Trust::Anyone => RootCerts::PlatformVerifier,
        };
        let provider = rustls::crypto::ring::default_provider();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(provider))
            .root_certs(roots)
            .disable_verification(self.trust == Trust::Anyone)
            .build();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(self.timeout))
            .tls_config(tls)
            .build();
        Ok(config.into())
    }
}

fn certificates(text: &str) -> Result<Vec<ureq::tls::Certificate<'static>>, HttpError> {
    let mut certificates = Vec::new();
    for item in parse_pem(text.as_bytes()) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| HttpError::Certificates)? {
            certificates.push(certificate);
        }
    }
    match certificates.is_empty() {
        true => Err(HttpError::Certificates),
        false => Ok(certificates),
    }
}
