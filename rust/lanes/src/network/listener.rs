//! Listening at a network address, whatever brings its bytes.

use std::io;
use std::net::SocketAddr;

use mirai_handshake::Token;

use super::address::{NetworkAddress, Scheme};
use super::duplex::Duplex;
use super::failure::Failure;
use super::nng_listener::NngListener;
use super::opening::take_in;
use super::sys::TlsConfig;
use super::tcp;
use crate::{Access, Address, Arrival, Connection, LaneError};

/// Listens at a network address.
#[derive(Debug)]
pub struct NetworkListener {
    sockets: Sockets,
    address: Address,
    scheme: Scheme,
    token: Option<Token>,
}

/// Where connections come from.
#[derive(Debug)]
enum Sockets {
    Tcp(tcp::Listener),
    Nng(NngListener),
}

/// A connection whose peer has not proved anything yet, and its address.
type Opened = (Box<dyn Connection>, Option<SocketAddr>);

impl NetworkListener {
    /// Listens at `address`, at the first of its host's addresses that lets it. To be called inside a tokio runtime.
    pub(crate) fn bind(
        address: &NetworkAddress,
        access: &Access,
    ) -> Result<NetworkListener, LaneError> {
        let url = || address.to_string();
        let none = LaneError::Network {
            url: url(),
            failure: Failure::NO_ADDRESS,
        };
        let tls = tls_config(address, access)?;
        let Ok(all) = address.to_listen() else {
            return Err(none);
        };
        let mut bound = Err(none);
        for at in all {
            bound = Sockets::bind(address, at, tls.as_ref());
            if bound.is_ok() {
                break;
            }
        }
        let (sockets, port) = bound?;
        Ok(NetworkListener {
            sockets,
            address: Address::Network(address.with_port(port)),
            scheme: address.scheme(),
            token: access.token.clone(),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection. To be called inside a tokio runtime.
    pub(crate) async fn accept(&mut self) -> Result<Arrival, LaneError> {
        let (connection, peer) =
            self.sockets
                .accept(self.scheme)
                .await
                .map_err(|source| LaneError::Os {
                    url: self.address.to_string(),
                    source,
                })?;
        let proof = take_in(connection, self.scheme.has_tls(), self.token.clone());
        Ok(Box::pin(async move {
            proof
                .await
                .map_err(|reason| LaneError::TurnedAway { peer, reason })
        }))
    }
}

impl Sockets {
    /// Listens at one of the host's addresses, with the port that it got.
    fn bind(
        address: &NetworkAddress,
        at: SocketAddr,
        tls: Option<&TlsConfig>,
    ) -> Result<(Sockets, u16), LaneError> {
        let url = || address.to_string();
        if address.scheme() == Scheme::Tcp {
            let listening = tcp::Listener::bind(at).and_then(|listener| {
                let port = listener.port()?;
                Ok((Sockets::Tcp(listener), port))
            });
            return listening.map_err(|source| LaneError::Os { url: url(), source });
        }
        let listening = NngListener::bind(&address.url_of(at), tls).and_then(|listener| {
            let port = listener.port()?;
            Ok((Sockets::Nng(listener), port))
        });
        listening.map_err(|failure| LaneError::Network {
            url: url(),
            failure,
        })
    }

    async fn accept(&self, scheme: Scheme) -> io::Result<Opened> {
        match self {
            Sockets::Tcp(listener) => {
                let (connection, peer) = listener.accept().await?;
                Ok((Box::new(connection), Some(peer)))
            }
            Sockets::Nng(listener) => {
                let duplex = Duplex::new(listener.accept().await?, scheme)?;
                let peer = duplex.peer();
                Ok((Box::new(duplex), peer))
            }
        }
    }
}

fn tls_config(address: &NetworkAddress, access: &Access) -> Result<Option<TlsConfig>, LaneError> {
    match (&access.tls, address.scheme().has_tls()) {
        (None, false) => Ok(None),
        (Some(tls), true) => tls.config().map(Some),
        (Some(_), false) => Err(LaneError::NoTls {
            url: address.to_string(),
        }),
        (None, true) => Err(LaneError::Certificate {
            reason: "the host has none",
        }),
    }
}
