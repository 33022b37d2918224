//! The barrier of `everywhere()`.

use super::recorder::*;
use crate::{Event, Mode, Settled, TaskOptions};

#[test]
fn each_daemon_gets_one_and_later_tasks_wait_for_the_last() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let [b, c] = pool.everywhere(1);
    pool.expect([send(2, b, 2)]);
    let d = pool.submit();
    pool.end(2, 2);
    pool.expect([ended(b), release(b)]);
    assert_eq!(pool.counts(), (2, 1, 1), "daemon 2 is parked");
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, c, 3), send(2, d, 4)]);
}

#[test]
fn idle_daemons_all_get_theirs_at_once() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 3);
    let [a, b, c] = pool.everywhere(1);
    pool.expect([send(1, a, 1), send(2, b, 2), send(3, c, 3)]);
    let d = pool.submit();
    pool.end(2, 2);
    pool.expect([ended(b), release(b), send(2, d, 4)]);
}

#[test]
fn a_minimum_above_the_connected_holds_the_queue_until_enough_have_come() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let [a, b, c] = pool.everywhere(3);
    pool.expect([send(1, a, 1), send(2, b, 2)]);
    let d = pool.submit();
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    pool.join(3);
    pool.expect([send(3, c, 3), send(1, d, 4)]);
}

#[test]
fn with_nobody_there_the_first_to_come_gets_it() {
    let mut pool = Recorder::new(Mode::Queue);
    let [a] = pool.everywhere(1);
    let b = pool.submit();
    pool.join(1);
    pool.expect([send(1, a, 1)]);
    pool.join(2);
    pool.expect([send(2, b, 2)]);
}

#[test]
fn a_daemon_that_joins_later_takes_no_evaluation_of_a_member() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.expect([send(2, b, 2)]);
    let [c, d] = pool.everywhere(1);
    let e = pool.submit();
    pool.join(3);
    pool.expect_nothing();
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, c, 3)]);
    pool.end(2, 2);
    pool.expect([ended(b), release(b), send(2, d, 4), send(3, e, 5)]);
}

#[test]
fn a_member_that_dies_before_it_got_its_evaluation_does_not_hold_the_queue() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let [b, c] = pool.everywhere(1);
    pool.expect([send(2, b, 2)]);
    let d = pool.submit();
    pool.end(2, 2);
    pool.expect([ended(b), release(b)]);
    pool.lose(1);
    pool.expect([lost(a), release(a), lost(c), release(c), send(2, d, 3)]);
}

#[test]
fn a_member_that_dies_during_its_evaluation_loses_that_one() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let [a, b] = pool.everywhere(1);
    pool.expect([send(1, a, 1), send(2, b, 2)]);
    pool.lose(1);
    pool.expect([lost(a), release(a)]);
    let c = pool.submit();
    pool.end(2, 2);
    pool.expect([ended(b), release(b), send(2, c, 3)]);
}

#[test]
fn consecutive_barriers_reach_everyone_once_each() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let [a, b] = pool.everywhere(1);
    pool.expect([send(1, a, 1), send(2, b, 2)]);
    let [c, d] = pool.everywhere(1);
    let e = pool.submit();
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, c, 3)]);
    pool.end(1, 3);
    pool.expect([ended(c), release(c)]);
    pool.end(2, 2);
    pool.expect([ended(b), release(b), send(2, d, 4), send(1, e, 5)]);
}

#[test]
fn one_death_frees_all_the_barriers_that_wait() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let x = pool.submit();
    pool.expect([send(1, x, 1)]);
    let [a, b] = pool.everywhere(1);
    pool.expect([send(2, a, 2)]);
    let [c, d] = pool.everywhere(1);
    let e = pool.submit();
    pool.lose(1);
    pool.expect([
        lost(x),
        release(x),
        lost(b),
        release(b),
        lost(d),
        release(d),
    ]);
    pool.end(2, 2);
    pool.expect([ended(a), release(a), send(2, c, 3)]);
    pool.end(2, 3);
    pool.expect([ended(c), release(c), send(2, e, 4)]);
}

#[test]
fn evaluations_can_be_cancelled_and_the_last_one_frees_the_queue() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let [a, b, c] = pool.everywhere(3);
    pool.expect([send(1, a, 1)]);
    let d = pool.submit();
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    pool.cancel(b);
    pool.expect([cancelled(b), release(b)]);
    pool.cancel(c);
    pool.expect([cancelled(c), release(c), send(1, d, 2)]);
}

#[test]
fn cancelling_a_barrier_that_is_not_at_the_head_frees_nothing_else() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    let [c] = pool.everywhere(1);
    let d = pool.submit();
    pool.cancel(c);
    pool.expect([cancelled(c), release(c)]);
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, b, 2)]);
    pool.end(1, 2);
    pool.expect([ended(b), release(b), send(1, d, 3)]);
}

#[test]
fn a_cancelled_evaluation_is_one_for_daemons_to_come_first() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let x = pool.submit();
    pool.expect([send(1, x, 1)]);
    let [a, b] = pool.everywhere(2);
    pool.cancel(a);
    pool.expect([cancelled(a), release(a)]);
    pool.join(2);
    pool.expect_nothing();
    pool.end(1, 1);
    pool.expect([ended(x), release(x), send(1, b, 2)]);
}

#[test]
fn evaluations_time_out_and_free_the_queue() {
    let mut pool = Recorder::new(Mode::Queue);
    let tasks = [pool.scheduler.reserve(), pool.scheduler.reserve()];
    let options = TaskOptions {
        retries: 0,
        runtime: None,
        bytes: 5,
        timeout: Some(50),
        to: None,
        part: None,
    };
    pool.event(Event::EverywhereSubmitted {
        tasks: tasks.to_vec(),
        options,
    });
    pool.expect([arm(50)]);
    assert_eq!(pool.scheduler.memory().used, 10);
    pool.join(1);
    pool.expect([send(1, tasks[0], 1)]);
    let c = pool.submit();
    pool.end(1, 1);
    pool.expect([ended(tasks[0]), release(tasks[0])]);
    pool.fire_at(50);
    pool.expect([
        settle(tasks[1], Settled::TimedOut),
        release(tasks[1]),
        send(1, c, 2),
    ]);
}

#[test]
fn a_barrier_with_no_time_is_none() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let task = pool.scheduler.reserve();
    let options = TaskOptions {
        retries: 0,
        runtime: None,
        bytes: 5,
        timeout: Some(0),
        to: None,
        part: None,
    };
    pool.event(Event::EverywhereSubmitted {
        tasks: vec![task],
        options,
    });
    pool.expect([timed_out(task), release(task)]);
    pool.event(Event::EverywhereSubmitted {
        tasks: vec![],
        options,
    });
    let b = pool.submit();
    pool.expect([send(1, b, 1)]);
}

#[test]
fn a_member_that_leaves_is_not_waited_for_while_others_are_there() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let x = pool.submit();
    pool.expect([send(1, x, 1)]);
    let [a, b] = pool.everywhere(1);
    pool.expect([send(2, a, 2)]);
    let c = pool.submit();
    pool.end_last(1, 1);
    pool.expect([ended(x), release(x), lost(b), release(b)]);
    pool.end(2, 2);
    pool.expect([ended(a), release(a), send(2, c, 3)]);
}

#[test]
fn the_last_daemon_leaves_its_evaluation_to_the_next() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let x = pool.submit();
    pool.expect([send(1, x, 1)]);
    let [a] = pool.everywhere(1);
    let b = pool.submit();
    pool.end_last(1, 1);
    pool.expect([ended(x), release(x)]);
    pool.join(2);
    pool.expect([send(2, a, 2)]);
    pool.join(3);
    pool.expect([send(3, b, 3)]);
}

#[test]
fn an_evaluation_that_crossed_with_a_goodbye_is_over_or_waits_for_the_next() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let [a, b] = pool.everywhere(1);
    pool.expect([send(1, a, 1), send(2, b, 2)]);
    pool.leave(1);
    pool.expect([lost(a), release(a)]);
    pool.leave(2);
    pool.expect_nothing();
    let c = pool.submit();
    pool.join(3);
    pool.expect([send(3, b, 3)]);
    pool.end(3, 3);
    pool.expect([ended(b), release(b), send(3, c, 4)]);
}

#[test]
fn a_parked_daemon_takes_what_was_put_back() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 3);
    let x = pool.submit();
    pool.expect([send(1, x, 1)]);
    let y = pool.submit();
    pool.expect([send(2, y, 2)]);
    let [a, b, c] = pool.everywhere(1);
    pool.expect([send(3, a, 3)]);
    pool.end(3, 3);
    pool.expect([ended(a), release(a)]);
    pool.leave(1);
    pool.expect([lost(c), release(c), send(3, x, 4)]);
    let z = pool.submit();
    pool.end(3, 4);
    pool.expect([ended(x), release(x)]);
    pool.end(2, 2);
    pool.expect([ended(y), release(y), send(2, b, 5), send(3, z, 6)]);
}
