//! What schedulers say, as they say it.

use super::*;

fn jobs(output: &str) -> Vec<(Scheduler, String)> {
    jobs_by(output, None)
}

fn jobs_by(output: &str, by: Option<Scheduler>) -> Vec<(Scheduler, String)> {
    Job::in_output(output, by)
        .into_iter()
        .map(|job| (job.scheduler, job.id))
        .collect()
}

fn answer(scheduler: Scheduler, output: &str) -> Vec<JobPart> {
    let job = Job {
        scheduler,
        id: "7".to_owned(),
        cluster: None,
    };
    job.answer(output, Path::new("/home"), Path::new("/here"))
}

fn states(scheduler: Scheduler, output: &str) -> Vec<(String, JobState)> {
    let parts = answer(scheduler, output).into_iter();
    parts.map(|part| (part.name, part.state)).collect()
}

#[test]
fn a_mere_number_is_of_the_scheduler_whose_command_it_was() {
    use Scheduler::{GridEngine, Pbs, Slurm};
    let line = |command: &str, options: &str| {
        format!(
            "'/bin/sh' -c '{command}<<'\\''EOF'\\''\n#!/bin/sh\n{options}\nRscript -e 'mirai::daemon()'\nEOF\n'"
        )
    };
    for (command, options, has_grid_engine, said, expected) in [
        ("sbatch --parsable", "", false, "12", Some((Slurm, "12"))),
        (
            "/opt/slurm/bin/sbatch --parsable",
            "",
            true,
            "12",
            Some((Slurm, "12")),
        ),
        ("qsub -terse", "", false, "12", Some((GridEngine, "12"))),
        (
            "qsub -terse",
            "#$ -t 1-10",
            false,
            "12.1-10:1",
            Some((GridEngine, "12")),
        ),
        ("qsub", "#$ -terse", false, "12", Some((GridEngine, "12"))),
        ("qsub", "", true, "12", Some((GridEngine, "12"))),
        ("qsub", "", false, "12", Some((Pbs, "12"))),
        ("qsub", "#PBS -l nodes=1", true, "12", Some((Pbs, "12"))),
        (
            "qsub",
            "#PBS -l nodes=1",
            false,
            "12.head",
            Some((Pbs, "12.head")),
        ),
        ("qsub", "", true, "12.head", Some((Pbs, "12.head"))),
        ("bsub", "", false, "12", None),
        ("my-sbatcher", "", false, "12", Some((Slurm, "12"))),
    ] {
        let by = Scheduler::of_command(&line(command, options), has_grid_engine);
        let expected = expected.map(|(scheduler, id)| (scheduler, id.to_owned()));
        let found = jobs_by(said, by);
        assert_eq!(
            found,
            expected.into_iter().collect::<Vec<_>>(),
            "{command} {options}"
        );
        if let [(scheduler, _)] = found[..]
            && by.is_some()
        {
            assert!(scheduler.is_handed_jobs_by(command), "so it is taken back");
        }
    }
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
                JobState::Died("OUT_OF_MEMORY".to_owned())
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
    let [(_, JobState::Stuck(text))] = &states(Scheduler::GridEngine, &error)[..] else {
        panic!("one that is stuck");
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

#[test]
fn the_jobs_of_an_array_of_pbs_have_a_record_each() {
    let job = Job {
        scheduler: Scheduler::Pbs,
        id: "12[].head".to_owned(),
        cluster: None,
    };
    assert!(job.question().starts_with("qstat -t -f '12[].head' "));
    // As PBS writes it: long lines go on behind a tab.
    let record = |id: &str, more: &str| format!("Job Id: {id}\n    Job_Name = STDIN\n{more}\n");
    let said = [
        record("12[].head", "    job_state = B\n    array = True"),
        record(
            "12[1].head",
            "    job_state = R\n    Error_Path = node:/home/a/long/\n\tpath/STDIN.e12.^array_index^",
        ),
        record(
            "12[2].head",
            "    job_state = X\n    Exit_status = 271\n    comment = Job run at Sat and terminated",
        ),
        record("12[3].head", "    job_state = X"),
        record(
            "12[4].head",
            "    job_state = Q\n    comment = Not Running: no nodes",
        ),
    ];
    let parts = job.answer(&said.concat(), Path::new("/"), Path::new("/"));
    let jobs: Vec<&str> = parts.iter().map(|part| &*part.job).collect();
    assert_eq!(
        jobs,
        ["12[1].head", "12[2].head", "12[3].head", "12[4].head"]
    );
    assert_eq!(parts[0].name, "PBS job 12[].head, task 1");
    assert_eq!(
        parts[0].output,
        [Path::new("/home/a/long/path/STDIN.e12.1")]
    );
    let died = "signal 15, Job run at Sat and terminated".to_owned();
    let waits = JobState::Waiting("Not Running: no nodes".to_owned());
    let states = parts.iter().map(|part| part.state.clone());
    assert!(states.eq([
        JobState::Running,
        JobState::Died(died),
        JobState::Done,
        waits
    ]));
    // Of one that has not begun there is its own record only.
    let whole = job.answer(
        &record("12[].head", "    job_state = Q"),
        Path::new("/"),
        Path::new("/"),
    );
    assert_eq!(whole[0].name, "PBS job 12[].head");
}

#[test]
fn lsf_may_know_the_reason_of_an_exit() {
    let said =
        "2|EXIT|140|-|TERM_RUNLIMIT: job killed after reaching LSF run time limit\n3|EXIT|1|-|-\n";
    let parts = answer(Scheduler::Lsf, said);
    assert_eq!(
        parts[0].state,
        JobState::Died(
            "exit code 140, TERM_RUNLIMIT: job killed after reaching LSF run time limit".to_owned()
        )
    );
    assert_eq!(parts[0].job, "7[2]");
    assert_eq!(parts[1].state, JobState::Died("exit code 1".to_owned()));
}

#[test]
fn a_machine_that_slurm_gives_up_may_go_on() {
    let said = "7|NODE_FAIL|0:0\n";
    let state = JobState::Unreachable("NODE_FAIL".to_owned());
    assert_eq!(answer(Scheduler::Slurm, said)[0].state, state);
}

#[test]
fn jobs_are_known_by_the_names_that_daemons_have_for_them() {
    use Scheduler::{GridEngine, Lsf, Pbs, Slurm};
    for (scheduler, id, own, other) in [
        (Slurm, "7", &["7", "7_2"][..], &["70", "71_2", "17"][..]),
        (GridEngine, "7", &["7", "7.2"], &["70", "7_2"]),
        (Pbs, "7.head", &["7.head"], &["7.header", "17.head"]),
        (
            Pbs,
            "7[].head",
            &["7[2].head"],
            &["7[2].other", "70[2].head", "7.head"],
        ),
        (Lsf, "7", &["7", "7[2]"], &["70[2]"]),
    ] {
        let id = id.to_owned();
        let job = Job {
            scheduler,
            id,
            cluster: None,
        };
        assert!(own.iter().all(|name| job.holds(name)), "{job:?}");
        assert!(!other.iter().any(|name| job.holds(name)), "{job:?}");
    }
    // And the parts of an answer have these names.
    let array = "JobId=8 ArrayJobId=7 ArrayTaskId=1 JobState=RUNNING ExitCode=0:0\n";
    assert_eq!(answer(Slurm, array)[0].job, "7_1");
    assert_eq!(answer(Slurm, "7|RUNNING|0:0")[0].job, "7");
    assert_eq!(answer(Lsf, "0|RUN|-|-")[0].job, "7");
}
