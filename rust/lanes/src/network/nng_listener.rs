//! Listening by way of NNG.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::failure::Failure;
use super::sys::{self, Operation, Stream, TlsConfig};

/// A listener of NNG's; dropping it ends it.
#[derive(Debug)]
pub(super) struct NngListener(Arc<Shared>);

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

impl NngListener {
    /// Listens at `url`, whose host is an IP address.
    pub(super) fn bind(url: &str, tls: Option<&TlsConfig>) -> Result<NngListener, Failure> {
        let shared = Arc::new(Shared {
            listener: sys::Listener::listen(url, tls)?,
            is_closed: AtomicBool::new(false),
            arrivals: Mutex::default(),
            accepting: Operation::new(Shared::accepted)?,
        });
        shared.accept();
        Ok(NngListener(shared))
    }

    pub(super) fn port(&self) -> Result<u16, Failure> {
        self.0.listener.port()
    }

    /// The next connection. Giving up in between loses none.
    pub(super) async fn accept(&self) -> Result<Stream, Failure> {
        let arrival = poll_fn(|cx| {
            let mut arrivals = self.0.arrivals.lock();
            match arrivals.come.pop_front() {
                Some(arrival) => Poll::Ready(arrival),
                None => {
                    arrivals.waiting = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        self.0.accept();
        arrival
    }
}

impl Drop for NngListener {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
        self.0.listener.close();
        // A WebSocket's listener forgets to end it.
        self.0.accepting.cancel();
        // NNG must not free a listener on a thread that the listener may need.
        self.0.accepting.wait();
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
