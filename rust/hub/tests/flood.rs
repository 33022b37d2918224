//! Peers that connect to a port as often as they can, and daemons and tasks beside them.
#![cfg(target_os = "linux")]

#[path = "common/echo.rs"]
mod echo;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mirai_hub::{Access, Address, Hub, HubOptions, Outcome, Task};
use mirai_lanes::Credentials;
use mirai_worker::{AutoExit, WorkerOptions};
use rustix::net::{AddressFamily, SocketType};

use echo::Echo;

/// A test that waits longer than this hangs.
const HANG: Duration = Duration::from_secs(120);

/// More than a source may have turned away at once.
const MANY: u64 = 1000;

/// Connects from `source`, and says something that no hub asks for.
fn bother(hub: SocketAddr, source: Ipv4Addr) -> Result<(), Box<dyn std::error::Error>> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
    rustix::net::connect(&socket, &hub)?;
    TcpStream::from(socket).write_all(&[b'x'; 64])?;
    Ok(())
}

fn wait_for(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < HANG, "never came true");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends what other threads do, also when the test fails.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// While somebody floods the port from `source`, a worker that tries once comes in from 127.0.0.1, and has tasks.
fn worker_comes_in_beside(source: Ipv4Addr, url: &str, access: Access, credentials: Credentials) {
    let hub = Hub::open(HubOptions {
        access,
        ..HubOptions::new(Address::parse(url).unwrap())
    })
    .unwrap();
    let url = hub.address().to_string();
    let (_, at) = url.split_once("://").unwrap();
    let at: SocketAddr = at.trim_end_matches('/').parse().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = AtEnd(|| {
            is_over.store(true, Ordering::SeqCst);
            hub.close(true);
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                // It may be reset at any moment, and the hub closes.
                let _ = bother(at, source);
            }
        });
        wait_for(|| hub.refused().unproven > MANY);
        let options = WorkerOptions {
            credentials,
            autoexit: AutoExit::Finish,
            ..WorkerOptions::new(hub.address().clone())
        };
        scope.spawn(move || mirai_worker::run_worker(&options, &mut Echo, Arc::new(Echo)));
        wait_for(|| hub.counts().connections == 1);
        for _ in 0..100 {
            let task = hub.submit(Task::new(vec![7; 100])).unwrap();
            assert!(task.wait_for(HANG));
            assert!(matches!(task.outcome(), Some(Outcome::Value(bytes)) if bytes.len() == 100));
        }
    });
}

#[test]
fn a_worker_comes_in_beside_a_flood_from_another_address() {
    worker_comes_in_beside(
        Ipv4Addr::new(127, 0, 0, 2),
        "tcp://127.0.0.1:0",
        Access::default(),
        Credentials::default(),
    );
}

#[test]
fn a_worker_comes_in_by_tls_beside_a_flood_from_another_address() {
    let (access, credentials) = Access::single_use("127.0.0.1").unwrap();
    worker_comes_in_beside(
        Ipv4Addr::new(127, 0, 0, 2),
        "tls+tcp://127.0.0.1:0",
        access,
        credentials,
    );
}

#[test]
fn a_worker_comes_in_by_a_websocket_beside_a_flood_from_another_address() {
    worker_comes_in_beside(
        Ipv4Addr::new(127, 0, 0, 2),
        "ws://127.0.0.1:0/",
        Access::default(),
        Credentials::default(),
    );
}
