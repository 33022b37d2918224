//! A hub with real worker processes: this test program, started again as the test `worker_process`.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mirai_hub::{
    Address, Hub, HubOptions, Mode, Outcome, Payload, Task, TaskFlags, TaskHandle, Watch,
};
use mirai_wire::{FromDaemon, Hello, PairKey, Preamble, Role, encode_head};
use mirai_worker::{AutoExit, Evaluation, Evaluator, Interrupter, RunEnd};

/// A test that waits longer than this hangs.
const HANG: Duration = Duration::from_secs(30);

// The worker: a task is a word of command, then its argument.

#[derive(Default)]
struct Flag(AtomicBool);

impl Interrupter for Flag {
    fn interrupt(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    fn clear_interrupt(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

struct Commands {
    interrupted: Arc<Flag>,
    settings: Vec<u8>,
    parts: Vec<(u64, Payload)>,
    received_parts: usize,
    notes: Vec<String>,
}

impl Commands {
    fn part_of(&self, task: &mirai_worker::Task<'_>) -> Vec<u8> {
        let id = task.part.expect("a part");
        let kept = self.parts.iter().find(|part| part.0 == id);
        kept.expect("the part was kept").1.to_vec()
    }

    fn perform(&mut self, command: &str, task: &mirai_worker::Task<'_>) -> Evaluation {
        let argument = command.split_once(' ').map_or("", |(_, argument)| argument);
        let value = match command.split(' ').next() {
            Some("echo") => argument.as_bytes().to_vec(),
            Some("pid") => std::process::id().to_string().into_bytes(),
            Some("settings") => self.settings.clone(),
            Some("big") => vec![7; argument.parse().unwrap()],
            Some("part") => self.part_of(task),
            Some("note") => {
                self.notes.push(argument.to_owned());
                Vec::new()
            }
            Some("notes") => self.notes.join(" ").into_bytes(),
            Some("parts") => format!("{} {}", self.parts.len(), self.received_parts).into_bytes(),
            Some("fail") => {
                return Evaluation {
                    end: RunEnd::Failed,
                    payload: Payload::copy_from_slice(argument.as_bytes()),
                };
            }
            Some("exit") => std::process::exit(0),
            Some("append") => {
                let (path, line) = argument.split_once(' ').unwrap();
                let file = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path);
                file.unwrap()
                    .write_all(format!("{line}\n").as_bytes())
                    .unwrap();
                Vec::new()
            }
            Some("touch-and-hang") => {
                std::fs::write(argument, b"begun").unwrap();
                while !self.interrupted.0.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                return Evaluation {
                    end: RunEnd::Interrupted,
                    payload: Payload::new(),
                };
            }
            Some("touch-and-ignore") => {
                std::fs::write(argument, b"begun").unwrap();
                loop {
                    std::thread::sleep(HANG);
                }
            }
            _ => format!("{} bytes", task.body.len()).into_bytes(),
        };
        Evaluation {
            end: RunEnd::Value,
            payload: value.into(),
        }
    }
}

impl Evaluator for Commands {
    fn welcome(&mut self, settings: &[u8]) {
        self.settings = settings.to_vec();
    }
    fn evaluate(&mut self, task: mirai_worker::Task<'_>) -> Evaluation {
        let command = String::from_utf8_lossy(&task.body[..task.body.len().min(1000)]).into_owned();
        self.perform(&command, &task)
    }
    fn after(&mut self, _flags: TaskFlags) {}
    fn keep_part(&mut self, id: u64, bytes: Payload) {
        self.received_parts += 1;
        self.parts.push((id, bytes));
    }
    fn forget_part(&mut self, id: u64) {
        self.parts.retain(|part| part.0 != id);
    }
}

/// No test: what the other tests start as their worker. Without its variable it does nothing.
#[test]
fn worker_process() {
    let Ok(url) = std::env::var("MIRAI_TEST_WORKER") else {
        return;
    };
    let setting = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse().ok())
    };
    let options = mirai_worker::WorkerOptions {
        direct: setting("MIRAI_TEST_DIRECT").is_some_and(|value: u64| value == 1),
        asyncdial: true,
        autoexit: if setting("MIRAI_TEST_STAY") == Some(1) {
            AutoExit::No
        } else {
            AutoExit::Yes
        },
        idletime: setting("MIRAI_TEST_IDLE").map(Duration::from_millis),
        maxtasks: setting("MIRAI_TEST_TASKS"),
        launcher: setting("MIRAI_TEST_LAUNCHER").unwrap_or(0),
        ..mirai_worker::WorkerOptions::new(Address::parse(&url).unwrap())
    };
    let interrupted = Arc::new(Flag::default());
    let mut commands = Commands {
        interrupted: Arc::clone(&interrupted),
        settings: Vec::new(),
        parts: Vec::new(),
        received_parts: 0,
        notes: Vec::new(),
    };
    let code = match mirai_worker::run_worker(&options, &mut commands, interrupted) {
        Ok(reason) => reason.code(),
        Err(error) => 100 + error.code().number(),
    };
    std::process::exit(code);
}

/// Worker processes that end with the test.
struct Workers(Vec<Child>);

impl Workers {
    fn start(hub: &Hub, count: usize, settings: &[(&str, &str)]) -> Workers {
        Workers::start_by(&[], hub, count, settings)
    }

    /// By the program and the arguments of `wrapper`, which runs what follows.
    fn start_by(wrapper: &[&str], hub: &Hub, count: usize, settings: &[(&str, &str)]) -> Workers {
        let start = |_| {
            let exe = std::env::current_exe().unwrap();
            let mut words = wrapper.iter().map(OsStr::new).chain([exe.as_os_str()]);
            Command::new(words.next().unwrap())
                .args(words)
                .args(["--exact", "worker_process", "--nocapture"])
                .env("MIRAI_TEST_WORKER", hub.address().to_string())
                .envs(settings.iter().copied())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        Workers((0..count).map(start).collect())
    }

    fn exit_code(&mut self, index: usize) -> Option<i32> {
        let until = Instant::now() + HANG;
        while Instant::now() < until {
            if let Some(status) = self.0[index].try_wait().unwrap() {
                return status.code();
            }
            std::thread::yield_now();
        }
        panic!("the worker is still there");
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn options(mode: Mode) -> HubOptions {
    let address = Address::unique(&std::env::temp_dir()).unwrap();
    HubOptions {
        mode,
        ..HubOptions::new(address)
    }
}

fn open() -> Hub {
    Hub::open(options(Mode::Queue)).unwrap()
}

fn wait_connected(hub: &Hub, count: u64) {
    let until = Instant::now() + HANG;
    let mut seen = 0;
    while hub.counts().connections != count {
        assert!(Instant::now() < until, "{:?}", hub.counts());
        seen = hub.wait_change(seen, Duration::from_secs(1));
    }
}

fn wait_for_file(path: &Path) {
    let until = Instant::now() + HANG;
    while !path.exists() {
        assert!(Instant::now() < until, "the task never began");
        std::thread::yield_now();
    }
}

fn submit(hub: &Hub, command: impl Into<Payload>) -> TaskHandle {
    hub.submit(Task::new(command)).unwrap()
}

#[track_caller]
fn outcome(task: &TaskHandle) -> Outcome {
    assert!(task.wait_for(HANG), "the task never resolved");
    task.outcome().unwrap().clone()
}

#[track_caller]
fn text(task: &TaskHandle) -> String {
    match outcome(task) {
        Outcome::Value(bytes) => String::from_utf8(bytes.into()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tasks_wait_for_workers_and_resolve_to_values_and_failures() {
    let hub = open();
    let tasks: Vec<_> = (0..100)
        .map(|i| submit(&hub, format!("echo {i}")))
        .collect();
    let failing = submit(&hub, "fail no luck");
    assert_eq!(hub.counts().awaiting, 101);
    let _workers = Workers::start(&hub, 2, &[]);
    for (i, task) in tasks.iter().enumerate() {
        assert_eq!(text(task), i.to_string());
    }
    assert_eq!(outcome(&failing), Outcome::Failed("no luck".into()));
    assert_eq!(hub.counts().completed, 101);
}

#[test]
fn large_payloads_travel_whole_in_both_directions() {
    let hub = open();
    let _workers = Workers::start(&hub, 1, &[]);
    let up = submit(&hub, vec![b'x'; 40_000_000]);
    let down = submit(&hub, "big 40000000");
    assert_eq!(text(&up), "40000000 bytes");
    assert_eq!(outcome(&down), Outcome::Value(vec![7; 40_000_000].into()));
}

#[test]
fn a_killed_worker_loses_only_the_task_it_evaluates() {
    let hub = open();
    let mut workers = Workers::start(&hub, 1, &[]);
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let doomed = submit(&hub, format!("touch-and-hang {}", begun.display()));
    let queued = submit(&hub, "echo still here");
    wait_for_file(&begun);
    workers.0[0].kill().unwrap();
    assert!(matches!(outcome(&doomed), Outcome::Lost(_)));
    assert_eq!(queued.outcome(), None);
    let _more = Workers::start(&hub, 1, &[]);
    assert_eq!(text(&queued), "still here");
}

#[test]
fn cancelling_interrupts_the_running_task_and_spares_the_next() {
    let hub = open();
    let _workers = Workers::start(&hub, 1, &[]);
    let folder = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let begun = folder.path().join(round.to_string());
        let running = submit(&hub, format!("touch-and-hang {}", begun.display()));
        let queued = submit(&hub, "echo never");
        let next = submit(&hub, "echo next");
        wait_for_file(&begun);
        assert!(queued.cancel());
        assert!(running.cancel());
        assert!(!running.cancel(), "a second time it is resolved already");
        assert_eq!(outcome(&queued), Outcome::Cancelled);
        assert_eq!(outcome(&running), Outcome::Cancelled);
        assert_eq!(text(&next), "next");
    }
}

/// How a worker ends that ignores an interrupt, of a hub that kills such.
fn death_of_deaf(hub: &Hub, settings: &[(&str, &str)], stop: impl FnOnce(&TaskHandle)) -> String {
    let mut workers = Workers::start(hub, 1, settings);
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let deaf = submit(hub, format!("touch-and-ignore {}", begun.display()));
    let next = submit(hub, "echo next");
    wait_for_file(&begun);
    stop(&deaf);
    assert_eq!(outcome(&deaf), Outcome::Cancelled);
    assert_eq!(workers.exit_code(0), None, "a signal has ended it");
    wait_connected(hub, 0);
    let death = hub.deaths().pop().unwrap();
    assert!(death.is_killed);
    assert_eq!(death.task, Some((deaf.id(), 1)));
    assert!(!hub.force(deaf.id()), "it is gone");
    let _other = Workers::start(hub, 1, settings);
    assert_eq!(text(&next), "next");
    death.how.unwrap()
}

#[test]
fn a_worker_that_does_not_stop_is_killed_or_sent_away() {
    let hub = || {
        Hub::open(HubOptions {
            launcher: 7,
            kill_after: Some(Duration::from_millis(40)),
            ..options(Mode::Queue)
        })
        .unwrap()
    };
    let cancel = |task: &TaskHandle| assert!(task.cancel());
    let how = death_of_deaf(&hub(), &[], cancel);
    let late = "as it did not stop its task within 40ms of being asked to";
    assert_eq!(how, format!("was sent away, {late}"));
    let how = death_of_deaf(&hub(), &[("MIRAI_TEST_LAUNCHER", "7")], cancel);
    assert!(how.starts_with(&format!("was killed, {late}")), "{how}");
}

#[test]
fn by_force_a_worker_is_killed_at_once() {
    let forced = "was killed, as its task was to be stopped by force";
    let hub = || {
        Hub::open(HubOptions {
            launcher: 7,
            ..options(Mode::Queue)
        })
        .unwrap()
    };
    let launched = [("MIRAI_TEST_LAUNCHER", "7")];
    let force = |task: &TaskHandle| assert!(task.cancel_by_force());
    assert_eq!(death_of_deaf(&hub(), &launched, force), forced);
    let hub = hub();
    let by_number = |task: &TaskHandle| {
        assert!(task.cancel());
        assert!(hub.force(task.id()));
    };
    assert_eq!(death_of_deaf(&hub, &launched, by_number), forced);
}

#[test]
fn a_limit_of_running_time_is_not_one_of_waiting() {
    let hub = open();
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let limited = |command: String| Task {
        runtime: Some(Duration::from_millis(50)),
        ..Task::new(command)
    };
    let hanging = hub
        .submit(limited(format!("touch-and-hang {}", begun.display())))
        .unwrap();
    let short = hub.submit(limited("echo short".to_owned())).unwrap();
    assert!(!hanging.wait_for(Duration::from_millis(100)), "it waits");
    let _workers = Workers::start(&hub, 1, &[]);
    assert_eq!(outcome(&hanging), Outcome::RanTooLong);
    assert_eq!(text(&short), "short");
}

#[test]
fn a_cancellation_that_overtakes_its_task_still_frees_the_worker() {
    let hub = open();
    let _workers = Workers::start(&hub, 1, &[]);
    wait_connected(&hub, 1);
    let folder = tempfile::tempdir().unwrap();
    for round in 0..200 {
        let task = submit(
            &hub,
            format!(
                "touch-and-hang {}",
                folder.path().join(round.to_string()).display()
            ),
        );
        assert!(task.cancel());
    }
    assert_eq!(text(&submit(&hub, "echo free")), "free");
}

#[test]
fn a_timeout_resolves_waiting_and_running_tasks() {
    let hub = open();
    let folder = tempfile::tempdir().unwrap();
    let limited = |command: String| Task {
        timeout: Some(Duration::from_millis(50)),
        ..Task::new(command)
    };
    let waiting = hub.submit(limited("echo never".to_owned())).unwrap();
    assert_eq!(outcome(&waiting), Outcome::TimedOut);
    let _workers = Workers::start(&hub, 1, &[]);
    wait_connected(&hub, 1);
    let begun = folder.path().join("begun");
    let running = hub
        .submit(limited(format!("touch-and-hang {}", begun.display())))
        .unwrap();
    assert_eq!(outcome(&running), Outcome::TimedOut);
    assert_eq!(text(&submit(&hub, "echo free")), "free");
    let at_once = hub
        .submit(Task {
            timeout: Some(Duration::ZERO),
            ..Task::new(b"echo".to_vec())
        })
        .unwrap();
    assert_eq!(at_once.outcome(), Some(&Outcome::TimedOut));
}

#[test]
fn a_shared_part_is_sent_once_to_each_worker_and_forgotten_after_its_last_user() {
    let hub = open();
    let _workers = Workers::start(&hub, 1, &[]);
    let part = hub.share(b"constants".to_vec());
    let task = || Task {
        shared: Some(part.clone()),
        ..Task::new(b"part".to_vec())
    };
    let tasks: Vec<_> = (0..20).map(|_| hub.submit(task()).unwrap()).collect();
    assert!(tasks.iter().all(|task| text(task) == "constants"));
    assert_eq!(text(&submit(&hub, "parts")), "1 1");
    drop(part);
    assert_eq!(text(&submit(&hub, "parts")), "0 1");
}

#[test]
fn the_last_handle_of_a_shared_part_may_go_with_a_refused_task() {
    let hub = open();
    let part = hub.share(b"constants".to_vec());
    hub.close(false);
    let task = Task {
        shared: Some(part),
        ..Task::new(Vec::new())
    };
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let refused = hub.submit(task.clone()).is_err() && hub.everywhere(task, 0).is_err();
        tell.send(refused).unwrap();
    });
    assert!(told.recv_timeout(HANG).unwrap());
}

#[test]
fn garbage_connections_harm_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let hub = Hub::open(HubOptions::new(Address::Ipc(socket.clone()))).unwrap();
    let mut open_ones = Vec::new();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4096],
        b"mirai\0\x01\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"",
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(garbage).unwrap();
        open_ones.push(stream);
    }
    let _workers = Workers::start(&hub, 1, &[]);
    assert_eq!(text(&submit(&hub, "echo unharmed")), "unharmed");
    assert_eq!(hub.counts().connections, 1);
    assert!(hub.refused().unfit > 0);
}

fn connect(hub: &Hub) -> UnixStream {
    let stream = match hub.address() {
        Address::Ipc(path) => UnixStream::connect(path),
        other => panic!("{other} is no path"),
    };
    let stream = stream.unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

fn is_closed(mut stream: &UnixStream) -> bool {
    // What the hub has said before does not matter.
    match stream.read(&mut [0; 1000]) {
        Ok(0) => true,
        Ok(_) => is_closed(stream),
        Err(_) => false,
    }
}

/// The oldest have gone, and no more of these 300 than had to.
#[track_caller]
fn assert_gave_way(peers: &[UnixStream]) {
    let closed: Vec<bool> = peers.iter().map(is_closed).collect();
    let count = closed.iter().filter(|closed| **closed).count();
    assert!((40..60).contains(&count), "{count}");
    assert!(closed[..count].iter().all(|closed| *closed));
}

#[test]
fn peers_that_say_nothing_give_way_to_workers() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::open(HubOptions::new(Address::Ipc(folder.path().join("hub")))).unwrap();
    // More than may be newcomers at a time.
    let silent: Vec<UnixStream> = (0..300).map(|_| connect(&hub)).collect();
    let _workers = Workers::start(&hub, 1, &[]);
    assert_eq!(text(&submit(&hub, "echo hello")), "hello");
    assert_gave_way(&silent);
    let refused = hub.refused();
    assert!((40..60).contains(&refused.silent), "{refused:?}");
}

#[test]
fn half_workers_hold_up_no_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::open(HubOptions::new(Address::Ipc(folder.path().join("hub")))).unwrap();
    let halves: Vec<UnixStream> = (0..300u32)
        .map(|number| {
            let mut pair = [0; 16];
            pair[..4].copy_from_slice(&number.to_be_bytes());
            let hello = FromDaemon::Hello(Hello {
                returning: None,
                role: Role::Control,
                pair: PairKey(pair),
                direct: false,
                pid: 0,
                launcher: 0,
                ahead: false,
            });
            let mut stream = connect(&hub);
            stream.write_all(&Preamble::OURS.encode()).unwrap();
            stream.write_all(&encode_head(&hello, 0)).unwrap();
            stream
        })
        .collect();
    let _workers = Workers::start(&hub, 1, &[]);
    assert_eq!(text(&submit(&hub, "echo hello")), "hello");
    assert!(!halves.iter().any(is_closed));
    drop(halves);
    assert_eq!(text(&submit(&hub, "echo still here")), "still here");
}

#[test]
fn closing_resolves_everything_and_workers_leave() {
    let hub = open();
    let mut workers = Workers::start(&hub, 2, &[]);
    wait_connected(&hub, 2);
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let running = submit(&hub, format!("touch-and-hang {}", begun.display()));
    wait_for_file(&begun);
    hub.close(false);
    assert_eq!(outcome(&running), Outcome::Reset);
    assert!(hub.submit(Task::new(Vec::new())).is_err());
    let codes = [workers.exit_code(0), workers.exit_code(1)];
    // The idle one returns; the busy one is ended by a signal after its grace.
    assert!(
        codes.contains(&Some(0)) && codes.contains(&None),
        "{codes:?}"
    );
}

#[test]
fn a_hub_that_is_closed_soon_resolves_at_once_and_leaves_its_address_to_the_next() {
    let hub = open();
    let address = hub.address().clone();
    let mut workers = Workers::start(&hub, 8, &[]);
    wait_connected(&hub, 8);
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let running = submit(&hub, format!("touch-and-hang {}", begun.display()));
    wait_for_file(&begun);
    hub.close_soon(false);
    assert!(running.outcome().is_some());
    assert_eq!(outcome(&running), Outcome::Reset);
    assert!(hub.submit(Task::new(Vec::new())).is_err());
    let _next = Hub::open(HubOptions::new(address)).unwrap();
    let codes: Vec<_> = (0..8).map(|i| workers.exit_code(i)).collect();
    // The idle ones return.
    assert!(
        codes.iter().filter(|code| **code == Some(0)).count() >= 7,
        "{codes:?}"
    );
}

#[test]
fn a_hub_that_is_closed_soon_frees_its_address_at_once() {
    for _ in 0..10 {
        let hub = Hub::open(HubOptions::new(
            Address::parse("tcp://127.0.0.1:0").unwrap(),
        ))
        .unwrap();
        let _workers = Workers::start(&hub, 8, &[]);
        wait_connected(&hub, 8);
        let place = hub.address().to_string().replace("tcp://", "");
        hub.close_soon(false);
        std::net::TcpListener::bind(place).unwrap();
    }
}

#[test]
fn a_hub_opens_while_the_thread_of_another_is_held_up() {
    let hub = open();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let task = submit(&hub, "echo this".to_owned());
    task.on_settle(move || {
        let _ = tell.send(());
        let _ = held.recv_timeout(HANG);
    });
    // Only now, so that the hub's thread settles the task, not this one.
    let _workers = Workers::start(&hub, 1, &[]);
    told.recv_timeout(HANG).unwrap();
    let address = hub.address().clone();
    hub.close_soon(false);
    let (opened, is_open) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let next = Hub::open(HubOptions::new(
            Address::unique(std::env::temp_dir().as_path()).unwrap(),
        ));
        opened.send(next.is_ok()).unwrap();
    });
    assert_eq!(is_open.recv_timeout(HANG / 2), Ok(true));
    release.send(()).unwrap();
    // One that needs the address waits for it.
    Hub::open(HubOptions::new(address)).unwrap();
}

#[test]
fn workers_that_stay_are_told_to_leave_by_a_hub_that_is_closed_soon() {
    let hub = open();
    let mut workers = Workers::start(&hub, 2, &[("MIRAI_TEST_STAY", "1")]);
    wait_connected(&hub, 2);
    hub.close_soon(true);
    hub.close_soon(true);
    hub.close(true);
    assert_eq!(
        [workers.exit_code(0), workers.exit_code(1)],
        [Some(0), Some(0)]
    );
}

/// In a namespace of process ids the leader of its session may be outside, and its first process is spared by signals of
/// its own.
#[test]
#[cfg(target_os = "linux")]
fn a_busy_worker_in_a_container_leaves_when_the_hub_has_gone() {
    let own_ids = ["unshare", "--user", "--pid", "--fork"];
    let works = Command::new(own_ids[0])
        .args(&own_ids[1..])
        .arg("true")
        .status();
    if !works.is_ok_and(|status| status.success()) {
        println!("skipped: needs the program unshare and the right to make namespaces");
        return;
    }
    let hub = open();
    let mut workers = Workers::start_by(&own_ids, &hub, 1, &[]);
    wait_connected(&hub, 1);
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let running = submit(&hub, format!("touch-and-hang {}", begun.display()));
    wait_for_file(&begun);
    hub.close(false);
    assert_eq!(outcome(&running), Outcome::Reset);
    // What unshare passes on: the worker was not ended by a signal.
    assert_eq!(workers.exit_code(0), Some(143));
}

#[test]
fn a_worker_that_stays_serves_the_next_hub_at_the_address_until_told() {
    let hub = open();
    let address = hub.address().clone();
    let mut workers = Workers::start(&hub, 1, &[("MIRAI_TEST_STAY", "1")]);
    let pid = text(&submit(&hub, "pid"));
    hub.close(false);
    let next = Hub::open(HubOptions::new(address)).unwrap();
    assert_eq!(text(&submit(&next, "pid")), pid);
    next.close(true);
    assert_eq!(workers.exit_code(0), Some(0));
}

#[test]
fn a_worker_that_is_dismissed_leaves_though_it_would_stay_and_the_others_go_on() {
    let hub = Hub::open(options(Mode::Direct)).unwrap();
    let settings = [("MIRAI_TEST_DIRECT", "1"), ("MIRAI_TEST_STAY", "1")];
    let mut first = Workers::start(&hub, 1, &settings);
    wait_connected(&hub, 1);
    let _second = Workers::start(&hub, 1, &settings);
    wait_connected(&hub, 2);
    hub.dismiss(1);
    assert_eq!(first.exit_code(0), Some(0));
    wait_connected(&hub, 1);
    hub.dismiss(1);
    let left: Vec<_> = hub.workers().iter().map(|worker| worker.id).collect();
    assert_eq!(left, [2]);
    assert_eq!(text(&submit(&hub, "echo left")), "left");
}

#[test]
fn limits_end_workers_and_lose_no_task() {
    let hub = open();
    let tasks: Vec<_> = (0..10).map(|i| submit(&hub, format!("echo {i}"))).collect();
    let mut workers = Workers::start(&hub, 5, &[("MIRAI_TEST_TASKS", "2")]);
    for (i, task) in tasks.iter().enumerate() {
        assert_eq!(text(task), i.to_string());
    }
    assert!((0..5).all(|i| workers.exit_code(i) == Some(3)));
    wait_connected(&hub, 0);
    let mut idle = Workers::start(&hub, 1, &[("MIRAI_TEST_IDLE", "10")]);
    assert_eq!(idle.exit_code(0), Some(1));
    wait_connected(&hub, 0);
}

#[test]
fn a_worker_of_another_mode_is_turned_away() {
    let hub = Hub::open(options(Mode::Direct)).unwrap();
    let mut wrong = Workers::start(&hub, 1, &[]);
    assert_eq!(wrong.exit_code(0), Some(113));
    let _right = Workers::start(&hub, 1, &[("MIRAI_TEST_DIRECT", "1")]);
    assert_eq!(text(&submit(&hub, "echo dealt")), "dealt");
}

#[test]
fn workers_get_settings_in_the_order_in_which_they_join() {
    let welcome = Box::new(|nth: u64| format!("settings {nth}").into());
    let hub = Hub::open(HubOptions {
        welcome: Some(welcome),
        ..options(Mode::Queue)
    })
    .unwrap();
    let _first = Workers::start(&hub, 1, &[]);
    assert_eq!(text(&submit(&hub, "settings")), "settings 0");
    let _second = Workers::start(&hub, 1, &[]);
    wait_connected(&hub, 2);
    let everywhere = hub.everywhere(Task::new(b"settings".to_vec()), 1).unwrap();
    let mut all: Vec<_> = everywhere.iter().map(text).collect();
    all.sort();
    assert_eq!(all, ["settings 0", "settings 1"]);
}

#[test]
fn workers_that_join_later_are_set_up_before_their_first_task() {
    for mode in [Mode::Queue, Mode::Direct] {
        let hub = Hub::open(options(mode)).unwrap();
        let direct = [(
            "MIRAI_TEST_DIRECT",
            if mode == Mode::Direct { "1" } else { "0" },
        )];
        assert!(
            hub.set_up(Task::new(b"note a".to_vec()))
                .unwrap()
                .is_empty()
        );
        assert!(
            hub.set_up(Task::new(b"fail b".to_vec()))
                .unwrap()
                .is_empty()
        );
        let _first = Workers::start(&hub, 1, &direct);
        assert_eq!(text(&submit(&hub, "notes")), "a");
        let now = hub.set_up(Task::new(b"note c".to_vec())).unwrap();
        assert_eq!(now.len(), 1);
        assert_eq!(text(&submit(&hub, "notes")), "a c");
        let _second = Workers::start(&hub, 1, &direct);
        wait_connected(&hub, 2);
        let all = hub.everywhere(Task::new(b"notes".to_vec()), 2).unwrap();
        assert!(all.iter().all(|task| text(task) == "a c"));
        assert!(hub.workers().iter().all(|worker| !worker.is_set_up));
        assert_eq!(hub.counts().completed, 5);
    }
}

#[test]
fn a_full_queue_refuses_tasks_until_it_has_room() {
    let hub = Hub::open(HubOptions {
        capacity: Some(100),
        ..options(Mode::Queue)
    })
    .unwrap();
    let first = submit(&hub, vec![b'x'; 150]);
    let refused = hub.submit(Task::new(b"echo".to_vec()));
    assert!(matches!(refused, Err(mirai_hub::SubmitError::Full(_))));
    assert!(!hub.wait_admission(Duration::ZERO));
    assert!(first.cancel());
    assert!(hub.wait_admission(HANG));
    assert_eq!(hub.memory().used, 0);
}

#[test]
fn many_tasks_are_taken_in_order_until_the_queue_is_full() {
    let hub = Hub::open(HubOptions {
        capacity: Some(100_000),
        ..options(Mode::Queue)
    })
    .unwrap();
    let mut tasks: VecDeque<Task> = (0..5_000)
        .map(|i| Task::new(format!("echo {i}").into_bytes()))
        .collect();
    let mut submitted = Vec::new();
    hub.submit_many(&mut tasks, &mut submitted).unwrap();
    let first = submitted.len();
    assert!((10..1_000).contains(&first), "{first}");
    assert_eq!(first + tasks.len(), 5_000);
    hub.submit_many(&mut tasks, &mut submitted).unwrap();
    assert_eq!(submitted.len(), first);

    let _workers = Workers::start(&hub, 2, &[]);
    while !tasks.is_empty() {
        assert!(hub.wait_admission(HANG));
        hub.submit_many(&mut tasks, &mut submitted).unwrap();
    }
    for (i, task) in submitted.iter().enumerate() {
        assert_eq!(text(task), i.to_string());
    }
    assert!(submitted.is_sorted_by_key(TaskHandle::id));

    tasks.push_back(Task::new(Vec::new()));
    hub.close(false);
    let closed = hub.submit_many(&mut tasks, &mut submitted);
    assert!(matches!(closed, Err(mirai_hub::SubmitError::Closed)));
    assert_eq!((tasks.len(), submitted.len()), (1, 5_000));
}

#[test]
fn a_full_queue_of_empty_tasks_that_share_much_refuses() {
    let hub = Hub::open(HubOptions {
        capacity: Some(100_000),
        ..options(Mode::Queue)
    })
    .unwrap();
    let shared = Some(hub.share(vec![0; 50_000]));
    let task = || Task {
        shared: shared.clone(),
        ..Task::new(Vec::new())
    };
    let admitted: Vec<_> = std::iter::from_fn(|| hub.submit(task()).ok())
        .take(10_000)
        .collect();
    // The part is there once, and each task costs something.
    assert!((10..1_000).contains(&admitted.len()), "{}", admitted.len());
    let other = open();
    let foreign = other.submit(task()).unwrap();
    assert!(
        other.memory().used < 50_000,
        "the other hub does not hold it"
    );
    foreign.cancel();
    assert!(admitted.iter().all(mirai_hub::TaskHandle::cancel));
    assert_eq!((hub.memory().used, other.memory().used), (0, 0));
}

#[test]
fn callbacks_and_watches_see_every_resolution() {
    use mirai_hub::{Progress, Watch};
    let hub = open();
    let tasks = [
        submit(&hub, "echo a"),
        submit(&hub, "fail b"),
        submit(&hub, "echo c"),
    ];
    let (tell, told) = std::sync::mpsc::channel();
    tasks[2].on_settle(move || tell.send(()).unwrap());
    let watch = Watch::new(&tasks);
    assert_eq!(watch.wait(1, false, Duration::ZERO), Progress::default());
    let _workers = Workers::start(&hub, 1, &[]);
    told.recv_timeout(HANG).unwrap();
    assert_eq!(watch.wait(3, true, HANG).first_failure, Some(1));
    let seen = watch.wait(3, false, HANG);
    assert_eq!(
        seen,
        Progress {
            done: 3,
            first_failure: Some(1),
            first_done: Some(0)
        }
    );
}

#[test]
fn a_task_goes_to_the_worker_it_is_meant_for_and_to_any_once_that_is_gone() {
    let hub = Hub::open(options(Mode::Direct)).unwrap();
    let mut workers = Workers::start(&hub, 2, &[("MIRAI_TEST_DIRECT", "1")]);
    wait_connected(&hub, 2);
    let joined = hub.workers();
    let ask = |to: u32| {
        let task = Task {
            to: Some(to),
            ..Task::new(b"pid".to_vec())
        };
        text(&hub.submit(task).unwrap()).parse().ok()
    };
    for worker in joined.iter().chain(joined.iter().rev()) {
        assert_eq!(ask(worker.id), worker.pid);
    }
    let [gone, left] = &joined[..] else {
        panic!("two workers, not {joined:?}")
    };
    for child in &mut workers.0 {
        if Some(child.id()) == gone.pid {
            child.kill().unwrap();
        }
    }
    wait_connected(&hub, 1);
    assert!(hub.has_worker(left.id) && !hub.has_worker(gone.id) && !hub.has_worker(0));
    assert_eq!(ask(gone.id), left.pid);
    assert_eq!(ask(99), left.pid);
}

#[test]
fn a_watch_that_is_dropped_leaves_nothing_at_its_tasks() {
    let hub = open();
    let task = submit(&hub, "echo late");
    let alive = Arc::new(());
    let kept = Arc::clone(&alive);
    task.on_settle(move || drop(kept));
    for _ in 0..1000 {
        let watch = Watch::new(std::slice::from_ref(&task));
        assert_eq!(watch.wait(1, false, Duration::ZERO).done, 0);
    }
    // What others have asked for is still there, and a later watch sees the end.
    assert_eq!(Arc::strong_count(&alive), 2);
    let watch = Watch::new(std::slice::from_ref(&task));
    let _workers = Workers::start(&hub, 1, &[]);
    assert_eq!(watch.wait(1, false, HANG).done, 1);
    assert_eq!(text(&task), "late");
}

#[test]
fn many_threads_may_wait_at_once() {
    let hub = open();
    let _workers = Workers::start(&hub, 2, &[]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let hub = &hub;
            scope.spawn(move || {
                for round in 0..500 {
                    let word = format!("{thread}-{round}");
                    assert_eq!(text(&submit(hub, format!("echo {word}"))), word);
                }
            });
        }
    });
}

#[test]
fn all_ways_of_waiting_get_along() {
    let hubs = [open(), open()];
    let _workers = hubs.each_ref().map(|hub| Workers::start(hub, 1, &[]));
    let way = |round: usize| {
        let hub = &hubs[round / 7 % 2];
        match round % 7 {
            0 => {
                // In slices so short that some end before anything has been read.
                let (task, until) = (submit(hub, "echo slices"), Instant::now() + HANG);
                while !task.wait_for(Duration::from_micros(round as u64 % 50)) {
                    assert!(Instant::now() < until, "the task never resolved");
                }
            }
            1 => assert_eq!(text(&submit(hub, "echo one")), "one"),
            2 => {
                let tasks: Vec<_> = (0..5).map(|_| submit(hub, "echo many")).collect();
                assert_eq!(Watch::new(&tasks).wait(5, false, HANG).done, 5);
            }
            3 => {
                let tasks = hubs.each_ref().map(|hub| submit(hub, "echo both"));
                assert_eq!(Watch::new(&tasks).wait(2, false, HANG).done, 2);
            }
            4 => {
                let (tell, told) = std::sync::mpsc::channel();
                submit(hub, "echo told").on_settle(move || tell.send(()).unwrap());
                assert_eq!(told.recv_timeout(HANG), Ok(()));
            }
            5 => {
                let (task, until) = (submit(hub, "echo looked at"), Instant::now() + HANG);
                while task.outcome().is_none() {
                    assert!(Instant::now() < until, "the task never resolved");
                    std::thread::yield_now();
                }
            }
            _ => {
                let timeout = Some(Duration::from_millis(round as u64 % 4));
                let task = Task::new(b"echo in time".to_vec());
                outcome(&hub.submit(Task { timeout, ..task }).unwrap());
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || (0..700).for_each(|round| way(round + thread)));
        }
    });
}

#[test]
fn tasks_resolve_though_nobody_waits_any_more() {
    let hub = open();
    let _workers = Workers::start(&hub, 1, &[]);
    let (tell, told) = std::sync::mpsc::channel();
    for round in 0..100 {
        // The waits in between leave the connections to the hub's own thread again.
        assert_eq!(text(&submit(&hub, "echo before")), "before");
        let task = submit(&hub, "echo alone");
        let tell = tell.clone();
        task.on_settle(move || tell.send(round).unwrap());
        assert_eq!(told.recv_timeout(HANG), Ok(round));
    }
}

#[test]
fn a_wait_of_a_slice_ends_though_nothing_comes() {
    let hub = open();
    let never = submit(&hub, "echo never");
    for _ in 0..20 {
        assert!(!never.wait_for(Duration::from_millis(1)));
    }
    let watch = Watch::new(std::slice::from_ref(&never));
    assert_eq!(watch.wait(1, false, Duration::from_millis(1)).done, 0);
    assert_eq!(watch.wait(0, false, Duration::MAX).done, 0);
    drop(hub);
    assert_eq!(never.outcome(), Some(&Outcome::Reset));
}

#[test]
fn closing_wakes_threads_that_wait() {
    for round in 0..50 {
        let hub = open();
        let task = submit(&hub, "echo never");
        let (tell, told) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            tell.send(()).unwrap();
            outcome(&task)
        });
        told.recv().unwrap();
        // On its way into the wait, or well inside.
        (0..round * 20).for_each(|_| std::thread::yield_now());
        hub.close(true);
        assert_eq!(waiting.join().unwrap(), Outcome::Reset);
    }
}

#[test]
fn a_thread_that_runs_a_runtime_of_its_own_may_wait() {
    let hub = open();
    let _workers = Workers::start(&hub, 1, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let word = runtime.block_on(async { text(&submit(&hub, "echo inside")) });
    assert_eq!(word, "inside");
}

#[test]
fn a_watch_over_tasks_of_two_hubs_sees_both() {
    let (first, second) = (open(), open());
    let _first_workers = Workers::start(&first, 1, &[]);
    let _second_workers = Workers::start(&second, 1, &[]);
    let tasks = [submit(&first, "echo 1"), submit(&second, "fail 2")];
    let progress = Watch::new(&tasks).wait(2, false, HANG);
    assert_eq!((progress.done, progress.first_failure), (2, Some(1)));
}

/// Has the hub know that tasks are short.
fn practise(hub: &Hub) {
    let tasks: Vec<_> = (0..100).map(|_| submit(hub, "echo short")).collect();
    for task in &tasks {
        assert_eq!(text(task), "short");
    }
}

/// A task that hangs until it is stopped, among many short ones.
fn submit_with_one_long(hub: &Hub, begun: &Path) -> (TaskHandle, Vec<TaskHandle>) {
    let echo = |i| submit(hub, format!("echo {i}"));
    let mut short: Vec<_> = (0..500).map(echo).collect();
    let long = submit(hub, format!("touch-and-hang {}", begun.display()));
    short.extend((500..1000).map(echo));
    (long, short)
}

#[test]
fn nothing_waits_behind_a_long_task_while_another_worker_is_idle() {
    let hub = open();
    let _workers = Workers::start(&hub, 2, &[]);
    practise(&hub);
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let begun = folder.path().join(round.to_string());
        let (long, short) = submit_with_one_long(&hub, &begun);
        for (i, task) in short.iter().enumerate() {
            assert_eq!(text(task), i.to_string());
        }
        assert_eq!(long.outcome(), None);
        assert_eq!(hub.counts().executing, 1);
        wait_for_file(&begun);
        assert!(long.cancel());
        assert_eq!(outcome(&long), Outcome::Cancelled);
    }
}

#[test]
fn a_killed_worker_loses_none_of_what_it_had_not_begun() {
    let hub = open();
    let mut workers = Workers::start(&hub, 1, &[]);
    practise(&hub);
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let (long, short) = submit_with_one_long(&hub, &begun);
    wait_for_file(&begun);
    assert_eq!(text(&short[499]), "499");
    let counts = hub.counts();
    assert_eq!((counts.awaiting, counts.executing), (500, 1));
    assert!(short[700].cancel());
    assert!(short[501].cancel());
    workers.0[0].kill().unwrap();
    assert!(matches!(outcome(&long), Outcome::Lost(_)));
    let _more = Workers::start(&hub, 1, &[]);
    for (i, task) in short.iter().enumerate() {
        match i {
            501 | 700 => assert_eq!(outcome(task), Outcome::Cancelled),
            _ => assert_eq!(text(task), i.to_string()),
        }
    }
}

#[test]
fn a_worker_that_dies_amid_short_tasks_loses_none_that_it_had_ended() {
    let hub = open();
    for _ in 0..20 {
        let _workers = Workers::start(&hub, 1, &[]);
        practise(&hub);
        let before: Vec<_> = (0..300)
            .map(|i| submit(&hub, format!("echo {i}")))
            .collect();
        let doomed = submit(&hub, "exit");
        let after: Vec<_> = (0..300)
            .map(|i| submit(&hub, format!("echo {i}")))
            .collect();
        assert!(matches!(outcome(&doomed), Outcome::Lost(_)));
        let others = Workers::start(&hub, 1, &[]);
        for (i, task) in before.iter().chain(&after).enumerate() {
            assert_eq!(text(task), (i % 300).to_string());
        }
        drop(others);
        wait_connected(&hub, 0);
    }
}

#[test]
fn what_comes_back_and_crosses_with_its_beginning_is_evaluated_once() {
    let hub = open();
    let _workers = Workers::start(&hub, 3, &[]);
    practise(&hub);
    let folder = tempfile::tempdir().unwrap();
    for round in 0..30 {
        let file = folder.path().join(round.to_string());
        let append = |i: usize| submit(&hub, format!("append {} {i}", file.display()));
        let tasks: Vec<_> = (0..300).map(append).collect();
        let stopped: Vec<bool> = tasks
            .iter()
            .skip(7)
            .step_by(13)
            .map(TaskHandle::cancel)
            .collect();
        let mut stopped = stopped.into_iter();
        for (i, task) in tasks.iter().enumerate() {
            let is_stopped = i % 13 == 7 && stopped.next() == Some(true);
            assert_eq!(outcome(task) == Outcome::Cancelled, is_stopped, "{i}");
        }
        practise(&hub);
        let written = std::fs::read_to_string(&file).unwrap();
        let mut lines: Vec<usize> = written.lines().map(|line| line.parse().unwrap()).collect();
        lines.sort_unstable();
        assert!(
            lines.is_sorted_by(|a, b| a < b),
            "evaluated twice: {lines:?}"
        );
        let ended = (0..300).filter(|i| tasks[*i].outcome() != Some(&Outcome::Cancelled));
        assert!(ended.into_iter().all(|i| lines.contains(&i)));
    }
}
