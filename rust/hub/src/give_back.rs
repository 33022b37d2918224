//! Memory that tasks have left behind, given back to the system.
//!
//! An allocator keeps what is freed for later: glibc's 100 MB after fifty thousand small tasks, 300 MB after as many of
//! 10 kB. Asking it to give back takes 10 to 50 ms, so it is asked when much has been freed and no more comes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::callback::guarded;

/// Bytes that are worth it.
const MUCH: u64 = 32 << 20;

/// Without further releases for so long, a burst is over.
const CALM: Duration = Duration::from_secs(2);

/// What a task takes at either end of its life besides the bytes that travel.
const OVERHEAD: u64 = 512;

#[derive(Debug)]
pub(crate) struct GiveBack {
    released: AtomicU64,
    much: Notify,
    ask: Option<fn()>,
}

impl GiveBack {
    pub(crate) fn new(ask: Option<fn()>) -> GiveBack {
        GiveBack {
            released: AtomicU64::new(0),
            much: Notify::new(),
            ask,
        }
    }

    /// So many bytes of a task are about to be freed.
    pub(crate) fn note(&self, bytes: usize) {
        let bytes = bytes as u64 + OVERHEAD;
        let before = self.released.fetch_add(bytes, Ordering::Relaxed);
        if before < MUCH && before + bytes >= MUCH {
            self.much.notify_one();
        }
    }

    /// Asks the allocator after each burst of releases.
    pub(crate) async fn serve(&self) {
        let Some(ask) = self.ask else {
            return std::future::pending().await;
        };
        loop {
            self.much.notified().await;
            let mut seen = 0;
            loop {
                let released = self.released.load(Ordering::Relaxed);
                if released == seen {
                    break;
                }
                seen = released;
                tokio::time::sleep(CALM).await;
            }
            self.released.store(0, Ordering::Relaxed);
            // A panic of it ends at the hub like that of other callbacks.
            let _ = guarded("the function that gives memory back", ask);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static ASKED: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn it_asks_once_after_a_burst_and_not_for_little() {
        let give_back = GiveBack::new(Some(|| {
            ASKED.fetch_add(1, Ordering::Relaxed);
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let serve_for = |slice| {
            runtime.block_on(async {
                let _ = tokio::time::timeout(slice, give_back.serve()).await;
            });
        };
        give_back.note(1 << 20);
        serve_for(Duration::from_millis(1));
        assert_eq!(
            give_back.released.load(Ordering::Relaxed),
            (1 << 20) + OVERHEAD
        );
        for _ in 0..100 {
            give_back.note(1 << 20);
        }
        runtime.block_on(async {
            tokio::select! {
                () = give_back.serve() => {}
                () = async {
                    while ASKED.load(Ordering::Relaxed) == 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                } => {}
            }
        });
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
        assert_eq!(give_back.released.load(Ordering::Relaxed), 0);
    }
}
