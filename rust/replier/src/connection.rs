//! The Unix socket: listening at it, and letting in this process alone.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A listening socket; a file goes away with it.
#[derive(Debug)]
pub(crate) struct Entrance {
    listener: UnixListener,
    url: String,
    file: Option<PathBuf>,
}

impl Entrance {
    /// Listens at a name that nobody can guess, or, where there are no abstract sockets, at a file in `folder`, which other
    /// users must not be able to enter.
    #[cfg(target_os = "linux")]
    pub(crate) fn open(name: &str, _folder: &Path) -> io::Result<Entrance> {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        Ok(Entrance {
            listener: UnixListener::bind_addr(&address)?,
            url: format!("abstract://{name}"),
            file: None,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn open(name: &str, folder: &Path) -> io::Result<Entrance> {
        let file = folder.join(name);
        Ok(Entrance {
            listener: UnixListener::bind(&file)?,
            url: format!("ipc://{}", file.display()),
            file: Some(file),
        })
    }

    /// As NNG writes it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The next connection of this process; others are closed.
    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept()?;
            if is_own(&stream) {
                return Ok(stream);
            }
            log::info!("a connection of another process was refused");
        }
    }

    /// Wakes the thread that accepts, by a connection that says nothing.
    #[cfg(target_os = "linux")]
    pub(crate) fn wake(url: &str) {
        use std::os::linux::net::SocketAddrExt;
        let name = url.trim_start_matches("abstract://");
        if let Ok(address) = std::os::unix::net::SocketAddr::from_abstract_name(name) {
            let _ = UnixStream::connect_addr(&address);
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn wake(url: &str) {
        let _ = UnixStream::connect(url.trim_start_matches("ipc://"));
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(target_os = "linux")]
fn is_own(stream: &UnixStream) -> bool {
    mirai_lanes::peer_pid(stream) == Some(std::process::id())
}

/// The folder keeps out others; processes of the same user are not told apart.
#[cfg(not(target_os = "linux"))]
fn is_own(_stream: &UnixStream) -> bool {
    true
}
