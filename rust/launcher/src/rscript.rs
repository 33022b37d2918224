//! Daemons started by `Rscript`, each a child of the host.

use crate::batch::{Batch, LaunchId};
use crate::config::LauncherConfig;
use crate::event::{DaemonEvent, ExitStatus, FailureReason, LaunchFailure};
use crate::quote::{prelude, shell_line};
use crate::sys::{self, Capture, Command, Process, Terminator};
use parking_lot::Mutex;
use std::io;
use std::sync::{Arc, Weak};

/// Starts daemons by `Rscript`, and ends those that are withdrawn.
pub(crate) struct ByRscript {
    config: Arc<LauncherConfig>,
    /// The launches whose daemons may be running.
    launches: Vec<(LaunchId, Weak<Running>)>,
}

/// The processes of a launch. Locked as one of them is let go, so that a process id in here is never that of another.
#[derive(Default)]
struct Running(Mutex<Vec<Terminator>>);

impl ByRscript {
    pub(crate) fn new(config: Arc<LauncherConfig>) -> Self {
        Self {
            config,
            launches: Vec::new(),
        }
    }

    /// Starts the daemons of a batch one after the other, and reports on each.
    pub(crate) fn start(&mut self, batch: &Batch) {
        let running = Arc::default();
        self.launches
            .retain(|(_, running)| running.strong_count() > 0);
        self.launches
            .push((batch.launch.id, Arc::downgrade(&running)));
        for daemon in batch.range.clone() {
            let one = Batch {
                launch: Arc::clone(&batch.launch),
                range: daemon..daemon + 1,
            };
            let words = command(&self.config, &one);
            if let Err(error) = start_one(&one, &words, &running) {
                one.fail(&LaunchFailure {
                    command: shell_line(&words),
                    reason: FailureReason::of_start(error, &one.launch.context.working_dir),
                    output: String::new(),
                });
            }
        }
    }

    /// Ends the daemons of a launch that have not joined their hub; the others see that it has closed, even if somebody has
    /// stopped them.
    pub(crate) fn withdraw(&self, launch: LaunchId, has_joined: &dyn Fn(u32) -> bool) {
        let launches = self.launches.iter().filter(|(id, _)| *id == launch);
        for running in launches.filter_map(|(_, running)| running.upgrade()) {
            for process in running.0.lock().iter() {
                if has_joined(process.id()) {
                    process.resume_group();
                } else {
                    process.terminate_group();
                }
            }
        }
    }
}

impl Running {
    fn begin(&self, process: &Process) {
        self.0.lock().push(process.terminator());
    }

    /// Removes a process that has ended, and releases its id.
    fn end(&self, process: Process) -> ExitStatus {
        let mut running = self.0.lock();
        running.retain(|other| other.id() != process.id());
        process.terminate_rest();
        process.wait()
    }
}

fn command(config: &LauncherConfig, one: &Batch) -> Vec<String> {
    let launch = &one.launch;
    let code = &launch.daemons[one.range.start];
    let mut words = config.rscript_command.clone().unwrap_or_else(|| {
        let name = if cfg!(windows) {
            "Rscript.exe"
        } else {
            "Rscript"
        };
        vec![
            config
                .r_home
                .join("bin")
                .join(name)
                .to_string_lossy()
                .into_owned(),
        ]
    });
    let prelude = prelude(&launch.context);
    if !prelude.is_empty() {
        words.extend(["-e".to_owned(), prelude.join(";")]);
    }
    words.extend(["-e".to_owned(), code.clone()]);
    words
}

fn start_one(one: &Batch, words: &[String], running: &Arc<Running>) -> io::Result<()> {
    let context = &one.launch.context;
    let early = Capture::new()?;
    let command = Command {
        words,
        environment: context.environment.clone(),
        dir: &context.working_dir,
    };
    // The thread comes first: a process that nobody waits for could not be taken back.
    let (start, started) = crossbeam_channel::bounded::<Process>(1);
    let (report, line) = (Arc::clone(&one.launch.handler), shell_line(words));
    let daemon = one.range.start;
    let kept = Arc::new(early);
    let early = Arc::clone(&kept);
    let seen = Arc::clone(running);
    sys::spawn_thread("mirai-rscript", move || {
        let Ok(mut process) = started.recv() else {
            return;
        };
        let pid = process.id();
        report(DaemonEvent::Started { daemon, pid });
        process.await_end();
        let status = seen.end(process);
        report(DaemonEvent::Exited {
            daemon,
            pid,
            status,
            peak: None,
            command: line,
            early: early.text(),
            memory: None,
            last: String::new(),
        });
    })?;
    let process = Process::daemon(command, &kept, &one.launch.output)?;
    running.begin(&process);
    start
        .send(process)
        .map_err(|_| io::ErrorKind::BrokenPipe.into())
}
