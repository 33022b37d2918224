//! The first moments of `mirai-daemon`, before it loads R.

use crate::channel::{self, Received};
use crate::message::{FromServer, ToServer};
use crate::quote::SERVER_FD;
use crate::sys::{early_end, linux as sys};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString, c_char};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicPtr;
use thiserror::Error;

/// Variables that `R CMD` sets and a fresh `Rscript` does not, besides those of `etc/Renviron`.
const OF_R_CMD: [&str; 6] = [
    "R_CMD",
    "R_VERSION",
    "R_OSTYPE",
    "TEXINPUTS",
    "BIBINPUTS",
    "BSTINPUTS",
];

/// In `etc/Renviron` too, but set by `bin/R` already.
const OF_R: [&str; 1] = ["SED"];

/// A fork server that is starting.
#[derive(Debug)]
pub struct Boot {
    socket: OwnedFd,
}

/// Errors of [`boot`] and [`Boot::starting`].
#[derive(Debug, Error)]
pub enum BootError {
    /// The program was started by something other than a launcher.
    #[error("stdin is not a launcher's socket")]
    NotStarted,
    /// The host sent an unexpected message.
    #[error("unexpected message from the host")]
    Protocol,
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Takes over what the launcher passed on: the socket moves from stdin to
/// [`SERVER_FD`](crate::SERVER_FD), stdin becomes empty, the environment becomes what
/// `r_home/bin/R` alone would have made of the host's, and the command line shows `title`.
///
/// From here until [`serve_forks`](crate::serve_forks), the process ends by itself when the launcher's does.
///
/// Call it first in the program, on its only thread.
///
/// # Errors
/// When the program was not started by a launcher, or the launcher is gone.
pub fn boot(r_home: &Path, title: &str) -> Result<Boot, BootError> {
    sys::restore_sigpipe();
    let socket = sys::move_stdin(SERVER_FD)?.ok_or(BootError::NotStarted)?;
    early_end::arm(socket.as_fd())?;
    match channel::receive(&socket, true)? {
        Received::Message(ToServer::Boot, mut files) if files.len() == 1 => {
            restore_environment(r_home, files.remove(0).into())?;
        }
        _ => return Err(BootError::Protocol),
    }
    // Without /proc the command line stays as it is.
    let _ = sys::set_title(title);
    Ok(Boot { socket })
}

impl Boot {
    /// Tells the host that the program can run R, and leaves the socket to
    /// [`serve_forks`](crate::serve_forks). Later failures are those of the user's start-up files.
    ///
    /// `tempdir` is R's variable for the path of its temporary folder, null while there is none:
    /// the folder goes with a process that ends before R is up.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn starting(self, tempdir: Option<&'static AtomicPtr<c_char>>) -> Result<(), BootError> {
        if let Some(tempdir) = tempdir {
            early_end::set_tempdir(tempdir);
        }
        channel::send(self.socket.as_fd(), &FromServer::Booting, &[])?;
        // Stays open under its number, which the R code knows.
        let _ = self.socket.into_raw_fd();
        Ok(())
    }
}

fn restore_environment(r_home: &Path, mut file: File) -> io::Result<()> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let host: HashMap<&OsStr, &OsStr> = bytes.split(|byte| *byte == 0).filter_map(pair).collect();
    let renviron = fs::read(r_home.join("etc/Renviron")).unwrap_or_default();
    for name in touched_by_r_cmd(&renviron) {
        sys::set_variable(&name, host.get(name.as_os_str()).copied());
    }
    // `R CMD` runs in `sh`, which drops names that it could not write itself.
    for (name, value) in host {
        if std::env::var_os(name).is_none() {
            sys::set_variable(name, Some(value));
        }
    }
    Ok(())
}

fn pair(text: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let at = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&text[..at], &text[at + 1..]);
    Some((OsStr::from_bytes(name), OsStr::from_bytes(value)))
}

/// `R CMD` exports every variable that is set in `etc/Renviron`, for R to find it set.
fn touched_by_r_cmd(renviron: &[u8]) -> Vec<OsString> {
    let listed = renviron.split(|byte| *byte == b'\n').filter_map(|line| {
        let (name, _) = pair(line.trim_ascii_start())?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        name.as_bytes().iter().all(plain).then_some(name)
    });
    listed
        .chain(OF_R_CMD.map(OsStr::new))
        .filter(|name| !name.is_empty() && OF_R.iter().all(|own| name != own))
        .map(OsStr::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renviron_names_are_found_past_comments() {
        let file = b"# A=1\n  PAGER=${PAGER-'less'}\nSED=x\n## x y\nR_LIBS_SITE=a=b\nnot one\n";
        let names = touched_by_r_cmd(file);
        assert_eq!(names[..2], ["PAGER", "R_LIBS_SITE"]);
        assert_eq!(names[2..], OF_R_CMD);
    }
}
