//! The fork servers of a host, and the choice between them and `Rscript`.

use crate::batch::{Batch, LaunchId};
use crate::config::LauncherConfig;
use crate::event::{ExitStatus, FailureReason};
use crate::fork_server::{ForkServer, ServerState};
use crate::message::FromServer;
use crate::orphans;
use crate::rscript::ByRscript;
use crossbeam_channel::Sender;
use rustix::fs::{Access, access};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use crate::fork_server::News;

/// Servers kept at a time: each holds an R session's memory.
const MOST_SERVERS: usize = 3;

/// Owned by the launcher's thread.
pub(crate) struct Pool {
    config: Arc<LauncherConfig>,
    news: Sender<News>,
    by_rscript: ByRscript,
    /// The one used last comes last. Retired ones stay until they have ended.
    servers: Vec<ForkServer>,
    next_server: u64,
    /// Whether the program has turned out not to run here.
    unusable: bool,
}

impl Pool {
    pub(crate) fn new(config: Arc<LauncherConfig>, news: Sender<News>) -> Self {
        Self {
            by_rscript: ByRscript::new(Arc::clone(&config)),
            config,
            news,
            servers: Vec::new(),
            next_server: 0,
            unusable: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Starts the daemons of a batch from the server that fits, from a new one if none does,
    /// or by `Rscript`.
    pub(crate) fn launch(&mut self, batch: Batch) {
        if !self.can_fork(&batch) {
            return self.by_rscript.start(&batch);
        }
        let batch = match self.fitting(&batch) {
            Some(at) if matches!(self.servers[at].state, ServerState::Threaded) => {
                return self.by_rscript.start(&batch);
            }
            Some(at) => match self.servers[at].ask(batch) {
                Ok(()) => return,
                Err(rest) => {
                    // It does not answer, or is just ending: its own end will be reported.
                    self.servers[at].retire();
                    rest
                }
            },
            None => batch,
        };
        self.start_for(batch);
    }

    fn start_for(&mut self, batch: Batch) {
        self.make_room();
        let id = self.next_server;
        self.next_server += 1;
        match ForkServer::start(id, &self.config, &batch.launch, &self.news) {
            Err(failure) => batch.fail(&failure),
            Ok(mut server) => {
                // A server that is starting takes everything.
                let _ = server.ask(batch);
                self.servers.push(server);
            }
        }
    }

    pub(crate) fn handle(&mut self, news: News) {
        match news {
            News::Said { server, message } => {
                if let Some(at) = self.position(server) {
                    self.on_said(at, message);
                }
            }
            News::Ended { server, process } => {
                // Its process id is kept until here, where nobody has a use for it any more.
                let server = self.position(server).map(|at| self.servers.remove(at));
                let status = process.wait();
                if let Some(server) = server {
                    self.on_ended(server, status);
                }
            }
        }
    }

    /// When to [look for late answers](Self::report_late) next.
    pub(crate) fn next_late(&self) -> Option<Instant> {
        self.servers.iter().filter_map(ForkServer::next_late).min()
    }

    pub(crate) fn report_late(&mut self) {
        let now = Instant::now();
        for server in &mut self.servers {
            for batch in server.report_late(now) {
                batch.fail(&server.failure(FailureReason::Stuck(server.process_id())));
            }
        }
    }

    pub(crate) fn withdraw(&mut self, launch: LaunchId, has_joined: &dyn Fn(u32) -> bool) {
        self.by_rscript.withdraw(launch, has_joined);
        for server in &mut self.servers {
            server.resume(launch);
            for batch in server.withdraw(launch) {
                batch.fail(&server.failure(FailureReason::Withdrawn));
            }
        }
    }

    pub(crate) fn close(&mut self) {
        for server in &mut self.servers {
            server.close();
        }
    }

    fn on_said(&mut self, at: usize, message: FromServer) {
        let server = &mut self.servers[at];
        match message {
            FromServer::Booting => server.become_booting(),
            FromServer::Ready { loaded } => {
                let refused = server.become_ready(loaded);
                for batch in refused {
                    self.launch(batch);
                }
            }
            FromServer::Forked { batch, pids, error } => {
                if let Some(batch) = server.take_batch(batch) {
                    server.forked(&batch, &pids, error);
                }
            }
            FromServer::CannotFork { batch, threads } => {
                log::debug!("fork server has {threads} threads: Rscript starts the daemons");
                server.state = ServerState::Threaded;
                if let Some(batch) = server.take_batch(batch) {
                    self.by_rscript.start(&batch);
                }
            }
            FromServer::Exited {
                pid,
                status,
                peak,
                memory,
                last,
            } => server.exited(pid, status, peak, memory, last),
        }
    }

    fn on_ended(&mut self, mut server: ForkServer, status: ExitStatus) {
        let usable = !matches!(server.state, ServerState::Loading(_));
        for batch in server.take_waiting() {
            if usable {
                batch.fail(&server.failure(FailureReason::StartUp(status)));
            } else {
                let said = server.failure(FailureReason::StartUp(status));
                log::debug!("no fork server: {said}: {}", said.output);
                self.unusable = true;
                self.by_rscript.start(&batch);
            }
        }
        for batch in server.take_batches() {
            batch.fail(&server.failure(FailureReason::ServerLost(status)));
        }
        orphans::watch(server.take_daemons());
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.servers.iter().position(|server| server.id == id)
    }

    /// The server of the batch's key, moved to the end of the list.
    fn fitting(&mut self, batch: &Batch) -> Option<usize> {
        let key = &batch.launch.key;
        let fits = |server: &ForkServer| !server.retired && server.key == *key;
        let at = self.servers.iter().position(fits)?;
        let mut server = self.servers.remove(at);
        let stale = server.is_stale();
        if stale {
            server.retire();
        }
        self.servers.push(server);
        (!stale).then(|| self.servers.len() - 1)
    }

    fn make_room(&mut self) {
        let live = self.servers.iter_mut().filter(|server| !server.retired);
        let mut live: Vec<_> = live.collect();
        if live.len() >= MOST_SERVERS {
            live[0].retire();
        }
    }

    /// Whether a fork server can be had for the batch.
    fn can_fork(&self, batch: &Batch) -> bool {
        if self.unusable || batch.launch.context.package.is_none() {
            return false;
        }
        if self.config.server_command.is_some() {
            return true;
        }
        let arch = batch
            .launch
            .context
            .variable("R_ARCH")
            .unwrap_or(OsStr::new(""));
        let mut library = self.config.r_home.join("lib").into_os_string();
        library.push(arch);
        // A library folder mounted without the right to execute is refused here as well.
        let executable = |path: &Path| access(path, Access::EXEC_OK).is_ok();
        Path::new(&library).join("libR.so").exists()
            && self.config.binary.as_deref().is_some_and(executable)
    }
}
