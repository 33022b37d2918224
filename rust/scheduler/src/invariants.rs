//! What holds after every event. Tests ask after each one; it takes time in proportion to all there is.

use std::collections::{BTreeMap, BTreeSet};

use crate::daemons::{Daemon, Stage};
use crate::queue::Segment;
use crate::scheduler::Due;
use crate::slab::Slot;
use crate::tasks::{Phase, Place};
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
        self.check_segments();
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
        assert_eq!(self.queue.segments.len(), 1, "no barrier is left");
    }

    /// Each task is in the one list its phase says, and in no other.
    fn check_places(&self) {
        let mut found = BTreeMap::new();
        let mut note = |slot: Slot, place: Found| {
            assert_eq!(found.insert(slot, place), None, "a task is in one list");
        };
        let entries = &self.tasks;
        self.queue
            .returned
            .values()
            .for_each(|&slot| note(slot, Found::Waiting(Place::Returned)));
        for segment in &self.queue.segments {
            let number = segment.number;
            for slot in segment.evaluations.slots(entries) {
                note(slot, Found::Waiting(Place::Evaluation { segment: number }));
            }
            for slot in segment.tasks.slots(entries) {
                note(slot, Found::Waiting(Place::Task { segment: number }));
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
        for task in self.tasks.slots().map(|slot| &self.tasks[slot]) {
            match task.phase {
                Phase::Reserved => {}
                Phase::Waiting { settled, .. } => {
                    bytes += task.bytes;
                    parts.extend(task.part);
                    awaiting += u64::from(!settled);
                    assert!(
                        !settled || self.mode != Mode::Queue,
                        "the queue has open tasks only"
                    );
                }
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
        let all = timed.chain(suspects).collect();
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
            if self.mode != Mode::Direct {
                assert!(daemon.sent.len() <= 1, "one task at a time");
            }
        }
        let barrier = self.queue.barrier();
        let passed = |slot: &Slot| Some(self.daemons.get(*slot).passed) == barrier;
        assert!(
            parked.iter().all(passed),
            "the parked have passed the barrier"
        );
        assert!(!idle.iter().any(passed), "the idle have not");
    }

    fn check_segments(&self) {
        for (index, segment) in self.queue.segments.iter().enumerate() {
            let Segment {
                number, waiting, ..
            } = segment;
            assert_eq!(
                *number,
                self.queue.front().number + index as u64,
                "numbers have no gap"
            );
            let waits = |daemon: &&Daemon| {
                connected(daemon) && daemon.joined_after < *number && daemon.passed < *number
            };
            let daemons = self
                .daemons
                .slots
                .slots()
                .map(|slot| self.daemons.get(slot));
            let members = daemons.filter(waits).count();
            assert_eq!(*waiting as usize, members, "members that wait are counted");
        }
    }

    /// Nothing waits that could be sent.
    fn check_nothing_left_to_do(&self) {
        let front = self.queue.front();
        let ready = !front.evaluations.is_empty() || !front.tasks.is_empty();
        assert!(
            !ready || self.daemons.idle.is_empty(),
            "no daemon idles while tasks wait"
        );
        let resting = !self.daemons.idle.is_empty() || !self.daemons.parked.is_empty();
        assert!(
            self.queue.returned.is_empty() || !resting,
            "nothing put back waits in vain"
        );
    }

    /// The queue is in order of submission.
    fn check_order(&self) {
        let entries = &self.tasks;
        let mut last = 0;
        let mut next = |slot: Slot| {
            assert!(last < self.tasks[slot].order, "the queue is in order");
            last = self.tasks[slot].order;
        };
        self.queue.returned.values().for_each(|&slot| next(slot));
        for segment in &self.queue.segments {
            segment
                .evaluations
                .slots(entries)
                .into_iter()
                .for_each(&mut next);
            segment.tasks.slots(entries).into_iter().for_each(&mut next);
        }
    }
}

fn connected(daemon: &Daemon) -> bool {
    matches!(
        daemon.stage,
        Stage::Resting | Stage::Busy | Stage::Suspect { .. }
    )
}
