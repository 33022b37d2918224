//! Maps: a task for each element or row, submitted by one call.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use mirai_hub::{Hub, Payload, SharedPart, SubmitError, Task, TaskFlags, TaskHandle};

use crate::absent::tell;
use crate::batch::{Batch, Slots, r_number, read_form};
use crate::hub::{SessionHub, await_admission, read_retries, read_timeout, refusal};
use crate::memory;
use crate::payload::{SMALL, push_seed};
use crate::rapi::{Beside, Elements, Failure, Form, Preface, Scope, Sexp, pickle};
use crate::rng::{Seed, next_stream, optional_seed};

/// How many tasks are submitted in one step, so that others get at the hub in between, and daemons begin early.
const TASKS: usize = 256;

/// How many bytes of tasks may wait here for that.
const BYTES: usize = 1 << 16;

/// What is mapped over.
enum Units<'r> {
    /// The elements of a vector.
    Elements(Elements<'r>),
    /// Rows: lists with an element of each column. The names are those of the columns, or `NULL`.
    Rows {
        columns: Vec<Elements<'r>>,
        names: Sexp<'r>,
        count: usize,
    },
}

/// What the tasks of a map have in common.
struct Common {
    shared: SharedPart,
    flags: TaskFlags,
    timeout: Option<Duration>,
    runtime: Option<Duration>,
    retries: u32,
}

/// The tasks submitted so far: stopped when this is dropped, unless it is all of them and R has them.
struct Submitted {
    slots: Slots,
    is_kept: bool,
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if !self.is_kept {
            // The last ones first: none of them begins because another one has made room for it.
            for task in self.slots.borrow().iter().rev().flatten() {
                task.cancel();
            }
        }
    }
}

/// Entry: submits a task for each element of `x`, a list or a plain vector, or, where `rows` is not `NULL` but their number,
/// for each row of columns that are such, with `names` or `NULL`. The others are as for `hub_submit`; `stream` is that of the
/// first task, and each later one gets the next; `form` is that of `mirai_new`. While the queue is at its capacity this waits.
/// A list of the mirai, in a list, and of the stream after the last one's. If this fails or is interrupted, all that was submitted is
/// stopped.
#[allow(clippy::too_many_arguments)]
pub(crate) fn hub_submit_map<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    x: Sexp<'r>,
    rows: Sexp<'r>,
    names: Sexp<'r>,
    shared: Sexp<'r>,
    timeout: Sexp<'r>,
    flags: Sexp<'r>,
    stream: Sexp<'r>,
    retries: Sexp<'r>,
    runtime: Sexp<'r>,
    form: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    let common = Common {
        shared: shared.handle::<SharedPart>(scope, "shared")?.clone(),
        flags: TaskFlags(flags.count(scope, "flags")? as u8),
        timeout: read_timeout(scope, timeout)?,
        runtime: read_timeout(scope, runtime)?,
        retries: read_retries(scope, retries)?,
    };
    let mut stream = optional_seed(scope, stream, "stream")?;
    let form = read_form(scope, form)?;
    let units = Units::new(scope, x, rows, names)?;
    let mut submitted = Submitted {
        slots: Rc::new(RefCell::new(Vec::with_capacity(units.len()))),
        is_kept: false,
    };
    submit_all(scope, session_hub, &units, &common, &mut stream, &submitted)?;
    let mirai = make_mirai(scope, &form, &submitted.slots)?;
    let next = match stream {
        Some(seed) => scope.integers(&seed)?,
        None => scope.null(),
    };
    let result = scope.list(&[mirai, next])?;
    submitted.is_kept = true;
    Ok(result)
}

/// Serializes and submits, some at a time.
fn submit_all(
    scope: &Scope,
    session_hub: &SessionHub,
    units: &Units<'_>,
    common: &Common,
    stream: &mut Option<Seed>,
    submitted: &Submitted,
) -> Result<(), Failure> {
    let preface = Preface::new(scope)?;
    let mut waiting = VecDeque::with_capacity(TASKS);
    let mut bytes = 0;
    let mut room = Vec::with_capacity(SMALL);
    for i in 0..units.len() {
        room.clear();
        push_seed(&mut room, *stream);
        room = units.encode(scope, i, &preface, room)?;
        *stream = stream.map(next_stream);
        let body = if room.len() <= SMALL {
            Payload::copy_from_slice(&room)
        } else {
            room.shrink_to_fit();
            std::mem::replace(&mut room, Vec::with_capacity(SMALL)).into()
        };
        bytes += body.len();
        waiting.push_back(Task {
            body,
            shared: Some(common.shared.clone()),
            flags: common.flags,
            timeout: common.timeout,
            runtime: common.runtime,
            retries: common.retries,
            to: None,
        });
        if waiting.len() == TASKS || bytes >= BYTES || i + 1 == units.len() {
            memory::note_object(scope, bytes)?;
            bytes = 0;
            // Before tasks are taken, as a warning may be made an error.
            tell(scope)?;
            // The serializer may have run R code that closes it.
            let hub = session_hub.get()?;
            submit_waiting(scope, &hub, &mut waiting, submitted)?;
            scope.deliver_signals()?;
            scope.check_interrupt()?;
        }
    }
    Ok(())
}

fn submit_waiting(
    scope: &Scope,
    hub: &Hub,
    waiting: &mut VecDeque<Task>,
    submitted: &Submitted,
) -> Result<(), Failure> {
    let mut handles: Vec<TaskHandle> = Vec::with_capacity(waiting.len());
    loop {
        let result = hub.submit_many(waiting, &mut handles);
        submitted
            .slots
            .borrow_mut()
            .extend(handles.drain(..).map(Some));
        match result {
            Ok(()) if waiting.is_empty() => return Ok(()),
            Ok(()) | Err(SubmitError::Full(_)) => await_admission(scope, hub)?,
            Err(error) => return Err(refusal(&error)),
        }
    }
}

fn make_mirai<'r>(scope: &'r Scope, form: &Form<'_>, slots: &Slots) -> Result<Sexp<'r>, Failure> {
    let ids: Vec<i32> = (slots.borrow().iter().flatten())
        .map(|task| r_number(task.id()))
        .collect();
    let pointer = scope.pointer(Batch::new(Rc::clone(slots), &ids), None)?;
    let mirai = scope.environments(form, &ids, pointer)?;
    let own = scope.same_list(mirai)?;
    let batch: &Batch = pointer.handle(scope, "task")?;
    batch.keep_mirai(Beside::new(scope, pointer, own)?);
    Ok(mirai)
}

impl<'r> Units<'r> {
    fn new(
        scope: &Scope,
        x: Sexp<'r>,
        rows: Sexp<'r>,
        names: Sexp<'r>,
    ) -> Result<Units<'r>, Failure> {
        if rows.is_null() {
            return Ok(Units::Elements(Elements::new(scope, x, "x")?));
        }
        let count = rows.count(scope, "rows")? as usize;
        let columns = x
            .elements(scope, "x")?
            .map(|column| Elements::new(scope, column, "x"))
            .collect::<Result<Vec<_>, _>>()?;
        if columns.iter().any(|column| column.len < count) {
            return Err(Failure::error("a column of `x` is too short"));
        }
        if !names.is_null() && names.strings_len(scope)? != Some(columns.len()) {
            return Err(Failure::error("`names` must be those of the columns"));
        }
        Ok(Units::Rows {
            columns,
            names,
            count,
        })
    }

    fn len(&self) -> usize {
        match self {
            Units::Elements(elements) => elements.len,
            Units::Rows { count, .. } => *count,
        }
    }

    /// Appends to `bytes` what a daemon gets of the unit at `i`.
    fn encode(
        &self,
        scope: &Scope,
        i: usize,
        preface: &Preface,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let (columns, names) = match self {
            Units::Elements(elements) => return elements.pickle(scope, i, preface, bytes),
            Units::Rows { columns, names, .. } => (columns, *names),
        };
        let scope = scope.inner();
        let row = scope.empty_list(columns.len())?;
        for (at, column) in columns.iter().enumerate() {
            let scope = scope.inner();
            row.put(at, column.element(&scope, i)?);
        }
        if !names.is_null() {
            scope.set_attr(row, c"names", names)?;
        }
        Ok(pickle(&scope, row, bytes)?.bytes)
    }
}
