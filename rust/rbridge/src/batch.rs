//! Tasks that were submitted together have one pointer; how a mirai leads to its task.
//!
//! A mirai has the attributes `task`, a pointer to one task or to a batch of them, and `id`, the task's number, by which it is
//! found in a batch. As its value is read, the mirai lets go of the pointer, and the batch of the task.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use mirai_hub::TaskHandle;

use crate::failure::Failure;
use crate::rapi::{Beside, Handle, Jump, Scope, Sexp};

impl Handle for TaskHandle {
    const NAME: &'static str = "task";
    const LISTED: bool = true;
}

impl Handle for Batch {
    const NAME: &'static str = "task";
    const LISTED: bool = true;
}

/// Tasks in the order of their submission; those are gone whose values have been read.
pub(crate) type Slots = Rc<RefCell<Vec<Option<TaskHandle>>>>;

/// Tasks that were submitted together.
pub(crate) struct Batch {
    slots: Slots,
    runs: Vec<Run>,
    /// Their mirai, of those whose value has not been read.
    mirai: OnceCell<Beside>,
}

/// Tasks whose numbers follow each other.
struct Run {
    first: i32,
    place: usize,
    len: usize,
}

impl Batch {
    pub(crate) fn new(slots: Slots, ids: &[i32]) -> Batch {
        let mut runs: Vec<Run> = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            match runs.last_mut() {
                Some(run) if run.offset(*id) == run.len => run.len += 1,
                _ => runs.push(Run {
                    first: *id,
                    place,
                    len: 1,
                }),
            }
        }
        Batch {
            slots,
            runs,
            mirai: OnceCell::new(),
        }
    }

    /// Notes which mirai are of this batch, in a list that is its own.
    pub(crate) fn keep_mirai(&self, mirai: Beside) {
        let _ = self.mirai.set(mirai);
    }

    pub(crate) fn mirai(&self) -> Option<&Beside> {
        self.mirai.get()
    }

    /// Where the tasks are that are like this.
    pub(crate) fn places(&self, wanted: impl Fn(&TaskHandle) -> bool) -> Vec<usize> {
        let slots = self.slots.borrow();
        let is_wanted = |slot: &Option<TaskHandle>| slot.as_ref().is_some_and(&wanted);
        let slots = slots.iter().enumerate();
        slots
            .filter_map(|(place, slot)| is_wanted(slot).then_some(place))
            .collect()
    }

    fn place(&self, id: i32) -> Option<usize> {
        self.runs.iter().find_map(|run| {
            let offset = run.offset(id);
            (offset < run.len).then_some(run.place + offset)
        })
    }

    fn task(&self, id: i32) -> Option<TaskHandle> {
        self.slots.borrow().get(self.place(id)?)?.clone()
    }

    fn let_go(&self, id: i32) {
        let Some(place) = self.place(id) else {
            return;
        };
        let task = self
            .slots
            .borrow_mut()
            .get_mut(place)
            .and_then(Option::take);
        drop(task);
        if let Some(mirai) = self.mirai() {
            mirai.clear(place);
        }
    }
}

impl Run {
    fn offset(&self, id: i32) -> usize {
        (i64::from(id) - i64::from(self.first)).rem_euclid(i32::MAX.into()) as usize
    }
}

/// The number of a task as R has it. Beyond two thousand million R has no integer for it: numbers start again.
pub(crate) fn r_number(id: u64) -> i32 {
    (id % i32::MAX as u64) as i32
}

/// The task of a mirai, or the one behind a pointer.
pub(crate) fn task_of(scope: &Scope, x: Sexp<'_>) -> Result<TaskHandle, Failure> {
    if !x.is_environment() {
        return Ok(x.handle::<TaskHandle>(scope, "task")?.clone());
    }
    open_task(scope, x)?
        .ok_or_else(|| Failure::error("`task` must be a task pointer, or a mirai without a value"))
}

/// The task of an element of a list: `None` for what is no mirai, or one with a value.
pub(crate) fn open_task(scope: &Scope, x: Sexp<'_>) -> Result<Option<TaskHandle>, Failure> {
    let scope = scope.inner();
    Ok(Open::find(&scope, x)?.map(|open| open.task))
}

/// What a mirai without a value has.
pub(crate) struct Open<'s> {
    pub task: TaskHandle,
    pointer: Sexp<'s>,
    /// Its number, where the pointer is that of a batch.
    id: Option<i32>,
}

impl<'s> Open<'s> {
    /// `None` for what is no mirai, or one with a value.
    pub(crate) fn find(scope: &'s Scope, x: Sexp<'_>) -> Result<Option<Open<'s>>, Failure> {
        if !x.is_environment() {
            return Ok(None);
        }
        let pointer = x.attr(scope, c"task")?;
        if !pointer.is_pointer() {
            return Ok(None);
        }
        if !pointer.holds::<Batch>(scope)? {
            let task = pointer.handle::<TaskHandle>(scope, "task")?.clone();
            let id = None;
            return Ok(Some(Open { task, pointer, id }));
        }
        let batch: &Batch = pointer.handle(scope, "task")?;
        let id = x.attr(scope, c"id")?.first_integer(scope)?;
        let task = id.and_then(|id| batch.task(id));
        Ok(task.map(|task| Open { task, pointer, id }))
    }

    /// Whether R code has something to do as the value is read: the pointer has attributes that say so. For many of one list,
    /// one after another: the answer for the last pointer is kept in `known`.
    pub(crate) fn is_marked(
        &self,
        scope: &Scope,
        known: &mut Option<(usize, bool)>,
    ) -> Result<bool, Jump> {
        let identity = self.pointer.identity();
        if let Some((last, is_marked)) = *known
            && last == identity
        {
            return Ok(is_marked);
        }
        let mut is_marked = false;
        for mark in [c"serial", c"span", c"bridge"] {
            is_marked = is_marked || !self.pointer.attr(scope, mark)?.is_null();
        }
        *known = Some((identity, is_marked));
        Ok(is_marked)
    }

    /// The mirai gets its value, and lets go of the task.
    pub(crate) fn settle(
        &self,
        scope: &Scope,
        mirai: Sexp<'_>,
        value: Sexp<'_>,
    ) -> Result<(), Failure> {
        scope.set_attr(mirai, c"value", value)?;
        scope.set_attr(mirai, c"task", scope.null())?;
        if let Some(id) = self.id {
            self.pointer.handle::<Batch>(scope, "task")?.let_go(id);
        }
        Ok(())
    }
}
