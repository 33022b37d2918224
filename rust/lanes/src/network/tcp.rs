//! Plain TCP, on the system's own sockets.
//!
//! NNG has it, too, but whoever waits on its streams is woken by way of two threads of NNG's: a round trip of 200 bytes
//! takes 46 µs there and 21 here. And here the hub's descriptors stay out of the range that R needs.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::connection::SILENCE;
use crate::{Connection, Patience};

/// Connections that the system takes in before the hub does: as many as it lets a socket have, for thousands of daemons
/// that come at once.
#[cfg(unix)]
const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener(TcpListener);

impl Listener {
    /// Listens at `at`; the unspecified address of IPv6 takes IPv4 as well. To be called inside a tokio runtime.
    pub(super) fn bind(at: SocketAddr) -> io::Result<Listener> {
        let socket = bind(at)?;
        socket.set_nonblocking(true)?;
        Ok(Listener(TcpListener::from_std(socket)?))
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    pub(super) async fn accept(&self) -> io::Result<(Accepted, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        let ip = peer.ip().to_canonical();
        Ok((Accepted(stream), SocketAddr::new(ip, peer.port())))
    }
}

#[cfg(unix)]
fn bind(at: SocketAddr) -> io::Result<std::net::TcpListener> {
    use rustix::net::sockopt;
    let socket = crate::descriptors::move_up(socket(at)?);
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &at)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(unix)]
fn socket(at: SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketType};
    let family = match at {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

#[cfg(not(unix))]
fn bind(at: SocketAddr) -> io::Result<std::net::TcpListener> {
    std::net::TcpListener::bind(at)
}

/// A connection of which nothing has been asked yet.
#[derive(Debug)]
pub(super) struct Accepted(TcpStream);

impl Accepted {
    /// Sets it up for a daemon.
    pub(super) fn open(self) -> io::Result<TcpConnection> {
        TcpConnection::new(self.0.into_std()?)
    }

    /// Ends it by a reset, so that the system keeps nothing of it.
    pub(super) fn reset(self) {
        // The peer sees another end of it then.
        let _ = self.0.set_zero_linger();
    }
}

/// A daemon's connection at the hub.
#[derive(Debug)]
pub(super) struct TcpConnection {
    stream: TcpStream,
    /// The same socket, for ending it.
    #[cfg(not(unix))]
    whole: StdStream,
}

impl TcpConnection {
    /// Waits until the peer has said something; `false` when it has closed the connection without a word.
    pub(super) async fn has_spoken(&self) -> io::Result<bool> {
        Ok(self.stream.peek(&mut [0]).await? > 0)
    }

    #[cfg(unix)]
    fn new(stream: StdStream) -> io::Result<TcpConnection> {
        stream.set_nodelay(true)?;
        notice_silence(&stream, SILENCE)?;
        let stream = StdStream::from(crate::descriptors::move_up(stream.into()));
        Ok(TcpConnection {
            stream: TcpStream::from_std(stream)?,
        })
    }

    #[cfg(not(unix))]
    fn new(stream: StdStream) -> io::Result<TcpConnection> {
        stream.set_nodelay(true)?;
        notice_silence(&stream, SILENCE)?;
        Ok(TcpConnection {
            whole: stream.try_clone()?,
            stream: TcpStream::from_std(stream)?,
        })
    }
}

impl Connection for TcpConnection {
    crate::connection::reads_from_tokio!();

    #[cfg(unix)]
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.try_io(tokio::io::Interest::WRITABLE, || {
            crate::local::send_flagged(&self.stream, parts, rustix::net::SendFlags::DONTWAIT)
        })
    }

    #[cfg(not(unix))]
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.try_write_vectored(parts)
    }

    #[cfg(unix)]
    fn shutdown(&self) {
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
    }

    #[cfg(not(unix))]
    fn shutdown(&self) {
        let _ = self.whole.shutdown(std::net::Shutdown::Both);
    }

    fn set_silence(&self, silence: Duration) {
        // A socket that cannot any more is broken already.
        let _ = notice_silence(&self.stream, silence);
    }

    fn peer(&self) -> Option<SocketAddr> {
        let peer = self.stream.peer_addr().ok()?;
        Some(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
    }
}

/// Connects to `at`. Blocks for as long as `patience` allows.
pub(super) fn dial(at: SocketAddr, patience: &mut Patience<'_>) -> io::Result<StdStream> {
    let stream = connect(at, patience)?;
    if is_own_peer(&stream)? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    notice_silence(&stream, SILENCE)?;
    Ok(stream)
}

/// Whether a socket is connected to itself. That happens on the machine of a host that does not listen yet, if the system happens to
/// choose the host's port for this end, too; the port would then be taken as the host comes.
fn is_own_peer(stream: &StdStream) -> io::Result<bool> {
    Ok(stream.local_addr()? == stream.peer_addr()?)
}

#[cfg(unix)]
fn connect(at: SocketAddr, patience: &mut Patience<'_>) -> io::Result<StdStream> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    let socket = socket(at)?;
    #[cfg(target_vendor = "apple")]
    rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    match rustix::net::connect(&socket, &at) {
        Err(Errno::INPROGRESS | Errno::INTR) => loop {
            // A slice fits whatever the system counts in.
            let slice = Timespec::try_from(patience.slice()?).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&slice)) {
                Ok(0) | Err(Errno::INTR | Errno::AGAIN) => {}
                Ok(_) => break rustix::net::sockopt::socket_error(&socket)??,
                Err(error) => return Err(error.into()),
            }
        },
        done => done?,
    }
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket.into())
}

/// The time of the last slice is what the system is given here, in one piece.
#[cfg(not(unix))]
fn connect(at: SocketAddr, patience: &mut Patience<'_>) -> io::Result<StdStream> {
    StdStream::connect_timeout(&at, patience.rest()?)
}

/// Has the system probe a peer that sends nothing, and break the connection when there was no answer for `silence`. Who answers is
/// the next machine with an end of a TCP connection: behind a tunnel or a relay that is not the daemon's, for which the hub asks.
#[cfg(unix)]
fn notice_silence<S: std::os::fd::AsFd>(stream: &S, silence: Duration) -> io::Result<()> {
    use rustix::net::sockopt;
    let interval = silence / 3;
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(not(target_os = "openbsd"))]
    {
        sockopt::set_tcp_keepidle(stream, interval)?;
        sockopt::set_tcp_keepintvl(stream, interval)?;
        sockopt::set_tcp_keepcnt(stream, 2)?;
    }
    // While something is on its way, the system does not ask, and would send it again for a quarter of an hour.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, silence.as_millis() as u32)?;
    Ok(())
}

/// As the system does it.
#[cfg(not(unix))]
fn notice_silence<S>(_: &S, _: Duration) -> io::Result<()> {
    Ok(())
}

/// Elsewhere the local lane is TCP, too.
#[cfg(unix)]
impl crate::blocking::Socket for StdStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        StdStream::set_read_timeout(self, timeout)
    }

    fn reader(&self) -> impl io::Read {
        self
    }

    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        let (_, count) = rustix::net::recv(self, into, rustix::net::RecvFlags::DONTWAIT)?;
        Ok(count)
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        crate::local::send_flagged(self, parts, rustix::net::SendFlags::empty())
    }

    fn shutdown(&self, how: std::net::Shutdown) {
        let _ = StdStream::shutdown(self, how);
    }

    /// The caller's read blocks: nothing is known of a host elsewhere but its connection.
    fn wait(&self, _: &crate::HostWatch) -> crate::Wake {
        crate::Wake::Readable
    }

    fn host_pid(&self) -> Option<u32> {
        None
    }

    fn notices_silence(&self) -> bool {
        false
    }

    fn set_silence(&self, silence: Duration) {
        let _ = notice_silence(self, silence);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_socket_that_is_connected_to_itself_is_known_for_it() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = socket(any).unwrap();
        rustix::net::bind(&socket, &any).unwrap();
        let stream = StdStream::from(socket);
        let own = stream.local_addr().unwrap();
        rustix::net::connect(&stream, &own).unwrap();
        assert!(is_own_peer(&stream).unwrap());

        let listener = std::net::TcpListener::bind(any).unwrap();
        let stream = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!is_own_peer(&stream).unwrap());
    }
}
