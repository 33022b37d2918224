//! Where what is started comes from.

use std::path::PathBuf;

/// Where R and the program `mirai-daemon` are.
#[derive(Debug, Clone)]
pub struct LauncherConfig {
    /// `R.home()`.
    pub r_home: PathBuf,
    /// The program `mirai-daemon`. `None`, or one that is not there or may not be executed:
    /// daemons are started by `Rscript`.
    pub binary: Option<PathBuf>,
    /// Program and first arguments that start a fork server, in place of
    /// `<r_home>/bin/R CMD <binary>`. The arguments of `mirai-daemon` follow them.
    pub server_command: Option<Vec<String>>,
    /// Program and first arguments in place of `<r_home>/bin/Rscript`.
    pub rscript_command: Option<Vec<String>>,
}

impl LauncherConfig {
    /// The R installation at `r_home`, with no fork server.
    pub fn new(r_home: impl Into<PathBuf>) -> Self {
        Self {
            r_home: r_home.into(),
            binary: None,
            server_command: None,
            rscript_command: None,
        }
    }
}
