//! A connection that NNG is making.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use super::failure::Failure;
use super::sys::{Dialer, Operation, Stream, TlsConfig};
use crate::Patience;

/// NNG makes a connection, and a thread waits for it.
#[derive(Debug)]
pub(super) struct NngDialling(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    dialing: Operation<Shared>,
    has_ended: AtomicBool,
    waiting: Thread,
}

impl NngDialling {
    /// To `url`, whose host is an IP address. This thread is the one that waits.
    pub(super) fn start(url: &str, tls: Option<&TlsConfig>) -> Result<NngDialling, Failure> {
        let shared = Arc::new(Shared {
            dialer: Dialer::new(url, tls)?,
            dialing: Operation::new(Shared::ended)?,
            has_ended: AtomicBool::new(false),
            waiting: std::thread::current(),
        });
        shared.dialing.dial(&shared.dialer, Arc::clone(&shared));
        Ok(NngDialling(shared))
    }

    /// The connection, or why NNG could not make it; or why nobody waits any more.
    pub(super) fn wait(self, patience: &mut Patience<'_>) -> io::Result<Result<Stream, Failure>> {
        while !self.0.has_ended.load(Ordering::SeqCst) {
            std::thread::park_timeout(patience.slice()?);
        }
        Ok(self.0.dialing.take_stream().unwrap_or(Err(Failure::CLOSED)))
    }
}

impl Drop for NngDialling {
    fn drop(&mut self) {
        // A connection that comes at the last moment ends with the operation.
        self.0.dialer.close();
        self.0.dialing.wait();
        drop(self.0.dialing.take_stream());
    }
}

impl Shared {
    fn ended(self: Arc<Self>) {
        self.has_ended.store(true, Ordering::SeqCst);
        self.waiting.unpark();
    }
}
