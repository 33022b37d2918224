use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use mirai_handshake::Token;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::address::{NetworkAddress, Scheme};
use super::duplex::Duplex;
use super::failure::Failure;
use super::opening::{Refusal, take_in};
use super::sys::{self, Operation, Stream, TlsConfig};
use crate::{Access, Address, Connection, LaneError};

/// Peers prove themselves within a second; a machine under heavy load, or a link that loses much, may take its time.
const PROOF_WITHIN: Duration = Duration::from_secs(10);

/// Peers that may be proving themselves at the same time; more wait in the system's own queue.
const PROOFS: usize = 256;

/// Listens at a network address.
#[derive(Debug)]
pub struct NetworkListener {
    shared: Arc<Shared>,
    address: Address,
    scheme: Scheme,
    token: Option<Token>,
    /// Peers that have not proved themselves yet.
    proofs: JoinSet<Result<Box<dyn Connection>, LaneError>>,
}

#[derive(Debug)]
struct Shared {
    listener: sys::Listener,
    is_closed: AtomicBool,
    arrivals: Mutex<Arrivals>,
    accepting: Operation<Shared>,
}

/// At most one connection that nobody has asked for: the rest wait in the system's queue.
#[derive(Debug, Default)]
struct Arrivals {
    come: VecDeque<Result<Stream, Failure>>,
    waiting: Option<Waker>,
}

impl NetworkListener {
    /// Listens at `address`, at the first of its host's addresses that lets it.
    pub(crate) fn bind(
        address: &NetworkAddress,
        access: &Access,
    ) -> Result<NetworkListener, LaneError> {
        let failed = |failure| LaneError::Network {
            url: address.to_string(),
            failure,
        };
        let tls = tls_config(address, access)?;
        let mut bound = Err(Failure::NO_ADDRESS);
        for at in address
            .to_listen()
            .map_err(|_| failed(Failure::NO_ADDRESS))?
        {
            bound = sys::Listener::listen(&address.url_of(at), tls.as_ref());
            if bound.is_ok() {
                break;
            }
        }
        let listener = bound.map_err(failed)?;
        let port = listener.port().map_err(failed)?;
        let shared = Arc::new(Shared {
            listener,
            is_closed: AtomicBool::new(false),
            arrivals: Mutex::default(),
            accepting: Operation::new(Shared::accepted).map_err(failed)?,
        });
        shared.accept();
        Ok(NetworkListener {
            shared,
            address: Address::Network(address.with_port(port)),
            scheme: address.scheme(),
            token: access.token.clone(),
            proofs: JoinSet::new(),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The next peer that has proved itself, or one that was turned away. To be called inside a tokio runtime.
    pub(crate) async fn accept(&mut self) -> Result<Box<dyn Connection>, LaneError> {
        let failed = |failure| LaneError::Network {
            url: self.address.to_string(),
            failure,
        };
        loop {
            let has_room = self.proofs.len() < PROOFS;
            tokio::select! {
                Some(proof) = self.proofs.join_next() => match proof {
                    Ok(proof) => return proof,
                    // A panic there; the next one may do better.
                    Err(_) => continue,
                },
                arrival = self.shared.arrival(), if has_room => {
                    self.shared.accept();
                    let duplex = arrival
                        .and_then(|stream| Duplex::new(stream, self.scheme))
                        .map_err(failed)?;
                    self.proofs.spawn(prove(duplex, self.scheme.has_tls(), self.token.clone()));
                }
            }
        }
    }
}

async fn prove(
    duplex: Duplex,
    has_tls: bool,
    token: Option<Token>,
) -> Result<Box<dyn Connection>, LaneError> {
    let peer = duplex.peer();
    tokio::time::timeout(PROOF_WITHIN, take_in(duplex, has_tls, token))
        .await
        .unwrap_or(Err(Refusal::Late))
        .map_err(|reason| LaneError::TurnedAway { peer, reason })
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

impl Drop for NetworkListener {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        self.shared.listener.close();
        // A WebSocket's listener forgets to end it.
        self.shared.accepting.cancel();
        // NNG must not free a listener on a thread that the listener may need.
        self.shared.accepting.wait();
    }
}

impl Shared {
    async fn arrival(&self) -> Result<Stream, Failure> {
        poll_fn(|cx| {
            let mut arrivals = self.arrivals.lock();
            match arrivals.come.pop_front() {
                Some(arrival) => Poll::Ready(arrival),
                None => {
                    arrivals.waiting = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn accept(self: &Arc<Self>) {
        self.accepting.accept(&self.listener, Arc::clone(self));
        // As for a connection: who closes the listener looks for no operation that starts later.
        if self.is_closed.load(Ordering::SeqCst) {
            self.accepting.cancel();
        }
    }

    fn accepted(self: Arc<Self>) {
        if let Some(arrival) = self.accepting.take_stream() {
            let mut arrivals = self.arrivals.lock();
            arrivals.come.push_back(arrival);
            let waiting = arrivals.waiting.take();
            drop(arrivals);
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        }
    }
}
