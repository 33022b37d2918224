//! The daemons that a hub has lost, with what is known of their ends.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mirai_wire::Origin;

/// Deaths that are kept, the last ones.
const MOST: usize = 100;

/// A process that was killed has ended by then, and those that have waited for it.
const KILL_WITHIN: Duration = Duration::from_secs(10);

/// Likewise ends of jobs: more than those of a large array that reach their limit of time at once.
const MOST_JOBS: usize = 2000;

/// A daemon that has gone without a goodbye and without having been told to leave, that a signal has quit, or that was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// When the hub noticed.
    pub at: SystemTime,
    /// Its number, as of a [`Worker`](crate::Worker).
    pub id: u32,
    /// Process id, where the lane knows it.
    pub pid: Option<u32>,
    /// Where it was, if it connected over a network.
    pub peer: Option<SocketAddr>,
    /// Where it ran, by its own words, if it has told.
    pub origin: Option<Arc<Origin>>,
    /// Time since it joined.
    pub age: Duration,
    /// Tasks that it had ended, as of a [`Worker`](crate::Worker).
    pub done: u64,
    /// Number of the task that it evaluated, and of the attempt at that.
    pub task: Option<(u64, u32)>,
    /// Whether that task will be tried again.
    pub is_retried: bool,
    /// Whether it was still being [set up](crate::Hub::set_up).
    pub in_set_up: bool,
    /// How its process ended, or its connection.
    pub how: Option<String>,
    /// Whether the hub has killed it: see [`HubOptions::kill_after`](crate::HubOptions::kill_after) and
    /// [`TaskHandle::cancel_by_force`](crate::TaskHandle::cancel_by_force).
    pub is_killed: bool,
    /// The last lines of what it had to say, if that is known.
    pub output: String,
}

/// How a process has ended, or all those of a scheduler's job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFate {
    /// In words.
    pub how: String,
    /// As in [`Death`].
    pub output: String,
}

/// Is called with the name of a job, as of an [`Origin`], when the connection of a daemon breaks that runs in it; on the hub's
/// thread, so it must not block. Returns whether it is to be called again.
pub type JobListener = Box<dyn Fn(&str) -> bool + Send + Sync>;

impl Death {
    /// The process, the machine if it was another one, the job: in brackets after a blank, or empty if nothing is known.
    pub fn whereabouts(&self) -> String {
        let mut known = Vec::new();
        if let Some(pid) = self.pid {
            known.push(format!("process {pid}"));
        }
        if let Some(origin) = &self.origin {
            if self.peer.is_some_and(|peer| !peer.ip().is_loopback()) && !origin.host.is_empty() {
                known.push(format!("on {}", origin.host));
            }
            if !origin.job.is_empty() {
                known.push(format!("job {}", origin.job));
            }
        }
        match known.is_empty() {
            true => String::new(),
            false => format!(" ({})", known.join(", ")),
        }
    }

    /// What it said last, on lines of its own, with a word before; empty if nothing is known.
    pub fn last_words(&self) -> String {
        match &*self.output {
            "" => String::new(),
            // Nobody notes what was said by which task: it would cost each of them.
            output if self.done > 0 => {
                format!(". Its last output, perhaps of an earlier task:\n{output}")
            }
            output => format!(". Its last output:\n{output}"),
        }
    }

    /// How it ended, and that it was being set up if so.
    pub fn end(&self) -> String {
        let how = self.how.as_deref().unwrap_or("lost its connection");
        match self.in_set_up {
            true => format!("{how}, as it was set up"),
            false => how.to_owned(),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whereabouts, end) = (self.whereabouts(), self.end());
        write!(f, "its daemon{whereabouts} {end}{}", self.last_words())
    }
}

/// What a scheduler says of the end of a job.
#[derive(Debug)]
struct JobEnd {
    job: String,
    fate: ProcessFate,
    /// Whether nothing of it can go on.
    is_gone: bool,
}

/// The last deaths, and ends of processes and of jobs whose daemons are still there for the hub.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    last: VecDeque<Death>,
    ends: HashMap<u32, ProcessFate>,
    /// The last ones. A job may have had several daemons.
    job_ends: VecDeque<JobEnd>,
    /// When daemons were told to end or killed from here, as far as [`Deaths::take_kill`] has not been asked.
    kills: VecDeque<Instant>,
}

impl Deaths {
    pub(crate) fn push(&mut self, death: Death) {
        if self.last.len() == MOST {
            self.last.pop_front();
        }
        self.last.push_back(death);
    }

    pub(crate) fn last(&mut self) -> Option<&mut Death> {
        self.last.back_mut()
    }

    pub(crate) fn all(&self) -> Vec<Death> {
        self.last.iter().cloned().collect()
    }

    /// A daemon is killed, or told to end as it has no task any more.
    pub(crate) fn note_kill(&mut self, now: Instant) {
        if self.kills.len() == MOST {
            self.kills.pop_front();
        }
        self.kills.push_back(now);
    }

    /// Whether a process that has ended may be one that was [killed](Deaths::note_kill), and no other has been taken for that.
    pub(crate) fn take_kill(&mut self, now: Instant) -> bool {
        while let Some(at) = self.kills.pop_front() {
            if now.saturating_duration_since(at) < KILL_WITHIN {
                return true;
            }
        }
        false
    }

    /// Records how a process has ended: `is_there` as a daemon still, or known as dead already.
    pub(crate) fn note_end(&mut self, pid: u32, fate: ProcessFate, is_there: bool) {
        if is_there {
            self.ends.insert(pid, fate);
            return;
        }
        let mut latest = self.last.iter_mut().rev();
        if let Some(death) = latest.find(|death| death.pid == Some(pid) && death.how.is_none()) {
            death.how = Some(fate.how);
            death.output = fate.output;
        }
    }

    /// Records how a job has ended.
    pub(crate) fn note_job_end(&mut self, job: &str, fate: ProcessFate, is_gone: bool) {
        if self.job_ends.len() == MOST_JOBS {
            self.job_ends.pop_front();
        }
        let job = job.to_owned();
        self.job_ends.push_back(JobEnd { job, fate, is_gone });
    }

    /// A daemon of that job is there: what was said of an end is of an earlier run of it.
    pub(crate) fn forget_job_end(&mut self, job: &str) {
        self.job_ends.retain(|end| end.job != job);
    }

    pub(crate) fn job_end(&self, job: &str) -> Option<&ProcessFate> {
        self.latest_end(job).map(|end| &end.fate)
    }

    pub(crate) fn job_is_gone(&self, job: &str) -> bool {
        self.latest_end(job).is_some_and(|end| end.is_gone)
    }

    fn latest_end(&self, job: &str) -> Option<&JobEnd> {
        let mut latest = self.job_ends.iter().rev();
        latest.find(|end| end.job == job)
    }

    pub(crate) fn has_end(&self, pid: u32) -> bool {
        self.ends.contains_key(&pid)
    }

    pub(crate) fn take_end(&mut self, pid: u32) -> Option<ProcessFate> {
        self.ends.remove(&pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kill_excuses_one_end_for_a_while() {
        let mut deaths = Deaths::default();
        let now = Instant::now();
        assert!(!deaths.take_kill(now));
        deaths.note_kill(now);
        deaths.note_kill(now + KILL_WITHIN / 2);
        assert!(deaths.take_kill(now + KILL_WITHIN));
        assert!(!deaths.take_kill(now + KILL_WITHIN));
    }

    #[test]
    fn a_death_names_what_is_known_of_the_daemon() {
        let mut death = Death {
            at: SystemTime::UNIX_EPOCH,
            id: 1,
            pid: None,
            peer: None,
            origin: None,
            age: Duration::ZERO,
            done: 0,
            task: None,
            is_retried: false,
            in_set_up: true,
            how: None,
            output: String::new(),
            is_killed: false,
        };
        assert_eq!(
            death.to_string(),
            "its daemon lost its connection, as it was set up"
        );
        death.pid = Some(7);
        death.peer = Some(([192, 0, 2, 1], 5555).into());
        death.origin = Some(Arc::new(Origin {
            host: "node17".to_owned(),
            job: "12_3".to_owned(),
        }));
        let named =
            "its daemon (process 7, on node17, job 12_3) lost its connection, as it was set up";
        assert_eq!(death.to_string(), named);
        death.output = "oh".to_owned();
        assert!(death.to_string().ends_with(". Its last output:\noh"));
        death.done = 1;
        assert!(
            death
                .to_string()
                .ends_with(". Its last output, perhaps of an earlier task:\noh")
        );
        death.peer = None;
        assert_eq!(death.whereabouts(), " (process 7, job 12_3)");
    }
}
