//! Daemons that join over TLS: thousands of them, and some beside strangers who are slow with their handshakes.

#[path = "common/echo.rs"]
mod echo;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mirai_hub::{Access, Address, Hub, HubOptions, Outcome, Task};
use mirai_lanes::{Credentials, Dialled, Patience, check_room_for, dial};
use mirai_wire::{
    Frame, FrameBuffer, FrameLimits, FromDaemon, Hello, PairKey, Preamble, Role, ToDaemon, Want,
    encode_head,
};
use mirai_worker::{AutoExit, WorkerOptions};

use echo::Echo;

/// A test that waits longer than this hangs.
const HANG: Duration = Duration::from_secs(120);

fn hub() -> (Hub, Credentials) {
    let (access, credentials) = Access::single_use("127.0.0.1").unwrap();
    let hub = Hub::open(HubOptions {
        access,
        // The daemons of these tests answer no questions.
        silence: Duration::from_secs(3600),
        ..HubOptions::new(Address::parse("tls+tcp://127.0.0.1:0").unwrap())
    });
    (hub.unwrap(), credentials)
}

/// A connection that has said hello and was answered.
fn join(hub: &Address, credentials: &Credentials, hello: Hello) -> Arc<dyn Dialled> {
    let connection = dial(hub, credentials, &mut Patience::new(HANG, &mut || false)).unwrap();
    let mut bytes = Preamble::OURS.encode().to_vec();
    bytes.extend(encode_head(&FromDaemon::Hello(hello), 0));
    while !bytes.is_empty() {
        let count = connection.write(&[io::IoSlice::new(&bytes)]).unwrap();
        bytes.drain(..count);
    }
    let mut buffer = FrameBuffer::new(FrameLimits::PEER);
    let answer: Frame<ToDaemon> = loop {
        match buffer.next_frame().unwrap() {
            Some(frame) => break frame,
            None => fill(&*connection, &mut buffer),
        }
    };
    match (hello.role, answer.message) {
        (Role::Control, ToDaemon::ControlTaken) | (Role::Data, ToDaemon::Welcome { .. }) => {}
        (role, other) => panic!("{role:?} is answered {other:?}"),
    }
    connection
}

fn fill(connection: &dyn Dialled, buffer: &mut FrameBuffer) {
    let Want::Window(window) = buffer.want() else {
        panic!("an answer is small");
    };
    let count = connection
        .read(window, Some(Instant::now() + HANG))
        .unwrap();
    assert!(count > 0, "the hub has hung up");
    buffer.filled(count);
}

/// The two connections of a daemon that never does anything.
fn daemon(hub: &Address, credentials: &Credentials, number: usize) -> [Arc<dyn Dialled>; 2] {
    let mut pair = [0; 16];
    pair[..8].copy_from_slice(&number.to_le_bytes());
    [Role::Control, Role::Data].map(|role| {
        let hello = Hello {
            role,
            pair: PairKey(pair),
            direct: false,
            pid: 0,
            launcher: 0,
            ahead: false,
            returning: None,
        };
        join(hub, credentials, hello)
    })
}

#[test]
fn a_thousand_daemons_join_by_two_thousand_tls_connections() {
    const DAEMONS: usize = 1000;
    // Both ends are in this process.
    if check_room_for(2 * DAEMONS as u64).is_err() {
        println!("skipped: 4,000 open files are not allowed here");
        return;
    }
    let (hub, credentials) = hub();
    let next = AtomicUsize::new(0);
    let address = hub.address();
    let join_some = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let mine = numbers.take_while(|number| *number < DAEMONS);
        mine.map(|number| daemon(address, &credentials, number))
            .collect::<Vec<_>>()
    };
    let daemons: Vec<_> = std::thread::scope(|scope| {
        let threads = [(); 8].map(|()| scope.spawn(join_some));
        threads
            .map(|thread| thread.join().unwrap())
            .into_iter()
            .flatten()
            .collect()
    });
    assert_eq!(daemons.len(), DAEMONS);
    assert_eq!(hub.counts().connections, DAEMONS as u64);
    assert_eq!(hub.counts().cumulative, DAEMONS as u64);
    assert_eq!(hub.refused(), mirai_hub::Refused::default());
}

/// The head of a TLS record that announces a long ClientHello.
const BEGUN: [u8; 5] = [22, 3, 1, 16, 0];

/// Keeps so many handshakes under way that never end, a byte at a time, until the hub closes. Those that it drops begin anew.
fn dawdle(hub: SocketAddr, count: usize, all_are_here: &AtomicBool, is_over: &AtomicBool) {
    let begin = || -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(hub)?;
        stream.write_all(&BEGUN)?;
        Ok(stream)
    };
    let mut strangers: Vec<TcpStream> = (0..count).map(|_| begin().unwrap()).collect();
    all_are_here.store(true, Ordering::SeqCst);
    while !is_over.load(Ordering::SeqCst) {
        for stranger in &mut strangers {
            if stranger.write_all(&[1]).is_err() {
                // The hub may be closing.
                let Ok(another) = begin() else { break };
                *stranger = another;
            }
        }
        // Slowly, as such peers do.
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn slow_handshakes_hold_up_neither_workers_that_join_nor_tasks() {
    let (hub, credentials) = hub();
    let at = hub.address().to_string();
    let at: SocketAddr = at.strip_prefix("tls+tcp://").unwrap().parse().unwrap();
    let [all_are_here, is_over] = [const { AtomicBool::new(false) }; 2];
    std::thread::scope(|scope| {
        let _end = AtEnd(|| {
            is_over.store(true, Ordering::SeqCst);
            hub.close(true);
        });
        scope.spawn(|| dawdle(at, 200, &all_are_here, &is_over));
        while !all_are_here.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        for number in 1..=4 {
            let options = WorkerOptions {
                credentials: credentials.clone(),
                asyncdial: true,
                autoexit: AutoExit::Finish,
                ..WorkerOptions::new(hub.address().clone())
            };
            scope.spawn(move || mirai_worker::run_worker(&options, &mut Echo, Arc::new(Echo)));
            wait_for(|| hub.counts().connections == number);
            let task = hub.submit(Task::new(vec![7; 100_000])).unwrap();
            assert!(task.wait_for(HANG));
            assert!(
                matches!(task.outcome(), Some(Outcome::Value(bytes)) if bytes.len() == 100_000)
            );
        }
    });
}

/// Ends what other threads do, also when the test fails.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn wait_for(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < HANG, "never came true");
        std::thread::sleep(Duration::from_millis(2));
    }
}
