//! A request that waits for its reply.

use std::sync::mpsc::Sender;

/// What the thread that writes is told.
#[derive(Debug)]
#[cfg_attr(not(unix), allow(dead_code, reason = "nobody writes there"))]
pub(crate) enum Order {
    Reply(u32),
    End,
}

/// A request that has not been answered. Dropping it leaves it so.
#[derive(Debug)]
pub struct Ticket {
    pub(crate) id: u32,
    pub(crate) orders: Sender<Order>,
}

impl Ticket {
    /// Has it answered. Does not wait, and may be called under a lock.
    pub fn reply(self) {
        // Nobody is left to be told.
        let _ = self.orders.send(Order::Reply(self.id));
    }
}
