//! Where this process runs: its machine, and the job that a scheduler runs it in.

use std::env;

use mirai_wire::Origin;

/// What the environment and the system say now.
pub(crate) fn here() -> Origin {
    Origin {
        host: host(),
        job: job(|name| env::var(name).ok().filter(|value| !value.is_empty())).unwrap_or_default(),
    }
}

#[cfg(unix)]
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    env::var("COMPUTERNAME").unwrap_or_default()
}

/// The job as `scontrol`, `qstat` or `bjobs` name it, with the number of the task if it is an array. The variables are those that
/// the manuals of Slurm (sbatch), Grid Engine (qsub), PBS (qsub) and LSF (bsub) list for the environment of a job.
fn job(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(array) = variable("SLURM_ARRAY_JOB_ID")
        && let Some(task) = variable("SLURM_ARRAY_TASK_ID")
    {
        return Some(format!("{array}_{task}"));
    }
    if let Some(job) = variable("SLURM_JOB_ID").or_else(|| variable("PBS_JOBID")) {
        return Some(job);
    }
    if let Some(job) = variable("LSB_JOBID") {
        let task = variable("LSB_JOBINDEX").filter(|task| task != "0");
        return Some(task.map_or_else(|| job.clone(), |task| format!("{job}[{task}]")));
    }
    // Others have a variable of this name, too; that of the task is Grid Engine's own, set in each of its jobs.
    let task = variable("SGE_TASK_ID")?;
    let job = variable("JOB_ID")?;
    Some(match &*task {
        "undefined" => job,
        task => format!("{job}.{task}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job_by(variables: &[(&str, &str)]) -> Option<String> {
        job(|name| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        })
    }

    #[test]
    fn a_job_has_the_name_that_its_scheduler_takes() {
        let array = [
            ("SLURM_JOB_ID", "18"),
            ("SLURM_ARRAY_JOB_ID", "17"),
            ("SLURM_ARRAY_TASK_ID", "3"),
        ];
        let named = |variables: &[_]| job_by(variables).unwrap_or_default();
        assert_eq!(named(&array), "17_3");
        assert_eq!(named(&[("SLURM_JOB_ID", "18")]), "18");
        assert_eq!(named(&[("JOB_ID", "5"), ("SGE_TASK_ID", "undefined")]), "5");
        assert_eq!(named(&[("JOB_ID", "5"), ("SGE_TASK_ID", "2")]), "5.2");
        assert_eq!(named(&[("PBS_JOBID", "7[2].head")]), "7[2].head");
        assert_eq!(named(&[("LSB_JOBID", "9"), ("LSB_JOBINDEX", "0")]), "9");
        assert_eq!(named(&[("LSB_JOBID", "9"), ("LSB_JOBINDEX", "4")]), "9[4]");
    }

    #[test]
    fn outside_of_jobs_there_is_none() {
        assert_eq!(job_by(&[]), None);
        assert_eq!(job_by(&[("JOB_ID", "5")]), None);
    }

    #[test]
    fn the_machine_has_a_name() {
        assert!(!host().is_empty());
    }
}
