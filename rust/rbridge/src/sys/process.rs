//! What a task can change in its process, besides the environment variables: read by system calls of some 0.1 µs each.

use std::ffi::{CStr, CString};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Differences;

/// The state at one moment.
pub(crate) struct Process {
    umask: libc::mode_t,
    locale: Vec<Option<CString>>,
    priority: i32,
    affinity: Affinity,
    profiled: bool,
}

impl Process {
    /// Reads it.
    pub(crate) fn now() -> Process {
        Process {
            umask: umask(),
            locale: CATEGORIES.map(|c| locale(c).map(CStr::to_owned)).into(),
            priority: priority(),
            affinity: Affinity::now(),
            profiled: is_profiled(),
        }
    }

    /// What is different by now.
    pub(crate) fn differences(&self) -> Differences {
        let mut locales = CATEGORIES.iter().zip(&self.locale);
        Differences {
            attributes: umask() != self.umask
                || priority() != self.priority
                || Affinity::now() != self.affinity,
            locale: locales.any(|(c, then)| locale(*c) != then.as_deref()),
            profiler: is_profiled() != self.profiled,
        }
    }

    /// Sets umask, priority and affinity as they were, as far as the system allows.
    pub(crate) fn restore_attributes(&self) {
        // SAFETY: neither has preconditions. A priority can be lowered by any process, but raised by few.
        unsafe {
            libc::umask(self.umask);
            if priority() != self.priority {
                let _ = libc::setpriority(libc::PRIO_PROCESS, 0, self.priority);
            }
        }
        self.affinity.restore();
    }
}

/// Those that R can set.
const CATEGORIES: [libc::c_int; 6] = [
    libc::LC_COLLATE,
    libc::LC_CTYPE,
    libc::LC_MESSAGES,
    libc::LC_MONETARY,
    libc::LC_NUMERIC,
    libc::LC_TIME,
];

/// The name of a locale, which the C library holds until it is set again.
fn locale<'a>(category: libc::c_int) -> Option<&'a CStr> {
    // SAFETY: asks only; the result is a string, or null. Locales are set on R's thread alone, which is the one that asks.
    unsafe {
        let name = libc::setlocale(category, std::ptr::null());
        (!name.is_null()).then(|| CStr::from_ptr(name))
    }
}

/// It can be read by setting it alone. What another thread creates in between is private rather than open.
fn umask() -> libc::mode_t {
    // SAFETY: no preconditions.
    unsafe {
        let mask = libc::umask(0o077);
        libc::umask(mask);
        mask
    }
}

fn priority() -> i32 {
    // SAFETY: no preconditions; of the calling process it can be read.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Whether Rprof() samples: by a timer that counts the process's own time.
fn is_profiled() -> bool {
    // SAFETY: an all-zero timer is one that is off; it is filled in.
    unsafe {
        let mut timer: libc::itimerval = std::mem::zeroed();
        libc::getitimer(libc::ITIMER_PROF, &mut timer);
        timer.it_interval.tv_sec != 0 || timer.it_interval.tv_usec != 0
    }
}

/// The processors that R's thread may run on.
#[cfg(target_os = "linux")]
struct Affinity(libc::cpu_set_t);

#[cfg(target_os = "linux")]
impl Affinity {
    fn now() -> Affinity {
        // SAFETY: a set is plain bits, of which the system fills in what it knows.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
            Affinity(set)
        }
    }

    fn restore(&self) {
        // An empty set is what a machine with more processors than it holds has given: that is refused.
        // SAFETY: the set is initialized.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) };
    }
}

#[cfg(target_os = "linux")]
impl PartialEq for Affinity {
    fn eq(&self, other: &Affinity) -> bool {
        // SAFETY: both are initialized.
        unsafe { libc::CPU_EQUAL(&self.0, &other.0) }
    }
}

/// R cannot change it elsewhere.
#[cfg(not(target_os = "linux"))]
#[derive(PartialEq)]
struct Affinity;

#[cfg(not(target_os = "linux"))]
impl Affinity {
    fn now() -> Affinity {
        Affinity
    }

    fn restore(&self) {}
}

/// Number of this process; 0 while it has not been asked for.
static OWN: AtomicU32 = AtomicU32::new(0);

/// Number of this process, which the system is asked for once: a call of the system's for each pointer of R's that is looked at is
/// more than all else about it.
pub(crate) fn process_number() -> u32 {
    static FORKS: Once = Once::new();
    match OWN.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: what is called in a forked child stores a number and nothing else.
            FORKS.call_once(|| unsafe {
                libc::pthread_atfork(None, None, Some(forget_number));
            });
            let own = std::process::id();
            OWN.store(own, Ordering::Relaxed);
            own
        }
        own => own,
    }
}

/// In a forked child.
unsafe extern "C" fn forget_number() {
    OWN.store(0, Ordering::Relaxed);
}
