//! Cancelling in queue mode.

use super::recorder::*;
use crate::Mode;

#[test]
fn a_queued_task_is_over_at_once() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let [b, c, d] = [pool.submit(), pool.submit(), pool.submit()];
    pool.cancel(c);
    pool.expect([cancelled(c), release(c)]);
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, b, 2)]);
    pool.end(1, 2);
    pool.expect([ended(b), release(b), send(1, d, 3)]);
}

#[test]
fn a_running_task_collects_at_once_and_keeps_its_daemon_until_that_reports() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.cancel(a);
    pool.expect([cancelled(a), interrupt(1, 1)]);
    assert_eq!(pool.counts(), (1, 1, 0));
    pool.end(1, 1);
    pool.expect([release(a), send(1, b, 2)]);
    assert_eq!(pool.counts(), (0, 1, 1));
}

#[test]
fn a_second_cancel_does_nothing() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.cancel(a);
    pool.expect([cancelled(a), interrupt(1, 1)]);
    pool.cancel(a);
    pool.expect_nothing();
    assert_eq!(pool.scheduler.ignored(), 0);
    pool.end(1, 1);
    pool.expect([release(a)]);
}

#[test]
fn a_daemon_that_dies_of_the_interrupt_releases_its_task() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.cancel(a);
    pool.expect([cancelled(a), interrupt(1, 1)]);
    pool.lose(1);
    pool.expect([release(a)]);
    pool.scheduler.check_empty();
}

#[test]
fn a_task_not_submitted_yet_cannot_be_cancelled() {
    let mut pool = Recorder::new(Mode::Queue);
    let a = pool.scheduler.reserve();
    pool.cancel(a);
    pool.expect_nothing();
}
