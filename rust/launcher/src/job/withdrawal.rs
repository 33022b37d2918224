//! Taking back jobs that have not begun. Those that have are left alone, of an array each by itself.

use super::{Job, JobPart, JobState, Scheduler};
use std::path::Path;

impl Scheduler {
    /// All of them.
    pub const ALL: [Scheduler; 4] = [Self::Slurm, Self::GridEngine, Self::Pbs, Self::Lsf];

    /// The command that lists what waits, for [`withdrawal`](Self::withdrawal); `None` where that needs no list.
    pub fn listing(self, jobs: &[Job]) -> Option<String> {
        match self {
            Self::Slurm => None,
            Self::GridEngine => Some("qstat -s p 2>/dev/null".to_owned()),
            Self::Pbs => {
                let ask = |job: &Job| {
                    let options = if job.id.contains("[]") { "-t -f" } else { "-f" };
                    format!("qstat {options} '{}' 2>/dev/null", job.id)
                };
                Some(jobs.iter().map(ask).collect::<Vec<_>>().join("; "))
            }
            Self::Lsf => Some(
                "bjobs -noheader -p -o \"jobid jobindex delimiter='|'\" 2>/dev/null".to_owned(),
            ),
        }
    }

    /// The command by which those of these jobs of its that wait, as `listed` has it, are taken back; `None` if there are none.
    pub fn withdrawal(self, jobs: &[Job], listed: &str) -> Option<String> {
        let ids: Vec<String> = match self {
            // It looks itself which ones wait.
            Self::Slurm => jobs.iter().map(|job| job.id.clone()).collect(),
            Self::GridEngine => {
                let lines = listed.lines();
                lines.filter_map(|line| grid_engine(jobs, line)).collect()
            }
            Self::Pbs => pbs(jobs, listed),
            Self::Lsf => {
                let lines = listed.lines();
                lines.filter_map(|line| lsf(jobs, line)).collect()
            }
        };
        if ids.is_empty() {
            return None;
        }
        Some(match self {
            Self::Slurm => format!("scancel --state=PENDING {}", ids.join(" ")),
            Self::GridEngine => format!("qdel {}", ids.join("; qdel ")),
            Self::Pbs => format!("qdel {}", ids.join(" ")),
            Self::Lsf => format!("bkill {}", ids.join(" ")),
        })
    }
}

/// The words for `qdel`, if the line is of one of the jobs: of an array the last column has the tasks that wait.
fn grid_engine(jobs: &[Job], line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let id = words.first()?;
    jobs.iter().find(|job| job.id == *id)?;
    // Job, priority, name, user, state, date, time, slots. There is no queue in the line of one that waits.
    let tasks = words.get(8).filter(|tasks| is_range(tasks));
    Some(match tasks {
        Some(tasks) => format!("{id} -t {tasks}"),
        None => (*id).to_owned(),
    })
}

fn is_range(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "-:,".contains(c))
}

/// The ids of those that wait, in quotes as there are brackets in them.
fn pbs(jobs: &[Job], listed: &str) -> Vec<String> {
    let waiting = |record: &str| -> Option<String> {
        let id = record.lines().next()?.trim();
        let job = jobs.iter().find(|job| job.id == id || job.holds(id))?;
        let parts = job.answer(&format!("Job Id: {record}"), Path::new(""), Path::new(""));
        let waits = |part: &JobPart| matches!(part.state, JobState::Waiting(_));
        parts.iter().any(waits).then(|| format!("'{id}'"))
    };
    listed.split("Job Id: ").filter_map(waiting).collect()
}

fn lsf(jobs: &[Job], line: &str) -> Option<String> {
    let (id, index) = line.trim().split_once('|')?;
    jobs.iter().find(|job| job.id == id)?;
    Some(match index {
        "0" | "-" | "" => id.to_owned(),
        index => format!("'{id}[{}]'", index.parse::<u32>().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(scheduler: Scheduler, ids: &[&str]) -> Vec<Job> {
        let job = |id: &&str| Job {
            scheduler,
            id: (*id).to_owned(),
        };
        ids.iter().map(job).collect()
    }

    #[test]
    fn slurm_looks_itself_what_waits() {
        let jobs = jobs(Scheduler::Slurm, &["12", "13"]);
        assert_eq!(Scheduler::Slurm.listing(&jobs), None);
        let line = Scheduler::Slurm.withdrawal(&jobs, "");
        assert_eq!(line.as_deref(), Some("scancel --state=PENDING 12 13"));
        assert_eq!(Scheduler::Slurm.withdrawal(&[], ""), None);
    }

    #[test]
    fn of_an_array_of_grid_engine_the_tasks_that_wait_are_taken_back() {
        let jobs = jobs(Scheduler::GridEngine, &["12", "13", "14"]);
        let listed = "job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID \n\
            -----------------------------------------------------------------------------------------------------------------\n     \
            12 0.55500 STDIN      root         qw    11/28/2026 08:00:00                                    1        \n     \
            13 0.00000 STDIN      root         hqw   11/28/2026 08:00:00                                    1 3-20:1,22\n    \
            112 0.00000 STDIN      root         qw    11/28/2026 08:00:00                                    1        \n";
        let line = Scheduler::GridEngine.withdrawal(&jobs, listed);
        assert_eq!(line.as_deref(), Some("qdel 12; qdel 13 -t 3-20:1,22"));
        assert_eq!(Scheduler::GridEngine.withdrawal(&jobs, ""), None);
    }

    #[test]
    fn of_an_array_of_pbs_each_job_that_waits_is_taken_back() {
        let jobs = jobs(Scheduler::Pbs, &["12.head", "13[].head", "14.head"]);
        let listing = Scheduler::Pbs.listing(&jobs);
        let expected = "qstat -f '12.head' 2>/dev/null; qstat -t -f '13[].head' 2>/dev/null; qstat -f '14.head' 2>/dev/null";
        assert_eq!(listing.as_deref(), Some(expected));
        let listed = "Job Id: 12.head\n    job_state = Q\nJob Id: 13[].head\n    job_state = B\nJob Id: 13[1].head\n    \
            job_state = R\nJob Id: 13[2].head\n    job_state = Q\nJob Id: 14.head\n    job_state = R\n";
        let line = Scheduler::Pbs.withdrawal(&jobs, listed);
        assert_eq!(line.as_deref(), Some("qdel '12.head' '13[2].head'"));
    }

    #[test]
    fn of_an_array_of_lsf_each_job_that_waits_is_taken_back() {
        let jobs = jobs(Scheduler::Lsf, &["12", "13"]);
        let line = Scheduler::Lsf.withdrawal(&jobs, "12|0\n13|2\n13|x; rm\n14|0\n");
        assert_eq!(line.as_deref(), Some("bkill 12 '13[2]'"));
        assert_eq!(Scheduler::Lsf.withdrawal(&jobs, "14|0\n"), None);
    }
}
