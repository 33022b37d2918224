//! Limits of running time, and daemons that do not stop.

use super::recorder::*;
use crate::{Effect, KillReason, Mode, TaskOptions};
use proptest::prelude::*;
use std::num::NonZeroU64;
use std::time::Duration;

/// Fires the timer whenever it is due, up to a time. What else there was than the timer.
fn run_until(pool: &mut Recorder, time: u64) -> Vec<Effect> {
    let mut seen = Vec::new();
    loop {
        let mut next = None;
        for effect in pool.skip() {
            match effect {
                Effect::ArmTimer { at } => next = Some(at.0),
                other => seen.push(other),
            }
        }
        match next.or(pool.scheduler.armed.map(|at| at.0)) {
            Some(at) if at <= time => pool.fire_at(at.max(pool.now)),
            _ => {
                pool.now = time;
                return seen;
            }
        }
    }
}

#[test]
fn the_limit_counts_from_the_beginning() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit_limited(30);
    pool.now = 1000;
    pool.end(1, 1);
    assert_eq!(
        run_until(&mut pool, 1029),
        [ended(a), release(a), send(1, b, 2)]
    );
    assert_eq!(run_until(&mut pool, 1030), [ran_out(b), interrupt(1, 2)]);
    pool.end(1, 2);
    pool.expect([release(b)]);
}

#[test]
fn each_attempt_has_all_of_it() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit_with(TaskOptions {
        runtime: NonZeroU64::new(30),
        retries: 1,
        ..TaskOptions::default()
    });
    assert_eq!(run_until(&mut pool, 20), [send(1, a, 1)]);
    pool.lose(1);
    assert_eq!(run_until(&mut pool, 49), [send_again(2, a, 2, 2)]);
    assert_eq!(run_until(&mut pool, 50), [ran_out(a), interrupt(2, 2)]);
    pool.end(2, 2);
    pool.expect([release(a)]);
}

#[test]
fn a_task_with_a_limit_is_not_sent_before_its_turn() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.took = Duration::from_micros(20);
    let tasks: Vec<_> = (0..100).map(|_| pool.submit()).collect();
    let limited: Vec<_> = (0..20).map(|_| pool.submit_limited(30)).collect();
    pool.join_ahead(1);
    pool.skip();
    let mut most = 0;
    for run in 1..=120 {
        pool.claims.begin(crate::RunId(run));
        pool.end(1, run);
        let sent = pool.skip();
        let ahead = sent.iter().filter_map(|effect| match effect {
            Effect::Send { task, ahead, .. } => Some((*task, *ahead)),
            _ => None,
        });
        let ahead: Vec<_> = ahead.collect();
        most = most.max(ahead.len());
        assert!(
            ahead
                .iter()
                .all(|(task, ahead)| !(*ahead && limited.contains(task)))
        );
    }
    assert!(most > 1, "the others are: {}", tasks.len());
    assert_eq!(pool.counts(), (0, 0, 120));
}

#[test]
fn without_dispatcher_only_the_waiting_ends() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit_limited(30);
    assert_eq!(run_until(&mut pool, 100), [send(1, b, 2)]);
    pool.end(1, 1);
    // The first one takes its time: that of the second begins as it ends.
    assert_eq!(run_until(&mut pool, 120), [ended(a), release(a)]);
    let c = pool.submit();
    assert_eq!(run_until(&mut pool, 129), [send(1, c, 3)]);
    assert_eq!(run_until(&mut pool, 400), [ran_out(b)]);
    pool.end(1, 2);
    pool.end_after([release(b)], 1, 3);
    pool.expect([ended(c), release(c)]);
}

#[test]
fn who_does_not_stop_is_killed_and_gets_nothing_more() {
    let mut pool = Recorder::with_kills(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.cancel(a);
    let was_cancelled = [cancelled(a), interrupt(1, 1)];
    assert_eq!(run_until(&mut pool, 99), was_cancelled);
    assert_eq!(run_until(&mut pool, 100), [kill(1, a, KillReason::Deaf)]);
    // A report that crosses with it counts.
    pool.end(1, 1);
    pool.expect([release(a)]);
    pool.lose(1);
    pool.expect_nothing();
    pool.join(2);
    pool.expect([send(2, b, 2)]);
    pool.end(2, 2);
    pool.expect([ended(b), release(b)]);
}

#[test]
fn a_kill_is_no_retry() {
    let mut pool = Recorder::with_kills(Mode::Queue, 1);
    let a = pool.submit_with(TaskOptions {
        retries: 3,
        timeout: Some(10),
        ..TaskOptions::default()
    });
    assert_eq!(
        run_until(&mut pool, 10),
        [send(1, a, 1), timed_out(a), interrupt(1, 1)]
    );
    assert_eq!(run_until(&mut pool, 110), [kill(1, a, KillReason::Deaf)]);
    pool.lose(1);
    pool.expect([release(a)]);
}

#[test]
fn who_stops_in_time_lives() {
    let mut pool = Recorder::with_kills(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.cancel(a);
    run_until(&mut pool, 90);
    pool.end(1, 1);
    assert_eq!(run_until(&mut pool, 1000), [release(a)]);
}

#[test]
fn a_stall_of_the_host_is_not_the_daemons_time() {
    let mut pool = Recorder::with_kills(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.cancel(a);
    run_until(&mut pool, 30);
    // Nothing is done here for an hour; then what the daemon has said meanwhile is still to be read.
    pool.fire_at(3_600_000);
    assert_eq!(run_until(&mut pool, 3_600_060), []);
    pool.end(1, 1);
    pool.expect([release(a)]);
}

/// Has a daemon that was asked to stop a task be deaf, while each slice ends so many milliseconds late. When it is killed, if it is
/// within that.
fn killed_at(kill_after: u64, lates: impl IntoIterator<Item = u64>) -> Option<u64> {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    pool.scheduler.kill_after = Some(kill_after);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.cancel(a);
    pool.skip();
    for late in lates {
        let daemons = &pool.scheduler.daemons;
        let daemon = daemons.slots.slots().next().expect("it is there");
        let clock = daemons.get(daemon).clock.expect("it is set");
        pool.fire_at(clock.due.0.saturating_add(late));
        let kill = |effect: &Effect| matches!(effect, Effect::Kill { .. });
        if pool.skip().iter().any(kill) {
            return Some(pool.now);
        }
    }
    None
}

#[test]
fn a_machine_that_is_always_late_kills_in_the_end() {
    for (kill_after, late, within) in [
        (50, 14, 1100),
        (50, 300, 7000),
        (1, 11, 1100),
        (5000, 51, 53_000),
        (5000, 5000, 260_000),
    ] {
        let at = killed_at(kill_after, std::iter::repeat_n(late, 200));
        let at = at.expect("it is killed");
        assert!(
            at >= 1000.max(10 * kill_after) && at <= within,
            "{kill_after} ms, each slice {late} ms late: at {at}"
        );
    }
}

#[test]
fn a_machine_that_is_late_now_and_then_takes_little_longer() {
    let lates = [0, 200, 0, 70, 0, 900].into_iter().cycle().take(20);
    assert_eq!(killed_at(100, lates), Some(7 * 25 + 200 + 70 + 900));
}

proptest! {
    /// However long they are, stalls bring the end no nearer than so many slices of late ones do.
    #[test]
    fn stalls_are_slices_at_most(
        kill_after in 1_u64..10_000,
        stalls in proptest::collection::vec(60_u64..1 << 40, 0..19),
    ) {
        prop_assert_eq!(killed_at(kill_after, stalls), None);
    }

    /// Nobody is killed before its time is over, and whoever is deaf is, whatever the clock does.
    #[test]
    fn the_deaf_are_killed_and_not_too_early(
        kill_after in 1_u64..10_000,
        lates in proptest::collection::vec(prop_oneof![0_u64..10, 0_u64..100, 0_u64..100_000], 100),
    ) {
        let at = killed_at(kill_after, lates);
        prop_assert!(at.is_some_and(|at| at >= kill_after));
    }
}

#[test]
fn what_is_behind_goes_back_and_is_not_to_blame() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.scheduler.kill_after = Some(0);
    pool.took = Duration::from_micros(20);
    let tasks: Vec<_> = (0..40).map(|_| pool.submit()).collect();
    pool.join_ahead(1);
    pool.skip();
    (1..=16).for_each(|run| {
        pool.claims.begin(crate::RunId(run));
        pool.end(1, run);
        pool.skip();
    });
    pool.claims.begin(crate::RunId(17));
    let (awaiting, executing, _) = pool.counts();
    assert_eq!((awaiting, executing), (23, 1));
    pool.cancel(tasks[16]);
    let killed = kill(1, tasks[16], KillReason::Deaf);
    pool.expect([cancelled(tasks[16]), interrupt(1, 17), killed]);
    pool.lose(1);
    pool.expect([release(tasks[16])]);
    assert_eq!(pool.counts(), (23, 0, 17));
    pool.join(2);
    let effects = pool.skip();
    let [Effect::Send { task, attempt, .. }] = effects[..] else {
        panic!("the next one is sent: {effects:?}");
    };
    assert_eq!((task, attempt), (tasks[17], 1));
}

#[test]
fn one_that_has_gone_on_is_not_killed() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.scheduler.kill_after = Some(100);
    pool.took = Duration::from_micros(20);
    let tasks: Vec<_> = (0..40).map(|_| pool.submit()).collect();
    pool.join_ahead(1);
    pool.skip();
    (1..=16).for_each(|run| {
        pool.claims.begin(crate::RunId(run));
        pool.end(1, run);
        pool.skip();
    });
    // It has begun the one after that which is cancelled, and its report is under way.
    pool.claims.begin(crate::RunId(17));
    pool.claims.begin(crate::RunId(18));
    pool.force(tasks[16]);
    let seen = run_until(&mut pool, 1000);
    assert_eq!(seen, [cancelled(tasks[16]), interrupt(1, 17)]);
    pool.end(1, 17);
    assert!(pool.skip().contains(&release(tasks[16])));
}

#[test]
fn force_kills_at_once_also_what_has_its_outcome() {
    for mode in [Mode::Queue, Mode::Single] {
        let mut pool = Recorder::with_daemons(mode, 2);
        let a = pool.submit();
        pool.skip();
        let b = pool.submit_timed(10);
        pool.skip();
        pool.force(a);
        let effects = pool.skip();
        assert_eq!(effects[0], cancelled(a));
        assert!(matches!(
            effects.last(),
            Some(Effect::Kill {
                why: KillReason::Forced,
                ..
            })
        ));
        run_until(&mut pool, 50);
        pool.force(b);
        let effects = pool.skip();
        assert!(matches!(effects[..], [Effect::Kill { task, .. }] if task == b));
        pool.force(b);
        pool.expect_nothing();
    }
}

#[test]
fn force_only_takes_what_waits_off_the_queue() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.force(b);
    pool.expect([cancelled(b), release(b)]);
    pool.force(b);
    pool.expect_nothing();
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
}

#[test]
fn who_cannot_be_reached_has_time_again_when_it_returns() {
    let mut pool = Recorder::with_kills(Mode::Queue, 1);
    pool.scheduler.grace = 10_000;
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.cancel(a);
    run_until(&mut pool, 30);
    pool.suspect(1);
    assert_eq!(run_until(&mut pool, 5000), []);
    pool.come_back(1);
    assert_eq!(run_until(&mut pool, 5099), [interrupt(1, 1)]);
    assert_eq!(run_until(&mut pool, 5100), [kill(1, a, KillReason::Deaf)]);
}
