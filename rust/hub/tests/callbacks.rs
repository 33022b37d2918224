//! A hub whose user's functions panic, and calls with arguments or at places that nobody planned for.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use mirai_hub::{
    Address, Hub, HubOptions, MAX_EVALUATIONS, Outcome, Payload, Presence, SubmitError, Task,
    TaskFlags, TaskHandle,
};
use mirai_worker::{Evaluation, Evaluator, ExitReason, Interrupter, RunEnd, WorkerOptions};

/// A test that waits longer than this hangs.
const HANG: Duration = Duration::from_secs(30);

struct Unmoved;

impl Interrupter for Unmoved {
    fn interrupt(&self) {}
    fn clear_interrupt(&self) {}
}

/// Gives each task back; panics at the words `evaluate` and, after its reply, `after`.
#[derive(Default)]
struct Echo {
    panics_after: bool,
}

impl Evaluator for Echo {
    fn welcome(&mut self, _: &[u8]) {}
    fn evaluate(&mut self, task: mirai_worker::Task<'_>) -> Evaluation {
        assert_ne!(task.body, b"evaluate", "as the test wants it");
        self.panics_after = task.body == b"after";
        Evaluation {
            end: RunEnd::Value,
            payload: Payload::copy_from_slice(task.body),
        }
    }
    fn after(&mut self, _: TaskFlags) {
        assert!(!self.panics_after, "as the test wants it");
    }
    fn keep_part(&mut self, _: u64, _: Payload) {}
    fn forget_part(&mut self, _: u64) {}
}

/// A worker on a thread of this process.
fn start_worker(hub: &Hub) -> JoinHandle<()> {
    let options = WorkerOptions::new(hub.address().clone());
    std::thread::spawn(move || {
        // Its hub may be gone before it is there.
        let _ = mirai_worker::run_worker(&options, &mut Echo::default(), Arc::new(Unmoved));
    })
}

fn options() -> HubOptions {
    HubOptions::new(Address::unique(&std::env::temp_dir()).unwrap())
}

fn open() -> Hub {
    Hub::open(options()).unwrap()
}

fn submit(hub: &Hub, word: &str) -> TaskHandle {
    hub.submit(Task::new(word.as_bytes().to_vec())).unwrap()
}

#[track_caller]
fn outcome(task: &TaskHandle) -> Outcome {
    assert!(task.wait_for(HANG), "the task never resolved");
    task.outcome().unwrap().clone()
}

#[track_caller]
fn assert_serves(hub: &Hub) {
    assert_eq!(outcome(&submit(hub, "word")), Outcome::Value("word".into()));
}

#[test]
fn a_task_whose_evaluator_panics_is_lost_and_the_next_goes_to_another_worker() {
    let hub = open();
    let first = start_worker(&hub);
    assert!(matches!(
        outcome(&submit(&hub, "evaluate")),
        Outcome::Lost(_)
    ));
    assert!(first.join().is_err());
    let next = submit(&hub, "next");
    start_worker(&hub);
    assert_eq!(outcome(&next), Outcome::Value("next".into()));
}

#[test]
fn who_listens_is_told_of_nothing_that_its_counts_have_taken_in() {
    let hub = Arc::new(open());
    let (tell, told) = mpsc::channel();
    let (count, counted) = mpsc::channel();
    let task = submit(&hub, "evaluate");
    let listening = Arc::clone(&hub);
    // At the death of the worker, before any listener is told of it.
    task.on_settle(move || {
        let tell = Mutex::new(tell);
        let counts = listening.listen(Arc::new(move |presence| {
            let _ = tell.lock().unwrap().send(presence);
        }));
        let _ = count.send(counts.connections);
    });
    assert!(start_worker(&hub).join().is_err());
    assert_eq!(counted.recv_timeout(HANG), Ok(0));
    start_worker(&hub);
    assert_serves(&hub);
    let first = told.recv_timeout(HANG);
    assert!(matches!(first, Ok(Presence::Joined { .. })), "{first:?}");
}

#[test]
fn a_panic_after_a_reply_leaves_the_reply_and_ends_the_worker() {
    let hub = open();
    let first = start_worker(&hub);
    assert_eq!(
        outcome(&submit(&hub, "after")),
        Outcome::Value("after".into())
    );
    assert!(first.join().is_err());
    // Sent to it before its end was seen, this one may be lost; it resolves all the same.
    outcome(&{
        let task = submit(&hub, "word");
        start_worker(&hub);
        task
    });
    assert_serves(&hub);
}

#[test]
fn a_worker_that_was_asked_to_leave_before_it_reads_leaves() {
    let hub = open();
    let options = WorkerOptions::new(hub.address().clone());
    options.leave.ask();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        tell.send(mirai_worker::run_worker(
            &options,
            &mut Echo::default(),
            Arc::new(Unmoved),
        ))
    });
    let reason = told.recv_timeout(HANG).expect("the worker left");
    assert_eq!(reason.unwrap(), ExitReason::Ended);
}

#[test]
fn a_callback_that_panics_harms_no_other_and_not_the_hub() {
    let hub = open();
    let (tell, told) = mpsc::channel();
    for word in ["on the way", "cancelled"] {
        let task = submit(&hub, word);
        task.on_settle(|| panic!("as the test wants it"));
        let tell = tell.clone();
        task.on_settle(move || tell.send(word).unwrap());
        if word == "cancelled" {
            task.cancel();
        }
    }
    assert_eq!(told.recv_timeout(HANG), Ok("cancelled"));
    start_worker(&hub);
    assert_eq!(told.recv_timeout(HANG), Ok("on the way"));
    let settled = submit(&hub, "settled");
    outcome(&settled);
    settled.on_settle(|| panic!("as the test wants it"));
    assert_serves(&hub);
}

#[test]
fn a_worker_whose_welcome_panicked_comes_again() {
    let mut is_first = true;
    let hub = Hub::open(HubOptions {
        welcome: Some(Box::new(move |_| {
            assert!(!std::mem::take(&mut is_first), "as the test wants it");
            Payload::new()
        })),
        ..options()
    })
    .unwrap();
    start_worker(&hub);
    assert_serves(&hub);
    assert_eq!(hub.counts().cumulative, 1);
}

#[test]
fn waits_take_any_time() {
    let hub = open();
    assert!(hub.wait_admission(Duration::MAX));
    let handle = hub.handle();
    let noted = std::thread::spawn(move || handle.note_change());
    assert!(hub.wait_change(0, Duration::MAX) > 0);
    noted.join().unwrap();
}

#[test]
fn a_bad_path_is_an_error_where_a_runtime_runs() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let address = Address::parse("ipc:///no/such/folder/socket").unwrap();
        assert!(Hub::open(HubOptions::new(address)).is_err());
        drop(open());
    });
}

#[test]
fn the_last_owner_of_a_hub_may_be_a_callback() {
    for waits in [false, true] {
        let hub = Arc::new(open());
        let worker = start_worker(&hub);
        let task = submit(&hub, "word");
        let (tell, told) = mpsc::channel();
        let last = Arc::clone(&hub);
        let slot = Arc::new(Mutex::new(Some(last)));
        task.on_settle(move || {
            drop(slot.lock().unwrap().take());
            tell.send(()).unwrap();
        });
        drop(hub);
        // Served by this thread, or by the hub's own.
        if waits {
            task.wait_for(HANG);
        }
        assert_eq!(told.recv_timeout(HANG), Ok(()));
        worker.join().unwrap();
    }
}

#[test]
fn more_evaluations_than_a_hub_can_serve_are_an_error() {
    let hub = open();
    let task = || Task::new(b"word".to_vec());
    let refused = hub.everywhere(task(), u32::MAX);
    assert!(matches!(
        refused,
        Err(SubmitError::TooMany { count: u32::MAX })
    ));
    assert_eq!(
        hub.everywhere(task(), MAX_EVALUATIONS).unwrap().len() as u32,
        MAX_EVALUATIONS
    );
}
