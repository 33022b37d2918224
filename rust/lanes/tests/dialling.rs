//! Hosts that do not answer: whoever waits for one may give up, and does so when the time is over.
#![cfg(unix)]

mod common;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::address;
use mirai_lanes::{Access, Address, Credentials, Dialled, LaneError, Patience};
use rustix::net::{AddressFamily, SocketType};

type Dialed = Result<std::sync::Arc<dyn Dialled>, LaneError>;

/// Dials, and says no more than `asked` times that it shall go on.
fn dial_for(address: &Address, credentials: &Credentials, asked: u32) -> (Dialed, u32) {
    let mut count = 0;
    let mut gives_up = || {
        count += 1;
        count >= asked
    };
    let mut patience = Patience::new(common::GUARD, &mut gives_up);
    let dialed = mirai_lanes::dial(address, credentials, &mut patience);
    (dialed, count)
}

fn dial_within(address: &Address, within: Duration) -> LaneError {
    let mut never = || false;
    let mut patience = Patience::new(within, &mut never);
    mirai_lanes::dial(address, &Credentials::default(), &mut patience).unwrap_err()
}

/// Connections that nobody takes in, as many as there is room for.
fn fill(
    at: &impl rustix::net::addr::SocketAddrArg,
    family: AddressFamily,
) -> Vec<std::os::fd::OwnedFd> {
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
        rustix::io::ioctl_fionbio(&socket, true).unwrap();
        let _ = rustix::net::connect(&socket, at);
        waiting.push(socket);
    }
    waiting
}

/// A Unix socket in front of which others wait.
struct Full {
    folder: tempfile::TempDir,
    listener: UnixListener,
    _waiting: Vec<std::os::fd::OwnedFd>,
}

impl Full {
    fn new() -> Full {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let at = rustix::net::SocketAddrUnix::new(&path).unwrap();
        Full {
            folder,
            listener,
            _waiting: fill(&at, AddressFamily::UNIX),
        }
    }

    fn address(&self) -> Address {
        Address::Ipc(self.folder.path().join("hub"))
    }
}

/// Elsewhere a full queue refuses at once.
#[cfg(target_os = "linux")]
#[test]
fn one_may_give_up_in_front_of_a_full_queue() {
    let full = Full::new();
    let (dialed, asked) = dial_for(&full.address(), &Credentials::default(), 2);
    assert!(dialed.unwrap_err().to_string().contains("given up"));
    assert_eq!(asked, 2);
}

#[cfg(target_os = "linux")]
#[test]
fn in_front_of_a_full_queue_the_time_ends() {
    let full = Full::new();
    let error = dial_within(&full.address(), Duration::from_millis(10));
    assert_eq!(error.code().number(), 5, "{error}");
    assert!(
        error.to_string().contains("too many others wait"),
        "{error}"
    );
    assert!(error.is_absence());
}

#[cfg(target_os = "linux")]
#[test]
fn who_waits_in_line_comes_in() {
    let full = Full::new();
    let at = full.address();
    let (tell, told) = mpsc::channel();
    let dialer = thread::spawn(move || {
        // Asked: it has waited.
        let mut goes_on = || tell.send(()).is_err();
        let mut patience = Patience::new(common::GUARD, &mut goes_on);
        mirai_lanes::dial(&at, &Credentials::default(), &mut patience).map(drop)
    });
    told.recv_timeout(common::GUARD).unwrap();
    let mut taken = Vec::new();
    while !dialer.is_finished() {
        full.listener.set_nonblocking(true).unwrap();
        taken.extend(full.listener.accept());
        thread::yield_now();
    }
    dialer.join().unwrap().unwrap();
}

#[test]
fn a_full_queue_is_a_host_that_is_there() {
    let full = Full::new();
    common::in_runtime(async {
        let error = mirai_lanes::listen(&full.address(), &Access::default()).unwrap_err();
        assert_eq!(error.code().number(), 10, "{error}");
    });
}

/// A port where connections are made, and nobody ever says anything.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Each kind of network address at this port, with credentials for it.
fn network(port: u16) -> Vec<(Address, Credentials)> {
    let (_, credentials) = Access::single_use("127.0.0.1").unwrap();
    ["tcp", "ws", "tls+tcp", "wss"]
        .into_iter()
        .map(|scheme| {
            let credentials = match scheme {
                "tcp" | "ws" => Credentials::default(),
                _ => credentials.clone(),
            };
            (
                address(&format!("{scheme}://127.0.0.1:{port}")),
                credentials,
            )
        })
        .collect()
}

#[test]
fn one_may_give_up_on_a_host_that_says_nothing() {
    let (_listener, port) = silent();
    for (at, credentials) in network(port) {
        let (dialed, asked) = dial_for(&at, &credentials, 2);
        let error = dialed.unwrap_err();
        assert!(error.to_string().contains("given up"), "{error}");
        assert_eq!(asked, 2, "{at}");
    }
}

#[test]
fn a_host_that_says_nothing_is_late() {
    let (_listener, port) = silent();
    for (at, _) in network(port).iter().take(2) {
        let error = dial_within(at, Duration::from_millis(10));
        assert_eq!(error.code().number(), 5, "{error}");
        assert!(error.is_absence(), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn one_may_give_up_on_a_port_that_takes_nobody_in() {
    let (listener, port) = silent();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = fill(&listener.local_addr().unwrap(), AddressFamily::INET);
    for (at, credentials) in network(port).into_iter().take(2) {
        let (dialed, asked) = dial_for(&at, &credentials, 2);
        let error = dialed.unwrap_err();
        assert!(error.to_string().contains("given up"), "{error}");
        assert_eq!(asked, 2, "{at}");
    }
}
