//! Real processes under hang guards.
#![allow(dead_code, reason = "each test program uses its part of it")]

use mirai_launcher::{
    Context, DaemonEvent, ExitStatus, LaunchFailure, LaunchId, LaunchRequest, Launcher,
    LauncherConfig,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Whatever takes longer than this hangs.
pub const GUARD: Duration = Duration::from_secs(60);

/// The example that plays host, server and daemon.
pub fn no_r() -> String {
    let test = std::env::current_exe().expect("the path of this program");
    let folder = test.ancestors().nth(2).expect("a target folder");
    let path = folder.join("examples/no_r");
    assert!(
        path.exists(),
        "{} is not built: run all of 'cargo test -p mirai-launcher'",
        path.display()
    );
    path.to_string_lossy().into_owned()
}

/// A launcher whose servers and fallback are the example.
pub fn launcher() -> Launcher {
    let mut config = LauncherConfig::new("/nowhere");
    config.server_command = Some(vec![no_r()]);
    config.rscript_command = Some(vec![no_r(), "--daemon".into()]);
    Launcher::new(config)
}

pub fn context(variables: &[(&str, &str)]) -> Context {
    let package = Some(PathBuf::from("/nowhere/mirai"));
    let mut context = Context::capture(Vec::new(), package).expect("a working directory");
    for (name, value) in variables {
        context.environment.push((name.into(), value.into()));
    }
    context
}

/// The events of one launch. Its daemons end with it.
pub struct Launched {
    pub id: LaunchId,
    news: Receiver<DaemonEvent>,
    running: RefCell<BTreeSet<u32>>,
}

impl Drop for Launched {
    fn drop(&mut self) {
        for pid in self.running.get_mut().iter() {
            // It may have ended unheard.
            let _ = kill_process(raw(*pid), Signal::KILL);
        }
    }
}

pub fn launch(launcher: &Launcher, context: Context, daemons: &[String]) -> Launched {
    let (news, received) = channel();
    let daemons = daemons.to_vec();
    let request = LaunchRequest { context, daemons };
    let handler = Arc::new(move |event| drop(news.send(event)));
    let id = launcher.launch(request, handler).expect("a launch");
    Launched {
        id,
        news: received,
        running: RefCell::default(),
    }
}

impl Launched {
    pub fn next(&self) -> DaemonEvent {
        let event = self.news.recv_timeout(GUARD).expect("an event");
        match &event {
            DaemonEvent::Started { pid, .. } => {
                self.running.borrow_mut().insert(*pid);
            }
            DaemonEvent::Exited { pid, .. } => {
                self.running.borrow_mut().remove(pid);
            }
            DaemonEvent::Late { .. } | DaemonEvent::Failed { .. } => {}
        }
        event
    }

    /// Waits for `n` daemons to be started; their process ids by position.
    pub fn started(&self, n: usize) -> BTreeMap<usize, u32> {
        (0..n)
            .map(|_| match self.next() {
                DaemonEvent::Started { daemon, pid } => (daemon, pid),
                other => panic!("not started: {other:?}"),
            })
            .collect()
    }

    pub fn exited(&self) -> (u32, ExitStatus, String) {
        match self.next() {
            DaemonEvent::Exited {
                pid, status, early, ..
            } => (pid, status, early),
            other => panic!("not exited: {other:?}"),
        }
    }

    pub fn failed(&self) -> (usize, Arc<LaunchFailure>) {
        match self.next() {
            DaemonEvent::Failed { daemon, failure } => (daemon, failure),
            other => panic!("not failed: {other:?}"),
        }
    }

    /// No event is left over, now that the launcher is gone.
    pub fn end(&self) {
        match self.news.recv_timeout(GUARD) {
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

pub fn kill(pid: u32) {
    kill_process(raw(pid), Signal::KILL).expect("a process to kill");
}

/// Stops it, if it is there.
pub fn stop(pid: u32) {
    let _ = kill_process(raw(pid), Signal::STOP);
}

fn raw(pid: u32) -> Pid {
    let pid = i32::try_from(pid).expect("a process id");
    Pid::from_raw(pid).expect("a process id")
}

/// Waits until a process is no more, whoever its parent is.
pub fn await_end(pid: u32) {
    let Ok(pidfd) = pidfd_open(raw(pid), PidfdFlags::empty()) else {
        return;
    };
    let timeout = Timespec::try_from(GUARD).expect("a time");
    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout));
    assert_eq!(ready, Ok(1), "process {pid} does not end");
}

pub fn is_running(pid: u32) -> bool {
    let Ok(pidfd) = pidfd_open(raw(pid), PidfdFlags::empty()) else {
        return false;
    };
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&now)) == Ok(0)
}

/// Waits for what another process does to the file system.
pub fn await_path(path: &Path, exists: bool) {
    let start = Instant::now();
    while path.exists() != exists {
        assert!(
            start.elapsed() < GUARD,
            "{}: exists is not {exists}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a daemon running `show` says of itself.
pub fn shown(path: &Path) -> BTreeMap<String, String> {
    await_path(path, true);
    let text = fs::read_to_string(path).expect("what was shown");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The server of a daemon running `show`.
pub fn server_of(shown: &BTreeMap<String, String>) -> u32 {
    shown["PPid"].parse().expect("a process id")
}

/// The R installation, or a printed reason to skip.
pub fn r_home() -> Option<PathBuf> {
    let home = std::process::Command::new("R")
        .arg("RHOME")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    if home.is_none() {
        println!("skipped: there is no R");
    }
    home
}

/// As [`r_home`], and R must have been built with a shared library.
pub fn r_home_with_library() -> Option<PathBuf> {
    let home = r_home()?;
    let built = home.join("lib/libR.so").exists();
    if !built {
        println!("skipped: this R has no shared library");
    }
    built.then_some(home)
}
