//! Jobs that commands have handed to a scheduler: found in what the command says, and asked about by the scheduler's own
//! programs. Pure: commands and their output are text here.

use std::fmt;
use std::path::{Path, PathBuf};

/// The kinds of schedulers that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// Slurm.
    Slurm,
    /// Grid Engine, by any of its makers.
    GridEngine,
    /// PBS or Torque.
    Pbs,
    /// LSF.
    Lsf,
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slurm => "Slurm",
            Self::GridEngine => "Grid Engine",
            Self::Pbs => "PBS",
            Self::Lsf => "LSF",
        })
    }
}

/// A job, or an array of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Who has it.
    pub scheduler: Scheduler,
    /// Its name there: digits, with letters, dots, brackets and dashes at most.
    pub id: String,
    /// The cluster of Slurm that it was handed to, if that was said: not the usual one, then.
    pub cluster: Option<String>,
}

/// One of the jobs of an array, or the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPart {
    /// Its name for users; another one for each.
    pub name: String,
    /// Its name in what daemons tell of where they run.
    pub job: String,
    /// What it is at.
    pub state: JobState,
    /// The files that may have its output, in the order in which to look.
    pub output: Vec<PathBuf>,
}

/// What a scheduler says of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Not begun, with the scheduler's reason.
    Waiting(String),
    /// Begun.
    Running,
    /// Ended without an error.
    Done,
    /// Ended otherwise, or never to begin; with what is said of it.
    Died(String),
    /// Failed to begin, with what is said of it. It stays in the queue, for somebody to have it tried again.
    Stuck(String),
    /// Given up, as its machine does not answer: what runs there may go on.
    Unreachable(String),
}

impl Scheduler {
    /// The one that a command line hands jobs to, by the name of the program in it. Grid Engine and PBS call theirs the same: a line
    /// for the first has options of it, or `has_grid_engine`, the variable `SGE_ROOT` without which it does not run.
    pub fn of_command(line: &str, has_grid_engine: bool) -> Option<Scheduler> {
        let is_word = |c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c);
        let word = line
            .split(is_word)
            .find(|word| matches!(*word, "sbatch" | "qsub" | "bsub"))?;
        let is_grid_engine = ["-terse", "#$ "].iter().any(|mark| line.contains(mark));
        Some(match word {
            "sbatch" => Self::Slurm,
            "bsub" => Self::Lsf,
            _ if line.contains("#PBS ") => Self::Pbs,
            _ if is_grid_engine || has_grid_engine => Self::GridEngine,
            _ => Self::Pbs,
        })
    }
}

impl Job {
    /// The jobs that a submission says it has made. Where that is a mere number, it is one of the scheduler that the command is
    /// of, which is `by`, if that is known, and Slurm otherwise.
    pub fn in_output(output: &str, by: Option<Scheduler>) -> Vec<Job> {
        let in_line = |line| Self::in_line(line, by);
        output.lines().filter_map(in_line).collect()
    }

    fn in_line(line: &str, by: Option<Scheduler>) -> Option<Job> {
        let line = line.trim();
        let job = |scheduler, id: &str| {
            is_id(id).then(|| Job {
                scheduler,
                id: id.to_owned(),
                cluster: None,
            })
        };
        // Another cluster has other jobs by these numbers.
        let of_cluster = |id: &str, cluster: &str| {
            let cluster = cluster.trim();
            let mut job = job(Scheduler::Slurm, id).filter(|_| is_cluster(cluster))?;
            job.cluster = Some(cluster.to_owned());
            Some(job)
        };
        if let Some(rest) = line.strip_prefix("Submitted batch job ") {
            return match rest.split_once(" on cluster ") {
                Some((id, cluster)) => of_cluster(id, cluster),
                None => job(Scheduler::Slurm, rest.split(' ').next()?),
            };
        }
        let grid_engine = ["Your job ", "Your job-array "].iter();
        if let Some(rest) = grid_engine
            .filter_map(|begin| line.strip_prefix(begin))
            .next()
        {
            return job(Scheduler::GridEngine, rest.split(['.', ' ']).next()?);
        }
        if let Some(rest) = line.strip_prefix("Job <") {
            return job(Scheduler::Lsf, rest.split('>').next()?);
        }
        Self::in_number(line, by.unwrap_or(Scheduler::Slurm), job, of_cluster)
    }

    /// `sbatch --parsable` says the number, perhaps with the cluster; `qsub -terse` the number, of an array with its tasks; PBS the
    /// number, as a rule with its server. LSF always says more.
    fn in_number(
        line: &str,
        by: Scheduler,
        job: impl Fn(Scheduler, &str) -> Option<Job>,
        of_cluster: impl Fn(&str, &str) -> Option<Job>,
    ) -> Option<Job> {
        let digits = line
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(line.len());
        let (number, rest) = line.split_at(digits);
        match (rest.chars().next(), by) {
            _ if digits == 0 => None,
            (None, Scheduler::Lsf) => None,
            (None, by) => job(by, number),
            (Some(';'), _) => of_cluster(number, &rest[1..]),
            (Some('.'), Scheduler::GridEngine) if is_range(&rest[1..]) => job(by, number),
            (Some('.' | '['), _) => job(Scheduler::Pbs, line),
            (Some(_), _) => None,
        }
    }

    /// Whether a daemon that names `job` as the one it runs in runs in this one, or in one of this array.
    pub fn holds(&self, job: &str) -> bool {
        if let Some((head, tail)) = self.id.split_once("[]") {
            let index = job
                .strip_prefix(head)
                .and_then(|rest| rest.strip_suffix(tail));
            return index.is_some_and(|index| index.starts_with('[') && index.ends_with(']'));
        }
        job.strip_prefix(&*self.id)
            .is_some_and(|task| match self.scheduler {
                _ if task.is_empty() => true,
                Scheduler::Slurm => task.starts_with('_'),
                Scheduler::GridEngine => task.starts_with('.'),
                Scheduler::Pbs => false,
                Scheduler::Lsf => task.starts_with('['),
            })
    }

    /// The command by which the scheduler is asked for it.
    pub fn question(&self) -> String {
        let id = &self.id;
        match self.scheduler {
            Scheduler::Slurm => {
                let there = self.there();
                format!(
                    "scontrol{there} -o show job {id} 2>/dev/null || sacct{there} -X -n -P -o JobID,State,ExitCode -j {id} 2>/dev/null"
                )
            }
            Scheduler::GridEngine => {
                format!("qstat -j {id} 2>/dev/null; qacct -j {id} 2>/dev/null")
            }
            // By `-t` also the jobs of an array.
            Scheduler::Pbs => {
                let options = if id.contains("[]") { "-t -f" } else { "-f" };
                format!(
                    "qstat {options} '{id}' 2>/dev/null || qstat -x {options} '{id}' 2>/dev/null"
                )
            }
            // Not all versions know the reason of an exit.
            Scheduler::Lsf => {
                let ask = |more: &str| {
                    let fields = format!("jobindex stat exit_code pend_reason {more}delimiter='|'");
                    format!("bjobs -noheader -o \"{fields}\" {id} 2>/dev/null")
                };
                format!("{} || {}", ask("exit_reason "), ask(""))
            }
        }
    }

    /// Which cluster Slurm's programs are to ask.
    fn there(&self) -> String {
        let cluster = self.cluster.as_ref();
        cluster.map_or_else(String::new, |cluster| format!(" -M {cluster}"))
    }

    /// What the output of that command says; empty if the scheduler does not know the job, or no more. `home` and `folder`
    /// are where output goes by default.
    pub fn answer(&self, output: &str, home: &Path, folder: &Path) -> Vec<JobPart> {
        match self.scheduler {
            Scheduler::Slurm => output.lines().filter_map(|line| self.slurm(line)).collect(),
            Scheduler::GridEngine => self.grid_engine(output, home, folder),
            Scheduler::Pbs => self.pbs(output),
            Scheduler::Lsf => output.lines().filter_map(|line| self.lsf(line)).collect(),
        }
    }

    fn part(&self, task: Option<&str>, state: JobState) -> JobPart {
        let (scheduler, id) = (self.scheduler, &self.id);
        let name = match task {
            Some(task) => format!("{scheduler} job {id}, task {task}"),
            None => format!("{scheduler} job {id}"),
        };
        let job = match (scheduler, task) {
            (_, None) => id.clone(),
            (Scheduler::Slurm, Some(task)) => format!("{id}_{task}"),
            (Scheduler::GridEngine, Some(task)) => format!("{id}.{task}"),
            (Scheduler::Pbs, Some(task)) => id.replacen("[]", &format!("[{task}]"), 1),
            (Scheduler::Lsf, Some(task)) => format!("{id}[{task}]"),
        };
        JobPart {
            name,
            job,
            state,
            output: Vec::new(),
        }
    }

    /// A record of `scontrol -o`, or of `sacct -P`.
    fn slurm(&self, line: &str) -> Option<JobPart> {
        if !line.contains("JobState=") {
            let mut fields = line.split('|');
            let task = fields.next()?.split_once('_').map(|(_, task)| task);
            let state = fields.next()?;
            return Some(self.part(task, slurm_state(state, fields.next().unwrap_or(""), "")));
        }
        let field = |name: &str| {
            let begin = line.find(&format!(" {name}="))? + name.len() + 2;
            line[begin..].split(' ').next()
        };
        let state = slurm_state(
            field("JobState")?,
            field("ExitCode").unwrap_or(""),
            field("Reason").unwrap_or(""),
        );
        let mut part = self.part(field("ArrayTaskId"), state);
        part.output = field("StdErr")
            .into_iter()
            .chain(field("StdOut"))
            .map(PathBuf::from)
            .collect();
        part.output.dedup();
        Some(part)
    }

    /// `qstat -j` of what is there, and then records of `qacct` of what has ended.
    fn grid_engine(&self, output: &str, home: &Path, folder: &Path) -> Vec<JobPart> {
        let mut parts = Vec::new();
        for record in output
            .split("=====")
            .filter(|record| record.trim().len() > 1)
        {
            if record.contains("exit_status ") {
                parts.extend(self.grid_engine_ended(record, home, folder));
            } else if record.contains("job_number:") {
                parts.push(self.grid_engine_present(record));
            }
        }
        parts
    }

    fn grid_engine_present(&self, record: &str) -> JobPart {
        let after_colon = |line: &str| {
            line.split_once(": ")
                .map_or("", |(_, text)| text)
                .trim()
                .to_owned()
        };
        let line = |begin: &str| {
            record
                .lines()
                .find(|line| line.starts_with(begin))
                .map(after_colon)
        };
        if let Some(reason) = line("error reason") {
            return self.part(None, JobState::Stuck(format!("in error state: {reason}")));
        }
        let state = match line("usage ") {
            Some(_) => JobState::Running,
            None => JobState::Waiting(line("scheduling info").unwrap_or_default()),
        };
        self.part(None, state)
    }

    fn grid_engine_ended(&self, record: &str, home: &Path, folder: &Path) -> Option<JobPart> {
        let field = |name: &str| {
            record
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::trim))
        };
        let task = field("taskid").filter(|task| *task != "undefined");
        let (failed, status) = (field("failed")?, field("exit_status")?);
        let state = if !failed.starts_with('0') {
            JobState::Died(format!(
                "failed {}, exit status {status}",
                failed.split_whitespace().collect::<Vec<_>>().join(" ")
            ))
        } else if status != "0" {
            JobState::Died(format!("exit status {status}"))
        } else {
            JobState::Done
        };
        let mut part = self.part(task, state);
        let name = field("jobname")?;
        for folder in [home, folder] {
            for kind in ["e", "o"] {
                let file = format!(
                    "{name}.{kind}{}{}",
                    self.id,
                    task.map(|task| format!(".{task}")).unwrap_or_default()
                );
                part.output.push(folder.join(file));
            }
        }
        Some(part)
    }

    /// The records of `qstat -f`; of an array that of each of its jobs, if there are any beside its own.
    fn pbs(&self, output: &str) -> Vec<JobPart> {
        // Long lines are continued on the next one, behind a tab.
        let output = output.replace("\n\t", "");
        let output = format!("\n{output}");
        let records = output.split("\nJob Id: ");
        let parts: Vec<JobPart> = records
            .filter_map(|record| self.pbs_record(record))
            .collect();
        let (of_array, whole): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.job != self.id);
        if of_array.is_empty() { whole } else { of_array }
    }

    fn pbs_record(&self, record: &str) -> Option<JobPart> {
        let field = |name: &str| {
            record.lines().find_map(|line| {
                let line = line.trim().strip_prefix(name)?;
                line.trim_start().strip_prefix("= ")
            })
        };
        let id = record.lines().next()?.trim();
        let index = id
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'));
        let index = index
            .map(|(index, _)| index)
            .filter(|index| !index.is_empty());
        let status = field("exit_status").or_else(|| field("Exit_status"));
        let comment = field("comment").unwrap_or_default();
        let state = match (field("job_state")?, status) {
            // Of a job of an array, whose status is not said before all have ended.
            ("X", None) | ("C" | "F" | "X", Some("0")) => JobState::Done,
            ("C" | "F" | "X", Some(status)) => JobState::Died(pbs_end(status, comment)),
            ("C" | "F", None) => JobState::Died("ended without an exit status".to_owned()),
            ("Q" | "H" | "W" | "T" | "S", _) => JobState::Waiting(comment.to_owned()),
            _ => JobState::Running,
        };
        let mut part = self.part(index, state);
        let path = |text: &str| {
            let path = text.split_once(':').map_or(text, |(_, path)| path);
            PathBuf::from(path.replace("^array_index^", index.unwrap_or_default()))
        };
        part.output = [field("Error_Path"), field("Output_Path")]
            .into_iter()
            .flatten()
            .map(path)
            .collect();
        Some(part)
    }

    fn lsf(&self, line: &str) -> Option<JobPart> {
        let mut fields = line.split('|').map(str::trim);
        let task = fields.next().filter(|index| *index != "0" && *index != "-");
        let mut said = || fields.next().filter(|text| !matches!(*text, "" | "-"));
        let (state, code, pending, why) = (said()?, said(), said(), said());
        let state = match state {
            "DONE" => JobState::Done,
            "EXIT" => {
                let code = code.map(|code| format!("exit code {code}"));
                let known = code.as_deref().into_iter().chain(why);
                let known = known.collect::<Vec<_>>().join(", ");
                JobState::Died(if known.is_empty() {
                    "exited".to_owned()
                } else {
                    known
                })
            }
            "PEND" | "PSUSP" | "WAIT" => JobState::Waiting(pending.unwrap_or("").to_owned()),
            _ => JobState::Running,
        };
        Some(self.part(task, state))
    }
}

/// Goes into a command line of a shell.
fn is_id(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_digit())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_[]".contains(c))
}

/// Likewise.
fn is_cluster(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}

/// Of the tasks of an array of Grid Engine. Likewise.
fn is_range(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "-:,".contains(c))
}

/// From 256 on a status tells the signal.
fn pbs_end(status: &str, comment: &str) -> String {
    let end = match status.parse::<i32>() {
        Ok(number) if number > 256 => format!("signal {}", number - 256),
        _ => format!("exit status {status}"),
    };
    if comment.is_empty() {
        end
    } else {
        format!("{end}, {comment}")
    }
}

/// `exit_code` is that of the command and the number of the signal that has ended it.
fn slurm_state(state: &str, exit_code: &str, reason: &str) -> JobState {
    // "CANCELLED by 0"
    match state.split(' ').next().unwrap_or("") {
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_HOLD" | "SUSPENDED" => {
            JobState::Waiting(reason.to_owned())
        }
        "RUNNING" | "COMPLETING" | "RESIZING" | "STAGE_OUT" => JobState::Running,
        "COMPLETED" => JobState::Done,
        unreachable @ "NODE_FAIL" => JobState::Unreachable(unreachable.to_owned()),
        // Its code is no exit code, and no signal.
        died @ "OUT_OF_MEMORY" => JobState::Died(died.to_owned()),
        died => JobState::Died(match exit_code.split_once(':') {
            Some((code, "0")) if code != "0" => format!("{died}, exit code {code}"),
            Some((_, signal)) if signal != "0" => format!("{died}, signal {signal}"),
            _ => died.to_owned(),
        }),
    }
}

mod withdrawal;

#[cfg(test)]
mod tests;
