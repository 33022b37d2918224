//! Thousands of daemons: how long 2,000 take to join, what each costs the hub in memory, and 20,000 tasks on them beside as
//! many on 20. The daemons are workers of the library, threads of another process (this program, started again).
//!
//! Prints a line for each lane. Runs on Linux, with room for 5,000 open files in each process.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_hub::{Access, Address, Hub, HubOptions, Task, TaskFlags};
use mirai_lanes::Credentials;
use mirai_worker::{AutoExit, Evaluation, Evaluator, Interrupter, RunEnd, WorkerOptions};

const URL: &str = "MIRAI_BENCH_URL";
const SHOWN: &str = "MIRAI_BENCH_SHOWN";
const COUNT: &str = "MIRAI_BENCH_COUNT";
const TASKS: usize = 20_000;
const ROUNDS: usize = 7;

struct Echo;

impl Evaluator for Echo {
    fn welcome(&mut self, _settings: &[u8]) {}
    fn evaluate(&mut self, task: mirai_worker::Task<'_>) -> Evaluation {
        Evaluation {
            end: RunEnd::Value,
            payload: task.body.to_vec(),
        }
    }
    fn after(&mut self, _flags: TaskFlags) {}
    fn keep_part(&mut self, _id: u64, _bytes: Vec<u8>) {}
    fn forget_part(&mut self, _id: u64) {}
}

impl Interrupter for Echo {
    fn interrupt(&self) {}
    fn clear_interrupt(&self) {}
}

/// A hub with daemons.
struct Fleet {
    hub: Hub,
    daemons: Child,
    joined_in: Duration,
    /// Of the hub's process, for each daemon.
    bytes: f64,
}

impl Fleet {
    fn of(url: &str, count: usize) -> Fleet {
        let (access, shown) = match url.starts_with("tls") {
            true => Access::single_use("127.0.0.1").expect("certificates"),
            false => (Access::default(), Credentials::default()),
        };
        let before = resident();
        let hub = Hub::open(HubOptions {
            access,
            ..HubOptions::new(Address::parse(url).expect("an address"))
        });
        let hub = hub.expect("a hub");
        let begun = Instant::now();
        let daemons = Command::new(std::env::current_exe().expect("our own path"))
            .env(URL, hub.address().to_string())
            .env(SHOWN, shown.to_text())
            .env(COUNT, count.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("daemons");
        while hub.counts().connections < count as u64 {
            std::thread::sleep(Duration::from_millis(1));
        }
        Fleet {
            joined_in: begun.elapsed(),
            bytes: (resident() - before) / count as f64,
            hub,
            daemons,
        }
    }

    fn seconds(&self) -> f64 {
        let begun = Instant::now();
        let submit = |_| {
            self.hub
                .submit(Task::new(vec![1; 200]))
                .expect("it is open")
        };
        let tasks: Vec<_> = (0..TASKS).map(submit).collect();
        tasks
            .iter()
            .for_each(|task| assert!(!task.wait().is_failure()));
        begun.elapsed().as_secs_f64()
    }

    fn end(mut self) {
        drop(self.hub);
        self.daemons.wait().expect("our own child");
    }
}

/// Bytes of memory of this process.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    4096.0 * f64::from(pages.unwrap_or(0_u32))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn measure(url: &str) {
    let many = Fleet::of(url, 2000);
    let few = Fleet::of(url, 20);
    let rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| (few.seconds(), many.seconds()))
        .collect();
    let of_few = median(rounds.iter().map(|round| round.0).collect());
    let ratio = median(rounds.iter().map(|(few, many)| many / few).collect());
    println!(
        "{url}: 2,000 joined in {:.2} s, {:.1} kB each; {TASKS} tasks on 20 take {:.3} s, on 2,000 {ratio:.2} times as long",
        many.joined_in.as_secs_f64(),
        many.bytes / 1000.0,
        of_few,
    );
    many.end();
    few.end();
}

fn be_daemons() {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let address = Address::parse(&variable(URL)).expect("an address of our own making");
    let credentials = match &*variable(SHOWN) {
        "" => Credentials::default(),
        shown => Credentials::parse(shown, ""),
    };
    let options = WorkerOptions {
        credentials,
        asyncdial: true,
        autoexit: AutoExit::Finish,
        ..WorkerOptions::new(address)
    };
    let count: usize = variable(COUNT).parse().expect("a number");
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let options = options.clone();
            let run = move || mirai_worker::run_worker(&options, &mut Echo, Arc::new(Echo));
            let builder = std::thread::Builder::new().stack_size(256 * 1024);
            builder.spawn(run).expect("a thread")
        })
        .collect();
    for thread in threads {
        let ended = thread.join().expect("no worker panics");
        ended.expect("the hub listens");
    }
}

fn main() {
    if std::env::var_os(URL).is_some() {
        be_daemons();
        return;
    }
    measure("tcp://127.0.0.1:0");
    measure("tls+tcp://127.0.0.1:0");
}
