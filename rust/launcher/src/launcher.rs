//! The host's end: requests in, events out, and the thread between.

use crate::context::{Context, ServerKey};
use crate::event::{DaemonEvent, FailureReason, LaunchError, LaunchFailure};
use crate::pool::{News, Pool};
use crate::sys;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use parking_lot::Mutex;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where R and the program `mirai-daemon` are.
#[derive(Debug, Clone)]
pub struct LauncherConfig {
    /// `R.home()`.
    pub r_home: PathBuf,
    /// The program `mirai-daemon`. `None`, or one that is not there or may not be executed:
    /// daemons are started by `Rscript`.
    pub binary: Option<PathBuf>,
    /// Program and first arguments that start a fork server, in place of
    /// `<r_home>/bin/R CMD <binary>`. The arguments of `mirai-daemon` follow them.
    pub server_command: Option<Vec<String>>,
    /// Program and first arguments in place of `<r_home>/bin/Rscript`.
    pub rscript_command: Option<Vec<String>>,
}

impl LauncherConfig {
    /// The R installation at `r_home`, with no fork server.
    pub fn new(r_home: impl Into<PathBuf>) -> Self {
        Self {
            r_home: r_home.into(),
            binary: None,
            server_command: None,
            rscript_command: None,
        }
    }
}

/// Daemons to be started.
#[derive(Debug, Clone)]
pub struct LaunchRequest {
    /// The session's state they start from.
    pub context: Context,
    /// R code of each, such as `mirai::daemon("<url>")`. At most some 100 kB each, and 10 kB
    /// where `Rscript` runs them, which is R's own limit.
    pub daemons: Vec<String>,
}

/// Names a launch, over all launchers of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchId(u64);

static LAST_LAUNCH: AtomicU64 = AtomicU64::new(0);

/// Gets the events of a launch, on threads of the launcher. It must not wait for long: other
/// events wait behind it.
pub type EventHandler = Arc<dyn Fn(DaemonEvent) + Send + Sync>;

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

    /// Has daemons started in the background. They write to what is stdout and stderr of the
    /// process at the time of this call.
    ///
    /// # Errors
    /// In a forked copy of the process, after [`close`](Self::close), and when descriptors or
    /// threads have run out. Whatever goes wrong later comes as [`DaemonEvent::Failed`].
    pub fn launch(
        &self,
        request: LaunchRequest,
        handler: EventHandler,
    ) -> Result<LaunchId, LaunchError> {
        if self.is_forked_copy() {
            return Err(LaunchError::ForkedCopy);
        }
        let id = LaunchId(LAST_LAUNCH.fetch_add(1, Ordering::Relaxed) + 1);
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

    /// Daemons of this launch that wait for R to start are not wanted any more: they fail with
    /// [`FailureReason::Withdrawn`]. A fork server that starts for nobody else is ended, as a
    /// start-up file may keep it for ever, and so is each daemon started by `Rscript` of whose
    /// process id `has_joined` does not say that it has come to be one. Forked daemons are not
    /// touched: these connect at once. Returns at once.
    pub fn withdraw(&self, launch: LaunchId, has_joined: impl Fn(u32) -> bool + Send + 'static) {
        if self.is_forked_copy() {
            return;
        }
        if let State::Running(requests) = &*self.state.lock() {
            // Without its thread the launcher has ended all of that.
            let _ = requests.send(Request::Withdraw(launch, Box::new(has_joined)));
        }
    }

    /// Lets the fork servers go. They end as soon as they have no daemons left; the daemons
    /// themselves are not touched. Events go on to arrive. Waits up to 0.2 seconds for the
    /// servers to be told; does nothing in a forked copy of the process.
    pub fn close(&self) {
        if self.is_forked_copy() {
            return;
        }
        let state = std::mem::replace(&mut *self.state.lock(), State::Closed);
        if let State::Running(requests) = state {
            let (told, telling) = bounded(0);
            if requests.send(Request::Close(told)).is_ok() {
                // Ends by disconnection, or by time where a server is stuck: the host is
                // leaving, and end of stream will tell that server too.
                let _ = telling.recv_timeout(Duration::from_millis(200));
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
                let pool = Pool::new(Arc::clone(&self.config), requests.clone());
                sys::spawn_thread("mirai-launcher", move || run(pool, &received))?;
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

/// What the launcher's thread is told.
pub(crate) enum Request {
    Launch(Arc<Launch>),
    Withdraw(LaunchId, Box<dyn Fn(u32) -> bool + Send>),
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "no servers, no news")
    )]
    News(News),
    /// The sender is dropped once the servers have been told.
    Close(Sender<()>),
}

/// The launcher's thread: owns the pool, ends when closed and all servers are gone.
fn run(mut pool: Pool, requests: &Receiver<Request>) {
    let mut closed = false;
    while !(closed && pool.is_empty()) {
        let request = match pool.next_late() {
            Some(late) => requests.recv_deadline(late),
            None => requests.recv().map_err(RecvTimeoutError::from),
        };
        match request {
            Ok(Request::Launch(launch)) if closed => launch.all().fail(&LaunchFailure {
                command: String::new(),
                reason: FailureReason::Closed,
                output: String::new(),
            }),
            Ok(Request::Launch(launch)) => pool.launch(launch.all()),
            Ok(Request::Withdraw(launch, has_joined)) => pool.withdraw(launch, &*has_joined),
            Ok(Request::News(news)) => pool.handle(news),
            Ok(Request::Close(_told)) => {
                closed = true;
                pool.close();
            }
            Err(RecvTimeoutError::Timeout) => pool.report_late(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A request with all that was read from the host's process when it was made.
pub(crate) struct Launch {
    pub(crate) id: LaunchId,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "finds a server"))]
    pub(crate) key: ServerKey,
    pub(crate) context: Context,
    pub(crate) daemons: Vec<String>,
    pub(crate) output: sys::HostOutput,
    pub(crate) handler: EventHandler,
}

impl Launch {
    fn all(self: Arc<Self>) -> Batch {
        let range = 0..self.daemons.len();
        Batch {
            launch: self,
            range,
        }
    }
}

/// Some daemons of a launch, by position.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) launch: Arc<Launch>,
    pub(crate) range: Range<usize>,
}

impl Batch {
    /// The batch less its first `n` daemons.
    #[cfg(target_os = "linux")]
    pub(crate) fn after(&self, n: usize) -> Self {
        Self {
            launch: Arc::clone(&self.launch),
            range: (self.range.start + n).min(self.range.end)..self.range.end,
        }
    }

    pub(crate) fn report(&self, event: DaemonEvent) {
        (self.launch.handler)(event);
    }

    pub(crate) fn fail(&self, failure: &LaunchFailure) {
        let failure = Arc::new(failure.clone());
        for daemon in self.range.clone() {
            let failure = Arc::clone(&failure);
            self.report(DaemonEvent::Failed { daemon, failure });
        }
    }
}
