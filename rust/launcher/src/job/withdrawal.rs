//! Taking back jobs that have not begun. Those that have are left alone, of an array each by itself.

use super::{Job, Scheduler, is_id, is_range};

impl Scheduler {
    /// All of them.
    pub const ALL: [Scheduler; 4] = [Self::Slurm, Self::GridEngine, Self::Pbs, Self::Lsf];

    /// The command that lists what waits, for [`withdrawals`](Self::withdrawals); `None` where that needs no list.
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

    /// Whether a command may hand jobs to it: the line has its program for that.
    pub fn is_handed_jobs_by(self, line: &str) -> bool {
        line.contains(match self {
            Self::Slurm => "sbatch",
            Self::GridEngine | Self::Pbs => "qsub",
            Self::Lsf => "bsub",
        })
    }

    /// The commands by which those of these jobs of its that wait, as `listed` has it, are taken back. Each fails if any of its jobs
    /// cannot be.
    pub fn withdrawals(self, jobs: &[Job], listed: &str) -> Vec<String> {
        let lines = listed.lines();
        let words: Vec<String> = match self {
            // It looks itself which ones wait.
            Self::Slurm => jobs.iter().map(Job::for_scancel).collect(),
            Self::GridEngine => lines.filter_map(|line| grid_engine(jobs, line)).collect(),
            Self::Pbs => pbs(jobs, listed),
            Self::Lsf => lines.filter_map(|line| lsf(jobs, line)).collect(),
        };
        let program = match self {
            Self::Slurm => "scancel --state=PENDING",
            Self::GridEngine | Self::Pbs => "qdel",
            Self::Lsf => "bkill",
        };
        // One of several cannot be known to fail for others than itself.
        let each = |words: &String| format!("{program} {words} || s=1; ");
        let chunks = words.chunks(MOST_AT_ONCE);
        chunks
            .map(|words| format!("s=0; {}exit $s", words.iter().map(each).collect::<String>()))
            .collect()
    }

    /// Whether all that such a command said is that jobs have ended meanwhile, or are about to.
    pub fn says_they_are_over(self, output: &str) -> bool {
        let over: &[&str] = match self {
            Self::Slurm => &["Invalid job id", "already comp", "already finished"],
            Self::GridEngine => &["does not exist", "is already in deletion"],
            Self::Pbs => &["Unknown Job", "Job has finished", "invalid for state"],
            Self::Lsf => &[
                "already finished",
                "No matching job",
                "No unfinished job",
                "is being terminated",
            ],
        };
        let mut lines = output.lines().filter(|line| !line.trim().is_empty());
        lines.all(|line| over.iter().any(|text| line.contains(text)))
    }
}

/// A command line has its limit.
const MOST_AT_ONCE: usize = 500;

impl Job {
    fn for_scancel(&self) -> String {
        let id = &self.id;
        match &self.cluster {
            Some(cluster) => format!("-M {cluster} {id}"),
            None => id.clone(),
        }
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

/// The ids of those that have not begun, in quotes as there are brackets in them; of an array of which none has, its own.
fn pbs(jobs: &[Job], listed: &str) -> Vec<String> {
    let waiting = |record: &str| -> Option<String> {
        let id = record.lines().next()?.trim();
        let is_ours = is_id(id) && jobs.iter().any(|job| job.id == id || job.holds(id));
        let mut states = record.lines().filter_map(|line| {
            let line = line.trim().strip_prefix("job_state")?;
            line.trim_start().strip_prefix("= ")
        });
        let waits = matches!(states.next()?.trim(), "Q" | "H" | "W" | "T");
        (is_ours && waits).then(|| id.to_owned())
    };
    let listed = format!("\n{listed}");
    let ids: Vec<String> = listed.split("\nJob Id: ").filter_map(waiting).collect();
    let is_in_array = |id: &String| {
        let whole = id
            .split_once('[')
            .zip(id.split_once(']'))
            .map(|((head, _), (_, tail))| format!("{head}[]{tail}"));
        whole.is_some_and(|whole| whole != *id && ids.contains(&whole))
    };
    let ids = ids.iter().filter(|id| !is_in_array(id));
    ids.map(|id| format!("'{id}'")).collect()
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
            cluster: None,
        };
        ids.iter().map(job).collect()
    }

    #[test]
    fn slurm_looks_itself_what_waits() {
        let jobs = jobs(Scheduler::Slurm, &["12", "13"]);
        assert_eq!(Scheduler::Slurm.listing(&jobs), None);
        assert_eq!(
            Scheduler::Slurm.withdrawals(&jobs, ""),
            ["s=0; scancel --state=PENDING 12 || s=1; scancel --state=PENDING 13 || s=1; exit $s"]
        );
        assert!(Scheduler::Slurm.withdrawals(&[], "").is_empty());
    }

    #[test]
    fn jobs_that_are_over_by_then_are_no_failure() {
        let said = [
            (
                Scheduler::Slurm,
                "scancel: error: Kill job error on job id 12: Invalid job id specified",
            ),
            (
                Scheduler::Slurm,
                "scancel: error: Kill job error on job id 12: Job/step already completing or completed",
            ),
            (Scheduler::GridEngine, "denied: job \"12\" does not exist"),
            (Scheduler::GridEngine, "job 12 is already in deletion"),
            (Scheduler::Pbs, "qdel: Unknown Job Id 12.head"),
            (Scheduler::Pbs, "qdel: Job has finished 12.head"),
            (
                Scheduler::Pbs,
                "qdel: Request invalid for state of job 12.head",
            ),
            (
                Scheduler::Pbs,
                "qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 12.head",
            ),
            (Scheduler::Lsf, "Job <12>: Job has already finished"),
            (Scheduler::Lsf, "Job <12[3]>: No matching job found"),
            (Scheduler::Lsf, "Job <12> is being terminated"),
        ];
        for (scheduler, text) in said {
            assert!(scheduler.says_they_are_over(text), "{text}");
            let other = format!("{text}\ncannot connect to the server\n");
            assert!(!scheduler.says_they_are_over(&other), "{other}");
        }
        for (scheduler, text) in [
            (Scheduler::Pbs, "qdel: Unauthorized Request 12.head"),
            (Scheduler::Lsf, "Job <12>: User permission denied"),
            (Scheduler::Lsf, "Job <12>: Operation is in progress"),
            (
                Scheduler::GridEngine,
                "root - you do not have the necessary privileges to delete the job \"12\"",
            ),
        ] {
            assert!(!scheduler.says_they_are_over(text), "{text}");
        }
    }

    #[test]
    fn a_job_of_another_cluster_is_asked_for_and_taken_back_there() {
        for said in ["Submitted batch job 12 on cluster far", "12;far"] {
            let jobs = Job::in_output(said, None);
            let lines = Scheduler::Slurm.withdrawals(&jobs, "");
            assert_eq!(
                lines,
                ["s=0; scancel --state=PENDING -M far 12 || s=1; exit $s"]
            );
            assert!(
                jobs[0]
                    .question()
                    .starts_with("scontrol -M far -o show job 12 ")
            );
        }
        for said in [
            "12;",
            "12;-x",
            "12;a b",
            "Submitted batch job 12 on cluster $(x)",
        ] {
            assert!(Job::in_output(said, None).is_empty(), "{said}");
        }
    }

    #[test]
    fn many_jobs_are_taken_back_some_hundred_at_a_time() {
        let ids: Vec<String> = (1..=1200).map(|id: u32| id.to_string()).collect();
        let jobs = jobs(
            Scheduler::Slurm,
            &ids.iter().map(|id| &**id).collect::<Vec<_>>(),
        );
        let lines = Scheduler::Slurm.withdrawals(&jobs, "");
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines
                .iter()
                .map(|line| line.matches("scancel").count())
                .sum::<usize>(),
            1200
        );
        assert!(lines.iter().all(|line| line.len() < 128 << 10));
    }

    #[test]
    fn of_an_array_of_grid_engine_the_tasks_that_wait_are_taken_back() {
        let jobs = jobs(Scheduler::GridEngine, &["12", "13", "14"]);
        let listed = "job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID \n\
            -----------------------------------------------------------------------------------------------------------------\n     \
            12 0.55500 STDIN      root         qw    11/28/2026 08:00:00                                    1        \n     \
            13 0.00000 STDIN      root         hqw   11/28/2026 08:00:00                                    1 3-20:1,22\n    \
            112 0.00000 STDIN      root         qw    11/28/2026 08:00:00                                    1        \n";
        assert_eq!(
            Scheduler::GridEngine.withdrawals(&jobs, listed),
            ["s=0; qdel 12 || s=1; qdel 13 -t 3-20:1,22 || s=1; exit $s"]
        );
        assert!(Scheduler::GridEngine.withdrawals(&jobs, "").is_empty());
    }

    #[test]
    fn of_an_array_of_pbs_each_job_that_waits_is_taken_back() {
        let jobs = jobs(Scheduler::Pbs, &["12.head", "13[].head", "14.head"]);
        let listing = Scheduler::Pbs.listing(&jobs);
        let expected = "qstat -f '12.head' 2>/dev/null; qstat -t -f '13[].head' 2>/dev/null; qstat -f '14.head' 2>/dev/null";
        assert_eq!(listing.as_deref(), Some(expected));
        let listed = "Job Id: 12.head\n    job_state = Q\nJob Id: 13[].head\n    job_state = B\nJob Id: 13[1].head\n    \
            job_state = R\nJob Id: 13[2].head\n    job_state = Q\nJob Id: 14.head\n    job_state = R\n";
        assert_eq!(
            Scheduler::Pbs.withdrawals(&jobs, listed),
            ["s=0; qdel '12.head' || s=1; qdel '13[2].head' || s=1; exit $s"]
        );
        // None of it has begun.
        let listed =
            "Job Id: 13[].head\n    job_state = Q\nJob Id: 13[1].head\n    job_state = Q\n";
        assert_eq!(
            Scheduler::Pbs.withdrawals(&jobs, listed),
            ["s=0; qdel '13[].head' || s=1; exit $s"]
        );
        // Suspended is begun; what is not an id goes into no command, and a record begins with its line.
        let listed = "Job Id: 13[1].head\n    job_state = S\nJob Id: 13[1'; touch x; '].head\n    job_state = Q\n\
            Job Id: 14.head\n    comment = Job Id: 12.head\n    job_state = R\n";
        assert!(Scheduler::Pbs.withdrawals(&jobs, listed).is_empty());
    }

    #[test]
    fn of_an_array_of_lsf_each_job_that_waits_is_taken_back() {
        let jobs = jobs(Scheduler::Lsf, &["12", "13"]);
        assert_eq!(
            Scheduler::Lsf.withdrawals(&jobs, "12|0\n13|2\n13|x; rm\n14|0\n"),
            ["s=0; bkill 12 || s=1; bkill '13[2]' || s=1; exit $s"]
        );
        assert!(Scheduler::Lsf.withdrawals(&jobs, "14|0\n").is_empty());
    }
}
