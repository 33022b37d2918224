//! The launcher with no R in sight, for its tests and to see how the parts meet: one program
//! that is host, fork server or daemon, by its arguments.
//!
//! In place of R code its daemons run one of these commands:
//!
//! ```text
//! exit <code>           ends
//! sleep                 stays until killed
//! follow <pid>          stays as long as that process
//! folder <path> <then>  makes a folder, reports it as its own, and runs another command
//! show <path>           writes what it can see of itself to a file, then sleeps
//! print <text>          writes to stdout and ends
//! ```

#[cfg(target_os = "linux")]
fn main() {
    if let Err(error) = linux::run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("fork servers exist on Linux only");
}

#[cfg(target_os = "linux")]
mod linux {
    use mirai_launcher::{
        Context, DaemonEvent, LaunchRequest, Launcher, LauncherConfig, SERVER_FD, Served,
        adopt_stdio, boot, report_tempdir, serve_forks,
    };
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, pidfd_open, setrlimit};
    use std::error::Error;
    use std::ffi::{CString, c_char};
    use std::fmt::Write;
    use std::fs;
    use std::io::Read;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicPtr, Ordering};
    use std::sync::{Arc, mpsc};

    /// In place of R's variable.
    static R_TEMPDIR: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

    type Outcome = Result<(), Box<dyn Error>>;

    /// How the server behaves as it starts, for tests.
    const START: &str = "NO_R_START";

    /// The temporary folder of a server that hangs as it starts. Holds its process id in a file.
    const TEMPDIR: &str = "NO_R_TEMPDIR";

    /// The program `mirai-daemon`, for a host to start with a real R in place of this one.
    const BINARY: &str = "NO_R_BINARY";

    pub(crate) fn run() -> Outcome {
        let words: Vec<String> = std::env::args().skip(1).collect();
        match words.first().map(String::as_str) {
            Some("--host") => host(&words[1..], false),
            Some("--forked-host") => host(&words[1..], true),
            Some("--daemon") => rscript(words.last().map_or("", String::as_str)),
            Some("--serve") => server(),
            _ => Err("usage: no_r --host <command>...".into()),
        }
    }

    /// Launches a daemon per command, prints their process ids, and stays.
    fn host(commands: &[String], forked: bool) -> Outcome {
        let home = std::env::var_os("R_HOME").unwrap_or("/nowhere".into());
        let mut config = LauncherConfig::new(home);
        config.binary = std::env::var_os(BINARY).map(PathBuf::from);
        if config.binary.is_none() {
            let program = std::env::current_exe()?.to_string_lossy().into_owned();
            config.server_command = Some(vec![program]);
        }
        let launcher = Launcher::new(config);
        let own = std::process::id().to_string();
        let request = LaunchRequest {
            context: Context::capture(Vec::new(), Some("/nowhere/mirai".into()))?,
            daemons: commands.iter().map(|c| c.replace("HOST", &own)).collect(),
        };
        let (news, received) = mpsc::channel();
        let handler = Arc::new(move |event| drop(news.send(event)));
        launcher.launch(request, handler)?;
        if forked {
            leave_copy()?;
        }
        for event in received {
            match event {
                DaemonEvent::Started { pid, .. } => println!("{pid}"),
                DaemonEvent::Exited { pid, status, .. } => println!("{pid}: {status}"),
                DaemonEvent::Late { pid, .. } => println!("{pid} is late"),
                DaemonEvent::Failed { failure, .. } => return Err(Box::new(failure)),
            }
        }
        Ok(())
    }

    /// At a first byte from stdin, forks a copy of this process, as `parallel` does, that stays
    /// until the end of stdin. Prints its process id.
    fn leave_copy() -> Outcome {
        let mut byte = [0];
        std::io::stdin().read_exact(&mut byte)?;
        // SAFETY: the copy does nothing but to read from a descriptor.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            // SAFETY: the byte is there to be written; ends the copy of this process.
            unsafe {
                libc::read(0, byte.as_mut_ptr().cast(), 1);
                libc::_exit(0)
            }
        }
        println!("{copy}");
        Ok(())
    }

    fn server() -> Outcome {
        let start = std::env::var(START).unwrap_or_default();
        if start == "unusable" {
            return Err("no R here".into());
        }
        let booted = boot(Path::new("/nowhere"), "the server")?;
        booted.starting(Some(&R_TEMPDIR))?;
        match start.as_str() {
            "hangs" => hang()?,
            "fails" => {
                println!("to stdout");
                eprintln!("to stderr");
                std::process::exit(3);
            }
            "threads" => drop(std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            })),
            "no room" => run_out_of_processes()?,
            "stops again" => stop_when_resumed(),
            _ => {}
        }
        let loaded = std::env::var_os("NO_R_LOADED").map(Into::into);
        match serve_forks(SERVER_FD, loaded.into_iter().collect())? {
            Served::Finished => Ok(()),
            Served::Child { code } => daemon(&code),
        }
    }

    /// What R does when it makes its folder, and then runs an endless start-up file.
    fn hang() -> Outcome {
        let path = std::env::var(TEMPDIR)?;
        fs::create_dir(&path)?;
        let text = CString::new(path.as_str())?;
        R_TEMPDIR.store(text.into_raw(), Ordering::Relaxed);
        let draft = format!("{path}/draft");
        fs::write(&draft, std::process::id().to_string())?;
        fs::rename(draft, format!("{path}/pid"))?;
        loop {
            std::hint::spin_loop();
        }
    }

    /// The limit does not hold for the superuser.
    fn run_out_of_processes() -> Outcome {
        let limit = Rlimit {
            current: Some(1),
            maximum: Some(1),
        };
        setrlimit(Resource::Nproc, limit)?;
        if rustix::process::geteuid().is_root() {
            // No other process is likely to run as this user.
            let user = rustix::process::Uid::from_raw(54_321);
            rustix::thread::set_thread_res_uid(user, user, user)?;
        }
        Ok(())
    }

    /// A daemon as `Rscript` would start it.
    fn rscript(command: &str) -> Outcome {
        println!("early");
        eprintln!("early too");
        if command == "exit 7" {
            return daemon(command);
        }
        adopt_stdio()?;
        daemon(command)
    }

    fn daemon(command: &str) -> Outcome {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "exit" => std::process::exit(rest.split(' ').next().unwrap_or("").parse()?),
            "sleep" => loop {
                std::thread::park();
            },
            "follow" => follow(rest.parse()?),
            "print" => {
                println!("{rest}");
                Ok(())
            }
            "show" => {
                show(rest)?;
                daemon("sleep")
            }
            "parent" => {
                let child = std::process::Command::new("sleep").arg("600").spawn()?;
                let new = format!("{rest}.new");
                fs::write(&new, format!("child={}\n", child.id()))?;
                fs::rename(new, rest)?;
                daemon("sleep")
            }
            "folder" => {
                let (path, then) = rest.split_once(' ').ok_or("no command")?;
                fs::create_dir_all(path)?;
                report_tempdir(Path::new(path))?;
                daemon(then)
            }
            _ => Err(format!("what is '{command}'?").into()),
        }
    }

    extern "C" fn stop_again(_: std::ffi::c_int) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }

    /// Whoever stops this process stops it for good.
    #[allow(unsafe_code)]
    fn stop_when_resumed() {
        // SAFETY: the handler does nothing but a system call.
        unsafe {
            libc::signal(
                libc::SIGCONT,
                stop_again as extern "C" fn(_) as libc::sighandler_t,
            )
        };
    }

    fn follow(pid: i32) -> Outcome {
        let pid = Pid::from_raw(pid).ok_or("no process")?;
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(());
        };
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None)?;
        Ok(())
    }

    /// Appears whole: whoever waits for the file may read it at once.
    fn show(path: &str) -> Outcome {
        let mut text = String::new();
        let status = fs::read_to_string("/proc/self/status")?;
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.unwrap_or_default().to_owned()
        };
        let pid = rustix::process::getpid().as_raw_nonzero();
        let group = rustix::process::getpgrp().as_raw_nonzero();
        let session = rustix::process::getsid(None)?.as_raw_nonzero();
        writeln!(text, "leads={}", pid == group && pid == session)?;
        writeln!(text, "{}", of("PPid:").replace(":\t", "="))?;
        writeln!(text, "{}", of("SigBlk:").replace(":\t", "="))?;
        writeln!(text, "{}", of("SigIgn:").replace(":\t", "="))?;
        writeln!(text, "{}", of("SigCgt:").replace(":\t", "="))?;
        let mut open = Vec::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            let target = fs::read_link(entry.path())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // The folder being read is not of interest.
            if !target.starts_with("/proc") {
                open.push((name.parse::<i32>()?, target));
            }
        }
        open.sort();
        for (number, target) in open {
            writeln!(text, "fd{number}={}", target.display())?;
        }
        for (name, value) in std::env::vars() {
            writeln!(text, "env.{name}={value}")?;
        }
        let draft = format!("{path}.draft");
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, path)?)
    }
}
