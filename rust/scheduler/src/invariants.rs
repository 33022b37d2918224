//! What holds after every event. Tests ask after each one; it takes time in proportion to all there is.

use std::collections::{BTreeMap, BTreeSet};

use crate::daemons::{Daemon, Stage};
use crate::due::Due;
use crate::slab::Slot;
use crate::tasks::{Phase, Place, Progress};
use crate::{Mode, Scheduler};

/// Where the lists say a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Waiting(Place),
    Sent { daemon: Slot },
}

impl Scheduler {
    pub(crate) fn check_invariants(&self) {
        self.check_places();
        self.check_sums();
        self.check_timers();
        self.check_daemons();
        self.check_barriers();
        self.check_progress();
        self.check_nothing_left_to_do();
        if self.mode != Mode::Direct {
            self.check_order();
        }
    }

    /// The slab is empty: nothing was leaked.
    pub(crate) fn check_empty(&self) {
        self.check_invariants();
        assert_eq!(self.tasks.len(), 0, "no task is left");
        assert_eq!(self.memory.sum.used, 0, "no bytes are left");
        assert_eq!(self.queue.barriers.len(), 0, "no barrier is left");
    }

    /// Each task is in the one list its phase says, and in no other.
    fn check_places(&self) {
        let mut found = BTreeMap::new();
        let mut note = |slot: Slot, place: Found| {
            assert_eq!(found.insert(slot, place), None, "a task is in one list");
        };
        let entries = &self.tasks;
        for slot in self.queue.returned.slots(entries) {
            note(slot, Found::Waiting(Place::Returned));
        }
        for slot in self.queue.tasks.slots(entries) {
            note(slot, Found::Waiting(Place::Task));
        }
        for (epoch, barrier) in (self.queue.first_epoch()..).zip(&self.queue.barriers) {
            for slot in barrier.evaluations.slots(entries) {
                note(slot, Found::Waiting(Place::Evaluation));
                assert_eq!(entries[slot].epoch, epoch, "evaluations know their barrier");
            }
        }
        for daemon in self.daemons.slots.slots() {
            for slot in self.daemons.get(daemon).sent.slots(entries) {
                note(slot, Found::Sent { daemon });
            }
        }
        for slot in entries.slots() {
            let task = &entries[slot];
            let expected = match task.phase {
                Phase::Reserved => None,
                Phase::Waiting { place, .. } => Some(Found::Waiting(place)),
                Phase::Sent { daemon, .. } => Some(Found::Sent { daemon }),
            };
            assert_eq!(found.remove(&slot), expected, "the lists agree: {task:?}");
        }
        assert!(found.is_empty(), "what is in a list is there: {found:?}");
    }

    fn check_sums(&self) {
        let (mut bytes, mut awaiting, mut executing) = (0, 0, 0);
        let mut parts = BTreeSet::new();
        for slot in self.tasks.slots() {
            let task = &self.tasks[slot];
            if task.is_held {
                bytes += task.bytes;
                parts.extend(task.part);
            }
            let is_held = match task.phase {
                Phase::Reserved => false,
                Phase::Waiting { .. } => true,
                Phase::Sent { settled, .. } => {
                    self.is_ahead(slot) || (!settled && self.may_be_retried(slot))
                }
            };
            assert_eq!(task.is_held, is_held, "what may be sent is held: {task:?}");
            match task.phase {
                Phase::Reserved => {}
                Phase::Waiting { settled, .. } => {
                    awaiting += u64::from(!settled);
                    assert!(
                        !settled || self.mode != Mode::Queue,
                        "the queue has open tasks only"
                    );
                }
                Phase::Sent { .. } if self.is_ahead(slot) => awaiting += 1,
                Phase::Sent { .. } => executing += 1,
            }
        }
        bytes += self.memory.bytes_of(&parts);
        assert_eq!(self.memory.sum.used, bytes, "memory is exact");
        assert!(
            self.memory.sum.peak >= bytes,
            "the peak is the most there was"
        );
        assert_eq!(self.tally.awaiting, awaiting, "awaiting is exact");
        assert_eq!(self.tally.executing, executing, "executing is exact");
        assert!(
            self.tally.submitted >= awaiting + executing,
            "completed is not negative"
        );
    }

    fn check_timers(&self) {
        let in_wheel = BTreeMap::from_iter(self.wheel.check_invariants());
        let timed = self.tasks.slots().filter_map(|slot| {
            let task = &self.tasks[slot];
            let timer = task.timer?;
            assert_eq!(task.settled(), Some(false), "{task:?}");
            Some((timer, Due::Task(slot)))
        });
        let suspects = self.daemons.slots.slots().filter_map(|slot| {
            let Stage::Suspect { timer, .. } = self.daemons.get(slot).stage else {
                return None;
            };
            Some((timer, Due::Suspect(slot)))
        });
        let suspects: Vec<_> = suspects.collect();
        assert_eq!(
            suspects.len(),
            self.daemons.suspects as usize,
            "suspects are counted"
        );
        let clocks = self.daemons.slots.slots().filter_map(|slot| {
            let clock = self.daemons.get(slot).clock?;
            Some((clock.timer, Due::Clock(slot)))
        });
        let all = timed.chain(suspects).chain(clocks).collect();
        assert_eq!(in_wheel, all, "deadlines are in the wheel");
        if let Some(look) = self.wheel.next_look() {
            assert!(
                self.armed.is_some_and(|armed| armed <= look),
                "the timer is not too late"
            );
        }
    }

    fn check_daemons(&self) {
        let entries = &self.daemons.slots;
        let [idle, parked] = [&self.daemons.idle, &self.daemons.parked]
            .map(|list| BTreeSet::from_iter(list.slots(entries)));
        let turns = BTreeSet::from_iter(self.daemons.turns.slots(entries));
        for slot in entries.slots() {
            let daemon = &entries[slot];
            let resting = idle.contains(&slot) || parked.contains(&slot);
            assert_eq!(
                resting,
                daemon.stage == Stage::Resting,
                "resting daemons are listed"
            );
            assert_eq!(
                turns.contains(&slot),
                matches!(daemon.stage, Stage::Resting | Stage::Busy),
                "connected daemons take turns"
            );
            assert!(
                daemon.stage != Stage::Busy || !self.daemons.is_done(slot),
                "the busy have something to do"
            );
            assert!(
                daemon.stage != Stage::Resting || self.daemons.is_done(slot),
                "the resting have not"
            );
            if self.mode != Mode::Direct && !daemon.takes_ahead {
                assert!(daemon.sent.len() <= 1, "one task at a time");
            }
            self.check_load(slot);
            self.check_clock(slot);
        }
        let barrier = self.queue.barrier(&self.tasks);
        let passed = |slot: &Slot| Some(self.daemons.get(*slot).passed) == barrier;
        assert!(
            parked.iter().all(passed),
            "the parked have passed the barrier"
        );
        assert!(!idle.iter().any(passed), "the idle have not");
    }

    /// Who has a deadline is at a task, and who is killed has none.
    fn check_clock(&self, slot: Slot) {
        let daemon = self.daemons.get(slot);
        let is_at_task = !daemon.sent.is_empty() && daemon.setups == 0;
        assert!(daemon.clock.is_none() || is_at_task, "{daemon:?}");
        assert!(
            !daemon.is_condemned || daemon.ahead == 0,
            "nothing is behind what is killed"
        );
    }

    fn check_load(&self, slot: Slot) {
        let daemon = self.daemons.get(slot);
        let ahead = daemon.sent.slots(&self.tasks).into_iter();
        let ahead: Vec<u64> = ahead
            .filter(|task| self.is_ahead(*task))
            .map(|task| self.tasks[task].bytes)
            .collect();
        let counted = (daemon.ahead as usize, daemon.ahead_bytes);
        assert_eq!(
            counted,
            (ahead.len(), ahead.iter().sum()),
            "loads are exact"
        );
        let laden = self.daemons.laden.slots(&self.daemons.slots);
        assert_eq!(
            laden.contains(&slot),
            !ahead.is_empty(),
            "the laden are listed"
        );
        assert!(
            ahead.is_empty() || daemon.stage == Stage::Busy,
            "{daemon:?}"
        );
    }

    fn check_barriers(&self) {
        let first = self.queue.barriers.front();
        assert!(
            first.is_none_or(|barrier| !barrier.evaluations.is_empty()),
            "barriers that are over at the head are dropped"
        );
        for (epoch, barrier) in (self.queue.first_epoch()..).zip(&self.queue.barriers) {
            let waits = |daemon: &&Daemon| {
                connected(daemon) && daemon.joined_in < epoch && daemon.passed < epoch
            };
            let daemons = self
                .daemons
                .slots
                .slots()
                .map(|slot| self.daemons.get(slot));
            let members = daemons.filter(waits).count();
            assert_eq!(barrier.waiting as usize, members, "members are counted");
        }
    }

    /// What a daemon evaluates is the first it has.
    fn check_progress(&self) {
        for daemon in self
            .daemons
            .slots
            .slots()
            .map(|slot| self.daemons.get(slot))
        {
            let mut ahead = false;
            for (place, slot) in daemon.sent.slots(&self.tasks).into_iter().enumerate() {
                let Phase::Sent { progress, .. } = self.tasks[slot].phase else {
                    panic!("what a daemon has was sent");
                };
                let expected = match place {
                    0 if daemon.setups == 0 => Progress::Begun,
                    _ => Progress::Assigned,
                };
                let recalled = progress == Progress::Recalled;
                // Those up to one that could not be taken back have begun as well.
                let begun = daemon.takes_ahead && progress == Progress::Begun;
                let known = recalled || begun || progress == expected;
                assert!(known, "{:?}", self.tasks[slot]);
                let is_behind = std::mem::replace(&mut ahead, self.is_ahead(slot));
                assert!(!is_behind || ahead, "they begin in order");
            }
        }
    }

    /// Nothing waits that could be sent.
    fn check_nothing_left_to_do(&self) {
        assert!(
            (self.queue.tasks.is_empty() && self.queue.barriers.is_empty())
                || self.daemons.idle.is_empty(),
            "no daemon idles while tasks wait"
        );
        let resting = !self.daemons.idle.is_empty() || !self.daemons.parked.is_empty();
        assert!(
            self.daemons.laden.is_empty() || !resting,
            "nothing is behind other tasks while a daemon rests"
        );
        assert!(
            self.queue.returned.is_empty() || !resting,
            "nothing put back waits in vain"
        );
    }

    /// The queue is in order of submission.
    fn check_order(&self) {
        let entries = &self.tasks;
        let evaluations = self.queue.barriers.iter();
        let evaluations = evaluations.flat_map(|barrier| barrier.evaluations.slots(entries));
        let mut line: Vec<Slot> = self.queue.tasks.slots(entries);
        line.extend(evaluations);
        line.sort_by_key(|slot| (entries[*slot].epoch, !entries[*slot].is_evaluation));
        let line = self.queue.returned.slots(entries).into_iter().chain(line);
        let orders: Vec<u64> = line.map(|slot| entries[slot].order).collect();
        assert!(
            orders.is_sorted_by(|before, after| before < after),
            "the queue is in order: {orders:?}"
        );
    }
}

fn connected(daemon: &Daemon) -> bool {
    matches!(
        daemon.stage,
        Stage::Resting | Stage::Busy | Stage::Suspect { .. }
    )
}
