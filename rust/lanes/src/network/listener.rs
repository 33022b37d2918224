//! Listening at a network address, whatever brings its bytes.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mirai_handshake::Token;
use rustls::ServerConfig;

use super::address::{NetworkAddress, Scheme};
use super::duplex::Duplex;
use super::failure::Failure;
use super::nng_listener::NngListener;
use super::opening::{Refusal, take_in};
use super::sys::TlsConfig;
use super::tcp::{self, TcpConnection};
use super::tls::TlsConnection;
use crate::{Access, Address, Arrival, Connection, HubTls, LaneError, Proof};

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
    Tls(tcp::Listener, Arc<ServerConfig>),
    Nng(NngListener),
}

/// A connection whose peer has not proved anything yet.
enum Opened {
    Tcp(TcpConnection),
    /// TLS is to begin on it.
    Tls(TcpConnection, Arc<ServerConfig>),
    Nng(Duplex),
}

impl Opened {
    /// Waits for the peer's first word.
    async fn await_first_word(&self) -> Result<(), Refusal> {
        let has_spoken = match self {
            Opened::Tcp(connection) | Opened::Tls(connection, _) => connection.has_spoken().await?,
            Opened::Nng(duplex) => {
                poll_fn(|cx| duplex.poll_readable(cx)).await?;
                true
            }
        };
        if has_spoken {
            Ok(())
        } else {
            Err(Refusal::Gone)
        }
    }

    async fn secure(self) -> Result<Box<dyn Connection>, Refusal> {
        match self {
            Opened::Tcp(connection) => Ok(Box::new(connection)),
            Opened::Nng(duplex) => Ok(Box::new(duplex)),
            Opened::Tls(connection, config) => {
                Ok(Box::new(TlsConnection::accept(connection, config).await?))
            }
        }
    }
}

/// What an address asks for.
enum Way {
    Tcp,
    Tls(Arc<ServerConfig>),
    Nng(Option<TlsConfig>),
}

impl Way {
    fn of(address: &NetworkAddress, access: &Access) -> Result<Way, LaneError> {
        let tls = match (&access.tls, address.scheme().has_tls()) {
            (None, false) => None,
            (Some(tls), true) => Some(tls),
            (Some(_), false) => {
                return Err(LaneError::NoTls {
                    url: address.to_string(),
                });
            }
            (None, true) => {
                return Err(LaneError::Certificate {
                    reason: "the host has none",
                });
            }
        };
        Ok(match (address.scheme(), tls) {
            (Scheme::Tcp, _) => Way::Tcp,
            (Scheme::Tls, Some(tls)) => Way::Tls(tls.server()?),
            (_, tls) => Way::Nng(tls.map(HubTls::web_config).transpose()?),
        })
    }
}

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
        let way = Way::of(address, access)?;
        let Ok(all) = address.to_listen() else {
            return Err(none);
        };
        let mut bound = Err(none);
        for at in all {
            bound = Sockets::bind(address, at, &way);
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
        let accepted = self.sockets.accept(self.scheme).await;
        let (opened, peer) = accepted.map_err(|source| LaneError::Os {
            url: self.address.to_string(),
            source,
        })?;
        let (has_tls, token) = (self.scheme.has_tls(), self.token.clone());
        let turned_away = move |reason| LaneError::TurnedAway { peer, reason };
        Ok(Box::pin(async move {
            opened.await_first_word().await.map_err(turned_away)?;
            Ok(Box::pin(async move {
                let proof = async { take_in(opened.secure().await?, has_tls, token).await };
                proof.await.map_err(turned_away)
            }) as Proof)
        }))
    }
}

impl Sockets {
    /// Listens at one of the host's addresses, with the port that it got.
    fn bind(
        address: &NetworkAddress,
        at: SocketAddr,
        way: &Way,
    ) -> Result<(Sockets, u16), LaneError> {
        let url = || address.to_string();
        let tcp = || {
            let listening = tcp::Listener::bind(at).and_then(|listener| {
                let port = listener.port()?;
                Ok((listener, port))
            });
            listening.map_err(|source| LaneError::Os { url: url(), source })
        };
        match way {
            Way::Tcp => tcp().map(|(listener, port)| (Sockets::Tcp(listener), port)),
            Way::Tls(config) => {
                tcp().map(|(listener, port)| (Sockets::Tls(listener, Arc::clone(config)), port))
            }
            Way::Nng(tls) => {
                let listening =
                    NngListener::bind(&address.url_of(at), tls.as_ref()).and_then(|listener| {
                        let port = listener.port()?;
                        Ok((Sockets::Nng(listener), port))
                    });
                listening.map_err(|failure| LaneError::Network {
                    url: url(),
                    failure,
                })
            }
        }
    }

    /// The next connection, and where it comes from.
    async fn accept(&self, scheme: Scheme) -> io::Result<(Opened, Option<SocketAddr>)> {
        match self {
            Sockets::Tcp(listener) => {
                let (connection, peer) = listener.accept().await?;
                Ok((Opened::Tcp(connection), Some(peer)))
            }
            Sockets::Tls(listener, config) => {
                let (connection, peer) = listener.accept().await?;
                Ok((Opened::Tls(connection, Arc::clone(config)), Some(peer)))
            }
            Sockets::Nng(listener) => {
                let duplex = Duplex::new(listener.accept().await?, scheme)?;
                let peer = duplex.peer();
                Ok((Opened::Nng(duplex), peer))
            }
        }
    }
}
