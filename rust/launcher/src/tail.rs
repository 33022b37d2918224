//! The last output of a daemon, its memory when it last looked, and the signal by which it quits, for when it has died.
//!
//! What a daemon's R discards goes into a file in memory that the fork server has as well: nobody has to read along, nothing
//! waits for a reader, and what a task's own children hold open does not matter. It cannot grow beyond a limit, up to which only what
//! was written takes memory; between tasks it begins anew when it is long.

use crate::printable::printable;
use crate::sys::linux as sys;
use parking_lot::Mutex;
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, SeekFrom, fallocate, fcntl_add_seals, fstat, ftruncate,
    memfd_create, seek,
};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Beyond this nothing is kept until the file begins anew.
const MOST_BYTES: u64 = 4 << 20;

/// From this many on it begins anew.
const LONG_BYTES: u64 = 256 << 10;

/// Behind the text there is room for two numbers.
const NUMBER_BYTES: u64 = 8;
const MEMORY_AT: u64 = MOST_BYTES;
const SIGNAL_AT: u64 = MEMORY_AT + NUMBER_BYTES;
const ALL_BYTES: u64 = SIGNAL_AT + NUMBER_BYTES;

/// Of these the last lines are told.
const TOLD_BYTES: usize = 1000;
const TOLD_LINES: usize = 5;

/// How R's report of a crash begins: a traceback follows, from the innermost call outwards.
const CRASH: &str = "*** caught ";

/// What such a report ends with.
const CRASH_END: &str = "An irrecoverable exception";

/// Of it the first lines are told.
const CRASH_LINES: usize = 12;
const CRASH_LINE_CHARS: usize = 200;

/// In the frames of a task's callers: the daemon's own.
const DAEMON_FRAMES: [&str; 2] = [".__task_expr__.", "wrap__daemon_run"];

/// In a forked daemon: its own.
static OWN: Mutex<Option<Tail>> = Mutex::new(None);

/// The file of one daemon.
#[derive(Debug)]
pub(crate) struct Tail(OwnedFd);

impl Tail {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = memfd_create("mirai-output", flags)?;
        // There are more important ones than this, such as those by which more daemons are forked.
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        if fd.as_raw_fd() as u64 > most / 4 {
            return Err(Errno::MFILE.into());
        }
        // A larger file than may be would end this process, by a signal.
        let largest = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        if largest < ALL_BYTES {
            return Err(Errno::FBIG.into());
        }
        ftruncate(&fd, ALL_BYTES)?;
        fcntl_add_seals(&fd, SealFlags::GROW | SealFlags::SHRINK)?;
        Ok(Self(fd))
    }

    /// In the daemon.
    pub(crate) fn become_own(self) {
        *OWN.lock() = Some(self);
    }

    /// The last lines of what was written, or the first ones of R's report on a crash.
    pub(crate) fn text(&self) -> String {
        let Ok(bytes) = self.last_bytes() else {
            return String::new();
        };
        let text = String::from_utf8_lossy(&bytes);
        crash_report(&text).unwrap_or_else(|| last_lines(&printable(&text)))
    }

    fn last_bytes(&self) -> io::Result<Vec<u8>> {
        // Memory comes by pages, so the last of them has zeros after the text.
        let mut end = 0;
        while let Ok(data) = seek(&self.0, SeekFrom::Data(end))
            && data < MOST_BYTES
        {
            end = seek(&self.0, SeekFrom::Hole(data))?.min(MOST_BYTES);
        }
        let begin = end.saturating_sub(LONG_BYTES);
        let mut bytes = vec![0; (end - begin) as usize];
        let read = rustix::io::pread(&self.0, &mut *bytes, begin)?;
        bytes.truncate(read);
        let text = bytes.iter().rposition(|byte| *byte != 0);
        bytes.truncate(text.map_or(0, |last| last + 1));
        Ok(bytes)
    }

    /// Bytes in memory when the daemon last looked.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.number(MEMORY_AT)
    }

    /// The signal by which R quits.
    pub(crate) fn quitting(&self) -> Option<i32> {
        self.number(SIGNAL_AT)
            .and_then(|number| number.try_into().ok())
    }

    /// The number there; `None` for zero, as it is at first.
    fn number(&self, at: u64) -> Option<u64> {
        let mut bytes = [0; NUMBER_BYTES as usize];
        let read = rustix::io::pread(&self.0, &mut bytes, at).ok()?;
        let number = u64::from_le_bytes(bytes);
        (read == bytes.len() && number > 0).then_some(number)
    }

    fn note(&self, number: u64, at: u64) {
        // It is for users to read, so it may be missing.
        let _ = rustix::io::pwrite(&self.0, &number.to_le_bytes(), at);
    }

    fn empty(&self) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.0, flags, 0, MOST_BYTES)?)
    }

    fn is_long(&self) -> bool {
        fstat(&self.0).is_ok_and(|stat| stat.st_blocks as u64 * 512 >= LONG_BYTES)
    }

    /// R has opened the file by its name, so that it has a place of its own there.
    fn begin_anew(&self) -> io::Result<()> {
        let own = fstat(&self.0)?;
        for entry in fs::read_dir("/proc/self/fd")? {
            let path = entry?.path();
            let number = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            let is_it = fs::metadata(&path)
                .is_ok_and(|file| file.ino() == own.st_ino && file.dev() == own.st_dev);
            if let Some(number) = number.filter(|_| is_it) {
                sys::rewind(number)?;
            }
        }
        self.empty()
    }
}

fn last_lines(text: &str) -> String {
    let text = text.trim_end();
    let from = text.len().saturating_sub(TOLD_BYTES);
    let from = (from..).find(|at| text.is_char_boundary(*at));
    let lines: Vec<&str> = text[from.unwrap_or(0)..].lines().collect();
    lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n")
}

/// What R says of a crash, with the calls of the task alone.
fn crash_report(text: &str) -> Option<String> {
    let report = &text[text.rfind(CRASH)?..];
    let is_of_task = |line: &&str| {
        let is_frame = line.trim_start().starts_with(|c: char| c.is_ascii_digit());
        let is_daemon = is_frame && DAEMON_FRAMES.iter().any(|frame| line.contains(frame));
        !is_daemon && !line.starts_with(CRASH_END)
    };
    let lines = report.lines().take_while(is_of_task);
    let cut = |line: &str| printable(line).chars().take(CRASH_LINE_CHARS).collect();
    let told: Vec<String> = lines
        .filter(|line| !line.trim().is_empty())
        .take(CRASH_LINES)
        .map(cut)
        .collect();
    Some(told.join("\n"))
}

/// See [`crate::discarded_output`].
pub(crate) fn path() -> Option<PathBuf> {
    let own = OWN.lock();
    let own = own.as_ref()?;
    own.empty().ok()?;
    Some(format!("/proc/self/fd/{}", own.0.as_fd().as_raw_fd()).into())
}

/// See [`crate::shorten_discarded_output`].
pub(crate) fn shorten() {
    if let Some(own) = &*OWN.lock()
        && own.is_long()
        && let Err(error) = own.begin_anew()
    {
        log::debug!("the discarded output stays as it is: {error}");
    }
}

/// See [`crate::note_memory`].
pub(crate) fn note_memory() {
    static STATM: OnceLock<Option<fs::File>> = OnceLock::new();
    let own = OWN.lock();
    let (Some(own), Some(statm)) = (
        &*own,
        STATM.get_or_init(|| fs::File::open("/proc/self/statm").ok()),
    ) else {
        return;
    };
    let mut text = [0; 128];
    let read = rustix::io::pread(statm, &mut text, 0).unwrap_or(0);
    let pages = std::str::from_utf8(&text[..read]).ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    if let Some(pages) = pages {
        own.note(pages * sys::page_bytes(), MEMORY_AT);
    }
}

/// See [`crate::note_quitting`].
pub(crate) fn note_quitting(signal: Option<i32>) {
    if let Some(own) = &*OWN.lock() {
        let number = signal.map_or(0, |signal| signal.unsigned_abs().into());
        own.note(number, SIGNAL_AT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    fn opened(tail: &Tail) -> File {
        let path = format!("/proc/self/fd/{}", tail.0.as_raw_fd());
        let file = File::options().read(true).write(true).open(path);
        file.expect("a file that is there")
    }

    #[test]
    fn the_last_lines_are_told() {
        let tail = Tail::new().expect("a file in memory");
        assert_eq!(tail.text(), "");
        let mut file = opened(&tail);
        for i in 0..10_000 {
            writeln!(file, "line {i}").expect("room");
        }
        assert_eq!(
            tail.text(),
            "line 9995\nline 9996\nline 9997\nline 9998\nline 9999"
        );
        write!(file, "{}", "x".repeat(5000)).expect("room");
        assert_eq!(tail.text().len(), TOLD_BYTES);
    }

    #[test]
    fn what_moves_the_cursor_is_not_told() {
        let tail = Tail::new().expect("a file in memory");
        let mut file = opened(&tail);
        write!(file, "10 %\r20 %\r\n\x1b]0;title\x07\x1b[31mred\tblue\n").expect("room");
        assert_eq!(tail.text(), "20 %\nred\tblue");
    }

    #[test]
    fn of_a_crash_the_calls_of_the_task_are_told() {
        let tail = Tail::new().expect("a file in memory");
        let mut file = opened(&tail);
        writeln!(
            file,
            "before\n\n *** caught segfault ***\naddress 0x1, cause 'unknown'\n\nTraceback:\n 1: g(1)\n 2: f(.x)\n \
             3: eval(.__task_expr__., .__task_env__.)\n 4: mirai::daemon(\"{}\")\nAn irrecoverable exception occurred.",
            "x".repeat(5000)
        )
        .expect("room");
        let told = "*** caught segfault ***\naddress 0x1, cause 'unknown'\nTraceback:\n 1: g(1)\n 2: f(.x)";
        assert_eq!(tail.text(), told);
        // A deep one, of which the innermost calls are told.
        tail.begin_anew().expect("to begin anew");
        let frames: String = (1..3000).map(|i| format!("{i}: f({i})\n")).collect();
        writeln!(file, " *** caught bus error ***\nTraceback:\n{frames}").expect("room");
        let text = tail.text();
        assert!(text.starts_with("*** caught bus error ***\nTraceback:\n1: f(1)\n2: f(2)\n"));
        assert_eq!(text.lines().count(), CRASH_LINES);
    }

    #[test]
    fn numbers_are_apart_from_the_text() {
        let tail = Tail::new().expect("a file in memory");
        assert_eq!((tail.memory(), tail.quitting()), (None, None));
        tail.note(u64::MAX - 1, MEMORY_AT);
        tail.note(10, SIGNAL_AT);
        assert_eq!(tail.text(), "");
        let mut file = opened(&tail);
        while file.write_all(b"as much as there is room for\n").is_ok() {}
        tail.empty().expect("to be emptied");
        assert_eq!(tail.text(), "");
        assert_eq!(
            (tail.memory(), tail.quitting()),
            (Some(u64::MAX - 1), Some(10))
        );
    }

    #[test]
    fn it_does_not_grow_beyond_its_limit_and_begins_anew() {
        let tail = Tail::new().expect("a file in memory");
        let mut file = opened(&tail);
        let line = [b'x'; 1 << 16];
        while file.write_all(&line).is_ok() {}
        let size = fstat(&tail.0).expect("to be told").st_blocks as u64 * 512;
        assert!(size <= MOST_BYTES, "{size}");
        assert!(tail.is_long());
        tail.begin_anew().expect("to begin anew");
        assert!(!tail.is_long());
        assert_eq!(tail.text(), "");
        writeln!(file, "after that").expect("room");
        assert_eq!(tail.text(), "after that");
    }
}
