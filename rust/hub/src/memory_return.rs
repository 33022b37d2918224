//! Memory that tasks have left behind, given back to the system.
//!
//! An allocator keeps what is freed for later: glibc's 100 MB after fifty thousand small tasks, 300 MB after as many of
//! 10 kB. Asking it to give back takes 10 to 50 ms, so it is asked when much has been freed and no more comes, on a thread
//! that lives until then.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::callback::guarded;

/// Freed bytes from which on asking the allocator pays.
const MUCH: u64 = 32 << 20;

/// The same for bytes of tasks and outcomes whose originals and copies the owner frees: in memory they can be four
/// times as large.
const MUCH_KEPT: u64 = MUCH / 4;

/// How much more is freed between two attempts to have a thread: each asks the system for the number of the process, which takes
/// longer than all else about a small task that is freed.
const BETWEEN: u64 = 1 << 20;

/// A burst is over when nothing has been freed for this long.
const CALM: Duration = Duration::from_secs(2);

/// Bytes that a task takes at either end of its life, besides the ones that travel.
const OVERHEAD: u64 = 512;

/// Starts a thread that runs the given function.
pub type StartThread = fn(Box<dyn FnOnce() + Send>) -> std::io::Result<()>;

/// Returns freed memory to the operating system. One per process, for all its hubs: a hub may be gone long before its
/// memory is returned.
///
/// Hubs report what tasks and outcomes took up as it is freed. The values that their owner has made tasks from, or has
/// decoded from outcomes, are freed by a garbage collector that does not report it; so the owner reports their size,
/// and each collection.
pub struct MemoryReturn {
    /// Bytes freed since memory was last returned.
    freed: AtomicU64,
    /// Bytes of the owner's values that tasks and outcomes are copies of, less what was returned after collections.
    kept: AtomicU64,
    /// Part of it that the owner has not been asked to listen for.
    unheard: AtomicU64,
    /// The process whose thread waits for the end of a burst, or 0. In a forked child, its parent's has no meaning.
    waiting: AtomicU32,
    calm: Duration,
    give_back: fn() -> u64,
    start: StartThread,
}

impl MemoryReturn {
    /// `give_back` has the allocator return memory, and returns how many bytes it did; it runs on a thread from
    /// `start`.
    pub const fn new(give_back: fn() -> u64, start: StartThread) -> MemoryReturn {
        MemoryReturn {
            freed: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            unheard: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            calm: CALM,
            give_back,
            start,
        }
    }

    /// Records `bytes` freed with a task.
    pub(crate) fn note_freed(&'static self, bytes: usize) {
        let bytes = bytes as u64 + OVERHEAD;
        let before = self.freed.fetch_add(bytes, Ordering::Relaxed);
        let freed = before + bytes;
        if freed >= MUCH && freed / BETWEEN != before / BETWEEN {
            self.await_calm();
        }
    }

    /// Records that the owner has a value whose serialised form has `bytes`. Returns whether the owner should listen to
    /// garbage collections from now on, and [report](Self::note_collection) the next ones: a listener that is as old as
    /// what it listens for sees the collections that this takes part in.
    pub fn note_kept(&self, bytes: usize) -> bool {
        let bytes = bytes as u64 + OVERHEAD;
        self.kept.fetch_add(bytes, Ordering::Relaxed);
        let is_much = self.unheard.fetch_add(bytes, Ordering::Relaxed) + bytes >= MUCH_KEPT;
        if is_much {
            self.unheard.store(0, Ordering::Relaxed);
        }
        is_much
    }

    /// Records a garbage collection. Returns whether to report further ones, as much of what was kept has not been
    /// returned.
    pub fn note_collection(&'static self) -> bool {
        let is_much = self.kept.load(Ordering::Relaxed) >= MUCH_KEPT;
        if is_much {
            self.await_calm();
        }
        is_much
    }

    /// Starts the thread, unless there is one. Without a thread to be had, a later call tries again.
    fn await_calm(&'static self) {
        if self.claim() && (self.start)(Box::new(|| self.return_when_calm())).is_err() {
            self.waiting.store(0, Ordering::Release);
        }
    }

    fn claim(&self) -> bool {
        let process = std::process::id();
        self.waiting.swap(process, Ordering::AcqRel) != process
    }

    fn return_when_calm(&self) {
        loop {
            let mut seen = self.freed.load(Ordering::Relaxed);
            loop {
                std::thread::sleep(self.calm);
                let freed = self.freed.load(Ordering::Relaxed);
                if freed == seen {
                    break;
                }
                seen = freed;
            }
            self.ask();
            // By a swap, so that what was freed by those who have found this thread is seen.
            self.waiting.swap(0, Ordering::AcqRel);
            // What was freed meanwhile has found this thread waiting.
            if self.freed.load(Ordering::Relaxed) < MUCH || !self.claim() {
                return;
            }
        }
    }

    fn ask(&self) {
        let freed = self.freed.swap(0, Ordering::Relaxed);
        // A panic of it ends here like that of other callbacks.
        let returned =
            guarded("the function that gives memory back", self.give_back).unwrap_or_default();
        let of_kept = returned.saturating_sub(freed);
        // Never fails, as the closure always answers.
        let _ = self
            .kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| {
                Some(kept.saturating_sub(of_kept))
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{LazyLock, Mutex};

    /// A test that waits longer than this hangs.
    const HANG: Duration = Duration::from_secs(30);

    type Both<T> = (Mutex<Sender<T>>, Mutex<Receiver<T>>);

    fn both<T>() -> Both<T> {
        let (sender, receiver) = channel();
        (Mutex::new(sender), Mutex::new(receiver))
    }

    /// One of a test, with where its threads go in place of being started, and what the allocator is to answer.
    macro_rules! memory_return {
        ($memory:ident, $started:ident, $answers:ident) => {
            static STARTED: LazyLock<Both<Box<dyn FnOnce() + Send>>> = LazyLock::new(both);
            static ANSWERS: LazyLock<Both<u64>> = LazyLock::new(both);
            static MEMORY: MemoryReturn = MemoryReturn {
                calm: Duration::from_millis(1),
                ..MemoryReturn::new(
                    || ANSWERS.1.lock().unwrap().recv_timeout(HANG).unwrap(),
                    |work| {
                        STARTED.0.lock().unwrap().send(work).unwrap();
                        Ok(())
                    },
                )
            };
            let $memory = &MEMORY;
            let $started = || STARTED.1.lock().unwrap().try_recv().ok();
            let $answers = |bytes| ANSWERS.0.lock().unwrap().send(bytes).unwrap();
        };
    }

    #[test]
    fn it_asks_once_after_a_burst_and_not_for_little() {
        memory_return!(memory, started, answers);
        memory.note_freed(1 << 20);
        assert!(started().is_none());
        for _ in 0..100 {
            memory.note_freed(1 << 20);
        }
        let thread = started().expect("a thread for the burst");
        assert!(started().is_none());
        answers(1);
        thread();
        assert_eq!(memory.freed.load(Ordering::Relaxed), 0);
        memory.note_freed(40 << 20);
        assert!(started().is_some());
    }

    #[test]
    fn what_a_collector_may_free_is_listened_for_until_it_has_come_back() {
        memory_return!(memory, started, answers);
        assert!(!memory.note_kept(1 << 20));
        assert!(!memory.note_collection());
        assert!(memory.note_kept(99 << 20));
        assert!(!memory.note_kept(1 << 20));
        // The bytes themselves are freed, and the values still there.
        memory.note_freed(100 << 20);
        answers(100 << 20);
        started().expect("a thread for the bytes")();
        assert!(memory.note_collection());
        answers(0);
        started().expect("a thread for the collection")();
        assert!(memory.note_collection());
        answers(95 << 20);
        started().expect("a thread for the next collection")();
        assert!(!memory.note_collection());
        assert!(started().is_none());
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_tried_for_again() {
        static TRIED: AtomicU32 = AtomicU32::new(0);
        static MEMORY: MemoryReturn = MemoryReturn::new(
            || 0,
            |_| {
                TRIED.fetch_add(1, Ordering::Relaxed);
                Err(std::io::ErrorKind::WouldBlock.into())
            },
        );
        MEMORY.note_freed(40 << 20);
        assert_eq!(TRIED.load(Ordering::Relaxed), 1);
        MEMORY.note_freed(BETWEEN as usize);
        assert_eq!(TRIED.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn small_tasks_do_not_each_try_for_a_thread() {
        static TRIED: AtomicU32 = AtomicU32::new(0);
        static MEMORY: MemoryReturn = MemoryReturn::new(
            || 0,
            |_| {
                TRIED.fetch_add(1, Ordering::Relaxed);
                Err(std::io::ErrorKind::WouldBlock.into())
            },
        );
        let tasks = 2 * MUCH / OVERHEAD;
        for _ in 0..tasks {
            MEMORY.note_freed(0);
        }
        let most = (MUCH / BETWEEN + 1) as u32;
        assert!((2..=most).contains(&TRIED.load(Ordering::Relaxed)));
    }
}
