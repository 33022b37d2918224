//! The host's end: requests in, events out, and the thread between.

use crate::batch::{EventHandler, Launch, LaunchId};
use crate::config::LauncherConfig;
use crate::context::{Context, ServerKey};
use crate::event::{FailureReason, LaunchError, LaunchFailure};
use crate::pool::{News, Pool};
use crate::sys;
use crossbeam_channel::{Receiver, Sender, at, bounded, never, select, unbounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Daemons to be started.
#[derive(Debug, Clone)]
pub struct LaunchRequest {
    /// The session's state they start from.
    pub context: Context,
    /// R code of each, such as `mirai::daemon("<url>")`. At most some 100 kB each, and 10 kB
    /// where `Rscript` runs them, which is R's own limit.
    pub daemons: Vec<String>,
}

/// Starts daemons for one R session, from up to three fork servers or by `Rscript`.
///
/// All calls return at once. Dropping it acts as [`Launcher::close`].
#[derive(Debug)]
pub struct Launcher {
    /// The process this launcher belongs to: a forked copy of it owns neither the thread nor
    /// the servers.
    owner: u32,
    config: Arc<LauncherConfig>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// No thread before the first launch.
    Idle,
    Running(Sender<Request>),
    Closed,
}

impl Launcher {
    /// A launcher for the calling process. Starts nothing yet.
    pub fn new(config: LauncherConfig) -> Self {
        Self {
            owner: std::process::id(),
            config: Arc::new(config),
            state: Mutex::new(State::Idle),
        }
    }

    /// Starts daemons in the background. They write to what is stdout and stderr of the process at
    /// the time of this call.
    ///
    /// # Errors
    /// In a forked copy of the process, after [`close`](Self::close), and when descriptors or
    /// threads have run out. Whatever goes wrong later comes as [`DaemonEvent::Failed`](crate::DaemonEvent::Failed).
    pub fn launch(
        &self,
        request: LaunchRequest,
        handler: EventHandler,
    ) -> Result<LaunchId, LaunchError> {
        if self.is_forked_copy() {
            return Err(LaunchError::ForkedCopy);
        }
        let id = LaunchId::next();
        let launch = Arc::new(Launch {
            id,
            key: ServerKey::of(&request.context, &self.config.r_home),
            context: request.context,
            daemons: request.daemons,
            output: sys::HostOutput::current()?,
            handler,
        });
        let sent = self.requests()?.send(Request::Launch(launch));
        sent.map(|()| id).map_err(|_| LaunchError::Closed)
    }

    /// Withdraws daemons of this launch that wait for R to start: they fail with
    /// [`FailureReason::Withdrawn`]. A fork server that starts for nobody else is ended, as a
    /// start-up file may keep it for ever, and so is each daemon started by `Rscript` for whose
    /// process id `has_joined` is false. Forked daemons are not ended: these connect at once. Those that somebody has stopped
    /// go on, so that they see the end of what they were started for. Returns at once.
    pub fn withdraw(&self, launch: LaunchId, has_joined: impl Fn(u32) -> bool + Send + 'static) {
        if self.is_forked_copy() {
            return;
        }
        if let State::Running(requests) = &*self.state.lock() {
            // Without its thread the launcher has ended all of that.
            let _ = requests.send(Request::Withdraw(launch, Box::new(has_joined)));
        }
    }

    /// Closes the fork servers. They end as soon as they have no daemons left; the daemons
    /// themselves are not touched. Events still arrive. Waits up to 0.2 seconds for the servers to
    /// be told; does nothing in a forked copy of the process.
    pub fn close(&self) {
        if self.is_forked_copy() {
            return;
        }
        let state = std::mem::replace(&mut *self.state.lock(), State::Closed);
        if let State::Running(requests) = state {
            let (done, finished) = bounded(0);
            if requests.send(Request::Close(done)).is_ok() {
                // Ends by disconnection, or by time where a server is stuck: the host is
                // leaving, and end of stream will tell that server too.
                let _ = finished.recv_timeout(Duration::from_millis(200));
            }
        }
    }

    fn is_forked_copy(&self) -> bool {
        std::process::id() != self.owner
    }

    fn requests(&self) -> Result<Sender<Request>, LaunchError> {
        let mut state = self.state.lock();
        match &*state {
            State::Running(requests) => Ok(requests.clone()),
            State::Closed => Err(LaunchError::Closed),
            State::Idle => {
                let (requests, received) = unbounded();
                let (tell, news) = unbounded();
                let pool = Pool::new(Arc::clone(&self.config), tell);
                sys::spawn_thread("mirai-launcher", move || manage(pool, received, &news))?;
                *state = State::Running(requests.clone());
                Ok(requests)
            }
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if self.is_forked_copy() {
            // The channel's locks may have been held by a thread that does not exist here.
            std::mem::forget(std::mem::replace(self.state.get_mut(), State::Closed));
        } else {
            self.close();
        }
    }
}

/// Requests to the launcher's thread.
enum Request {
    Launch(Arc<Launch>),
    Withdraw(LaunchId, Box<dyn Fn(u32) -> bool + Send>),
    /// The sender is dropped once the servers have been told.
    Close(Sender<()>),
}

/// The launcher's thread: owns the pool, ends when closed and all servers are gone.
fn manage(mut pool: Pool, mut requests: Receiver<Request>, news: &Receiver<News>) {
    let mut closed = false;
    while !(closed && pool.is_empty()) {
        let late = pool.next_late().map_or_else(never, at);
        select! {
            recv(news) -> news => if let Ok(news) = news {
                pool.handle(news);
            },
            recv(requests) -> request => match request {
                Ok(request) => closed |= perform(&mut pool, request, closed),
                // Nobody is left to ask for anything.
                Err(_) => {
                    requests = never();
                    closed = true;
                }
            },
            recv(late) -> _ => pool.report_late(),
        }
    }
}

/// Performs a request. Returns whether it was the last one.
fn perform(pool: &mut Pool, request: Request, closed: bool) -> bool {
    match request {
        Request::Launch(launch) if closed => launch.all().fail(&LaunchFailure {
            command: String::new(),
            reason: FailureReason::Closed,
            output: String::new(),
        }),
        Request::Launch(launch) => pool.launch(launch.all()),
        Request::Withdraw(launch, has_joined) => pool.withdraw(launch, &*has_joined),
        Request::Close(_told) => {
            pool.close();
            return true;
        }
    }
    false
}
