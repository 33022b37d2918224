//! What outlives a broken connection, shared by the evaluating and the control thread.
//!
//! The control thread notices a break, also while a task is evaluated, and dials again; the evaluating thread reads and
//! writes the data connection, and takes the new one over when it gets there.
//!
//! *`Connections::state`* is the only lock: it guards whether the connection works, how many messages were received over it, and
//! the new one on its way to the evaluating thread, and the breaks so far. It is never held across a system call that can block, and no other lock is
//! taken under it. `changed` is waited for under it by either thread, and signalled when the stage changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mirai_lanes::Dialled;
use parking_lot::{Condvar, Mutex};

use crate::Absence;
use crate::session::Channel;

/// How long the control thread may take to notice a break that the evaluating one has noticed: the hub ends both
/// connections, and the network may spare one.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);

/// Absences that are kept until the evaluating thread asks for them, the last ones: a task may take days.
const MOST_ABSENCES: usize = 100;

/// The connections of a daemon to one hub, one pair after the other.
#[derive(Debug)]
pub(crate) struct Connections {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// Messages from the hub that the evaluating thread has begun to act on.
    received: u64,
    control: Arc<dyn Dialled>,
    /// When the connection broke that has not been replaced.
    broke: Option<SystemTime>,
    absences: VecDeque<Absence>,
}

impl State {
    /// Records how an absence has ended, if there is one.
    fn end_absence(&mut self, has_returned: bool) {
        if let Some(broke) = self.broke.take() {
            if self.absences.len() == MOST_ABSENCES {
                self.absences.pop_front();
            }
            self.absences.push_back(Absence {
                broke,
                ended: SystemTime::now(),
                has_returned,
            });
        }
    }
}

#[derive(Debug)]
enum Stage {
    Connected,
    /// The connection is broken, and the control thread dials.
    Broken,
    /// The control thread has a new connection; `received` messages have arrived at the hub.
    Back {
        data: Channel,
        received: u64,
    },
    /// The hub is gone, or the daemon leaves.
    Over,
}

/// What has become of a broken connection.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// There is a new one, and the number of messages that the hub has received.
    Back(Channel, u64),
    Over,
    /// The deadline passed.
    Late,
}

impl Connections {
    pub(crate) fn new(control: Arc<dyn Dialled>) -> Connections {
        Connections {
            state: Mutex::new(State {
                stage: Stage::Connected,
                received: 0,
                control,
                broke: None,
                absences: VecDeque::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Counts a message as received, and returns whether the evaluating thread may act on it. It must not once the
    /// connection is known to be broken: the hub is told what was received, and sends the rest again.
    pub(crate) fn take_in(&self) -> bool {
        let mut state = self.state.lock();
        let is_whole = matches!(state.stage, Stage::Connected);
        state.received += u64::from(is_whole);
        is_whole
    }

    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Connected)
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Over)
    }

    /// Records that the control thread has noticed a break. Returns how many messages from the hub were received by
    /// now; `None` if all is over.
    pub(crate) fn break_off(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if matches!(state.stage, Stage::Over) {
            return None;
        }
        state.stage = Stage::Broken;
        state.broke.get_or_insert_with(SystemTime::now);
        Some(state.received)
    }

    /// Hands a new connection over to the evaluating thread. Returns whether it is still wanted.
    pub(crate) fn offer(&self, data: Channel, received: u64, control: &Arc<dyn Dialled>) -> bool {
        let mut state = self.state.lock();
        if matches!(state.stage, Stage::Over) {
            return false;
        }
        state.control = Arc::clone(control);
        state.stage = Stage::Back { data, received };
        state.end_absence(true);
        self.changed.notify_all();
        true
    }

    /// Records that there will be no other connection.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.stage = Stage::Over;
        state.end_absence(false);
        self.changed.notify_all();
    }

    /// The absences that have ended and that nobody has asked for yet.
    pub(crate) fn take_absences(&self) -> VecDeque<Absence> {
        std::mem::take(&mut self.state.lock().absences)
    }

    /// Ends the control connection, so that its thread ends.
    pub(crate) fn shut_control(&self) {
        let control = Arc::clone(&self.state.lock().control);
        control.shutdown();
    }

    /// Waits for `pause`, or until all is over.
    pub(crate) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        while !matches!(state.stage, Stage::Over) {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }

    /// What has become of the connection that the evaluating thread has found broken, or that is known to be.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Verdict {
        let mut noticed = Instant::now() + NOTICED_WITHIN;
        let mut state = self.state.lock();
        loop {
            match std::mem::replace(&mut state.stage, Stage::Connected) {
                Stage::Back { data, received } => return Verdict::Back(data, received),
                other => state.stage = other,
            }
            let until = match state.stage {
                Stage::Over => return Verdict::Over,
                Stage::Connected => [Some(noticed), deadline].into_iter().flatten().min(),
                Stage::Broken | Stage::Back { .. } => deadline,
            };
            let Some(until) = until else {
                self.changed.wait(&mut state);
                continue;
            };
            let is_late = self.changed.wait_until(&mut state, until).timed_out();
            if is_late && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Verdict::Late;
            }
            if is_late && matches!(state.stage, Stage::Connected) {
                let control = Arc::clone(&state.control);
                drop(state);
                control.shutdown();
                noticed += NOTICED_WITHIN;
                state = self.state.lock();
            }
        }
    }
}
