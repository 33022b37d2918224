//! Daemons that say goodbye.

use super::recorder::*;
use crate::Mode;

#[test]
fn a_task_that_crossed_with_the_goodbye_goes_back_to_the_head() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit_bytes(3);
    pool.expect([send(1, a, 1)]);
    let b = pool.submit_bytes(4);
    pool.leave(1);
    pool.expect_nothing();
    assert_eq!(pool.counts(), (2, 0, 0));
    assert_eq!(pool.scheduler.memory().used, 7);
    pool.join(2);
    pool.expect([send(2, a, 2)]);
    pool.lose(1);
    pool.end(1, 1);
    assert_eq!(
        pool.scheduler.ignored(),
        1,
        "the report of a daemon that is gone"
    );
    pool.join(3);
    pool.expect([send(3, b, 3)]);
}

#[test]
fn another_daemon_takes_it_at_once() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.leave(1);
    pool.expect([send(2, a, 2)]);
}

#[test]
fn order_of_submission_survives_goodbyes_in_any_order() {
    for goodbyes in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [2, 1, 3]] {
        let mut pool = Recorder::with_daemons(Mode::Queue, 3);
        let tasks = [1, 2, 3].map(|n| {
            let task = pool.submit();
            pool.expect([send(n, task, n.into())]);
            task
        });
        let d = pool.submit();
        goodbyes.iter().for_each(|&daemon| pool.leave(daemon));
        for (n, task) in (4u32..).zip([tasks[0], tasks[1], tasks[2], d]) {
            pool.join(n);
            pool.expect([send(n, task, n.into())]);
        }
    }
}

#[test]
fn one_that_was_cancelled_meanwhile_is_just_released() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.cancel(a);
    pool.expect([cancelled(a), interrupt(1, 1)]);
    pool.leave(1);
    pool.expect([release(a)]);
}

#[test]
fn one_that_was_put_back_can_be_cancelled_and_times_out() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit_timed(5);
    pool.expect([arm(5), send(2, b, 2)]);
    pool.leave(1);
    pool.leave(2);
    pool.cancel(a);
    pool.expect([cancelled(a), release(a)]);
    pool.fire_at(5);
    pool.expect([timed_out(b), release(b)]);
    pool.scheduler.check_empty();
}

#[test]
fn after_its_last_task_a_daemon_gets_nothing() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.end_last(1, 1);
    pool.expect([ended(a), release(a)]);
    assert_eq!(pool.scheduler.counts().connections, 0);
    pool.leave(1);
    assert_eq!(pool.scheduler.ignored(), 1, "it said so already");
    pool.lose(1);
    pool.expect_nothing();
    assert_eq!(pool.scheduler.ignored(), 1);
    pool.join(2);
    pool.expect([send(2, b, 2)]);
}

#[test]
fn an_idle_daemon_leaves() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    pool.leave(1);
    let a = pool.submit();
    pool.expect([send(2, a, 1)]);
    assert_eq!(pool.scheduler.everywhere_count(1), 1);
}
