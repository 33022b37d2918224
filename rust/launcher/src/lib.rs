//! Starts the R processes that become daemons on this machine.
//!
//! Booting R takes a good tenth of a second, so daemons are *forked, not booted*: the program
//! `mirai-daemon` of this package embeds R, starts it once as a fresh `Rscript` would start
//! (start-up files, library paths, working directory and environment of the host), loads
//! mirai, and forks a daemon in about a millisecond whenever the host asks for one. Where that
//! cannot be, `Rscript -e 'mirai::daemon(…)'` does the same job.
//!
//! This library holds both ends: [`Launcher`] for the host's R session, [`serve_forks`] for the R
//! process in `mirai-daemon`, and [`report_tempdir`] and [`adopt_stdio`] for the daemons. It
//! knows neither R's C interface nor the hub: what it hands on is R code as text, and what it
//! tells is [`DaemonEvent`]s. A process being there says nothing about its connection, which
//! is for the hub to see.
//!
//! # The host
//!
//! ```no_run
//! use mirai_launcher::{Context, DaemonEvent, LaunchRequest, Launcher, LauncherConfig};
//! use std::path::PathBuf;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = LauncherConfig::new("/usr/lib/R");       // R.home()
//! config.binary = Some("/library/mirai/bin/mirai-daemon".into());
//! let launcher = Launcher::new(config);
//!
//! // On R's main thread, at each launch: the session's state is read here and now.
//! let package = Some(PathBuf::from("/library/mirai"));      // None if loaded from source
//! let context = Context::capture(vec!["/library".into()], package)?;
//! let daemons = vec![r#"mirai::daemon("abstract://a1b2c3")"#.to_owned(); 4];
//! // Returns at once; the events arrive on threads of the launcher.
//! launcher.launch(
//!     LaunchRequest { context, daemons },
//!     Arc::new(|event| match event {
//!         DaemonEvent::Started { .. } => {}
//!         DaemonEvent::Exited { pid, status, .. } => eprintln!("{pid} ended with {status}"),
//!         DaemonEvent::Failed { failure, .. } => eprintln!("{failure}\n{}", failure.output),
//!         DaemonEvent::Late { pid, .. } => eprintln!("{pid} does not answer"),
//!     }),
//! )?;
//! # Ok(())
//! # }
//! ```
//!
//! Threads of the launcher run code of this library until their processes have ended, so the
//! shared library that holds it must not be unloaded.
//!
//! # Elsewhere
//!
//! Daemons on other machines are started by commands of the user's: an [`Errand`] is one of these, and a [`Job`] what it has
//! handed to a scheduler.
//!
//! # The fork server
//!
//! It is started as `R CMD mirai-daemon … -e <script>`, where the script is this one line (see
//! [`server_script`]; `3` is [`SERVER_FD`]):
//!
//! ```r
//! {.libPaths(c("/library"));loadNamespace("mirai",lib.loc="/library");mirai:::serve_forks(3L)}
//! ```
//!
//! `mirai:::serve_forks(fd)` prepares the R process for being forked, then calls [`serve_forks`] by
//! way of `.Call`. In the server that returns [`Served::Finished`] at the very end; in each
//! forked child it returns [`Served::Child`] with the R code to run. In R terms:
//!
//! ```r
//! serve_forks <- function(fd) {
//!   # … puts away what daemons must not have in common: a folder, a random seed
//!   loaded <- file.path(find.package(loadedNamespaces()), "DESCRIPTION")
//!   child <- .Call(wrap__serve_forks, fd, loaded)  # NULL in the server
//!   if (is.null(child)) return(invisible())
//!   # … makes a folder and tells the server where, by report_tempdir()
//!   status <- tryCatch({eval(parse(text = child$code), globalenv()); 0L}, error = function(e) 1L)
//!   quit("no", status = status, runLast = FALSE)
//! }
//! ```
//!
//! `loaded` are files of the packages that the server has loaded: once one of them changes, it is no
//! longer what a fresh process would be, and serves no more launches.
//!
//! Until [`serve_forks`] is called, user code may run for ever in R's start-up: a signal of the kernel's
//! ends the process with its host, and R's temporary folder with it. From then on [`serve_forks`] sees
//! to that itself.
//!
//! An R error in a child ends the process with status 1, as it does under `Rscript`, after its
//! message.
//!
//! # The daemon
//!
//! `mirai::daemon()` calls [`adopt_stdio`] on the main thread as soon as it is connected, and
//! before any task: until then, what a daemon started by `Rscript` writes is kept for the
//! report of a failed start. In a forked daemon that does nothing.

#![deny(unsafe_code)]

mod batch;
mod child;
mod config;
mod context;
mod errand;
mod event;
mod job;
mod launcher;
mod memory_kills;
mod printable;
mod quote;
mod rscript;
mod secrets;
mod serve_forks;
mod served;
mod sys;

#[cfg(target_os = "linux")]
mod boot;
#[cfg(target_os = "linux")]
mod channel;
#[cfg(target_os = "linux")]
mod fork_server;
#[cfg(target_os = "linux")]
mod message;
#[cfg(target_os = "linux")]
mod orphans;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod tail;
#[cfg(target_os = "linux")]
mod temporary;
mod turns;

// Elsewhere the pool is one without fork servers.
#[cfg_attr(not(target_os = "linux"), path = "pool_rscript.rs")]
mod pool;

pub use batch::{EventHandler, LaunchId};
#[cfg(target_os = "linux")]
pub use boot::{Boot, BootError, boot};
pub use child::{
    ChildError, adopt_stdio, discarded_output, give_up_tempdir, hide_arguments, note_memory,
    note_quitting, report_tempdir, shorten_discarded_output, take_known_by,
};
pub use config::LauncherConfig;
pub use context::Context;
pub use errand::{Errand, ErrandEvent, RunningErrand};
pub use event::{DaemonEvent, ExitStatus, FailureReason, LATE, LaunchError, LaunchFailure};
pub use job::{Job, JobPart, JobState, Scheduler};
pub use launcher::{LaunchRequest, Launcher};
pub use memory_kills::{kill_by_system, note_kills};
pub use printable::printable;
pub use quote::{SERVER_FD, server_script};
pub use secrets::{is_secret_name, without_secrets};
pub use serve_forks::serve_forks;
pub use served::{ServeError, Served};
pub use turns::Turns;
