//! What a fresh `Rscript` would have seen: the state of the R session that a launch depends
//! on, and the key by which a running fork server is found fit for it.

use crate::sys::Inherited;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The environment variable with the number that identifies a daemon.
pub(crate) const LAUNCHER_VARIABLE: &str = "MIRAI_LAUNCHER";

/// The state of the host's R session that its daemons start from.
#[derive(Debug, Clone)]
pub struct Context {
    /// All environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// The working directory.
    pub working_dir: PathBuf,
    /// `.libPaths()`.
    pub library_paths: Vec<PathBuf>,
    /// The folder of the installed package mirai that the host has loaded. `None` when it was
    /// loaded from source: then daemons are started by `Rscript`, from what is installed.
    pub package: Option<PathBuf>,
}

/// The error of a working directory that is gone, with the name that it had.
fn name_lost(error: &io::Error) -> io::Error {
    let link = std::fs::read_link("/proc/self/cwd").unwrap_or_default();
    let link = link.to_string_lossy();
    let name = link.strip_suffix(" (deleted)");
    let text = name.map_or(error.to_string(), |name| format!("`{name}` is gone"));
    io::Error::new(error.kind(), text)
}

impl Context {
    /// Takes environment and working directory from the running process.
    ///
    /// Call it on R's main thread only: `Sys.setenv()` changes the environment there without
    /// any lock.
    ///
    /// # Errors
    /// When the working directory no longer exists.
    pub fn capture(library_paths: Vec<PathBuf>, package: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            environment: std::env::vars_os().collect(),
            working_dir: std::env::current_dir().map_err(|error| name_lost(&error))?,
            library_paths,
            package,
        })
    }

    /// Sets the number, not 0, by which daemons started with this context identify themselves: see
    /// [`take_known_by`](crate::take_known_by).
    pub fn known_by(&mut self, launcher: u64) {
        let number = launcher.to_string();
        self.set(LAUNCHER_VARIABLE, Some(OsStr::new(&number)));
    }

    /// Sets an environment variable, or removes it. A value that it has already stays where it is.
    pub fn set(&mut self, name: &str, value: Option<&OsStr>) {
        if self.variable(name) == value {
            return;
        }
        self.environment.retain(|(other, _)| other != name);
        if let Some(value) = value {
            self.environment.push((name.into(), value.to_owned()));
        }
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// The files R reads as it starts, and those of the package mirai.
    fn start_up_files(&self, r_home: &Path) -> Vec<PathBuf> {
        let etc = r_home.join("etc");
        let home = self.variable("HOME").map(PathBuf::from);
        let mut files: Vec<PathBuf> = ["Rprofile.site", "Renviron.site", "Renviron", "ldpaths"]
            .map(|name| etc.join(name))
            .into();
        for name in ["R_ENVIRON", "R_ENVIRON_USER", "R_PROFILE", "R_PROFILE_USER"] {
            if let Some(value) = self.variable(name) {
                files.push(self.working_dir.join(expand_tilde(value, home.as_deref())));
            }
        }
        for name in [".Rprofile", ".Renviron"] {
            files.push(self.working_dir.join(name));
            files.extend(home.as_ref().map(|home| home.join(name)));
        }
        if let Some(package) = &self.package {
            files.push(package.join("DESCRIPTION"));
            files.push(package.join("libs"));
            files.push(package.join("libs/mirai.so"));
        }
        files
    }
}

fn expand_tilde(path: &OsStr, home: Option<&Path>) -> PathBuf {
    let path = Path::new(path);
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_path_buf(),
    }
}

/// Distinguishes versions of a file; a file that does not exist has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    seconds: u64,
    nanos: u32,
    bytes: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self {
            seconds: since.as_secs(),
            nanos: since.subsec_nanos(),
            bytes: metadata.len(),
        })
    }
}

/// Variables that follow the terminal's size, and do not matter to a start-up.
const IGNORED: [&str; 2] = ["LINES", "COLUMNS"];

/// Two launches with equal keys can be served by one fork server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerKey {
    environment: BTreeMap<OsString, OsString>,
    working_dir: PathBuf,
    library_paths: Vec<PathBuf>,
    package: Option<PathBuf>,
    inherited: Inherited,
    files: Vec<(PathBuf, Option<Stamp>)>,
}

impl ServerKey {
    pub(crate) fn of(context: &Context, r_home: &Path) -> Self {
        let environment = context
            .environment
            .iter()
            .filter(|(name, _)| IGNORED.iter().all(|ignored| name != ignored))
            .cloned()
            .collect();
        Self {
            environment,
            working_dir: context.working_dir.clone(),
            library_paths: context.library_paths.clone(),
            package: context.package.clone(),
            inherited: Inherited::of(&context.working_dir),
            files: stamped(context.start_up_files(r_home)),
        }
    }
}

/// Each file with its present stamp.
pub(crate) fn stamped(files: Vec<PathBuf>) -> Vec<(PathBuf, Option<Stamp>)> {
    files
        .into_iter()
        .map(|file| {
            let stamp = Stamp::of(&file);
            (file, stamp)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(folder: &Path) -> Context {
        Context {
            environment: vec![("HOME".into(), folder.into()), ("A".into(), "1".into())],
            working_dir: folder.to_path_buf(),
            library_paths: vec!["/lib".into()],
            package: Some(folder.join("mirai")),
        }
    }

    #[test]
    fn the_key_follows_what_a_fresh_session_would_see() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let context = context(folder.path());
        let key = || ServerKey::of(&context, Path::new("/r"));
        let changed = |change: &dyn Fn(&mut Context)| {
            let mut other = context.clone();
            change(&mut other);
            ServerKey::of(&other, Path::new("/r")) != key()
        };
        assert_eq!(key(), key());
        assert!(!changed(&|c| c
            .environment
            .push(("LINES".into(), "9".into()))));
        assert!(!changed(&|c| c
            .environment
            .push(("COLUMNS".into(), "9".into()))));
        assert!(!changed(&|c| c.environment.reverse()));
        assert!(changed(&|c| c.environment.push(("B".into(), "".into()))));
        assert!(changed(&|c| c.working_dir.push("x")));
        assert!(changed(&|c| c.library_paths.push("/more".into())));
        assert!(changed(&|c| c.package = None));
    }

    #[test]
    fn the_key_follows_start_up_files() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut context = context(folder.path());
        context
            .environment
            .push(("R_PROFILE_USER".into(), "~/own.R".into()));
        let key = || ServerKey::of(&context, Path::new("/r"));
        for name in [".Rprofile", ".Renviron", "own.R"] {
            let before = key();
            fs::write(folder.path().join(name), "x <- 1").expect("a file");
            assert_ne!(before, key(), "{name} made");
            let before = key();
            fs::write(folder.path().join(name), "x <- 1 + 1").expect("a file");
            assert_ne!(before, key(), "{name} changed");
        }
    }
}
