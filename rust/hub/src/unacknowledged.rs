//! What a daemon was sent and may not have received: it is sent again when the daemon returns.

use std::collections::VecDeque;

use mirai_wire::{Payload, ToDaemon};

/// A message on the data connection.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub message: ToDaemon,
    pub payload: Payload,
}

/// Messages in the order in which they were sent, without those that were received for certain.
#[derive(Debug, Default)]
pub(crate) struct Unacknowledged {
    /// How many came before these.
    dropped: u64,
    messages: VecDeque<Sent>,
}

impl Unacknowledged {
    pub(crate) fn push(&mut self, sent: Sent) {
        self.messages.push_back(sent);
    }

    /// The daemon has reported on this run, so it has received the task and all before it.
    pub(crate) fn drop_until(&mut self, reported: u64) {
        let is_it =
            |sent: &Sent| matches!(sent.message, ToDaemon::Task { run, .. } if run == reported);
        if let Some(index) = self.messages.iter().position(is_it) {
            self.drop_first(index + 1);
        }
    }

    /// Drops the messages that the daemon has received, which are the first `received`. An impossible number is taken
    /// for the nearest possible one.
    pub(crate) fn drop_received(&mut self, received: u64) {
        let more = received.saturating_sub(self.dropped);
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        self.drop_first(more.min(self.messages.len()));
    }

    fn drop_first(&mut self, count: usize) {
        self.messages.drain(..count);
        self.dropped += count as u64;
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = &Sent> {
        self.messages.iter()
    }
}

#[cfg(test)]
mod tests {
    use mirai_wire::TaskFlags;

    use super::*;

    fn runs(kept: &Unacknowledged) -> Vec<u64> {
        let run = |sent: &Sent| match sent.message {
            ToDaemon::Task { run, .. } => run,
            _ => 0,
        };
        kept.messages().map(run).collect()
    }

    fn kept(runs: &[u64]) -> Unacknowledged {
        let mut kept = Unacknowledged::default();
        for &run in runs {
            kept.push(Sent {
                message: ToDaemon::Task {
                    run,
                    shared: None,
                    flags: TaskFlags::default(),
                    attempt: 1,
                    word: None,
                },
                payload: Payload::new(),
            });
        }
        kept
    }

    #[test]
    fn a_report_tells_that_its_task_and_all_before_have_come() {
        let mut kept = kept(&[3, 4, 5]);
        kept.drop_until(4);
        assert_eq!(runs(&kept), [5]);
        kept.drop_until(4);
        assert_eq!(runs(&kept), [5]);
    }

    #[test]
    fn what_was_received_is_counted_from_the_beginning() {
        let mut kept = kept(&[1, 2, 3, 4]);
        kept.drop_until(1);
        kept.drop_received(3);
        assert_eq!(runs(&kept), [4]);
        kept.drop_received(2);
        assert_eq!(runs(&kept), [4]);
        kept.drop_received(u64::MAX);
        assert!(runs(&kept).is_empty());
    }

    #[test]
    fn equal_runs_of_set_ups_go_one_at_a_time() {
        let mut kept = kept(&[0, 0, 7]);
        kept.drop_until(0);
        assert_eq!(runs(&kept), [0, 7]);
    }
}
