//! The host's view of one fork server.

use crate::batch::{Batch, EventHandler, Launch, LaunchId};
use crate::channel::{self, Received};
use crate::config::LauncherConfig;
use crate::context::{ServerKey, Stamp};
use crate::event::{DaemonEvent, ExitStatus, FailureReason, LATE, LaunchFailure};
use crate::message::{FromServer, Job, ToServer};
use crate::quote::{server_script, shell_line};
use crate::secrets::without_secrets;
use crate::sys::{self, Capture, Command, Process, Terminator};
use crossbeam_channel::{SendError, Sender};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Arguments of the server's program leave this much room for the command line of a daemon.
const TITLE_BYTES: usize = 2048;

/// One message holds jobs of about this size together, or one that is larger.
const BATCH_BYTES: usize = 64 * 1024;

/// A server that takes no message for this long is stuck.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What the thread of a server reports to the launcher's thread.
pub(crate) enum News {
    Said { server: u64, message: FromServer },
    Ended { server: u64, process: Process },
}

/// A process that makes daemons for launches of one key.
pub(crate) struct ForkServer {
    pub(crate) id: u64,
    pub(crate) key: ServerKey,
    pub(crate) state: ServerState,
    /// No new launches: it ends after its last daemon.
    pub(crate) retired: bool,
    process: Terminator,
    socket: Arc<OwnedFd>,
    command: String,
    output: Capture,
    /// Requests without an answer, by number, so that all are reported in order.
    batches: HashMap<u64, Asked>,
    next_batch: u64,
    /// Daemons that run, by process id.
    daemons: HashMap<u32, Daemon>,
}

pub(crate) struct Asked {
    batch: Batch,
    /// When it is late, for the first time or again.
    late: Instant,
    is_reported: bool,
}

impl Asked {
    fn now(batch: Batch) -> Self {
        Self {
            batch,
            late: Instant::now() + LATE,
            is_reported: false,
        }
    }
}

pub(crate) enum ServerState {
    /// The program has not shown yet that it works here.
    Loading(Vec<Asked>),
    /// R starts.
    Booting(Vec<Asked>),
    /// R is up, with these files loaded.
    Ready(Vec<(PathBuf, Option<Stamp>)>),
    /// It has threads that a fork would lack, so it cannot fork. Kept so that no other is started.
    Threaded,
}

/// A running daemon. Holds what its end needs and not the launch, whose descriptors are of no
/// more use once it runs.
pub(crate) struct Daemon {
    launch: LaunchId,
    handler: EventHandler,
    position: usize,
    code: String,
}

impl Daemon {
    pub(crate) fn exited(
        &self,
        pid: u32,
        status: ExitStatus,
        peak: Option<u64>,
        memory: Option<u64>,
        last: String,
    ) {
        (self.handler)(DaemonEvent::Exited {
            daemon: self.position,
            pid,
            status,
            peak,
            command: self.code.clone(),
            early: String::new(),
            memory,
            last,
        });
    }
}

impl ForkServer {
    /// Starts the program, and a thread that passes on its messages until it has ended.
    pub(crate) fn start(
        id: u64,
        config: &LauncherConfig,
        launch: &Launch,
        news: &Sender<News>,
    ) -> Result<Self, LaunchFailure> {
        let script = server_script(&launch.context);
        let words = program(config);
        let by_hand = [words.as_slice(), &["-e".to_owned(), script.clone()]].concat();
        let command = shell_line(&by_hand);
        let result = Self::start_program(id, words, script, launch, news);
        let (socket, process, output) = result.map_err(|error| LaunchFailure {
            command: command.clone(),
            reason: FailureReason::of_start(error, &launch.context.working_dir),
            output: String::new(),
        })?;
        Ok(Self {
            id,
            key: launch.key.clone(),
            state: ServerState::Loading(Vec::new()),
            retired: false,
            process,
            socket,
            command,
            output,
            batches: HashMap::new(),
            next_batch: 0,
            daemons: HashMap::new(),
        })
    }

    fn start_program(
        id: u64,
        mut words: Vec<String>,
        script: String,
        launch: &Launch,
        news: &Sender<News>,
    ) -> io::Result<(Arc<OwnedFd>, Terminator, Capture)> {
        let room = format!("--room={}", "-".repeat(TITLE_BYTES));
        words.extend(["--serve".to_owned(), room, "-e".to_owned(), script]);
        let (ours, theirs) = channel::pair()?;
        let timeout = rustix::net::sockopt::Timeout::Send;
        rustix::net::sockopt::set_socket_timeout(&ours, timeout, Some(SEND_TIMEOUT))?;
        let environment = environment_file(launch)?;
        channel::send(&ours, &ToServer::Boot, &[environment.as_fd()])?;
        // Where there are no pidfds, the end of the stream must tell.
        let host = pidfd_open(getpid(), PidfdFlags::empty()).ok();
        let host: Vec<_> = host.iter().map(AsFd::as_fd).collect();
        channel::send(&ours, &ToServer::Attend, &host)?;
        let output = Capture::new()?;
        let socket = Arc::new(ours);
        // The thread comes first: a process that nobody waits for could not be taken back.
        let (start, started) = crossbeam_channel::bounded(1);
        let (receiver, news) = (Arc::clone(&socket), news.clone());
        sys::spawn_thread("mirai-fork-server", move || {
            if let Ok(process) = started.recv() {
                listen(id, &receiver, process, &news);
            }
        })?;
        let command = Command {
            words: &words,
            environment: launch.context.environment.clone(),
            dir: &launch.context.working_dir,
        };
        let early = output.as_fd();
        let process = Process::spawn(&command, &[theirs.as_fd(), early, early])?;
        let terminator = process.terminator();
        start.send(process).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok((socket, terminator, output))
    }

    /// Has the daemons of a batch made, now or when R is up.
    ///
    /// # Errors
    /// Returns the daemons that the server could not be asked for.
    pub(crate) fn ask(&mut self, batch: Batch) -> Result<(), Batch> {
        match &mut self.state {
            ServerState::Loading(waiting) | ServerState::Booting(waiting) => {
                waiting.push(Asked::now(batch));
                Ok(())
            }
            ServerState::Threaded => Err(batch),
            ServerState::Ready(_) => self.ask_now(batch),
        }
    }

    fn ask_now(&mut self, batch: Batch) -> Result<(), Batch> {
        for part in split(&batch) {
            let number = self.next_batch;
            let jobs = part.range.clone().map(|i| job(&part.launch, i)).collect();
            let message = ToServer::Fork {
                batch: number,
                jobs,
            };
            let output = &part.launch.output;
            let descriptors = [output.out.as_fd(), output.err.as_fd()];
            if let Err(error) = channel::send(&*self.socket, &message, &descriptors) {
                log::debug!("fork server {}: {error}", self.process.id());
                return Err(batch.after(part.range.start - batch.range.start));
            }
            self.batches.insert(number, Asked::now(part));
            self.next_batch += 1;
        }
        Ok(())
    }

    /// R is up: sends the requests that have waited. Returns those that could not be sent.
    pub(crate) fn become_ready(&mut self, loaded: Vec<(PathBuf, Option<Stamp>)>) -> Vec<Batch> {
        let waiting = self.take_waiting();
        self.state = ServerState::Ready(loaded);
        let refused = waiting
            .into_iter()
            .filter_map(|batch| self.ask(batch).err());
        let refused = refused.collect();
        if self.retired {
            self.say_close();
        }
        refused
    }

    pub(crate) fn become_booting(&mut self) {
        let waiting = self.waiting_mut().map(std::mem::take);
        self.state = ServerState::Booting(waiting.unwrap_or_default());
    }

    pub(crate) fn take_waiting(&mut self) -> Vec<Batch> {
        let waiting = self.waiting_mut().map(std::mem::take);
        let waiting = waiting.unwrap_or_default().into_iter();
        waiting.map(|asked| asked.batch).collect()
    }

    /// The requests that wait for R to be up, if it is not.
    fn waiting_mut(&mut self) -> Option<&mut Vec<Asked>> {
        match &mut self.state {
            ServerState::Loading(waiting) | ServerState::Booting(waiting) => Some(waiting),
            ServerState::Ready(_) | ServerState::Threaded => None,
        }
    }

    pub(crate) fn take_batch(&mut self, number: u64) -> Option<Batch> {
        self.batches.remove(&number).map(|asked| asked.batch)
    }

    /// All requests without an answer.
    pub(crate) fn take_batches(&mut self) -> Vec<Batch> {
        let mut batches: Vec<_> = self.batches.drain().collect();
        batches.sort_by_key(|(number, _)| *number);
        batches.into_iter().map(|(_, asked)| asked.batch).collect()
    }

    /// When the next answer will be late.
    pub(crate) fn next_late(&self) -> Option<Instant> {
        let waiting: &[Asked] = match &self.state {
            // R's start-up may take as long as it likes.
            ServerState::Loading(waiting) | ServerState::Booting(waiting) => waiting,
            ServerState::Ready(_) | ServerState::Threaded => &[],
        };
        let waiting = waiting.iter().filter(|asked| !asked.is_reported);
        waiting
            .chain(self.batches.values())
            .map(|asked| asked.late)
            .min()
    }

    /// Reports requests whose answer is late now, and lets the server go on if somebody has stopped it. Returns those that
    /// are late again: a server that is up and does not answer then is given up.
    pub(crate) fn report_late(&mut self, now: Instant) -> Vec<Batch> {
        let pid = self.process.id();
        let is_starting = self.waiting_mut().is_some();
        let mut late: Vec<_> = self.batches.values_mut().collect();
        let is_stuck = late
            .iter()
            .any(|asked| asked.is_reported && asked.late <= now);
        if is_stuck {
            self.retired = true;
            self.process.kill_group();
            return self.take_batches();
        }
        if let ServerState::Loading(waiting) | ServerState::Booting(waiting) = &mut self.state {
            late.extend(waiting.iter_mut().filter(|asked| !asked.is_reported));
        }
        late.retain(|asked| asked.late <= now);
        if !late.is_empty() {
            self.process.resume_group();
        }
        for asked in late {
            asked.is_reported = true;
            asked.late = now + LATE;
            for _ in asked.batch.range.clone() {
                asked.batch.report(DaemonEvent::Late { pid, is_starting });
            }
        }
        Vec::new()
    }

    /// The hub of a launch has closed: its daemons, and this server, go on if somebody has stopped them, as they do not see it
    /// otherwise.
    pub(crate) fn resume(&self, launch: LaunchId) {
        let mut is_ours = false;
        for (pid, _) in self
            .daemons
            .iter()
            .filter(|(_, daemon)| daemon.launch == launch)
        {
            sys::resume(*pid);
            is_ours = true;
        }
        if is_ours {
            self.process.resume_group();
        }
    }

    /// Takes in the answer to a batch.
    pub(crate) fn forked(&mut self, batch: &Batch, pids: &[u32], error: Option<i32>) {
        for (position, &pid) in batch.range.clone().zip(pids) {
            let daemon = Daemon {
                launch: batch.launch.id,
                handler: Arc::clone(&batch.launch.handler),
                position,
                code: without_secrets(&batch.launch.daemons[position]),
            };
            self.daemons.insert(pid, daemon);
            batch.report(DaemonEvent::Started {
                daemon: position,
                pid,
            });
        }
        let missing = batch.after(pids.len());
        if missing.range.is_empty() {
            return;
        }
        let error = error.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error);
        let reason = FailureReason::Spawn(Arc::new(error));
        missing.fail(&self.failure(reason));
    }

    pub(crate) fn exited(
        &mut self,
        pid: u32,
        status: ExitStatus,
        peak: Option<u64>,
        memory: Option<u64>,
        last: String,
    ) {
        if let Some(daemon) = self.daemons.remove(&pid) {
            daemon.exited(pid, status, peak, memory, last);
        }
    }

    /// The daemons whose end nobody waits for once this server has ended.
    pub(crate) fn take_daemons(&mut self) -> HashMap<u32, Daemon> {
        std::mem::take(&mut self.daemons)
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn failure(&self, reason: FailureReason) -> LaunchFailure {
        LaunchFailure {
            command: self.command.clone(),
            reason,
            output: self.output.text(),
        }
    }

    /// Whether a package that the server has loaded has changed since.
    pub(crate) fn is_stale(&self) -> bool {
        match &self.state {
            ServerState::Ready(loaded) => {
                loaded.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
            }
            ServerState::Loading(_) | ServerState::Booting(_) | ServerState::Threaded => false,
        }
    }

    /// Makes no more daemons from this server.
    pub(crate) fn retire(&mut self) {
        self.retired = true;
        match self.state {
            ServerState::Ready(_) | ServerState::Threaded => self.say_close(),
            // Its daemons come first.
            ServerState::Loading(_) | ServerState::Booting(_) => {}
        }
    }

    /// Returns the requests of a launch that wait. Ends the server if it is starting for nothing
    /// else.
    pub(crate) fn withdraw(&mut self, launch: LaunchId) -> Vec<Batch> {
        let Some(waiting) = self.waiting_mut() else {
            return Vec::new();
        };
        let withdrawn: Vec<_> = waiting
            .extract_if(.., |asked| asked.batch.launch.id == launch)
            .map(|asked| asked.batch)
            .collect();
        if waiting.is_empty() && !withdrawn.is_empty() {
            self.close();
        }
        withdrawn
    }

    /// No more daemons are wanted: a server that is not up yet is ended.
    pub(crate) fn close(&mut self) {
        self.retire();
        if matches!(
            self.state,
            ServerState::Loading(_) | ServerState::Booting(_)
        ) {
            self.process.terminate_group();
        }
    }

    fn say_close(&self) {
        // Full or broken: the end of the stream says the same.
        if channel::send_now(&*self.socket, &ToServer::Close).is_err() {
            let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Write);
        }
    }
}

fn program(config: &LauncherConfig) -> Vec<String> {
    if let Some(words) = &config.server_command {
        return words.clone();
    }
    let r = config.r_home.join("bin/R");
    let binary = config.binary.clone().unwrap_or_default();
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    vec![text(r), "CMD".to_owned(), text(binary)]
}

fn environment_file(launch: &Launch) -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let mut text = Vec::new();
    for (name, value) in &launch.context.environment {
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(0);
    }
    let mut file = File::from(memfd_create("mirai-environment", MemfdFlags::CLOEXEC)?);
    file.write_all(&text)?;
    Ok(file)
}

fn job(launch: &Launch, position: usize) -> Job {
    let code = launch.daemons[position].clone();
    // What `Rscript -e` would show.
    let title = format!("R --no-echo --no-restore -e {}", without_secrets(&code));
    Job { code, title }
}

fn split(batch: &Batch) -> Vec<Batch> {
    let mut parts: Vec<Batch> = Vec::new();
    let mut bytes = BATCH_BYTES;
    for position in batch.range.clone() {
        let size = 2 * batch.launch.daemons[position].len();
        match parts.last_mut() {
            Some(part) if bytes + size <= BATCH_BYTES => part.range.end = position + 1,
            _ => {
                bytes = 0;
                parts.push(Batch {
                    launch: Arc::clone(&batch.launch),
                    range: position..position + 1,
                });
            }
        }
        bytes += size;
    }
    parts
}

/// The thread of a server: passes on its messages, then how it ended.
fn listen(server: u64, socket: &OwnedFd, mut process: Process, news: &Sender<News>) {
    loop {
        let said = match channel::receive::<FromServer>(socket, true) {
            Ok(Received::Message(message, _)) => News::Said { server, message },
            Ok(Received::Nothing) => continue,
            Ok(Received::End) => break,
            Err(error) => {
                log::warn!("fork server {}: {error}", process.id());
                break;
            }
        };
        if news.send(said).is_err() {
            break;
        }
    }
    // The launcher may be about to signal it: it lets the process id go itself.
    process.await_end();
    let ended = News::Ended { server, process };
    if let Err(SendError(News::Ended { process, .. })) = news.send(ended) {
        process.wait();
    }
}
