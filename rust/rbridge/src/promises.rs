//! Promises: R functions that are called by R's event loop once tasks have settled.
//!
//! The thread that settles a task notes it as due and, if none is under way, asks the event loop for a turn. In that
//! turn, on R's thread, the functions are called in the order in which their tasks settled. Nothing happens in between.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::mem::ManuallyDrop;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use mirai_hub::Outcome;
use parking_lot::Mutex;

use crate::absent::{in_turn, tell, tell_in_turns};
use crate::rapi::{EventLoop, Failure, Handle, Jump, Kept, Scope, Sexp, Turn};
use crate::tasks;

/// The callbacks that one of R's event loops is to run for us, in one process.
struct CallbackQueue {
    /// A forked child inherits the notes, and leaves them to its parent.
    process: u32,
    event_loop: EventLoop,
    notes: Mutex<Notes>,
}

/// The lock is held while the event loop is asked for a turn, which takes locks of later's, so that no such call is
/// under way when R exits. R's thread takes it outside of later only.
#[derive(Default)]
struct Notes {
    due: VecDeque<Due>,
    /// A turn has been asked for and not begun.
    is_asked: bool,
    /// There is news of daemons to be told.
    has_news: bool,
    /// R exits: the event loop is no longer there to be asked.
    is_closed: bool,
}

/// A function to be called.
struct Due {
    function: u64,
    /// Position of the task that failed, from 1; 0 if all went well.
    failed: usize,
}

/// The loop that runs at R's prompt and in Shiny.
const MAIN_LOOP: i32 = 0;

/// What we have in that, once somebody has used it.
static MAIN_QUEUE: OnceLock<&'static CallbackQueue> = OnceLock::new();

/// There is news of daemons: it is told in a turn of R's event loop, where that is in use. On any thread.
fn ask_to_tell() {
    if let Some(queue) = MAIN_QUEUE.get()
        && queue.process == process::id()
    {
        let mut notes = queue.notes.lock();
        notes.has_news = true;
        queue.ask(&mut notes);
    }
}

thread_local! {
    /// On R's thread only. A child makes its own: a lock in its parent's may have been held in the moment of the fork.
    /// By the number of the loop; one for a loop that has gone is left, as its number is not used again.
    static QUEUES: RefCell<BTreeMap<i32, &'static CallbackQueue>> = const { RefCell::new(BTreeMap::new()) };

    /// The functions that wait, by number. On R's thread only, as a `Kept` is. Never dropped: when the thread ends, R's
    /// memory is no longer to be touched.
    static FUNCTIONS: ManuallyDrop<RefCell<BTreeMap<u64, Kept>>> =
        const { ManuallyDrop::new(RefCell::new(BTreeMap::new())) };

    static LAST_FUNCTION: Cell<u64> = const { Cell::new(0) };
}

/// Entry: has the event loop of the number `event_loop` call `f` once, with one integer: 0 when all tasks have an outcome or, as soon as one of
/// them has failed, its position. Without tasks, in the next turn. Needs package later.
pub(crate) fn tasks_then<'r>(
    scope: &'r Scope,
    tasks: Sexp<'r>,
    f: Sexp<'r>,
    event_loop: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let tasks = tasks::tasks_of(scope, tasks)?;
    if !f.is_function() {
        return Err(Failure::error("`f` must be a function"));
    }
    let number = i32::try_from(event_loop.count(scope, "event_loop")?)
        .map_err(|_| Failure::error("`event_loop` must be the number of an event loop"))?;
    let queue = CallbackQueue::of_loop(scope, number)?;
    let function = LAST_FUNCTION.get() + 1;
    LAST_FUNCTION.set(function);
    let kept = Kept::new(scope, f)?;
    FUNCTIONS.with(|functions| functions.borrow_mut().insert(function, kept));
    if tasks.is_empty() {
        queue.note(Due {
            function,
            failed: 0,
        });
        return Ok(scope.null());
    }
    let group = Arc::new(Group {
        queue,
        function,
        pending: AtomicUsize::new(tasks.len()),
        is_over: AtomicBool::new(false),
    });
    for (index, task) in tasks.into_iter().enumerate() {
        let group = Arc::clone(&group);
        let handle = task.clone();
        task.on_settle(move || group.settled(index + 1, handle.outcome()));
    }
    Ok(scope.null())
}

/// Tasks that a function waits for.
struct Group {
    queue: &'static CallbackQueue,
    function: u64,
    pending: AtomicUsize,
    is_over: AtomicBool,
}

impl Group {
    fn settled(&self, position: usize, outcome: Option<&Outcome>) {
        let has_failed = outcome.is_some_and(Outcome::is_failure);
        let is_last = self.pending.fetch_sub(1, Ordering::AcqRel) == 1;
        if (has_failed || is_last) && !self.is_over.swap(true, Ordering::AcqRel) {
            self.queue.note(Due {
                function: self.function,
                failed: if has_failed { position } else { 0 },
            });
        }
    }
}

impl CallbackQueue {
    fn of_loop(scope: &Scope, number: i32) -> Result<&'static CallbackQueue, Failure> {
        let known = QUEUES.with_borrow(|queues| queues.get(&number).copied());
        if let Some(queue) = known
            && queue.process == process::id()
        {
            return Ok(queue);
        }
        let queue: &'static CallbackQueue = Box::leak(Box::new(CallbackQueue {
            process: process::id(),
            event_loop: EventLoop::find(scope, number)?,
            notes: Mutex::default(),
        }));
        let at_exit = scope.pointer(AtExit(queue), None)?;
        std::mem::forget(Kept::new(scope, at_exit)?);
        QUEUES.with_borrow_mut(|queues| queues.insert(number, queue));
        if number == MAIN_LOOP {
            // Of a forked child it stays its parent's.
            let _ = MAIN_QUEUE.set(queue);
            tell_in_turns(ask_to_tell);
        }
        Ok(queue)
    }

    /// On any thread.
    fn note(&'static self, due: Due) {
        let mut notes = self.notes.lock();
        notes.due.push_back(due);
        self.ask(&mut notes);
    }

    fn ask(&'static self, notes: &mut Notes) {
        let is_idle = notes.due.is_empty() && !notes.has_news;
        if !(is_idle || notes.is_asked || notes.is_closed) {
            notes.is_asked = true;
            self.event_loop.schedule(self);
        }
    }

    fn call_due(&self, scope: &Scope, mut count: usize) -> Result<(), Jump> {
        while count > 0
            && let Some(due) = self.next()
        {
            count -= 1;
            let function = FUNCTIONS.with(|functions| functions.borrow_mut().remove(&due.function));
            if let Some(function) = function {
                let scope = scope.inner();
                let failed = scope.integer(i32::try_from(due.failed).unwrap_or(i32::MAX))?;
                scope.call(function.get(), &[failed])?;
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<Due> {
        self.notes.lock().due.pop_front()
    }
}

impl Turn for CallbackQueue {
    /// Does what is due now. What falls due meanwhile waits for another turn, so that tasks that end in quick succession
    /// don't keep others from theirs.
    fn turn(&'static self, scope: &Scope) -> Result<(), Jump> {
        if self.process != process::id() {
            return Ok(());
        }
        let count = {
            let mut notes = self.notes.lock();
            notes.is_asked = false;
            notes.has_news = false;
            notes.due.len()
        };
        let result = in_turn(|| tell(scope).and_then(|()| self.call_due(scope, count)));
        // Something is left if R has jumped.
        self.ask(&mut self.notes.lock());
        result
    }
}

/// Dropped when R exits, before the libraries' own ends.
struct AtExit(&'static CallbackQueue);

impl Handle for AtExit {
    const NAME: &'static str = "callback queue";
    const DROP_AT_EXIT: bool = true;
}

impl Drop for AtExit {
    fn drop(&mut self) {
        self.0.notes.lock().is_closed = true;
    }
}
