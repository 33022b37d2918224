use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_handshake::{Opener, Sealer};

use super::address::NetworkAddress;
use super::duplex::Duplex;
use super::failure::Failure;
use super::opening::{Refusal, introduce};
use super::parked::Parked;
use super::sealed::Sealed;
use super::sys::{self, TlsConfig};
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
    let connection = Parked(connect(address, tls.as_ref(), until)?);
    let keys = introduce(&connection, credentials.token.clone(), until).map_err(refused)?;
    Ok(match keys.filter(|_| tls.is_none()) {
        Some(keys) => {
            let (sealer, opener) = (Sealer::of_daemon(&keys), Opener::of_hub(&keys));
            Arc::new(Parked(Sealed::new(connection.0, sealer, opener)))
        }
        None => Arc::new(connection),
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

fn connect(
    address: &NetworkAddress,
    tls: Option<&TlsConfig>,
    until: Instant,
) -> Result<Duplex, LaneError> {
    let failed = |failure: Failure| match failure.is_authentication() {
        true => LaneError::Refused {
            url: address.to_string(),
            reason: Refusal::Tls(failure),
        },
        false => LaneError::Network {
            url: address.to_string(),
            failure,
        },
    };
    if address.host().is_empty() {
        return Err(LaneError::Malformed {
            url: address.to_string(),
            reason: "it names no host to connect to",
        });
    }
    let at = address
        .to_dial()
        .map_err(|error| failed(lookup_failure(&error)))?;
    let mut last = Failure::NO_ADDRESS;
    for at in at {
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        match sys::dial(&address.url_of(at), tls, rest) {
            Ok(stream) => return Duplex::new(stream, address.scheme()).map_err(failed),
            Err(failure) => last = failure,
        }
    }
    Err(failed(last))
}

/// Why the system's resolver has no address.
fn lookup_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::OutOfMemory => Failure::NO_MEMORY,
        _ => Failure::NO_ADDRESS,
    }
}
