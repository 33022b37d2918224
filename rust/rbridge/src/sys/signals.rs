//! R's signal handlers that jump or end the session, kept off R's thread while native code is at work there.
//!
//! R handles SIGUSR1 and SIGUSR2 by quitting, which runs R code, and SIGPIPE by an error: on top of a native frame that
//! holds a lock the first would wait for itself, and the second would jump over frames that have something to drop. So
//! these signals have a handler here. While R's own code runs, it hands on to R's. While native code runs, it notes the
//! signal, which is [delivered](deliver) where nothing stands in the way: between the slices of a wait, and as an entry
//! returns to R. No system call is needed for that on the way in and out.
//!
//! A daemon at a [task](in_task) is spared R's quitting in the midst of whatever it does: R code that runs in a handler while
//! memory is being allocated waits for a lock that its own thread holds. The task is interrupted, and R quits after it; one
//! that takes no notice ends with its process.
//!
//! All this state belongs to R's thread; atomics are there because a handler interrupts it. SIGINT is not among the
//! signals: R only takes note of it while native code runs. Others have no handler of R's.

use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

use super::again;

/// The signals that R handles by jumping or quitting.
const DEFERRED: [libc::c_int; 3] = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGPIPE];

/// Those of them by which R quits.
const QUITTING: u32 = bit(libc::SIGUSR1) | bit(libc::SIGUSR2);

const fn bit(signal: libc::c_int) -> u32 {
    1 << signal
}

/// Time for a task to notice that it was interrupted, as R is to quit.
const QUITS_WITHIN: Duration = Duration::from_secs(5);

/// Whether native code runs on R's thread.
static NATIVE: AtomicBool = AtomicBool::new(false);

/// R code of the package's own runs that is not to be left in the middle, and which R may have told to ignore signals.
static HELD: AtomicBool = AtomicBool::new(false);

/// A daemon evaluates a task.
static TASK: AtomicBool = AtomicBool::new(false);

/// Signals that came meanwhile.
static PENDING: AtomicU32 = AtomicU32::new(0);

/// R's handlers put themselves back as they run; then ours are to be put in their place again.
static REPLACED: AtomicBool = AtomicBool::new(false);

/// Where a noted signal is told to the thread that waits for it; -1 for nowhere.
static TELL: AtomicI32 = AtomicI32::new(-1);

/// SIGTERM has come while a daemon was to leave by it in good order.
static TERMINATED: AtomicBool = AtomicBool::new(false);

/// R's variable that says so; null where R has none of that name.
static SUSPENDED: AtomicPtr<libc::c_int> = AtomicPtr::new(std::ptr::null_mut());

/// R's thread.
static THREAD: OnceLock<libc::pthread_t> = OnceLock::new();

/// The handlers before ours, in the order of [`DEFERRED`]: read by handlers, so they are written once.
static BEFORE: OnceLock<[Handler; 3]> = OnceLock::new();

#[derive(Clone, Copy)]
struct Handler {
    address: libc::sighandler_t,
    takes_info: bool,
}

/// Puts our handlers in the place of R's, where R has some. On R's thread, as the library is loaded.
pub(crate) fn install() {
    // SAFETY: no preconditions.
    let this = unsafe { libc::pthread_self() };
    if THREAD.set(this).is_err() {
        return;
    }
    // SAFETY: looks up a name in what is loaded, runs nothing. It is no documented part of R, so it may be missing.
    let suspended = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"R_interrupts_suspended".as_ptr()) };
    SUSPENDED.store(suspended.cast(), Ordering::Relaxed);
    again::prepare();
    let before = DEFERRED.map(current);
    if BEFORE.set(before).is_ok() {
        for (signal, handler) in DEFERRED.into_iter().zip(before) {
            replace(signal, handler);
        }
    }
}

fn current(signal: libc::c_int) -> Handler {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; what it writes is a valid action, and zeros are one, too.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    Handler {
        address: action.sa_sigaction,
        takes_info: action.sa_flags & libc::SA_SIGINFO != 0,
    }
}

fn replace(signal: libc::c_int, before: Handler) {
    if before.address == libc::SIG_DFL || before.address == libc::SIG_IGN {
        return;
    }
    // SAFETY: an action of zeros is valid; the handler has the signature that SA_SIGINFO asks for, and the library that it
    // belongs to is never unloaded.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// The handler. It may interrupt anything: it reads and writes atomics, and makes calls that are allowed in handlers.
extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: no preconditions.
    let here = unsafe { libc::pthread_self() };
    match THREAD.get() {
        // SAFETY: R's thread is the main one, which lives as long as the process.
        Some(thread) if unsafe { libc::pthread_equal(*thread, here) } == 0 => unsafe {
            libc::pthread_kill(*thread, signal);
        },
        _ if NATIVE.load(Ordering::Relaxed) || HELD.load(Ordering::Relaxed) => {
            PENDING.fetch_or(bit(signal), Ordering::SeqCst);
            tell();
        }
        _ if TASK.load(Ordering::Relaxed) && bit(signal) & QUITTING != 0 => {
            PENDING.fetch_or(bit(signal), Ordering::SeqCst);
            tell();
            // SAFETY: no preconditions; R's handler for it only takes a note.
            unsafe { libc::raise(libc::SIGINT) };
        }
        _ if bit(signal) & QUITTING != 0 && are_interrupts_suspended() => {
            if !again::soon(signal) {
                PENDING.fetch_or(bit(signal), Ordering::SeqCst);
            }
        }
        _ => hand_on(signal, info, context),
    }
}

/// Whether R has told its handlers to ignore signals.
fn are_interrupts_suspended() -> bool {
    let flag = SUSPENDED.load(Ordering::Relaxed);
    // SAFETY: the address of R's variable, of a type of the size of an int, which lives as long as the process.
    !flag.is_null() && unsafe { flag.read_volatile() } != 0
}

/// Wakes the thread that waits for a note. A pipe that is full has woken it already.
fn tell() {
    let to = TELL.load(Ordering::Relaxed);
    if to >= 0 {
        // SAFETY: one byte of a constant; the descriptor is never closed. `errno` is the interrupted code's.
        unsafe {
            let errno = errno();
            let before = *errno;
            libc::write(to, c"!".as_ptr().cast(), 1);
            *errno = before;
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn errno() -> *mut libc::c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
unsafe fn errno() -> *mut libc::c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__error() }
}

/// Calls the handler that was there before ours. It may not come back.
fn hand_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let at = DEFERRED.iter().position(|deferred| *deferred == signal);
    let before = BEFORE
        .get()
        .zip(at)
        .and_then(|(handlers, at)| handlers.get(at));
    let Some(before) = before else { return };
    REPLACED.store(true, Ordering::Relaxed);
    // SAFETY: an address that sigaction has given as a handler of this kind; ours stands only in for such.
    unsafe {
        if before.takes_info {
            let handler: extern "C-unwind" fn(
                libc::c_int,
                *mut libc::siginfo_t,
                *mut libc::c_void,
            ) = std::mem::transmute(before.address);
            handler(signal, info, context);
        } else {
            let handler: extern "C-unwind" fn(libc::c_int) = std::mem::transmute(before.address);
            handler(signal);
        }
    }
}

/// Records whether native code runs on R's thread. Returns the state before.
pub(crate) fn set_native(native: bool) -> bool {
    if native && REPLACED.load(Ordering::Relaxed) {
        REPLACED.store(false, Ordering::Relaxed);
        put_back();
    }
    // Only R's thread writes it: no need for an exchange in one.
    let before = NATIVE.load(Ordering::Relaxed);
    NATIVE.store(native, Ordering::Relaxed);
    before
}

/// Handlers that R, but nobody else, has put in the place of ours give way again.
#[cold]
fn put_back() {
    for (signal, before) in DEFERRED.into_iter().zip(BEFORE.get().into_iter().flatten()) {
        if current(signal).address == before.address {
            replace(signal, *before);
        }
    }
}

/// Runs `work`, and holds signals back also while that is R code. The thread that [watches](watch_quitting) for them is told
/// all the same.
pub(crate) fn held<T>(work: impl FnOnce() -> T) -> T {
    HELD.store(true, Ordering::Relaxed);
    let result = work();
    HELD.store(false, Ordering::Relaxed);
    result
}

/// Runs `work`, a task of a daemon. A signal by which R quits interrupts it, for R to quit once it is [over](quits_now).
pub(crate) fn in_task<T>(work: impl FnOnce() -> T) -> T {
    TASK.store(true, Ordering::SeqCst);
    let result = work();
    TASK.store(false, Ordering::SeqCst);
    result
}

/// Whether a signal by which R quits waits to be [delivered](deliver).
pub(crate) fn quits_now() -> bool {
    PENDING.load(Ordering::Relaxed) & QUITTING != 0
}

/// The signal by which R quits that waits to be [delivered](deliver), the first of several.
pub(crate) fn quitting() -> Option<i32> {
    let pending = PENDING.load(Ordering::SeqCst) & QUITTING;
    DEFERRED
        .into_iter()
        .find(|signal| pending & bit(*signal) != 0)
}

/// Whether a signal waits to be [delivered](deliver), and may be.
pub(crate) fn is_pending() -> bool {
    PENDING.load(Ordering::Relaxed) != 0 && !HELD.load(Ordering::Relaxed)
}

/// Delivers what has come while native code ran. R may quit or jump here: the caller's frame owns nothing, and native
/// code is [over](set_native).
pub(crate) fn deliver() {
    let pending = PENDING.swap(0, Ordering::SeqCst);
    for signal in DEFERRED {
        if pending & bit(signal) != 0 {
            // SAFETY: no preconditions; the handler runs before this returns.
            unsafe { libc::pthread_kill(libc::pthread_self(), signal) };
        }
    }
}

/// Has SIGTERM, from here on, noted as signals are by which R quits, until the guard is dropped; a second one ends the process. A
/// signal that somebody has given another meaning keeps it: then there is no guard.
pub(crate) fn note_sigterm() -> Option<SigtermNoted> {
    if current(libc::SIGTERM).address != libc::SIG_DFL {
        return None;
    }
    TERMINATED.store(false, Ordering::SeqCst);
    set_sigterm(on_sigterm as *const () as libc::sighandler_t);
    Some(SigtermNoted(()))
}

/// SIGTERM is [noted](note_sigterm).
pub(crate) struct SigtermNoted(());

impl Drop for SigtermNoted {
    fn drop(&mut self) {
        set_sigterm(libc::SIG_DFL);
    }
}

fn set_sigterm(handler: libc::sighandler_t) {
    // SAFETY: an action of zeros is valid; the handler is the default one or has the signature of a plain one, and the library
    // that it belongs to is never unloaded.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGTERM, &raw const action, std::ptr::null_mut());
    }
}

/// On whatever thread the system chooses.
extern "C" fn on_sigterm(_: libc::c_int) {
    TERMINATED.store(true, Ordering::SeqCst);
    tell();
}

fn is_quitting() -> bool {
    quits_now() || TERMINATED.load(Ordering::SeqCst)
}

/// Calls `note`, on a thread of its own, whenever a signal by which R quits, or SIGTERM, has been noted: for a native wait that
/// has no end of its own. Once in a process; without a thread or a pipe to spare, a signal waits for the end of that wait.
pub(crate) fn watch_quitting(note: impl Fn() + Send + 'static) {
    let (read, write) = match std::io::pipe() {
        Ok(ends) => ends,
        Err(error) => return log::debug!("signals wait for a task to come: {error}"),
    };
    let started = super::start_thread("mirai-signals", move || await_notes(read, note));
    if let Err(error) = started {
        return log::debug!("signals wait for a task to come: {error}");
    }
    use std::os::fd::IntoRawFd;
    TELL.store(write.into_raw_fd(), Ordering::Relaxed);
    // One that came just before.
    if is_quitting() {
        tell();
    }
}

fn await_notes(mut read: std::io::PipeReader, note: impl Fn()) {
    use std::io::Read;
    let mut bytes = [0; 64];
    while let Ok(1..) = read.read(&mut bytes) {
        if is_quitting() {
            note();
        }
        if quits_now() && TASK.load(Ordering::SeqCst) {
            std::thread::sleep(QUITS_WITHIN);
            end_in_task();
        }
    }
}

/// Ends the process by the signal that it has been sent if the task has not noticed.
fn end_in_task() {
    if let (Some(signal), true) = (quitting(), TASK.load(Ordering::SeqCst)) {
        // SAFETY: the default action, which ends the process.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(libc::getpid(), signal);
        }
    }
}

/// What has been noted was meant for the fork server, which it shall not end: neither those that it has forked nor its own
/// end are to act on it.
pub(crate) fn forget_all() {
    PENDING.store(0, Ordering::SeqCst);
}

/// What has been noted and would only be an error in a task that has nothing to do with it is forgotten.
pub(crate) fn forget_errors() {
    PENDING.fetch_and(QUITTING, Ordering::SeqCst);
}
