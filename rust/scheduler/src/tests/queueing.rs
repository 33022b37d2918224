//! The FIFO queue, memory, counts, and what peers may get wrong.

use super::recorder::*;
use crate::{Counts, Event, Memory, Mode, RunId, Settled, TaskOptions, Tick};

#[test]
fn a_task_goes_straight_to_the_daemon_that_was_busy_last() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    let b = pool.submit();
    pool.expect([send(1, b, 2)]);
    let c = pool.submit();
    pool.expect([send(2, c, 3)]);
    pool.end(1, 2);
    pool.expect([ended(b), release(b)]);
    pool.end(2, 3);
    pool.expect([ended(c), release(c)]);
    // One that is new comes last.
    pool.join(3);
    let d = pool.submit();
    pool.expect([send(2, d, 4)]);
    let e = pool.submit();
    pool.expect([send(1, e, 5)]);
    let f = pool.submit();
    pool.expect([send(3, f, 6)]);
}

#[test]
fn tasks_wait_in_order_for_the_next_free_daemon() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.expect([send(2, b, 2)]);
    let c = pool.submit();
    let d = pool.submit();
    pool.expect_nothing();
    assert_eq!(pool.counts(), (2, 2, 0));
    pool.end(2, 2);
    pool.expect([ended(b), release(b), send(2, c, 3)]);
    pool.end(2, 3);
    pool.expect([ended(c), release(c), send(2, d, 4)]);
    assert_eq!(pool.counts(), (0, 2, 2));
}

#[test]
fn tasks_wait_for_the_first_daemon() {
    let mut pool = Recorder::new(Mode::Queue);
    let a = pool.submit();
    let b = pool.submit();
    pool.join(1);
    pool.expect([send(1, a, 1)]);
    pool.join(2);
    pool.expect([send(2, b, 2)]);
}

#[test]
fn a_dead_daemon_takes_only_its_own_task_along() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.lose(1);
    pool.expect([lost(a), release(a)]);
    pool.join(2);
    pool.expect([send(2, b, 2)]);
}

#[test]
fn an_idle_daemon_that_dies_gets_nothing() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    pool.lose(1);
    let a = pool.submit();
    pool.expect([send(2, a, 1)]);
    let counts = Counts {
        suspects: 0,
        connections: 1,
        cumulative: 2,
        awaiting: 0,
        executing: 1,
        completed: 0,
    };
    assert_eq!(pool.scheduler.counts(), counts);
}

#[test]
fn reset_settles_all_and_forgets_the_daemons() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    pool.expect([send(2, b, 2)]);
    let c = pool.submit_bytes(10);
    let [d, e] = pool.everywhere(1);
    pool.cancel(b);
    pool.expect([cancelled(b), interrupt(2, 2)]);
    pool.event(Event::Reset);
    let reset = |task| settle(task, Settled::Reset);
    pool.expect([
        reset(a),
        release(a),
        release(b),
        reset(c),
        release(c),
        reset(d),
        release(d),
        reset(e),
        release(e),
    ]);
    pool.scheduler.check_empty();
    assert_eq!(pool.scheduler.counts().connections, 0);
    pool.end(1, 1);
    pool.lose(2);
    assert_eq!(pool.scheduler.ignored(), 2);
    let f = pool.submit();
    pool.join(3);
    pool.expect([send(3, f, 3)]);
}

#[test]
fn memory_counts_what_waits() {
    let mut pool = Recorder::with_capacity(Mode::Queue, Some(100));
    pool.join(1);
    let a = pool.submit_bytes(1000);
    pool.expect([send(1, a, 1)]);
    assert_eq!(
        pool.scheduler.memory(),
        Memory {
            used: 0,
            peak: 0,
            capacity: Some(100)
        }
    );
    let b = pool.submit_bytes(99);
    assert!(pool.scheduler.admits());
    let c = pool.submit_bytes(500);
    assert!(!pool.scheduler.admits());
    assert_eq!(pool.scheduler.memory().used, 599);
    pool.cancel(c);
    pool.expect([cancelled(c), release(c)]);
    assert_eq!(
        pool.scheduler.memory(),
        Memory {
            used: 99,
            peak: 599,
            capacity: Some(100)
        }
    );
    pool.end(1, 1);
    pool.expect([ended(a), release(a), send(1, b, 2)]);
    assert_eq!(pool.scheduler.memory().used, 0);
}

#[test]
fn a_full_queue_admits_again_below_its_capacity() {
    let mut pool = Recorder::with_capacity(Mode::Queue, Some(100));
    let a = pool.submit_bytes(100);
    assert!(!pool.scheduler.admits());
    pool.join(1);
    pool.expect([send(1, a, 1)]);
    assert!(pool.scheduler.admits());
}

#[test]
fn reports_that_match_nothing_are_ignored_and_counted() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 2);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.end(1, 7);
    pool.end(2, 1);
    pool.end(9, 1);
    pool.lose(9);
    pool.leave(9);
    pool.join(2);
    pool.event(Event::LaunchFailed);
    pool.expect_nothing();
    assert_eq!(pool.scheduler.ignored(), 7);
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    pool.end(1, 1);
    pool.expect_nothing();
    assert_eq!(pool.scheduler.ignored(), 8);
}

#[test]
fn a_released_id_matches_nothing() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    pool.end(1, 1);
    pool.expect([ended(a), release(a)]);
    let b = pool.submit();
    pool.expect([send(1, b, 2)]);
    assert_eq!(a.index(), b.index());
    assert_ne!(a, b);
    pool.cancel(a);
    pool.event(Event::TaskSubmitted {
        task: a,
        options: TaskOptions::default(),
    });
    pool.event(Event::TaskSubmitted {
        task: b,
        options: TaskOptions::default(),
    });
    pool.expect_nothing();
    assert_eq!(pool.scheduler.ignored(), 2);
}

#[test]
fn what_the_scheduler_is_asked_of_tasks_and_daemons() {
    let mut pool = Recorder::with_daemons(Mode::Queue, 1);
    let daemon = pool.daemon(1);
    assert_eq!(pool.scheduler.daemon_task(daemon), None);
    let a = pool.submit();
    pool.expect([send(1, a, 1)]);
    let b = pool.submit();
    assert_eq!(pool.scheduler.daemon_task(daemon), Some((a, RunId(1))));
    assert!(pool.scheduler.is_cancellable(a) && pool.scheduler.is_cancellable(b));
    pool.cancel(a);
    pool.expect([cancelled(a), interrupt(1, 1)]);
    assert_eq!(pool.scheduler.daemon_task(daemon), Some((a, RunId(1))));
    assert!(!pool.scheduler.is_cancellable(a));
    pool.end(1, 1);
    pool.expect([release(a), send(1, b, 2)]);
}

#[test]
fn a_clock_that_runs_backwards_does_no_harm() {
    let mut pool = Recorder::new(Mode::Queue);
    pool.now = 1000;
    let a = pool.submit_timed(10);
    pool.expect([arm(1010)]);
    pool.now = 500;
    let b = pool.submit_timed(5);
    pool.expect([arm(1005)]);
    pool.fire_at(1010);
    pool.expect([timed_out(b), release(b), timed_out(a), release(a)]);
    assert_eq!(pool.scheduler.now, Tick(1010));
}

#[test]
fn the_id_of_a_daemon_that_does_not_come_is_given_back() {
    let mut pool = Recorder::new(Mode::Queue);
    let first = pool.daemon(1);
    pool.scheduler.give_back(first);
    let second = pool.daemon(2);
    assert_eq!(first.index(), second.index());
    pool.join(1);
    assert_eq!(pool.scheduler.ignored(), 1);
    pool.join(2);
    // One that has joined keeps its id.
    pool.scheduler.give_back(second);
    let a = pool.submit();
    pool.expect([send(2, a, 1)]);
}

#[test]
fn what_tasks_have_in_common_counts_once_while_any_is_queued() {
    let mut pool = Recorder::with_capacity(Mode::Queue, Some(1_000));
    let part = pool.scheduler.add_part(990);
    let options = TaskOptions {
        bytes: 5,
        part: Some(part),
        ..TaskOptions::default()
    };
    let used = |pool: &Recorder| pool.scheduler.memory().used;
    let a = pool.submit_with(options);
    assert!(pool.scheduler.admits());
    let b = pool.submit_with(options);
    assert_eq!((used(&pool), pool.scheduler.admits()), (1_000, false));
    pool.cancel(a);
    pool.expect([cancelled(a), release(a)]);
    assert_eq!(used(&pool), 995);
    pool.join(1);
    pool.expect([send(1, b, 1)]);
    assert_eq!(used(&pool), 0);
    // It was not begun: it is held again.
    pool.leave(1);
    assert_eq!(used(&pool), 995);
    pool.scheduler.drop_part(part);
    assert_eq!(
        used(&pool),
        5,
        "what was dropped is not held, whoever refers to it"
    );
    pool.cancel(b);
    pool.expect([cancelled(b), release(b)]);
    assert_eq!(used(&pool), 0);
}
