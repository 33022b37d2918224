//! The reactor: on which thread the connections and clocks of a hub run.
//!
//! Two kinds of threads come in here. *The hub's thread* (`mirai-hub`, one per hub) is in `run_hub_thread()` for the life
//! of the hub. *Waiters*, any number of threads that wait for an outcome, are in `wait()`; R's main thread is the usual
//! one. A waiter would sleep anyway, and a message that it reads itself needs no second thread to wake up and none to be
//! woken by it, which is most of what a small task costs. All of them may be here at the same time; tokio's runtime lets
//! one at a time drive it, and the others sleep in `block_on()` until that one has left.
//!
//! The hub's thread stands back when it notices that waiters are served, not before: no thread is woken to hand over. It
//! takes over again when no waiter has come for `LINGER`. So between two waits the connections may stand still for that
//! long.
//!
//! `drivers` is the only lock: it guards who is there and what the hub's thread is at. It is held for a few instructions,
//! never while the runtime is driven, and no other lock is taken under it. `changed` is waited for under it by the hub's
//! thread and signalled under it by the last waiter that leaves.
//!
//! What runs in the runtime (`daemons.rs`, callbacks of tasks) may thus run on any of these threads, and on R's only inside
//! a wait. `INSIDE` tells such code that it must not wait for the end of its own reactor.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

use mirai_lanes::Spin;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long nobody may drive the runtime after a waiter has left, as the next one often comes at once.
const LINGER: Duration = Duration::from_millis(1);

/// Longer than anybody waits.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Runs the hub's connections and clocks, on whichever thread has nothing else to do: the hub's own, or a waiter.
#[derive(Debug)]
pub(crate) struct Reactor {
    /// `None` only as the reactor goes.
    runtime: Option<Runtime>,
    drivers: Mutex<Drivers>,
    /// The hub's thread stands by here.
    changed: Condvar,
    stand_back: Notify,
}

#[derive(Debug, Default)]
struct Drivers {
    waiters: usize,
    /// Waits that ever began.
    arrivals: u64,
    spin: Spin,
    hub_thread: HubThread,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum HubThread {
    /// In the runtime: at work, or first in line for it.
    #[default]
    Attends,
    /// Looks now and then whether waiters still come.
    StandsBy,
    /// Sleeps until a waiter that stays has left.
    Sleeps,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        Ok(Reactor {
            runtime: Some(Builder::new_current_thread().enable_all().build()?),
            drivers: Mutex::default(),
            changed: Condvar::new(),
            stand_back: Notify::new(),
        })
    }

    /// For listening, and for spawning what the reactor is to run.
    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime().enter()
    }

    fn runtime(&self) -> &Runtime {
        self.runtime
            .as_ref()
            .expect("invariant: the runtime is there until the reactor is dropped")
    }

    /// Runs `work` in the runtime; this thread is [inside](is_inside) meanwhile.
    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let _inside = Inside::enter(self);
        self.runtime().block_on(work)
    }

    /// The part of the hub's thread: drives the runtime until `work` has ended.
    pub(crate) fn run_hub_thread(&self, mut work: JoinHandle<()>) {
        loop {
            let has_ended = self.block_on(async {
                tokio::select! {
                    _ = &mut work => true,
                    () = self.stand_back.notified() => false,
                }
            });
            if has_ended {
                return;
            }
            self.stand_by();
        }
    }

    fn stand_by(&self) {
        let mut drivers = self.drivers.lock();
        loop {
            let arrivals = drivers.arrivals;
            drivers.hub_thread = HubThread::StandsBy;
            self.changed.wait_for(&mut drivers, LINGER);
            if drivers.arrivals != arrivals {
                continue;
            }
            if drivers.waiters == 0 {
                drivers.hub_thread = HubThread::Attends;
                return;
            }
            drivers.hub_thread = HubThread::Sleeps;
            while drivers.hub_thread == HubThread::Sleeps {
                self.changed.wait(&mut drivers);
            }
        }
    }

    /// Waits for `what`, at most for `slice`, and attends to the connections meanwhile; the hub's thread or another
    /// waiter may do that, too. `None` when the time is over. Only for [threads that run no
    /// runtime](Self::admits_this_thread).
    fn wait<T>(&self, what: impl Future<Output = T>, slice: Duration) -> Option<T> {
        let looking = {
            let mut drivers = self.drivers.lock();
            drivers.waiters += 1;
            drivers.arrivals += 1;
            drivers.spin.begin()
        };
        let result = self.block_on(async {
            let mut what = pin!(what);
            if let Some(until) = looking {
                let result = look(what.as_mut(), until).await;
                // Not after the sleep, which is no lost processor.
                self.drivers.lock().spin.end(until, result.is_some());
                if result.is_some() {
                    return result;
                }
            }
            tokio::time::timeout(slice, what).await.ok()
        });
        let mut drivers = self.drivers.lock();
        drivers.waiters -= 1;
        if drivers.waiters == 0 && drivers.hub_thread == HubThread::Sleeps {
            drivers.hub_thread = HubThread::StandsBy;
            self.changed.notify_one();
        }
        result
    }

    /// Whether this thread may wait here: one that runs a runtime must not run another.
    pub(crate) fn admits_this_thread() -> bool {
        Handle::try_current().is_err()
    }

    /// A message has been served: the hub's thread, if it did so for waiters, leaves the next one to them.
    pub(crate) fn note_served(&self) {
        let drivers = self.drivers.lock();
        if drivers.waiters > 0 && drivers.hub_thread == HubThread::Attends {
            drop(drivers);
            self.stand_back.notify_one();
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // The last owner may be a thread that runs a runtime of its own, where dropping this one in the usual way, which
        // waits for its blocking work, would panic. There is no such work here.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

thread_local! {
    /// The reactor whose callbacks this thread may be running; null for none.
    static INSIDE: Cell<*const Reactor> = const { Cell::new(std::ptr::null()) };
}

/// Whether this thread runs the given reactor, so that it must not wait for the end of it.
pub(crate) fn is_inside(reactor: *const Reactor) -> bool {
    INSIDE.get() == reactor
}

/// Whether this thread runs any reactor.
pub(crate) fn is_inside_any() -> bool {
    !INSIDE.get().is_null()
}

/// This thread runs a reactor until this is dropped.
struct Inside {
    before: *const Reactor,
}

impl Inside {
    fn enter(reactor: &Reactor) -> Inside {
        Inside {
            before: INSIDE.replace(reactor),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.before);
    }
}

/// Waits for `what`, at most for `slice`: in the reactor, or asleep.
pub(crate) fn wait_in<T>(
    reactor: Option<&Reactor>,
    what: impl Future<Output = T>,
    slice: Duration,
) -> Option<T> {
    match reactor {
        Some(reactor) => reactor.wait(what, slice),
        None => sleep_until(what, slice),
    }
}

/// For a thread that runs a runtime of its own, or waits for several hubs.
fn sleep_until<T>(what: impl Future<Output = T>, slice: Duration) -> Option<T> {
    let until = after(slice);
    let mut what = pin!(what);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = what.as_mut().poll(&mut context) {
            return Some(result);
        }
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return None;
        }
        std::thread::park_timeout(rest);
    }
}

/// A moment that a caller's time reaches, or one that is far enough.
pub(crate) fn after(slice: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(slice).unwrap_or(now + FAR)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Serves what comes without sleeping, until `what` is there or the time is over.
async fn look<T>(mut what: Pin<&mut impl Future<Output = T>>, until: Instant) -> Option<T> {
    loop {
        tokio::select! {
            biased;
            result = &mut what => return Some(result),
            () = tokio::task::yield_now() => {}
        }
        if Instant::now() >= until {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many waits go without looking after one that took long.
    fn skipped_after_a_long_wait() -> usize {
        let reactor = Reactor::new().unwrap();
        let came = reactor.wait(std::future::pending::<()>(), Duration::from_millis(5));
        assert_eq!(came, None);
        let mut drivers = reactor.drivers.lock();
        let skips = (0..10).take_while(|_| drivers.spin.begin().is_none());
        skips.count()
    }

    #[test]
    fn a_wait_that_sleeps_is_one_vain_look() {
        if std::thread::available_parallelism().is_ok_and(|count| count.get() == 1) {
            println!("skipped: with one processor nobody looks");
            return;
        }
        // Whoever loses the processor while looking skips more: hardly each of these.
        assert!((0..100).any(|_| skipped_after_a_long_wait() == 1));
    }
}
