use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::address::{NetworkAddress, Scheme};
use super::duplex::Duplex;
use super::failure::Failure;
use super::sys::{self, Operation, Stream};
use crate::{Address, Connection, LaneError};

/// Listens at a network address.
#[derive(Debug)]
pub struct NetworkListener {
    shared: Arc<Shared>,
    address: Address,
    scheme: Scheme,
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
    pub(crate) fn bind(address: &NetworkAddress) -> Result<NetworkListener, LaneError> {
        super::check_scheme(address)?;
        let failed = |failure| LaneError::Network {
            url: address.to_string(),
            failure,
        };
        let mut bound = Err(Failure::NO_ADDRESS);
        for at in address
            .to_listen()
            .map_err(|_| failed(Failure::NO_ADDRESS))?
        {
            bound = sys::Listener::listen(&address.url_of(at));
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
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) async fn accept(&mut self) -> Result<Box<dyn Connection>, LaneError> {
        let failed = |failure| LaneError::Network {
            url: self.address.to_string(),
            failure,
        };
        let arrival = poll_fn(|cx| {
            let mut arrivals = self.shared.arrivals.lock();
            match arrivals.come.pop_front() {
                Some(arrival) => Poll::Ready(arrival),
                None => {
                    arrivals.waiting = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        self.shared.accept();
        let connection = arrival.and_then(|stream| Duplex::new(stream, self.scheme));
        Ok(Box::new(connection.map_err(failed)?))
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
