//! A stretch of network that a test can cut, stop and mend.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// One in so many pieces of data breaks its connection in rough weather.
const BREAKS: u64 = 60;

/// One in so many of the others is late.
const LATE: u64 = 8;

/// What the relay does with what it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weather {
    /// Everything passes.
    Fair,
    /// Everything passes, later.
    Slow,
    /// What passes is late by a random time, as where packets are lost and sent again, and now and then the connection
    /// breaks in the middle of it.
    Rough,
    /// Nothing passes, and nothing is lost.
    Still,
    /// A bit of what next passes to the hub is changed, and the weather is fair again.
    Forged,
    /// Connections are taken and ended at once, as by a tunnel whose other end is gone.
    Storm,
}

struct State {
    weather: Weather,
    /// Both ends of each connection that was made.
    connections: Vec<(TcpStream, TcpStream)>,
    /// The hub's ends of those whose other end was cut.
    forgotten: Vec<TcpStream>,
    /// Random numbers of rough weather.
    random: u64,
    waiting: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    bytes: AtomicUsize,
}

/// Carries bytes between daemons and a hub.
pub struct Relay {
    at: SocketAddr,
    shared: Arc<Shared>,
}

impl Relay {
    pub fn to(hub: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay {
            at: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    weather: Weather::Fair,
                    connections: Vec::new(),
                    forgotten: Vec::new(),
                    random: u64::from(listener.local_addr().unwrap().port()),
                    waiting: 0,
                }),
                changed: Condvar::new(),
                bytes: AtomicUsize::new(0),
            }),
        };
        let shared = Arc::clone(&relay.shared);
        std::thread::spawn(move || {
            for daemon in listener.incoming() {
                connect(&shared, daemon.unwrap(), hub);
            }
        });
        relay
    }

    pub fn url(&self) -> String {
        format!("tcp://{}", self.at)
    }

    pub fn set(&self, weather: Weather) {
        self.shared.state.lock().weather = weather;
        self.shared.changed.notify_all();
    }

    /// Ends all connections there are; what was under way is lost.
    pub fn cut(&self) {
        for (a, b) in self.shared.state.lock().connections.drain(..) {
            let _ = a.shutdown(Shutdown::Both);
            let _ = b.shutdown(Shutdown::Both);
        }
    }

    /// The same, but the hub does not learn of it.
    pub fn cut_daemons(&self) {
        let mut state = self.shared.state.lock();
        for (daemon, hub) in std::mem::take(&mut state.connections) {
            let _ = daemon.shutdown(Shutdown::Both);
            state.forgotten.push(hub);
        }
    }

    /// Connections that are made once it is no longer still.
    pub fn waiting(&self) -> usize {
        self.shared.state.lock().waiting
    }

    /// Bytes that have passed in both directions.
    pub fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

fn connect(shared: &Arc<Shared>, daemon: TcpStream, hub: SocketAddr) {
    let mut state = shared.state.lock();
    state.waiting += 1;
    while state.weather == Weather::Still {
        shared.changed.wait(&mut state);
    }
    state.waiting -= 1;
    if state.weather == Weather::Storm {
        return;
    }
    let Ok(there) = TcpStream::connect_timeout(&hub, Duration::from_secs(10)) else {
        return;
    };
    let pair = || (daemon.try_clone().unwrap(), there.try_clone().unwrap());
    state.connections.push(pair());
    let [(daemon, there), (back_from, back_to)] = [pair(), pair()];
    for (from, to, is_to_hub) in [(daemon, there, true), (back_to, back_from, false)] {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || carry(&shared, from, to, is_to_hub));
    }
}

fn carry(shared: &Shared, mut from: TcpStream, mut to: TcpStream, is_to_hub: bool) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut state = shared.state.lock();
        while state.weather == Weather::Still {
            shared.changed.wait(&mut state);
        }
        let (delay, passes) = state.fate(count);
        if state.weather == Weather::Forged && is_to_hub {
            bytes[count - 1] ^= 1;
            state.weather = Weather::Fair;
        }
        drop(state);
        if delay > 0 {
            std::thread::sleep(Duration::from_millis(delay));
        }
        if to.write_all(&bytes[..passes]).is_err() || passes < count {
            break;
        }
        shared.bytes.fetch_add(count, Ordering::Relaxed);
    }
    // The other side learns of it, unless a test has it otherwise.
    if !shared.state.lock().keeps(&to) {
        let _ = to.shutdown(Shutdown::Both);
    }
    let _ = from.shutdown(Shutdown::Both);
}

impl State {
    /// By how many milliseconds so many bytes are late, and how many of them pass before the connection breaks.
    fn fate(&mut self, count: usize) -> (u64, usize) {
        match self.weather {
            Weather::Slow => return (20, count),
            Weather::Rough => {}
            Weather::Fair | Weather::Forged | Weather::Still | Weather::Storm => return (0, count),
        }
        if self.random(BREAKS) == 0 {
            return (0, self.random(count as u64) as usize);
        }
        let is_late = self.random(LATE) == 0;
        (if is_late { self.random(30) } else { 0 }, count)
    }

    /// A number below `limit`.
    fn random(&mut self, limit: u64) -> u64 {
        // An odd multiplier, and an increment, give all numbers in turn; the upper half is the more random.
        self.random = (self.random)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    fn keeps(&self, stream: &TcpStream) -> bool {
        let port = |stream: &TcpStream| stream.local_addr().ok();
        let at = port(stream);
        self.forgotten.iter().any(|kept| port(kept) == at)
    }
}
