//! What schedulers say, as they say it.

use super::*;

fn jobs(output: &str) -> Vec<(Scheduler, String)> {
    Job::in_output(output)
        .into_iter()
        .map(|job| (job.scheduler, job.id))
        .collect()
}

fn answer(scheduler: Scheduler, output: &str) -> Vec<JobPart> {
    let job = Job {
        scheduler,
        id: "7".to_owned(),
    };
    job.answer(output, Path::new("/home"), Path::new("/here"))
}

fn states(scheduler: Scheduler, output: &str) -> Vec<(String, JobState)> {
    let parts = answer(scheduler, output).into_iter();
    parts.map(|part| (part.name, part.state)).collect()
}

#[test]
fn jobs_are_found_in_what_a_submission_says() {
    use Scheduler::{GridEngine, Lsf, Pbs, Slurm};
    let found = |scheduler, id: &str| vec![(scheduler, id.to_owned())];
    assert_eq!(jobs("Submitted batch job 12\n"), found(Slurm, "12"));
    assert_eq!(
        jobs("Submitted batch job 12 on cluster b\n"),
        found(Slurm, "12")
    );
    assert_eq!(jobs("sbatch: careful\n12;cluster\n"), found(Slurm, "12"));
    assert_eq!(
        jobs("Your job 3 (\"STDIN\") has been submitted\n"),
        found(GridEngine, "3")
    );
    assert_eq!(
        jobs("Your job-array 4.1-3:1 (\"STDIN\") has been submitted"),
        found(GridEngine, "4")
    );
    assert_eq!(jobs("12.pbs-server\n"), found(Pbs, "12.pbs-server"));
    assert_eq!(jobs("12[].pbs\n"), found(Pbs, "12[].pbs"));
    assert_eq!(
        jobs("Job <12> is submitted to queue <normal>.\n"),
        found(Lsf, "12")
    );
    for none in [
        "",
        "3 apples",
        "Submitted batch job $(rm)",
        "12.a'b",
        "sbatch: error: 5",
        "Job <x>",
    ] {
        assert_eq!(jobs(none), [], "{none}");
    }
}

#[test]
fn slurm_tells_of_each_job_of_an_array() {
    let record = "JobId=8 ArrayJobId=7 ArrayTaskId=1 JobName=sbatch JobState=FAILED Reason=NonZeroExitCode \
        ExitCode=127:0 StdErr=/a/slurm-7_1.out StdIn=/dev/null StdOut=/a/slurm-7_1.out Power= ";
    let part = &answer(Scheduler::Slurm, record)[0];
    assert_eq!(part.name, "Slurm job 7, task 1");
    assert_eq!(
        part.state,
        JobState::Died("FAILED, exit code 127".to_owned())
    );
    assert_eq!(part.output, [Path::new("/a/slurm-7_1.out")]);
    let all = "JobId=7 ArrayJobId=7 ArrayTaskId=3-9 JobName=a JobState=PENDING Reason=Resources ExitCode=0:0\n\
        JobId=9 ArrayJobId=7 ArrayTaskId=2 JobName=a JobState=RUNNING Reason=None ExitCode=0:0\n";
    assert_eq!(
        states(Scheduler::Slurm, all),
        [
            (
                "Slurm job 7, task 3-9".to_owned(),
                JobState::Waiting("Resources".to_owned())
            ),
            ("Slurm job 7, task 2".to_owned(), JobState::Running)
        ]
    );
    let accounts = "7|COMPLETED|0:0\n7|CANCELLED by 0|0:15\n7_2|OUT_OF_MEMORY|0:125\n";
    assert_eq!(
        states(Scheduler::Slurm, accounts),
        [
            ("Slurm job 7".to_owned(), JobState::Done),
            (
                "Slurm job 7".to_owned(),
                JobState::Died("CANCELLED, signal 15".to_owned())
            ),
            (
                "Slurm job 7, task 2".to_owned(),
                JobState::Died("OUT_OF_MEMORY, signal 125".to_owned())
            )
        ]
    );
}

#[test]
fn grid_engine_tells_of_what_waits_runs_and_has_ended() {
    let line = "=".repeat(62);
    let begin =
        format!("{line}\njob_number:                 7\njob_name:                   STDIN\n");
    let error = format!(
        "{begin}error reason          1:      11/27/2026 01:47:49 [0:3]: error: can't open output file \"/x\": No such\n"
    );
    let [(_, JobState::Died(text))] = &states(Scheduler::GridEngine, &error)[..] else {
        panic!("one that has died");
    };
    assert_eq!(
        text,
        "in error state: 11/27/2026 01:47:49 [0:3]: error: can't open output file \"/x\": No such"
    );
    let waits = format!(
        "{begin}scheduling info:            All queues dropped because of overload or full\n"
    );
    assert_eq!(
        answer(Scheduler::GridEngine, &waits)[0].state,
        JobState::Waiting("All queues dropped because of overload or full".to_owned())
    );
    let runs = format!("{begin}usage         1:            cpu=00:00:00\n");
    assert_eq!(
        answer(Scheduler::GridEngine, &runs)[0].state,
        JobState::Running
    );
    let ended = |task: &str, failed: &str, status: &str| {
        format!(
            "{line}\njobname      STDIN               \ntaskid       {task}\nfailed       {failed}    \nexit_status  {status}                   \n"
        )
    };
    let account = [
        ended("1", "0", "0"),
        ended("2", "100 : assumedly after job", "137"),
        ended("undefined", "0", "127"),
    ];
    let parts = answer(Scheduler::GridEngine, &account.concat());
    assert_eq!(parts[0].state, JobState::Done);
    assert_eq!(
        parts[1].state,
        JobState::Died("failed 100 : assumedly after job, exit status 137".to_owned())
    );
    assert_eq!(parts[2].state, JobState::Died("exit status 127".to_owned()));
    assert_eq!(parts[2].output[0], Path::new("/home/STDIN.e7"),);
    assert_eq!(parts[1].output[3], Path::new("/here/STDIN.o7.2"));
}

#[test]
fn pbs_and_lsf_are_understood() {
    let pbs = |state: &str| {
        format!(
            "Job Id: 7.pbs\n    Job_Name = STDIN\n    job_state = {state}\n    Error_Path = h:/a/e7\n    exit_status = 2\n"
        )
    };
    let part = &answer(Scheduler::Pbs, &pbs("C"))[0];
    assert_eq!(part.state, JobState::Died("exit status 2".to_owned()));
    assert_eq!(part.output, [Path::new("/a/e7")]);
    assert_eq!(
        answer(Scheduler::Pbs, &pbs("R"))[0].state,
        JobState::Running
    );
    assert_eq!(
        answer(Scheduler::Pbs, &pbs("Q"))[0].state,
        JobState::Waiting(String::new())
    );
    assert_eq!(answer(Scheduler::Pbs, "qstat: unknown"), []);
    assert_eq!(
        states(
            Scheduler::Lsf,
            "0|EXIT|127|-\n1|PEND|-|No slots\n2|RUN|-|-\n3|DONE|-|-\n"
        ),
        [
            (
                "LSF job 7".to_owned(),
                JobState::Died("exit code 127".to_owned())
            ),
            (
                "LSF job 7, task 1".to_owned(),
                JobState::Waiting("No slots".to_owned())
            ),
            ("LSF job 7, task 2".to_owned(), JobState::Running),
            ("LSF job 7, task 3".to_owned(), JobState::Done),
        ]
    );
}
