//! What a task consists of on its way to a daemon.

use mirai_wire::{Payload, TaskFlags};

use crate::{SharedPart, Task};

/// What is sent of a task. Unacknowledged until the task is released: a daemon may leave before it has begun.
#[derive(Clone)]
pub(crate) struct Parts {
    pub body: Payload,
    pub shared: Option<SharedPart>,
    pub flags: TaskFlags,
}

/// As far as they have no shared part.
impl PartialEq for Parts {
    fn eq(&self, other: &Parts) -> bool {
        let is_alone = self.shared.is_none() && other.shared.is_none();
        is_alone && self.flags == other.flags && self.body == other.body
    }
}

impl From<Task> for Parts {
    fn from(task: Task) -> Parts {
        Parts {
            body: task.body,
            shared: task.shared,
            flags: task.flags,
        }
    }
}
