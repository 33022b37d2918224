//! The worker loop with a clock that is moved by hand, and a hub whose messages are all there from the start.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use mirai_lanes::{Address, Dialled, Wake};
use mirai_wire::{FrameBuffer, FrameLimits, Payload, TaskFlags, Want, encode_head};
use parking_lot::Mutex;

use super::*;
use crate::clock::HandClock;
use crate::connections::Connections;
use crate::session::Channel;

const SECOND: Duration = Duration::from_secs(1);

/// The daemon's end of a connection. Who reads when all is read has waited until the deadline, and without one finds the end.
#[derive(Debug)]
struct Script {
    clock: HandClock,
    unread: Mutex<VecDeque<u8>>,
    written: Mutex<Vec<u8>>,
}

impl Dialled for Script {
    fn read(&self, into: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        match (self.read_now(into), deadline) {
            (Err(_), Some(deadline)) => {
                self.clock.set(deadline);
                Err(io::ErrorKind::TimedOut.into())
            }
            (Err(_), None) => Ok(0),
            (read, _) => read,
        }
    }

    fn read_append(
        &self,
        into: &mut Vec<u8>,
        limit: usize,
        _deadline: Option<Instant>,
    ) -> io::Result<usize> {
        let mut unread = self.unread.lock();
        let count = limit.min(unread.len());
        into.extend(unread.drain(..count));
        Ok(count)
    }

    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut unread = self.unread.lock();
        let count = into.len().min(unread.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (to, byte) in into.iter_mut().zip(unread.drain(..count)) {
            *to = byte;
        }
        Ok(count)
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = self.written.lock();
        parts
            .iter()
            .for_each(|part| written.extend_from_slice(part));
        Ok(parts.iter().map(|part| part.len()).sum())
    }

    fn wait(&self, _host: &HostWatch) -> Wake {
        Wake::Readable
    }

    fn end_reading(&self) {}

    fn shutdown(&self) {}

    fn host_pid(&self) -> Option<u32> {
        None
    }

    fn notices_silence(&self) -> bool {
        true
    }
}

/// Takes as many seconds for a task as its body says; one that takes more than a thousand is interrupted by then.
struct Slow(HandClock);

impl Evaluator for Slow {
    fn welcome(&mut self, _settings: &[u8]) {}

    fn evaluate(&mut self, task: Task<'_>) -> Evaluation {
        let seconds = u32::from_be_bytes(task.body.try_into().unwrap());
        self.0.set(self.0.now() + SECOND * seconds.min(1000));
        Evaluation {
            end: match seconds {
                ..=1000 => RunEnd::Value,
                _ => RunEnd::Interrupted,
            },
            payload: Payload::new(),
        }
    }

    fn after(&mut self, _flags: TaskFlags) {}
    fn keep_part(&mut self, _id: u64, _bytes: Payload) {}
    fn forget_part(&mut self, _id: u64) {}
}

impl Interrupter for Slow {
    fn interrupt(&self) {}
    fn clear_interrupt(&self) {}
}

/// What a daemon did that was sent tasks of so many seconds.
#[derive(Debug, PartialEq)]
struct Life {
    /// Why it left; `None` if the end of the connection came first.
    left: Option<LeaveReason>,
    /// How long it was there.
    time: Duration,
    said: Vec<FromDaemon>,
}

fn live(limited: impl FnOnce(&mut WorkerOptions), tasks: &[(u64, u32)]) -> Life {
    live_with(limited, tasks, None)
}

/// With words, each task has that of its run.
fn live_with(
    limited: impl FnOnce(&mut WorkerOptions),
    tasks: &[(u64, u32)],
    words: Option<SharedWords>,
) -> Life {
    let mut options = WorkerOptions::new(Address::unique(&std::env::temp_dir()).unwrap());
    limited(&mut options);
    let begun = Instant::now();
    let clock = HandClock::at(begun);
    let mut unread = VecDeque::new();
    for (run, seconds) in tasks {
        let message = ToDaemon::Task {
            run: *run,
            shared: None,
            flags: TaskFlags::default(),
            attempt: 1,
            word: words.as_ref().map(|_| *run as u16),
        };
        unread.extend(encode_head(&message, 4));
        unread.extend(seconds.to_be_bytes());
    }
    let script = Arc::new(Script {
        clock: clock.clone(),
        unread: Mutex::new(unread),
        written: Mutex::default(),
    });
    let connections = Arc::new(Connections::new(script.clone()));
    let channel = Channel::new(script.clone());
    let mut service = Service {
        data: &mut Data::new(channel, &options.leave, connections, false, None),
        limits: &mut WorkerLimits::new(&options, begun),
        evaluator: &mut Slow(clock.clone()),
        interrupter: &Slow(clock.clone()),
        current: &Current::default(),
        options: &options,
        clock: &clock,
        process: std::process::id(),
        lost_parts: Vec::new(),
        words: words.map(Arc::new),
    };
    let left = match service.run_tasks().unwrap() {
        End::Left(reason) => Some(reason),
        End::HubGone => None,
        End::Interrupted => panic!("nobody wants it to stop"),
    };
    Life {
        left,
        time: clock.now() - begun,
        said: messages(&script.written.lock()),
    }
}

fn messages(mut bytes: &[u8]) -> Vec<FromDaemon> {
    let mut buffer = FrameBuffer::new(FrameLimits::PEER);
    let mut messages = Vec::new();
    loop {
        while let Some(frame) = buffer.next_frame().unwrap() {
            messages.push(without_time(frame.message));
        }
        let Want::Window(window) = buffer.want() else {
            panic!("no reply has a payload");
        };
        let count = io::Read::read(&mut bytes, window).unwrap();
        if count == 0 {
            return messages;
        }
        buffer.filled(count);
    }
}

/// As [`ended`] has it.
fn without_time(mut message: FromDaemon) -> FromDaemon {
    if let FromDaemon::Ended { took, .. } = &mut message {
        *took = 0;
    }
    message
}

fn ended(run: u64, end: RunEnd, last: Option<LeaveReason>) -> FromDaemon {
    FromDaemon::Ended {
        run,
        end,
        took: 0,
        last,
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_taken_back_is_not_begun_and_not_reported_on() {
    let (words, passed) = SharedWords::create().unwrap();
    let hub = SharedWords::open(&passed).unwrap();
    (1..5).for_each(|run| claim::offer(&hub.all()[run], run as u64));
    assert!(claim::take_back(&hub.all()[2], 2));
    // The word serves another run by now.
    claim::offer(&hub.all()[4], 9);
    let tasks = [(1, 10), (2, 10), (3, 10), (4, 10)];
    let life = live_with(|_| {}, &tasks, Some(words));
    let said = vec![ended(1, RunEnd::Value, None), ended(3, RunEnd::Value, None)];
    assert_eq!((life.said, life.time), (said, 20 * SECOND));
    assert!(!claim::take_back(&hub.all()[3], 3));
}

#[test]
fn idle_time_does_not_run_while_there_is_a_task() {
    let life = live(
        |options| options.idletime = Some(500 * SECOND),
        &[(1, 800), (2, 800)],
    );
    let said = [
        ended(1, RunEnd::Value, None),
        ended(2, RunEnd::Value, None),
        FromDaemon::Leaving(LeaveReason::IdleTime),
    ];
    assert_eq!(life.said, said);
    assert_eq!(life.left, Some(LeaveReason::IdleTime));
    assert_eq!(life.time, 2100 * SECOND);
}

#[test]
fn a_busy_daemon_leaves_with_the_task_that_exceeds_its_wall_time() {
    let wall = |options: &mut WorkerOptions| options.walltime = Some(100 * SECOND);
    let left = Some(LeaveReason::WallTime);
    let life = live(wall, &[(1, 60), (2, 60), (3, 60)]);
    let said = [ended(1, RunEnd::Value, None), ended(2, RunEnd::Value, left)];
    assert_eq!((life.said, life.time), (said.to_vec(), 120 * SECOND));
    let life = live(wall, &[(1, 60)]);
    assert_eq!((life.left, life.time), (left, 100 * SECOND));
}

#[test]
fn limits_hold_for_a_task_that_was_given_up() {
    let wall = live(
        |options| options.walltime = Some(100 * SECOND),
        &[(1, 2000), (2, 1)],
    );
    let left = Some(LeaveReason::WallTime);
    assert_eq!(wall.said, [ended(1, RunEnd::Interrupted, left)]);
    let tasks = live(|options| options.maxtasks = Some(1), &[(1, 2000), (2, 1)]);
    let left = Some(LeaveReason::MaxTasks);
    assert_eq!(tasks.said, [ended(1, RunEnd::Interrupted, left)]);
}

#[test]
fn of_two_limits_reached_by_one_task_that_of_tasks_is_told() {
    let life = live(
        |options| {
            options.walltime = Some(SECOND);
            options.maxtasks = Some(1);
        },
        &[(1, 60)],
    );
    let left = Some(LeaveReason::MaxTasks);
    assert_eq!(life.said, [ended(1, RunEnd::Value, left)]);
}

#[test]
fn a_setup_counts_neither_as_a_task_nor_as_idle_time() {
    let life = live(
        |options| {
            options.idletime = Some(500 * SECOND);
            options.maxtasks = Some(1);
        },
        &[(SETUP_RUN, 800), (1, 60)],
    );
    let said = [
        ended(SETUP_RUN, RunEnd::Value, None),
        ended(1, RunEnd::Value, Some(LeaveReason::MaxTasks)),
    ];
    assert_eq!(life.said, said);
}

#[test]
fn without_limits_a_daemon_stays_until_its_hub_has_gone() {
    let life = live(|_| {}, &[(1, 1000)]);
    assert_eq!((life.left, life.time), (None, 1000 * SECOND));
}
