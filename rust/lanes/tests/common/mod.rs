//! What the tests of the network lane share.
#![allow(dead_code, reason = "each file uses some of it")]

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mirai_handshake::{Daemon, Step};
use mirai_lanes::{
    Access, Address, Connection, Credentials, Dialled, LaneError, Listener, Patience,
};
use tokio::task::JoinSet;

/// No wait lasts longer; what hangs fails.
pub const GUARD: Duration = Duration::from_secs(60);

pub fn address(url: &str) -> Address {
    Address::parse(url).unwrap()
}

pub fn port(address: &Address) -> u16 {
    match address {
        Address::Network(address) => address.port(),
        other => panic!("no network address: {other}"),
    }
}

pub fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(GUARD, work).await.expect("in time") })
}

/// By a daemon that nobody interrupts.
pub fn dial(address: &Address, credentials: &Credentials) -> Result<Arc<dyn Dialled>, LaneError> {
    mirai_lanes::dial(
        address,
        credentials,
        &mut Patience::new(GUARD, &mut || false),
    )
}

/// A listener whose peers prove themselves side by side.
#[derive(Debug)]
pub struct Listening {
    listener: Listener,
    proofs: JoinSet<Result<Box<dyn Connection>, LaneError>>,
}

pub fn listen(address: &Address, access: &Access) -> Result<Listening, LaneError> {
    Ok(Listening {
        listener: mirai_lanes::listen(address, access)?,
        proofs: JoinSet::new(),
    })
}

impl Listening {
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// The next peer that has proved itself, or one that was turned away.
    pub async fn accept(&mut self) -> Result<Box<dyn Connection>, LaneError> {
        loop {
            tokio::select! {
                Some(proof) = self.proofs.join_next() => return proof.unwrap(),
                arrival = self.listener.accept() => {
                    let arrival = arrival?;
                    self.proofs.spawn(async { arrival.await?.await });
                },
            }
        }
    }
}

pub async fn read_some(connection: &dyn Connection, into: &mut [u8]) -> io::Result<usize> {
    loop {
        poll_fn(|cx| connection.poll_readable(cx)).await?;
        match connection.try_read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

pub async fn write_all(connection: &dyn Connection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        poll_fn(|cx| connection.poll_writable(cx)).await?;
        match connection.try_write(&[IoSlice::new(bytes)]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => bytes = &bytes[done?..],
        }
    }
    Ok(())
}

/// Sends back all that comes, until the end.
pub async fn echo(connection: Box<dyn Connection>) -> io::Result<usize> {
    let mut bytes = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match read_some(&*connection, &mut bytes).await? {
            0 => return Ok(total),
            count => write_all(&*connection, &bytes[..count]).await?,
        }
        total += 1;
    }
}

pub fn send(connection: &dyn Dialled, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        bytes = &bytes[connection.write(&[IoSlice::new(bytes)]).unwrap()..];
    }
}

pub fn receive(connection: &dyn Dialled, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    let mut at = 0;
    while at < len {
        match connection.read(&mut got[at..], Some(Instant::now() + GUARD)) {
            Ok(0) => panic!("the stream ended after {at} of {len} bytes"),
            Ok(count) => at += count,
            Err(error) => panic!("{error} after {at} of {len} bytes"),
        }
    }
    got
}

/// A listener at `url` and a daemon's end of a connection to it, as the runtime's thread and another one see them.
pub fn with_pair<T: Send + 'static>(
    url: &str,
    daemon: impl FnOnce(Arc<dyn Dialled>) -> T + Send + 'static,
    hub: impl AsyncFnOnce(Box<dyn Connection>),
) -> T {
    in_runtime(async {
        let mut listener = listen(&address(url), &Access::default()).unwrap();
        let at = listener.address().clone();
        let daemon = thread::spawn(move || daemon(dial(&at, &Credentials::default()).unwrap()));
        hub(listener.accept().await.unwrap()).await;
        daemon.join().unwrap()
    })
}

/// A peer that is a bare socket, introduced without a token.
pub fn bare(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut daemon, opening) = Daemon::new(None, [1; 32]);
    stream.write_all(&opening).unwrap();
    // The answer may come later: the test's own thread lets the hub go on.
    let mut reader = stream.try_clone().unwrap();
    let answered = move || {
        let mut answer = vec![0; daemon.wants()];
        reader.read_exact(&mut answer).unwrap();
        assert!(matches!(daemon.read(&answer), Ok(Step::Done(..))));
    };
    ANSWERS.with_borrow_mut(|answers| answers.push(Box::new(answered)));
    stream
}

thread_local! {
    static ANSWERS: std::cell::RefCell<Vec<Box<dyn FnOnce()>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Reads the hub's answers to all bare peers so far, which have been taken in.
pub fn read_answers() {
    for answered in ANSWERS.take() {
        answered();
    }
}
