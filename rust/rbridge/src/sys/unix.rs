//! Signals and environment variables of Unix.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

/// The environment variables at one moment.
pub(crate) struct Environment {
    strings: Vec<CString>,
    /// Their addresses.
    addresses: Vec<usize>,
}

/// glibc never writes into a string that it has handed out, so that an equal address means an equal string.
const ADDRESSES_TELL: bool = cfg!(all(target_os = "linux", target_env = "gnu"));

impl Environment {
    /// Copies them.
    pub(crate) fn now() -> Environment {
        Environment {
            strings: strings().map(CStr::to_owned).collect(),
            addresses: addresses().collect(),
        }
    }

    /// Whether they are still the same, in the same order.
    pub(crate) fn is_current(&self) -> bool {
        (ADDRESSES_TELL && addresses().eq(self.addresses.iter().copied()))
            || strings().eq(self.strings.iter().map(CString::as_c_str))
    }
}

/// The strings of `environ`. They are changed on R's thread only, which is the one that asks.
fn strings<'a>() -> impl Iterator<Item = &'a CStr> {
    // SAFETY: strings, not changed while this runs (see above).
    pointers().map(|string| unsafe { CStr::from_ptr(string) })
}

fn addresses() -> impl Iterator<Item = usize> {
    pointers().map(|string| string as usize)
}

fn pointers() -> impl Iterator<Item = *const libc::c_char> {
    let mut next = environ();
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: an array that ends with a null pointer, not changed while this runs.
        let string = unsafe { *next };
        if string.is_null() {
            return None;
        }
        // SAFETY: this was not the end of the array.
        next = unsafe { next.add(1) };
        Some(string)
    })
}

#[cfg(not(target_vendor = "apple"))]
fn environ() -> *const *const libc::c_char {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: reads a pointer.
    unsafe { environ }
}

/// A library cannot link to `environ` itself there.
#[cfg(target_vendor = "apple")]
fn environ() -> *const *const libc::c_char {
    // SAFETY: no preconditions; answers where the pointer is, for as long as the process lives.
    unsafe { (*libc::_NSGetEnviron()).cast::<*const libc::c_char>() }
}

/// The signal mask of a thread.
type Mask = MaybeUninit<libc::sigset_t>;

/// Blocks all signals in this thread; the mask before.
pub(crate) fn block_signals() -> Option<Mask> {
    let mut all = Mask::uninit();
    // SAFETY: fills the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    block(&all)
}

/// Blocks those of a set, which has been filled; the mask before.
fn block(signals: &Mask) -> Option<Mask> {
    let mut before = Mask::uninit();
    // SAFETY: the set is one, and the mask is of this thread.
    let blocked = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), before.as_mut_ptr()) == 0
    };
    blocked.then_some(before)
}

/// Puts back the mask before, if signals were blocked.
fn unblock(before: Option<Mask>) {
    if let Some(before) = before {
        // SAFETY: a mask that pthread_sigmask has written.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    }
}

/// Runs `start`, whose threads are to leave all signals to R's thread: they inherit that they are blocked.
pub(crate) fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    let before = block_signals();
    let result = start();
    unblock(before);
    result
}

/// Runs `work`, R code included. A SIGINT that comes meanwhile is delivered after it.
pub(crate) fn without_interrupts<T>(work: impl FnOnce() -> T) -> T {
    let mut interrupt = Mask::uninit();
    // SAFETY: makes the set empty before there is something in it.
    unsafe {
        libc::sigemptyset(interrupt.as_mut_ptr());
        libc::sigaddset(interrupt.as_mut_ptr(), libc::SIGINT);
    }
    let before = block(&interrupt);
    let result = work();
    unblock(before);
    result
}

/// Has the kernel deliver the signals that are pending for this thread.
pub(crate) fn enter_kernel() {
    // SAFETY: no preconditions; the shortest call that no C library answers by itself.
    unsafe { libc::getppid() };
}

/// Whether Ctrl-C in a terminal reaches this process.
pub(crate) fn is_in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else {
        return false;
    };
    // SAFETY: no preconditions but a descriptor, which is open.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

/// A thread that can be sent an interrupt.
#[derive(Clone, Copy)]
pub(crate) struct Interruptible(libc::pthread_t);

// SAFETY: a `pthread_t` may be used from any thread as long as its own has not ended, and R's thread is the main one.
unsafe impl Send for Interruptible {}
// SAFETY: as above.
unsafe impl Sync for Interruptible {}

impl Interruptible {
    /// The thread that calls this, which must be R's: it ends with the process.
    pub(crate) fn this() -> Interruptible {
        // SAFETY: no preconditions.
        Interruptible(unsafe { libc::pthread_self() })
    }

    /// Sends SIGINT to it.
    pub(crate) fn interrupt(self) {
        // SAFETY: see the type.
        unsafe { libc::pthread_kill(self.0, libc::SIGINT) };
    }
}

/// Whether the C library keeps free memory until it is asked to return it, as glibc does.
pub(crate) const KEEPS_FREE_MEMORY: bool = cfg!(all(target_os = "linux", target_env = "gnu"));

/// Has the C library return free memory. Returns how many bytes that was; the largest number where it is unknown.
pub(crate) fn give_back_memory() -> u64 {
    let before = private_memory();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes the allocator's own locks, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
    match (before, private_memory()) {
        (Some(before), Some(after)) => before.saturating_sub(after),
        _ => u64::MAX,
    }
}

/// Resident anonymous memory in bytes.
fn private_memory() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = pages.split(' ').skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    // SAFETY: no preconditions.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    Some(resident.saturating_sub(shared) * page)
}
