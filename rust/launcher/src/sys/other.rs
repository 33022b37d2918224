//! Processes where there is no Unix: daemons are started by `Rscript` and share the host's
//! output from the start.

use super::Command;
use crate::event::ExitStatus;
use std::io;
use std::path::Path;
use std::process::{Child, Stdio};

/// No process here outlives the state it was started in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inherited;

impl Inherited {
    pub(crate) fn of(_folder: &Path) -> Self {
        Self
    }
}

/// The host's output is inherited, so there is nothing to hold.
pub(crate) struct HostOutput;

impl HostOutput {
    pub(crate) fn current() -> io::Result<Self> {
        Ok(Self)
    }
}

impl HostOutput {
    /// Writes to stdout. What that does not take is lost.
    pub(crate) fn write(&self, bytes: &[u8]) {
        use std::io::Write;
        let _ = io::stdout().write_all(bytes);
    }
}

/// Early output is not kept apart here.
pub(crate) struct Capture;

impl Capture {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn text(&self) -> String {
        String::new()
    }
}

/// A process this one has started.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn daemon(
        command: Command<'_>,
        _early: &Capture,
        _output: &HostOutput,
    ) -> io::Result<Self> {
        let mut started = prepared(command)?;
        #[cfg(windows)]
        {
            use std::os::windows::process::CommandExt;
            const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
            const CREATE_NO_WINDOW: u32 = 0x0800_0000;
            started.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
        }
        started.spawn().map(Self)
    }

    /// Starts a program that writes to `output`.
    pub(crate) fn errand(command: Command<'_>, output: &io::PipeWriter) -> io::Result<Self> {
        let mut started = prepared(command)?;
        started
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?);
        started.spawn().map(Self)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has ended; [`wait`](Self::wait) returns at once then.
    pub(crate) fn await_end(&mut self) {
        // What has gone wrong, `wait` meets again.
        let _ = self.0.wait();
    }

    /// What it has started is not known here.
    pub(crate) fn terminate_rest(&self) {}

    /// What would end it from elsewhere.
    pub(crate) fn terminator(&self) -> Terminator {
        Terminator(self.0.id())
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        match self.0.wait() {
            Ok(status) => status.code().map_or(ExitStatus::Unknown, ExitStatus::Code),
            Err(_) => ExitStatus::Unknown,
        }
    }
}

/// A command with its arguments, environment and folder, and nothing to read.
fn prepared(command: Command<'_>) -> io::Result<std::process::Command> {
    let Some((program, arguments)) = command.words.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut prepared = std::process::Command::new(program);
    prepared
        .args(arguments)
        .env_clear()
        .envs(command.environment)
        .current_dir(command.dir)
        .stdin(Stdio::null());
    Ok(prepared)
}

/// Ends nothing here: there is no way to end a process with all that it has started.
#[derive(Debug)]
pub(crate) struct Terminator(u32);

impl Terminator {
    pub(crate) fn id(&self) -> u32 {
        self.0
    }

    pub(crate) fn terminate_group(&self) {}

    pub(crate) fn resume_group(&self) {}

    pub(crate) fn kill_group(&self) {}
}

/// Starts a thread.
pub(crate) fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(body).map(drop)
}

/// No host here hands descriptors to its daemons.
pub(crate) fn adopt_stdio(_out: i32, _err: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Removes an environment variable.
pub(crate) fn remove_variable(name: &str) {
    // SAFETY: callers are on R's main thread, the only one to read or write the environment.
    unsafe { std::env::remove_var(name) };
}
