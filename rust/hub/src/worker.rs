use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_scheduler::RunId;

use crate::task::Cell;

/// A daemon that is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// Number in the life of the hub, from 1.
    pub id: u32,
    /// Process id, where the lane knows it.
    pub pid: Option<u32>,
    /// Reports received from it.
    pub done: u64,
    /// Time it had tasks.
    pub busy: Duration,
    /// What it is at.
    pub task: Option<Running>,
    /// Nothing of what it had to [set up](crate::Hub::set_up) as it joined has failed so far.
    pub is_set_up: bool,
}

/// The task that a daemon is at; where it has been sent several, the one whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Number of the task, as of its handle.
    pub number: u64,
    /// Time since it was that task's turn.
    pub age: Duration,
    /// The task has been cancelled or has timed out: nobody waits for the daemon.
    pub is_over: bool,
}

/// The work of one daemon.
#[derive(Default)]
pub(crate) struct Workload {
    runs: VecDeque<(RunId, Arc<Cell>)>,
    turn: Option<Instant>,
    done: u64,
    busy: Duration,
    failed_setups: u64,
}

impl Workload {
    pub(crate) fn note_setup(&mut self, succeeded: bool) {
        self.failed_setups += u64::from(!succeeded);
    }

    pub(crate) fn sent(&mut self, run: RunId, cell: &Arc<Cell>) {
        self.runs.push_back((run, Arc::clone(cell)));
        self.turn.get_or_insert_with(Instant::now);
    }

    pub(crate) fn ended(&mut self, run: RunId) {
        let Some(at) = self.runs.iter().position(|(sent, _)| *sent == run) else {
            return;
        };
        self.runs.remove(at);
        let now = Instant::now();
        self.done += 1;
        self.busy += self.turn.map_or(Duration::ZERO, |turn| now - turn);
        self.turn = (!self.runs.is_empty()).then_some(now);
    }

    pub(crate) fn describe(&self, id: u32, pid: Option<u32>) -> Worker {
        let age = self.turn.map_or(Duration::ZERO, |turn| turn.elapsed());
        let running = |(_, cell): &(RunId, Arc<Cell>)| Running {
            number: cell.number(),
            age,
            is_over: cell.is_settled(),
        };
        Worker {
            id,
            pid,
            done: self.done,
            busy: self.busy + age,
            task: self.runs.front().map(running),
            is_set_up: self.failed_setups == 0,
        }
    }
}
