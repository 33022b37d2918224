//! Launching daemons on this machine, and being the process that forks them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirai_hub::{ErrorCode, OutOfFiles, check_room_for};
use mirai_launcher::{
    Context, LaunchError, LaunchRequest, Served, adopt_stdio as adopt,
    discarded_output as discarded, give_up_tempdir as give_up, note_kills,
    report_tempdir as report,
};
use parking_lot::Mutex;

use crate::absent::Absent;
use crate::healer::News;
use crate::hub::{SessionHub, wait_until};
use crate::launchers::{launcher, with_launcher};
use crate::rapi::{Failure, Handle, Scope, Sexp};
use crate::sys::signals;
use crate::watcher::Watcher;

/// What has become of the daemons of one launch.
struct Ticket {
    /// Number of daemons that had ever joined the hub at the time.
    before: u64,
    absent: Arc<Mutex<Absent>>,
}

impl Handle for Ticket {
    const NAME: &'static str = "launch ticket";
}

/// Entry: launches daemons, one for each of the R calls, from the state that the session has now. Returns at once, with a
/// ticket for `hub_wait_connected`. In a hub of mode `"single"`, a daemon that does not come costs the task that has
/// waited longest. `package_path` is the folder that mirai was loaded from. `is_awaited`: the caller waits for all of them,
/// and says what has become of them; else users are told as it turns out.
pub(crate) fn launch<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    calls: Sexp<'r>,
    libpaths: Sexp<'r>,
    package_path: Sexp<'r>,
    is_awaited: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let daemons = calls.strings(scope, "calls")?;
    let is_awaited = is_awaited.flag(scope, "is_awaited")?;
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    let hub = SessionHub::open(scope, hub)?;

    check_room_for(daemons.len() as u64).map_err(out_of_files)?;
    let (context, package) = captured(scope, session_hub, libpaths, package_path)?;
    let healer = session_hub.healer.borrow().clone();
    session_hub.note_launching(&hub, daemons.len() as u64);
    let ticket = Ticket {
        before: hub.counts().cumulative,
        absent: Arc::default(),
    };
    let watcher = Watcher {
        hub: hub.handle(),
        absent: vec![Arc::clone(&ticket.absent), Arc::clone(&session_hub.absent)],
        is_awaited,
        is_single: session_hub.is_single,
        healer,
    };
    let count = daemons.len() as u64;
    hub.handle().starting(count);
    let launched = with_launcher(&package, |launcher| {
        let request = LaunchRequest { context, daemons };
        launcher.launch(request, Arc::new(move |event| watcher.take(event)))
    });
    let launch = match launched {
        Ok(Ok(launch)) => launch,
        failed => {
            hub.handle().not_starting(count);
            if let Some(healer) = session_hub.healer.borrow().as_ref()
                && !session_hub.is_relaunching.get()
            {
                healer.tell(News::NotLaunched(count));
            }
            return Err(failed?.map_or_else(Failure::from, |_| Failure::coded(ErrorCode::ABORTED)));
        }
    };
    session_hub.note_launch(launch);
    Ok(scope.pointer(ticket, None)?)
}

/// What daemons start from: the state that the session has now, and the folder of the package.
pub(crate) fn captured<'r>(
    scope: &'r Scope,
    session_hub: &SessionHub,
    libpaths: Sexp<'r>,
    package_path: Sexp<'r>,
) -> Result<(Context, PathBuf), Failure> {
    let libpaths = libpaths
        .strings(scope, "libpaths")?
        .into_iter()
        .map(PathBuf::from)
        .collect();
    let package = PathBuf::from(package_path.string(scope, "package_path")?);
    let mut context = Context::capture(libpaths, installed(&package)).map_err(|error| {
        Failure::error(format!(
            "daemons cannot start in the working directory: {error}; setwd() to one that is there"
        ))
    })?;
    context.known_by(launcher());
    session_hub.token_variable.apply(&mut context);
    note_kills();
    Ok((context, package))
}

fn out_of_files(error: OutOfFiles) -> Failure {
    Failure::coded_with(ErrorCode::OUT_OF_FILES, &error)
}

/// The folder of the package, if it is an installed one: a daemon cannot load it from source.
fn installed(package: &Path) -> Option<PathBuf> {
    package
        .join("Meta/package.rds")
        .exists()
        .then(|| package.to_owned())
}

/// Entry: waits until `n` daemons have connected since a launch, or as many have connected or been lost, or `patience` (in
/// seconds, `NULL` without end) is over. A list: their numbers, `connected` at most `n` and `failed`, and why the first one
/// was lost (`reason`) and how to see it (`command`).
pub(crate) fn hub_wait_connected<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    n: Sexp<'r>,
    ticket: Sexp<'r>,
    patience: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let n = n.count(scope, "n")?;
    let ticket: &Ticket = ticket.handle(scope, "ticket")?;
    let patience = match patience.is_null() {
        true => None,
        false => Some(patience.seconds(scope, "patience")?),
    };
    let mut connected = 0;
    wait_until(scope, hub, patience, |hub| {
        connected = hub.counts().cumulative.saturating_sub(ticket.before);
        connected + ticket.absent.lock().count >= n
    })?;
    let absent = ticket.absent.lock().clone();
    absent.outcome(scope, connected.min(n))
}

/// Entry: runs the fork server at descriptor `fd` until it is over: `NULL`. Returns in each forked child too, with a list
/// of the R `code` to run. `loaded` are files of loaded packages, whose change makes the host start a new server.
pub(crate) fn serve_forks<'r>(
    scope: &'r Scope,
    fd: Sexp<'r>,
    loaded: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let fd = i32::try_from(fd.count(scope, "fd")?)
        .map_err(|_| Failure::error("`fd` must be a descriptor"))?;
    let loaded = loaded
        .strings(scope, "loaded")?
        .into_iter()
        .map(PathBuf::from)
        .collect();
    let served = mirai_launcher::serve_forks(fd, loaded);
    signals::forget_all();
    match served.map_err(|error| Failure::error(error.to_string()))? {
        Served::Finished => Ok(scope.null()),
        Served::Child { code } => {
            let code = [scope.string(&code)?];
            Ok(scope.named_list(&["code"], &code)?)
        }
    }
}

/// Entry: in the fork server, puts a file in the place of its temporary folder: the name is not free for others to take.
pub(crate) fn give_up_tempdir<'r>(scope: &'r Scope, path: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let path = path.path(scope, "path")?;
    give_up(&path).map_err(|error| {
        let path = path.display();
        Failure::error(format!(
            "the temporary folder {path} cannot make way for those of daemons: {error}"
        ))
    })?;
    Ok(scope.null())
}

/// Entry: in a forked daemon, tells the server which folder to remove if this process cannot.
pub(crate) fn report_tempdir<'r>(scope: &'r Scope, path: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let path = path.path(scope, "path")?;
    report(&path).map_err(|error| Failure::error(error.to_string()))?;
    Ok(scope.null())
}

/// Entry: in a forked daemon, the path of the file for what it discards, whose last lines are told when it has died; `NULL`
/// elsewhere.
pub(crate) fn discarded_output(scope: &Scope) -> Result<Sexp<'_>, Failure> {
    match discarded() {
        Some(path) => Ok(scope.string(&path.to_string_lossy())?),
        None => Ok(scope.null()),
    }
}

/// In a daemon that has connected: its output is the host's from now on.
pub(crate) fn adopt_stdio() {
    if let Err(error) = adopt() {
        log::error!("output stays where it was: {error}");
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Failure {
        match error {
            LaunchError::ForkedCopy => Failure::Forked("launcher"),
            // Another error says more than its code.
            LaunchError::Io(error) if ErrorCode::of_io(&error) == ErrorCode::OUT_OF_FILES => {
                Failure::coded_with(ErrorCode::OUT_OF_FILES, &error)
            }
            error => Failure::error(error.to_string()),
        }
    }
}
