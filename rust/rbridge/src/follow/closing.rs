//! What becomes of the commands and jobs of a launch when its pool is closed before they have brought all daemons: who comes
//! later would be refused, so they are ended, as far as they are this process's own.

use super::{ANSWERED_WITHIN, Closed, Followed, FollowedJob, Follower, Kind, News, Stage};
use std::io;
use std::process;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use mirai_launcher::{Errand, ExitStatus, Job, RunningErrand, Scheduler, Turns};
use parking_lot::Mutex;

use crate::absent::{For, note_untold, with_output};

/// A submission ends by itself within this time, and says which jobs it has made.
const SUBMISSION: Duration = Duration::from_secs(1);

/// For how long a command may go on that was asked to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// A message names so many jobs.
const NAMED: usize = 8;

/// What daemons do once their host is done, as `daemon(autoexit =)` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// They leave.
    Leave,
    /// They end their tasks, and then leave.
    EndTasks,
    /// They stay, for the next host at the address.
    Stay,
}

/// Tells one follower that the hub is closed.
pub(crate) struct End {
    pub(super) tell: Sender<News>,
    /// Disconnected once it is done.
    pub(super) done: Receiver<()>,
}

impl End {
    fn is_open(&self) -> bool {
        is_open(&self.done)
    }
}

fn is_open(done: &Receiver<()>) -> bool {
    done.try_recv() != Err(TryRecvError::Disconnected)
}

/// The followers of one hub.
#[derive(Default)]
pub(crate) struct Followers(Vec<End>);

impl Followers {
    pub(crate) fn add(&mut self, one: End) {
        self.0.retain(End::is_open);
        self.0.push(one);
    }

    /// The hub closes, perhaps before all daemons have come that were launched; with `exit` also those leave that would stay.
    pub(crate) fn close(&mut self, before_all_came: bool, exit: bool) {
        let closed = Closed {
            before_all_came,
            exit,
        };
        let open = self
            .0
            .drain(..)
            .filter(|end| end.tell.send(News::Closed(closed)).is_ok() && end.is_open());
        let ending = open.map(|end| (process::id(), end.done));
        ENDING.lock().extend(ending);
    }
}

/// Followers of hubs that have closed, with the process that they belong to. Locked on R's thread only: a forked child would find
/// it locked for good by a thread that it has not.
static ENDING: Mutex<Vec<(u32, Receiver<()>)>> = Mutex::new(Vec::new());

/// Waits for them, at most for `slice`: whether all are done.
pub(crate) fn await_followers(slice: Duration) -> bool {
    let mut ending = std::mem::take(&mut *ENDING.lock());
    ending.retain(|(pid, done)| *pid == process::id() && is_open(done));
    if let Some((_, done)) = ending.first() {
        // Nothing is ever sent there.
        let _ = done.recv_timeout(slice);
    }
    ending.retain(|(_, done)| is_open(done));
    let is_over = ending.is_empty();
    ENDING.lock().extend(ending);
    is_over
}

/// Nobody waits for them any longer: they go on by themselves.
pub(crate) fn leave_followers() {
    ENDING.lock().clear();
}

fn named(jobs: &[Job]) -> String {
    let ids: Vec<&str> = jobs.iter().take(NAMED).map(|job| &*job.id).collect();
    let others = jobs.len() - ids.len();
    let others = if others > 0 {
        format!(" and {others} more")
    } else {
        String::new()
    };
    format!("{}{others}", ids.join(", "))
}

impl Follower {
    pub(super) fn wind_up(&mut self, closed: Closed) {
        let at_end = if closed.exit {
            AtEnd::Leave
        } else {
            self.at_end
        };
        if at_end == AtEnd::Stay {
            return;
        }
        self.is_winding_up = true;
        self.turns = Turns::default();
        // A command that has brought its daemon ends with it.
        let may_end = match at_end {
            AtEnd::Leave => closed.before_all_came,
            AtEnd::EndTasks | AtEnd::Stay => self.launch.came() == 0,
        };
        // Before others may take their time to end, and then those of submissions that were under way.
        let known = std::mem::take(&mut self.jobs);
        self.withdraw_jobs(&known);
        if may_end {
            self.end_commands();
        }
        let known = std::mem::take(&mut self.jobs);
        self.withdraw_jobs(&known);
    }

    fn end_commands(&mut self) {
        if self.kind != Kind::Session {
            self.await_commands(SUBMISSION);
        }
        for end in [RunningErrand::terminate, RunningErrand::kill] {
            let commands = self.errands.iter();
            commands
                .filter_map(|errand| errand.running.as_ref())
                .for_each(end);
            self.await_commands(PATIENCE);
        }
    }

    /// Until all have ended that have begun.
    fn await_commands(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        let is_running =
            |errand: &Followed| errand.running.is_some() && errand.stage == Stage::Running;
        while self.errands.iter().any(is_running) {
            match self.news.recv_deadline(until) {
                Ok(news) => self.learn(news),
                Err(_) => return,
            }
        }
    }

    /// Jobs that have not begun would find nobody, but take their turn in the queue and a place.
    fn withdraw_jobs(&self, known: &[FollowedJob]) {
        for scheduler in Scheduler::ALL {
            let open = known.iter().filter(|job| !job.is_over);
            let ours = open.filter(|job| job.job.scheduler == scheduler && self.has_made(job));
            let jobs: Vec<Job> = ours.map(|job| job.job.clone()).collect();
            if jobs.is_empty() {
                continue;
            }
            if let Err(why) = self.withdraw(scheduler, &jobs) {
                let text = format!(
                    "{scheduler} jobs that wait for a pool that is closed could not be taken back ({}): {why}",
                    named(&jobs)
                );
                note_untold(For::Elsewhere, &text, "");
            }
        }
    }

    /// Whether a job is this launch's for sure: what looks like one may be what a task has said, or a wrapper.
    fn has_made(&self, job: &FollowedJob) -> bool {
        let line = &self.errands[job.errand].command;
        self.kind == Kind::Submission && job.job.scheduler.is_handed_jobs_by(line)
    }

    fn withdraw(&self, scheduler: Scheduler, jobs: &[Job]) -> Result<(), String> {
        let run = |line: String| self.run_to_its_end(line).map_err(|error| error.to_string());
        let listed = match scheduler.listing(jobs) {
            Some(line) => run(line)?.1,
            None => String::new(),
        };
        let mut failed = Ok(());
        for line in scheduler.withdrawals(jobs, &listed) {
            match run(line)? {
                (ExitStatus::Code(0), _) => {}
                (_, output) if scheduler.says_they_are_over(&output) => {}
                (status, output) => {
                    let text = format!("the command for it ended with {status}");
                    failed = Err(with_output(&text, &output));
                }
            }
        }
        failed
    }

    fn run_to_its_end(&self, line: String) -> io::Result<(ExitStatus, String)> {
        let mut context = self.context.clone();
        // That of the launch may be gone by now.
        if !context.working_dir.is_dir() {
            context.working_dir = "/".into();
        }
        let errand = Errand {
            line,
            context,
            forwards: false,
        };
        errand.finish(ANSWERED_WITHIN)
    }
}
