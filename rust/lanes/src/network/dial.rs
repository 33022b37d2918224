use std::io;
use std::time::{Duration, Instant};

use super::address::NetworkAddress;
use super::duplex::Duplex;
use super::failure::Failure;
use super::sys;
use crate::LaneError;

/// A host that does not answer for so long cannot be reached.
const DIALLED_WITHIN: Duration = Duration::from_secs(30);

/// Connects to the hub at `address`, at any of its host's addresses. Blocks.
pub(crate) fn dial(address: &NetworkAddress) -> Result<Duplex, LaneError> {
    super::check_scheme(address)?;
    let failed = |failure| LaneError::Network {
        url: address.to_string(),
        failure,
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
    let until = Instant::now() + DIALLED_WITHIN;
    let mut last = Failure::NO_ADDRESS;
    for at in at {
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        match sys::dial(&address.url_of(at), rest) {
            Ok(stream) => {
                return Duplex::new(stream, address.scheme()).map_err(failed);
            }
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
