//! The control thread of a daemon: reads cancellations, exit and pings while the main thread evaluates, and notices the end of
//! the host.
//!
//! The thread is the only reader of the control connection. It shares `Current` (see there for its lock), the flag `told` and
//! the data connection with the evaluating thread; of the latter it only ends the reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mirai_lanes::{Dialled, HOST_SILENCE, HostWatch, Wake};
use mirai_wire::{Frame, FromDaemon, ToDaemon};

use crate::current::Current;
use crate::session::{Channel, Next};
use crate::{AutoExit, DaemonError, Interrupter};

/// Time that a busy daemon has when its hub is gone; the same as in mirai's first releases.
const GRACE: Duration = Duration::from_millis(200);

/// The control thread, and what it tells the evaluating one.
#[derive(Debug)]
pub(crate) struct Control {
    told: Arc<AtomicBool>,
    connection: Arc<dyn Dialled>,
    thread: Option<JoinHandle<()>>,
}

/// What the control thread works with.
struct Watcher {
    channel: Channel,
    data: Arc<dyn Dialled>,
    host: HostWatch,
    current: Arc<Current>,
    interrupter: Arc<dyn Interrupter>,
    autoexit: AutoExit,
    told: Arc<AtomicBool>,
}

impl Control {
    pub(crate) fn start(
        channel: Channel,
        data: &Arc<dyn Dialled>,
        current: Arc<Current>,
        interrupter: Arc<dyn Interrupter>,
        autoexit: AutoExit,
    ) -> Result<Control, DaemonError> {
        let told = Arc::new(AtomicBool::new(false));
        let connection = Arc::clone(&channel.connection);
        let watcher = Watcher {
            host: HostWatch::new(&**data),
            data: Arc::clone(data),
            channel,
            current,
            interrupter,
            autoexit,
            told: Arc::clone(&told),
        };
        let thread = std::thread::Builder::new()
            .name("mirai-control".to_owned())
            .spawn(move || watcher.watch())?;
        Ok(Control {
            told,
            connection,
            thread: Some(thread),
        })
    }

    /// Ends the thread, once it has read what the hub sent; whether the hub has told the daemon to leave.
    pub(crate) fn finish(mut self, hub_is_gone: bool) -> bool {
        if !hub_is_gone {
            self.connection.shutdown();
        }
        self.join();
        self.told.load(Ordering::Acquire)
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where the evaluator has panicked, the thread would go on and keep the connections open, and the hub would take the
/// daemon for a busy one.
impl Drop for Control {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.connection.shutdown();
            self.join();
        }
    }
}

/// When a hub that pings at intervals is taken for gone, unless it has pinged again.
fn deadline() -> Instant {
    Instant::now() + HOST_SILENCE
}

impl Watcher {
    fn watch(mut self) {
        self.interrupter.on_control_thread();
        let asks = !self.channel.connection.notices_silence();
        while let Wake::Readable = self.channel.connection.wait(&self.host) {
            // The buffer may hold several messages of one read.
            match self.channel.next(asks.then(deadline)) {
                Ok(Next::Message(frame)) => self.handle_message(frame),
                // A hub that has not asked for so long is gone.
                Ok(Next::Late | Next::End) | Err(_) => break,
            }
            while let Some(frame) = self.channel.buffered() {
                self.handle_message(frame);
            }
        }
        self.hub_is_gone();
    }

    fn handle_message(&self, frame: Frame<ToDaemon>) {
        match frame.message {
            ToDaemon::Cancel { run } => self.current.cancel(run, &*self.interrupter),
            ToDaemon::Exit => {
                self.told.store(true, Ordering::Release);
                self.end_reading();
            }
            // A broken connection is seen in reading.
            ToDaemon::Ping => drop(self.channel.send(&FromDaemon::Pong, &[])),
            _ => {}
        }
    }

    /// An idle daemon that waits for tasks sees the end of them; a busy one can still reply.
    fn end_reading(&self) {
        self.data.end_reading();
    }

    fn hub_is_gone(&self) {
        self.end_reading();
        if self.autoexit == AutoExit::Yes && !self.current.retire(GRACE) {
            self.interrupter.end_process();
        }
    }
}
