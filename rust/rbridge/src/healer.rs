//! What the thread of a pool that heals is told, by whoever learns of it.

use crossbeam_channel::Sender;
use mirai_hub::Presence;

/// What a pool that heals is told.
pub(crate) enum News {
    Presence(Presence),
    /// Somebody launches so many daemons.
    Launching(u64),
    /// That has failed at once, and its caller knows.
    NotLaunched(u64),
    /// A launched daemon will not come, for this reason.
    Missed(String),
    /// What was launched at first is there, or its caller knows: from here on what is missing is launched.
    Begin,
    /// The hub is closed.
    Closed,
}

/// Tells the thread of a pool that heals.
#[derive(Clone)]
pub(crate) struct Healer(pub Sender<News>);

impl Healer {
    pub(crate) fn tell(&self, news: News) {
        // Nobody listens once the hub is closed.
        let _ = self.0.send(news);
    }
}
