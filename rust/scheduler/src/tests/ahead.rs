//! Tasks that are sent before their turn, and taken back.

use std::time::Duration;

use super::recorder::{Recorder, cancelled, ended, interrupt, lost, release, send, timed_out};
use crate::{Effect, Event, Mode, Settled, TaskId, TaskOptions};

/// Daemons that take tasks ahead, with as many short tasks behind them that it is known how short they are.
fn practised(daemons: u32) -> Recorder {
    let mut recorder = Recorder::new(Mode::Queue);
    recorder.took = Duration::from_micros(20);
    (1..=daemons).for_each(|daemon| recorder.join_ahead(daemon));
    for _ in 0..20 {
        recorder.submit();
        let Some(Effect::Send { run, .. }) = recorder.skip().first().copied() else {
            panic!("a daemon is idle");
        };
        // That which was busy last comes first.
        recorder.end(daemons, run.0);
        recorder.skip();
    }
    recorder
}

/// What was sent: number of the run, and whether ahead.
fn sends(effects: &[Effect]) -> Vec<(TaskId, u64, bool)> {
    let sent = |effect: &Effect| match effect {
        Effect::Send {
            task, run, ahead, ..
        } => Some((*task, run.0, *ahead)),
        _ => None,
    };
    effects.iter().filter_map(sent).collect()
}

fn submit_many(recorder: &mut Recorder, count: usize) -> Vec<TaskId> {
    let submit = |_| {
        let task = recorder.submit();
        recorder.skip();
        task
    };
    (0..count).map(submit).collect()
}

/// One daemon at the first of ten tasks, with four of them ahead: 22, 23, 24 and 25. Its run is 21.
fn laden() -> (Recorder, Vec<TaskId>) {
    let mut recorder = practised(1);
    let tasks = submit_many(&mut recorder, 11);
    recorder.end(1, 21);
    let sent = sends(&recorder.skip());
    let expected = [
        (tasks[1], 22, false),
        (tasks[2], 23, true),
        (tasks[3], 24, true),
        (tasks[4], 25, true),
        (tasks[5], 26, true),
    ];
    assert_eq!(sent, expected);
    (recorder, tasks)
}

#[test]
fn a_daemon_that_reports_is_sent_several_and_they_wait_as_others_do() {
    let (recorder, _) = laden();
    assert_eq!(recorder.counts(), (9, 1, 21));
    assert!(recorder.scheduler.memory().used == 0);
}

#[test]
fn as_one_ends_the_next_has_begun() {
    let (mut recorder, tasks) = laden();
    recorder.end(1, 22);
    recorder.expect([ended(tasks[1]), release(tasks[1])]);
    assert_eq!(recorder.counts(), (8, 1, 22));
}

#[test]
fn long_tasks_go_one_at_a_time() {
    let mut recorder = practised(1);
    recorder.took = Duration::from_secs(1);
    let tasks = submit_many(&mut recorder, 100);
    recorder.end(1, 21);
    let sent = sends(&recorder.skip());
    assert_eq!(sent, [(tasks[1], 22, false)]);
}

#[test]
fn a_daemon_that_takes_none_gets_none() {
    let mut recorder = practised(1);
    recorder.join(2);
    submit_many(&mut recorder, 100);
    recorder.end(2, 22);
    assert_eq!(sends(&recorder.skip()).len(), 1);
}

#[test]
fn a_daemon_that_rests_gets_what_another_has_ahead() {
    let (mut recorder, tasks) = laden();
    recorder.join_ahead(2);
    recorder.expect([send(2, tasks[6], 27)]);
    // Nothing is left in the queue once these have ended; then what is ahead comes back, in order.
    for run in 27..32 {
        recorder.end(2, run);
        let sent = sends(&recorder.skip());
        let expected = match run {
            31 => tasks[2],
            _ => tasks[run as usize - 20],
        };
        assert_eq!(sent.first().map(|sent| sent.0), Some(expected), "{run}");
    }
}

#[test]
fn what_has_begun_stays_where_it_is() {
    let (mut recorder, tasks) = laden();
    // As the hub does not know yet.
    assert!(recorder.claims.begin(crate::RunId(23)));
    assert!(recorder.claims.begin(crate::RunId(24)));
    for task in &tasks[6..] {
        recorder.cancel(*task);
        recorder.skip();
    }
    recorder.join_ahead(2);
    recorder.expect([send(2, tasks[4], 27)]);
    assert_eq!(recorder.counts().1, 4);
    recorder.end(2, 27);
    assert_eq!(sends(&recorder.skip()), [(tasks[5], 28, false)]);
}

#[test]
fn a_daemon_at_a_long_task_keeps_nothing_ahead() {
    let (mut recorder, tasks) = laden();
    recorder.join(2);
    recorder.expect([send(2, tasks[6], 27)]);
    recorder.now = 4;
    recorder.end(2, 27);
    recorder.expect([ended(tasks[6]), release(tasks[6]), send(2, tasks[7], 28)]);
    recorder.now = 5;
    recorder.end(2, 28);
    recorder.expect([ended(tasks[7]), release(tasks[7]), send(2, tasks[2], 29)]);
}

#[test]
fn what_is_ahead_is_cancelled_at_once() {
    let (mut recorder, tasks) = laden();
    recorder.cancel(tasks[3]);
    recorder.expect([cancelled(tasks[3]), release(tasks[3])]);
    assert_eq!(recorder.counts(), (8, 1, 22));
    assert!(!recorder.claims.begin(crate::RunId(24)));
    // One that has begun is interrupted.
    assert!(recorder.claims.begin(crate::RunId(23)));
    recorder.cancel(tasks[2]);
    recorder.expect([cancelled(tasks[2]), interrupt(1, 23)]);
    recorder.end(1, 23);
    recorder.expect([release(tasks[2])]);
}

#[test]
fn what_is_ahead_times_out_at_once() {
    let mut recorder = practised(1);
    submit_many(&mut recorder, 1);
    let timed = recorder.submit_timed(50);
    recorder.skip();
    submit_many(&mut recorder, 20);
    recorder.end(1, 21);
    let first = sends(&recorder.skip());
    assert_eq!(first[0].0, timed);
    let behind = recorder.submit_timed(2);
    recorder.skip();
    for run in first.iter().map(|sent| sent.1) {
        recorder.end(1, run);
        if sends(&recorder.skip()).iter().any(|sent| sent.0 == behind) {
            break;
        }
    }
    recorder.now = 2;
    recorder.event(Event::TimerFired);
    let effects = recorder.skip();
    assert_eq!(effects[..2], [timed_out(behind), release(behind)]);
}

#[test]
fn a_death_takes_only_what_had_begun() {
    let (mut recorder, tasks) = laden();
    assert!(recorder.claims.begin(crate::RunId(23)));
    recorder.lose(1);
    recorder.expect([
        lost(tasks[1]),
        release(tasks[1]),
        lost(tasks[2]),
        release(tasks[2]),
    ]);
    assert_eq!(recorder.counts(), (8, 0, 23));
    recorder.join(2);
    recorder.expect([send(2, tasks[3], 27)]);
}

#[test]
fn a_daemon_that_says_goodbye_has_begun_nothing_more() {
    let (mut recorder, tasks) = laden();
    recorder.end_last(1, 22);
    recorder.expect([ended(tasks[1]), release(tasks[1])]);
    assert_eq!(recorder.counts(), (9, 0, 22));
    recorder.join(2);
    recorder.expect([send(2, tasks[2], 27)]);
}

#[test]
fn nothing_goes_ahead_while_a_barrier_waits() {
    let (mut recorder, _) = laden();
    let [evaluation] = recorder.everywhere(1);
    recorder.skip();
    submit_many(&mut recorder, 100);
    for run in 22..31 {
        recorder.end(1, run);
        let sent = sends(&recorder.skip());
        assert!(sent.iter().all(|sent| !sent.2), "{sent:?}");
    }
    assert_eq!(recorder.counts().1, 1);
    recorder.end(1, 31);
    let sent = sends(&recorder.skip());
    assert_eq!(sent.first().map(|sent| sent.0), Some(evaluation));
}

#[test]
fn large_tasks_do_not_pile_up_at_a_daemon() {
    let mut recorder = practised(1);
    for _ in 0..100 {
        recorder.submit_bytes(20_000);
        recorder.skip();
    }
    recorder.end(1, 21);
    assert_eq!(sends(&recorder.skip()).len(), 1 + 3);
}

#[test]
fn what_a_daemon_has_died_of_goes_alone() {
    let mut recorder = practised(1);
    let killer = recorder.submit_with(TaskOptions {
        retries: 1,
        ..TaskOptions::default()
    });
    recorder.skip();
    recorder.lose(1);
    recorder.expect_nothing();
    submit_many(&mut recorder, 20);
    recorder.join(2);
    let sent = sends(&recorder.skip());
    assert_eq!(sent.first().map(|sent| sent.0), Some(killer));
}

#[test]
fn a_reset_ends_what_is_ahead() {
    let (mut recorder, tasks) = laden();
    recorder.event(Event::Reset);
    let settled = recorder.skip();
    let reset = |effect: &&Effect| {
        matches!(
            effect,
            Effect::Settle {
                how: Settled::Reset,
                ..
            }
        )
    };
    assert_eq!(settled.iter().filter(reset).count(), tasks.len() - 1);
    assert_eq!(recorder.counts(), (0, 0, 31));
}
