//! Listening at a network address, whatever brings its bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mirai_handshake::Token;
use rustls::ServerConfig;

use super::address::{NetworkAddress, Scheme};
use super::failure::Failure;
use super::opening::{Refusal, take_in};
use super::tcp::{self, TcpConnection};
use super::tls::TlsConnection;
use super::websocket::WebSocket;
use crate::{Access, Address, Connection, LaneError, Proof};

/// Listens at a network address.
#[derive(Debug)]
pub struct NetworkListener {
    listener: tcp::Listener,
    address: Address,
    terms: Arc<Terms>,
}

/// What a peer has to prove.
#[derive(Debug)]
struct Terms {
    way: Way,
    token: Option<Token>,
}

/// A connection that has just come over a network.
pub(crate) struct NetworkArrival {
    pub(crate) peer: SocketAddr,
    accepted: tcp::Accepted,
    terms: Arc<Terms>,
}

impl NetworkArrival {
    pub(crate) fn reset(self) {
        self.accepted.reset();
    }

    pub(crate) async fn spoken(self) -> Result<Proof, LaneError> {
        let NetworkArrival {
            peer,
            accepted,
            terms,
        } = self;
        let turned_away = move |reason| LaneError::TurnedAway {
            peer: Some(peer),
            reason,
        };
        let opened = async {
            let connection = accepted.open()?;
            Ok((connection.has_spoken().await?, connection))
        };
        let connection = match opened.await.map_err(|error: io::Error| error.into()) {
            Ok((true, connection)) => connection,
            Ok((false, _)) => return Err(turned_away(Refusal::Gone)),
            Err(refusal) => return Err(turned_away(refusal)),
        };
        Ok(Box::pin(async move {
            let (way, token) = (terms.way.clone(), terms.token.clone());
            let has_tls = way.tls.is_some();
            let proof = async { take_in(way.go(connection).await?, has_tls, token).await };
            proof.await.map_err(turned_away)
        }))
    }
}

/// What an address asks for, on TCP.
#[derive(Debug, Clone)]
struct Way {
    tls: Option<Arc<ServerConfig>>,
    /// The path of a WebSocket.
    web: Option<Arc<str>>,
}

impl Way {
    fn of(address: &NetworkAddress, access: &Access) -> Result<Way, LaneError> {
        let tls = match (&access.tls, address.scheme().has_tls()) {
            (None, false) => None,
            (Some(tls), true) => Some(tls.server()?),
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
        let is_web = matches!(address.scheme(), Scheme::Ws | Scheme::Wss);
        Ok(Way {
            tls,
            web: is_web.then(|| address.web_path().into()),
        })
    }

    /// Goes it with a peer that has begun to speak.
    async fn go(self, connection: TcpConnection) -> Result<Box<dyn Connection>, Refusal> {
        let secured: Box<dyn Connection> = match self.tls {
            None => Box::new(connection),
            Some(config) => Box::new(TlsConnection::accept(connection, config).await?),
        };
        Ok(match self.web {
            None => secured,
            Some(path) => Box::new(WebSocket::accept(secured, &path).await?),
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
            let listening = tcp::Listener::bind(at);
            bound = listening
                .and_then(|listener| {
                    let port = listener.port()?;
                    Ok((listener, port))
                })
                .map_err(|source| LaneError::Os { url: url(), source });
            if bound.is_ok() {
                break;
            }
        }
        let (listener, port) = bound?;
        Ok(NetworkListener {
            listener,
            address: Address::Network(address.with_port(port)),
            terms: Arc::new(Terms {
                way,
                token: access.token.clone(),
            }),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection. To be called inside a tokio runtime.
    pub(crate) async fn accept(&mut self) -> Result<NetworkArrival, LaneError> {
        let accepted = self.listener.accept().await;
        let (accepted, peer) = accepted.map_err(|source| LaneError::Os {
            url: self.address.to_string(),
            source,
        })?;
        Ok(NetworkArrival {
            peer,
            accepted,
            terms: Arc::clone(&self.terms),
        })
    }
}
