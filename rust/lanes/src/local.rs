//! The local lane: Unix stream sockets.

use std::future::poll_fn;
use std::io::{self, IoSlice};
#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net as std_net;
use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

#[cfg(target_os = "linux")]
use crate::Passed;
use crate::connection::Spoken;
use crate::descriptors::move_up;
#[cfg(target_os = "linux")]
use crate::peer::peer;
use crate::{Address, Connection, LaneError, Patience, Proof};

/// A daemon's end of a connection: blocking.
pub(crate) type Stream = std_net::UnixStream;

/// Length of the system's queue of connections that the hub has not accepted yet; further peers wait until there is a
/// place. A long queue would help strangers only: daemons wait behind all those who are in it.
const BACKLOG: i32 = 256;

/// A listening Unix socket. A socket file goes away with it.
#[derive(Debug)]
pub struct LocalListener {
    socket: UnixListener,
    address: Address,
    file: Option<PathBuf>,
}

impl LocalListener {
    /// Listens at `address`. A socket file that nobody listens at any more is replaced.
    pub(crate) fn bind(address: &Address) -> Result<Self, LaneError> {
        let os = |source| LaneError::Os {
            url: address.to_string(),
            source,
        };
        let (socket, file) = match address {
            Address::Abstract(name) => (bind_abstract(name).map_err(os)?, None),
            Address::Ipc(path) => {
                remove_stale(address, path);
                let socket = std_net::UnixListener::bind(path).map_err(os)?;
                restrict(path).map_err(os)?;
                (socket, Some(path.clone()))
            }
            Address::Network(_) => return Err(unsupported(address)),
        };
        let socket = std_net::UnixListener::from(move_up(socket.into()));
        socket.set_nonblocking(true).map_err(os)?;
        rustix::net::listen(&socket, BACKLOG).map_err(|error| os(error.into()))?;
        let socket = UnixListener::from_std(socket).map_err(os)?;
        Ok(LocalListener {
            socket,
            address: address.clone(),
            file,
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// By then the kernel has reported who the peer is.
    pub(crate) async fn accept(&mut self) -> Result<Spoken, LaneError> {
        let os = |source| LaneError::Os {
            url: self.address.to_string(),
            source,
        };
        let (stream, _) = self.socket.accept().await.map_err(os)?;
        // Some systems do not tell of a peer that has gone already.
        let peer = stream.peer_cred().map_err(|_| LaneError::Unproven)?;
        check_user(peer.uid())?;
        let stream = stream.into_std().map_err(os)?;
        let stream =
            UnixStream::from_std(std_net::UnixStream::from(move_up(stream.into()))).map_err(os)?;
        let pid = peer
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid != 0);
        let connection: Box<dyn Connection> = Box::new(LocalConnection { stream, pid });
        Ok(Box::pin(async move {
            // Whether it can be read from at all, who reads from it finds out.
            let _ = poll_fn(|cx| connection.poll_readable(cx)).await;
            Ok(Box::pin(std::future::ready(Ok(connection))) as Proof)
        }))
    }
}

fn unsupported(address: &Address) -> LaneError {
    LaneError::Unsupported {
        url: address.to_string(),
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(target_os = "linux")]
fn bind_abstract(name: &str) -> io::Result<std_net::UnixListener> {
    use std::os::linux::net::SocketAddrExt;
    std_net::UnixListener::bind_addr(&std_net::SocketAddr::from_abstract_name(name)?)
}

/// Connects; when the hub's queue is full, waits for `within` at most, and then fails with `WouldBlock`.
#[cfg(target_os = "linux")]
fn connect(address: &Address, within: Duration) -> io::Result<std_net::UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
    let at = match address {
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        Address::Ipc(path) => SocketAddrUnix::new(path)?,
        Address::Network(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Holds for connecting, too.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(within))?;
    rustix::net::connect(&socket, &at)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    Ok(socket.into())
}

/// Connects; other systems refuse at once when the hub's queue is full.
#[cfg(not(target_os = "linux"))]
fn connect(address: &Address, _: Duration) -> io::Result<std_net::UnixStream> {
    match address {
        Address::Ipc(path) => std_net::UnixStream::connect(path),
        Address::Abstract(_) | Address::Network(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn bind_abstract(_: &str) -> io::Result<std_net::UnixListener> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A socket file of a hub that was killed would make its address unusable for good.
fn remove_stale(address: &Address, path: &std::path::Path) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    // Where there is a queue, if a full one, somebody listens.
    if is_socket
        && let Err(error) = connect(address, Duration::from_millis(1))
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        let _ = std::fs::remove_file(path);
    }
}

/// Only the owner may connect; the uid check of `accept` holds besides.
fn restrict(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// Peers of another user are turned away; root may connect to anything on the machine anyhow.
fn check_user(uid: u32) -> Result<(), LaneError> {
    if uid == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(LaneError::Stranger { uid })
    }
}

/// A daemon's connection at the hub.
#[derive(Debug)]
struct LocalConnection {
    stream: UnixStream,
    pid: Option<u32>,
}

impl Connection for LocalConnection {
    crate::connection::reads_from_tokio!();

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.try_io(Interest::WRITABLE, || {
            send_flagged(&self.stream, parts, SendFlags::DONTWAIT)
        })
    }

    #[cfg(target_os = "linux")]
    fn passes(&self) -> bool {
        true
    }

    #[cfg(target_os = "linux")]
    fn try_write_passing(&self, parts: &[IoSlice<'_>], passed: &Passed) -> io::Result<usize> {
        self.stream.try_io(Interest::WRITABLE, || {
            send_passing(&self.stream, parts, passed)
        })
    }

    fn shutdown(&self) {
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
    }

    fn peer_pid(&self) -> Option<u32> {
        self.pid
    }

    fn notices_silence(&self) -> bool {
        true
    }
}

pub(crate) fn dial(
    address: &Address,
    patience: &mut Patience<'_>,
) -> Result<std_net::UnixStream, LaneError> {
    let os = |source| LaneError::Os {
        url: address.to_string(),
        source,
    };
    let stream = loop {
        let slice = patience.slice().map_err(|error| os(name_queue(error)))?;
        match connect(address, slice) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            done => break done.map_err(os)?,
        }
    };
    check_hub(address, &stream)?;
    Ok(stream)
}

/// The error of a wait that was given up.
fn name_queue(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(
            error.kind(),
            "the host takes no connection in: it is stuck, or too many others wait there",
        ),
        _ => error,
    }
}

/// A daemon evaluates whatever its hub sends: the hub has to belong to the same user.
#[cfg(target_os = "linux")]
fn check_hub(address: &Address, stream: &std_net::UnixStream) -> Result<(), LaneError> {
    let hub = peer(stream).map_err(|source| LaneError::Os {
        url: address.to_string(),
        source,
    })?;
    check_user(hub.uid)
}

/// Where the socket cannot be asked, the owner of its file stands for the hub.
#[cfg(not(target_os = "linux"))]
fn check_hub(address: &Address, _: &std_net::UnixStream) -> Result<(), LaneError> {
    use std::os::unix::fs::MetadataExt;
    let Address::Ipc(path) = address else {
        return Ok(());
    };
    let owner = std::fs::metadata(path)
        .map_err(|source| LaneError::Os {
            url: address.to_string(),
            source,
        })?
        .uid();
    check_user(owner)
}

/// Process id of the hub at the other end, where the system tells it.
#[cfg(target_os = "linux")]
pub(crate) fn hub_pid(stream: &std_net::UnixStream) -> Option<u32> {
    peer(stream).ok()?.pid
}

/// Process id of the hub at the other end, where the system tells it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn hub_pid(_: &std_net::UnixStream) -> Option<u32> {
    None
}

/// A broken connection must not raise SIGPIPE: R's handler for it jumps.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// Apple's sockets have an option for this instead, which the standard library sets on each of them.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

pub(crate) fn send_flagged(
    socket: impl AsFd,
    parts: &[IoSlice<'_>],
    flags: SendFlags,
) -> io::Result<usize> {
    let mut no_ancillary = rustix::net::SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(
        socket,
        parts,
        &mut no_ancillary,
        flags | NO_SIGNAL,
    )?)
}

/// Writes to a dialled connection, blocking, without raising SIGPIPE.
///
/// # Errors
/// As the operating system gives them.
pub(crate) fn send(stream: &std_net::UnixStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    send_flagged(stream, parts, SendFlags::empty())
}

/// Writes what fits now.
#[cfg(target_os = "linux")]
pub(crate) fn send_now(stream: &std_net::UnixStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    send_flagged(stream, parts, SendFlags::DONTWAIT)
}

/// Writes what fits now, and a descriptor along with it.
#[cfg(target_os = "linux")]
pub(crate) fn send_passing(
    socket: impl AsFd,
    parts: &[IoSlice<'_>],
    passed: &Passed,
) -> io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    let descriptors = [passed.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    if !along.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let flags = SendFlags::DONTWAIT | NO_SIGNAL;
    Ok(sendmsg(socket, parts, &mut along, flags)?)
}

/// Reads what comes next, and the descriptor that may have come along.
#[cfg(target_os = "linux")]
pub(crate) fn receive_passed(
    stream: &std_net::UnixStream,
    into: &mut [u8],
) -> io::Result<(usize, Option<Passed>)> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [io::IoSliceMut::new(into)];
    let received = recvmsg(stream, &mut parts, &mut along, RecvFlags::CMSG_CLOEXEC)?;
    let passed = along.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next().map(Passed),
        _ => None,
    });
    Ok((received.bytes, passed))
}

/// Reads what has come, without waiting.
pub(crate) fn receive_now(stream: &std_net::UnixStream, into: &mut [u8]) -> io::Result<usize> {
    let (_, count) = rustix::net::recv(stream, into, rustix::net::RecvFlags::DONTWAIT)?;
    Ok(count)
}
