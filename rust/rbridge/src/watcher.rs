//! What becomes of launched daemons: the events of the launcher, passed on to the hub, to users and to the healer.

use std::sync::Arc;

use mirai_hub::{ErrorCode, HubHandle, ProcessFate};
use mirai_launcher::{DaemonEvent, ExitStatus, LATE, kill_by_system};
use parking_lot::Mutex;

use crate::absent::{Absent, For, note_untold, with_output};
use crate::healer::{Healer, News};
use crate::rapi::coded_text;

/// Receives the events of one launch, on the launcher's threads.
pub(crate) struct Watcher {
    pub hub: HubHandle,
    /// Where failures are noted: those of the launch, if somebody waits for it, and of the hub.
    pub absent: Vec<Arc<Mutex<Absent>>>,
    pub is_awaited: bool,
    pub is_single: bool,
    pub healer: Option<Healer>,
}

impl Watcher {
    pub(crate) fn take(&self, event: DaemonEvent) {
        match event {
            DaemonEvent::Started { .. } => {}
            // Who waits for a start is told otherwise that it takes long.
            DaemonEvent::Late { is_starting, .. } if is_starting && self.is_awaited => {}
            DaemonEvent::Late { pid, is_starting } => {
                if !self.hub.is_closed() {
                    note_untold(For::Launch, &late_text(pid, is_starting), "");
                }
            }
            DaemonEvent::Exited {
                pid,
                status,
                peak,
                command,
                early,
                memory,
                last,
                ..
            } => {
                let fate = ProcessFate {
                    how: end_text(status, peak, memory),
                    output: last,
                };
                self.hub.note_end(pid, fate);
                // One that has been there is not absent: the hub knows what became of it.
                if let Some(full) = self.hub.take_turned_away(pid) {
                    self.note(coded_text(ErrorCode::OUT_OF_FILES, &full), &command);
                } else if !self.hub.take_joined(pid) {
                    let reason = format!("R ended before it connected, with {status}");
                    self.note(with_output(&reason, &early), &command);
                }
            }
            DaemonEvent::Failed { failure, .. } => {
                self.note(
                    with_output(&failure.to_string(), &failure.output),
                    &failure.command,
                );
            }
        }
    }

    fn note(&self, reason: String, command: &str) {
        log::debug!("a launched daemon does not come: {reason}");
        self.hub.not_starting(1);
        if let Some(healer) = &self.healer {
            healer.tell(News::Missed(reason.clone()));
        }
        for absent in &self.absent {
            absent.lock().note(&reason, command);
        }
        // Before those who wait look up. A closed hub misses nobody.
        if !self.is_awaited && !self.hub.is_closed() {
            let missed = if self.is_single { For::Task } else { For::Pool };
            note_untold(missed, &reason, command);
        }
        if self.is_single {
            self.hub.launch_failed(reason);
        } else {
            self.hub.note_change();
        }
    }
}

/// How the process of a daemon has ended, after a word for the daemon.
fn end_text(status: ExitStatus, peak: Option<u64>, memory: Option<u64>) -> String {
    let by_system = match status {
        ExitStatus::Signal(9) => kill_by_system(),
        _ => None,
    };
    let mut text = match (status, by_system) {
        (_, Some(how)) => how.to_owned(),
        (ExitStatus::Signal(_), None) => format!("was ended by {status}"),
        (ExitStatus::Told(_), None) => format!("was told to quit, by {status}"),
        (ExitStatus::Code(_) | ExitStatus::Unknown, None) => format!("ended with {status}"),
    };
    if let Some(bytes) = peak.filter(|bytes| *bytes > 0) {
        text += &format!(", {} MB in memory at most", bytes.div_ceil(1_000_000));
    }
    if let Some(bytes) = memory {
        text += &format!(", {} when it last looked", bytes.div_ceil(1_000_000));
    }
    text
}

fn late_text(pid: u32, is_starting: bool) -> String {
    let seconds = LATE.as_secs();
    if is_starting {
        format!(
            "R starts for them in the process {pid}, and has not been up for {seconds} seconds. \
             It goes on if it was stopped. Is it busy with a start-up file?"
        )
    } else {
        format!(
            "the process {pid} is asked for them, and has not answered for {seconds} seconds. It goes on if it was stopped, \
             and is given up in {seconds} seconds."
        )
    }
}
