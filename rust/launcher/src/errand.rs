//! Commands that carry the start of daemons to elsewhere: `ssh`, the submission of a job. Run in the background, and what
//! they say is kept.

use crate::context::Context;
use crate::event::ExitStatus;
use crate::printable::printable;
use crate::sys::{self, Command, HostOutput, Process, Terminator};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use parking_lot::Mutex;
use std::io::{self, PipeReader, Read};
use std::sync::Arc;
use std::time::Duration;

/// Of what a command says the end is kept, where the error is.
const KEPT_BYTES: usize = 8192;

/// Of what is read by programs all is kept, within reason: lists of jobs.
const READ_BYTES: usize = 4 << 20;

/// How long the end of a command's output may come after its own, if nobody else writes there.
const SETTLED: Duration = Duration::from_millis(100);

/// A command line for `/bin/sh`.
#[derive(Debug, Clone)]
pub struct Errand {
    /// What to run.
    pub line: String,
    /// Environment and folder to run it in.
    pub context: Context,
    /// Whether what it says also goes to the host's stdout, as it comes.
    pub forwards: bool,
}

/// How an errand goes on: first `Ended`, then `Silent`.
#[derive(Debug, Clone)]
pub enum ErrandEvent {
    /// The command has ended. What it has started, as `ssh -f` does, may go on.
    Ended {
        /// Exit code or signal.
        status: ExitStatus,
        /// The end of what it wrote to stdout and stderr until then, without secrets.
        output: String,
    },
    /// Nobody writes there any more: what it has started is gone, or writes elsewhere.
    Silent {
        /// All output until then, or its end.
        output: String,
    },
}

/// Of a command that was asked to end, what it has started has so long for that once the command itself has ended.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// A command that has been started, and what ends it.
#[derive(Debug, Clone)]
pub struct RunningErrand(Arc<Mutex<Life>>);

#[derive(Debug)]
struct Life {
    /// `None` once its process id may be another's.
    process: Option<Terminator>,
    is_to_end: bool,
}

impl RunningErrand {
    /// Asks the command to end, with all of its session. Of no consequence once it has ended by itself: what it has left in the
    /// background goes on.
    pub fn terminate(&self) {
        let mut life = self.0.lock();
        life.is_to_end = true;
        if let Some(process) = &life.process {
            process.terminate_group();
        }
    }

    /// As [`terminate`](Self::terminate), without a chance to refuse.
    pub fn kill(&self) {
        let mut life = self.0.lock();
        life.is_to_end = true;
        if let Some(process) = &life.process {
            process.kill_group();
        }
    }

    /// The command has ended, and is not waited for yet: what it has left in its session ends as well, if it was to.
    fn end(&self, closed: &Receiver<()>) {
        if self.0.lock().is_to_end {
            let _ = closed.recv_timeout(LAST_PATIENCE);
            self.kill();
        }
        self.0.lock().process = None;
    }
}

impl Errand {
    /// Starts the command in a session of its own, so without a terminal that it could ask for a password. `handler` gets the
    /// events, on a thread of its own.
    ///
    /// # Errors
    /// As the system gives them, when it cannot be started.
    pub fn run(
        self,
        handler: impl FnMut(ErrandEvent) + Send + 'static,
    ) -> io::Result<RunningErrand> {
        self.start(KEPT_BYTES, handler)
    }

    /// The same, with so many bytes of its output.
    fn start(
        self,
        limit: usize,
        handler: impl FnMut(ErrandEvent) + Send + 'static,
    ) -> io::Result<RunningErrand> {
        let (reader, writer) = io::pipe()?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let (start, started) = bounded::<(Process, RunningErrand)>(1);
        let host = self.forwards.then(HostOutput::current).transpose()?;
        let (open, closed) = bounded::<()>(0);
        let kept = Arc::clone(&said);
        // The threads come first: a process that nobody waits for could not be taken back.
        sys::spawn_thread("mirai-errand-out", move || {
            listen(reader, &kept, limit, host.as_ref());
            drop(open);
        })?;
        sys::spawn_thread("mirai-errand", move || {
            if let Ok((process, running)) = started.recv() {
                attend(process, &running, (&said, limit), &closed, handler);
            }
        })?;
        let words = ["/bin/sh".to_owned(), "-c".to_owned(), self.line];
        let command = Command {
            words: &words,
            environment: self.context.environment,
            dir: &self.context.working_dir,
        };
        let process = Process::errand(command, &writer)?;
        let running = RunningErrand(Arc::new(Mutex::new(Life {
            process: Some(process.terminator()),
            is_to_end: false,
        })));
        start
            .send((process, running.clone()))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(running)
    }

    /// Runs the command to its end: how it ended, and what it said, up to some megabytes of it.
    ///
    /// # Errors
    /// As [`run`](Self::run); `TimedOut` if it takes longer than `limit`, upon which it is killed.
    pub fn finish(self, limit: Duration) -> io::Result<(ExitStatus, String)> {
        let (tell, told) = bounded(2);
        let running = self.start(READ_BYTES, move |event| {
            let _ = tell.send(event);
        })?;
        match told.recv_timeout(limit) {
            Ok(ErrandEvent::Ended { status, output }) => Ok((status, output)),
            Err(RecvTimeoutError::Timeout) => {
                running.kill();
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("it did not end within {limit:?}"),
                ))
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Keeps what comes, to the end of it.
fn listen(mut reader: PipeReader, said: &Mutex<Vec<u8>>, limit: usize, host: Option<&HostOutput>) {
    let mut part = [0; 4096];
    loop {
        match reader.read(&mut part) {
            Ok(0) => return,
            Ok(length) => {
                let part = &part[..length];
                if let Some(host) = host {
                    host.write(part);
                }
                keep(&mut said.lock(), part, limit);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn keep(said: &mut Vec<u8>, part: &[u8], limit: usize) {
    said.extend_from_slice(part);
    // Not at each part.
    if said.len() > 2 * limit {
        said.drain(..said.len() - limit);
    }
}

fn attend(
    mut process: Process,
    running: &RunningErrand,
    (said, limit): (&Mutex<Vec<u8>>, usize),
    closed: &Receiver<()>,
    mut handler: impl FnMut(ErrandEvent),
) {
    process.await_end();
    running.end(closed);
    let status = process.wait();
    // By disconnection, if at all.
    let _ = closed.recv_timeout(SETTLED);
    let output = || {
        let said = said.lock();
        let last = &said[said.len().saturating_sub(limit)..];
        printable(&String::from_utf8_lossy(last))
    };
    let output_then = output();
    handler(ErrandEvent::Ended {
        status,
        output: output_then,
    });
    let _ = closed.recv();
    handler(ErrandEvent::Silent { output: output() });
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn errand(line: &str) -> Errand {
        Errand {
            line: line.to_owned(),
            context: Context {
                environment: std::env::vars_os().collect(),
                working_dir: "/".into(),
                library_paths: Vec::new(),
                package: None,
            },
            forwards: false,
        }
    }

    #[test]
    fn what_a_command_says_and_its_status_are_told() {
        let (status, output) = errand("echo out; echo err >&2; exit 3")
            .finish(Duration::from_secs(60))
            .expect("a shell");
        assert_eq!(status, ExitStatus::Code(3));
        assert_eq!(output, "out\nerr\n");
    }

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        let long = "seq 100000; echo last";
        let (tell, told) = bounded(2);
        errand(long)
            .run(move |event| tell.send(event).expect("a receiver"))
            .expect("a shell");
        let Ok(ErrandEvent::Ended { output, .. }) = told.recv_timeout(Duration::from_secs(60))
        else {
            panic!("it ends");
        };
        assert!(output.len() <= KEPT_BYTES && output.ends_with("last\n"));

        // A program that reads it wants all.
        let (_, output) = errand(long)
            .finish(Duration::from_secs(60))
            .expect("a shell");
        assert_eq!(output.lines().count(), 100_001);
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let gate = folder.path().join("gate");
        let status = std::process::Command::new("mkfifo").arg(&gate).status();
        assert!(status.is_ok_and(|status| status.success()));
        // Its end, and that of what it has started, ends what is read here.
        let line = format!("exec 3>'{}'; sleep 600", gate.display());
        let reader = std::thread::spawn(move || std::fs::read(gate).expect("a pipe"));
        let error = errand(&line)
            .finish(Duration::from_millis(300))
            .expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(reader.join().expect("a reader").is_empty());
    }

    #[test]
    fn a_command_that_runs_is_ended_with_what_it_has_started() {
        let stubborn = "(trap '' TERM; sleep 600) & trap 'exit 3' TERM; echo; wait";
        for (line, ends) in [
            ("sleep 600 & sleep 600", RunningErrand::terminate as fn(&_)),
            ("sleep 600 & sleep 600", RunningErrand::kill),
            (stubborn, RunningErrand::terminate),
        ] {
            let (tell, told) = crossbeam_channel::unbounded();
            // Both hold the output open.
            let running = errand(line)
                .run(move |event| tell.send(event).expect("a receiver"))
                .expect("a shell");
            ends(&running);
            let limit = Duration::from_secs(30);
            let event = told.recv_timeout(limit);
            assert!(matches!(event, Ok(ErrandEvent::Ended { .. })), "{event:?}");
            let event = told.recv_timeout(limit);
            assert!(matches!(event, Ok(ErrandEvent::Silent { .. })), "{event:?}");
            // Nothing to end any more.
            ends(&running);
        }
    }

    #[test]
    fn what_goes_on_in_the_background_is_heard_to_its_end() {
        let (tell, told) = crossbeam_channel::unbounded();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let gate = folder.path().join("gate");
        let status = std::process::Command::new("mkfifo").arg(&gate).status();
        assert!(status.is_ok_and(|status| status.success()));
        errand(&format!("(cat '{}') & echo started", gate.display()))
            .run(move |event| tell.send(event).expect("a receiver"))
            .expect("a shell");
        let limit = Duration::from_secs(30);
        let Ok(ErrandEvent::Ended { status, output }) = told.recv_timeout(limit) else {
            panic!("the command has ended");
        };
        assert_eq!(
            (status, output.as_str()),
            (ExitStatus::Code(0), "started\n")
        );
        std::fs::write(&gate, "later\n").expect("the other one reads");
        let Ok(ErrandEvent::Silent { output }) = told.recv_timeout(limit) else {
            panic!("the output has ended");
        };
        assert_eq!(output, "started\nlater\n");
    }
}
