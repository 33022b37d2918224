//! How processes and jobs of daemons have ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_scheduler::DaemonId;

use super::Core;
use crate::activity::Activity;
use crate::deaths::{Death, JobListener, ProcessFate};
use crate::member::Seat;

/// How long to wait for what the launcher says of the end of a daemon that it has started: usually a millisecond, on a machine under
/// load some hundred.
const END_WITHIN: Duration = Duration::from_secs(1);

impl Core {
    /// The process of a daemon has ended, in this way.
    pub(crate) fn note_end(&self, pid: u32, fate: ProcessFate) {
        let mut state = self.state.lock();
        let is_there = state
            .members
            .values_mut()
            .any(|member| member.links.pid == Some(pid));
        state.deaths.note_end(pid, fate, is_there);
        drop(state);
        self.end_told.notify_waiters();
    }

    /// Waits until it is known how a process has ended, not for long.
    pub(crate) async fn end_told(&self, pid: u32) {
        let told = async {
            loop {
                let next = self.end_told.notified();
                if self.state.lock().deaths.has_end(pid) {
                    break;
                }
                next.await;
            }
        };
        // Nobody tells when the fork server has died as well.
        let _ = tokio::time::timeout(END_WITHIN, told).await;
    }

    /// A scheduler says how a job has ended. What of it is away is lost at once if it `is_gone` for sure, and otherwise returns or
    /// is lost later.
    pub(crate) fn note_job_end(&self, job: &str, fate: ProcessFate, is_gone: bool) {
        self.with_state(|state, timer, work| {
            state.deaths.note_job_end(job, fate, is_gone);
            let members = state.numbers.values();
            let is_lost = |daemon: &&DaemonId| {
                let member = state.members.get(daemon.index());
                member.is_some_and(|member| member.is_away && member.job() == Some(job))
            };
            let lost: Vec<DaemonId> = members.filter(is_lost).copied().collect();
            if is_gone {
                for daemon in lost {
                    state.lose(timer, work, daemon);
                }
            }
        });
        self.note_change();
    }

    pub(crate) fn listen_to_jobs(&self, listener: JobListener) {
        self.job_listeners.lock().push(Arc::new(listener));
    }

    /// The daemon's connection is broken: whoever follows its job asks how that is.
    pub(super) fn tell_of_silence(&self, job: &str) {
        let listeners = self.job_listeners.lock().clone();
        for listener in listeners {
            if !listener(job) {
                let mut kept = self.job_listeners.lock();
                kept.retain(|other| !Arc::ptr_eq(other, &listener));
            }
        }
    }

    pub(crate) fn deaths(&self) -> Vec<Death> {
        self.state.lock().deaths.all()
    }

    /// What a daemon was at as it was killed.
    pub(crate) fn note_activity(&self, seat: Seat, activity: Option<Activity>) {
        let mut state = self.state.lock();
        let member = state.members.get_mut(seat.daemon.index());
        if let Some(condemned) = member.and_then(|member| member.condemned.as_mut()) {
            condemned.activity = activity;
        }
    }

    /// See [`Deaths::take_kill`].
    pub(crate) fn take_kill(&self) -> bool {
        self.state.lock().deaths.take_kill(Instant::now())
    }
}
