//! The control thread of a daemon: reads cancellations, exit and pings while the main thread evaluates, and notices the end of
//! the host.
//!
//! The thread is the only reader of the control connection, and the one that dials again after a break. It shares with the
//! evaluating thread `Current`, `Connections` and `Outbox` (each says what its lock is for), the flag `told`, and the data connection,
//! which it ends, or only its reading. It never holds one of these locks while it takes another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mirai_lanes::{Dialled, HOST_SILENCE, HostWatch, Wake};
use mirai_wire::{Frame, FromDaemon, ToDaemon};

use crate::clock::{Clock, SystemClock};
use crate::connect::reconnect;
use crate::connections::Connections;
use crate::current::Current;
use crate::outbox::Outbox;
use crate::session::{Channel, Membership, Next};
use crate::{AutoExit, Interrupter, WorkerError, WorkerOptions};

/// Time that a busy daemon has when its hub is gone; the same as in mirai's first releases.
const GRACE: Duration = Duration::from_millis(200);

/// The control thread, and what it tells the evaluating one.
#[derive(Debug)]
pub(crate) struct Control {
    told: Arc<AtomicBool>,
    connections: Arc<Connections>,
    thread: Option<JoinHandle<Option<HostWatch>>>,
}

/// What the control thread works with.
pub(crate) struct Watcher {
    pub channel: Channel,
    pub data: Arc<dyn Dialled>,
    pub host: HostWatch,
    pub connections: Arc<Connections>,
    /// What to dial again with after a break; `None` where a break is the end.
    pub returning: Option<(Membership, WorkerOptions)>,
    pub current: Arc<Current>,
    pub interrupter: Arc<dyn Interrupter>,
    pub autoexit: AutoExit,
    pub told: Arc<AtomicBool>,
    /// Whose alarm is among what is waited for.
    pub outbox: Option<Arc<Outbox>>,
    /// By how much the hub's next question may come later than usual.
    pub pause: Duration,
}

/// A control thread that has nothing to watch yet: started before the hub knows of the daemon, as a daemon that cannot start a
/// thread must not have a task. Without work it ends as this is dropped.
#[derive(Debug)]
pub(crate) struct Prepared {
    watcher: SyncSender<Watcher>,
    thread: JoinHandle<Option<HostWatch>>,
}

impl Prepared {
    pub(crate) fn new(interrupter: &Arc<dyn Interrupter>) -> Result<Prepared, WorkerError> {
        let (watcher, given) = sync_channel::<Watcher>(1);
        let interrupter = Arc::clone(interrupter);
        let thread = std::thread::Builder::new()
            .name("mirai-control".to_owned())
            .spawn(move || {
                interrupter.on_control_thread();
                given.recv().ok().map(Watcher::watch)
            })
            .map_err(WorkerError::Thread)?;
        Ok(Prepared { watcher, thread })
    }
}

impl Control {
    pub(crate) fn start(prepared: Prepared, watcher: Watcher) -> Control {
        let told = Arc::clone(&watcher.told);
        let connections = Arc::clone(&watcher.connections);
        // The thread waits for it, so that there is room.
        drop(prepared.watcher.send(watcher));
        Control {
            told,
            connections,
            thread: Some(prepared.thread),
        }
    }

    /// Ends the thread, once it has read what the hub sent; whether the hub has told the daemon to leave, and the watch over the
    /// host's process.
    pub(crate) fn finish(mut self, hub_is_gone: bool) -> (bool, Option<HostWatch>) {
        self.connections.end();
        if !hub_is_gone {
            self.connections.shut_control();
        }
        let host = self.join();
        (self.told.load(Ordering::Acquire), host)
    }

    fn join(&mut self) -> Option<HostWatch> {
        self.thread.take()?.join().ok().flatten()
    }
}

/// Where the evaluator has panicked, the thread would go on and keep the connections open, and the hub would take the
/// daemon for a busy one.
impl Drop for Control {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.connections.end();
            self.connections.shut_control();
            self.join();
        }
    }
}

impl Watcher {
    fn watch(mut self) -> HostWatch {
        loop {
            self.attend();
            if !self.come_back() {
                break;
            }
        }
        self.hub_is_gone();
        self.host
    }

    /// Handles the hub's messages, until the connection ends.
    fn attend(&mut self) {
        let asks = !self.channel.connection.notices_silence();
        self.pause = Duration::ZERO;
        loop {
            match self.channel.connection.wait(&self.host) {
                Wake::Readable => {}
                Wake::HostEnded => return,
                Wake::Alarm => {
                    self.outbox.iter().for_each(|outbox| outbox.on_alarm());
                    continue;
                }
            }
            // The buffer may hold several messages of one read.
            match self
                .channel
                .next(asks.then(|| self.deadline()), &SystemClock)
            {
                Ok(Next::Message(frame)) => self.handle_message(frame),
                // A hub that has not pinged in time is gone.
                Ok(Next::Late | Next::End) | Err(_) => return,
            }
            while let Some(frame) = self.channel.buffered() {
                self.handle_message(frame);
            }
        }
    }

    /// Until when a hub that asks at intervals has asked again, unless it is not to be reached. With a way to return there
    /// is no harm in being wrong.
    fn deadline(&self) -> Instant {
        let silence = match self.returning {
            Some((membership, _)) if membership.may_return() => membership.silence(),
            Some((membership, _)) => membership.silence().max(HOST_SILENCE),
            None => HOST_SILENCE,
        };
        SystemClock.now() + silence + self.pause
    }

    /// Connects again after a break. Returns whether there is a connection.
    fn come_back(&mut self) -> bool {
        let Some((membership, options)) = &self.returning else {
            return false;
        };
        if !membership.may_return() || self.connections.break_off().is_none() {
            return false;
        }
        // The evaluating thread reads from it, or is stuck in writing.
        self.data.shutdown();
        let Some(reopened) = reconnect(options, membership, &self.connections, &SystemClock) else {
            self.connections.end();
            return false;
        };
        for channel in [&reopened.control, &reopened.data] {
            channel.connection.set_silence(membership.silence());
        }
        self.channel = reopened.control;
        self.data = Arc::clone(&reopened.data.connection);
        self.host = HostWatch::new(self.data.host_pid());
        self.connections
            .offer(reopened.data, reopened.received, &self.channel.connection)
    }

    fn handle_message(&mut self, frame: Frame<ToDaemon>) {
        match frame.message {
            ToDaemon::Cancel { run } => self.current.cancel(run, &*self.interrupter),
            ToDaemon::Exit => {
                self.told.store(true, Ordering::Release);
                self.connections.end();
                self.end_reading();
            }
            ToDaemon::Goodbye => self.connections.end(),
            // A broken connection is seen in reading.
            ToDaemon::Ping { pause } => {
                self.pause = Duration::from_millis(pause.into());
                drop(self.channel.send(&FromDaemon::Pong, &[]));
            }
            _ => {}
        }
    }

    /// An idle daemon that waits for tasks sees the end of them; a busy one can still reply.
    fn end_reading(&self) {
        self.data.end_reading();
    }

    fn hub_is_gone(&self) {
        self.connections.end();
        self.end_reading();
        if self.autoexit == AutoExit::Yes && !self.current.retire(GRACE) {
            self.interrupter.end_process();
        }
    }
}
