//! Tasks that are handed in, and taken back.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mirai_scheduler::{DaemonId, Event, Mode, PartId, TaskId, TaskOptions};
use mirai_wire::{Payload, ToDaemon};

use super::open::TASK_COST;
use super::state::State;
use super::work::Work;
use super::{Core, whole_millis};
use crate::cell::Cell;
use crate::parts::Parts;
use crate::task::{PartOwner, SharedPart};
use crate::timer::Timer;
use crate::{MAX_EVALUATIONS, Outcome, SubmitError, Task};

impl Core {
    pub(crate) fn submit(self: &Arc<Self>, task: Task) -> Result<Arc<Cell>, SubmitError> {
        self.with_state(|state, timer, work| {
            if state.is_closed {
                work.unused.push(task.into());
                return Err(SubmitError::Closed);
            }
            if !state.scheduler.admits() {
                return Err(SubmitError::Full(Box::new(task)));
            }
            Ok(self.take_in(state, timer, work, task))
        })
    }

    /// Takes tasks from the front until there is none left or the queue is at its capacity, and adds their cells.
    pub(crate) fn submit_many(
        self: &Arc<Self>,
        tasks: &mut VecDeque<Task>,
        mut opened: impl FnMut(Arc<Cell>),
    ) -> Result<(), SubmitError> {
        self.with_state(|state, timer, work| {
            if state.is_closed {
                return Err(SubmitError::Closed);
            }
            while state.scheduler.admits()
                && let Some(task) = tasks.pop_front()
            {
                opened(self.take_in(state, timer, work, task));
            }
            Ok(())
        })
    }

    fn take_in(&self, state: &mut State, timer: &Timer, work: &mut Work, task: Task) -> Arc<Cell> {
        let options = options_of(&task, self, &state.numbers);
        let id = state.scheduler.reserve();
        let cell = state.open(id, task.into(), self.memory_return);
        let event = Event::TaskSubmitted { task: id, options };
        state.handle(timer, work, event, None);
        cell
    }

    /// Without `min`, on the daemons that are connected now and on all that come later.
    pub(crate) fn everywhere(
        self: &Arc<Self>,
        task: Task,
        min: Option<u32>,
        is_kept: bool,
    ) -> Result<Vec<Arc<Cell>>, SubmitError> {
        let mut new = None;
        let cells: Vec<Arc<Cell>> = self.with_state(|state, timer, work| {
            let options = options_of(&task, Arc::as_ptr(self), &state.numbers);
            let parts = Parts::from(task);
            if state.is_closed {
                work.unused.push(parts);
                return Err(SubmitError::Closed);
            }
            let count = match min {
                Some(count) if count > MAX_EVALUATIONS => {
                    work.unused.push(parts);
                    return Err(SubmitError::TooMany { count });
                }
                Some(min) => {
                    if is_kept {
                        new = state.keep_for_replacements(work, parts.clone());
                    }
                    state.scheduler.everywhere_count(min)
                }
                None => {
                    state.setups.add(parts.clone());
                    state.handle(timer, work, Event::SetUpAdded, None);
                    state.scheduler.members()
                }
            };
            let ids: Vec<TaskId> = (0..count).map(|_| state.scheduler.reserve()).collect();
            let cells = ids
                .iter()
                .map(|id| state.open(*id, parts.clone(), self.memory_return))
                .collect();
            work.unused.push(parts);
            if count > 0 {
                let event = Event::EverywhereSubmitted {
                    tasks: ids,
                    options,
                };
                state.handle(timer, work, event, None);
            }
            Ok(cells)
        })?;
        if let Some(number) = new {
            self.note_whether_all_fail(&cells, number);
        }
        Ok(cells)
    }

    /// A set-up that has failed wherever it was evaluated is taken for one that has set up nothing, and is not replayed.
    fn note_whether_all_fail(self: &Arc<Self>, cells: &[Arc<Cell>], number: u64) {
        let open = Arc::new(AtomicUsize::new(cells.len()));
        for cell in cells {
            let (core, open) = (Arc::downgrade(self), Arc::clone(&open));
            let of = Arc::downgrade(cell);
            cell.watch(0, move || {
                let has_failed = (of.upgrade())
                    .is_some_and(|cell| matches!(cell.outcome(), Some(Outcome::Failed(_))));
                // That of one that has not is known at once.
                if has_failed && open.fetch_sub(1, Ordering::AcqRel) > 1 {
                    return;
                }
                if let Some(core) = core.upgrade() {
                    core.with_state(|state, _, work| {
                        let forgotten = state.setups.note_result(number, has_failed);
                        work.unused.extend(forgotten);
                    });
                }
            });
        }
    }

    pub(crate) fn cancel(&self, task: TaskId, force: bool) -> bool {
        self.with_state(|state, timer, work| {
            // Without a queue in between a daemon has tasks of others, so that the task runs on, and callers are told so.
            let is_cancellable = state.scheduler.is_cancellable(task);
            state.handle(timer, work, Event::CancelAsked { task, force }, None);
            let is_stopped =
                is_cancellable || (state.mode == Mode::Single && !work.settle.is_empty());
            is_stopped || !(work.killed.is_empty() && work.dismissed.is_empty())
        })
    }

    /// The daemon that a task was to have for itself could not be launched: those that come are for others.
    pub(crate) fn note_not_launched(&self, task: TaskId) {
        self.with_state(|state, timer, work| {
            let cancelled = Event::CancelAsked { task, force: false };
            state.handle(timer, work, cancelled, None);
            let open = state.tasks.get_mut(task.index());
            if let Some(open) = open.filter(|open| open.cell.key == task) {
                open.is_unlaunched = true;
            }
        });
    }

    /// Kills the daemon that works on the task of this number.
    pub(crate) fn force(&self, number: u64) -> bool {
        let task = {
            let state = self.state.lock();
            let at_work = |daemon: &DaemonId| {
                let (task, _) = state.scheduler.daemon_task(*daemon)?;
                let open = state.tasks.get(task.index())?;
                (open.cell.number() == number).then_some(task)
            };
            state.numbers.values().find_map(at_work)
        };
        task.is_some_and(|task| self.cancel(task, true))
    }

    /// A daemon that was launched for one task will never come.
    pub(crate) fn launch_failed(&self, reason: String) {
        self.with_state(|state, timer, work| {
            state.handle(timer, work, Event::LaunchFailed, None);
            for (_, outcome) in &mut work.settle {
                *outcome = Outcome::Lost(reason.clone());
            }
        });
        self.note_change();
    }

    pub(crate) fn share(self: &Arc<Self>, bytes: Payload) -> SharedPart {
        let part = self.state.lock().scheduler.add_part(bytes.len() as u64);
        let core = Arc::downgrade(self);
        SharedPart::new(bytes, part, core)
    }
}

impl PartOwner for Core {
    fn note_unused_part(&self, id: u64, part: PartId) {
        self.with_state(|state, _, work| {
            state.scheduler.drop_part(part);
            for member in state
                .members
                .values_mut()
                .filter_map(|member| member.parts.remove(&id).then_some(member))
            {
                member.queue(ToDaemon::Forget { id }, Payload::new());
                work.flush.push(Arc::clone(&member.links.data));
            }
        });
    }
}

fn options_of(task: &Task, core: *const Core, numbers: &BTreeMap<u32, DaemonId>) -> TaskOptions {
    // The clock is cut to whole milliseconds: one more, so that none resolves early.
    let timeout = task.timeout.map(|timeout| match whole_millis(timeout) {
        0 => 0,
        millis => millis.saturating_add(1),
    });
    let runtime = task.runtime.map(|time| whole_millis(time).max(1));
    TaskOptions {
        bytes: task.body.len() as u64 + TASK_COST,
        // That of another hub is none of this scheduler's.
        retries: task.retries,
        part: (task.shared.as_ref()).and_then(|SharedPart(part)| part.part_of(core)),
        timeout,
        runtime: runtime.and_then(|millis| NonZeroU64::new(millis.saturating_add(1))),
        to: task.to.and_then(|number| numbers.get(&number).copied()),
    }
}
