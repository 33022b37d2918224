//! A daemon's evaluator that answers with what it gets.

use mirai_worker::{Evaluation, Evaluator, Interrupter, Payload, RunEnd, Task, TaskFlags};

pub struct Echo;

impl Evaluator for Echo {
    fn welcome(&mut self, _settings: &[u8]) {}
    fn evaluate(&mut self, task: Task<'_>) -> Evaluation {
        Evaluation {
            end: RunEnd::Value,
            payload: Payload::copy_from_slice(task.body),
        }
    }
    fn after(&mut self, _flags: TaskFlags) {}
    fn keep_part(&mut self, _id: u64, _bytes: Payload) {}
    fn forget_part(&mut self, _id: u64) {}
}

impl Interrupter for Echo {
    fn interrupt(&self) {}
    fn clear_interrupt(&self) {}
}
