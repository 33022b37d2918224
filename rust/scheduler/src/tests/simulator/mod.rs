//! The real scheduler among simulated daemons on simulated links: everything that happens follows from a seed.
//!
//! `MIRAI_SIM_SEEDS=1000 cargo test -p mirai-scheduler every_task` tries 1,000 fresh seeds. `MIRAI_SIM_SEED=7` plays one
//! again and prints each event with its effects. A seed that failed joins `SEEDS`.

mod chance;
mod faults;
mod ledger;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use faults::Faults;
use world::World;

/// Played always. The first ones are arbitrary; each later one has failed once.
const SEEDS: std::ops::Range<u64> = 1..61;

/// Fresh seeds played when nothing else is asked for.
const FRESH: u64 = 20;

/// Names the one seed to play, and to print.
const SEED: &str = "MIRAI_SIM_SEED";

/// Far more than any run takes: reaching it means that something goes round in circles.
const MAX_STEPS: u64 = 2_000_000;

#[test]
fn every_task_comes_to_its_end_whatever_fails() {
    for seed in seeds() {
        play(seed, Faults::drawn(seed));
    }
}

#[test]
fn without_faults_every_task_is_evaluated_once() {
    for seed in 0..10 {
        let world = play(seed, Faults::none(seed));
        assert!(
            world.ledger.all_ended(),
            "seed {seed}: all have ended and nothing else"
        );
    }
}

#[test]
fn a_thousand_daemons_work_off_a_hundred_thousand_tasks() {
    let world = play(3, Faults::crowd());
    assert!(world.ledger.submitted() >= 100_000);
}

#[test]
fn the_same_seed_has_the_same_effects() {
    for seed in [5, 6, 7] {
        let effects = || play(seed, Faults::drawn(seed)).ledger.fingerprint();
        assert_eq!(effects(), effects(), "seed {seed}");
    }
}

/// Safety is checked after each step; then faults end, and everything has to come to its end.
fn play(seed: u64, faults: Faults) -> World {
    let run = AssertUnwindSafe(|| {
        let mut world = World::new(seed, faults, number_from(SEED).is_some());
        world.run_faults(MAX_STEPS);
        world.heal();
        world.run_until_settled(MAX_STEPS);
        world
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        eprintln!("the simulation failed: play it again with MIRAI_SIM_SEED={seed}");
        resume_unwind(panic)
    })
}

fn seeds() -> Vec<u64> {
    if let Some(seed) = number_from(SEED) {
        return vec![seed];
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let first = clock.map_or(1_000, |time| time.as_nanos() as u64);
    let fresh = number_from("MIRAI_SIM_SEEDS").unwrap_or(FRESH);
    SEEDS
        .chain((0..fresh).map(|n| first.wrapping_add(n)))
        .collect()
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")),
    )
}
