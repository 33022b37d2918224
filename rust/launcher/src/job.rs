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
}

/// One of the jobs of an array, or the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPart {
    /// Its name; another one for each.
    pub name: String,
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
}

impl Job {
    /// The jobs that a submission says it has made.
    pub fn in_output(output: &str) -> Vec<Job> {
        output.lines().filter_map(Self::in_line).collect()
    }

    fn in_line(line: &str) -> Option<Job> {
        let line = line.trim();
        let job = |scheduler, id: &str| {
            is_id(id).then(|| Job {
                scheduler,
                id: id.to_owned(),
            })
        };
        if let Some(rest) = line.strip_prefix("Submitted batch job ") {
            return job(Scheduler::Slurm, rest.split(' ').next()?);
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
        // `sbatch --parsable` says the number, perhaps with the cluster; PBS the number with its server.
        let digits = line
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(line.len());
        match line[digits..].chars().next() {
            _ if digits == 0 => None,
            None | Some(';') => job(Scheduler::Slurm, &line[..digits]),
            Some('.' | '[') => job(Scheduler::Pbs, line),
            Some(_) => None,
        }
    }

    /// The command by which the scheduler is asked for it.
    pub fn question(&self) -> String {
        let id = &self.id;
        match self.scheduler {
            Scheduler::Slurm => format!(
                "scontrol -o show job {id} 2>/dev/null || sacct -X -n -P -o JobID,State,ExitCode -j {id} 2>/dev/null"
            ),
            Scheduler::GridEngine => {
                format!("qstat -j {id} 2>/dev/null; qacct -j {id} 2>/dev/null")
            }
            Scheduler::Pbs => {
                format!("qstat -f '{id}' 2>/dev/null || qstat -x -f '{id}' 2>/dev/null")
            }
            Scheduler::Lsf => format!(
                "bjobs -noheader -o \"jobindex stat exit_code pend_reason delimiter='|'\" {id} 2>/dev/null"
            ),
        }
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
        let name = match task {
            Some(task) => format!("{} job {}, task {task}", self.scheduler, self.id),
            None => format!("{} job {}", self.scheduler, self.id),
        };
        JobPart {
            name,
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
            return self.part(None, JobState::Died(format!("in error state: {reason}")));
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

    fn pbs(&self, output: &str) -> Vec<JobPart> {
        let field = |name: &str| {
            output.lines().find_map(|line| {
                line.trim()
                    .strip_prefix(name)?
                    .trim_start()
                    .strip_prefix("= ")
            })
        };
        let status = field("exit_status").or_else(|| field("Exit_status"));
        let state = match field("job_state") {
            None => return Vec::new(),
            Some("C" | "F" | "X") => match status {
                Some("0") => JobState::Done,
                Some(status) => JobState::Died(format!("exit status {status}")),
                None => JobState::Died("ended without an exit status".to_owned()),
            },
            Some("Q" | "H" | "W" | "T" | "S") => {
                JobState::Waiting(field("comment").unwrap_or_default().to_owned())
            }
            Some(_) => JobState::Running,
        };
        let mut part = self.part(None, state);
        let path = |text: &str| PathBuf::from(text.split_once(':').map_or(text, |(_, path)| path));
        part.output = [field("Error_Path"), field("Output_Path")]
            .into_iter()
            .flatten()
            .map(path)
            .collect();
        vec![part]
    }

    fn lsf(&self, line: &str) -> Option<JobPart> {
        let mut fields = line.split('|').map(str::trim);
        let task = fields.next().filter(|index| *index != "0" && *index != "-");
        let state = match (
            fields.next()?,
            fields.next().unwrap_or("-"),
            fields.next().unwrap_or(""),
        ) {
            ("DONE", ..) => JobState::Done,
            ("EXIT", "-" | "", _) => JobState::Died("exited".to_owned()),
            ("EXIT", code, _) => JobState::Died(format!("exit code {code}")),
            ("PEND" | "PSUSP" | "WAIT", _, reason) => JobState::Waiting(reason.to_owned()),
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

/// `exit_code` is that of the command and the number of the signal that has ended it.
fn slurm_state(state: &str, exit_code: &str, reason: &str) -> JobState {
    // "CANCELLED by 0"
    match state.split(' ').next().unwrap_or("") {
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_HOLD" | "SUSPENDED" => {
            JobState::Waiting(reason.to_owned())
        }
        "RUNNING" | "COMPLETING" | "RESIZING" | "STAGE_OUT" => JobState::Running,
        "COMPLETED" => JobState::Done,
        died => JobState::Died(match exit_code.split_once(':') {
            Some((code, "0")) if code != "0" => format!("{died}, exit code {code}"),
            Some((_, signal)) if signal != "0" => format!("{died}, signal {signal}"),
            _ => died.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
