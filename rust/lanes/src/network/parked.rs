//! A daemon's end of a network connection: blocking operations made from polled ones.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::{Connection, Dialled, HostWatch, Wake};

/// A connection of this lane as a daemon needs it.
pub(super) trait Lane: Connection {
    /// A reader, now or later, sees the end of the stream.
    fn end_reading(&self);
}

/// A daemon's end of a connection: a thread that has to wait is parked.
#[derive(Debug)]
pub(super) struct Parked<C>(pub C);

impl<C: Lane> Parked<C> {
    /// Tries again whenever `poll` says that it may help, by `deadline` at most.
    fn block<T>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> io::Result<T>,
        poll: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> io::Result<T> {
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            park(deadline, &poll)?;
        }
    }
}

/// Waits until `poll` is ready, by `deadline` at most.
fn park(
    deadline: Option<Instant>,
    poll: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
) -> io::Result<()> {
    let waker = unpark_this_thread();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = poll(&mut context) {
            return result;
        }
        match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => return Err(io::ErrorKind::TimedOut.into()),
            Some(rest) => std::thread::park_timeout(rest),
            None => std::thread::park(),
        }
    }
}

fn unpark_this_thread() -> Waker {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    thread_local! {
        static WAKER: Waker = Arc::new(Unpark(std::thread::current())).into();
    }
    WAKER.with(Waker::clone)
}

impl<C: Lane> Dialled for Parked<C> {
    fn read(&self, into: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        self.block(
            deadline,
            || self.0.try_read(into),
            |cx| self.0.poll_readable(cx),
        )
    }

    fn read_append(
        &self,
        into: &mut Vec<u8>,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        self.block(
            deadline,
            || self.0.try_read_append(into, limit),
            |cx| self.0.poll_readable(cx),
        )
    }

    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.block(
            None,
            || self.0.try_write(parts),
            |cx| self.0.poll_writable(cx),
        )
    }

    /// The caller's read blocks: nothing is known of a host elsewhere but its connection.
    fn wait(&self, _: &HostWatch) -> Wake {
        Wake::Readable
    }

    fn end_reading(&self) {
        self.0.end_reading();
    }

    fn shutdown(&self) {
        Connection::shutdown(&self.0);
    }

    fn host_pid(&self) -> Option<u32> {
        None
    }

    fn notices_silence(&self) -> bool {
        self.0.notices_silence()
    }
}
