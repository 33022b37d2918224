//! The local lane of platforms without Unix sockets: TCP on the loopback interface.
//!
//! Any process of the machine may connect there, so both sides prove that they belong to the same user: a file that
//! only this user can read names the port and holds a secret for each side. It stands for the socket file of a Unix
//! socket, and goes away with the listener. What a daemon sends is worth nothing to others: whoever takes over the port
//! of a hub that has died does not know the hub's secret, and the daemon leaves before it reads anything else.
//!
//! Compiled for tests everywhere, so that it runs somewhere.

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::connection::Spoken;
use crate::{Address, Connection, LaneError, Patience, Proof};

/// A daemon's end of a connection: blocking.
pub(crate) type Stream = TcpStream;

/// How long a hub has to show that it still listens, before another takes its address.
const PROOF_WITHIN: Duration = Duration::from_secs(10);

type Secret = [u8; 32];

/// What the file tells.
#[derive(Debug, Clone)]
struct Rendezvous {
    port: u16,
    hub: Secret,
    daemon: Secret,
}

impl Rendezvous {
    fn new(port: u16) -> io::Result<Rendezvous> {
        let (mut hub, mut daemon) = ([0; 32], [0; 32]);
        for secret in [&mut hub, &mut daemon] {
            getrandom::fill(secret).map_err(io::Error::other)?;
        }
        Ok(Rendezvous { port, hub, daemon })
    }

    /// The port and the secrets follow each other.
    fn to_bytes(&self) -> Vec<u8> {
        [&self.port.to_be_bytes()[..], &self.hub, &self.daemon].concat()
    }

    fn read(file: &Path) -> io::Result<Rendezvous> {
        let bytes = fs::read(file)?;
        let parts = bytes.split_first_chunk().and_then(|(port, rest)| {
            let (hub, rest) = rest.split_first_chunk()?;
            Some((port, hub, rest.try_into().ok()?))
        });
        let (port, hub, daemon) = parts.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Rendezvous {
            port: u16::from_be_bytes(*port),
            hub: *hub,
            daemon,
        })
    }

    /// Written whole or not at all, as daemons may be looking for it.
    fn write(&self, file: &Path) -> io::Result<()> {
        let mut new = file.as_os_str().to_owned();
        new.push(".new");
        fs::write(&new, self.to_bytes())?;
        fs::rename(&new, file)
    }

    fn connect(&self, patience: &mut Patience<'_>) -> io::Result<TcpStream> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        TcpStream::connect_timeout(&at, patience.rest()?)
    }
}

/// The file of an address: a path as it is, whose folder has to be private, a mere name in the user's own folder.
fn file_of(address: &Address) -> Result<PathBuf, LaneError> {
    match address {
        Address::Ipc(path) if path.is_absolute() => Ok(path.clone()),
        Address::Ipc(name) => Ok(user_folder().join(format!("mirai-{}", name.display()))),
        Address::Abstract(_) | Address::Network(_) => Err(LaneError::Unsupported {
            url: address.to_string(),
        }),
    }
}

/// Where other users cannot read.
fn user_folder() -> PathBuf {
    std::env::var_os("LOCALAPPDATA").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// In the same time for all secrets.
fn is_same(a: &Secret, b: &Secret) -> bool {
    a.iter().zip(b).fold(0, |rest, (a, b)| rest | (a ^ b)) == 0
}

/// A listening socket and its file.
#[derive(Debug)]
pub struct LocalListener {
    socket: TcpListener,
    address: Address,
    file: PathBuf,
    rendezvous: Rendezvous,
}

impl LocalListener {
    /// Listens for daemons that look for `address`. The file of a hub that is gone is replaced.
    pub(crate) fn bind(address: &Address) -> Result<LocalListener, LaneError> {
        let os = |source| LaneError::Os {
            url: address.to_string(),
            source,
        };
        let file = file_of(address)?;
        // Another program may have taken the port of a hub that was killed.
        let is_used = match dial(address, &mut Patience::new(PROOF_WITHIN, &mut || false)) {
            Ok(_) => true,
            Err(LaneError::Os { source, .. }) => source.kind() == io::ErrorKind::TimedOut,
            Err(_) => false,
        };
        if is_used {
            return Err(os(io::ErrorKind::AddrInUse.into()));
        }
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(os)?;
        socket.set_nonblocking(true).map_err(os)?;
        let port = socket.local_addr().map_err(os)?.port();
        let rendezvous = Rendezvous::new(port).map_err(os)?;
        let socket = TcpListener::from_std(socket).map_err(os)?;
        rendezvous.write(&file).map_err(os)?;
        Ok(LocalListener {
            socket,
            address: address.clone(),
            file,
            rendezvous,
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) async fn accept(&mut self) -> Result<Spoken, LaneError> {
        let (stream, _) = self.socket.accept().await.map_err(|source| LaneError::Os {
            url: self.address.to_string(),
            source,
        })?;
        let rendezvous = self.rendezvous.clone();
        Ok(Box::pin(async move {
            if !matches!(stream.peek(&mut [0]).await, Ok(1)) {
                return Err(LaneError::Unproven);
            }
            let proof = prove(stream, rendezvous);
            Ok(Box::pin(async {
                let connection = proof.await.map_err(|_| LaneError::Unproven)?;
                Ok(Box::new(connection) as Box<dyn Connection>)
            }) as Proof)
        }))
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Reads the daemon's secret and process id, then sends the hub's secret.
async fn prove(
    mut stream: tokio::net::TcpStream,
    rendezvous: Rendezvous,
) -> io::Result<LoopbackConnection> {
    let mut told = [0; 32];
    stream.read_exact(&mut told).await?;
    if !is_same(&told, &rendezvous.daemon) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let pid = stream.read_u32().await?;
    stream.write_all(&rendezvous.hub).await?;
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    Ok(LoopbackConnection {
        whole: stream.try_clone()?,
        stream: tokio::net::TcpStream::from_std(stream)?,
        pid,
    })
}

/// A daemon's connection at the hub.
#[derive(Debug)]
struct LoopbackConnection {
    stream: tokio::net::TcpStream,
    /// The same socket, for ending it.
    whole: TcpStream,
    pid: u32,
}

impl Connection for LoopbackConnection {
    crate::connection::reads_from_tokio!();

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.try_write_vectored(parts)
    }

    fn shutdown(&self) {
        let _ = self.whole.shutdown(Shutdown::Both);
    }

    fn peer_pid(&self) -> Option<u32> {
        Some(self.pid)
    }

    fn notices_silence(&self) -> bool {
        true
    }
}

pub(crate) fn dial(address: &Address, patience: &mut Patience<'_>) -> Result<TcpStream, LaneError> {
    let os = |source| LaneError::Os {
        url: address.to_string(),
        source,
    };
    let rendezvous = Rendezvous::read(&file_of(address)?).map_err(os)?;
    let mut stream = rendezvous.connect(patience).map_err(os)?;
    let proof = [&rendezvous.daemon[..], &std::process::id().to_be_bytes()].concat();
    let mut told = [0; 32];
    stream
        .write_all(&proof)
        .and_then(|()| read_patiently(&mut stream, &mut told, patience))
        .map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::Other => os(error),
            // A hub that is just closing: nobody listens there any more.
            _ => os(io::Error::new(io::ErrorKind::ConnectionRefused, error)),
        })?;
    if !is_same(&told, &rendezvous.hub) {
        return Err(LaneError::Unproven);
    }
    stream
        .set_read_timeout(None)
        .and_then(|()| stream.set_nodelay(true))
        .map_err(os)?;
    Ok(stream)
}

/// Reads all of it.
fn read_patiently(
    stream: &mut TcpStream,
    mut into: &mut [u8],
    patience: &mut Patience<'_>,
) -> io::Result<()> {
    while !into.is_empty() {
        stream.set_read_timeout(Some(patience.slice()?))?;
        match stream.read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => into = &mut into[count..],
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn send(mut stream: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    stream.write_vectored(parts)
}

/// These sockets cannot be looked at: waits.
pub(crate) fn receive_now(mut stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    stream.read(into)
}

/// The system does not tell.
pub(crate) fn hub_pid(_: &TcpStream) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn dial(address: &Address) -> Result<TcpStream, LaneError> {
        super::dial(address, &mut Patience::new(PROOF_WITHIN, &mut || false))
    }

    fn address(folder: &tempfile::TempDir) -> Address {
        Address::Ipc(folder.path().join("hub"))
    }

    fn in_runtime<T>(body: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(body)
    }

    async fn accept(listener: &mut LocalListener) -> Result<Box<dyn Connection>, LaneError> {
        listener.accept().await.unwrap().await?.await
    }

    /// Reads until the peer has ended the connection.
    async fn read_all(connection: &dyn Connection) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            std::future::poll_fn(|cx| connection.poll_readable(cx))
                .await
                .unwrap();
            match connection.try_read_append(&mut all, 1000) {
                Ok(0) => return all,
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            all.reserve(1000);
        }
    }

    #[test]
    fn a_daemon_that_can_read_the_file_is_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let address = address(&folder);
        in_runtime(async {
            let mut listener = LocalListener::bind(&address).unwrap();
            let daemon = thread::spawn({
                let address = address.clone();
                move || {
                    let stream = dial(&address).unwrap();
                    send(&stream, &[IoSlice::new(b"hel"), IoSlice::new(b"lo")]).unwrap();
                    let mut answer = [0; 6];
                    (&stream).read_exact(&mut answer).unwrap();
                    answer
                }
            });
            let connection = accept(&mut listener).await.unwrap();
            assert_eq!(connection.peer_pid(), Some(std::process::id()));
            std::future::poll_fn(|cx| connection.poll_writable(cx))
                .await
                .unwrap();
            connection.try_write(&[IoSlice::new(b"answer")]).unwrap();
            assert_eq!(read_all(&*connection).await, b"hello");
            assert_eq!(&daemon.join().unwrap(), b"answer");
        });
    }

    #[test]
    fn strangers_are_turned_away_and_keep_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let address = address(&folder);
        in_runtime(async {
            let mut listener = LocalListener::bind(&address).unwrap();
            let port = listener.rendezvous.port;
            let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let silent = connect();
            let _silence = listener.accept().await.unwrap();
            let mut guesses = connect();
            guesses.write_all(&[7; 32]).unwrap();
            assert!(matches!(
                accept(&mut listener).await,
                Err(LaneError::Unproven)
            ));
            assert_eq!(guesses.read(&mut [0; 32]).unwrap(), 0, "it is told nothing");
            let daemon = thread::spawn(move || dial(&address).map(drop));
            accept(&mut listener).await.unwrap();
            daemon.join().unwrap().unwrap();
            drop(silent);
        });
    }

    #[test]
    fn a_daemon_trusts_no_port_alone() {
        let folder = tempfile::tempdir().unwrap();
        let address = address(&folder);
        let stranger = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // What a hub has left behind that was killed.
        let left = Rendezvous::new(stranger.local_addr().unwrap().port()).unwrap();
        left.write(&file_of(&address).unwrap()).unwrap();
        let answer = thread::spawn(move || {
            let (mut stream, _) = stranger.accept().unwrap();
            stream.write_all(&[7; 32]).unwrap();
            stream.read_exact(&mut [0; 36]).unwrap();
        });
        assert!(matches!(dial(&address), Err(LaneError::Unproven)));
        answer.join().unwrap();
    }

    #[test]
    fn an_address_has_one_hub_and_none_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let address = address(&folder);
        assert!(dial(&address).unwrap_err().is_absence());
        in_runtime(async {
            let mut listener = LocalListener::bind(&address).unwrap();
            let second = thread::spawn({
                let address = address.clone();
                move || in_runtime(async { LocalListener::bind(&address).map(drop) })
            });
            accept(&mut listener).await.unwrap();
            assert_eq!(second.join().unwrap().unwrap_err().code().number(), 10);
            drop(listener);
            assert!(dial(&address).unwrap_err().is_absence());
            drop(LocalListener::bind(&address).unwrap());
        });
    }

    #[test]
    fn a_file_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let address = address(&folder);
        let file = file_of(&address).unwrap();
        fs::write(&file, b"no rendezvous").unwrap();
        in_runtime(async {
            drop(LocalListener::bind(&address).unwrap());
        });
        assert!(!file.exists());
    }

    #[test]
    fn names_are_files_of_the_user() {
        let file = file_of(&Address::Ipc("abc".into())).unwrap();
        assert!(file.is_absolute());
        assert!(file.ends_with("mirai-abc"));
        assert_eq!(
            file_of(&Address::Abstract("abc".into()))
                .unwrap_err()
                .code()
                .number(),
            9
        );
    }
}
