//! What becomes of daemons that are to come from elsewhere: their commands may fail, the jobs of a scheduler may wait or
//! die. Daemons themselves say nothing of how they came to be, so they are counted.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use mirai_hub::{HubHandle, ProcessFate};
use mirai_launcher::{
    Context, Errand, ErrandEvent, ExitStatus, Job, JobPart, JobState, RunningErrand, Scheduler,
    Turns, printable, without_secrets,
};
use parking_lot::Mutex;

use crate::absent::{Absent, For, note_untold, with_output};
use crate::healer::{self, Healer};
use crate::hub::SessionHub;
use crate::sys::start_thread;

mod closing;

pub(crate) use closing::{AtEnd, End, Followers, await_followers, leave_followers};

/// After how long it is told that daemons have not come, so that nobody waits in silence.
const LATE: Duration = Duration::from_secs(20);

/// Schedulers have no events: they are asked at intervals that double, from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Where a daemon has fallen silent the scheduler is asked at the first interval, for so long.
const PRESSING: Duration = Duration::from_secs(12);

/// A scheduler that has not known a job for so many times in a row has forgotten it.
const MOST_UNKNOWN: u32 = 8;

/// A scheduler that takes longer to answer is not waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Of the output of a job that has died, the last lines.
const SHOWN_LINES: usize = 20;
const SHOWN_BYTES: u64 = 8192;

/// Likewise in the reason of a lost task.
const LAST_WORDS: usize = 5;

/// One launch, as its ticket and its follower see it.
pub(crate) struct Launch {
    hub: HubHandle,
    /// Number of daemons that had ever joined the hub at the time.
    before: u64,
    total: u64,
    /// Those that will not come, of this launch and of the hub.
    absent: [Arc<Mutex<Absent>>; 2],
    healer: Option<Healer>,
    /// Number of daemons that others are to start: a scheduler, or a program in the background.
    handed: AtomicU64,
    /// The caller waits, and says what has become of them.
    pub is_awaited: AtomicBool,
    /// Of schedulers, that daemons of it may run in.
    jobs: Mutex<Vec<Job>>,
}

impl Launch {
    pub(crate) fn new(
        hub: HubHandle,
        session_hub: &SessionHub,
        total: u64,
        is_awaited: bool,
    ) -> Launch {
        hub.expected(total);
        Launch {
            before: hub.counts().cumulative,
            hub,
            total,
            absent: [Arc::default(), Arc::clone(&session_hub.absent)],
            healer: session_hub.healer.borrow().clone(),
            handed: AtomicU64::new(0),
            is_awaited: AtomicBool::new(is_awaited),
            jobs: Mutex::default(),
        }
    }

    /// Daemons that have connected since. A launch of others at the same time counts, too.
    pub(crate) fn came(&self) -> u64 {
        self.hub.counts().cumulative.saturating_sub(self.before)
    }

    /// Those that will not come.
    pub(crate) fn absent(&self) -> Absent {
        self.absent[0].lock().clone()
    }

    fn failed(&self) -> u64 {
        self.absent[0].lock().count
    }

    /// Whether there is nothing left that this process could wait for.
    pub(crate) fn is_settled(&self) -> bool {
        // One that was handed over may have come already.
        let under_way = self.came().max(self.handed.load(Ordering::Relaxed));
        under_way + self.failed() >= self.total
    }

    fn hand_over(&self, count: u64) {
        self.handed.fetch_add(count, Ordering::Relaxed);
        self.hub.note_change();
    }

    pub(crate) fn note_absent(&self, count: u64, reason: &str, command: &str) {
        self.hub.not_expected(count);
        for _ in 0..count {
            for absent in &self.absent {
                absent.lock().note(reason, command);
            }
            if let Some(healer) = &self.healer {
                healer.tell(healer::News::Missed(reason.to_owned()));
            }
            if !self.is_awaited.load(Ordering::Relaxed) && !self.hub.is_closed() {
                note_untold(For::Pool, reason, command);
            }
        }
        self.hub.note_change();
    }

    fn note(&self, missed: For, text: &str, command: &str) {
        if !self.hub.is_closed() {
            note_untold(missed, text, command);
            self.hub.note_change();
        }
    }
}

/// Where a command is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// It has ended well, and what it has started may go on.
    Gone,
    Over,
}

struct Followed {
    /// As users see it.
    command: String,
    count: u64,
    stage: Stage,
    output: String,
    /// Once it has begun.
    running: Option<RunningErrand>,
}

struct FollowedJob {
    job: Job,
    /// Number of its errand.
    errand: usize,
    /// Parts that have ended, as has been told or counted.
    ended: HashSet<String>,
    parts: Vec<JobPart>,
    unknown: u32,
    is_over: bool,
    /// Whether it is an array, as a daemon of it has told.
    is_array: bool,
    /// A daemon of it has fallen silent: until then its end may be known any moment.
    pressing_until: Option<Instant>,
}

enum News {
    Event(usize, ErrandEvent),
    NotStarted(usize, io::Error),
    /// A daemon that runs in this job.
    Silent(String),
    /// The hub is closed.
    Closed(Closed),
}

/// How a hub was closed.
#[derive(Clone, Copy)]
struct Closed {
    /// Before all daemons have come that were launched, perhaps.
    before_all_came: bool,
    /// Daemons that would stay are told to leave.
    exit: bool,
}

/// Follows the errands of a launch, on a thread of its own.
pub(crate) struct Follower {
    launch: Arc<Launch>,
    context: Context,
    kind: Kind,
    at_end: AtEnd,
    begun: Instant,
    tell: Sender<News>,
    news: Receiver<News>,
    errands: Vec<Followed>,
    turns: Turns<Errand>,
    jobs: Vec<FollowedJob>,
    /// Daemons that came by commands and jobs which are over.
    spent: u64,
    told_late: bool,
    /// When to ask the schedulers of jobs that are pressing, and of all; and how long to wait then.
    next_pressing: Option<Instant>,
    next: Instant,
    pause: Duration,
    closed: Option<Closed>,
    is_winding_up: bool,
}

/// What the commands of a launch are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They last as long as their daemons, as `ssh` does, also when they have gone into the background.
    Session,
    /// They hand jobs to a scheduler, and all that is said is the scheduler's: its jobs are this launch's.
    Submission,
    /// Others, in whose output there may be jobs that are none of ours.
    Other,
}

impl Follower {
    pub(crate) fn new(
        launch: Arc<Launch>,
        context: Context,
        kind: Kind,
        at_end: AtEnd,
    ) -> Follower {
        let (tell, news) = unbounded();
        Follower {
            launch,
            context,
            kind,
            at_end,
            begun: Instant::now(),
            tell,
            news,
            errands: Vec::new(),
            turns: Turns::default(),
            jobs: Vec::new(),
            spent: 0,
            told_late: false,
            next_pressing: None,
            next: Instant::now(),
            pause: FIRST_PAUSE,
            closed: None,
            is_winding_up: false,
        }
    }

    /// Runs a command that brings so many daemons, at once or in its turn.
    pub(crate) fn run(&mut self, errand: Errand, count: u64) {
        let at = self.errands.len();
        self.errands.push(Followed {
            command: without_secrets(&errand.line),
            count,
            stage: Stage::Running,
            output: String::new(),
            running: None,
        });
        self.turns.add(at, errand);
        self.begin_next();
    }

    fn begin_next(&mut self) {
        while let Some((at, errand)) = self.turns.next(Instant::now()) {
            self.begin(at, errand);
        }
    }

    fn begin(&mut self, at: usize, errand: Errand) {
        let tell = self.tell.clone();
        let run = errand.run(move |event| {
            // Nobody listens once the hub is closed.
            let _ = tell.send(News::Event(at, event));
        });
        match run {
            Ok(running) => self.errands[at].running = Some(running),
            Err(error) => {
                let _ = self.tell.send(News::NotStarted(at, error));
            }
        }
    }

    /// Daemons that somebody else has been asked for, and has agreed to start.
    pub(crate) fn expect(&mut self, count: u64, command: String, said: String) {
        self.errands.push(Followed {
            command,
            count,
            stage: Stage::Over,
            output: said,
            running: None,
        });
        self.launch.hand_over(count);
    }

    /// What tells it that the hub is closed.
    pub(crate) fn start(self) -> io::Result<End> {
        let (launch, tell) = (Arc::downgrade(&self.launch), self.tell.clone());
        self.launch.hub.listen_to_jobs(Box::new(move |job| {
            let Some(launch) = launch.upgrade() else {
                return false;
            };
            let is_ours = launch.jobs.lock().iter().any(|ours| ours.holds(job));
            !is_ours || tell.send(News::Silent(job.to_owned())).is_ok()
        }));
        let tell = self.tell.clone();
        // Disconnected as the thread ends.
        let (open, done) = bounded::<()>(0);
        start_thread("mirai-follow", move || {
            self.follow();
            drop(open);
        })?;
        Ok(End { tell, done })
    }

    fn follow(mut self) {
        loop {
            if let Some(closed) = self.closed {
                return self.wind_up(closed);
            }
            self.begin_next();
            let news = match self.next_deadline() {
                Some(at) => self.news.recv_deadline(at),
                None if self.is_over() => return,
                // There is a sender here, so there always is one.
                None => self.news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match news {
                Ok(news) => self.learn(news),
                Err(_) => self.look(),
            }
        }
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Event(at, event) => self.take(at, event),
            News::NotStarted(at, error) => {
                self.turns.ended(at);
                self.fail(at, &format!("cannot be started: {error}"));
            }
            News::Silent(job) => self.press(&job),
            News::Closed(closed) => self.closed = Some(closed),
        }
    }

    fn is_over(&self) -> bool {
        self.errands
            .iter()
            .all(|errand| errand.stage == Stage::Over)
            && self.jobs.iter().all(|job| job.is_over)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let has_jobs = self.jobs.iter().any(|job| !job.is_over);
        let late = (!self.told_late && self.missing() > 0).then(|| self.begun + LATE);
        let asked = has_jobs.then_some(self.next).into_iter();
        asked
            .chain(self.next_pressing)
            .chain(late)
            .chain(self.turns.deadline())
            .min()
    }

    /// Daemons that may still come.
    fn missing(&self) -> u64 {
        let total = self.launch.total;
        total.saturating_sub(self.launch.came() + self.launch.failed())
    }

    fn take(&mut self, at: usize, event: ErrandEvent) {
        if matches!(event, ErrandEvent::Ended { .. }) {
            self.turns.ended(at);
        }
        match event {
            ErrandEvent::Ended {
                status: ExitStatus::Code(0),
                output,
            } => {
                let jobs = self.jobs_in(at, &output);
                self.errands[at].output = output;
                self.errands[at].stage = Stage::Gone;
                if !jobs.is_empty() {
                    self.follow_jobs(at, jobs);
                }
            }
            ErrandEvent::Ended { status, output } => {
                // One that waits for its job was ended by us.
                let jobs = self.jobs_in(at, &output);
                if self.is_winding_up && !jobs.is_empty() {
                    self.follow_jobs(at, jobs);
                }
                self.errands[at].output = output;
                self.fail(at, &format!("ended with {status}"));
            }
            ErrandEvent::Silent { output } => {
                let errand = &mut self.errands[at];
                if errand.stage != Stage::Gone {
                    return;
                }
                errand.output = output;
                if self.jobs.iter().any(|job| job.errand == at) {
                    self.errands[at].stage = Stage::Over;
                } else if self.kind == Kind::Session {
                    self.end_session(at);
                } else {
                    self.errands[at].stage = Stage::Over;
                    self.launch.hand_over(self.errands[at].count);
                }
            }
        }
    }

    /// What a command says that it has handed to a scheduler.
    fn jobs_in(&self, at: usize, output: &str) -> Vec<Job> {
        let has_grid_engine = self.context.variable("SGE_ROOT").is_some();
        let by = Scheduler::of_command(&self.errands[at].command, has_grid_engine);
        Job::in_output(output, by)
    }

    fn follow_jobs(&mut self, errand: usize, jobs: Vec<Job>) {
        self.pause = FIRST_PAUSE;
        self.next = Instant::now() + self.pause;
        self.launch.jobs.lock().extend(jobs.iter().cloned());
        for job in jobs {
            self.jobs.push(FollowedJob {
                job,
                errand,
                ended: HashSet::new(),
                parts: Vec::new(),
                unknown: 0,
                is_over: false,
                is_array: false,
                pressing_until: None,
            });
        }
        self.launch.hand_over(self.errands[errand].count);
    }

    /// How many of the daemons of an errand that is over have not come. The others that have come are taken for those of
    /// errands that go on, as far as these have any.
    fn settle(&mut self, at: usize) -> u64 {
        self.errands[at].stage = Stage::Over;
        let open = self
            .errands
            .iter()
            .filter(|errand| errand.stage != Stage::Over);
        let elsewhere = open.map(|errand| errand.count).sum::<u64>() + self.spent;
        let came = self
            .launch
            .came()
            .saturating_sub(elsewhere)
            .min(self.errands[at].count);
        self.spent += came;
        self.errands[at].count - came
    }

    fn fail(&mut self, at: usize, how: &str) {
        let absent = self.settle(at);
        let errand = &self.errands[at];
        let reason = with_output(
            &format!("the command that starts {} {how}", daemons(errand.count)),
            &errand.output,
        );
        if absent > 0 {
            self.launch.note_absent(absent, &reason, &errand.command);
        } else if !errand.output.trim().is_empty() && !self.launch.hub.take_kill() {
            self.launch.note(For::Lost, &reason, &errand.command);
        }
    }

    /// The session by which daemons were started is over.
    fn end_session(&mut self, at: usize) {
        let absent = self.settle(at);
        if absent > 0 {
            let errand = &self.errands[at];
            let reason = with_output(
                "the session that was to start a daemon has ended",
                &errand.output,
            );
            self.launch.note_absent(absent, &reason, &errand.command);
        }
    }

    fn press(&mut self, named: &str) {
        let now = Instant::now();
        for job in &mut self.jobs {
            if !job.job.holds(named) {
                continue;
            }
            if job.job.id != named && !job.is_array {
                job.is_array = true;
                // What was said before may have been about one of the array that had no number yet.
                job.is_over = job.is_over && job.parts.iter().any(|part| part.job == named);
            }
            if !job.is_over {
                job.pressing_until = Some(now + PRESSING);
                self.next_pressing = Some(now);
            }
        }
    }

    /// The time has come to ask the schedulers, or to say that daemons are late.
    fn look(&mut self) {
        let now = Instant::now();
        let is_turn_of_all = now >= self.next;
        let is_pressing = |job: &FollowedJob| job.pressing_until.is_some_and(|until| now < until);
        for at in 0..self.jobs.len() {
            let job = &self.jobs[at];
            if !job.is_over && (is_turn_of_all || is_pressing(job)) {
                self.ask(at);
            }
            // Each may take its time.
            while let Ok(news) = self.news.try_recv() {
                self.learn(news);
            }
            if self.closed.is_some() {
                return;
            }
        }
        let mut open = self.jobs.iter().filter(|job| !job.is_over);
        let has_pressing = open.any(is_pressing);
        self.next_pressing = has_pressing.then(|| Instant::now() + FIRST_PAUSE);
        if is_turn_of_all {
            self.pause = (self.pause * 2).min(LAST_PAUSE);
            self.next = Instant::now() + self.pause;
        }
        if !self.told_late && now >= self.begun + LATE && self.missing() > 0 {
            self.told_late = true;
            self.launch.note(For::Elsewhere, &self.late_text(), "");
        }
    }

    fn ask(&mut self, at: usize) {
        let job = &self.jobs[at].job;
        let errand = Errand {
            line: job.question(),
            context: self.context.clone(),
            forwards: false,
        };
        let home = self
            .context
            .variable("HOME")
            .map(PathBuf::from)
            .unwrap_or_default();
        let mut parts = match errand.finish(ANSWERED_WITHIN) {
            Ok((_, output)) => job.answer(&output, &home, &self.context.working_dir),
            Err(error) => {
                log::debug!("a scheduler cannot be asked: {error}");
                Vec::new()
            }
        };
        // For a moment the accounts of Slurm name one of an array like all of it.
        let whole = job.id.clone();
        let is_vague = |part: &JobPart| part.job == whole && has_ended(part);
        if self.jobs[at].is_array && self.jobs[at].job.scheduler == Scheduler::Slurm {
            parts.retain(|part| !is_vague(part));
        }
        if parts.is_empty() {
            let job = &mut self.jobs[at];
            job.unknown += 1;
            // Its end may reach the accounts a while after it is gone from the queue.
            let is_pressing = job
                .pressing_until
                .is_some_and(|until| Instant::now() < until);
            job.is_over = job.unknown >= MOST_UNKNOWN && !is_pressing;
            return;
        }
        self.jobs[at].unknown = 0;
        let is_stuck = |part: &JobPart| matches!(part.state, JobState::Stuck(_));
        self.jobs[at].is_over = parts.iter().all(|part| has_ended(part) && !is_stuck(part));
        let ended: Vec<JobPart> = parts
            .iter()
            .filter(|part| has_ended(part))
            .cloned()
            .collect();
        self.jobs[at].parts = parts;
        for part in ended {
            if self.jobs[at].ended.insert(part.name.clone()) {
                self.end_part(at, &part);
            }
        }
    }

    fn end_part(&mut self, at: usize, part: &JobPart) {
        let running = self.jobs.iter().flat_map(|job| &job.parts);
        let running = running
            .filter(|part| part.state == JobState::Running)
            .count() as u64;
        let came = match part.state {
            JobState::Done => self.may_have_brought(at, part),
            _ => self.launch.came() > running + self.spent,
        };
        self.spent += u64::from(came);
        let output = part.output.iter().find_map(|file| last_lines(file));
        self.note_end(at, part, output.as_deref());
        let how = match &part.state {
            JobState::Died(how) | JobState::Stuck(how) | JobState::Unreachable(how) => how,
            JobState::Done if !came => "ended without an error, before a daemon had come",
            _ => return,
        };
        let reason = match output {
            Some(output) => with_output(&format!("{}: {how}", part.name), &output),
            None => format!("{}: {how}", part.name),
        };
        let command = &self.errands[self.jobs[at].errand].command;
        if came {
            self.launch.note(For::Lost, &reason, command);
        } else {
            self.launch.note_absent(1, &reason, command);
        }
    }

    /// Of a job that has ended as it should. Daemons tell which job they run in; where none has, any that came may be of this one.
    fn may_have_brought(&self, at: usize, part: &JobPart) -> bool {
        let job = &self.jobs[at].job;
        let is_it = |told: &str| told == part.job || (part.job == job.id && job.holds(told));
        let has_come = self.launch.hub.has_come_by(&is_it);
        has_come.unwrap_or_else(|| self.launch.came() > self.spent)
    }

    /// For what is lost with it.
    fn note_end(&self, at: usize, part: &JobPart, output: Option<&str>) {
        let scheduler = self.jobs[at].job.scheduler;
        let how = match &part.state {
            JobState::Died(how) | JobState::Stuck(how) => {
                format!("ended with its {scheduler} job: {how}")
            }
            JobState::Unreachable(how) => format!("was lost with its {scheduler} job: {how}"),
            _ => format!("ended, and so did its {scheduler} job, without an error"),
        };
        let lines: Vec<&str> = output.unwrap_or_default().lines().collect();
        let fate = ProcessFate {
            how,
            output: lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n"),
        };
        let is_gone = !matches!(part.state, JobState::Unreachable(_));
        self.launch.hub.note_job_end(&part.job, fate, is_gone);
    }

    fn late_text(&self) -> String {
        let mut text = format!(
            "{} of {} launched daemons",
            self.launch.came(),
            self.launch.total
        );
        text += " have connected so far.";
        for job in self.jobs.iter().filter(|job| !job.is_over) {
            if job.parts.is_empty() {
                text += &format!(
                    "\n{} job {}: nothing is said of it",
                    job.job.scheduler, job.job.id
                );
            }
            for part in &job.parts {
                let state = match &part.state {
                    JobState::Waiting(why) if why.is_empty() => "waiting".to_owned(),
                    JobState::Waiting(why) => format!("waiting ({why})"),
                    JobState::Running => "running".to_owned(),
                    JobState::Done => "done".to_owned(),
                    JobState::Died(how) | JobState::Stuck(how) | JobState::Unreachable(how) => {
                        how.clone()
                    }
                };
                text += &format!("\n{}: {state}", part.name);
            }
        }
        if self.jobs.is_empty()
            && let Some(errand) = self
                .errands
                .iter()
                .find(|errand| !errand.output.trim().is_empty())
        {
            text += &format!("\nThe command has said: {}", errand.output.trim());
        }
        text
    }
}

fn daemons(count: u64) -> String {
    if count == 1 {
        "a daemon".to_owned()
    } else {
        format!("{count} daemons")
    }
}

fn has_ended(part: &JobPart) -> bool {
    matches!(
        part.state,
        JobState::Done | JobState::Died(_) | JobState::Stuck(_) | JobState::Unreachable(_)
    )
}

/// The end of a file, if there is anything in it.
fn last_lines(file: &Path) -> Option<String> {
    let mut opened = fs::File::open(file).ok()?;
    let length = opened.metadata().ok()?.len();
    opened
        .seek(SeekFrom::Start(length.saturating_sub(SHOWN_BYTES)))
        .ok()?;
    let mut bytes = Vec::new();
    opened.take(SHOWN_BYTES).read_to_end(&mut bytes).ok()?;
    let text = printable(&String::from_utf8_lossy(&bytes));
    let lines: Vec<&str> = text.trim().lines().collect();
    let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
    (!last.is_empty()).then_some(last)
}
