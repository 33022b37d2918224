//! Daemons for one task each.

use super::recorder::*;
use crate::{Event, Mode};

#[test]
fn each_daemon_takes_the_oldest_task() {
    let mut pool = Recorder::new(Mode::Single);
    let [a, b] = [pool.submit(), pool.submit()];
    pool.join(1);
    pool.expect([send(1, a, 1)]);
    pool.join(2);
    pool.expect([send(2, b, 2)]);
    pool.end_last(2, 2);
    pool.expect([ended(b), release(b)]);
    pool.lose(2);
    pool.lose(1);
    pool.expect([lost(a), release(a)]);
    pool.scheduler.check_empty();
    assert_eq!(pool.scheduler.ignored(), 0);
}

#[test]
fn a_cancelled_task_runs_all_the_same() {
    let mut pool = Recorder::new(Mode::Single);
    let [a, b] = [pool.submit(), pool.submit_timed(9)];
    pool.expect([arm(9)]);
    pool.cancel(a);
    pool.expect([cancelled(a)]);
    pool.join(1);
    pool.expect([send(1, a, 1)]);
    pool.fire_at(9);
    pool.expect([timed_out(b)]);
    pool.join(2);
    pool.expect([send(2, b, 2)]);
    pool.end_last(1, 1);
    pool.expect([release(a)]);
    pool.end_last(2, 2);
    pool.expect([release(b)]);
}

#[test]
fn a_launch_that_fails_costs_the_oldest_task() {
    let mut pool = Recorder::new(Mode::Single);
    let [a, b, c] = [pool.submit(), pool.submit(), pool.submit()];
    pool.event(Event::LaunchFailed);
    pool.expect([lost(a), release(a)]);
    pool.cancel(b);
    pool.expect([cancelled(b)]);
    pool.event(Event::LaunchFailed);
    pool.expect([release(b)]);
    pool.join(1);
    pool.expect([send(1, c, 1)]);
    pool.event(Event::LaunchFailed);
    pool.expect_nothing();
    assert_eq!(pool.scheduler.ignored(), 1);
}
