//! The slab of daemons, and the lists of those that rest.

use crate::due::Clock;
use crate::list::{Chain, Link, List};
use crate::slab::{Slab, Slot};
use crate::tasks::InLine;
use crate::{DaemonId, Tick};

/// How far a daemon is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// It has an id and has not joined.
    Reserved,
    /// Nothing was sent to it: it is among the idle or the parked.
    Resting,
    /// It is being set up, or has tasks, of which it evaluates the first.
    Busy,
    /// Its connection broke; it keeps what it has, and gets nothing from the queue.
    Suspect {
        /// When its grace is over.
        until: Tick,
        /// The same in the wheel.
        timer: Slot,
    },
    /// It has said goodbye and gets nothing more.
    Leaving,
}

/// A daemon that is not gone.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) stage: Stage,
    /// Epoch in which it joined: it is a member of the barriers above.
    pub(crate) joined_in: u64,
    /// Epoch of the last barrier it is done with: has an evaluation of, or has none to get from.
    pub(crate) passed: u64,
    pub(crate) sent: List<InLine>,
    /// What it has to do before its first task, and has not reported on.
    pub(crate) setups: usize,
    /// Whether it may be sent tasks before their turn.
    pub(crate) takes_ahead: bool,
    /// How many it has of these, and their bytes.
    pub(crate) ahead: u32,
    pub(crate) ahead_bytes: u64,
    /// Since when it is at the first of its tasks.
    pub(crate) since: Tick,
    /// The deadline that it has at the first of its tasks.
    pub(crate) clock: Option<Clock>,
    /// It is being killed, and gets nothing more.
    pub(crate) is_condemned: bool,
    rest: Link,
    turn: Link,
    laden: Link,
}

/// The idle and the parked.
#[derive(Debug)]
pub(crate) struct Rest;

impl Chain for Rest {
    type Entry = Daemon;

    fn link(daemon: &mut Daemon) -> &mut Link {
        &mut daemon.rest
    }

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

    fn look(daemon: &Daemon) -> &Link {
        &daemon.turn
    }
}

/// Those that have tasks ahead.
#[derive(Debug)]
pub(crate) struct Laden;

impl Chain for Laden {
    type Entry = Daemon;

    fn link(daemon: &mut Daemon) -> &mut Link {
        &mut daemon.laden
    }

    fn look(daemon: &Daemon) -> &Link {
        &daemon.laden
    }
}

/// All daemons.
#[derive(Debug, Default)]
pub(crate) struct Daemons {
    pub(crate) slots: Slab<Daemon>,
    /// Resting daemons that may get the next thing in the queue: that which was busy last comes first, new ones come last.
    pub(crate) idle: List<Rest>,
    /// Resting daemons that have passed the barrier at the head of the queue.
    pub(crate) parked: List<Rest>,
    /// All daemons that are connected and not suspect, next in turn first.
    pub(crate) turns: List<Turn>,
    /// Daemons with tasks ahead: that which has been at its present one for longest comes first.
    pub(crate) laden: List<Laden>,
    pub(crate) suspects: u32,
}

impl Daemons {
    /// How many there are, suspects included.
    pub(crate) fn members(&self) -> u32 {
        self.turns.len() + self.suspects
    }

    pub(crate) fn reserve(&mut self) -> DaemonId {
        let slot = self.slots.insert(Daemon {
            stage: Stage::Reserved,
            joined_in: 0,
            passed: 0,
            sent: List::default(),
            setups: 0,
            takes_ahead: false,
            ahead: 0,
            ahead_bytes: 0,
            since: Tick::default(),
            clock: None,
            is_condemned: false,
            rest: Link::LOOSE,
            turn: Link::LOOSE,
            laden: Link::LOOSE,
        });
        self.id(slot)
    }

    /// The slot of a daemon that has not joined yet.
    pub(crate) fn find_reserved(&self, id: DaemonId) -> Option<Slot> {
        let slot = self.slots.find(id.0)?;
        (self.get(slot).stage == Stage::Reserved).then_some(slot)
    }

    /// The slot of a daemon that has joined and is not gone.
    pub(crate) fn find(&self, id: DaemonId) -> Option<Slot> {
        let slot = self.slots.find(id.0)?;
        (self.get(slot).stage != Stage::Reserved).then_some(slot)
    }

    /// As [`Daemons::find`], but not one that has said goodbye.
    pub(crate) fn find_connected(&self, id: DaemonId) -> Option<Slot> {
        self.find(id)
            .filter(|slot| self.get(*slot).stage != Stage::Leaving)
    }

    /// As [`Daemons::find_connected`], but not a suspect: what comes from that one is of an earlier connection.
    pub(crate) fn find_reachable(&self, id: DaemonId) -> Option<Slot> {
        self.find_connected(id)
            .filter(|slot| !matches!(self.get(*slot).stage, Stage::Suspect { .. }))
    }

    pub(crate) fn id(&self, slot: Slot) -> DaemonId {
        DaemonId(self.slots.key(slot))
    }

    pub(crate) fn get(&self, slot: Slot) -> &Daemon {
        &self.slots[slot]
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Daemon {
        &mut self.slots[slot]
    }

    /// A reserved daemon is there, at rest, and the last to get something, also in turn.
    pub(crate) fn join(&mut self, slot: Slot, joined_in: u64, takes_ahead: bool) {
        let daemon = self.get_mut(slot);
        daemon.takes_ahead = takes_ahead;
        daemon.stage = Stage::Resting;
        daemon.joined_in = joined_in;
        self.idle.push_back(&mut self.slots, slot);
        self.turns.push_back(&mut self.slots, slot);
    }

    /// A daemon has one more task ahead.
    pub(crate) fn load(&mut self, slot: Slot, bytes: u64) {
        let daemon = self.get_mut(slot);
        daemon.ahead += 1;
        daemon.ahead_bytes += bytes;
        if daemon.ahead == 1 {
            self.laden.push_back(&mut self.slots, slot);
        }
    }

    /// A daemon has one task less ahead.
    pub(crate) fn unload(&mut self, slot: Slot, bytes: u64) {
        let daemon = self.get_mut(slot);
        daemon.ahead -= 1;
        daemon.ahead_bytes -= bytes;
        if daemon.ahead == 0 {
            self.laden.remove(&mut self.slots, slot);
        }
    }

    /// The first task of a daemon is another one now.
    pub(crate) fn note_turn(&mut self, slot: Slot, now: Tick) {
        let daemon = self.get_mut(slot);
        daemon.since = now;
        if daemon.ahead > 0 {
            self.laden.remove(&mut self.slots, slot);
            self.laden.push_back(&mut self.slots, slot);
        }
    }

    /// Whether a daemon has nothing more to do, and may rest.
    pub(crate) fn is_done(&self, slot: Slot) -> bool {
        let daemon = self.get(slot);
        daemon.sent.is_empty() && daemon.setups == 0 && !daemon.is_condemned
    }

    /// A busy daemon has nothing more to do. It is the next to get something: what it needs for that is still at hand, and
    /// those that are not needed for long come to their limits of idle time.
    pub(crate) fn rest(&mut self, slot: Slot, parked: bool) {
        self.get_mut(slot).stage = Stage::Resting;
        let list = if parked {
            &mut self.parked
        } else {
            &mut self.idle
        };
        list.push_front(&mut self.slots, slot);
    }

    /// A resting daemon gets something to do, or goes.
    pub(crate) fn wake(&mut self, slot: Slot, parked: bool) {
        self.get_mut(slot).stage = Stage::Busy;
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

    /// A busy daemon is not to be reached for now.
    pub(crate) fn suspect(&mut self, slot: Slot, until: Tick, timer: Slot) {
        self.turns.remove(&mut self.slots, slot);
        self.suspects += 1;
        self.get_mut(slot).stage = Stage::Suspect { until, timer };
    }

    /// A suspect is there again, busy and as the last in turn.
    pub(crate) fn absolve(&mut self, slot: Slot) {
        self.turns.push_back(&mut self.slots, slot);
        self.suspects -= 1;
        self.get_mut(slot).stage = Stage::Busy;
    }

    /// A busy daemon is not connected any more.
    pub(crate) fn leave(&mut self, slot: Slot) {
        self.turns.remove(&mut self.slots, slot);
        self.get_mut(slot).stage = Stage::Leaving;
    }

    /// Forgets a daemon that has left or not joined.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.slots.remove(slot);
    }

    /// Forgets all daemons.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.idle = List::default();
        self.parked = List::default();
        self.turns = List::default();
        self.laden = List::default();
        self.suspects = 0;
    }
}
