//! The daemons that a hub has lost, with what is known of their ends.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Deaths that are kept, the last ones.
const MOST: usize = 100;

/// A daemon that has gone without a goodbye and without having been told to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// When the hub noticed.
    pub at: SystemTime,
    /// Its number, as of a [`Worker`](crate::Worker).
    pub id: u32,
    /// Process id, where the lane knows it.
    pub pid: Option<u32>,
    /// Where it was, if it connected over a network.
    pub peer: Option<SocketAddr>,
    /// Time since it joined.
    pub age: Duration,
    /// Reports received from it.
    pub done: u64,
    /// Number of the task that it evaluated, and of the attempt at that.
    pub task: Option<(u64, u32)>,
    /// Whether it was still being [set up](crate::Hub::set_up).
    pub in_set_up: bool,
    /// How its process ended, or its connection.
    pub how: Option<String>,
}

impl Death {
    /// How it ended, and that it was being set up if so.
    pub fn end(&self) -> String {
        let how = self.how.as_deref().unwrap_or("died");
        match self.in_set_up {
            true => format!("{how}, as it was set up"),
            false => how.to_owned(),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its daemon")?;
        if let Some(pid) = self.pid {
            write!(f, " (process {pid})")?;
        }
        f.write_str(" ")?;
        f.write_str(&self.end())
    }
}

/// The last deaths, and ends of processes whose daemons are still there for the hub.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    last: VecDeque<Death>,
    ends: HashMap<u32, String>,
}

impl Deaths {
    pub(crate) fn push(&mut self, death: Death) {
        if self.last.len() == MOST {
            self.last.pop_front();
        }
        self.last.push_back(death);
    }

    pub(crate) fn last(&mut self) -> Option<&mut Death> {
        self.last.back_mut()
    }

    pub(crate) fn all(&self) -> Vec<Death> {
        self.last.iter().cloned().collect()
    }

    /// Records how a process has ended: `is_there` as a daemon still, or known as dead already.
    pub(crate) fn note_end(&mut self, pid: u32, how: String, is_there: bool) {
        if is_there {
            self.ends.insert(pid, how);
            return;
        }
        let mut latest = self.last.iter_mut().rev();
        if let Some(death) = latest.find(|death| death.pid == Some(pid) && death.how.is_none()) {
            death.how = Some(how);
        }
    }

    pub(crate) fn has_end(&self, pid: u32) -> bool {
        self.ends.contains_key(&pid)
    }

    pub(crate) fn take_end(&mut self, pid: u32) -> Option<String> {
        self.ends.remove(&pid)
    }
}
