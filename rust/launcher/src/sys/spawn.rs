//! Starting programs on Unix, by `posix_spawn`.
//!
//! The host is a large process with many threads, and the program is started from a thread of
//! ours while R's main thread computes. `fork()` there would copy all page tables and run the
//! fork handlers of every loaded library (OpenBLAS ends its threads in one, under a running
//! matrix product). `posix_spawn` does neither.

use super::Command;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

#[cfg(target_os = "linux")]
const SET_SID: i32 = 0x80; // POSIX_SPAWN_SETSID, of a narrower type in libc
#[cfg(target_os = "linux")]
const CLOSE_OTHERS: i32 = 0;
#[cfg(target_vendor = "apple")]
const SET_SID: i32 = 0x0400;
#[cfg(target_vendor = "apple")]
const CLOSE_OTHERS: i32 = 0x4000; // POSIX_SPAWN_CLOEXEC_DEFAULT
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
const SET_SID: i32 = 0;
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
const CLOSE_OTHERS: i32 = 0;

/// Descriptors are first moved to here, out of the way of the numbers they shall have.
const ASIDE: i32 = 64;

/// Starts `command` in a session of its own, with `descriptors` as its 0, 1, 2 … and no
/// others, with no signal blocked and interrupts not ignored. Returns its process id; it must
/// be waited for.
pub(super) fn spawn(command: &Command<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<i32> {
    let words = command
        .words
        .iter()
        .map(|word| CString::new(word.as_str()))
        .collect::<Result<Vec<_>, _>>()?;
    let variables = command
        .environment
        .iter()
        .map(|(name, value)| assignment(name, value))
        .collect::<io::Result<Vec<_>>>()?;
    let Some(program) = words.first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let aside = descriptors
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, ASIDE))
        .collect::<Result<Vec<OwnedFd>, _>>()?;
    let mut actions = Actions::new()?;
    if !is_inherited(command.dir) {
        actions.change_dir(&CString::new(command.dir.as_os_str().as_bytes())?)?;
    }
    for (fd, target) in aside.iter().zip(0..) {
        actions.dup(fd.as_raw_fd(), target)?;
    }
    actions.close_from(descriptors.len() as i32)?;
    let attributes = Attributes::new()?;
    let argv = pointers(&words);
    let envp = pointers(&variables);
    let mut pid = 0;
    // SAFETY: both arrays end with a null pointer and point into `words` and `variables`,
    // which outlive the call, as do the actions and attributes, both initialised.
    check(unsafe {
        libc::posix_spawn(
            &mut pid,
            program.as_ptr(),
            &actions.0,
            &attributes.0,
            argv.as_ptr(),
            envp.as_ptr(),
        )
    })?;
    Ok(pid)
}

/// Whether the program begins in this working directory though its name leads nowhere: below a folder that this user may not
/// enter, as after `sudo -u`, or under one that another file system has come to cover.
fn is_inherited(dir: &Path) -> bool {
    std::fs::metadata(dir).is_err() && std::env::current_dir().is_ok_and(|current| current == dir)
}

fn assignment(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    Ok(CString::new(
        [name.as_bytes(), b"=", value.as_bytes()].concat(),
    )?)
}

fn pointers(texts: &[CString]) -> Vec<*mut libc::c_char> {
    let texts = texts.iter().map(|text| text.as_ptr().cast_mut());
    texts.chain([ptr::null_mut()]).collect()
}

/// These functions return the error instead of setting `errno`.
fn check(code: i32) -> io::Result<()> {
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: init writes the whole value or fails.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: init has succeeded.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn dup(&mut self, fd: i32, target: i32) -> io::Result<()> {
        // SAFETY: initialised in `new`.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, fd, target) })
    }

    fn change_dir(&mut self, dir: &CStr) -> io::Result<()> {
        type AddChdir = unsafe extern "C" fn(
            *mut libc::posix_spawn_file_actions_t,
            *const libc::c_char,
        ) -> libc::c_int;
        let Some(function) = symbol(c"posix_spawn_file_actions_addchdir_np") else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        // SAFETY: the C library's function of that name has this signature.
        let add_chdir = unsafe { std::mem::transmute::<*mut libc::c_void, AddChdir>(function) };
        // SAFETY: initialised in `new`; the path is copied.
        check(unsafe { add_chdir(&mut self.0, dir.as_ptr()) })
    }

    /// Closes the host's descriptors before the program runs: its ports and pipes must not
    /// stay open in a daemon. Where the C library lacks the call, those open now are closed.
    fn close_from(&mut self, first: i32) -> io::Result<()> {
        type AddCloseFrom =
            unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, libc::c_int) -> libc::c_int;
        if CLOSE_OTHERS != 0 {
            return Ok(());
        }
        if let Some(function) = symbol(c"posix_spawn_file_actions_addclosefrom_np") {
            // SAFETY: the C library's function of that name has this signature.
            let add = unsafe { std::mem::transmute::<*mut libc::c_void, AddCloseFrom>(function) };
            // SAFETY: initialised in `new`.
            return check(unsafe { add(&mut self.0, first) });
        }
        for entry in std::fs::read_dir("/dev/fd")? {
            let name = entry?.file_name();
            let Some(fd) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if fd >= first {
                // SAFETY: initialised in `new`.
                check(unsafe { libc::posix_spawn_file_actions_addclose(&mut self.0, fd) })?;
            }
        }
        Ok(())
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, not used after.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

/// A function that older C libraries do not have.
fn symbol(name: &CStr) -> Option<*mut libc::c_void> {
    // SAFETY: looks up a name in what is loaded, runs nothing.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: init writes the whole value or fails.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: init has succeeded.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut none = MaybeUninit::uninit();
        let mut defaults = MaybeUninit::uninit();
        let flags =
            SET_SID | CLOSE_OTHERS | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        // SAFETY: each set is written by sigemptyset before it is read; the attributes are
        // initialised.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(
                &mut attributes.0,
                none.as_ptr(),
            ))?;
            // A shell starts what runs in the background with interrupts ignored. R leaves it at
            // that, from some version on, and then no task of its daemons could be cancelled.
            libc::sigemptyset(defaults.as_mut_ptr());
            libc::sigaddset(defaults.as_mut_ptr(), libc::SIGINT);
            check(libc::posix_spawnattr_setsigdefault(
                &mut attributes.0,
                defaults.as_ptr(),
            ))?;
            check(libc::posix_spawnattr_setflags(
                &mut attributes.0,
                flags as libc::c_short,
            ))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, not used after.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}
