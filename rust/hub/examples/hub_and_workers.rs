//! A hub and two workers in plain Rust, no R in sight: the workers evaluate closures on bytes.
//!
//! ```sh
//! cargo run --example hub_and_workers
//! ```
//!
//! The program starts itself twice more as workers, as any process that knows the address may become one.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use mirai_hub::{Address, Hub, HubOptions, Outcome, Payload, Task, TaskFlags, Watch};
use mirai_worker::{Evaluation, Evaluator, Interrupter, RunEnd, WorkerOptions};

/// What a worker does with the bytes of a task.
type Work = Box<dyn FnMut(&[u8]) -> Result<Vec<u8>, String>>;

/// Evaluates closures: the first byte of a task picks one, the rest is its argument.
struct Closures {
    by_name: BTreeMap<u8, Work>,
}

impl Evaluator for Closures {
    fn welcome(&mut self, _settings: &[u8]) {}

    fn evaluate(&mut self, task: mirai_worker::Task<'_>) -> Evaluation {
        let result = match task.body.split_first() {
            Some((name, argument)) => match self.by_name.get_mut(name) {
                Some(work) => work(argument),
                None => Err(format!("no closure is named {:?}", char::from(*name))),
            },
            None => Err("an empty task".to_owned()),
        };
        match result {
            Ok(value) => Evaluation {
                end: RunEnd::Value,
                payload: value.into(),
            },
            Err(reason) => Evaluation {
                end: RunEnd::Failed,
                payload: reason.into(),
            },
        }
    }

    fn after(&mut self, _flags: TaskFlags) {}
    fn keep_part(&mut self, _id: u64, _bytes: Payload) {}
    fn forget_part(&mut self, _id: u64) {}
}

/// These closures end by themselves soon enough.
struct NoInterrupts;

impl Interrupter for NoInterrupts {
    fn interrupt(&self) {}
    fn clear_interrupt(&self) {}
}

fn worker(url: &str) -> Result<(), Box<dyn Error>> {
    let sum: Work = Box::new(|bytes| {
        Ok(bytes
            .iter()
            .map(|byte| u32::from(*byte))
            .sum::<u32>()
            .to_string()
            .into())
    });
    let shout: Work = Box::new(|bytes| Ok(bytes.to_ascii_uppercase()));
    let mut closures = Closures {
        by_name: BTreeMap::from([(b'+', sum), (b'!', shout)]),
    };
    let reason = mirai_worker::run_worker(
        &WorkerOptions::new(Address::parse(url)?),
        &mut closures,
        Arc::new(NoInterrupts),
    )?;
    println!("worker {} leaves: {reason:?}", std::process::id());
    Ok(())
}

fn host() -> Result<(), Box<dyn Error>> {
    let hub = Hub::open(HubOptions::new(Address::unique(Path::new("/tmp"))?))?;
    let start = || {
        Command::new(std::env::current_exe()?)
            .arg(hub.address().to_string())
            .spawn()
    };
    let workers: Vec<Child> = (0..2).map(|_| start()).collect::<Result<_, _>>()?;
    // Not needed for the tasks, which would wait for the first of them.
    let mut seen = 0;
    while (hub.counts().connections as usize) < workers.len() {
        seen = hub.wait_change(seen, Duration::from_secs(1));
    }

    let payloads = [&b"!hello"[..], b"+\x01\x02\x03", b"?unknown"];
    let tasks = payloads.map(|payload| hub.submit(Task::new(payload.to_vec())));
    let tasks = tasks.into_iter().collect::<Result<Vec<_>, _>>()?;
    Watch::new(&tasks).wait(tasks.len(), false, Duration::from_secs(30));
    for task in &tasks {
        match task.outcome() {
            Some(Outcome::Value(bytes)) => {
                println!("task {}: {}", task.id(), String::from_utf8_lossy(bytes))
            }
            Some(Outcome::Failed(bytes)) => println!(
                "task {} failed: {}",
                task.id(),
                String::from_utf8_lossy(bytes)
            ),
            other => println!("task {}: {other:?}", task.id()),
        }
    }
    println!("{:?}", hub.counts());

    drop(hub);
    for mut worker in workers {
        worker.wait()?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(url) => worker(&url),
        None => host(),
    }
}
