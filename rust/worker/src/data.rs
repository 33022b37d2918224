//! The data connection as the evaluating thread has it: one that goes on after a break, where the hub lets it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use mirai_wire::{Frame, FromDaemon, Payload, ToDaemon};

use crate::Absence;
use crate::clock::{Clock, SystemClock};
use crate::connections::{Connections, Verdict};
use crate::outbox::Outbox;
use crate::session::{Channel, Next};
use crate::{LeaveHandle, WorkerError};

/// The data connection to one hub.
#[derive(Debug)]
pub(crate) struct Data {
    channel: Channel,
    leave: LeaveHandle,
    connections: Arc<Connections>,
    /// `None` where a break is the end.
    kept: Option<Unacknowledged>,
    /// Where reports may be written together.
    outbox: Option<Arc<Outbox>>,
    /// Whether there are absences to tell of.
    has_returned: bool,
}

/// What the hub may not have received: it is sent again over the next connection.
#[derive(Debug, Default)]
struct Unacknowledged {
    /// How many messages came before these.
    acknowledged: u64,
    messages: VecDeque<(FromDaemon, Payload)>,
}

impl Unacknowledged {
    fn acknowledge(&mut self, received: u64) {
        let more = received.saturating_sub(self.acknowledged);
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        let more = more.min(self.messages.len());
        self.messages.drain(..more);
        self.acknowledged += more as u64;
    }
}

impl Data {
    pub(crate) fn new(
        channel: Channel,
        leave: &LeaveHandle,
        connections: Arc<Connections>,
        may_return: bool,
        outbox: Option<Arc<Outbox>>,
    ) -> Data {
        leave.reads_from(&channel.connection);
        Data {
            channel,
            leave: leave.clone(),
            connections,
            kept: may_return.then(Unacknowledged::default),
            outbox,
            has_returned: false,
        }
    }

    /// Reads the next message, until `deadline`; on a new connection if this one breaks, on which it is late until the absence
    /// has been taken.
    pub(crate) fn next(
        &mut self,
        deadline: Option<Instant>,
        clock: &dyn Clock,
    ) -> Result<Next, WorkerError> {
        if self.kept.is_none() {
            self.flush_before_waiting();
            return self.channel.next(deadline, clock);
        }
        loop {
            if !self.connections.is_whole()
                && let Some(next) = self.wait_for_another(deadline)
            {
                return Ok(next);
            }
            if self.has_returned {
                return Ok(Next::Late);
            }
            match self.channel.next(deadline, clock)? {
                Next::Message(Frame {
                    message: ToDaemon::Received { count },
                    ..
                }) => self.acknowledge(count),
                Next::Message(frame) if self.connections.take_in() => {
                    return Ok(Next::Message(frame));
                }
                // It comes again over the next connection.
                Next::Message(_) => {}
                Next::End if self.leave.is_asked() => return Ok(Next::End),
                Next::End => {
                    if let Some(next) = self.wait_for_another(deadline) {
                        return Ok(next);
                    }
                }
                Next::Late => return Ok(Next::Late),
            }
        }
    }

    /// Sends a message. Where the daemon may return, it is kept until the hub is known to have it.
    pub(crate) fn send(&mut self, message: FromDaemon, payload: Payload) -> io::Result<()> {
        let Some(kept) = &mut self.kept else {
            return match &self.outbox {
                Some(outbox) => outbox.send(&message, &payload),
                None => self.channel.send(&message, &payload),
            };
        };
        kept.messages.push_back((message, payload));
        if !self.connections.is_whole() {
            // With what else is kept, if there is another connection by now.
            self.wait_for_another(Some(Instant::now()));
        } else if let Some((message, payload)) = kept.messages.back() {
            // A failure shows in reading.
            let _ = self.channel.send(message, payload);
        }
        Ok(())
    }

    /// Sends a report on a task, together with the next ones if there are further tasks at hand.
    pub(crate) fn report(
        &mut self,
        message: FromDaemon,
        payload: Payload,
        now: Instant,
    ) -> io::Result<()> {
        match &self.outbox {
            Some(outbox) if self.channel.has_buffered() => outbox.gather(&message, &payload, now),
            _ => self.send(message, payload),
        }
    }

    /// What was gathered does not wait for messages to come.
    fn flush_before_waiting(&self) {
        if let Some(outbox) = &self.outbox
            && !self.channel.has_buffered()
        {
            // A failure shows in reading.
            let _ = outbox.flush();
        }
    }

    /// Whether the hub is gone, or has told the daemon to leave: what has come before is not begun any more.
    pub(crate) fn is_over(&self) -> bool {
        self.connections.is_over()
    }

    /// The absences from which the daemon has returned since the last call.
    pub(crate) fn take_absences(&mut self) -> VecDeque<Absence> {
        match std::mem::take(&mut self.has_returned) {
            true => self.connections.take_absences(),
            false => VecDeque::new(),
        }
    }

    /// Waits until the hub has received all messages or is gone, until `deadline` at most.
    pub(crate) fn deliver(&mut self, deadline: Instant) {
        while self
            .kept
            .as_ref()
            .is_some_and(|kept| !kept.messages.is_empty())
        {
            // Of absences the session tells at its end.
            self.has_returned = false;
            match self.next(Some(deadline), &SystemClock) {
                // Nothing is begun any more.
                Ok(Next::Message(_)) => {}
                Ok(Next::Late) if self.has_returned => {}
                Ok(Next::Late | Next::End) | Err(_) => return,
            }
        }
    }

    pub(crate) fn shutdown(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.on_alarm();
        }
        self.channel.shutdown();
    }

    fn acknowledge(&mut self, received: u64) {
        if let Some(kept) = &mut self.kept {
            kept.acknowledge(received);
        }
    }

    /// Goes on with another connection; or what came instead.
    fn wait_for_another(&mut self, deadline: Option<Instant>) -> Option<Next> {
        match self.connections.wait(deadline) {
            Verdict::Back(channel, received) => {
                self.leave.reads_from(&channel.connection);
                self.channel = channel;
                self.has_returned = true;
                self.acknowledge(received);
                for (message, payload) in self.kept.iter().flat_map(|kept| &kept.messages) {
                    if self.channel.send(message, payload).is_err() {
                        break;
                    }
                }
                None
            }
            Verdict::Over => Some(Next::End),
            Verdict::Late => Some(Next::Late),
        }
    }
}
