//! Claim: the scheduler takes in at least 3 million events a second, however many daemons there are and however much is
//! queued.
//!
//! Each case plays rounds of a few events against a pool in a steady state. Criterion's elements are events; how many
//! effects an event has is printed once per case.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mirai_scheduler::{
    DaemonId, Effect, Event, RunId, Scheduler, SchedulerOptions, TaskId, TaskOptions, Tick,
};

/// Rounds between two looks at the clock.
const ROUNDS: u64 = 1_000;

/// A scheduler, and what its daemons would know.
struct Pool {
    scheduler: Scheduler,
    now: u64,
    daemons: Vec<DaemonId>,
    /// What each daemon evaluates, by the index of its id.
    runs: Vec<RunId>,
    turn: usize,
    /// Tasks that waited at the start, or took the place of one.
    queued: Vec<TaskId>,
    place: usize,
    effects: u64,
}

impl Pool {
    fn new(daemons: u32, queued: u64) -> Self {
        let mut scheduler = Scheduler::new(SchedulerOptions::default());
        let mut pool = Self {
            daemons: (0..daemons).map(|_| scheduler.reserve_daemon()).collect(),
            scheduler,
            now: 0,
            runs: vec![RunId(0); daemons as usize],
            turn: 0,
            queued: vec![],
            place: 0,
            effects: 0,
        };
        for daemon in pool.daemons.clone() {
            let ahead = false;
            pool.tell(Event::DaemonJoined {
                daemon,
                ahead,
                more_setups: 0,
            });
        }
        (0..daemons).for_each(|_| {
            pool.submit(None);
        });
        pool.queued = (0..queued).map(|_| pool.submit(None)).collect();
        pool
    }

    fn tell(&mut self, event: Event) {
        for effect in self.scheduler.handle(Tick(self.now), event, &mut ()) {
            self.effects += 1;
            if let Effect::Send { to, run, .. } = black_box(effect) {
                self.runs[to.index()] = run;
            }
        }
    }

    fn submit(&mut self, timeout: Option<u64>) -> TaskId {
        let task = self.scheduler.reserve();
        self.tell(Event::TaskSubmitted {
            task,
            options: TaskOptions {
                bytes: 200,
                timeout,
                ..TaskOptions::default()
            },
        });
        task
    }

    /// The daemon whose turn it is reports. With an odd stride the reports are not in the order of the daemons' slots.
    fn end(&mut self) {
        let daemons = self.daemons.len();
        self.turn = (self.turn + 7) % daemons;
        let daemon = self.daemons[self.turn];
        let run = self.runs[daemon.index()];
        self.tell(Event::TaskEnded {
            daemon,
            run,
            took: Duration::from_millis(1),
            last: false,
        });
    }
}

/// Submit one, end one: the depth of the queue stays.
fn submit_and_end(pool: &mut Pool) {
    pool.submit(None);
    pool.end();
}

/// The same, each with a deadline that its task does not reach.
fn submit_and_end_timed(pool: &mut Pool) {
    pool.now += 1;
    pool.submit(Some(60_000));
    pool.end();
}

/// Cancel a queued task somewhere in the queue, submit another: what the queue holds is scattered over memory.
fn cancel_in_the_queue(pool: &mut Pool) {
    let place = pool.place % pool.queued.len();
    pool.place += 611_953;
    let task = pool.queued[place];
    pool.tell(Event::CancelAsked { task, force: false });
    pool.queued[place] = pool.submit(None);
}

fn steady(c: &mut Criterion, name: &str, events: u64, cases: &[(u32, u64)], round: fn(&mut Pool)) {
    let mut group = c.benchmark_group(format!("scheduler/{name}"));
    group.throughput(Throughput::Elements(events * ROUNDS));
    for &(daemons, queued) in cases {
        let mut pool = Pool::new(daemons, queued);
        pool.effects = 0;
        round(&mut pool);
        let case = format!("{daemons} daemons, {queued} queued");
        eprintln!(
            "scheduler/{name}/{case}: {events} events, {} effects a round",
            pool.effects
        );
        group.bench_function(BenchmarkId::from_parameter(case), |bencher| {
            bencher.iter(|| (0..ROUNDS).for_each(|_| round(&mut pool)));
        });
        assert_eq!(pool.scheduler.ignored(), 0, "every report was one");
    }
    group.finish();
}

fn benches(c: &mut Criterion) {
    let pools = [
        (10, 1_000),
        (1_000, 1_000),
        (10_000, 1_000),
        (10, 1_000_000),
        (1_000, 1_000_000),
        (10_000, 1_000_000),
    ];
    steady(c, "submit and end", 2, &pools, submit_and_end);
    let deep = [(1_000, 1_000_000)];
    steady(
        c,
        "submit with deadline and end",
        2,
        &[(1_000, 1_000)],
        submit_and_end_timed,
    );
    steady(c, "cancel and submit", 2, &deep, cancel_in_the_queue);
}

criterion_group! {
    name = scheduler;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = benches
}
criterion_main!(scheduler);
