//! Tasks whose daemon dies, and pools that nobody launches daemons for any more.

use super::recorder::*;
use crate::{Event, Mode, Settled, TaskOptions};

fn retried(pool: &mut Recorder, retries: u32) -> crate::TaskId {
    pool.submit_with(TaskOptions {
        bytes: 5,
        retries,
        ..TaskOptions::default()
    })
}

#[test]
fn a_task_is_tried_again_at_the_head_and_lost_after_its_last_attempt() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = retried(&mut pool, 2);
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.lose(1);
    pool.expect_nothing();
    assert_eq!(pool.counts(), (2, 0, 0));
    pool.join(2);
    pool.expect([send_again(2, a, 2, 2)]);
    pool.join(3);
    pool.expect([send(3, b, 3)]);
    pool.lose(2);
    pool.join(4);
    pool.expect([send_again(4, a, 4, 3)]);
    pool.lose(4);
    pool.expect([settle(a, Settled::Lost), release(a)]);
}

#[test]
fn what_may_be_retried_is_held_until_its_last_attempt() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = retried(&mut pool, 1);
    pool.expect([send(1, a, 1)]);
    assert_eq!(pool.scheduler.memory().used, 5);
    pool.lose(1);
    pool.expect([send_again(2, a, 2, 2)]);
    assert_eq!(pool.scheduler.memory().used, 0);
}

#[test]
fn a_cancelled_task_is_not_tried_again() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = retried(&mut pool, 1);
    pool.expect([send(1, a, 1)]);
    pool.cancel(a);
    pool.expect([settle(a, Settled::Cancelled), interrupt(1, 1)]);
    assert_eq!(pool.scheduler.memory().used, 0);
    pool.lose(1);
    pool.expect([release(a)]);
}

#[test]
fn the_timeout_spans_all_attempts() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit_with(TaskOptions {
        retries: 9,
        timeout: Some(50),
        ..TaskOptions::default()
    });
    pool.skip();
    pool.lose(1);
    pool.now = 60;
    pool.event(Event::TimerFired);
    pool.expect([settle(a, Settled::TimedOut), release(a)]);
}

#[test]
fn of_what_was_dealt_to_a_daemon_only_what_had_begun_is_to_blame() {
    let mut pool = Recorder::with_daemons(Mode::Direct, 1);
    let a = retried(&mut pool, 1);
    pool.expect([send(1, a, 1)]);
    let b = retried(&mut pool, 1);
    pool.expect([send(1, b, 2)]);
    let c = pool.submit();
    pool.expect([send(1, c, 3)]);
    pool.lose(1);
    pool.expect([settle(c, Settled::Lost), release(c)]);
    pool.join(2);
    pool.expect([send_again(2, a, 4, 2)]);
    pool.join(3);
    pool.expect([send(3, b, 5)]);
}

#[test]
fn a_goodbye_is_no_blame() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = retried(&mut pool, 1);
    pool.expect([send(1, a, 1)]);
    pool.leave(1);
    pool.join(2);
    pool.expect([send(2, a, 2)]);
}

#[test]
fn without_daemons_to_come_what_waits_is_lost_and_what_is_submitted() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.event(Event::NoDaemonsExpected);
    pool.expect_nothing();
    pool.lose(1);
    pool.expect([
        settle(a, Settled::Lost),
        release(a),
        settle(b, Settled::Abandoned),
        release(b),
    ]);
    let c = pool.submit();
    pool.expect([settle(c, Settled::Abandoned), release(c)]);
    pool.event(Event::DaemonsExpected);
    let d = pool.submit();
    pool.expect_nothing();
    pool.join(2);
    pool.expect([send(2, d, 2)]);
}
