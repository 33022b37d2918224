//! What daemons have to do before their first task.

use super::recorder::*;
use crate::{Event, Mode};

#[test]
fn a_daemon_that_is_being_set_up_is_not_idle() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    pool.event(Event::SetUpAdded);
    pool.event(Event::SetUpAdded);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.join(2);
    pool.expect([set_up(2, 0), set_up(2, 1)]);
    let b = pool.submit();
    pool.end_setup(2, false);
    pool.expect_nothing();
    // The one that is free takes it, although the other has been waiting for longer.
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, b, 2)]);
    let c = pool.submit();
    pool.end_setup(2, false);
    pool.expect([send(2, c, 3)]);
    pool.end_setup(2, false);
    assert_eq!(pool.scheduler.ignored(), 1, "there was no third");
}

#[test]
fn a_barrier_waits_for_a_daemon_that_is_being_set_up() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.event(Event::SetUpAdded);
    pool.join(1);
    pool.expect([set_up(1, 0)]);
    let [a] = pool.everywhere(1);
    let b = pool.submit();
    pool.end_setup(1, false);
    pool.expect([send(1, a, 1)]);
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, b, 2)]);
}

#[test]
fn dealt_tasks_stay_behind_the_set_up_and_go_on_if_it_is_the_last() {
    let mut pool = Recorder::new(Mode::Direct);
    pool.event(Event::SetUpAdded);
    pool.join(1);
    pool.expect([set_up(1, 0)]);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.end_setup(1, true);
    pool.expect_nothing();
    pool.join(2);
    pool.expect([set_up(2, 0)]);
    pool.end_setup(2, false);
    pool.expect([send(2, a, 2)]);
}

#[test]
fn a_daemon_may_die_as_it_is_set_up_and_a_reset_ends_set_ups() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.event(Event::SetUpAdded);
    pool.join(1);
    pool.expect([set_up(1, 0)]);
    let a = pool.submit();
    pool.lose(1);
    pool.expect_nothing();
    pool.cancel(a);
    pool.expect([cancelled(a), release(a)]);
    pool.event(Event::Reset);
    pool.join(2);
    let b = pool.submit();
    pool.expect([send(2, b, 1)]);
}

#[test]
fn a_daemon_may_have_more_to_set_up_than_all_have() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.event(Event::SetUpAdded);
    pool.join_with_setups(1, 2);
    pool.expect([set_up(1, 0), set_up(1, 1), set_up(1, 2)]);
    let a = pool.submit();
    pool.end_setup(1, false);
    pool.end_setup(1, false);
    pool.expect_nothing();
    pool.end_setup(1, false);
    pool.expect([send(1, a, 1)]);
    pool.join(2);
    pool.expect([set_up(2, 0)]);
}
