//! Connections of daemons: accepting them, and pairing the two of each daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mirai_lanes::{Address, Arrival, Listener, RoomFor, check_room};
use mirai_scheduler::Mode;
use mirai_wire::{
    Frame, FrameBuffer, FrameLimits, FromDaemon, Hello, PairKey, Payload, RefuseReason, Role,
    ToDaemon, WireError,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::accounts::{Accounts, Source};
use crate::attending::attend;
use crate::core::Core;
use crate::link::Link;
use crate::member::Links;
use crate::newcomers::{Newcomer, Newcomers, Room};
use crate::options::launcher_of_replacements;
use crate::reading::{PeerError, fill};
use crate::refusals::{Kind, Refusals};
use crate::throttle::{self, Price, Throttle};

/// A peer that has not proved and said who it is by then is turned away. Daemons say so within a millisecond; a machine under heavy
/// load may take its time.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// After so many peers that were not heard, others on this thread come first: those that follow each other without a pause would
/// keep it from what has come for tasks.
const UNHEARD_AT_ONCE: u32 = 16;

/// The shortest pause that there is.
const UNHEARD_PAUSE: Duration = Duration::from_millis(1);

/// Pause when accepting itself fails: descriptors have run out, and come back when daemons leave.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A control connection that waits for its data connection.
#[derive(Debug)]
struct Half {
    link: Arc<Link>,
    place: Arc<Newcomer>,
}

/// Where daemons come in.
struct Entrance {
    core: Arc<Core>,
    /// For all who come in here.
    throttle: Mutex<Throttle>,
    /// For those of one source, over a network.
    accounts: Mutex<Accounts>,
    refusals: Arc<Refusals>,
    newcomers: Arc<Newcomers>,
    /// Room for control connections that wait for their data connection.
    waiting: Arc<Newcomers>,
    halves: Mutex<BTreeMap<PairKey, Half>>,
    /// Connections break here while both processes live.
    may_break: bool,
}

/// Takes daemons in, for ever.
pub(crate) async fn accept_all(core: Arc<Core>, mut listener: Listener, refusals: Arc<Refusals>) {
    let may_break = matches!(listener.address(), Address::Network(_));
    let now = Instant::now();
    let entrance = Arc::new(Entrance {
        core,
        may_break,
        throttle: Mutex::new(Throttle::new(now)),
        accounts: Mutex::new(Accounts::new(now)),
        refusals,
        newcomers: Newcomers::new(Room::STRANGERS),
        waiting: Newcomers::new(Room::HALVES),
        halves: Mutex::default(),
    });
    let mut unheard = 0;
    loop {
        let now = Instant::now();
        let closed_until = entrance.throttle.lock().closed_until(now);
        if let Some(until) = closed_until {
            tokio::time::sleep_until(until).await;
            // What a process that was stopped meanwhile took longer is not the door's.
            entrance.core.hold_up(None, until - now);
            continue;
        }
        match listener.accept().await {
            Ok(arrival) => {
                let source = arrival.peer().map(Source::of);
                match entrance.place(source).await {
                    Some(newcomer) => {
                        tokio::spawn(Arc::clone(&entrance).take_in(arrival, source, newcomer));
                    }
                    None => {
                        entrance.turn_away_unheard(arrival, source);
                        unheard += 1;
                        if unheard == UNHEARD_AT_ONCE {
                            unheard = 0;
                            tokio::time::sleep(UNHEARD_PAUSE).await;
                        }
                    }
                }
            }
            Err(error) if error.is_stranger() => {
                entrance.turned_away(None, Kind::of(&error), &error, throttle::AT_ONCE)
            }
            Err(error) => {
                log::debug!("accepting failed: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Entrance {
    /// A place for a peer from there, for which others may have to wait for a while; `None` where so many from there were
    /// turned away that its account is closed. Some debt is no reason: each reset costs a daemon one of its attempts.
    async fn place(&self, source: Option<Source>) -> Option<Newcomer> {
        if let Some(source) = source {
            let now = Instant::now();
            if self.accounts.lock().closed_until(now, source).is_some() {
                return None;
            }
        }
        Some(self.newcomers.take_in(source).await)
    }

    fn turn_away_unheard(&self, arrival: Arrival, source: Option<Source>) {
        arrival.reset();
        self.turned_away(None, Kind::Unproven, &PeerError::Unheard, throttle::UNHEARD);
        let Some(source) = source else { return };
        let untold = self.accounts.lock().take_untold(Instant::now(), source);
        if let Some(time) = untold {
            self.core.hold_up(Some(source), time);
        }
    }

    /// Serves a connection from its first byte to its end.
    async fn take_in(
        self: Arc<Self>,
        arrival: Arrival,
        source: Option<Source>,
        newcomer: Newcomer,
    ) {
        let newcomer = Arc::new(newcomer);
        let mut buffer = FrameBuffer::new(FrameLimits::STRANGER);
        let greeting = async {
            let proof = arrival.await?;
            newcomer.has_spoken();
            let link = Arc::new(Link::new(proof.await?));
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
            whom = newcomer.gives_way() => Err(PeerError::Crowded(whom)),
            () = tokio::time::sleep(HELLO_WITHIN) => Err(PeerError::Late),
        };
        let was_silent = newcomer.is_silent();
        let served = match greeted {
            Ok((link, hello)) => {
                let served = self.admit(&link, buffer, hello, newcomer).await;
                link.connection.shutdown();
                served
            }
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            let price = if was_silent || matches!(error, PeerError::Gone) {
                throttle::AT_ONCE
            } else {
                throttle::AFTER_READING
            };
            let source = source.filter(|_| !error.is_blameless());
            self.turned_away(source, error.kind(), &error, price);
        }
    }

    /// What somebody has changed on the way to a daemon counts as well, and what a daemon sends that is none of its lane's.
    fn note_breach(&self, error: &PeerError) {
        if error.is_forged() || error.is_malformed() {
            self.note(error.kind(), error, Instant::now());
        }
    }

    /// The log is no place for all that a stranger can cause.
    fn note(&self, kind: Kind, why: &dyn std::error::Error, now: Instant) {
        if let Some(count) = self.refusals.count(kind, now) {
            log::info!("a connection was refused: {why} (the {count}. of its kind)");
        }
    }

    fn turned_away(
        &self,
        source: Option<Source>,
        kind: Kind,
        why: &dyn std::error::Error,
        price: Price,
    ) {
        let now = Instant::now();
        self.note(kind, why, now);
        let price = match self.core.awaits_daemons() {
            true => price.discounted(),
            false => price,
        };
        if let Some(source) = source {
            self.accounts.lock().charge(now, source, price);
        }
        // On this machine nobody is told from another before he is turned away: all wait.
        let price = match self.may_break {
            true => price.of_all,
            false => price.of_source,
        };
        self.throttle.lock().charge(now, price);
    }
}

async fn read_hello(link: &Link, buffer: &mut FrameBuffer) -> Result<Hello, PeerError> {
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
            return Err(PeerError::Gone);
        }
    }
    loop {
        if let Some(Frame { message, .. }) = buffer.next_frame()? {
            let FromDaemon::Hello(hello) = message else {
                return Err(PeerError::NoHello);
            };
            return Ok(hello);
        }
        if !fill(link, buffer).await? {
            return Err(PeerError::Gone);
        }
    }
}

fn refuse(link: &Link, reason: RefuseReason) {
    link.queue(&ToDaemon::Refuse(reason), Payload::new());
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
    ) -> Result<(), PeerError> {
        let hub_is_direct = self.core.mode == Mode::Direct;
        if hello.direct != hub_is_direct {
            refuse(link, RefuseReason::Mode { hub_is_direct });
            return Err(PeerError::Mode);
        }
        if let Err(full) = check_room(RoomFor::Connection) {
            self.core.turn_away(self.pid(link, &hello), full);
            refuse(link, RefuseReason::Files);
            return Err(full.into());
        }
        match hello.role {
            Role::Control => {
                newcomer.is_known();
                let source = link.connection.peer().map(Source::of);
                let place = Arc::new(self.waiting.take_in(source).await);
                self.attend_control(link, buffer, hello.pair, place).await
            }
            Role::Data => {
                newcomer.is_known();
                self.attend_data(link, buffer, hello).await
            }
        }
    }

    /// Process id of a daemon of this machine, as the lane knows it, or as it says itself with what only our launcher gives.
    fn pid(&self, link: &Link, hello: &Hello) -> Option<u32> {
        let told = self.is_launched(hello).then_some(hello.pid);
        link.connection.peer_pid().or(told)
    }

    fn is_launched(&self, hello: &Hello) -> bool {
        let launcher = self.core.launcher;
        launcher != 0 && (hello.launcher == launcher || self.is_replacement(hello))
    }

    fn is_replacement(&self, hello: &Hello) -> bool {
        let launcher = self.core.launcher;
        launcher != 0 && hello.launcher == launcher_of_replacements(launcher)
    }

    async fn attend_control(
        &self,
        link: &Arc<Link>,
        mut buffer: FrameBuffer,
        pair: PairKey,
        place: Arc<Newcomer>,
    ) -> Result<(), PeerError> {
        let half = Half {
            link: Arc::clone(link),
            place: Arc::clone(&place),
        };
        self.halves.lock().insert(pair, half);
        link.queue(&ToDaemon::ControlTaken, Payload::new());
        link.flush();
        let gives_way = async {
            place.gives_way().await;
            // The other half may have come at the same moment.
            if self.halves.lock().remove(&pair).is_none() {
                std::future::pending().await
            }
        };
        // Its end clears what never found its other half.
        tokio::select! {
            () = link.write_queued() => {}
            read = read_pongs(link, &mut buffer) => if let Err(error) = read {
                self.note_breach(&error);
            },
            () = gives_way => return Err(PeerError::NoData),
        }
        match self.halves.lock().remove(&pair) {
            Some(_) => Err(PeerError::NoData),
            None => Ok(()),
        }
    }

    async fn attend_data(
        &self,
        link: &Arc<Link>,
        mut buffer: FrameBuffer,
        hello: Hello,
    ) -> Result<(), PeerError> {
        let control = self.halves.lock().remove(&hello.pair);
        let Half {
            link: control,
            place,
        } = control.ok_or(PeerError::NoControl)?;
        place.is_known();
        buffer.set_limits(FrameLimits::PEER);
        for link in [link, &control] {
            link.connection.set_silence(self.core.times.silence);
        }
        let links = Links {
            data: Arc::clone(link),
            control: Arc::clone(&control),
            pid: self.pid(link, &hello),
            is_launched: self.is_launched(&hello),
            is_replacement: self.is_replacement(&hello),
            kill: Arc::default(),
            stop: Arc::default(),
            roused: Arc::default(),
            peer: link.connection.peer(),
        };
        let (seat, refusal) = match hello.returning {
            None => (
                self.core.join(links.clone(), self.may_break, hello.ahead),
                RefuseReason::Closing,
            ),
            Some(back) => (
                self.core.come_back(&back, links.clone()),
                RefuseReason::Forgotten,
            ),
        };
        match seat {
            Some(seat) => {
                let note = |error: &PeerError| self.note_breach(error);
                attend(&self.core, seat, &links, buffer, note).await
            }
            None => refuse(link, refusal),
        }
        control.connection.shutdown();
        Ok(())
    }
}

/// What a daemon's control connection says once it is taken.
async fn read_pongs(link: &Link, buffer: &mut FrameBuffer) -> Result<(), PeerError> {
    loop {
        while let Some(Frame { message, .. }) = buffer.next_frame()? {
            match message {
                FromDaemon::Pong => {}
                _ => return Err(PeerError::NoHello),
            }
        }
        if !fill(link, buffer).await? {
            return Ok(());
        }
    }
}
