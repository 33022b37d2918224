//! Places for callers: so many at once, and who is served last keeps others out last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places. When all are taken, the caller gives way that has gone longest without a request being served: one that says
/// nothing, or does not prove that it may ask.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

/// Callers that are not served now, by when that began.
#[derive(Debug, Default)]
struct Idle {
    callers: BTreeMap<u64, Arc<Notify>>,
    last: u64,
}

/// A caller's place.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    taken_away: Arc<Notify>,
    /// Its number among those who are not served.
    number: Mutex<u64>,
    _permit: OwnedSemaphorePermit,
}

/// A request of the caller's that is served.
#[derive(Debug)]
pub(crate) struct Served<'a>(&'a Place);

impl Places {
    pub(crate) fn new(count: usize) -> Arc<Places> {
        Arc::new(Places {
            free: Arc::new(Semaphore::new(count)),
            idle: Mutex::default(),
        })
    }

    /// A place for one more, as soon as there is one.
    pub(crate) async fn take(self: &Arc<Self>) -> Option<Place> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                if let Some((_, oldest)) = self.idle().callers.pop_first() {
                    oldest.notify_one();
                }
                Arc::clone(&self.free).acquire_owned().await.ok()?
            }
        };
        let taken_away = Arc::new(Notify::new());
        let number = self.idle().add(&taken_away);
        Some(Place {
            places: Arc::clone(self),
            taken_away,
            number: Mutex::new(number),
            _permit: permit,
        })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn add(&mut self, caller: &Arc<Notify>) -> u64 {
        self.last += 1;
        self.callers.insert(self.last, Arc::clone(caller));
        self.last
    }
}

impl Place {
    /// Waits until it is needed for another one.
    pub(crate) async fn taken_away(&self) {
        self.taken_away.notified().await;
    }

    /// It stays the caller's until that is dropped. `None` if it has been taken away already.
    pub(crate) fn serve(&self) -> Option<Served<'_>> {
        let removed = self.places.idle().callers.remove(&*self.number());
        removed.map(|_| Served(self))
    }

    fn number(&self) -> MutexGuard<'_, u64> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let Served(place) = self;
        let number = place.places.idle().add(&place.taken_away);
        *place.number() = number;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.idle().callers.remove(&*self.number());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn the_one_that_was_served_longest_ago_gives_way() {
        run(async {
            let places = Places::new(2);
            let first = places.take().await.unwrap();
            let second = places.take().await.unwrap();
            drop(first.serve());
            let third = tokio::join!(places.take(), async {
                second.taken_away().await;
                assert!(second.serve().is_none());
                drop(second);
            });
            assert!(third.0.is_some());
            assert!(first.serve().is_some());
        });
    }

    #[test]
    fn who_is_served_keeps_its_place() {
        run(async {
            let places = Places::new(1);
            let only = places.take().await.unwrap();
            let served = only.serve().unwrap();
            let waits = std::pin::pin!(places.take());
            let mut waits = waits;
            assert!(
                std::future::poll_fn(|context| {
                    std::task::Poll::Ready(waits.as_mut().poll(context).is_pending())
                })
                .await
            );
            drop(served);
            drop(only);
            assert!(waits.await.is_some());
            assert!(places.idle().callers.is_empty());
        });
    }
}
