//! One connection of NNG's: a daemon's over a WebSocket.
//!
//! Who may be in here at the same time: any number of threads that read, write, wait or shut down, and NNG's threads,
//! which call [`Shared::received`] and [`Shared::sent`]. Each direction has a lock for its bookkeeping. It is never held
//! while NNG or a waker is called: what is to be done is decided under the lock and done after it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::address::Scheme;
use super::failure::Failure;
use super::incoming::{Incoming, ReadOn};
use super::outgoing::{Outgoing, Then};
use super::parked::Lane;
use super::sealed::{append_to, copy_into};
use super::sys::{Operation, Stream};
use crate::Connection;

/// What has been written before a shutdown has this long to go out to a peer that still reads.
const LINGER: Duration = Duration::from_secs(2);

/// How soon after a message the end of a WebSocket is noticed where NNG does not tell it.
const WATCH: Duration = Duration::from_secs(1);

/// A connection; dropping it shuts it down.
#[derive(Debug)]
pub(crate) struct Duplex(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: Stream,
    scheme: Scheme,
    is_closed: AtomicBool,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    /// Where the send under way began in its buffer; touched by one thread at a time.
    sending_from: AtomicUsize,
    receiving: Operation<Shared>,
    sending: Operation<Shared>,
    lingering: OnceLock<Operation<Shared>>,
    watch: Option<Watch>,
}

/// Sees to it that the end of a WebSocket is noticed: NNG tells only a read that is under way as it comes, and lets one
/// that begins later wait for ever.
#[derive(Debug)]
struct Watch {
    timer: Operation<Shared>,
    is_running: AtomicBool,
    is_over: AtomicBool,
}

impl Duplex {
    /// Takes ownership of a connected stream, and begins to read.
    pub(super) fn new(stream: Stream, scheme: Scheme) -> Result<Duplex, Failure> {
        let (incoming, first) = Incoming::new();
        let watch = match scheme.is_web() {
            true => Some(Watch {
                timer: Operation::new(Shared::watched)?,
                is_running: AtomicBool::new(false),
                is_over: AtomicBool::new(false),
            }),
            false => None,
        };
        let shared = Arc::new(Shared {
            stream,
            scheme,
            is_closed: AtomicBool::new(false),
            incoming: Mutex::new(incoming),
            outgoing: Mutex::default(),
            sending_from: AtomicUsize::new(0),
            receiving: Operation::new(Shared::received)?,
            sending: Operation::new(Shared::sent)?,
            lingering: OnceLock::new(),
            watch,
        });
        shared.receive(first);
        Ok(Duplex(shared))
    }

    /// Takes bytes out with `copy`.
    fn take(&self, copy: impl FnOnce(&[u8]) -> usize) -> io::Result<usize> {
        let (result, next) = self.0.incoming.lock().take(copy);
        if let Some(next) = next {
            self.0.receive(next);
        }
        result
    }

    /// The peer's address, while it is connected.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.0.stream.peer()
    }
}

impl Lane for Duplex {
    fn end_reading(&self) {
        self.0.end_reading();
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

impl Shared {
    fn receive(self: &Arc<Self>, ReadOn(buffer): ReadOn) {
        self.receiving
            .receive(&self.stream, buffer, Arc::clone(self));
        self.check_started(&self.receiving);
        match (&self.watch, self.scheme.has_tls()) {
            (Some(watch), _) => self.watch(watch),
            (None, true) => self.check_peer(),
            (None, false) => {}
        }
    }

    fn send(self: &Arc<Self>, buffer: Vec<u8>, from: usize) {
        self.sending_from.store(from, Ordering::Relaxed);
        self.sending
            .send(&self.stream, buffer, from, Arc::clone(self));
        self.check_started(&self.sending);
    }

    /// On a stream that is closed an operation may never end: who closes it looks for none that starts later.
    fn check_started(&self, operation: &Operation<Shared>) {
        if self.is_closed.load(Ordering::SeqCst) {
            self.stream.close();
            operation.cancel();
        }
    }

    /// NNG forgets to tell a TLS reader of an end that came while nothing was being read: the read that begins after it
    /// would never end. What had come before is still given out.
    fn check_peer(&self) {
        if self.stream.peer().is_none() {
            self.stream.close();
        }
    }

    /// Looks after a read that has just begun.
    fn watch(self: &Arc<Self>, watch: &Watch) {
        if watch.is_over.load(Ordering::SeqCst) {
            self.receiving.cancel();
        } else if !watch.is_running.swap(true, Ordering::SeqCst) {
            watch.timer.sleep(WATCH, Arc::clone(self));
        }
    }

    /// The time of a watch has come: what cannot be sent to any more has ended.
    fn watched(self: Arc<Self>) {
        let Some(watch) = &self.watch else { return };
        watch.timer.take();
        watch.is_running.store(false, Ordering::SeqCst);
        if self.is_closed.load(Ordering::SeqCst) {
            return;
        }
        if self.stream.peer().is_none() {
            return self.is_over(watch);
        }
        let then = self.outgoing.lock().probe();
        self.act(then);
    }

    fn is_over(&self, watch: &Watch) {
        watch.is_over.store(true, Ordering::SeqCst);
        self.receiving.cancel();
    }

    fn received(self: Arc<Self>) {
        if let Some((buffer, result)) = self.receiving.take() {
            let reader = self.incoming.lock().came(buffer, result);
            wake(reader);
        }
    }

    fn sent(self: Arc<Self>) {
        if let Some((buffer, result)) = self.sending.take() {
            let from = self.sending_from.load(Ordering::Relaxed);
            let (then, writer) = self.outgoing.lock().sent(buffer, from, result);
            if let (Some(watch), Err(_)) = (&self.watch, result) {
                self.is_over(watch);
            }
            self.act(then);
            wake(writer);
        }
    }

    fn act(self: &Arc<Self>, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Send(buffer, from) => self.send(buffer, from),
            Then::Close => self.close(),
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.stream.close();
    }

    fn end_reading(&self) {
        let reader = self.incoming.lock().end();
        wake(reader);
    }

    fn shutdown(self: &Arc<Self>) {
        self.end_reading();
        let (can_close, writer) = self.outgoing.lock().close();
        if can_close || self.is_closed.load(Ordering::SeqCst) {
            self.close();
        } else {
            self.linger();
        }
        wake(writer);
    }

    /// Closes after a time limit, whether all has been sent by then or not.
    fn linger(self: &Arc<Self>) {
        let Ok(operation) = Operation::new(|shared: Arc<Shared>| {
            if let Some(lingering) = shared.lingering.get() {
                lingering.take();
            }
            shared.close();
        }) else {
            return self.close();
        };
        if self.lingering.set(operation).is_ok()
            && let Some(lingering) = self.lingering.get()
        {
            lingering.sleep(LINGER, Arc::clone(self));
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Connection for Duplex {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.incoming.lock().is_ready_or_wakes(cx.waker()) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.outgoing.lock().is_ready_or_wakes(cx.waker()) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.take(copy_into(into))
    }

    fn try_read_append(&self, into: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
        self.take(append_to(into, limit))
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let (result, then) = self.0.outgoing.lock().put(parts);
        self.0.act(then);
        result
    }

    fn shutdown(&self) {
        self.0.shutdown();
    }

    fn peer(&self) -> Option<SocketAddr> {
        Duplex::peer(self)
    }

    fn peer_pid(&self) -> Option<u32> {
        None
    }

    fn notices_silence(&self) -> bool {
        false
    }
}
