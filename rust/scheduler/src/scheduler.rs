//! The scheduler: its state, the one function that takes events, and what can be asked of it.

use std::collections::VecDeque;

use crate::daemons::{Daemons, Stage};
use crate::due::Due;
use crate::memory::{Held, Memory};
use crate::pace::Pace;
use crate::queue::Queue;
use crate::slab::Slot;
use crate::tally::Tally;
use crate::tasks::{Phase, Tasks};
use crate::timers::Wheel;
use crate::{
    Claims, Counts, DaemonId, Effect, Effects, Event, Mode, PartId, RunId, SchedulerOptions,
    Settled, TaskId, Tick,
};

/// The dispatcher of one pool of daemons.
///
/// ```
/// use mirai_scheduler::{Effect, Event, SchedulerOptions, RunId, Scheduler, TaskOptions, Tick};
///
/// let mut scheduler = Scheduler::new(SchedulerOptions::default());
/// let daemon = scheduler.reserve_daemon();
/// let task = scheduler.reserve();
/// let options = TaskOptions::default();
/// let submitted = Event::TaskSubmitted { task, options };
/// assert_eq!(scheduler.handle(Tick(0), submitted, &mut ()).count(), 0);
/// let joined = Event::DaemonJoined { daemon, ahead: false, more_setups: 0 };
/// let effects: Vec<_> = scheduler.handle(Tick(5), joined, &mut ()).collect();
/// let sent = Effect::Send { to: daemon, task, run: RunId(1), attempt: 1, ahead: false };
/// assert_eq!(effects, [sent]);
/// ```
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) mode: Mode,
    pub(crate) now: Tick,
    pub(crate) tasks: Tasks,
    pub(crate) daemons: Daemons,
    pub(crate) queue: Queue,
    /// How many things daemons that join have to do before their first task.
    pub(crate) setups: usize,
    /// How long suspects may stay away.
    pub(crate) grace: u64,
    /// How long daemons may take to stop.
    pub(crate) kill_after: Option<u64>,
    pub(crate) wheel: Wheel<Due>,
    pub(crate) memory: Held,
    pub(crate) tally: Tally,
    pub(crate) last_run: u64,
    pub(crate) pace: Pace,
    /// The daemon that the event in progress was a report of, if it stays.
    pub(crate) reported: Option<Slot>,
    /// Nobody launches daemons any more.
    pub(crate) expects_none: bool,
    /// What the caller's timer is set to.
    pub(crate) armed: Option<Tick>,
    pub(crate) ignored: u64,
    pub(crate) outbox: VecDeque<Effect>,
}

impl Scheduler {
    /// A scheduler with no tasks and no daemons.
    pub fn new(options: SchedulerOptions) -> Self {
        Self {
            mode: options.mode,
            now: Tick::default(),
            tasks: Tasks::default(),
            daemons: Daemons::default(),
            queue: Queue::default(),
            setups: 0,
            grace: options.grace,
            kill_after: options.kill_after,
            wheel: Wheel::default(),
            memory: Held::new(options.capacity),
            tally: Tally::default(),
            last_run: 0,
            pace: Pace::default(),
            reported: None,
            expects_none: false,
            armed: None,
            ignored: 0,
            outbox: VecDeque::new(),
        }
    }

    /// An id for a task that is about to be submitted.
    pub fn reserve(&mut self) -> TaskId {
        self.tasks.reserve()
    }

    /// An id for a daemon that is about to join.
    pub fn reserve_daemon(&mut self) -> DaemonId {
        self.daemons.reserve()
    }

    /// Takes back the id of a daemon that has not joined, and will not.
    pub fn give_back(&mut self, daemon: DaemonId) {
        if let Some(slot) = self.daemons.find_reserved(daemon) {
            self.daemons.forget(slot);
        }
    }

    /// An id for what several tasks will have in common.
    pub fn add_part(&mut self, bytes: u64) -> PartId {
        self.memory.add_part(bytes)
    }

    /// No task refers to this part any more, and none will.
    pub fn drop_part(&mut self, part: PartId) {
        self.memory.drop_part(part);
    }

    /// How many slots tasks have now: the [index](TaskId::index) of each that is not released is below this. Falls again
    /// after a burst, so that the caller's table can do the same.
    pub fn task_slots(&self) -> usize {
        self.tasks.width()
    }

    /// Takes in an event at time `now` and returns what is to be done. All state has changed when this returns. `claims` is asked
    /// about runs whose sending was returned by an earlier call.
    pub fn handle(&mut self, now: Tick, event: Event, claims: &mut dyn Claims) -> Effects<'_> {
        debug_assert!(
            self.outbox.is_empty(),
            "the effects of the last event were drained"
        );
        self.now = self.now.max(now);
        match event {
            Event::DaemonJoined {
                daemon,
                ahead,
                more_setups,
            } => self.on_daemon_joined(daemon, ahead, more_setups),
            Event::DaemonLost { daemon } => self.on_daemon_lost(daemon, claims),
            Event::DaemonSuspected { daemon } => self.on_daemon_suspected(daemon, claims),
            Event::DaemonHeldUp { daemon, millis } => self.on_daemon_held_up(daemon, millis),
            Event::DaemonReturned { daemon } => self.on_daemon_returned(daemon),
            Event::DaemonLeaving { daemon } => self.on_daemon_leaving(daemon),
            Event::SetUpAdded => self.setups += 1,
            Event::SetUpEnded { daemon, last } => self.on_setup_ended(daemon, last),
            Event::TaskSubmitted { task, options } => self.on_task_submitted(task, options),
            Event::EverywhereSubmitted { tasks, options } => {
                self.on_everywhere_submitted(&tasks, options);
            }
            Event::TaskEnded {
                daemon,
                run,
                took,
                last,
            } => self.on_task_ended(daemon, run, took, last),
            Event::CancelAsked { task, force } => self.on_cancel_asked(task, force, claims),
            Event::TimerFired => self.on_timer_fired(claims),
            Event::LaunchFailed => self.on_launch_failed(),
            Event::NoDaemonsExpected => self.expects_none = true,
            Event::DaemonsExpected => self.expects_none = false,
            Event::Reset => self.on_reset(),
        }
        self.dispatch(claims);
        if self.expects_none && self.daemons.members() == 0 {
            self.abandon_waiting();
        }
        self.memory.note_peak();
        Effects {
            outbox: &mut self.outbox,
        }
    }

    /// Numbers of daemons and tasks.
    pub fn counts(&self) -> Counts {
        self.tally.counts(&self.daemons)
    }

    /// How many daemons there are, those included that may return.
    pub fn members(&self) -> u32 {
        self.daemons.members()
    }

    /// Bytes of queued tasks.
    pub fn memory(&self) -> Memory {
        self.memory.sum
    }

    /// Whether a further task should be submitted: the bytes of queued tasks are below the capacity. To be asked by the
    /// caller, as a task submitted all the same is taken.
    pub fn admits(&self) -> bool {
        self.memory.admits()
    }

    /// How many evaluations [`Event::EverywhereSubmitted`] needs now: one per daemon, suspects included, and at least `min`; in
    /// other modes than [`Mode::Direct`] at least 1.
    pub fn everywhere_count(&self, min: u32) -> u32 {
        let least = match self.mode {
            Mode::Direct => min,
            Mode::Queue | Mode::Single => min.max(1),
        };
        self.daemons.members().max(least)
    }

    /// Whether [`Event::CancelAsked`] would take the task off the queue or interrupt it: what `stop_mirai()` answers.
    pub fn is_cancellable(&self, task: TaskId) -> bool {
        let slot = self.tasks.find(task.0);
        let open = slot.is_some_and(|slot| self.tasks[slot].settled() == Some(false));
        open && self.mode == Mode::Queue
    }

    /// Whether a daemon has said goodbye.
    pub fn is_leaving(&self, daemon: DaemonId) -> bool {
        let slot = self.daemons.find(daemon);
        slot.is_some_and(|slot| self.daemons.get(slot).stage == Stage::Leaving)
    }

    /// Whether a daemon has set-ups to do before its first task.
    pub fn is_being_set_up(&self, daemon: DaemonId) -> bool {
        let slot = self.daemons.find(daemon);
        slot.is_some_and(|slot| self.daemons.get(slot).setups > 0)
    }

    /// What a daemon evaluates: the first of the tasks sent to it, once it is set up.
    pub fn daemon_task(&self, daemon: DaemonId) -> Option<(TaskId, RunId)> {
        let slot = self.daemons.find(daemon)?;
        let daemon = self.daemons.get(slot);
        let task = daemon.sent.front().filter(|_| daemon.setups == 0)?;
        let run = self.run_of(task)?;
        Some((self.tasks.id(task), run))
    }

    /// Whether a report on this run of a daemon would end a task.
    pub fn has_run(&self, daemon: DaemonId, run: RunId) -> bool {
        self.find_run(daemon, run).is_some()
    }

    /// How many reports were ignored as they named a run, a daemon or a task that is not, or no longer, there.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    pub(crate) fn run_of(&self, task: Slot) -> Option<RunId> {
        match self.tasks[task].phase {
            Phase::Sent { run, .. } => Some(run),
            Phase::Reserved | Phase::Waiting { .. } => None,
        }
    }

    /// Whether a task waits again if its daemon dies. In single mode no other comes for it, and an evaluation was for that daemon.
    pub(crate) fn may_be_retried(&self, slot: Slot) -> bool {
        let task = &self.tasks[slot];
        task.deaths < task.retries && !task.is_evaluation && self.mode != Mode::Single
    }

    /// Counts the bytes of a task, unless they are counted.
    pub(crate) fn hold(&mut self, slot: Slot) {
        let task = &mut self.tasks[slot];
        if !std::mem::replace(&mut task.is_held, true) {
            self.memory.take(task.bytes, task.part);
        }
    }

    /// The bytes of a task count no more.
    pub(crate) fn let_go(&mut self, slot: Slot) {
        let task = &mut self.tasks[slot];
        if std::mem::replace(&mut task.is_held, false) {
            self.memory.give_back(task.bytes, task.part);
        }
    }

    /// Gives an open task its outcome, and no more: it stays where it is.
    pub(crate) fn settle(&mut self, slot: Slot, how: Settled) {
        if let Some(timer) = self.tasks[slot].timer.take() {
            self.wheel.remove(timer);
        }
        match &mut self.tasks[slot].phase {
            Phase::Reserved => {}
            Phase::Waiting { settled, .. } => {
                *settled = true;
                self.tally.awaiting -= 1;
            }
            Phase::Sent { settled, .. } => {
                *settled = true;
                self.let_go(slot);
            }
        }
        self.outbox.push_back(Effect::Settle {
            task: self.tasks.id(slot),
            how,
        });
    }

    /// Ends a task that is in no list any more, with this outcome if it had none.
    pub(crate) fn finish(&mut self, slot: Slot, how: Settled) {
        self.note_begun(slot);
        if self.tasks[slot].settled() == Some(false) {
            self.settle(slot, how);
        }
        if matches!(self.tasks[slot].phase, Phase::Sent { .. }) {
            self.tally.executing -= 1;
        }
        self.outbox.push_back(Effect::Release {
            task: self.tasks.id(slot),
        });
        self.tasks.remove(slot);
    }

    /// Sets the caller's timer if what it is set to would be too late.
    pub(crate) fn arm(&mut self) {
        let Some(at) = self.wheel.next_look() else {
            return;
        };
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            self.outbox.push_back(Effect::ArmTimer { at });
        }
    }
}
