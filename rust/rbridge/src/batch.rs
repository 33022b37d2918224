//! Tasks that were submitted together have one pointer, and so have some that were submitted one by one; how a mirai leads to
//! its task.
//!
//! A mirai has the attributes `task`, a pointer to one task or to a batch of them, and `id`, the task's number, by which it is
//! found in a batch. As its value is read, the mirai lets go of the pointer, and the batch of the task.

use std::cell::{Cell, OnceCell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use mirai_hub::{Hub, TaskHandle};

use crate::rapi::{Beside, Failure, Form, Handle, Jump, Kept, Listener, Scope, Sexp};

/// Tasks of a hub have to wait in this number before those that are submitted one by one share pointers: their values may stay as
/// long as one of those that share one is wanted.
const DEEP: u64 = 64;

/// How many tasks that are submitted one by one share a pointer.
const COHORT: usize = 32;

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

/// Tasks that share a pointer.
pub(crate) struct Batch {
    slots: Slots,
    runs: RefCell<Vec<Run>>,
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
        let batch = Batch {
            slots,
            runs: RefCell::default(),
            mirai: OnceCell::new(),
        };
        let places = ids.iter().enumerate();
        places.for_each(|(place, id)| batch.note_place(*id, place));
        batch
    }

    fn note_place(&self, id: i32, place: usize) {
        let mut runs = self.runs.borrow_mut();
        match runs.last_mut() {
            Some(run) if run.offset(id) == run.len => run.len += 1,
            _ => runs.push(Run {
                first: id,
                place,
                len: 1,
            }),
        }
    }

    /// Adds a task; its place.
    fn add(&self, task: TaskHandle) -> usize {
        let mut slots = self.slots.borrow_mut();
        let place = slots.len();
        self.note_place(r_number(task.id()), place);
        slots.push(Some(task));
        place
    }

    /// Whether one more task of this hub may share the pointer: there is room, and the first waits still.
    fn has_room(&self, hub: &Hub) -> bool {
        let slots = self.slots.borrow();
        let first = slots.first().and_then(Option::as_ref);
        slots.len() < COHORT
            && first.is_some_and(|first| hub.has(first) && first.outcome().is_none())
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
        self.runs.borrow().iter().find_map(|run| {
            let offset = run.offset(id);
            (offset < run.len).then_some(run.place + offset)
        })
    }

    fn task_at(&self, place: usize) -> Option<TaskHandle> {
        self.slots.borrow().get(place)?.clone()
    }

    fn let_go(&self, place: usize) {
        let task = self
            .slots
            .borrow_mut()
            .get_mut(place)
            .and_then(Option::take);
        drop(task);
        if let Some(mirai) = self.mirai() {
            mirai.clear(place);
        }
        // Who reads the values of some may be done with the others.
        if is_open(&self.slots) {
            close_cohort();
        }
    }
}

thread_local! {
    /// The pointer that the next tasks of a hub share which are submitted one by one, and the list of their mirai. Not let go of as
    /// the process ends, when R has ended.
    static OPEN: ManuallyDrop<RefCell<Option<Cohort>>> = ManuallyDrop::default();

    /// The address of the hub of the last task that was submitted by itself.
    static LAST_HUB: Cell<usize> = const { Cell::new(0) };

    /// Whether the next garbage collection is listened to.
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

struct Cohort {
    pointer: Kept,
    mirai: Kept,
    slots: Slots,
}

fn is_open(slots: &Slots) -> bool {
    OPEN.with(|open| {
        let open = open.try_borrow().ok();
        open.is_some_and(|open| {
            open.as_ref()
                .is_some_and(|open| Rc::ptr_eq(&open.slots, slots))
        })
    })
}

/// No further task shares the pointer of those before, which is kept by their mirai alone from then on.
fn close_cohort() {
    let cohort = OPEN.with(|open| open.try_borrow_mut().ok()?.take());
    drop(cohort);
}

/// Has the next collection find what nobody else wants.
struct CloseCohort;

impl Listener for CloseCohort {
    fn collected(_: usize) -> bool {
        LISTENS.set(false);
        close_cohort();
        false
    }
}

/// How a mirai is made: a list of the call that makes the function of its binding `data`, of its class, and of the environment
/// around it.
pub(crate) fn read_form<'r>(scope: &Scope, form: Sexp<'r>) -> Result<Form<'r>, Failure> {
    let mut parts = form.elements(scope, "form")?;
    match (parts.next(), parts.next(), parts.next()) {
        (Some(data), Some(class), Some(parent))
            if data.is_call() && class.strings_len(scope)?.is_some() && parent.is_environment() =>
        {
            Ok(Form {
                parent,
                data,
                class,
            })
        }
        _ => Err(Failure::error(
            "`form` must be a call, a class and an environment",
        )),
    }
}

/// The mirai of a task that was submitted by itself. Where many wait, it shares the pointer of those before it: a pointer with its
/// finalizer takes a third of all that R has of a mirai.
pub(crate) fn make_mirai<'r>(
    scope: &'r Scope,
    hub: &Hub,
    task: TaskHandle,
    form: &Form<'_>,
) -> Result<Sexp<'r>, Failure> {
    let id = r_number(task.id());
    // Where tasks go to several hubs in turn, each would begin a pointer to share.
    let address = std::ptr::from_ref(hub).addr();
    let is_in_a_row = LAST_HUB.replace(address) == address;
    if !is_in_a_row || hub.counts().awaiting < DEEP {
        close_cohort();
        let pointer = scope.pointer(task, None)?;
        let mirai = scope.environment(form, id, pointer)?;
        pointer.put_beside(mirai);
        return Ok(mirai);
    }
    let (pointer, list) = match open_cohort(scope, hub)? {
        Some(open) => open,
        None => begin_cohort(scope)?,
    };
    // Nothing has allocated since, so no finalizer has submitted another one.
    let place = pointer.handle::<Batch>(scope, "task")?.add(task);
    let mirai = scope.environment(form, id, pointer)?;
    list.put(place, mirai);
    Ok(mirai)
}

fn open_cohort<'r>(scope: &'r Scope, hub: &Hub) -> Result<Option<(Sexp<'r>, Sexp<'r>)>, Failure> {
    let open = OPEN.with(|open| {
        let open = open.borrow();
        let Some(Cohort { pointer, mirai, .. }) = &*open else {
            return Ok::<_, Failure>(None);
        };
        Ok(Some((scope.hold(pointer.get())?, scope.hold(mirai.get())?)))
    })?;
    let Some((pointer, list)) = open else {
        return Ok(None);
    };
    // In a forked child it is one of the parent's.
    let batch = pointer.handle::<Batch>(scope, "task").ok();
    let has_room = batch.is_some_and(|batch| batch.has_room(hub));
    Ok(has_room.then_some((pointer, list)))
}

fn begin_cohort(scope: &Scope) -> Result<(Sexp<'_>, Sexp<'_>), Failure> {
    if !LISTENS.replace(true) {
        scope.listen::<CloseCohort>(0)?;
    }
    let slots: Slots = Rc::new(RefCell::new(Vec::with_capacity(COHORT)));
    let pointer = scope.pointer(Batch::new(Rc::clone(&slots), &[]), None)?;
    let list = scope.empty_list(COHORT)?;
    let batch: &Batch = pointer.handle(scope, "task")?;
    batch.keep_mirai(Beside::new(scope, pointer, list)?);
    let cohort = Cohort {
        pointer: Kept::new(scope, pointer)?,
        mirai: Kept::new(scope, list)?,
        slots,
    };
    let before = OPEN.with(|open| open.replace(Some(cohort)));
    drop(before);
    Ok((pointer, list))
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
    /// Where the pointer is that of a batch.
    place: Option<usize>,
}

impl<'s> Open<'s> {
    /// `None` for what is no mirai, or one with a value.
    pub(crate) fn find(scope: &'s Scope, x: Sexp<'_>) -> Result<Option<Open<'s>>, Failure> {
        if !x.is_environment() {
            return Ok(None);
        }
        let (pointer, id) = x.task_and_id(scope)?;
        if !pointer.is_pointer() {
            return Ok(None);
        }
        if !pointer.holds::<Batch>(scope)? {
            let task = pointer.handle::<TaskHandle>(scope, "task")?.clone();
            let place = None;
            return Ok(Some(Open {
                task,
                pointer,
                place,
            }));
        }
        let batch: &Batch = pointer.handle(scope, "task")?;
        let place = id.and_then(|id| batch.place(id));
        let task = place.and_then(|place| batch.task_at(place));
        Ok(task.map(|task| Open {
            task,
            pointer,
            place,
        }))
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
        scope.settle(mirai, value)?;
        self.let_go(scope)
    }

    /// The mirai has its value, and needs the task no more.
    pub(crate) fn let_go(&self, scope: &Scope) -> Result<(), Failure> {
        if let Some(place) = self.place {
            self.pointer.handle::<Batch>(scope, "task")?.let_go(place);
        }
        Ok(())
    }
}

/// Mirai of a list, looked at one after another. Those of a map have their tasks in the order of its batch, so that most are
/// found without a look at their attributes.
pub(crate) struct Row<'s> {
    batch: Option<(Sexp<'s>, &'s Batch)>,
    /// Where the next task of the batch is expected.
    next: usize,
}

impl<'s> Row<'s> {
    /// For mirai of which these are the first ones.
    pub(crate) fn new(scope: &'s Scope, mirai: &[Sexp<'_>]) -> Result<Row<'s>, Failure> {
        let first = match mirai.first() {
            Some(first) => Open::find(scope, *first)?,
            None => None,
        };
        Ok(match first {
            Some(Open {
                pointer,
                place: Some(next),
                ..
            }) => Row {
                batch: Some((pointer, pointer.handle(scope, "task")?)),
                next,
            },
            _ => Row {
                batch: None,
                next: 0,
            },
        })
    }

    /// What [`Open::find`] finds.
    pub(crate) fn find<'t>(
        &mut self,
        scope: &'t Scope,
        mirai: Sexp<'_>,
    ) -> Result<Option<Open<'t>>, Failure>
    where
        's: 't,
    {
        let place = self.next;
        if let Some((pointer, batch)) = self.batch
            && batch.mirai().is_some_and(|beside| beside.has(place, mirai))
            && let Some(task) = batch.task_at(place)
        {
            self.next += 1;
            let place = Some(place);
            return Ok(Some(Open {
                task,
                pointer,
                place,
            }));
        }
        Open::find(scope, mirai)
    }

    /// What [`open_task`] finds.
    pub(crate) fn open_task(
        &mut self,
        scope: &Scope,
        mirai: Sexp<'_>,
    ) -> Result<Option<TaskHandle>, Failure> {
        Ok(self.find(scope, mirai)?.map(|open| open.task))
    }
}
