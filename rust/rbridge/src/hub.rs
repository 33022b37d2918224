//! The session's hubs: opening, submitting, asking, closing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_hub::{
    Address, ErrorCode, Hub, HubError, HubOptions, Mode, SharedPart, SubmitError, Task, TaskFlags,
    TaskHandle, Welcome,
};

use mirai_launcher::LaunchId;
use parking_lot::Mutex;

use crate::absent::{Absent, tell, unserved_listener};
use crate::access::{Admission, Asked, TokenVariable, admission};
use crate::batch::{make_mirai, read_form};
use crate::follow::{End, Followers};
use crate::healer::{Healer, News};
use crate::launchers::{launcher, withdraw};
use crate::memory;

use crate::part::encode_part;
use crate::payload::{encode_settings, encode_settings_object, encode_task};
use crate::rapi::{Failure, Handle, Scope, Sexp};
use crate::rng::{Seed, next_stream, optional_seed};
use crate::sys;
use crate::wait::interruptibly;

/// A hub of this session, until it is closed.
pub(crate) struct SessionHub {
    hub: RefCell<Option<Rc<Hub>>>,
    /// Launches of this hub: when it closes, daemons that have not been started are withdrawn.
    launches: RefCell<Vec<LaunchId>>,
    /// Launched daemons serve one task each.
    pub is_single: bool,
    /// Launched daemons that will never come.
    pub absent: Arc<Mutex<Absent>>,
    /// Where the pool heals.
    pub healer: RefCell<Option<Healer>>,
    /// What is launched now is what the pool was missing.
    pub is_relaunching: Cell<bool>,
    /// The credentials that daemons have to show, as text; empty for none.
    credentials: String,
    /// The token in the environment of daemons that are launched.
    pub token_variable: TokenVariable,
    /// Of what was launched elsewhere.
    followers: RefCell<Followers>,
}

impl Handle for SessionHub {
    const NAME: &'static str = "hub";
    // Daemons of a session that ends are told at once.
    const DROP_AT_EXIT: bool = true;
}

impl SessionHub {
    /// The hub behind an argument. R code that runs before the caller is done, as a handler of an interrupt does, may
    /// close it meanwhile.
    pub(crate) fn open(scope: &Scope, hub: Sexp<'_>) -> Result<Rc<Hub>, Failure> {
        hub.handle::<SessionHub>(scope, "hub")?.get()
    }

    /// The hub, unless it has been closed.
    pub(crate) fn get(&self) -> Result<Rc<Hub>, Failure> {
        let hub = self.hub.borrow();
        hub.as_ref()
            .map(Rc::clone)
            .ok_or_else(|| Failure::coded(ErrorCode::CLOSED))
    }

    /// Ends the thread by which the pool heals.
    fn end_healing(&self) {
        if let Some(healer) = self.healer.take() {
            healer.tell(News::Closed);
        }
    }

    /// Tells the thread by which the pool heals that others launch so many daemons, from elsewhere than its own.
    pub(crate) fn note_launching(&self, hub: &Hub, count: u64) {
        if let Some(healer) = &*self.healer.borrow()
            && !self.is_relaunching.get()
        {
            // Here as well as in its thread: a task that is submitted next is to wait for them.
            hub.handle().expect_daemons();
            healer.tell(News::Launching(count));
        }
    }

    /// One launch elsewhere more.
    pub(crate) fn follow(&self, follower: End) {
        self.followers.borrow_mut().add(follower);
    }

    /// Notes a launch for this hub. Those of a hub of mode "single" are not kept: it is closed with the process.
    pub(crate) fn note_launch(&self, launch: LaunchId) {
        if !self.is_single {
            self.launches.borrow_mut().push(launch);
        }
    }
}

impl Drop for SessionHub {
    fn drop(&mut self) {
        // Where the garbage collector runs, no entry is at work with it.
        if let Some(hub) = self.hub.get_mut().take().and_then(Rc::into_inner) {
            self.end_healing();
            withdraw(&self.launches.take(), &hub);
            self.followers.get_mut().close(hub.starting() > 0, false);
            // Closing waits for the hub's thread, which nothing that runs in a garbage collection may do.
            let close = move || drop(hub);
            let _ = sys::start_thread("mirai-close", close);
        }
    }
}

impl Handle for SharedPart {
    const NAME: &'static str = "shared part";
}

/// Entry: opens a hub that listens at `url`, one or more: `tls` and `token` are for the first. `mode` is `"queue"`, `"direct"` or `"single"`, `capacity` the bytes of
/// queued tasks from which on it takes no more (`NULL` for no limit), `daemon_stream` the seed of the first daemon to
/// connect (`NULL` for none); each later one gets the next stream. `settings` is an object that each daemon is given as
/// it connects, before any task (`NULL` for none). For an address of a network, `tls` is `NULL` or the hub's certificate: the
/// path of a file, or the texts of certificate and key, of which `pass` is the password (`NULL` for none); with `token` `TRUE`
/// daemons have to know a token, with `NA` they do where certificates are made on the spot; a connection is broken when nothing was
/// heard for `times[2]` seconds, and its daemon may then stay away for `times[1]`. `is_local`: daemons are
/// started by this session, not elsewhere. `kill_after`: milliseconds after which a daemon that does not stop a task is killed, or
/// `NULL`. `profile`: by which users know the pool, or `""` if it is the one that they mean anyway.
#[allow(clippy::too_many_arguments)]
pub(crate) fn hub_open<'r>(
    scope: &'r Scope,
    url: Sexp<'r>,
    mode: Sexp<'r>,
    capacity: Sexp<'r>,
    daemon_stream: Sexp<'r>,
    settings: Sexp<'r>,
    tls: Sexp<'r>,
    pass: Sexp<'r>,
    token: Sexp<'r>,
    times: Sexp<'r>,
    is_local: Sexp<'r>,
    kill_after: Sexp<'r>,
    profile: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let [grace, silence] = read_times(scope, times)?;
    let mut addresses = read_addresses(scope, url)?;
    let address = addresses.remove(0);
    let mode = read_mode(scope, mode)?;
    let asked = Asked {
        tls,
        password: pass,
        token,
    };
    let Admission {
        access,
        shown,
        variable,
    } = admission(scope, &address, &asked)?;
    let capacity = capacity
        .optional_number(scope, "capacity")?
        .map(|bytes| bytes as u64);
    let stream = optional_seed(scope, daemon_stream, "daemon_stream")?;
    let is_local = is_local.flag(scope, "is_local")?;
    let profile = profile.string(scope, "profile")?;
    let object = encode_settings_object(scope, settings)?;
    let welcome = (stream.is_some() || !object.is_empty()).then(|| welcome_with(stream, object));
    let options = HubOptions {
        address,
        also: addresses,
        access,
        launcher: launcher(),
        mode,
        capacity,
        welcome,
        grace,
        silence,
        kill_after: read_timeout(scope, kill_after)?,
        memory_return: memory::memory_return(),
        unserved: (mode != Mode::Single).then(|| unserved_listener(is_local, profile)),
    };
    let hub = sys::with_signals_blocked(|| Hub::open(options))?;
    let session_hub = SessionHub {
        hub: RefCell::new(Some(Rc::new(hub))),
        launches: RefCell::default(),
        is_single: mode == Mode::Single,
        absent: Arc::default(),
        healer: RefCell::default(),
        is_relaunching: Cell::default(),
        credentials: shown,
        token_variable: variable,
        followers: RefCell::default(),
    };
    Ok(scope.pointer(session_hub, None)?)
}

/// Two numbers of seconds.
fn read_times(scope: &Scope, times: Sexp<'_>) -> Result<[Duration; 2], Failure> {
    let &[grace, silence] = &times.numbers(scope)?[..] else {
        return Err(Failure::error("`times` must be two numbers"));
    };
    let time = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Ok([time(grace), time(silence)])
}

/// One or more.
fn read_addresses(scope: &Scope, url: Sexp<'_>) -> Result<Vec<Address>, Failure> {
    let urls = url.strings(scope, "url")?;
    if urls.is_empty() {
        return Err(Failure::error("`url` must be one or more strings"));
    }
    let address = |url: &String| Address::parse(url).map_err(HubError::Listen);
    Ok(urls.iter().map(address).collect::<Result<_, _>>()?)
}

fn read_mode(scope: &Scope, mode: Sexp<'_>) -> Result<Mode, Failure> {
    match mode.string(scope, "mode")?.as_str() {
        "queue" => Ok(Mode::Queue),
        "direct" => Ok(Mode::Direct),
        "single" => Ok(Mode::Single),
        _ => Err(Failure::error(
            "`mode` must be \"queue\", \"direct\" or \"single\"",
        )),
    }
}

/// Daemons get streams in the order in which they connect, whatever becomes of the one before.
fn welcome_with(first: Option<Seed>, object: Vec<u8>) -> Welcome {
    let mut next = first;
    Box::new(move |_| {
        let settings = encode_settings(next, &object);
        next = next.map(next_stream);
        settings.into()
    })
}

/// Entry: what daemons have to show to the hub beside the token of their environment, in the form of PEM; `""` for nothing.
pub(crate) fn hub_credentials<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    Ok(scope.string(&session_hub.credentials)?)
}

/// Entry: where the hub listens, in the order of `hub_open`'s `url`.
pub(crate) fn hub_urls<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let hub = SessionHub::open(scope, hub)?;
    let urls: Vec<String> = hub.addresses().iter().map(Address::to_string).collect();
    let texts: Vec<&str> = urls.iter().map(|url| &**url).collect();
    Ok(scope.strings(&texts)?)
}

/// Entry: a name for an address on this machine, 24 hexadecimal digits of the operating system's randomness.
pub(crate) fn local_url_name<'r>(scope: &'r Scope) -> Result<Sexp<'r>, Failure> {
    let address = Address::unique(std::path::Path::new("/"))
        .map_err(HubError::Listen)?
        .to_string();
    let name = address.rsplit('/').next().unwrap_or_default();
    Ok(scope.string(name)?)
}

/// Entry: submits a task; its pointer. `object` is what the daemon's evaluator gets, `shared` a part made by `hub_share`
/// or `NULL`, `timeout` in milliseconds or `NULL`, `flags` one of those in R/evaluate.R, `stream` the task's own seed or
/// `NULL`, `retries` how often it may begin again after its daemon has died (`NULL` for never), `runtime` for how many milliseconds
/// it may run or `NULL`. While the queue is at its
/// capacity this waits, or returns `NULL` if `wait` is `FALSE`. Where `form` is not `NULL` but that of `mirai_new`, the mirai of
/// the task instead of its pointer.
#[allow(clippy::too_many_arguments)]
pub(crate) fn hub_submit<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    object: Sexp<'r>,
    shared: Sexp<'r>,
    timeout: Sexp<'r>,
    flags: Sexp<'r>,
    stream: Sexp<'r>,
    wait: Sexp<'r>,
    retries: Sexp<'r>,
    runtime: Sexp<'r>,
    form: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let shared = if shared.is_null() {
        None
    } else {
        Some(shared.handle::<SharedPart>(scope, "shared")?.clone())
    };
    let timeout = read_timeout(scope, timeout)?;
    let flags = TaskFlags(flags.count(scope, "flags")? as u8);
    let stream = optional_seed(scope, stream, "stream")?;
    let wait = wait.flag(scope, "wait")?;
    let retries = read_retries(scope, retries)?;
    let runtime = read_timeout(scope, runtime)?;
    let body = encode_task(scope, object, stream)?;
    let task = Task {
        body,
        shared,
        flags,
        timeout,
        runtime,
        retries,
        to: None,
    };
    if form.is_null() {
        return submit(scope, hub, task, wait);
    }
    let form = read_form(scope, form)?;
    let (hub, handle) = submit_task(scope, hub, task, wait)?;
    match handle {
        Some(handle) => make_mirai(scope, &hub, handle, &form),
        None => Ok(scope.null()),
    }
}

/// Entry: submits a task to the daemon of this number, or to any if that one is not connected, or `to` is `NULL`; its
/// pointer. `stream` as in `hub_submit`.
pub(crate) fn hub_submit_to<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    object: Sexp<'r>,
    stream: Sexp<'r>,
    to: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let stream = optional_seed(scope, stream, "stream")?;
    let to = if to.is_null() {
        None
    } else {
        u32::try_from(to.count(scope, "to")?).ok()
    };
    let body = encode_task(scope, object, stream)?;
    let task = Task {
        to,
        ..Task::new(body)
    };
    submit(scope, hub, task, true)
}

/// The pointer of a task, or `NULL`.
fn submit<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    task: Task,
    wait: bool,
) -> Result<Sexp<'r>, Failure> {
    match submit_task(scope, hub, task, wait)? {
        (_, Some(handle)) => Ok(scope.pointer(handle, None)?),
        (_, None) => Ok(scope.null()),
    }
}

/// Comes after the serializer has run, which may run R code: only now the hub is borrowed.
fn submit_task(
    scope: &Scope,
    hub: Sexp<'_>,
    mut task: Task,
    wait: bool,
) -> Result<(Rc<Hub>, Option<TaskHandle>), Failure> {
    memory::note_object(scope, task.body.len())?;
    // Before the task is taken, as a warning may be made an error.
    tell(scope)?;
    let hub = SessionHub::open(scope, hub)?;
    loop {
        match hub.submit(task) {
            Ok(handle) => return Ok((hub, Some(handle))),
            Err(SubmitError::Full(_)) if !wait => return Ok((hub, None)),
            Err(SubmitError::Full(refused)) => task = *refused,
            Err(error) => return Err(refusal(&error)),
        }
        await_admission(scope, &hub)?;
    }
}

/// Waits until the hub is as `is_reached` has it, or `patience` is over (`None`: without end). Each change of the hub is a reason
/// to look again.
pub(crate) fn wait_until(
    scope: &Scope,
    hub: Sexp<'_>,
    patience: Option<Duration>,
    mut is_reached: impl FnMut(&Hub) -> bool,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut seen = 0;
    interruptibly(scope, |slice| {
        // Asked for anew, as the handlers of an interrupt may have closed it.
        let hub = match SessionHub::open(scope, hub) {
            Ok(hub) => hub,
            Err(closed) => return Some(Err(closed)),
        };
        if is_reached(&hub) || patience.is_some_and(|patience| begun.elapsed() >= patience) {
            return Some(Ok(()));
        }
        seen = hub.wait_change(seen, slice);
        None
    })?
}

/// Why nothing more is taken.
pub(crate) fn refusal(error: &SubmitError) -> Failure {
    match error {
        SubmitError::TooMany { .. } => Failure::error(error.to_string()),
        SubmitError::Full(_) | SubmitError::Closed => Failure::coded(ErrorCode::CLOSED),
    }
}

/// Waits until the queue is below its capacity. Looks for an interrupt even if that is at once: there may be room for a task of
/// many, again and again.
pub(crate) fn await_admission(scope: &Scope, hub: &Hub) -> Result<(), Failure> {
    interruptibly(scope, |slice| hub.wait_admission(slice).then_some(()))?;
    scope.deliver_signals()?;
    Ok(scope.check_interrupt()?)
}

pub(crate) fn read_timeout(scope: &Scope, timeout: Sexp<'_>) -> Result<Option<Duration>, Failure> {
    let millis = timeout.optional_number(scope, "timeout")?;
    Ok(millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok()))
}

pub(crate) fn read_retries(scope: &Scope, retries: Sexp<'_>) -> Result<u32, Failure> {
    if retries.is_null() {
        return Ok(0);
    }
    Ok(u32::try_from(retries.count(scope, "retries")?).unwrap_or(u32::MAX))
}

/// Entry: submits an evaluation for each connected daemon, at least `min` of them, or with `NULL` for each connected one
/// and, before its first task, for each that is to come; a list of tasks. `is_kept`: those that take the place of others do it, too. While the queue is at
/// its capacity this waits, then takes them all.
pub(crate) fn hub_everywhere<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    object: Sexp<'r>,
    min: Sexp<'r>,
    timeout: Sexp<'r>,
    is_kept: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let is_kept = is_kept.flag(scope, "is_kept")?;
    let min = if min.is_null() {
        None
    } else {
        Some(u32::try_from(min.count(scope, "min")?).unwrap_or(u32::MAX))
    };
    let timeout = read_timeout(scope, timeout)?;
    let body = encode_task(scope, object, None)?;
    let task = Task {
        body,
        shared: None,
        flags: TaskFlags::EVERYWHERE,
        timeout,
        runtime: None,
        retries: 0,
        to: None,
    };
    let hub = SessionHub::open(scope, hub)?;
    await_admission(scope, &hub)?;
    let submitted = match min {
        Some(min) if is_kept => hub.everywhere_kept(task, min),
        Some(min) => hub.everywhere(task, min),
        None => hub.set_up(task),
    };
    let tasks = submitted.map_err(|error| refusal(&error))?;
    let tasks = tasks
        .into_iter()
        .map(|task| scope.pointer(task, None))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(scope.list(&tasks)?)
}

/// Entry: serializes an object once for many tasks of a hub; its pointer.
pub(crate) fn hub_share<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    object: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let bytes = encode_part(scope, object)?;
    let part = SessionHub::open(scope, hub)?.share(bytes);
    Ok(scope.pointer(part, None)?)
}

/// Entry: whether the daemon of this number is connected.
pub(crate) fn hub_has_worker<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    id: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let id = u32::try_from(id.count(scope, "id")?).unwrap_or(0);
    Ok(scope.logical(SessionHub::open(scope, hub)?.has_worker(id))?)
}

/// Entry: kills the daemon that is at the task of this number although nobody waits for that; whether there is one.
pub(crate) fn hub_force<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    task: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let task = task.count(scope, "task")?;
    Ok(scope.logical(SessionHub::open(scope, hub)?.force(task))?)
}

/// Entry: tells the daemon of this number to leave.
pub(crate) fn hub_dismiss<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    id: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let id = u32::try_from(id.count(scope, "id")?).unwrap_or(0);
    SessionHub::open(scope, hub)?.dismiss(id);
    Ok(scope.null())
}

/// Entry: closes a hub: open tasks resolve as reset. With `exit`, daemons are told to leave, also those that would wait
/// for another hub. Closing a closed one does nothing.
pub(crate) fn hub_close<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    exit: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let exit = exit.flag(scope, "exit")?;
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    let open = session_hub.hub.take();
    if let Some(hub) = open {
        // Afterwards none is on its way.
        let before_all_came = hub.starting() > 0;
        hub.close_soon(exit);
        session_hub
            .followers
            .borrow_mut()
            .close(before_all_came, exit);
        session_hub.end_healing();
        withdraw(&session_hub.launches.take(), &hub);
    }
    Ok(scope.null())
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Failure {
        Failure::coded_with(error.code(), &error)
    }
}
