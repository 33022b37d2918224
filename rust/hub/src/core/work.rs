//! What remains to be done once the state is unlocked.

use std::sync::Arc;

use tokio::sync::Notify;

use super::open::Open;
use crate::Outcome;
use crate::cell::Cell;
use crate::link::Link;
use crate::member::{Links, Member};
use crate::parts::Parts;
use crate::presence::Presence;

/// What remains to be done once the state is unlocked.
#[derive(Default)]
pub(super) struct Work {
    pub(super) flush: Vec<Arc<Link>>,
    pub(super) settle: Vec<(Arc<Cell>, Outcome)>,
    pub(super) released: Vec<Open>,
    pub(super) unused: Vec<Parts>,
    /// Daemons that have not returned.
    pub(super) forgotten: Vec<Member>,
    /// Connections that others have taken the place of.
    pub(super) replaced: Vec<Links>,
    /// Processes that are to be killed.
    pub(super) killed: Vec<Links>,
    /// Processes that are to end.
    pub(super) stopped: Vec<Links>,
    /// Numbers of daemons that are to be gone, whose processes are not to be killed.
    pub(super) dismissed: Vec<u32>,
    /// For those who ask daemons that rested.
    pub(super) roused: Vec<Arc<Notify>>,
    /// For the listener.
    pub(super) presence: Vec<Presence>,
}

impl Work {
    /// A daemon has something to do.
    pub(super) fn rouse(&mut self, member: &mut Member) {
        if std::mem::take(&mut member.rests) {
            self.roused.push(Arc::clone(&member.links.roused));
        }
    }

    /// Has a daemon end: in the way of that list if it was launched from here and its process is known, else by its connections.
    pub(super) fn end(&mut self, member: &Member, processes: fn(&mut Work) -> &mut Vec<Links>) {
        if member.links.pid.is_some() && member.links.is_launched {
            processes(self).push(member.links.clone());
        } else {
            self.dismissed.push(member.number);
        }
    }

    pub(super) fn finish(self) {
        // Before it is told: it may be past its goodbye right after.
        for links in self.stopped {
            links.stop.ask();
        }
        for link in self.flush {
            link.flush();
        }
        for roused in self.roused {
            roused.notify_one();
        }
        for (cell, outcome) in self.settle {
            cell.settle(outcome);
        }
        for links in self.killed {
            // Whoever watches the process does it.
            links.kill.notify_one();
        }
        for links in self.replaced {
            links.shutdown();
        }
        for member in &self.forgotten {
            member.links.shutdown();
        }
        // Dropped here, without the lock: the last user of a shared part takes it to tell the daemons.
        drop((self.released, self.unused, self.forgotten));
    }
}
