//! Daemons started by `Rscript`, each a child of the host.

use crate::event::{DaemonEvent, FailureReason, LaunchFailure};
use crate::launcher::{Batch, LauncherConfig};
use crate::quote::{prelude, shell_line};
use crate::sys::{self, Capture, Command, Process};
use std::io;
use std::sync::Arc;

/// Starts the daemons of a batch one after the other, and reports on each.
pub(crate) fn start(config: &LauncherConfig, batch: &Batch) {
    for daemon in batch.range.clone() {
        let one = Batch {
            launch: Arc::clone(&batch.launch),
            range: daemon..daemon + 1,
        };
        let words = command(config, &one);
        if let Err(error) = start_one(&one, &words) {
            one.fail(&LaunchFailure {
                command: shell_line(&words),
                reason: FailureReason::Spawn(Arc::new(error)),
                output: String::new(),
            });
        }
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

fn start_one(one: &Batch, words: &[String]) -> io::Result<()> {
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
    sys::spawn_thread("mirai-rscript", move || {
        let Ok(process) = started.recv() else {
            return;
        };
        let pid = process.id();
        report(DaemonEvent::Started { daemon, pid });
        let status = process.wait();
        report(DaemonEvent::Exited {
            daemon,
            pid,
            status,
            command: line,
            early: early.text(),
        });
    })?;
    let process = Process::daemon(command, &kept, &one.launch.output)?;
    start
        .send(process)
        .map_err(|_| io::ErrorKind::BrokenPipe.into())
}
