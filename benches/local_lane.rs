//! The local lane without R: a task of 200 bytes from submission to its outcome, and 20,000 of them at once, through a
//! hub to a daemon in another process (this program, started again) that answers with what it gets.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use mirai_benches::Echo;
use mirai_hub::{Address, Hub, HubOptions, Task};
use mirai_worker::WorkerOptions;

const VARIABLE: &str = "MIRAI_BENCH_DAEMON";
const TASKS: usize = 20_000;

fn start_daemon(hub: &Hub) -> Child {
    Command::new(std::env::current_exe().expect("our own path"))
        .env(VARIABLE, hub.address().to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("a daemon")
}

fn measure(criterion: &mut Criterion) {
    let address = Address::unique(Path::new("/tmp")).expect("an address");
    let hub = Hub::open(HubOptions::new(address)).expect("a hub");
    let mut daemon = start_daemon(&hub);
    let submit = || {
        hub.submit(Task::new(vec![1; 200]))
            .expect("the hub is open")
    };
    submit().wait();

    let mut group = criterion.benchmark_group("local lane");
    group.throughput(Throughput::Elements(1));
    group.bench_function("round trip of 200 B", |bench| {
        bench.iter(|| submit().wait().is_failure())
    });
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements(TASKS as u64));
    group.bench_function("20,000 tasks", |bench| {
        bench.iter(|| {
            let tasks: Vec<_> = (0..TASKS).map(|_| submit()).collect();
            tasks
                .iter()
                .for_each(|task| assert!(!task.wait().is_failure()));
        });
    });
    group.finish();
    drop(hub);
    daemon.wait().expect("our own child");
}

fn main() {
    if let Ok(url) = std::env::var(VARIABLE) {
        let address = Address::parse(&url).expect("an address of our own making");
        mirai_worker::run_worker(&WorkerOptions::new(address), &mut Echo, Arc::new(Echo))
            .expect("the hub listens");
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion);
    criterion.final_summary();
}
