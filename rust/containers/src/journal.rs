//! The log: an entry for each request, written to standard output in one piece, so that those of several requests do not mix.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::net::IpAddr;
use std::time::SystemTime;

/// A time in UTC, to the second.
pub(crate) fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// What the log says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry(String);

impl Entry {
    pub(crate) fn new(received: SystemTime, method: &str, path: &str, from: IpAddr) -> Entry {
        let (time, method, path) = (utc(received), harmless(method), harmless(path));
        Entry(format!("[{time}] {method} {path} from {from}\n"))
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, line: impl Display) {
        let line = harmless(&line.to_string());
        // A string takes what it is given.
        let _ = writeln!(self.0, "  {line}");
    }

    /// Its lines.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Writes it. A log that nobody takes any more is no reason to end.
    pub(crate) fn write(&self) {
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(self.0.as_bytes());
        let _ = output.flush();
    }
}

/// A caller's text on one line, so that it cannot pass for an entry of the log.
fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let is_plain = !c.is_control();
            let plain = is_plain.then_some(c);
            plain.into_iter().chain(
                (!is_plain)
                    .then(|| c.escape_default())
                    .into_iter()
                    .flatten(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_entry_has_its_lines_and_no_others() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_776_428_538);
        let mut entry = Entry::new(time, "POST", "/workers/start", [192, 0, 2, 4].into());
        entry.add("started a\nb");
        assert_eq!(
            entry.text(),
            "[2026-04-17T12:22:18Z] POST /workers/start from 192.0.2.4\n  started a\\nb\n"
        );
    }
}
