//! Connecting to a hub over a network, from a daemon.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::address::{NetworkAddress, Scheme};
use super::duplex::Duplex;
use super::failure::Failure;
use super::nng_dialling::NngDialling;
use super::opening::{Refusal, introduce};
use super::parked::Parked;
use super::sealed::SealedDialled;
use super::sys::{self, TlsConfig};
use super::tcp;
use super::tls::TlsDialled;
use crate::blocking::Blocking;
use crate::{Credentials, Dialled, LaneError, Patience};

/// Connects to the hub at `address`, at any of its host's addresses, and has both sides prove themselves. Blocks for as
/// long as `patience` allows.
pub(crate) fn dial(
    address: &NetworkAddress,
    credentials: &Credentials,
    patience: &mut Patience<'_>,
) -> Result<Arc<dyn Dialled>, LaneError> {
    let refused = |reason| LaneError::Refused {
        url: address.to_string(),
        reason,
    };
    let way = Way::of(address, credentials)?;
    let connection = connect(address, &way, patience)?;
    let keys = introduce(&*connection, credentials.token.clone(), patience).map_err(refused)?;
    Ok(match keys.filter(|_| !address.scheme().has_tls()) {
        Some(keys) => Arc::new(SealedDialled::new(connection, &keys)),
        None => connection,
    })
}

/// How a connection is made, and what it takes.
enum Way {
    Tcp,
    Tls(Arc<ClientConfig>, ServerName<'static>),
    Nng(Option<TlsConfig>),
}

impl Way {
    fn of(address: &NetworkAddress, credentials: &Credentials) -> Result<Way, LaneError> {
        let url = || address.to_string();
        let tls = match (&credentials.tls, address.scheme().has_tls()) {
            (None, false) => None,
            (Some(tls), true) => Some(tls),
            (Some(_), false) => return Err(LaneError::NoTls { url: url() }),
            (None, true) => return Err(LaneError::NoCertificate { url: url() }),
        };
        let host = address.certified_host();
        Ok(match (address.scheme(), tls) {
            (Scheme::Tcp, _) => Way::Tcp,
            (Scheme::Tls, Some(tls)) => {
                let (config, name) = tls.client(host)?;
                Way::Tls(config, name)
            }
            (_, tls) => Way::Nng(tls.map(|tls| tls.web_config(host)).transpose()?),
        })
    }
}

/// Tries one of the host's addresses after the other: one that never answers leaves the others their share of the time.
fn connect(
    address: &NetworkAddress,
    way: &Way,
    patience: &mut Patience<'_>,
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
    let os = |source| LaneError::Os { url: url(), source };
    let all = look_up(address, patience)
        .map_err(os)?
        .map_err(|error| network(lookup_failure(&error)))?;
    let mut last = network(Failure::NO_ADDRESS);
    for (tried, at) in all.iter().enumerate() {
        if tried > 0 {
            // Whoever has given up has done so for all of them.
            patience.slice().map_err(os)?;
        }
        let connected = patience.share(all.len() - tried, |patience| {
            connect_to(address, *at, way, patience)
        });
        match connected {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of a host by the system's resolver, which runs on a thread of its own as it cannot be interrupted; or
/// why the wait for it ended.
fn look_up(
    address: &NetworkAddress,
    patience: &mut Patience<'_>,
) -> io::Result<io::Result<Vec<SocketAddr>>> {
    if address.is_numeric() {
        return Ok(address.to_dial());
    }
    let (tell, told) = mpsc::channel();
    let asked = address.clone();
    sys::with_signals_blocked(|| {
        std::thread::Builder::new()
            .name("mirai-lookup".to_owned())
            // Whether anybody still waits for it does not matter.
            .spawn(move || drop(tell.send(asked.to_dial())))
    })?;
    loop {
        match told.recv_timeout(patience.slice()?) {
            Ok(found) => return Ok(found),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Ok(Vec::new())),
        }
    }
}

fn connect_to(
    address: &NetworkAddress,
    at: SocketAddr,
    way: &Way,
    patience: &mut Patience<'_>,
) -> Result<Arc<dyn Dialled>, LaneError> {
    let url = || address.to_string();
    let os = |source| LaneError::Os { url: url(), source };
    let refused = |reason| LaneError::Refused { url: url(), reason };
    match way {
        Way::Tcp => {
            let stream = tcp::dial(at, patience).map_err(os)?;
            Ok(Arc::new(Blocking::new(stream)))
        }
        Way::Tls(config, hub) => {
            let stream = tcp::dial(at, patience).map_err(os)?;
            let config = Arc::clone(config);
            let dialled =
                TlsDialled::dial(stream, config, hub.clone(), patience).map_err(refused)?;
            Ok(Arc::new(dialled))
        }
        Way::Nng(tls) => dial_nng(address, at, tls.as_ref(), patience),
    }
}

fn dial_nng(
    address: &NetworkAddress,
    at: SocketAddr,
    tls: Option<&TlsConfig>,
    patience: &mut Patience<'_>,
) -> Result<Arc<dyn Dialled>, LaneError> {
    let url = || address.to_string();
    let os = |source| LaneError::Os { url: url(), source };
    let failed = |failure| dial_failed(failure, url());
    let dialling = NngDialling::start(&address.url_of(at), tls).map_err(failed)?;
    let stream = dialling.wait(patience).map_err(os)?.map_err(failed)?;
    let duplex = Duplex::new(stream, address.scheme()).map_err(failed)?;
    Ok(Arc::new(Parked(duplex)))
}

/// Why NNG could not make a connection. Where somebody has taken it and let it go it is a reset, as on the system's sockets:
/// NNG's number for that depends on how far its handshakes had come.
fn dial_failed(failure: Failure, url: String) -> LaneError {
    let reason = if failure.is_authentication() {
        Refusal::WebTls(failure)
    } else if failure.is_break() {
        Refusal::Io(io::ErrorKind::ConnectionReset.into())
    } else {
        return LaneError::Network { url, failure };
    };
    LaneError::Refused { url, reason }
}

/// Why the system's resolver has no address.
fn lookup_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::OutOfMemory => Failure::NO_MEMORY,
        _ => Failure::NO_ADDRESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn a_dial_that_is_let_go_is_a_reset_and_no_other_failure_is() {
        let failed = |number| {
            let failure = Failure::of(ErrorCode::number(number)).unwrap();
            dial_failed(failure, "ws://127.0.0.1:7".to_owned())
        };
        for code in [
            ErrorCode::CLOSED,
            ErrorCode::SHUT,
            ErrorCode::RESET,
            ErrorCode::ABORTED,
        ] {
            let LaneError::Refused {
                reason: Refusal::Io(error),
                ..
            } = failed(code)
            else {
                panic!("{code:?} is no reset");
            };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        for code in [ErrorCode::REFUSED, ErrorCode::PROTOCOL] {
            assert!(
                matches!(failed(code), LaneError::Network { failure, .. } if failure.code() == code)
            );
        }
    }
}
