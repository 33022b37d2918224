//! Thousands of daemons: how long 2,000 take to join, what each costs the hub in memory, and 20,000 tasks on them beside as
//! many on 20: a few at a time, so that most are only connected, and all at once, so that all work.
//!
//! The daemons are in another process (this program, started again): such as one thread simulates, and then workers of the
//! library, with two threads each, which tells what is the hub's part and what that of 4,000 threads.
//!
//! Prints some lines for each lane and kind. Runs on Linux, with room for 5,000 open files in each process.

mod simulated;

use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_benches::Echo;
use mirai_hub::{Access, Address, Hub, HubOptions, Task, TaskHandle};
use mirai_lanes::Credentials;
use mirai_worker::{AutoExit, WorkerOptions};

const URL: &str = "MIRAI_BENCH_URL";
const SHOWN: &str = "MIRAI_BENCH_SHOWN";
const COUNT: &str = "MIRAI_BENCH_COUNT";
const KIND: &str = "MIRAI_BENCH_KIND";
const TASKS: usize = 20_000;
const ROUNDS: usize = 7;
/// Fewer tasks than there are daemons in either fleet.
const FEW: usize = 16;

/// What the daemons are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Workers,
    Simulated,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Workers => "workers",
            Kind::Simulated => "simulated daemons",
        }
    }
}

/// A hub with daemons.
struct Fleet {
    hub: Hub,
    daemons: Child,
    joined_in: Duration,
    /// Of the hub's process, for each daemon.
    bytes: f64,
}

/// What 20,000 tasks took.
struct Cost {
    seconds: f64,
    /// Of the hub's process.
    cpu: f64,
}

impl Fleet {
    fn of(url: &str, kind: Kind, count: usize) -> Fleet {
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
            .env(KIND, kind.name())
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

    /// With so many tasks submitted and not collected at any time.
    fn cost(&self, window: usize) -> Cost {
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        let mut open = VecDeque::with_capacity(window);
        for _ in 0..TASKS {
            if open.len() == window {
                collect(open.pop_front());
            }
            let task = self.hub.submit(Task::new(vec![1; 200]));
            open.push_back(task.expect("it is open"));
        }
        open.into_iter().for_each(|task| collect(Some(task)));
        Cost {
            seconds: begun.elapsed().as_secs_f64(),
            cpu: cpu_seconds() - cpu,
        }
    }

    fn end(mut self) {
        drop(self.hub);
        self.daemons.wait().expect("our own child");
    }
}

fn collect(task: Option<TaskHandle>) {
    assert!(task.is_some_and(|task| !task.wait().is_failure()));
}

/// Bytes of memory of this process.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    4096.0 * f64::from(pages.unwrap_or(0_u32))
}

/// Processor time of this process so far, which the system counts in hundredths of a second.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let user_and_system = after_name.split(' ').skip(12).take(2);
    user_and_system
        .map(|ticks| ticks.parse::<f64>().unwrap_or_default() / 100.0)
        .sum()
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn measure(url: &str, kind: Kind) {
    let many = Fleet::of(url, kind, 2000);
    let few = Fleet::of(url, kind, 20);
    println!(
        "{url}, {}: 2,000 joined in {:.2} s, {:.1} kB each",
        kind.name(),
        many.joined_in.as_secs_f64(),
        many.bytes / 1000.0,
    );
    for window in [FEW, TASKS] {
        let round = |_| (few.cost(window), many.cost(window));
        let rounds: Vec<(Cost, Cost)> = (0..ROUNDS).map(round).collect();
        let over = |of: fn(&Cost) -> f64| {
            median(
                rounds
                    .iter()
                    .map(|(few, many)| of(many) / of(few))
                    .collect(),
            )
        };
        println!(
            "  {TASKS} tasks, {window} at a time: {:.3} s on 20, on 2,000 {:.2} times as long, with {:.2} times as much of the \
             hub's processor time",
            median(rounds.iter().map(|(few, _)| few.seconds).collect()),
            over(|cost| cost.seconds),
            over(|cost| cost.cpu),
        );
    }
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
    if variable(KIND) == Kind::Simulated.name() {
        let hub = variable(URL).replace("tcp://", "");
        let hub = hub.parse().expect("a numeric address");
        simulated::serve(hub, count).expect("the hub listens");
        return;
    }
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
    measure("tcp://127.0.0.1:0", Kind::Simulated);
    measure("tcp://127.0.0.1:0", Kind::Workers);
    measure("tls+tcp://127.0.0.1:0", Kind::Workers);
}
