//! Reports that are written together.
//!
//! Who is in here at the same time: the evaluating thread, which adds reports and writes them as it has no further task at hand
//! or some time has passed, and the control thread, which the alarm wakes when the evaluating one is at a task that takes longer.
//!
//! *`Outbox::state`* is the only lock, and guards the bytes that are not written yet. It is held during the writes, so that
//! they keep their order. Those of the evaluating thread may block; the control thread, which has to stay awake for
//! interrupts, only tries the lock, and writes what fits.
//!
//! What waits is on a shelf in memory that the hub shares, so that it is not lost if this process dies before it is written.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_lanes::{Alarm, Dialled, SharedWords};
use mirai_wire::{FromDaemon, Shelf, encode_head};
use parking_lot::{Mutex, MutexGuard};

use crate::session::write_all;

/// How long reports gather between two short tasks.
const GATHER: Duration = Duration::from_micros(250);

/// How long one may wait while a task is evaluated.
const WAIT: Duration = Duration::from_millis(1);

/// Payloads above this many bytes are not kept: to copy them costs more than to write them.
const LARGE: usize = 8 * 1024;

/// What a daemon has to say and has not said yet, on a connection that does not break while both sides live.
#[derive(Debug)]
pub(crate) struct Outbox {
    connection: Arc<dyn Dialled>,
    alarm: Arc<Alarm>,
    /// With the shelf where the hub finds what was not said.
    shared: Arc<SharedWords>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    written: usize,
    /// Since when the first of these waits.
    since: Option<Instant>,
    /// The alarm is set.
    is_set: bool,
}

impl Outbox {
    pub(crate) fn new(
        connection: Arc<dyn Dialled>,
        alarm: Arc<Alarm>,
        shared: Arc<SharedWords>,
    ) -> Outbox {
        Outbox {
            connection,
            alarm,
            shared,
            state: Mutex::default(),
        }
    }

    pub(crate) fn alarm(&self) -> Arc<Alarm> {
        Arc::clone(&self.alarm)
    }

    /// Keeps a report for a while, or writes all: when it is large, or others wait for long.
    pub(crate) fn gather(
        &self,
        message: &FromDaemon,
        payload: &[u8],
        now: Instant,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        let since = *state.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= GATHER || payload.len() > LARGE {
            return self.write(&mut state, message, payload);
        }
        let mut frame = encode_head(message, payload.len() as u64);
        frame.extend_from_slice(payload);
        if !self.shelf().is_some_and(|shelf| shelf.add(&frame)) {
            return self.write(&mut state, message, payload);
        }
        state.bytes.append(&mut frame);
        self.set_alarm(&mut state);
        Ok(())
    }

    /// Writes a message, after those that wait.
    pub(crate) fn send(&self, message: &FromDaemon, payload: &[u8]) -> io::Result<()> {
        self.write(&mut self.state.lock(), message, payload)
    }

    /// Writes what waits.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.since.is_none() {
            return Ok(());
        }
        let written = write_all(&*self.connection, &mut [IoSlice::new(state.rest())]);
        self.clear(&mut state);
        written
    }

    fn write(
        &self,
        state: &mut MutexGuard<'_, State>,
        message: &FromDaemon,
        payload: &[u8],
    ) -> io::Result<()> {
        let head = encode_head(message, payload.len() as u64);
        let parts = [state.rest(), &head, payload];
        let written = write_all(&*self.connection, &mut parts.map(IoSlice::new));
        self.clear(state);
        written
    }

    /// The alarm has gone off: writes what fits now, by the control thread.
    pub(crate) fn on_alarm(&self) {
        // The evaluating thread is writing, or about to come back to it.
        let Some(mut state) = self.state.try_lock() else {
            return self.alarm.set(WAIT);
        };
        state.is_set = false;
        while state.since.is_some() {
            match self.connection.write_now(&[IoSlice::new(state.rest())]) {
                Ok(count) if count > 0 => {
                    state.written += count;
                    if state.rest().is_empty() {
                        self.clear(&mut state);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.set_alarm(&mut state);
                }
                // The evaluating thread will find out.
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn shelf(&self) -> Option<Shelf<'_>> {
        Shelf::of(self.shared.all(), self.shared.bytes())
    }

    /// All is written.
    fn clear(&self, state: &mut State) {
        self.shelf().iter().for_each(Shelf::clear);
        state.bytes.clear();
        state.written = 0;
        state.since = None;
    }

    fn set_alarm(&self, state: &mut State) {
        if !std::mem::replace(&mut state.is_set, true) {
            self.alarm.set(WAIT);
        }
    }
}

impl State {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mirai_lanes::{HostWatch, Wake};
    use mirai_wire::RunEnd;

    use super::*;

    /// Takes so many bytes without blocking, and any number with it.
    #[derive(Debug, Default)]
    struct Pipe {
        room: AtomicUsize,
        written: Mutex<Vec<u8>>,
    }

    impl Dialled for Pipe {
        fn read(&self, _into: &mut [u8], _deadline: Option<Instant>) -> io::Result<usize> {
            Ok(0)
        }

        fn read_append(
            &self,
            _into: &mut Vec<u8>,
            _limit: usize,
            _deadline: Option<Instant>,
        ) -> io::Result<usize> {
            Ok(0)
        }

        fn read_now(&self, _into: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn write_now(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
            let count = bytes.len().min(self.room.load(Ordering::Relaxed));
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room.fetch_sub(count, Ordering::Relaxed);
            self.written.lock().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
            self.written.lock().extend_from_slice(&bytes);
            Ok(bytes.len())
        }

        fn wait(&self, _host: &HostWatch) -> Wake {
            Wake::Readable
        }

        fn end_reading(&self) {}

        fn shutdown(&self) {}

        fn host_pid(&self) -> Option<u32> {
            None
        }

        fn notices_silence(&self) -> bool {
            true
        }
    }

    fn report(run: u64) -> FromDaemon {
        FromDaemon::Ended {
            run,
            end: RunEnd::Value,
            took: 0,
            last: None,
        }
    }

    fn outbox() -> (Arc<Pipe>, Outbox) {
        let pipe = Arc::new(Pipe::default());
        let alarm = Arc::new(Alarm::new().unwrap());
        let (shared, _) = SharedWords::create().unwrap();
        let outbox = Outbox::new(Arc::clone(&pipe) as _, alarm, Arc::new(shared));
        (pipe, outbox)
    }

    /// What these reports are on the wire.
    fn frames(runs: impl IntoIterator<Item = u64>, payload: &[u8]) -> Vec<u8> {
        let frame = |run| {
            let head = encode_head(&report(run), payload.len() as u64);
            [&head, payload].concat()
        };
        runs.into_iter().flat_map(frame).collect()
    }

    #[test]
    fn reports_gather_until_they_are_flushed_or_one_is_sent() {
        let (pipe, outbox) = outbox();
        let now = Instant::now();
        for run in 1..4 {
            outbox.gather(&report(run), b"x", now).unwrap();
        }
        assert!(pipe.written.lock().is_empty());
        outbox.flush().unwrap();
        outbox.flush().unwrap();
        assert_eq!(*pipe.written.lock(), frames(1..4, b"x"));
        outbox.gather(&report(4), b"x", now).unwrap();
        outbox.send(&report(5), b"x").unwrap();
        assert_eq!(*pipe.written.lock(), frames(1..6, b"x"));
    }

    #[test]
    fn they_gather_for_no_longer_than_that_and_no_more() {
        let (pipe, outbox) = outbox();
        let now = Instant::now();
        outbox.gather(&report(1), b"x", now).unwrap();
        outbox.gather(&report(2), b"x", now + GATHER).unwrap();
        assert_eq!(*pipe.written.lock(), frames(1..3, b"x"));
        pipe.written.lock().clear();
        let large = vec![7; LARGE];
        let fit = outbox.shared.bytes().len() / frames([1], &large).len();
        for run in 1..=fit as u64 {
            outbox.gather(&report(run), &large, now).unwrap();
        }
        assert!(pipe.written.lock().is_empty());
        outbox.gather(&report(9), &large, now).unwrap();
        let all = frames((1..=fit as u64).chain([9]), &large);
        assert_eq!(*pipe.written.lock(), all);
    }

    #[test]
    fn what_is_not_written_is_on_the_shelf() {
        let (pipe, outbox) = outbox();
        let now = Instant::now();
        let unsaid = || outbox.shelf().unwrap().read();
        outbox.gather(&report(1), b"x", now).unwrap();
        outbox.gather(&report(2), b"x", now).unwrap();
        assert_eq!(unsaid(), frames(1..3, b"x"));
        pipe.room.store(10, Ordering::Relaxed);
        outbox.on_alarm();
        assert_eq!(unsaid(), frames(1..3, b"x"));
        outbox.flush().unwrap();
        assert!(unsaid().is_empty());
        outbox.gather(&report(3), &vec![7; LARGE + 1], now).unwrap();
        assert!(unsaid().is_empty());
    }

    #[test]
    fn the_alarm_has_written_what_fits_and_the_rest_later() {
        let (pipe, outbox) = outbox();
        let now = Instant::now();
        outbox.gather(&report(1), b"x", now).unwrap();
        outbox.gather(&report(2), b"x", now).unwrap();
        let all = frames(1..3, b"x");
        pipe.room.store(all.len() - 3, Ordering::Relaxed);
        outbox.on_alarm();
        assert_eq!(*pipe.written.lock(), all[..all.len() - 3]);
        assert!(outbox.state.lock().is_set);
        outbox.flush().unwrap();
        assert_eq!(*pipe.written.lock(), all);
        outbox.on_alarm();
        assert!(!outbox.state.lock().is_set);
        assert_eq!(*pipe.written.lock(), all);
    }
}
