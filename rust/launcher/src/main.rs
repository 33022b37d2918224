//! `mirai-daemon`: R in the shape of a fork server.
//!
//! A launcher starts it as `R CMD mirai-daemon --serve --room=… -e <R code>`, where the R code
//! ends in `mirai:::serve_forks(3L)`. Run by hand without `--serve`, it is an `Rscript -e`.

#[cfg(target_os = "linux")]
mod embed;

#[cfg(target_os = "linux")]
fn main() {
    std::process::exit(linux::run());
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("mirai-daemon: fork servers are not supported on this platform");
    std::process::exit(EXIT_UNUSABLE);
}

/// Ended before R was started.
const EXIT_UNUSABLE: i32 = 70;

#[cfg(target_os = "linux")]
mod linux {
    use crate::EXIT_UNUSABLE;
    use crate::embed::{EmbedError, R};
    use mirai_launcher::{BootError, boot};
    use std::ffi::NulError;
    use std::path::PathBuf;
    use thiserror::Error;

    #[derive(Debug, Error)]
    enum Failure {
        #[error("usage: R CMD mirai-daemon [--serve] [--room=<any text>] -e <R code>")]
        Usage,
        #[error("R_HOME is not set: start it by 'R CMD'")]
        NoHome,
        #[error(transparent)]
        Boot(#[from] BootError),
        #[error(transparent)]
        Embed(#[from] EmbedError),
        #[error("the R code holds a zero byte")]
        Code(#[from] NulError),
    }

    struct Arguments {
        serve: bool,
        code: String,
    }

    pub(crate) fn run() -> i32 {
        let Err(failure) = start();
        eprintln!("mirai-daemon: {failure}");
        EXIT_UNUSABLE
    }

    /// Returns only when R was not started.
    fn start() -> Result<std::convert::Infallible, Failure> {
        let arguments = arguments().ok_or(Failure::Usage)?;
        let home = std::env::var_os("R_HOME").ok_or(Failure::NoHome)?;
        let home = PathBuf::from(home);
        let booted = if arguments.serve {
            let title = format!("mirai-daemon -e {}", arguments.code);
            Some(boot(&home, &title)?)
        } else {
            None
        };
        let r = R::load(&home, &arguments.code)?;
        if let Some(booted) = booted {
            booted.starting(r.tempdir())?;
        }
        r.run()
    }

    fn arguments() -> Option<Arguments> {
        let mut given = std::env::args_os().skip(1).map(|word| word.into_string());
        let mut arguments = Arguments {
            serve: false,
            code: String::new(),
        };
        while let Some(word) = given.next() {
            match word.ok()?.as_str() {
                "--serve" => arguments.serve = true,
                "-e" => arguments.code = given.next()?.ok()?,
                room if room.starts_with("--room=") => {}
                _ => return None,
            }
        }
        (!arguments.code.is_empty()).then_some(arguments)
    }
}
