//! Dealing in turn, without a queue of the pool's own.

use super::recorder::*;
use crate::{Mode, RunId};

#[test]
fn tasks_are_dealt_in_turn_whoever_is_busy() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.expect([send(2, b, 2)]);
    let c = pool.submit();
    pool.expect([send(1, c, 3)]);
    pool.end(2, 2);
    pool.expect([ended(b), release(b)]);
    let d = pool.submit();
    pool.expect([send(2, d, 4)]);
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    pool.end(1, 3);
    pool.expect([ended(c), release(c)]);
}

#[test]
fn a_report_may_name_any_run_of_its_daemon() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 2);
    let [a, b, c] = [(1, 1), (2, 2), (1, 3)].map(|(daemon, run)| {
        let task = pool.submit();
        pool.expect([send(daemon, task, run)]);
        task
    });
    let of_first = pool.daemon(1);
    pool.end(1, 3);
    pool.expect([ended(c), release(c)]);
    assert_eq!(pool.scheduler.daemon_task(of_first), Some((a, RunId(1))));
    pool.end(1, 2);
    pool.end(1, 3);
    pool.expect_nothing();
    assert_eq!(pool.scheduler.ignored(), 2, "of another daemon, and over");
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    pool.end(2, 2);
    pool.expect([ended(b), release(b)]);
}

#[test]
fn with_no_daemon_tasks_wait_and_joiners_share_them() {
    let mut pool = Recorder::new(Mode::Direct);
    let [a, b, c] = [pool.submit(), pool.submit(), pool.submit()];
    pool.join(1);
    pool.expect([send(1, a, 1)]);
    pool.join(2);
    pool.expect([send(2, b, 2)]);
    let d = pool.submit();
    pool.expect_nothing();
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, c, 3)]);
    pool.end(1, 3);
    pool.expect([ended(c), release(c), send(1, d, 4)]);
    let e = pool.submit();
    pool.expect([send(1, e, 5)]);
}

#[test]
fn a_dead_daemon_takes_all_along_that_was_dealt_to_it() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.expect([send(1, b, 2)]);
    pool.cancel(b);
    pool.expect([cancelled(b)]);
    pool.lose(1);
    pool.expect([lost(a), release(a), release(b)]);
}

#[test]
fn cancelling_only_ends_the_waiting() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit_timed(5);
    pool.expect([arm(5), send(1, b, 2)]);
    assert!(!pool.scheduler.is_cancellable(a));
    pool.cancel(a);
    pool.expect([cancelled(a)]);
    pool.fire_at(5);
    pool.expect([timed_out(b)]);
    pool.end(1, 1);
    pool.expect([release(a)]);
    pool.end(1, 2);
    pool.expect([release(b)]);
}

#[test]
fn a_cancelled_task_that_waits_still_runs() {
    let mut pool = Recorder::new(Mode::Direct);
    let a = pool.submit_bytes(7);
    pool.cancel(a);
    pool.expect([cancelled(a)]);
    assert_eq!(pool.scheduler.memory().used, 7);
    assert_eq!(pool.counts(), (0, 0, 1));
    pool.join(1);
    pool.expect([send(1, a, 1)]);
    assert_eq!(pool.counts(), (0, 1, 0));
    pool.end(1, 1);
    pool.expect([release(a)]);
}

#[test]
fn what_a_leaving_daemon_has_not_begun_goes_to_others() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let [b, c, d] = [2, 3, 4].map(|run| {
        let task = pool.submit();
        pool.expect([send(1, task, run)]);
        task
    });
    pool.cancel(c);
    pool.expect([cancelled(c)]);
    pool.end_last(1, 1);
    pool.expect([ended(a), release(a), release(c)]);
    pool.join(2);
    pool.expect([send(2, b, 5)]);
    pool.end(2, 5);
    pool.expect([ended(b), release(b), send(2, d, 6)]);
}

#[test]
fn everywhere_deals_one_to_each() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let [b, c] = pool.everywhere(0);
    pool.expect([send(2, b, 2), send(1, c, 3)]);
}

#[test]
fn everywhere_before_any_daemon_waits_for_as_many_as_were_asked_for() {
    let mut pool = Recorder::new(Mode::Direct);
    assert_eq!(pool.scheduler.everywhere_count(0), 0);
    let [a, b] = pool.everywhere(2);
    pool.join(1);
    pool.expect([send(1, a, 1)]);
    pool.join(2);
    pool.expect([send(2, b, 2)]);
}

#[test]
fn a_task_goes_to_the_daemon_it_is_meant_for() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 2);
    let [a, b] = [1, 2].map(|run| {
        let task = pool.submit_to(2);
        pool.expect([send(2, task, run)]);
        task
    });
    // The turn of others is not changed by it.
    let c = pool.submit();
    pool.expect([send(1, c, 3)]);
    pool.end(2, 1);
    pool.expect([ended(a), release(a)]);
    pool.end(2, 2);
    pool.expect([ended(b), release(b)]);
}

#[test]
fn a_task_meant_for_a_daemon_that_is_gone_is_dealt() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 3);
    pool.lose(3);
    pool.leave(2);
    for (daemon, run) in [(3, 1), (2, 2), (0, 3), (7, 4)] {
        let task = pool.submit_to(daemon);
        pool.expect([send(1, task, run)]);
    }
}

#[test]
fn a_task_meant_for_a_daemon_does_not_wait_behind_those_for_any() {
    let mut pool = Recorder::new(Mode::Direct);
    let [a, b] = [pool.submit_to(1), pool.submit()];
    pool.join(1);
    pool.expect([send(1, a, 1)]);
    let c = pool.submit_to(1);
    pool.expect([send(1, c, 2)]);
    let d = pool.submit_to(9);
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    pool.end(1, 2);
    pool.expect([ended(c), release(c), send(1, b, 3)]);
    pool.end(1, 3);
    pool.expect([ended(b), release(b), send(1, d, 4)]);
}

#[test]
fn what_a_leaving_daemon_was_meant_to_do_goes_to_others() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 2);
    let a = pool.submit_to(1);
    pool.expect([send(1, a, 1)]);
    let b = pool.submit_to(1);
    pool.expect([send(1, b, 2)]);
    pool.end_last(1, 1);
    pool.expect([ended(a), release(a), send(2, b, 3)]);
}
