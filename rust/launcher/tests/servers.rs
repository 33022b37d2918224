//! Fork servers, with real processes and no R.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use mirai_launcher::{
    DaemonEvent, ExitStatus, FailureReason, LaunchError, LaunchRequest, Launcher, LauncherConfig,
};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn eight_daemons_end_each_in_its_way() {
    let launcher = launcher();
    let mut commands: Vec<String> = (0..4).map(|code| format!("exit {code}")).collect();
    commands.extend(vec!["sleep".to_owned(); 4]);
    let launched = launch(&launcher, context(&[]), &commands);
    let pids = launched.started(8);
    for position in 4..8 {
        kill(pids[&position]);
    }
    let ends: std::collections::BTreeMap<u32, ExitStatus> = (0..8)
        .map(|_| launched.exited())
        .map(|(pid, status, _)| (pid, status))
        .collect();
    for position in 0..4 {
        let code = i32::try_from(position).expect("a small number");
        assert_eq!(ends[&pids[&position]], ExitStatus::Code(code));
        assert_eq!(ends[&pids[&(position + 4)]], ExitStatus::Signal(9));
    }
    drop(launcher);
    launched.end();
}

#[test]
fn a_daemon_stands_alone() {
    // SAFETY: sets a disposition that no test relies on, as for what a shell starts by `&`.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let (launcher, folder) = (launcher(), folder());
    let file = folder.path().join("shown");
    let command = format!("show {}", file.display());
    let launched = launch(&launcher, context(&[]), std::slice::from_ref(&command));
    let pid = launched.started(1)[&0];
    let shown = shown(&file);
    assert_eq!(
        shown["leads"], "true",
        "a session and process group of its own"
    );
    assert_eq!(shown["SigBlk"], "0000000000000000");
    let ignored = u64::from_str_radix(&shown["SigIgn"], 16).expect("a mask");
    assert_eq!(ignored & 1 << (libc::SIGINT - 1), 0, "interrupts arrive");
    let caught = u64::from_str_radix(&shown["SigCgt"], 16).expect("a mask");
    let of_start = 1 << (libc::SIGTERM - 1) | u64::MAX << (libc::SIGRTMIN() - 1);
    assert_eq!(caught & of_start, 0, "{caught:x}");
    let mut open: Vec<_> = shown.iter().collect();
    open.retain(|(name, _)| {
        name.starts_with("fd") && !["fd0", "fd1", "fd2"].contains(&name.as_str())
    });
    open.sort_by_key(|(_, target)| target.as_str());
    // The file for output that it discards, and the way to report its folder, which it has not done.
    let [(_, file), (_, socket)] = open[..] else {
        panic!("{shown:?}")
    };
    assert!(file.starts_with("/memfd:mirai-output"), "{shown:?}");
    assert!(socket.starts_with("socket:"), "{shown:?}");
    assert_eq!(shown["fd0"], "/dev/null");
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).expect("a command line");
    let line = String::from_utf8_lossy(&line);
    let expected = format!("R --no-echo --no-restore -e {command}");
    assert_eq!(line.trim_end_matches('\0'), expected);
    let server = server_of(&shown);
    let line = std::fs::read(format!("/proc/{server}/cmdline")).expect("a command line");
    assert_eq!(
        String::from_utf8_lossy(&line).trim_end_matches('\0'),
        "the server"
    );
    kill(pid);
    launched.exited();
}

#[test]
fn a_killed_daemon_leaves_no_folder() {
    let (launcher, folder) = (launcher(), folder());
    let own = folder.path().join("RtmpABC");
    let other = folder.path().join("precious");
    let commands = [&own, &other].map(|path| {
        let shown = folder
            .path()
            .join(path.file_name().expect("a name"))
            .with_extension("shown");
        format!("folder {} show {}", path.display(), shown.display())
    });
    let launched = launch(&launcher, context(&[]), &commands);
    let pids = launched.started(2);
    for name in ["RtmpABC.shown", "precious.shown"] {
        await_path(&folder.path().join(name), true);
    }
    std::fs::write(own.join("file"), "data").expect("a file");
    for pid in pids.values() {
        kill(*pid);
    }
    for _ in 0..2 {
        assert_eq!(launched.exited().1, ExitStatus::Signal(9));
    }
    assert!(!own.exists(), "is removed before the end is told");
    assert!(other.exists(), "is not R's");
}

#[test]
fn a_killed_host_takes_servers_and_folders_along() {
    let folder = folder();
    let gone = folder.path().join("RtmpGONE");
    let stays = folder.path().join("RtmpSTAYS");
    let shown_file = folder.path().join("shown");
    let mut host = Command::new(no_r())
        .arg("--host")
        .arg(format!("folder {} follow HOST", gone.display()))
        .arg(format!(
            "folder {} show {}",
            stays.display(),
            shown_file.display()
        ))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a host");
    let lines = BufReader::new(host.stdout.take().expect("a pipe")).lines();
    let pids: Vec<u32> = lines
        .take(2)
        .map(|line| line.expect("a line").parse().expect("a process id"))
        .collect();
    let server = server_of(&shown(&shown_file));
    await_path(&gone, true);
    host.kill().expect("to kill");
    host.wait().expect("to wait");
    await_end(pids[0]);
    await_path(&gone, false);
    assert!(is_running(server), "it has a daemon left");
    assert!(is_running(pids[1]));
    kill(pids[1]);
    await_end(server);
    assert!(!stays.exists());
}

/// The process id of a server that hangs as it starts.
fn hanging(tempdir: &Path) -> u32 {
    let file = tempdir.join("pid");
    await_path(&file, true);
    let pid = std::fs::read_to_string(file).expect("a process id");
    pid.parse().expect("a process id")
}

#[test]
fn a_killed_host_takes_a_starting_server_along() {
    let folder = folder();
    let tempdir = folder.path().join("RtmpSTART1");
    let mut host = Command::new(no_r())
        .args(["--host", "sleep"])
        .env("NO_R_START", "hangs")
        .env("NO_R_TEMPDIR", &tempdir)
        .spawn()
        .expect("a host");
    let server = hanging(&tempdir);
    host.kill().expect("to kill");
    host.wait().expect("to wait");
    await_end(server);
    assert!(!tempdir.exists());
}

#[test]
fn a_copy_of_a_killed_host_keeps_no_starting_server() {
    let folder = folder();
    let tempdir = folder.path().join("RtmpSTART2");
    let mut host = Command::new(no_r())
        .args(["--forked-host", "sleep"])
        .env("NO_R_START", "hangs")
        .env("NO_R_TEMPDIR", &tempdir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a host");
    let server = hanging(&tempdir);
    // The copy lives as long as this end is open.
    let mut stdin = host.stdin.take().expect("a pipe");
    stdin.write_all(b"!").expect("a reader");
    let mut line = String::new();
    let mut stdout = BufReader::new(host.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line).expect("a line");
    let copy = line.trim().parse().expect("a process id");
    assert!(is_running(server));
    host.kill().expect("to kill");
    await_end(server);
    assert!(!tempdir.exists());
    assert!(is_running(copy));
    drop(stdin);
    await_end(copy);
    host.wait().expect("to wait");
}

#[test]
fn a_starting_server_ends_with_its_launcher_and_says_how() {
    let (launcher, folder) = (launcher(), folder());
    let tempdir = folder.path().join("RtmpSTART3");
    let variables = [("NO_R_START", "hangs"), ("NO_R_TEMPDIR", &*text(&tempdir))];
    let launched = launch(&launcher, context(&variables), &["sleep".to_owned()]);
    let server = hanging(&tempdir);
    launcher.close();
    let (_, failure) = launched.failed();
    assert!(
        matches!(
            failure.reason,
            FailureReason::StartUp(ExitStatus::Signal(15))
        ),
        "{failure:?}"
    );
    assert!(!is_running(server));
    assert!(!tempdir.exists());
}

#[test]
fn a_withdrawn_launch_ends_the_server_that_starts_for_it_alone() {
    let (launcher, folder) = (launcher(), folder());
    let tempdir = folder.path().join("RtmpSTART4");
    let variables = [("NO_R_START", "hangs"), ("NO_R_TEMPDIR", &*text(&tempdir))];
    let sleep = ["sleep".to_owned()];
    let first = launch(&launcher, context(&variables), &sleep);
    let server = hanging(&tempdir);
    let second = launch(&launcher, context(&variables), &sleep);
    launcher.withdraw(first.id, |_| false);
    let (_, failure) = first.failed();
    assert!(
        matches!(failure.reason, FailureReason::Withdrawn),
        "{failure:?}"
    );
    assert!(is_running(server), "the other one waits for it");
    launcher.withdraw(second.id, |_| false);
    second.failed();
    await_end(server);
    assert!(!tempdir.exists());
    // The launcher goes on.
    let third = launch(&launcher, context(&[]), &sleep);
    third.started(1);
    launcher.withdraw(third.id, |_| false);
    launcher.withdraw(first.id, |_| false);
}

#[test]
fn a_failing_start_is_told_with_its_output() {
    let launcher = launcher();
    let context = context(&[("NO_R_START", "fails")]);
    let launched = launch(&launcher, context, &vec!["sleep".to_owned(); 3]);
    for position in 0..3 {
        let (daemon, failure) = launched.failed();
        assert_eq!(daemon, position);
        assert_eq!(failure.output, "to stdout\nto stderr\n");
        assert!(failure.command.contains("no_r"), "{}", failure.command);
        assert!(
            failure.command.contains("serve_forks"),
            "{}",
            failure.command
        );
        assert!(matches!(
            failure.reason,
            FailureReason::StartUp(ExitStatus::Code(3))
        ));
    }
    drop(launcher);
    launched.end();
}

#[test]
fn a_missing_program_fails_at_once() {
    let mut config = LauncherConfig::new("/nowhere");
    config.server_command = Some(vec!["/nowhere/at/all".into()]);
    let launched = launch(&Launcher::new(config), context(&[]), &["sleep".to_owned()]);
    let (_, failure) = launched.failed();
    assert!(
        matches!(failure.reason, FailureReason::Spawn(_)),
        "{failure}"
    );
    assert!(failure.command.starts_with("/nowhere/at/all "));
}

#[test]
fn a_full_process_table_fails_with_the_system_s_error() {
    let launcher = launcher();
    let context = context(&[("NO_R_START", "no room")]);
    let launched = launch(&launcher, context, &vec!["sleep".to_owned(); 2]);
    // The first may still find room; two cannot.
    let mut failures = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..2 {
        match launched.next() {
            mirai_launcher::DaemonEvent::Started { pid, .. } => pids.push(pid),
            mirai_launcher::DaemonEvent::Failed { failure, .. } => failures.push(failure),
            other => panic!("{other:?}"),
        }
    }
    let text = failures[0].to_string();
    assert!(text.contains("os error 11"), "{text}");
    pids.into_iter().for_each(kill);
}

#[test]
fn what_cannot_embed_goes_by_rscript() {
    let (launcher, folder) = (launcher(), folder());
    let file = folder.path().join("shown");
    for (name, position) in [("unusable", 0), ("threads", 1)] {
        for launch_number in 0..2 {
            let context = context(&[("NO_R_START", name)]);
            let commands = ["exit 7".to_owned(), format!("show {}", file.display())];
            let launched = launch(&launcher, context, &commands);
            let mut started = None;
            let mut ended = None;
            while started.is_none() || ended.is_none() {
                match launched.next() {
                    mirai_launcher::DaemonEvent::Started { daemon: 1, pid } => started = Some(pid),
                    mirai_launcher::DaemonEvent::Started { .. } => {}
                    mirai_launcher::DaemonEvent::Exited {
                        daemon: 0,
                        status,
                        early,
                        ..
                    } => {
                        ended = Some((status, early));
                    }
                    other => panic!("{other:?}"),
                }
            }
            let early = "early\nearly too\n".to_owned();
            assert_eq!(
                ended,
                Some((ExitStatus::Code(7), early)),
                "{position} {launch_number}"
            );
            let shown = shown(&file);
            assert_eq!(server_of(&shown), std::process::id(), "a child of the host");
            assert_eq!(shown["leads"], "true");
            assert_eq!(shown["SigBlk"], "0000000000000000");
            let open: Vec<_> = shown.keys().filter(|name| name.starts_with("fd")).collect();
            assert_eq!(open, ["fd0", "fd1", "fd2"], "{shown:?}");
            assert!(!shown["fd1"].contains("memfd"), "the host's own: {shown:?}");
            assert!(!shown.contains_key("env.MIRAI_DAEMON_STDIO"));
            std::fs::remove_file(&file).expect("a file");
            kill(started.expect("a process"));
            assert_eq!(launched.exited().1, ExitStatus::Signal(9));
        }
    }
}

#[test]
fn a_server_serves_those_with_its_context() {
    let (launcher, folder) = (launcher(), folder());
    let loaded = folder.path().join("loaded");
    std::fs::write(&loaded, "1").expect("a file");
    let mut number = 0;
    let mut daemons = Vec::new();
    let mut server = |variables: &[(&str, &str)]| {
        number += 1;
        let file = folder.path().join(format!("shown{number}"));
        let mut variables = variables.to_vec();
        let loaded = text(&loaded);
        variables.push(("NO_R_LOADED", &loaded));
        let command = format!("show {}", file.display());
        let launched = launch(&launcher, context(&variables), &[command]);
        launched.started(1);
        daemons.push(launched);
        server_of(&shown(&file))
    };
    let one = server(&[("A", "1")]);
    assert_eq!(one, server(&[("A", "1"), ("LINES", "50")]));
    let two = server(&[("A", "2")]);
    assert_ne!(one, two);
    assert_eq!(one, server(&[("A", "1")]));
    let three = server(&[("A", "3")]);
    // A fourth takes the place of the second, which was used least recently.
    let four = server(&[("A", "4")]);
    assert_eq!(
        [one, three, four],
        [
            server(&[("A", "1")]),
            server(&[("A", "3")]),
            server(&[("A", "4")])
        ]
    );
    let again = server(&[("A", "2")]);
    assert_ne!(two, again);
    // A loaded package is installed anew.
    std::fs::write(&loaded, "22").expect("a file");
    assert_ne!(again, server(&[("A", "2")]));
    drop(daemons);
    await_end(two);
    await_end(again);
    drop(launcher);
    for server in [one, three, four] {
        await_end(server);
    }
}

#[test]
fn daemons_outlive_a_killed_server_and_are_still_told_of() {
    let (launcher, folder) = (launcher(), folder());
    let file = folder.path().join("shown");
    let command = format!("show {}", file.display());
    let launched = launch(&launcher, context(&[]), std::slice::from_ref(&command));
    let pid = launched.started(1)[&0];
    let server = server_of(&shown(&file));
    kill(server);
    await_end(server);
    std::fs::remove_file(&file).expect("a file");
    let second = launch(&launcher, context(&[]), &[command]);
    let other = second.started(1)[&0];
    assert_ne!(server_of(&shown(&file)), server);
    assert!(is_running(pid));
    kill(pid);
    assert_eq!(launched.exited().0, pid);
    kill(other);
    assert_eq!(second.exited().1, ExitStatus::Signal(9));
}

#[test]
fn a_server_that_does_not_answer_is_reported_and_then_given_up() {
    let (launcher, folder) = (launcher(), folder());
    let file = folder.path().join("shown");
    let command = format!("show {}", file.display());
    let stubborn = context(&[("NO_R_START", "stops again")]);
    let launched = launch(&launcher, stubborn.clone(), &[command]);
    let pid = launched.started(1)[&0];
    let server = server_of(&shown(&file));
    stop(server);
    let second = launch(&launcher, stubborn.clone(), &["sleep".to_owned()]);
    let late = second.next();
    assert!(
        matches!(late, DaemonEvent::Late { pid, is_starting: false } if pid == server),
        "{late:?}"
    );
    let (_, failure) = second.failed();
    assert!(
        matches!(failure.reason, FailureReason::Stuck(pid) if pid == server),
        "{failure:?}"
    );
    await_end(server);
    // The launcher goes on with another one.
    let third = launch(&launcher, stubborn, &["sleep".to_owned()]);
    third.started(1);
    kill(pid);
    assert_eq!(launched.exited().0, pid);
}

#[test]
fn a_server_that_was_stopped_goes_on_once_it_is_late() {
    let (launcher, folder) = (launcher(), folder());
    let file = folder.path().join("shown");
    let command = format!("show {}", file.display());
    let first = launch(&launcher, context(&[]), &[command]);
    first.started(1);
    stop(server_of(&shown(&file)));
    let second = launch(&launcher, context(&[]), &["sleep".to_owned()]);
    assert!(matches!(second.next(), DaemonEvent::Late { .. }));
    second.started(1);
}

#[test]
fn what_a_killed_daemon_has_started_ends() {
    let launcher = launcher();
    for rscript in [false, true] {
        let mut context = context(&[]);
        if rscript {
            // No fork server without it.
            context.package = None;
        }
        let folder = folder();
        let file = folder.path().join("pid");
        let command = format!("parent {}", file.display());
        let launched = launch(&launcher, context, &[command]);
        let pid = launched.started(1)[&0];
        let child = shown(&file)["child"].parse().expect("a process id");
        kill(pid);
        assert_eq!(launched.exited().1, ExitStatus::Signal(9));
        await_end(child);
    }
}

#[test]
fn a_closed_launcher_still_reports() {
    let launcher = launcher();
    let launched = launch(&launcher, context(&[]), &["sleep".to_owned()]);
    let pid = launched.started(1)[&0];
    launcher.close();
    launcher.close();
    let request = LaunchRequest {
        context: context(&[]),
        daemons: vec!["sleep".to_owned()],
    };
    let refused = launcher.launch(request, Arc::new(|_| {}));
    assert!(matches!(refused, Err(LaunchError::Closed)));
    kill(pid);
    assert_eq!(launched.exited().1, ExitStatus::Signal(9));
    launched.end();
}

#[test]
fn many_long_commands_arrive_whole() {
    let launcher = launcher();
    let commands: Vec<String> = (0..40)
        .map(|code| format!("exit {code} {}", "x".repeat(10_000)))
        .collect();
    let launched = launch(&launcher, context(&[]), &commands);
    let mut codes = std::collections::BTreeSet::new();
    let mut started = 0;
    while codes.len() < 40 {
        match launched.next() {
            mirai_launcher::DaemonEvent::Started { .. } => started += 1,
            mirai_launcher::DaemonEvent::Exited { daemon, status, .. } => {
                let code = i32::try_from(daemon).expect("a small number");
                assert_eq!(status, ExitStatus::Code(code));
                codes.insert(daemon);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started, 40);
}

#[test]
fn a_forked_copy_owns_nothing() {
    let launcher = launcher();
    let launched = launch(&launcher, context(&[]), &["sleep".to_owned()]);
    let pid = launched.started(1)[&0];
    let request = LaunchRequest {
        context: context(&[]),
        daemons: Vec::new(),
    };
    let handler: mirai_launcher::EventHandler = Arc::new(|_| {});
    // SAFETY: the copy calls what refuses to act in a copy, and ends.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        let refused = matches!(
            launcher.launch(request, handler),
            Err(LaunchError::ForkedCopy)
        );
        launcher.close();
        drop(launcher);
        // SAFETY: ends the copy without running what belongs to the original.
        unsafe { libc::_exit(if refused { 42 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the copy made above.
    assert_eq!(unsafe { libc::waitpid(copy, &mut status, 0) }, copy);
    assert_eq!(libc::WEXITSTATUS(status), 42);
    let second = launch(&launcher, context(&[]), &["exit 0".to_owned()]);
    second.started(1);
    kill(pid);
    assert_eq!(launched.exited().1, ExitStatus::Signal(9));
}
