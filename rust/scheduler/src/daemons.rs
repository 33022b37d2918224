//! The slab of daemons, and the lists of those that rest.

use crate::DaemonId;
use crate::list::{Chain, Link, List, MAX_SLOTS, Slot};
use crate::tasks::InLine;

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Duty {
    Free {
        next: Option<Slot>,
    },
    /// Nothing was sent to it: it is among the idle or the parked.
    Resting,
    /// It has tasks, of which it evaluates the first.
    Busy,
    /// It has said goodbye and gets nothing more.
    Leaving,
}

/// A slot of the slab.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) id: DaemonId,
    pub(crate) duty: Duty,
    /// Number of the last barrier submitted before it joined: it is a member of those above.
    pub(crate) joined_after: u64,
    /// Number of the last barrier it is done with: has an evaluation of, or has none to get from.
    pub(crate) passed: u64,
    pub(crate) sent: List<InLine>,
    rest: Link,
    turn: Link,
}

/// The idle and the parked.
#[derive(Debug)]
pub(crate) struct Rest;

impl Chain for Rest {
    type Entry = Daemon;

    fn link(daemon: &mut Daemon) -> &mut Link {
        &mut daemon.rest
    }

    #[cfg(test)]
    fn look(daemon: &Daemon) -> &Link {
        &daemon.rest
    }
}

/// The order in which tasks are dealt.
#[derive(Debug)]
pub(crate) struct Turn;

impl Chain for Turn {
    type Entry = Daemon;

    fn link(daemon: &mut Daemon) -> &mut Link {
        &mut daemon.turn
    }

    #[cfg(test)]
    fn look(daemon: &Daemon) -> &Link {
        &daemon.turn
    }
}

/// All daemons, in slots that are used again.
#[derive(Debug, Default)]
pub(crate) struct Daemons {
    pub(crate) slots: Vec<Daemon>,
    free: Option<Slot>,
    /// Slot of each daemon by its id.
    names: Vec<Option<Slot>>,
    /// Resting daemons that may get the next thing in the queue, longest at rest first.
    pub(crate) idle: List<Rest>,
    /// Resting daemons that have passed the barrier at the head of the queue.
    pub(crate) parked: List<Rest>,
    /// All connected daemons, next in turn first.
    pub(crate) turns: List<Turn>,
}

impl Daemons {
    pub(crate) fn connected(&self) -> u32 {
        self.turns.len()
    }

    pub(crate) fn find(&self, id: DaemonId) -> Option<Slot> {
        *self.names.get(id.0 as usize)?
    }

    /// As [`Daemons::find`], but not one that has said goodbye.
    pub(crate) fn find_connected(&self, id: DaemonId) -> Option<Slot> {
        self.find(id)
            .filter(|slot| self.get(*slot).duty != Duty::Leaving)
    }

    pub(crate) fn get(&self, slot: Slot) -> &Daemon {
        &self.slots[slot as usize]
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Daemon {
        &mut self.slots[slot as usize]
    }

    /// Adds a daemon at rest, as the last in turn.
    pub(crate) fn join(&mut self, id: DaemonId, joined_after: u64) {
        let slot = self.free.unwrap_or_else(|| self.grow());
        let daemon = self.get_mut(slot);
        let Duty::Free { next } = daemon.duty else {
            unreachable!("the chain of free slots holds free slots only");
        };
        daemon.id = id;
        daemon.duty = Duty::Resting;
        daemon.joined_after = joined_after;
        daemon.passed = 0;
        self.free = next;
        self.name(id, Some(slot));
        self.idle.push_back(&mut self.slots, slot);
        self.turns.push_back(&mut self.slots, slot);
    }

    /// A busy daemon has nothing more to do.
    pub(crate) fn rest(&mut self, slot: Slot, parked: bool) {
        self.get_mut(slot).duty = Duty::Resting;
        let list = if parked {
            &mut self.parked
        } else {
            &mut self.idle
        };
        list.push_back(&mut self.slots, slot);
    }

    /// A resting daemon gets something to do, or goes.
    pub(crate) fn rouse(&mut self, slot: Slot, parked: bool) {
        self.get_mut(slot).duty = Duty::Busy;
        let list = if parked {
            &mut self.parked
        } else {
            &mut self.idle
        };
        list.remove(&mut self.slots, slot);
    }

    /// An idle daemon has nothing to get from the barrier at the head of the queue.
    pub(crate) fn park(&mut self, slot: Slot, barrier: u64) {
        self.idle.remove(&mut self.slots, slot);
        self.parked.push_back(&mut self.slots, slot);
        self.get_mut(slot).passed = barrier;
    }

    /// The barrier at the head of the queue is over.
    pub(crate) fn unpark(&mut self) {
        self.idle.append(&mut self.slots, &mut self.parked);
    }

    /// The daemon whose turn it is, which becomes the last in turn.
    pub(crate) fn next_in_turn(&mut self) -> Option<Slot> {
        let slot = self.turns.pop_front(&mut self.slots)?;
        self.turns.push_back(&mut self.slots, slot);
        Some(slot)
    }

    /// A daemon, roused and with nothing sent to it, is not connected any more.
    pub(crate) fn leave(&mut self, slot: Slot) {
        self.turns.remove(&mut self.slots, slot);
        self.get_mut(slot).duty = Duty::Leaving;
    }

    /// Forgets a daemon that has left.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.name(self.get(slot).id, None);
        self.get_mut(slot).duty = Duty::Free { next: self.free };
        self.free = Some(slot);
    }

    fn name(&mut self, id: DaemonId, slot: Option<Slot>) {
        let index = id.0 as usize;
        if index >= self.names.len() {
            self.names.resize(index + 1, None);
        }
        self.names[index] = slot;
    }

    fn grow(&mut self) -> Slot {
        assert!(
            self.slots.len() < MAX_SLOTS,
            "fewer daemons than slot numbers"
        );
        self.slots.push(Daemon {
            id: DaemonId(0),
            duty: Duty::Free { next: None },
            joined_after: 0,
            passed: 0,
            sent: List::default(),
            rest: Link::LOOSE,
            turn: Link::LOOSE,
        });
        (self.slots.len() - 1) as Slot
    }
}
