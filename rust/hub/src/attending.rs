//! Attending to a daemon that has joined: what it says, and the end of its connection.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use mirai_lanes::ProcessEnd;
use mirai_wire::{
    Frame, FrameBuffer, FrameLimits, FromDaemon, LeaveReason, Origin, Payload, RunEnd, ToDaemon,
};

use crate::activity::Activity;
use crate::core::{Core, Report};
use crate::link::Link;
use crate::member::{Links, Seat};
use crate::reading::{PeerError, fill, fill_now};

/// Pings without an answer after which a connection is taken for broken.
const PINGS: u32 = 3;

/// By so many intervals of pings the next one comes later where the daemon has nothing to do: nobody waits for it, and no process
/// wakes for a pool that rests.
const PAUSE: u32 = 59;

/// The longest time between two of these pings, unless pings are rarer than that anyhow.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// How long a process takes to end whose connection has.
const ENDING_WITHIN: Duration = Duration::from_millis(200);

/// How long a daemon has that was told to end, after the interrupt of its task: for what the task does on its way out.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

/// How attending to a connection ends.
#[derive(Debug)]
enum End {
    /// The daemon has said goodbye or sent something that is not a message.
    Gone,
    /// Its process has ended.
    Died,
    /// The connection does not work any more; the daemon may.
    Broken(Option<PeerError>),
}

/// Attends to a daemon until it is gone, or there over another connection. The end of its process counts, not only that
/// of its connection: a copy of the descriptor in a grandchild keeps that open. `note` is told why a connection is given up.
pub(crate) async fn attend(
    core: &Arc<Core>,
    seat: Seat,
    links: &Links,
    mut buffer: FrameBuffer,
    note: impl Fn(&PeerError),
) {
    let attendance = Attendance { core, seat };
    let mut ended = Box::pin(end_of(Arc::clone(core), seat, links.clone()));
    let link = &*links.data;
    let end = tokio::select! {
        end = handle_messages(core, seat, link, &mut buffer) => end,
        () = link.write_queued() => End::Broken(None),
        () = silence(core, seat, links) => End::Broken(Some(PeerError::Silent)),
        () = &mut ended => {
            // What it wrote before its end still counts.
            while let Ok(Some(true)) = fill_now(link, &mut buffer) {
                if !matches!(handle_received(core, seat, &mut buffer), Ok(ControlFlow::Continue(()))) {
                    break;
                }
            }
            End::Died
        }
    };
    let error = match end {
        End::Gone => return see_out(links, ended),
        End::Died => {
            handle_unsaid(core, seat);
            return await_word_of_end(core, links).await;
        }
        End::Broken(error) => error,
    };
    if let Some(error) = error {
        note(&error);
        log::debug!("the connection to {:?} is given up: {error}", seat.daemon);
    }
    // The connections of a process that ends go a moment before.
    if !core.may_return(seat)
        && tokio::time::timeout(ENDING_WITHIN, &mut ended)
            .await
            .is_ok()
    {
        handle_unsaid(core, seat);
        return await_word_of_end(core, links).await;
    }
    std::mem::forget(attendance);
    if links.stop.is_asked() {
        core.lost(seat);
        return see_out(links, ended);
    }
    if let Some(grace) = core.broke(seat)
        && links.pid.is_some()
    {
        // A process that has ended does not return. The connections are not kept for that.
        let (core, links) = (Arc::clone(core), links.clone());
        tokio::spawn(async move {
            if tokio::time::timeout(grace, ended).await.is_ok() {
                await_word_of_end(&core, &links).await;
                core.lost(seat);
            }
        });
    }
}

/// A daemon that was told to end may hang on its way out, behind its goodbye.
fn see_out(links: &Links, ended: impl Future<Output = ()> + Send + 'static) {
    if links.stop.is_asked() {
        tokio::spawn(ended);
    }
}

/// A daemon that has died may have come to values that it had not written. Those that it had are of runs that are over.
fn handle_unsaid(core: &Core, seat: Seat) {
    let unsaid = core.unsaid(seat);
    let mut rest = &unsaid[..];
    let mut buffer = FrameBuffer::new(FrameLimits::PEER);
    while !rest.is_empty() {
        rest = buffer.take_in(rest);
        if !matches!(
            handle_received(core, seat, &mut buffer),
            Ok(ControlFlow::Continue(()))
        ) {
            return;
        }
    }
}

/// Waits until it is known how a process that was launched from here has ended.
async fn await_word_of_end(core: &Core, links: &Links) {
    if let Some(pid) = links.pid.filter(|_| links.is_launched) {
        core.end_told(pid).await;
    }
}

/// Resolves at the end of a process of this machine, which is killed when that is asked for: only one that was launched from here,
/// so that it is known to be a daemon and nothing else.
async fn end_of(core: Arc<Core>, seat: Seat, links: Links) {
    let process = links.pid.and_then(ProcessEnd::watch);
    let stopped = async {
        links.stop.wait().await;
        tokio::time::sleep(STOPPED_WITHIN).await;
    };
    let asked = async {
        tokio::select! {
            () = links.kill.notified() => {}
            () = stopped => {}
        }
        core.note_activity(seat, links.pid.and_then(Activity::of));
    };
    match process.map(ProcessEnd::move_up) {
        Some(process) => drop(process.wait_or_kill(asked).await),
        None => {
            asked.await;
            links.end(&ToDaemon::Exit);
            std::future::pending().await
        }
    }
}

/// Ends the attendance of a daemon, by a panic as well: its task must not wait for ever.
struct Attendance<'a> {
    core: &'a Core,
    seat: Seat,
}

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        self.core.lost(self.seat);
    }
}

/// Ends when nothing has come from a daemon for so long, though it was asked, for lanes that do not notice this themselves. A
/// stall of this process counts as one interval without an answer, however long it was. A daemon that rests is asked rarely.
async fn silence(core: &Core, seat: Seat, links: &Links) {
    let control = &links.control;
    if control.connection.notices_silence() {
        return std::future::pending().await;
    }
    let interval = core.times.silence / PINGS;
    let mut missed = 0;
    while missed < PINGS {
        let pause = match missed == 0 && core.rests(seat) {
            true => rest(interval),
            false => Duration::ZERO,
        };
        let heard = links.heard();
        let millis = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
        control.queue(&ToDaemon::Ping { pause: millis }, Payload::new());
        control.flush();
        tokio::time::sleep(interval).await;
        if links.heard() == heard {
            missed += 1;
            // A process that is seen to stand still is not gone, and will answer.
            if missed == PINGS && is_stopped(links) {
                missed = 0;
            }
            continue;
        }
        missed = 0;
        tokio::select! {
            () = links.roused.notified(), if !pause.is_zero() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// By how much the next ping comes later to a daemon that has nothing to do.
fn rest(interval: Duration) -> Duration {
    let most = LONGEST_REST.saturating_sub(interval);
    interval.saturating_mul(PAUSE).min(most)
}

/// Whether a signal has stopped the daemon, where its process is one of this machine's.
fn is_stopped(links: &Links) -> bool {
    links.pid.and_then(Activity::of) == Some(Activity::Stopped)
}

async fn handle_messages(core: &Core, seat: Seat, link: &Link, buffer: &mut FrameBuffer) -> End {
    loop {
        match handle_received(core, seat, buffer) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return End::Gone,
            Err(error) => {
                log::debug!("{:?} is dropped: {error}", seat.daemon);
                return End::Gone;
            }
        }
        match fill(link, buffer).await {
            Ok(true) => {}
            Ok(false) => return End::Broken(None),
            Err(error) => return End::Broken(Some(error)),
        }
    }
}

/// Handles the messages that are complete; `Break` when the daemon says goodbye.
fn handle_received(
    core: &Core,
    seat: Seat,
    buffer: &mut FrameBuffer,
) -> Result<ControlFlow<()>, PeerError> {
    while let Some(Frame {
        message,
        payload,
        lost,
    }) = buffer.next_frame()?
    {
        match message {
            FromDaemon::Ended {
                run,
                end,
                took,
                last,
            } => {
                let report = Report {
                    end: if lost { RunEnd::OutOfMemory } else { end },
                    took: Duration::from_micros(took),
                    payload,
                };
                core.ended(seat, run, last.is_some(), report);
                if last.is_some() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            FromDaemon::Leaving(reason) => {
                core.leaving(seat, reason == LeaveReason::Quits);
                return Ok(ControlFlow::Break(()));
            }
            FromDaemon::Origin => core.note_origin(seat, Origin::decode(&payload)?),
            FromDaemon::Hello(_) | FromDaemon::Pong => return Err(PeerError::NoHello),
        }
    }
    // Nobody is to fill the memory with a report that is none.
    if let Some(FromDaemon::Ended { run, .. }) = buffer.begun()?
        && !core.expects(seat, run)
    {
        buffer.let_go();
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_daemon_that_rests_is_asked_every_five_minutes() {
        let interval = mirai_lanes::SILENCE / PINGS;
        assert_eq!(interval + rest(interval), LONGEST_REST);
    }

    proptest! {
        /// Whatever the session has set: no daemon that rests is asked less often than each five minutes, or than one at work.
        #[test]
        fn no_setting_has_a_daemon_rest_for_longer(seconds in 3_u64..1_000_000) {
            let interval = Duration::from_secs(seconds) / PINGS;
            prop_assert!(interval + rest(interval) <= interval.max(LONGEST_REST));
        }
    }
}
