//! A daemon as the hub knows it: its connections, and what a return of it needs.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mirai_scheduler::{DaemonId, KillReason, RunId};
use mirai_wire::{Origin, Payload, Return, ReturnKey, ReturnTicket, ToDaemon};

use tokio::sync::Notify;

use crate::activity::Activity;
use crate::cell::Cell;
use crate::claims::Offers;
use crate::deaths::{Death, ProcessFate};
use crate::link::Link;
use crate::unacknowledged::{Sent, Unacknowledged};
use crate::worker::{Worker, Workload};

/// Bytes of reports after which an acknowledgement is sent; one is also sent for the daemon's last message.
const OWED: usize = 1 << 16;

/// Bytes that a report counts besides its payload, so that many small ones are acknowledged as well.
const REPORT: usize = 256;

/// One of the connections of a daemon, which follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    pub daemon: DaemonId,
    /// Number of the connection, from 0.
    pub connection: u32,
}

/// A daemon that has joined and is not gone.
pub(crate) struct Member {
    /// Its number for users.
    pub number: u32,
    pub links: Links,
    /// Where it runs, once it has told.
    pub origin: Option<Arc<Origin>>,
    /// Shared parts that it has been sent.
    pub parts: HashSet<u64>,
    pub workload: Workload,
    /// It has nothing to do, and is asked rarely whether it is there: whoever sends it something rouses those who ask.
    pub rests: bool,
    /// `None` where it is sent nothing before its turn.
    pub offers: Option<Offers>,
    /// Number of its present connection, from 0.
    pub connection: u32,
    /// Whether its connection is broken.
    pub is_away: bool,
    /// Whether it was told to leave.
    pub is_dismissed: bool,
    /// Whether a signal has it leave.
    pub quits: bool,
    /// Whether it has taken the place of another.
    pub is_replacement: bool,
    /// Why it is being killed, if it is.
    pub condemned: Option<Condemned>,
    joined: Instant,
    /// `None` where a daemon with a broken connection is lost.
    returning: Option<Returning>,
}

/// What is known of a daemon as it is killed.
#[derive(Debug)]
pub(crate) struct Condemned {
    pub why: KillReason,
    /// Number of its task, and of the attempt at that.
    pub task: Option<(u64, u32)>,
    /// What it was at.
    pub activity: Option<Activity>,
}

impl Condemned {
    /// How the daemon, which is `launched` from here or not, has ended.
    fn how(&self, is_launched: bool, within: Option<Duration>) -> String {
        let end = if is_launched {
            "was killed"
        } else {
            "was sent away"
        };
        match (self.why, within) {
            (KillReason::Deaf, Some(Duration::ZERO)) => {
                format!("{end}, as its task was to be stopped")
            }
            (KillReason::Deaf, Some(within)) => {
                let why = self.activity.map_or(String::new(), |activity| {
                    format!(": {}", activity.why_deaf())
                });
                format!(
                    "{end}, as it did not stop its task within {within:?} of being asked to{why}"
                )
            }
            (KillReason::Deaf | KillReason::Forced, _) => {
                format!("{end}, as its task was to be stopped by force")
            }
        }
    }
}

/// State for the return of a daemon.
#[derive(Debug)]
struct Returning {
    key: ReturnKey,
    kept: Unacknowledged,
    /// Number of reports and goodbyes that have come.
    received: u64,
    /// Bytes of these that have not been acknowledged.
    owed: usize,
}

/// The two connections of a daemon.
#[derive(Clone)]
pub(crate) struct Links {
    pub data: Arc<Link>,
    pub control: Arc<Link>,
    /// Process id of the daemon, if it is one of this machine.
    pub pid: Option<u32>,
    /// Whether this process has launched it, so that somebody will tell how it has ended.
    pub is_launched: bool,
    /// Whether it was launched to take the place of another.
    pub is_replacement: bool,
    /// Told when it is to be killed, by those who watch its process.
    pub kill: Arc<Notify>,
    /// Likewise when it is to end by itself, and to be killed if it does not.
    pub stop: Arc<Stop>,
    /// Told when it has something to do again, if it [rests](Member::rests).
    pub roused: Arc<Notify>,
    /// Where the daemon is, if it connects over a network.
    pub peer: Option<SocketAddr>,
}

/// Whether a daemon was asked to end, as nobody waits for the only task that it has.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    is_asked: AtomicBool,
    asked: Notify,
}

impl Stop {
    pub(crate) fn ask(&self) {
        self.is_asked.store(true, Ordering::Release);
        self.asked.notify_one();
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    pub(crate) async fn wait(&self) {
        while !self.is_asked() {
            self.asked.notified().await;
        }
    }
}

impl Links {
    /// How often something has come from the daemon.
    pub(crate) fn heard(&self) -> u32 {
        let heard = |link: &Link| link.heard.load(Ordering::Relaxed);
        heard(&self.control).wrapping_add(heard(&self.data))
    }

    pub(crate) fn shutdown(&self) {
        self.data.connection.shutdown();
        self.control.connection.shutdown();
    }

    /// Ends both, after a last message.
    pub(crate) fn end(&self, last_word: &ToDaemon) {
        self.control.queue(last_word, Payload::new());
        self.control.flush();
        self.shutdown();
    }
}

impl Member {
    pub(crate) fn new(
        number: u32,
        links: Links,
        ticket: Option<ReturnTicket>,
        now: Instant,
    ) -> Member {
        Member {
            number,
            links,
            origin: None,
            parts: HashSet::new(),
            workload: Workload::default(),
            offers: None,
            connection: 0,
            is_away: false,
            is_dismissed: false,
            quits: false,
            is_replacement: false,
            rests: false,
            condemned: None,
            joined: now,
            returning: ticket
                .filter(|ticket| ticket.grace > 0)
                .map(|ticket| Returning {
                    key: ticket.key,
                    kept: Unacknowledged::default(),
                    received: 0,
                    owed: 0,
                }),
        }
    }

    /// The word of a run that is sent to it, by which both know whether it has begun.
    pub(crate) fn offer(&mut self, run: RunId) -> Option<u16> {
        self.offers.as_mut()?.offer(run.0)
    }

    /// Whether it has begun a run that it was sent, as far as can be told.
    pub(crate) fn has_begun(&self, run: RunId) -> bool {
        let offers = self.offers.as_ref();
        !offers.is_some_and(|offers| offers.is_open(run.0))
    }

    /// The job of a scheduler that it runs in, by its own words.
    pub(crate) fn job(&self) -> Option<&str> {
        let job = &*self.origin.as_ref()?.job;
        (!job.is_empty()).then_some(job)
    }

    /// One that is to be gone does not.
    pub(crate) fn may_return(&self) -> bool {
        self.returning.is_some() && !self.is_dismissed && self.condemned.is_none()
    }

    /// Queues a message on the data connection, and keeps it if it may have to be sent again.
    pub(crate) fn queue(&mut self, message: ToDaemon, payload: Payload) {
        if let Some(returning) = &mut self.returning {
            let payload = payload.clone();
            returning.kept.push(Sent { message, payload });
        }
        if !self.is_away {
            self.links.data.queue(&message, payload);
        }
    }

    /// Records a report of `bytes`, or a goodbye (`run` is `None`). Returns whether an acknowledgement was queued.
    pub(crate) fn note_report(&mut self, run: Option<u64>, bytes: usize, last: bool) -> bool {
        let Some(returning) = &mut self.returning else {
            return false;
        };
        returning.received += 1;
        returning.owed += bytes + REPORT;
        if let Some(run) = run {
            returning.kept.drop_until(run);
        }
        let is_due = last || returning.owed >= OWED;
        if is_due {
            returning.owed = 0;
            let count = returning.received;
            self.links
                .data
                .queue(&ToDaemon::Received { count }, Payload::new());
        }
        is_due
    }

    /// Replaces the connections of a daemon that has returned, and gives those that it had. `None` if its key is
    /// another.
    pub(crate) fn come_back(&mut self, back: &Return, links: Links) -> Option<Links> {
        let returning = self.returning.as_mut()?;
        if !returning.key.is(&back.key) {
            return None;
        }
        returning.kept.drop_received(back.received);
        returning.owed = 0;
        let received = returning.received;
        links
            .data
            .queue(&ToDaemon::WelcomeBack { received }, Payload::new());
        for Sent { message, payload } in returning.kept.messages() {
            links.data.queue(message, payload.clone());
        }
        self.connection += 1;
        self.is_away = false;
        Some(std::mem::replace(&mut self.links, links))
    }

    /// Describes the daemon and its task for users.
    pub(crate) fn describe(&self, task: Option<&Cell>, in_set_up: bool, now: Instant) -> Worker {
        Worker {
            id: self.number,
            pid: self.links.pid,
            peer: self.links.peer,
            origin: self.origin.clone(),
            done: self.workload.done(),
            busy: self.workload.busy(now),
            returns: self.connection,
            is_away: self.is_away,
            task: task.map(|task| self.workload.running(task, now)),
            setting_up: in_set_up.then(|| now.saturating_duration_since(self.joined)),
            is_set_up: self.workload.is_set_up(),
            is_replacement: self.is_replacement,
        }
    }

    /// The death of the daemon, of which so much is known.
    pub(crate) fn death(
        &self,
        task: Option<(u64, u32)>,
        in_set_up: bool,
        fate: Option<ProcessFate>,
        now: Instant,
    ) -> Death {
        let (how, output) =
            fate.map_or_else(Default::default, |fate| (Some(fate.how), fate.output));
        Death {
            at: SystemTime::now(),
            id: self.number,
            pid: self.links.pid,
            peer: self.links.peer,
            origin: self.origin.clone(),
            age: now.saturating_duration_since(self.joined),
            done: self.workload.done(),
            task,
            is_retried: false,
            in_set_up,
            how,
            output,
            is_killed: false,
        }
    }

    /// The same of one that a signal has quit. It had nothing to do, and its process may take long to end.
    pub(crate) fn quitting(&self, now: Instant) -> Death {
        let fate = ProcessFate {
            how: "was told to quit, by SIGUSR1 or SIGUSR2".to_owned(),
            output: String::new(),
        };
        self.death(None, false, Some(fate), now)
    }

    /// The same of one that was killed, which had so long to stop its task.
    pub(crate) fn killing(
        &self,
        within: Option<Duration>,
        fate: Option<&ProcessFate>,
        now: Instant,
    ) -> Option<Death> {
        let condemned = self.condemned.as_ref()?;
        let fate = ProcessFate {
            how: condemned.how(self.links.is_launched, within),
            output: fate.map_or_else(String::new, |fate| fate.output.clone()),
        };
        let mut death = self.death(condemned.task, false, Some(fate), now);
        death.is_killed = true;
        Some(death)
    }

    /// Whether [`end`](Self::end) sends something first.
    pub(crate) fn ends_with_a_word(&self, exit: bool) -> bool {
        exit || self.may_return()
    }

    /// Ends the connections; with `exit` the daemon is told to leave first.
    pub(crate) fn end(&self, exit: bool) {
        match exit {
            true => self.links.end(&ToDaemon::Exit),
            false if self.may_return() => self.links.end(&ToDaemon::Goodbye),
            false => self.links.shutdown(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_not_stop_is_told_with_what_it_was_at() {
        let how = |activity, is_launched, within| {
            let condemned = Condemned {
                why: KillReason::Deaf,
                task: None,
                activity,
            };
            condemned.how(is_launched, Some(within))
        };
        let within = Duration::from_millis(50);
        let killed = "was killed, as it did not stop its task within 50ms of being asked to";
        for (activity, why) in [
            (None, ""),
            (
                Some(Activity::Computing),
                ": it was busy in code that does not look for interrupts",
            ),
            (
                Some(Activity::Waiting),
                ": it waited in code that does not look for interrupts",
            ),
            (
                Some(Activity::Stopped),
                ": its process was stopped, as by SIGSTOP",
            ),
            (
                Some(Activity::Swapping),
                ": it waited for memory that was swapped out",
            ),
            (
                Some(Activity::Disk),
                ": it waited for a disk or another device",
            ),
        ] {
            assert_eq!(how(activity, true, within), format!("{killed}{why}"));
        }
        assert!(how(Some(Activity::Swapping), false, within).starts_with("was sent away, as"));
        assert_eq!(
            how(Some(Activity::Swapping), true, Duration::ZERO),
            "was killed, as its task was to be stopped"
        );
    }
}
