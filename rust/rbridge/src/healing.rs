//! Pools that heal: a daemon that has died is replaced.
//!
//! A thread for each such pool takes what the hub tells of daemons and what the launcher tells of launches, asks the
//! [policy](HealingPolicy), and launches. It sleeps while nothing happens, and ends with the hub.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use mirai_hub::{HealingPolicy, HealingStep, Hub, HubHandle, MOST_IN_A_ROW, Presence};
use mirai_launcher::{Context, LaunchRequest, Launcher};
use parking_lot::Mutex;

use crate::absent::{Absent, For, incident, note_untold};
use crate::failure::Failure;
use crate::hub::SessionHub;
use crate::launch::{Watcher, captured};
use crate::launchers::with_launcher;
use crate::rapi::{Scope, Sexp};
use crate::sys::start_thread;

/// What a pool that heals is told.
pub(crate) enum News {
    Presence(Presence),
    /// Somebody launches so many daemons.
    Launching(u64),
    /// That has failed at once, and its caller knows.
    NotLaunched(u64),
    /// A launched daemon will not come, for this reason.
    Missed(String),
    /// The hub is closed.
    Closed,
}

/// Tells the thread of a pool that heals.
#[derive(Clone)]
pub(crate) struct Healer(Sender<News>);

impl Healer {
    pub(crate) fn tell(&self, news: News) {
        // Nobody listens once the hub is closed.
        let _ = self.0.send(news);
    }
}

/// Entry: from now on a daemon of this hub that dies is replaced, by `call` from the state that the session has now, so that
/// there are `n` again.
pub(crate) fn hub_heal<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    n: Sexp<'r>,
    call: Sexp<'r>,
    libpaths: Sexp<'r>,
    package_path: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let target = n.count(scope, "n")?;
    let call = call.string(scope, "call")?;
    let (context, package) = captured(scope, libpaths, package_path)?;
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    let hub = SessionHub::open(scope, hub)?;
    let launcher = with_launcher(&package, Arc::clone)?;
    let (tell, news) = unbounded();
    let healer = Healer(tell);
    let ward = Ward {
        hub: hub.handle(),
        launcher,
        context,
        call,
        absent: Arc::clone(&session_hub.absent),
        healer: healer.clone(),
        last: Mutex::default(),
    };
    listen(&hub, &healer);
    let policy = HealingPolicy::new(target, &hub.counts());
    start_thread("mirai-heal", move || ward.attend(policy, &news))
        .map_err(|error| Failure::error(format!("the pool cannot heal: {error}")))?;
    session_hub.healer.replace(Some(healer));
    Ok(scope.null())
}

fn listen(hub: &Hub, healer: &Healer) {
    let healer = healer.clone();
    hub.listen(Arc::new(move |presence| {
        healer.tell(News::Presence(presence));
    }));
}

/// A pool in the care of its thread.
struct Ward {
    hub: HubHandle,
    launcher: Arc<Launcher>,
    context: Context,
    call: String,
    absent: Arc<Mutex<Absent>>,
    healer: Healer,
    /// The last reason why a daemon is missing.
    last: Mutex<String>,
}

impl Ward {
    fn attend(self, mut policy: HealingPolicy, news: &Receiver<News>) {
        // When what is missing is launched.
        let mut due: Option<Instant> = None;
        loop {
            let told = match due {
                Some(at) => news.recv_deadline(at),
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match told {
                Ok(News::Closed) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(news) => self.take(&mut policy, news),
                Err(RecvTimeoutError::Timeout) => {}
            }
            due = self.act(&mut policy, due);
        }
    }

    /// Does what the policy asks for. Returns when to ask again, if by then nothing has happened.
    fn act(&self, policy: &mut HealingPolicy, due: Option<Instant>) -> Option<Instant> {
        match policy.step() {
            HealingStep::Rest => {}
            HealingStep::GiveUp => self.give_up(),
            HealingStep::Launch { pause } => {
                let now = Instant::now();
                let due = due.unwrap_or(now + pause);
                if due > now {
                    return Some(due);
                }
                self.launch(policy.take_missing());
            }
        }
        None
    }

    fn take(&self, policy: &mut HealingPolicy, news: News) {
        match news {
            News::Presence(Presence::Joined { launched }) => policy.joined(launched),
            News::Presence(Presence::Left) => policy.left(),
            News::Presence(Presence::Died { death, reports }) => {
                policy.died(&death, reports);
                let incident = incident(&death);
                note_untold(For::Died, &incident, "");
                *self.last.lock() = incident;
            }
            News::Launching(count) => {
                policy.launching(count);
                self.hub.expect_daemons();
            }
            News::NotLaunched(count) => policy.not_launched(count),
            News::Missed(reason) => {
                policy.missed();
                log::debug!("a replacement does not come: {reason}");
                *self.last.lock() = reason;
            }
            News::Closed => {}
        }
    }

    fn launch(&self, count: u64) {
        let watcher = Watcher {
            hub: self.hub.clone(),
            absent: vec![Arc::clone(&self.absent)],
            // By the policy, which has the user told in its own words.
            is_awaited: true,
            is_single: false,
            healer: Some(self.healer.clone()),
        };
        let request = LaunchRequest {
            context: self.context.clone(),
            daemons: vec![self.call.clone(); usize::try_from(count).unwrap_or(0)],
        };
        let handler = Arc::new(move |event| watcher.take(event));
        self.hub.starting(count);
        if let Err(error) = self.launcher.launch(request, handler) {
            self.hub.not_starting(count);
            for _ in 0..count {
                self.healer.tell(News::Missed(error.to_string()));
            }
        }
    }

    fn give_up(&self) {
        let reason = format!(
            "{} daemons in a row have died or not come before they had done a task, so none is started any more; \
             launch_local() or daemons() starts others. The last: {}",
            MOST_IN_A_ROW,
            self.last.lock()
        );
        note_untold(For::GivenUp, &reason, "");
        self.hub.give_up(format!("no daemon is there: {reason}"));
    }
}
