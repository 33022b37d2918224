//! Timeouts.

use super::recorder::*;
use crate::{Effect, Mode};

#[test]
fn a_queued_task_times_out() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.now = 100;
    let a = pool.submit_timed(20);
    pool.expect([arm(120)]);
    let b = pool.submit();
    pool.fire_at(120);
    pool.expect([timed_out(a), release(a)]);
    pool.join(1);
    pool.expect([send(1, b, 1)]);
}

#[test]
fn a_running_task_times_out_and_is_interrupted() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit_timed(20);
    pool.expect([arm(20), send(1, a, 1)]);
    pool.fire_at(25);
    pool.expect([timed_out(a), interrupt(1, 1)]);
    assert_eq!(pool.counts(), (0, 1, 0));
    pool.end(1, 1);
    pool.expect([release(a)]);
}

#[test]
fn no_time_at_all_settles_without_queueing() {
    for mode in [Mode::Queue, Mode::Direct, Mode::Single] {
        let mut pool = Recorder::with_daemons(mode, 1);
        let a = pool.submit_timed(0);
        pool.expect([timed_out(a), release(a)]);
        assert_eq!(pool.counts(), (0, 0, 1));
    }
}

#[test]
fn a_task_that_ended_in_time_leaves_no_deadline() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit_timed(20);
    pool.expect([arm(20), send(1, a, 1)]);
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    pool.fire_at(20);
    pool.expect_nothing();
}

#[test]
fn an_earlier_deadline_replaces_what_was_armed() {
    let mut pool = Recorder::new(Mode::Queue);
    let a = pool.submit_timed(50);
    pool.expect([arm(50)]);
    let b = pool.submit_timed(60);
    pool.expect_nothing();
    let c = pool.submit_timed(10);
    pool.expect([arm(10)]);
    pool.fire_at(10);
    pool.expect([timed_out(c), release(c), arm(50)]);
    pool.fire_at(60);
    pool.expect([timed_out(a), release(a), timed_out(b), release(b)]);
}

#[test]
fn a_far_deadline_is_approached_in_steps_and_never_missed() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.now = 12_345;
    let far = 10_000_000_000;
    let a = pool.submit_timed(far);
    let deadline = pool.now + far;
    let mut looks = 0;
    loop {
        let effects = pool.skip();
        match effects[..] {
            [Effect::ArmTimer { at }] => {
                assert!(at.0 <= deadline && at.0 > pool.now);
                pool.fire_at(at.0);
                looks += 1;
            }
            _ => {
                assert_eq!(effects, [timed_out(a), release(a)]);
                break;
            }
        }
    }
    assert_eq!(pool.now, deadline);
    assert!(looks <= 11, "at most once per level, not {looks} times");
}

#[test]
fn the_end_of_time_is_no_overflow() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.now = 1;
    let a = pool.submit_timed(u64::MAX);
    assert_eq!(pool.skip().len(), 1);
    pool.cancel(a);
    pool.expect([cancelled(a), release(a)]);
}
