//! The writing side of a connection to a daemon.
//!
//! Who is in here at the same time: `queue()` is called by whoever holds `Core::state`, and for messages that concern no task
//! (refusals, pings, exit) by the thread that drives the reactor, or that closes the hub or dismisses the daemon; `flush()` by
//! each of these after it has let go of that lock; `write_queued()` by the connection's task in the reactor.
//!
//! *`Link::queue`* guards the frames that are not written yet. It is held while they are written, so that two threads which
//! flush at once keep the order; the write cannot block. It may be taken under `Core::state`; nothing is taken under it.
//! `full` wakes `write_queued()` when the socket takes no more, `broken` tells it that there is nothing left to do. Reading needs
//! no lock: one task reads from a connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use mirai_lanes::{Connection, Passed};
use mirai_wire::{Payload, ToDaemon, encode_head};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Frames written with one system call.
const BATCH: usize = 64;

/// The writing side of one connection. Frames go out in the order they were queued, written by whichever thread
/// flushes; what does not fit the socket now is left to [`write_queued`](Self::write_queued) in the reactor.
#[derive(Debug)]
pub(crate) struct Link {
    pub connection: Box<dyn Connection>,
    queue: Mutex<VecDeque<Outgoing>>,
    full: Notify,
    broken: AtomicBool,
    /// How often something has come from the peer.
    pub heard: AtomicU32,
}

#[derive(Debug)]
struct Outgoing {
    head: Vec<u8>,
    payload: Payload,
    /// Goes along with its first byte.
    passed: Option<Passed>,
    written: usize,
}

impl Outgoing {
    fn len(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    fn rest(&self) -> [&[u8]; 2] {
        let in_head = self.written.min(self.head.len());
        [
            &self.head[in_head..],
            &self.payload[self.written - in_head..],
        ]
    }
}

impl Link {
    pub(crate) fn new(connection: Box<dyn Connection>) -> Link {
        Link {
            connection,
            queue: Mutex::default(),
            full: Notify::new(),
            broken: AtomicBool::new(false),
            heard: AtomicU32::new(0),
        }
    }

    /// Queues a frame; [`flush`](Self::flush) sends it.
    pub(crate) fn queue(&self, message: &ToDaemon, payload: Payload) {
        self.queue_passing(message, payload, None);
    }

    /// Queues a frame that a descriptor goes along with.
    pub(crate) fn queue_passing(
        &self,
        message: &ToDaemon,
        payload: Payload,
        passed: Option<Passed>,
    ) {
        let head = encode_head(message, payload.len() as u64);
        self.queue.lock().push_back(Outgoing {
            head,
            payload,
            passed,
            written: 0,
        });
    }

    /// Writes what fits without blocking. A broken connection drops what is queued: its reader sees the end of the
    /// stream, and the scheduler learns of the loss there.
    pub(crate) fn flush(&self) {
        let mut queue = self.queue.lock();
        while !queue.is_empty() {
            match write_some(&*self.connection, &queue) {
                Ok(count) => advance(&mut queue, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full.notify_one();
                    return;
                }
                Err(_) => {
                    queue.clear();
                    self.broken.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Writes the rest whenever the socket takes more; ends when the connection breaks.
    pub(crate) async fn write_queued(&self) {
        while !self.broken.load(Ordering::Relaxed) {
            self.full.notified().await;
            if poll_fn(|cx| self.connection.poll_writable(cx))
                .await
                .is_err()
            {
                return;
            }
            self.flush();
        }
    }
}

/// The lock over the queue is held during this write: it cannot block.
fn write_some(connection: &dyn Connection, queue: &VecDeque<Outgoing>) -> io::Result<usize> {
    if let Some(first) = queue.front()
        && let (Some(passed), 0) = (&first.passed, first.written)
    {
        let parts = first.rest().map(IoSlice::new);
        return connection.try_write_passing(&parts, passed);
    }
    let mut parts = [IoSlice::new(&[]); 2 * BATCH];
    let mut used = 0;
    for part in queue
        .iter()
        .take(BATCH)
        .flat_map(Outgoing::rest)
        .filter(|part| !part.is_empty())
    {
        parts[used] = IoSlice::new(part);
        used += 1;
    }
    match connection.try_write(&parts[..used])? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

fn advance(queue: &mut VecDeque<Outgoing>, mut count: usize) {
    while let Some(first) = queue.front_mut() {
        let rest = first.len() - first.written;
        if count < rest {
            first.written += count;
            return;
        }
        count -= rest;
        queue.pop_front();
    }
}
