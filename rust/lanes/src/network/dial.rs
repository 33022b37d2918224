use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::{NetworkAddress, Scheme};
use super::duplex::Duplex;
use super::failure::Failure;
use super::opening::{Refusal, introduce};
use super::parked::Parked;
use super::sealed::SealedDialled;
use super::sys::{self, TlsConfig};
use super::tcp;
use crate::blocking::Blocking;
use crate::{Credentials, Dialled, LaneError};

/// A host that does not answer for so long cannot be reached.
const DIALLED_WITHIN: Duration = Duration::from_secs(30);

/// Connects to the hub at `address`, at any of its host's addresses, and lets both prove themselves. Blocks.
pub(crate) fn dial(
    address: &NetworkAddress,
    credentials: &Credentials,
) -> Result<Arc<dyn Dialled>, LaneError> {
    let refused = |reason| LaneError::Refused {
        url: address.to_string(),
        reason,
    };
    let tls = tls_config(address, credentials)?;
    let until = Instant::now() + DIALLED_WITHIN;
    let connection = connect(address, tls.as_ref(), until)?;
    let keys = introduce(&*connection, credentials.token.clone(), until).map_err(refused)?;
    Ok(match keys.filter(|_| tls.is_none()) {
        Some(keys) => Arc::new(SealedDialled::new(connection, &keys)),
        None => connection,
    })
}

fn tls_config(
    address: &NetworkAddress,
    credentials: &Credentials,
) -> Result<Option<TlsConfig>, LaneError> {
    let url = || address.to_string();
    match (&credentials.tls, address.scheme().has_tls()) {
        (None, false) => Ok(None),
        (Some(tls), true) => tls.config(address.certified_host()).map(Some),
        (Some(_), false) => Err(LaneError::NoTls { url: url() }),
        (None, true) => Err(LaneError::NoCertificate { url: url() }),
    }
}

/// Tries one of the host's addresses after the other.
fn connect(
    address: &NetworkAddress,
    tls: Option<&TlsConfig>,
    until: Instant,
) -> Result<Arc<dyn Dialled>, LaneError> {
    let url = || address.to_string();
    if address.host().is_empty() {
        return Err(LaneError::Malformed {
            url: url(),
            reason: "it names no host to connect to",
        });
    }
    let network = |failure| LaneError::Network {
        url: url(),
        failure,
    };
    let at = address
        .to_dial()
        .map_err(|error| network(lookup_failure(&error)))?;
    let mut last = network(Failure::NO_ADDRESS);
    for at in at {
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        match connect_to(address, at, tls, rest) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_to(
    address: &NetworkAddress,
    at: SocketAddr,
    tls: Option<&TlsConfig>,
    within: Duration,
) -> Result<Arc<dyn Dialled>, LaneError> {
    let url = || address.to_string();
    if address.scheme() == Scheme::Tcp {
        let stream =
            tcp::dial(at, within).map_err(|source| LaneError::Os { url: url(), source })?;
        return Ok(Arc::new(Blocking::new(stream)));
    }
    let failed = |failure: Failure| match failure.is_authentication() {
        true => LaneError::Refused {
            url: url(),
            reason: Refusal::Tls(failure),
        },
        false => LaneError::Network {
            url: url(),
            failure,
        },
    };
    let stream = sys::dial(&address.url_of(at), tls, within).map_err(failed)?;
    let duplex = Duplex::new(stream, address.scheme()).map_err(failed)?;
    Ok(Arc::new(Parked(duplex)))
}

/// Why the system's resolver has no address.
fn lookup_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::OutOfMemory => Failure::NO_MEMORY,
        _ => Failure::NO_ADDRESS,
    }
}
