//! The program `mirai-daemon` and `Rscript`, with a real R; skipped where there is none.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use mirai_launcher::{DaemonEvent, ExitStatus, FailureReason, Launcher, LauncherConfig};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_mirai-daemon");

fn embedded(home: &Path, variables: &[(&str, &str)], code: &str) -> Output {
    let mut command = Command::new(home.join("bin/R"));
    command.args(["CMD", BINARY, "-e", code]);
    run(command, variables)
}

fn rscript(home: &Path, variables: &[(&str, &str)], code: &str) -> Output {
    let mut command = Command::new(home.join("bin/Rscript"));
    command.args(["-e", code]);
    run(command, variables)
}

fn run(mut command: Command, variables: &[(&str, &str)]) -> Output {
    let variables = variables.iter().copied();
    command.envs(variables).output().expect("a program")
}

#[test]
fn r_runs_embedded_as_under_rscript() {
    let Some(home) = r_home_with_library() else {
        return;
    };
    let code = "cat(R.version.string, interactive(), commandArgs()[1:4], search(), sep = '\\n')";
    let ours = embedded(&home, &[], code);
    assert!(ours.status.success(), "{ours:?}");
    assert_eq!(ours.stdout, rscript(&home, &[], code).stdout);
    assert!(String::from_utf8_lossy(&ours.stdout).contains("\nFALSE\n"));
}

#[test]
fn default_packages_follow_rscript_s_rules() {
    let Some(home) = r_home_with_library() else {
        return;
    };
    let code = "cat(search(), Sys.getenv('R_DEFAULT_PACKAGES'))";
    let (script, plain) = ("R_SCRIPT_DEFAULT_PACKAGES", "R_DEFAULT_PACKAGES");
    let cases: [&[(&str, &str)]; 6] = [
        &[(script, "stats"), (plain, "utils")],
        &[(plain, "utils")],
        &[(plain, "NULL")],
        &[(script, ""), (plain, "utils")],
        &[("R_SCRIPT_LEGACY", "yes")],
        &[("R_SCRIPT_LEGACY", "yes"), (plain, "utils")],
    ];
    for variables in cases {
        let ours = embedded(&home, variables, code);
        assert!(ours.status.success(), "{variables:?}: {ours:?}");
        let theirs = rscript(&home, variables, code);
        assert_eq!(ours.stdout, theirs.stdout, "{variables:?}");
    }
}

#[test]
fn errors_end_r_with_status_1() {
    let Some(home) = r_home_with_library() else {
        return;
    };
    let ours = embedded(&home, &[], "stop('on purpose')");
    assert_eq!(ours.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ours.stderr).contains("on purpose"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let profile = folder.path().join("profile.R");
    std::fs::write(&profile, "stop('bad profile')\n").expect("a file");
    let profile = profile.to_string_lossy();
    let ours = embedded(&home, &[("R_PROFILE_USER", &profile)], "cat(1)");
    assert_eq!(ours.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ours.stderr).contains("bad profile"));
}

fn real(home: &Path, binary: Option<PathBuf>) -> Launcher {
    let mut config = LauncherConfig::new(home);
    config.binary = binary;
    Launcher::new(config)
}

#[test]
fn a_failing_start_up_file_is_told_of() {
    let Some(home) = r_home_with_library() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let profile = folder.path().join("profile.R");
    std::fs::write(&profile, "stop('bad profile')\n").expect("a file");
    let context = context(&[("R_PROFILE_USER", &profile.to_string_lossy())]);
    let launcher = real(&home, Some(BINARY.into()));
    let launched = launch(&launcher, context, &vec!["1".to_owned(); 2]);
    for _ in 0..2 {
        let (_, failure) = launched.failed();
        assert!(failure.output.contains("bad profile"), "{failure:?}");
        assert!(failure.command.contains("R CMD"), "{failure:?}");
        assert!(matches!(
            failure.reason,
            FailureReason::StartUp(ExitStatus::Code(1))
        ));
    }
}

/// A host that launches from a session with this start-up file is killed as soon as the file
/// has told of itself: all that it names ends, and R's temporary folder is no more.
fn starting_server_ends(home: &Path, endless: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = folder.path().join("told");
    let profile = folder.path().join("profile.R");
    let code = format!(
        "tell <- function(pid) {{\n\
           writeLines(c(tempdir(), pid), '{told}.draft'); file.rename('{told}.draft', '{told}')\n\
         }}\n{endless}\n",
        told = told.display()
    );
    std::fs::write(&profile, code).expect("a file");
    let mut host = Command::new(no_r())
        .args(["--host", "1"])
        .env("R_HOME", home)
        .env("NO_R_BINARY", BINARY)
        .env("R_PROFILE_USER", &profile)
        .env("TMPDIR", folder.path())
        .spawn()
        .expect("a host");
    await_path(&told, true);
    let told = std::fs::read_to_string(told).expect("a file");
    let mut lines = told.lines();
    let tempdir = PathBuf::from(lines.next().expect("a folder"));
    assert!(tempdir.starts_with(folder.path()) && tempdir.exists());
    let pids: Vec<u32> = lines
        .map(|pid| pid.parse().expect("a process id"))
        .collect();
    assert!(pids.iter().all(|pid| is_running(*pid)), "{pids:?}");
    host.kill().expect("to kill");
    host.wait().expect("to wait");
    pids.into_iter().for_each(await_end);
    assert!(!tempdir.exists());
}

#[test]
fn a_killed_host_takes_r_s_endless_start_up_along() {
    let Some(home) = r_home_with_library() else {
        return;
    };
    starting_server_ends(&home, "tell(Sys.getpid()); repeat {}");
    // In a system call; and waiting for a program, with another in the background.
    starting_server_ends(&home, "tell(Sys.getpid()); Sys.sleep(1e6)");
    let program = "suspendInterrupts({file <- tempfile(); \
                   system(sprintf('sleep 100000 & echo $! > %s; mv %s %s.pid', file, file, file))\n\
                   tell(c(readLines(paste0(file, '.pid')), Sys.getpid())); system('sleep 100000')})";
    starting_server_ends(&home, program);
}

/// The environment a server's R sees is the one a fresh `Rscript` sees. It is told by a failing
/// start-up file, as there is no R package to call the server from here.
#[test]
fn the_environment_is_that_of_a_fresh_rscript() {
    let Some(home) = r_home_with_library() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let profile = folder.path().join("profile.R");
    let code = "cat(\"BEGIN\\n\"); e <- Sys.getenv(); cat(paste0(names(e), '=', e), sep = \"\\n\"); \
                cat(\"\\nEND\\n\"); quit('no', 9)\n";
    std::fs::write(&profile, code).expect("a file");
    let profile = profile.to_string_lossy();
    let variables = [
        ("R_PROFILE_USER", &*profile),
        ("TEXINPUTS", "mine"),
        ("PAGER", "of mine"),
        ("not-a-shell's", "name"),
    ];
    let names = |text: &str| -> Vec<String> {
        let inner = text
            .split("BEGIN\n")
            .nth(1)
            .and_then(|rest| rest.split("\nEND").next());
        let lines = inner.unwrap_or_else(|| panic!("no output: {text}")).lines();
        // Names the folder of this very process, and the last program the shell has run.
        let differs =
            |line: &&str| !line.starts_with("R_SESSION_TMPDIR=") && !line.starts_with("_=");
        lines.filter(differs).map(str::to_owned).collect()
    };
    let theirs = rscript(&home, &variables, "1");
    let launcher = real(&home, Some(BINARY.into()));
    let mut context = context(&variables);
    context.environment.retain(|(name, value)| {
        // Later ones win for a new process, but not for R: leave no doubles.
        variables.iter().all(|(n, v)| name != n || value == v)
    });
    let launched = launch(&launcher, context, &["1".to_owned()]);
    let (_, failure) = launched.failed();
    assert!(
        matches!(failure.reason, FailureReason::StartUp(ExitStatus::Code(9))),
        "{failure:?}"
    );
    assert_eq!(
        names(&failure.output),
        names(&String::from_utf8_lossy(&theirs.stdout))
    );
}

#[test]
fn rscript_starts_what_has_no_program() {
    let Some(home) = r_home() else {
        return;
    };
    let launcher = real(&home, None);
    let code = "cat(.libPaths()[1], Sys.getenv('MIRAI_DAEMON_STDIO')); quit('no', 5)".to_owned();
    let mut context = context(&[]);
    let library = tempfile::tempdir().expect("a temporary folder");
    context.library_paths = vec![library.path().to_path_buf()];
    // As no mirai is installed for it to load.
    context.package = None;
    let launched = launch(&launcher, context, &[code]);
    let pid = launched.started(1)[&0];
    let DaemonEvent::Exited {
        pid: ended,
        status,
        command,
        early,
        ..
    } = launched.next()
    else {
        panic!("not exited");
    };
    assert_eq!((ended, status), (pid, ExitStatus::Code(5)));
    assert_eq!(early, format!("{} 3,4", library.path().display()));
    assert!(command.contains("Rscript"), "{command}");
}
