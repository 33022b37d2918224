//! Connections of daemons: accepting them, pairing the two of each daemon, reading reports until the daemon is gone.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mirai_lanes::{Address, Arrival, LaneError, Listener, OutOfFiles, RoomFor, check_room};
use mirai_scheduler::Mode;
use mirai_wire::{
    Frame, FrameBuffer, FrameLimits, FromDaemon, Hello, PairKey, RefuseReason, Role, ToDaemon,
    Want, WireError,
};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::time::Instant;

use crate::attending::attend;
use crate::core::Core;
use crate::link::Link;
use crate::member::Links;
use crate::newcomers::{Newcomer, Newcomers};
use crate::refusals::{Kind, Refusals};
use crate::throttle::{self, Throttle};

/// A peer that has not proved and said who it is by then is turned away. Daemons say so within a millisecond; a machine under heavy
/// load may take its time.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Pause when accepting itself fails: descriptors have run out, and come back when daemons leave.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a peer did not become a daemon, or stopped being one.
#[derive(Debug, Error)]
pub(crate) enum GreetError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it closed the connection before it said hello")]
    Gone,
    #[error("its first message is no hello")]
    NoHello,
    #[error("it does not answer any more")]
    Silent,
    #[error("it has no control connection")]
    NoControl,
    #[error("its data connection did not come")]
    NoData,
    #[error(transparent)]
    Files(#[from] OutOfFiles),
    #[error("its dispatcher setting differs from the hub's")]
    Mode,
    #[error("it did not say hello in time")]
    Late,
    #[error("it was silent while others waited")]
    Crowded,
    #[error(transparent)]
    Lane(#[from] LaneError),
}

impl GreetError {
    fn kind(&self) -> Kind {
        match self {
            GreetError::Lane(error) => Kind::of(error),
            GreetError::Late | GreetError::Crowded => Kind::Silent,
            _ => Kind::Unfit,
        }
    }
}

/// A control connection that waits for its data connection.
#[derive(Debug)]
struct Half {
    link: Arc<Link>,
    newcomer: Arc<Newcomer>,
}

/// Where daemons come in.
struct Entrance {
    core: Arc<Core>,
    throttle: Mutex<Throttle>,
    refusals: Arc<Refusals>,
    newcomers: Arc<Newcomers>,
    halves: Mutex<BTreeMap<PairKey, Half>>,
    /// Connections break here while both processes live.
    may_break: bool,
}

/// Takes daemons in, for ever.
pub(crate) async fn accept_all(core: Arc<Core>, mut listener: Listener, refusals: Arc<Refusals>) {
    let may_break = matches!(listener.address(), Address::Network(_));
    let entrance = Arc::new(Entrance {
        core,
        may_break,
        throttle: Mutex::new(Throttle::new(Instant::now())),
        refusals,
        newcomers: Arc::default(),
        halves: Mutex::default(),
    });
    loop {
        let closed_until = entrance.throttle.lock().closed_until(Instant::now());
        if let Some(until) = closed_until {
            tokio::time::sleep_until(until).await;
            continue;
        }
        match listener.accept().await {
            Ok(arrival) => {
                let newcomer = entrance.newcomers.take_in().await;
                tokio::spawn(Arc::clone(&entrance).take_in(arrival, newcomer));
            }
            Err(error) if error.is_stranger() => {
                entrance.turned_away(Kind::of(&error), &error, throttle::AT_ONCE)
            }
            Err(error) => {
                log::debug!("accepting failed: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Entrance {
    /// Serves a connection from its first byte to its end.
    async fn take_in(self: Arc<Self>, arrival: Arrival, newcomer: Newcomer) {
        let newcomer = Arc::new(newcomer);
        let mut buffer = FrameBuffer::new(FrameLimits::STRANGER);
        let greeting = async {
            let link = Arc::new(Link::new(arrival.await?));
            match read_hello(&link, &mut buffer).await {
                Ok(hello) => Ok((link, hello)),
                Err(error) => {
                    link.connection.shutdown();
                    Err(error)
                }
            }
        };
        let greeted = tokio::select! {
            greeted = greeting => greeted,
            () = newcomer.gives_way() => Err(GreetError::Crowded),
            () = tokio::time::sleep(HELLO_WITHIN) => Err(GreetError::Late),
        };
        let served = match greeted {
            Ok((link, hello)) => {
                let served = self.admit(&link, buffer, hello, newcomer).await;
                link.connection.shutdown();
                served
            }
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            self.turned_away(error.kind(), &error, throttle::AFTER_READING);
        }
    }

    fn turned_away(&self, kind: Kind, why: &dyn std::error::Error, price: Duration) {
        let now = Instant::now();
        // The log is no place for all that a stranger can cause.
        if let Some(count) = self.refusals.count(kind, now) {
            log::info!("a connection was refused: {why} (the {count}. of its kind)");
        }
        self.throttle.lock().charge(now, price);
    }
}

/// Reads what the peer has sent next; `false` at the end of the stream. Giving up in between loses nothing.
pub(crate) async fn fill(link: &Link, buffer: &mut FrameBuffer) -> Result<bool, GreetError> {
    loop {
        poll_fn(|cx| link.connection.poll_readable(cx)).await?;
        if let Some(open) = fill_now(link, buffer)? {
            return Ok(open);
        }
    }
}

/// Reads what is there: `None` when nothing is, `Some(false)` at the end of the stream.
pub(crate) fn fill_now(link: &Link, buffer: &mut FrameBuffer) -> Result<Option<bool>, GreetError> {
    let read = match buffer.want() {
        Want::Window(window) => link
            .connection
            .try_read(window)
            .inspect(|count| buffer.filled(*count)),
        Want::Payload { into, missing } => link.connection.try_read_append(into, missing),
    };
    match read {
        Ok(count) => Ok(Some(count > 0)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn read_hello(link: &Link, buffer: &mut FrameBuffer) -> Result<Hello, GreetError> {
    loop {
        match buffer.next_preamble() {
            Ok(Some(())) => break,
            Ok(None) => {}
            Err(error @ WireError::Version { .. }) => {
                refuse(link, RefuseReason::Version);
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
        if !fill(link, buffer).await? {
            return Err(GreetError::Gone);
        }
    }
    loop {
        if let Some(Frame { message, .. }) = buffer.next_frame()? {
            let FromDaemon::Hello(hello) = message else {
                return Err(GreetError::NoHello);
            };
            return Ok(hello);
        }
        if !fill(link, buffer).await? {
            return Err(GreetError::Gone);
        }
    }
}

fn refuse(link: &Link, reason: RefuseReason) {
    link.queue(&ToDaemon::Refuse(reason), None);
    link.flush();
}

impl Entrance {
    /// Serves a connection to its end.
    async fn admit(
        &self,
        link: &Arc<Link>,
        buffer: FrameBuffer,
        hello: Hello,
        newcomer: Arc<Newcomer>,
    ) -> Result<(), GreetError> {
        let hub_is_direct = self.core.mode == Mode::Direct;
        if hello.direct != hub_is_direct {
            refuse(link, RefuseReason::Mode { hub_is_direct });
            return Err(GreetError::Mode);
        }
        if let Err(full) = check_room(RoomFor::Connection) {
            self.core.turn_away(self.pid(link, &hello), full);
            refuse(link, RefuseReason::Files);
            return Err(full.into());
        }
        match hello.role {
            Role::Control => {
                self.attend_control(link, buffer, hello.pair, newcomer)
                    .await
            }
            Role::Data => {
                newcomer.is_known();
                self.attend_data(link, buffer, hello).await
            }
        }
    }

    /// Process id of a daemon of this machine, as the lane knows it, or as it says itself with what only our launcher gives.
    fn pid(&self, link: &Link, hello: &Hello) -> Option<u32> {
        let is_launched = self.core.launcher != 0 && hello.launcher == self.core.launcher;
        let told = is_launched.then_some(hello.pid);
        link.connection.peer_pid().or(told)
    }

    async fn attend_control(
        &self,
        link: &Arc<Link>,
        mut buffer: FrameBuffer,
        pair: PairKey,
        newcomer: Arc<Newcomer>,
    ) -> Result<(), GreetError> {
        let half = Half {
            link: Arc::clone(link),
            newcomer: Arc::clone(&newcomer),
        };
        self.halves.lock().insert(pair, half);
        link.queue(&ToDaemon::ControlTaken, None);
        link.flush();
        let gives_way = async {
            newcomer.gives_way().await;
            // The other half may have come at the same moment.
            if self.halves.lock().remove(&pair).is_none() {
                std::future::pending().await
            }
        };
        // Its end clears what never found its other half.
        tokio::select! {
            () = link.write_queued() => {}
            _ = read_pongs(link, &mut buffer) => {}
            () = gives_way => return Err(GreetError::Crowded),
        }
        match self.halves.lock().remove(&pair) {
            Some(_) => Err(GreetError::NoData),
            None => Ok(()),
        }
    }

    async fn attend_data(
        &self,
        link: &Arc<Link>,
        mut buffer: FrameBuffer,
        hello: Hello,
    ) -> Result<(), GreetError> {
        let control = self.halves.lock().remove(&hello.pair);
        let Half {
            link: control,
            newcomer,
        } = control.ok_or(GreetError::NoControl)?;
        newcomer.is_known();
        buffer.set_limits(FrameLimits::PEER);
        let links = Links {
            data: Arc::clone(link),
            control: Arc::clone(&control),
            pid: self.pid(link, &hello),
        };
        let (seat, refusal) = match hello.returning {
            None => (
                self.core.join(links.clone(), self.may_break),
                RefuseReason::Closing,
            ),
            Some(back) => (
                self.core.come_back(&back, links.clone()),
                RefuseReason::Forgotten,
            ),
        };
        match seat {
            Some(seat) => attend(&self.core, seat, &links, buffer).await,
            None => refuse(link, refusal),
        }
        control.connection.shutdown();
        Ok(())
    }
}

/// What a daemon's control connection says once it is taken.
async fn read_pongs(link: &Link, buffer: &mut FrameBuffer) -> Result<(), GreetError> {
    loop {
        while let Some(Frame { message, .. }) = buffer.next_frame()? {
            match message {
                FromDaemon::Pong => link.pongs.fetch_add(1, Ordering::Relaxed),
                _ => return Err(GreetError::NoHello),
            };
        }
        if !fill(link, buffer).await? {
            return Ok(());
        }
    }
}
