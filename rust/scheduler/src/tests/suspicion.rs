//! Daemons whose connection breaks.

use super::recorder::*;
use crate::Mode;

#[test]
fn a_suspect_keeps_its_task_and_gets_no_other() {
    let mut pool = Recorder::with_grace(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.suspect(1);
    pool.expect([arm(64)]);
    let b = pool.submit();
    pool.expect_nothing();
    pool.come_back(1);
    pool.expect_nothing();
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, b, 2)]);
    let counts = pool.scheduler.counts();
    assert_eq!((counts.connections, counts.cumulative), (1, 1));
}

#[test]
fn a_suspect_that_does_not_return_is_lost() {
    let mut pool = Recorder::with_grace(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.suspect(1);
    pool.expect([arm(64)]);
    assert_eq!(pool.scheduler.counts().suspects, 1);
    pool.fire_at(64);
    pool.expect([arm(100)]);
    pool.fire_at(100);
    pool.expect([forget(1), lost(a), release(a)]);
    pool.come_back(1);
    pool.expect_nothing();
    assert_eq!(pool.scheduler.ignored(), 1);
}

#[test]
fn time_in_which_it_could_not_return_is_not_counted() {
    let mut pool = Recorder::with_grace(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.hold_up(1, 500);
    pool.expect_nothing();
    pool.suspect(1);
    pool.expect([arm(64)]);
    pool.hold_up(1, 20);
    pool.hold_up(1, 5);
    pool.hold_up(7, 5);
    pool.expect_nothing();
    pool.fire_at(100);
    pool.expect([arm(125)]);
    pool.fire_at(125);
    pool.expect([forget(1), lost(a), release(a)]);
}

#[test]
fn without_grace_it_is_lost_at_once() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.suspect(1);
    pool.expect([forget(1), lost(a), release(a)]);
}

#[test]
fn one_that_rested_rests_again_and_takes_what_waits() {
    let mut pool = Recorder::with_grace(Mode::Queue, 1);
    pool.suspect(1);
    pool.expect([arm(64)]);
    let a = pool.submit();
    pool.expect_nothing();
    pool.come_back(1);
    pool.expect([send(1, a, 1)]);
}

#[test]
fn an_interrupt_that_it_may_have_missed_comes_again() {
    let mut pool = Recorder::with_grace(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.suspect(1);
    pool.expect([arm(64)]);
    pool.cancel(a);
    pool.expect([cancelled(a), interrupt(1, 1)]);
    pool.come_back(1);
    pool.expect([interrupt(1, 1)]);
    pool.end(1, 1);
    pool.expect([release(a)]);
}

#[test]
fn what_comes_of_a_broken_connection_is_ignored() {
    let mut pool = Recorder::with_grace(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.suspect(1);
    pool.expect([arm(64)]);
    pool.end(1, 1);
    pool.leave(1);
    pool.suspect(1);
    assert_eq!(pool.scheduler.ignored(), 3);
    pool.come_back(1);
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
}

#[test]
fn a_stall_of_the_process_is_not_held_against_it() {
    let mut pool = Recorder::with_grace(Mode::Queue, 1);
    pool.suspect(1);
    pool.expect([arm(64)]);
    pool.fire_at(60_000);
    pool.expect([arm(60_096)]);
    pool.come_back(1);
    assert_eq!(pool.scheduler.counts().connections, 1);
}

#[test]
fn a_barrier_waits_for_a_suspect() {
    let mut pool = Recorder::with_grace(Mode::Queue, 2);
    pool.suspect(2);
    pool.expect([arm(64)]);
    let [a, b] = pool.everywhere(0);
    pool.expect([send(1, a, 1)]);
    let c = pool.submit();
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    pool.come_back(2);
    pool.expect([send(2, b, 2), send(1, c, 3)]);
    pool.end(2, 2);
    pool.expect([ended(b), release(b)]);
    pool.end(1, 3);
    pool.expect([ended(c), release(c)]);
}

#[test]
fn nothing_is_dealt_to_a_suspect_but_what_is_meant_for_it() {
    let mut pool = Recorder::with_grace(Mode::Direct, 2);
    pool.suspect(1);
    pool.expect([arm(64)]);
    let a = pool.submit();
    pool.expect([send(2, a, 1)]);
    let b = pool.submit_to(1);
    pool.expect([send(1, b, 2)]);
    pool.come_back(1);
    pool.end(1, 2);
    pool.expect([ended(b), release(b)]);
}

#[test]
fn a_reset_ends_all_grace() {
    let mut pool = Recorder::with_grace(Mode::Queue, 1);
    pool.suspect(1);
    pool.expect([arm(64)]);
    pool.event(crate::Event::Reset);
    pool.fire_at(200);
    pool.expect_nothing();
}
