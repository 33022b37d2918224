//! Daemons whose connection breaks: they return, and nothing is lost or done twice.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mirai_hub::{
    Access, Address, Hub, HubOptions, Mode, Outcome, Payload, ProcessFate, Task, TaskFlags,
    TaskHandle, Token,
};
use mirai_worker::{
    Absence, AutoExit, Evaluation, Evaluator, ExitReason, Interrupter, LeaveHandle, RunEnd,
    WorkerError,
};
use parking_lot::{Condvar, Mutex};

use common::{Relay, Weather};

/// A test that waits longer than this hangs.
const HANG: Duration = Duration::from_secs(60);

/// Tasks that a worker stops at until the test opens the gate.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_open: bool,
    waiting: usize,
    interrupts: usize,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while !state.is_open && state.interrupts == 0 {
            assert!(!self.changed.wait_for(&mut state, HANG).timed_out());
        }
        state.waiting -= 1;
    }

    fn open(&self) {
        self.state.lock().is_open = true;
        self.changed.notify_all();
    }

    fn wait_for_one(&self) {
        let mut state = self.state.lock();
        while state.waiting == 0 {
            assert!(!self.changed.wait_for(&mut state, HANG).timed_out());
        }
    }
}

impl Interrupter for Gate {
    fn interrupt(&self) {
        self.state.lock().interrupts += 1;
        self.changed.notify_all();
    }
    fn clear_interrupt(&self) {
        self.state.lock().interrupts = 0;
    }
}

/// Counts how often each task was evaluated.
type Ledger = Arc<Mutex<BTreeMap<Vec<u8>, usize>>>;

struct Echo {
    gate: Arc<Gate>,
    ledger: Ledger,
    parts: BTreeMap<u64, Payload>,
    absences: Arc<Mutex<Vec<Absence>>>,
}

impl Evaluator for Echo {
    fn welcome(&mut self, _settings: &[u8]) {}
    fn evaluate(&mut self, task: mirai_worker::Task<'_>) -> Evaluation {
        *self.ledger.lock().entry(task.body.to_vec()).or_default() += 1;
        if task.body.starts_with(b"gate") {
            self.gate.pass();
        }
        let mut payload = task.body.to_vec();
        if let Some(part) = task.part {
            payload.extend(&self.parts[&part]);
        }
        if task.body.starts_with(b"big") {
            payload.resize(3_000_000, 7);
        }
        Evaluation {
            end: RunEnd::Value,
            payload: payload.into(),
        }
    }
    fn after(&mut self, _flags: TaskFlags) {}
    fn keep_part(&mut self, id: u64, bytes: Payload) {
        self.parts.insert(id, bytes);
    }
    fn forget_part(&mut self, id: u64) {
        self.parts.remove(&id);
    }
    fn was_away(&mut self, absence: &Absence) {
        self.absences.lock().push(*absence);
    }
}

/// A worker on a thread.
struct Worker {
    gate: Arc<Gate>,
    ledger: Ledger,
    leave: LeaveHandle,
    absences: Arc<Mutex<Vec<Absence>>>,
    thread: JoinHandle<Result<ExitReason, WorkerError>>,
}

impl Worker {
    fn start(url: &str, change: impl FnOnce(&mut mirai_worker::WorkerOptions)) -> Worker {
        let mut options = mirai_worker::WorkerOptions::new(Address::parse(url).unwrap());
        // A process must not be ended for one of its threads.
        options.autoexit = AutoExit::Finish;
        change(&mut options);
        let (gate, ledger) = (Arc::new(Gate::default()), Ledger::default());
        let mut echo = Echo {
            gate: Arc::clone(&gate),
            ledger: Arc::clone(&ledger),
            parts: BTreeMap::new(),
            absences: Arc::default(),
        };
        let absences = Arc::clone(&echo.absences);
        let leave = options.leave.clone();
        let interrupter = Arc::clone(&gate);
        let run = move || mirai_worker::run_worker(&options, &mut echo, interrupter);
        Worker {
            gate,
            ledger,
            leave,
            absences,
            thread: std::thread::spawn(run),
        }
    }

    fn end(self) -> Result<ExitReason, WorkerError> {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            assert!(begun.elapsed() < HANG, "the worker leaves");
            std::thread::sleep(Duration::from_millis(2));
        }
        self.thread.join().unwrap()
    }
}

fn hub(mode: Mode, grace: Duration) -> (Hub, Relay) {
    hub_at(HubOptions {
        mode,
        grace,
        ..HubOptions::new(Address::parse("tcp://127.0.0.1:0").unwrap())
    })
}

fn hub_at(options: HubOptions) -> (Hub, Relay) {
    let hub = Hub::open(options).unwrap();
    let url = hub.address().to_string();
    let at: SocketAddr = url.strip_prefix("tcp://").unwrap().parse().unwrap();
    (hub, Relay::to(at))
}

const LONG: Duration = Duration::from_secs(600);

fn until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < HANG, "never came true");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn connected(hub: &Hub, count: u64) {
    until(|| hub.counts().connections == count);
}

fn submit(hub: &Hub, body: &str) -> TaskHandle {
    hub.submit(Task::new(body.as_bytes().to_vec())).unwrap()
}

fn outcome(task: &TaskHandle) -> Outcome {
    assert!(task.wait_for(HANG), "the task resolves");
    task.outcome().unwrap().clone()
}

fn value(task: &TaskHandle) -> Vec<u8> {
    match outcome(task) {
        Outcome::Value(bytes) => bytes.into(),
        other => panic!("not a value: {other:?}"),
    }
}

#[test]
fn a_busy_worker_goes_on_with_its_task_through_a_break() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let worker = Worker::start(&relay.url(), |_| {});
    let task = submit(&hub, "gate");
    worker.gate.wait_for_one();
    relay.set(Weather::Storm);
    relay.cut();
    until(|| hub.counts().suspects == 1);
    // The result is there before the connection is.
    worker.gate.open();
    relay.set(Weather::Fair);
    assert_eq!(value(&task), b"gate");
    connected(&hub, 1);
    assert_eq!(hub.counts().cumulative, 1);
    assert_eq!(hub.workers()[0].id, 1);
    hub.close(false);
    assert!(matches!(worker.end(), Ok(ExitReason::Ended)));
}

#[test]
fn a_long_task_is_joined_again_while_it_runs() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let worker = Worker::start(&relay.url(), |_| {});
    let task = submit(&hub, "gate");
    worker.gate.wait_for_one();
    relay.cut();
    until(|| {
        hub.workers()
            .first()
            .is_some_and(|worker| worker.returns == 1)
    });
    connected(&hub, 1);
    worker.gate.open();
    assert_eq!(value(&task), b"gate");
    assert_eq!(value(&submit(&hub, "next")), b"next");
    // The worker has told of it once it was through with its task.
    let absences = worker.absences.lock().clone();
    assert!(!absences.is_empty());
    for absence in absences {
        assert!(absence.has_returned && absence.broke <= absence.ended);
    }
}

#[test]
fn a_worker_tells_of_the_end_of_its_hub_and_of_an_idle_break() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let url = hub.address().to_string();
    let worker = Worker::start(&relay.url(), |_| {});
    assert_eq!(value(&submit(&hub, "here")), b"here");
    relay.cut();
    until(|| !worker.absences.lock().is_empty());
    connected(&hub, 1);
    relay.set(Weather::Storm);
    relay.cut();
    hub.close(true);
    drop(hub);
    let absences = Arc::clone(&worker.absences);
    // The next hub does not know it.
    let _next = Hub::open(HubOptions::new(Address::parse(&url).unwrap())).unwrap();
    relay.set(Weather::Fair);
    assert!(worker.end().is_ok());
    let returned: Vec<_> = absences.lock().iter().map(|a| a.has_returned).collect();
    let (last, before) = returned.split_last().unwrap();
    assert!(!last && before.iter().all(|has_returned| *has_returned));
}

#[test]
fn tasks_and_results_of_any_size_survive_any_number_of_breaks_and_run_once() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let workers: Vec<_> = (0..3)
        .map(|_| Worker::start(&relay.url(), |_| {}))
        .collect();
    connected(&hub, 3);
    let shared = hub.share(vec![5; 200_000]);
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let kind = if n % 10 == 0 { "big" } else { "small" };
            let body = format!("{kind} {n}").into_bytes();
            let mut task = Task::new(body);
            task.shared = (n % 3 == 0).then(|| shared.clone());
            hub.submit(task).unwrap()
        })
        .collect();
    let mut cuts = 0;
    while hub.counts().awaiting + hub.counts().executing > 0 {
        let before = relay.bytes();
        until(|| relay.bytes() > before + 100_000 || hub.counts().executing == 0);
        relay.cut();
        cuts += 1;
    }
    assert!(cuts > 2);
    for (n, task) in tasks.iter().enumerate() {
        let bytes = value(task);
        let body = format!("{} {n}", if n % 10 == 0 { "big" } else { "small" });
        assert!(bytes.starts_with(body.as_bytes()));
        let shared = if n % 3 == 0 { 200_000 } else { 0 };
        let len = if n % 10 == 0 {
            3_000_000
        } else {
            body.len() + shared
        };
        assert_eq!(bytes.len(), len);
    }
    let evaluations: Vec<_> = workers
        .iter()
        .flat_map(|worker| worker.ledger.lock().values().copied().collect::<Vec<_>>())
        .collect();
    assert_eq!(evaluations.len(), 300);
    assert!(evaluations.iter().all(|count| *count == 1));
    assert_eq!(hub.counts().cumulative, 3);
}

#[test]
fn what_was_dealt_to_a_worker_comes_once_and_in_order() {
    let (hub, relay) = hub(Mode::Direct, LONG);
    let worker = Worker::start(&relay.url(), |options| options.direct = true);
    connected(&hub, 1);
    let first = submit(&hub, "gate");
    worker.gate.wait_for_one();
    let others: Vec<_> = (0..50)
        .map(|n| submit(&hub, &format!("task {n}")))
        .collect();
    relay.set(Weather::Storm);
    relay.cut();
    until(|| hub.counts().suspects == 1);
    worker.gate.open();
    relay.set(Weather::Fair);
    assert_eq!(value(&first), b"gate");
    for (n, task) in others.iter().enumerate() {
        assert_eq!(value(task), format!("task {n}").into_bytes());
    }
    assert!(worker.ledger.lock().values().all(|count| *count == 1));
}

#[test]
fn a_worker_that_does_not_return_in_time_is_lost_and_leaves_when_it_does() {
    let (hub, relay) = hub(Mode::Queue, Duration::from_millis(300));
    let worker = Worker::start(&relay.url(), |_| {});
    let task = submit(&hub, "gate");
    worker.gate.wait_for_one();
    relay.set(Weather::Storm);
    relay.cut();
    match outcome(&task) {
        Outcome::Lost(why) => assert!(why.ends_with("did not return within 300ms"), "{why}"),
        other => panic!("{other:?}"),
    }
    until(|| hub.workers().is_empty());
    relay.set(Weather::Fair);
    worker.gate.open();
    assert!(matches!(worker.end(), Ok(ExitReason::Ended)));
    assert_eq!(hub.counts().cumulative, 1);
}

/// A worker of the job `7_2`, at a task, and the names of the jobs that the hub asks for.
fn worker_in_a_job(hub: &Hub, relay: &Relay) -> (Worker, TaskHandle, Receiver<String>) {
    let (tell, told) = channel();
    hub.handle().listen_to_jobs(Box::new(move |job| {
        tell.send(job.to_owned()).expect("the test listens");
        true
    }));
    let worker = Worker::start(&relay.url(), |options| {
        options.origin.job = "7_2".to_owned();
    });
    let task = submit(hub, "gate");
    worker.gate.wait_for_one();
    until(|| {
        let workers = hub.workers();
        let origin = workers.first().and_then(|worker| worker.origin.clone());
        origin.is_some_and(|origin| origin.job == "7_2")
    });
    (worker, task, told)
}

fn fate(how: &str) -> ProcessFate {
    ProcessFate {
        how: how.to_owned(),
        output: "Killed".to_owned(),
    }
}

#[test]
fn a_silent_worker_whose_job_has_ended_is_lost_at_once_with_what_is_said_of_that() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let (worker, task, asked) = worker_in_a_job(&hub, &relay);
    hub.handle().note_job_end("7_1", fate("is another's"), true);
    relay.set(Weather::Storm);
    relay.cut();
    assert_eq!(asked.recv_timeout(HANG).as_deref(), Ok("7_2"));
    assert!(task.outcome().is_none());
    hub.handle()
        .note_job_end("7_2", fate("ran out of memory"), true);
    match outcome(&task) {
        Outcome::Lost(why) => assert!(
            why.ends_with("job 7_2) ran out of memory. Its last output:\nKilled"),
            "{why}"
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(hub.deaths()[0].how.as_deref(), Some("ran out of memory"));
    assert!(hub.workers().is_empty());
    relay.set(Weather::Fair);
    worker.gate.open();
    assert!(matches!(worker.end(), Ok(ExitReason::Ended)));
}

#[test]
fn a_worker_that_falls_silent_after_the_end_of_its_job_is_not_waited_for() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let (worker, task, _asked) = worker_in_a_job(&hub, &relay);
    hub.handle()
        .note_job_end("7_2", fate("was cancelled"), true);
    assert_eq!(hub.workers().len(), 1);
    relay.set(Weather::Storm);
    relay.cut();
    match outcome(&task) {
        Outcome::Lost(why) => assert!(why.contains("job 7_2) was cancelled"), "{why}"),
        other => panic!("{other:?}"),
    }
    relay.set(Weather::Fair);
    worker.gate.open();
    assert!(matches!(worker.end(), Ok(ExitReason::Ended)));
}

#[test]
fn a_worker_of_a_job_that_has_begun_again_returns_like_others() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    hub.handle()
        .note_job_end("7_2", fate("was preempted"), true);
    let (worker, task, _asked) = worker_in_a_job(&hub, &relay);
    relay.cut();
    until(|| hub.workers()[0].returns == 1);
    worker.gate.open();
    assert_eq!(value(&task), b"gate");
}

#[test]
fn a_silent_worker_whose_job_may_go_on_has_its_time_to_return() {
    let (hub, relay) = hub(Mode::Queue, Duration::from_millis(300));
    let (worker, task, asked) = worker_in_a_job(&hub, &relay);
    relay.set(Weather::Storm);
    relay.cut();
    assert_eq!(asked.recv_timeout(HANG).as_deref(), Ok("7_2"));
    hub.handle()
        .note_job_end("7_2", fate("was lost with its node"), false);
    match outcome(&task) {
        Outcome::Lost(why) => assert!(why.contains("job 7_2) was lost with its node"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(hub.deaths()[0].task, Some((task.id(), 1)));
    relay.set(Weather::Fair);
    worker.gate.open();
    assert!(matches!(worker.end(), Ok(ExitReason::Ended)));
}

#[test]
fn what_is_changed_on_the_way_is_counted_and_harms_nothing() {
    let token = Token::parse(&"0f".repeat(32)).unwrap();
    let (hub, relay) = hub_at(HubOptions {
        grace: LONG,
        access: Access {
            token: Some(token.clone()),
            ..Access::default()
        },
        ..HubOptions::new(Address::parse("tcp://127.0.0.1:0").unwrap())
    });
    let worker = Worker::start(&relay.url(), |options| {
        options.credentials.token = Some(token);
    });
    let task = submit(&hub, "gate");
    worker.gate.wait_for_one();
    assert_eq!(hub.refused().unproven, 0);
    relay.set(Weather::Forged);
    worker.gate.open();
    until(|| hub.refused().unproven > 0);
    assert_eq!(value(&task), b"gate");
    assert_eq!(value(&submit(&hub, "next")), b"next");
    assert_eq!(hub.counts().cumulative, 1);
}

/// A worker at a task, behind a line on which nothing passes any more, as a tunnel whose other machine is cut off: the
/// connections to the relay hold.
fn worker_behind_a_still_line(grace: Duration) -> (Hub, Relay, Worker, TaskHandle) {
    let (hub, relay) = hub_that_asks_often(grace);
    let worker = Worker::start(&relay.url(), |_| {});
    let task = submit(&hub, "gate");
    worker.gate.wait_for_one();
    relay.set(Weather::Still);
    (hub, relay, worker, task)
}

fn hub_that_asks_often(grace: Duration) -> (Hub, Relay) {
    hub_at(HubOptions {
        grace,
        silence: Duration::from_secs(3),
        ..HubOptions::new(Address::parse("tcp://127.0.0.1:0").unwrap())
    })
}

#[test]
fn a_line_on_which_nothing_passes_any_more_is_broken_at_both_ends() {
    let (hub, relay, worker, task) = worker_behind_a_still_line(LONG);
    until(|| hub.counts().suspects == 1);
    // The worker dials again.
    until(|| relay.waiting() > 0);
    relay.set(Weather::Fair);
    worker.gate.open();
    assert_eq!(value(&task), b"gate");
    assert!(hub.workers()[0].returns >= 1);
}

#[test]
fn a_daemon_behind_a_line_on_which_nothing_passes_any_more_is_lost_in_time() {
    let (_hub, relay, worker, task) = worker_behind_a_still_line(Duration::from_millis(300));
    assert!(matches!(outcome(&task), Outcome::Lost(_)));
    worker.gate.open();
    relay.set(Weather::Fair);
    assert!(matches!(worker.end(), Ok(ExitReason::Ended)));
}

/// One that rests is hardly ever asked: not before the test is over, if it were not for the task.
#[test]
fn a_line_that_is_dead_is_noticed_when_a_worker_that_rested_gets_a_task() {
    let (hub, relay) = hub_that_asks_often(Duration::from_millis(300));
    let worker = Worker::start(&relay.url(), |_| {});
    assert_eq!(value(&submit(&hub, "x")), b"x");
    // It has been asked, and is asked rarely now.
    std::thread::sleep(Duration::from_secs(2));
    relay.set(Weather::Still);
    assert!(matches!(outcome(&submit(&hub, "y")), Outcome::Lost(_)));
    relay.set(Weather::Fair);
    assert!(matches!(worker.end(), Ok(ExitReason::Ended)));
}

#[test]
fn without_grace_a_break_is_the_end() {
    let (hub, relay) = hub(Mode::Queue, Duration::ZERO);
    let worker = Worker::start(&relay.url(), |_| {});
    let task = submit(&hub, "gate");
    worker.gate.wait_for_one();
    relay.cut();
    assert!(matches!(outcome(&task), Outcome::Lost(_)));
    worker.gate.open();
    assert!(matches!(worker.end(), Ok(ExitReason::Ended)));
}

#[test]
fn a_worker_whose_hub_is_gone_leaves_at_once() {
    let (hub, _relay) = hub(Mode::Queue, LONG);
    let worker = Worker::start(&hub.address().to_string(), |_| {});
    connected(&hub, 1);
    hub.close(false);
    drop(hub);
    assert!(matches!(worker.end(), Ok(ExitReason::Ended)));
}

#[test]
fn a_worker_that_stays_serves_the_next_hub_also_after_a_break() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let url = hub.address().to_string();
    let worker = Worker::start(&relay.url(), |options| options.autoexit = AutoExit::No);
    connected(&hub, 1);
    relay.set(Weather::Storm);
    relay.cut();
    until(|| hub.counts().suspects == 1);
    hub.close(false);
    drop(hub);
    let hub = Hub::open(HubOptions::new(Address::parse(&url).unwrap())).unwrap();
    relay.set(Weather::Fair);
    connected(&hub, 1);
    assert_eq!(value(&submit(&hub, "again")), b"again");
    hub.close(true);
    assert!(worker.end().is_ok());
}

#[test]
fn the_last_result_of_a_worker_is_delivered_after_a_break() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let worker = Worker::start(&relay.url(), |options| options.maxtasks = Some(1));
    let task = submit(&hub, "gate");
    worker.gate.wait_for_one();
    relay.set(Weather::Storm);
    relay.cut();
    until(|| hub.counts().suspects == 1);
    worker.gate.open();
    relay.set(Weather::Fair);
    assert_eq!(value(&task), b"gate");
    assert!(matches!(worker.end(), Ok(ExitReason::MaxTasks)));
    until(|| hub.workers().is_empty());
}

#[test]
fn a_cancellation_during_a_break_reaches_the_worker_that_returns() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let worker = Worker::start(&relay.url(), |_| {});
    let task = submit(&hub, "gate");
    worker.gate.wait_for_one();
    relay.set(Weather::Storm);
    relay.cut();
    until(|| hub.counts().suspects == 1);
    assert!(task.cancel());
    assert!(matches!(outcome(&task), Outcome::Cancelled));
    relay.set(Weather::Fair);
    assert_eq!(value(&submit(&hub, "next")), b"next");
    drop(worker);
}

#[test]
fn a_worker_may_be_told_to_leave_while_it_is_away_and_while_it_looks_for_its_hub() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let [dismissed, asked] = [1, 2].map(|count| {
        let worker = Worker::start(&relay.url(), |_| {});
        connected(&hub, count);
        worker
    });
    relay.set(Weather::Storm);
    relay.cut();
    until(|| hub.counts().suspects == 2);
    hub.dismiss(1);
    until(|| hub.workers().len() == 1);
    asked.leave.ask();
    assert!(asked.end().is_ok());
    relay.set(Weather::Fair);
    assert!(dismissed.end().is_ok());
}

#[test]
fn a_worker_is_there_again_before_the_hub_has_noticed() {
    let (hub, relay) = hub(Mode::Queue, LONG);
    let worker = Worker::start(&relay.url(), |_| {});
    let task = submit(&hub, "gate");
    worker.gate.wait_for_one();
    // The worker's end of the stretch only.
    relay.cut_daemons();
    until(|| {
        hub.workers()
            .first()
            .is_some_and(|worker| worker.returns == 1)
    });
    worker.gate.open();
    assert_eq!(value(&task), b"gate");
    assert_eq!(value(&submit(&hub, "next")), b"next");
    assert_eq!(hub.counts().cumulative, 1);
}

/// Three hosts with ten workers each, on lines that delay, stand still and break; one of them is lost for good.
#[test]
fn on_bad_lines_every_task_comes_to_its_end_once() {
    let (hub, first) = hub(Mode::Queue, Duration::from_secs(5));
    let at: SocketAddr = hub.address().to_string()[6..].parse().unwrap();
    let hosts = [first, Relay::to(at), Relay::to(at)];
    let workers: Vec<Worker> = (0..30)
        .map(|n| Worker::start(&hosts[n % 3].url(), |options| options.asyncdial = true))
        .collect();
    connected(&hub, 30);
    let tasks: Vec<_> = (0..3000)
        .map(|n| submit(&hub, &format!("task {n}")))
        .collect();
    let held: Vec<_> = (0..30)
        .map(|n| submit(&hub, &format!("gate {n}")))
        .collect();
    let weathers = [Weather::Slow, Weather::Still, Weather::Storm, Weather::Fair];
    for step in 0..24_usize {
        let host = &hosts[step % 3];
        host.set(weathers[step % 4]);
        if step % 5 == 0 {
            host.cut();
        }
        std::thread::sleep(Duration::from_millis(20));
        host.set(Weather::Fair);
    }
    hosts[2].set(Weather::Storm);
    hosts[2].cut();
    workers.iter().for_each(|worker| worker.gate.open());
    let (mut values, mut lost) = (0, 0);
    for (n, task) in tasks.iter().enumerate() {
        match outcome(task) {
            Outcome::Value(bytes) => {
                assert_eq!(bytes, format!("task {n}").into_bytes());
                values += 1;
            }
            Outcome::Lost(_) => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    held.iter().for_each(|task| drop(outcome(task)));
    assert!(lost <= 10 && values >= 2990, "{values} values, {lost} lost");
    let mut evaluations = BTreeMap::new();
    for worker in &workers {
        for (body, count) in worker.ledger.lock().iter() {
            *evaluations.entry(body.clone()).or_insert(0) += count;
        }
    }
    assert!(evaluations.values().all(|count| *count == 1));
    until(|| hub.workers().len() == 20);
    assert_eq!(hub.counts().cumulative, 30);
}

/// Lines that delay and break at random all the while, also as daemons introduce themselves.
#[test]
fn on_lines_that_lose_at_random_every_task_is_done_once() {
    let (hub, first) = hub(Mode::Queue, LONG);
    let at: SocketAddr = hub.address().to_string()[6..].parse().unwrap();
    let hosts = [first, Relay::to(at), Relay::to(at)];
    let workers: Vec<Worker> = (0..12)
        .map(|n| Worker::start(&hosts[n % 3].url(), |options| options.asyncdial = true))
        .collect();
    connected(&hub, 12);
    hosts.iter().for_each(|host| host.set(Weather::Rough));
    let tasks: Vec<_> = (0..3000)
        .map(|n| submit(&hub, &format!("task {n}")))
        .collect();
    for (n, task) in tasks.iter().enumerate() {
        assert_eq!(value(task), format!("task {n}").into_bytes());
    }
    let breaks: u32 = hub.workers().iter().map(|worker| worker.returns).sum();
    assert!(breaks > 0, "the weather was fair");
    let evaluations = workers.iter().map(|worker| {
        let ledger = worker.ledger.lock();
        assert!(ledger.values().all(|count| *count == 1));
        ledger.len()
    });
    assert_eq!(evaluations.sum::<usize>(), 3000);
    hosts.iter().for_each(|host| host.set(Weather::Fair));
    connected(&hub, 12);
    assert_eq!(hub.counts().cumulative, 12);
}
