//! Pools that heal: a daemon that has died is replaced.
//!
//! A thread for each such pool takes what the hub tells of daemons and what the launcher tells of launches, asks the
//! [policy](HealingPolicy), and launches. It sleeps while nothing happens, and ends with the hub.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use mirai_hub::{
    Counts, Death, HealingOptions, HealingPolicy, HealingStep, Hub, HubHandle, MOST_IN_A_ROW,
    Presence, ReplayLimit, launcher_of_replacements,
};
use mirai_launcher::{Context, LaunchRequest, Launcher};
use parking_lot::Mutex;

use crate::absent::{Absent, For, incident, note_untold};
use crate::healer::{Healer, News};
use crate::hub::{SessionHub, wait_until};
use crate::launch::captured;
use crate::launchers::{launcher, with_launcher};
use crate::rapi::{Failure, Scope, Sexp};
use crate::sys::start_thread;
use crate::watcher::Watcher;

/// Why a pool stops healing that has been set up in too many ways.
const TOO_MUCH: &str = "everywhere() has set up more than is kept for replacements (see `options(mirai.replay = )`), and one that lacks \
    a part of it would not be like the others; `.replay = FALSE` is for what need not be there";

/// Entry: from `hub_heal_begin` on a daemon of this hub that dies is replaced, so that there are `n` again: by `call` from the state that the
/// session has now, or where that is `NULL` by R code. R knows the pool by `key`. `leavers`: those that leave are replaced, too,
/// when tasks wait; `budget` the number of launches within an hour (`NULL` for no limit); `most` how much of what `everywhere()` has
/// set up is kept for replacements, in bytes and by number.
#[allow(clippy::too_many_arguments)]
pub(crate) fn hub_heal<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    n: Sexp<'r>,
    call: Sexp<'r>,
    libpaths: Sexp<'r>,
    package_path: Sexp<'r>,
    key: Sexp<'r>,
    leavers: Sexp<'r>,
    budget: Sexp<'r>,
    most: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let target = n.count(scope, "n")?;
    let leavers = leavers.flag(scope, "leavers")?;
    let budget = budget.optional_number(scope, "budget")?;
    let &[bytes, count] = &most.numbers(scope)?[..] else {
        return Err(Failure::error("`most` must be two numbers"));
    };
    let limit = ReplayLimit {
        bytes: bytes as u64,
        count: count as usize,
    };
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    let hub = SessionHub::open(scope, hub)?;
    let key = key.string(scope, "key")?;
    let starter = match call.is_null() {
        true => Starter::Session,
        false => thread_starter(scope, session_hub, call, libpaths, package_path)?,
    };
    let options = HealingOptions {
        leavers,
        budget: budget.map(|budget| budget as u64),
        is_blind: matches!(starter, Starter::Session),
    };
    hub.handle().keep_for_replacements(limit);
    let (tell, news) = unbounded();
    let healer = Healer(tell);
    let ward = Ward {
        hub: hub.handle(),
        key,
        starter,
        healer: healer.clone(),
        begun: Instant::now(),
        last: Mutex::default(),
    };
    let counts = listen(&hub, &healer);
    let policy = HealingPolicy::new(target, &counts, options);
    start_thread("mirai-heal", move || ward.attend(policy, &news))
        .map_err(|error| Failure::error(format!("the pool cannot heal: {error}")))?;
    session_hub.healer.replace(Some(healer));
    Ok(scope.null())
}

/// Launches by `call`, from the state that the session has now.
fn thread_starter(
    scope: &Scope,
    session_hub: &SessionHub,
    call: Sexp<'_>,
    libpaths: Sexp<'_>,
    package_path: Sexp<'_>,
) -> Result<Starter, Failure> {
    let call = call.string(scope, "call")?;
    let (mut context, package) = captured(scope, session_hub, libpaths, package_path)?;
    context.known_by(launcher_of_replacements(launcher()));
    Ok(Starter::Thread {
        launcher: with_launcher(&package, Arc::clone)?,
        context: Box::new(context),
        call,
        absent: Arc::clone(&session_hub.absent),
    })
}

/// Entry: what is missing now is launched.
pub(crate) fn hub_heal_begin<'r>(scope: &'r Scope, hub: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    if let Some(healer) = &*session_hub.healer.borrow() {
        healer.tell(News::Begin);
    }
    Ok(scope.null())
}

/// Entry: what R launches from here on, until it says otherwise, is what the pool was missing.
pub(crate) fn hub_relaunching<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    is_relaunching: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    let is_relaunching = is_relaunching.flag(scope, "is_relaunching")?;
    session_hub.is_relaunching.set(is_relaunching);
    Ok(scope.null())
}

/// Entry: R could not launch so many that the pool was missing, for this reason.
pub(crate) fn hub_not_relaunched<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    n: Sexp<'r>,
    reason: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let n = n.count(scope, "n")?;
    let reason = reason.string(scope, "reason")?;
    let session_hub: &SessionHub = hub.handle(scope, "hub")?;
    if let Some(healer) = &*session_hub.healer.borrow() {
        (0..n).for_each(|_| healer.tell(News::Missed(reason.clone())));
    }
    Ok(scope.null())
}

/// Within so much after a death a replacement is on its way.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Entry: waits until `n` daemons are connected, as long as replacements are on their way.
pub(crate) fn hub_wait_healed<'r>(
    scope: &'r Scope,
    hub: Sexp<'r>,
    n: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let n = n.count(scope, "n")?;
    wait_until(scope, hub, None, |hub| {
        let is_missed = |death: &Death| death.at.elapsed().is_ok_and(|age| age < UNDER_WAY);
        let may_heal = hub.expects_replacements() || hub.deaths().last().is_some_and(is_missed);
        hub.counts().connections >= n || !may_heal || hub.given_up().is_some()
    })?;
    Ok(scope.null())
}

fn listen(hub: &Hub, healer: &Healer) -> Counts {
    let healer = healer.clone();
    hub.listen(Arc::new(move |presence| {
        healer.tell(News::Presence(presence));
    }))
}

/// Who launches.
enum Starter {
    /// The thread itself, on this machine.
    Thread {
        launcher: Arc<Launcher>,
        context: Box<Context>,
        call: String,
        absent: Arc<Mutex<Absent>>,
    },
    /// R code, as its thread comes by: it takes functions of the user's, or random streams.
    Session,
}

/// A pool in the care of its thread.
struct Ward {
    hub: HubHandle,
    /// By which R knows the pool.
    key: String,
    starter: Starter,
    healer: Healer,
    begun: Instant,
    /// The last reason why a daemon is missing.
    last: Mutex<String>,
}

impl Ward {
    fn attend(self, mut policy: HealingPolicy, news: &Receiver<News>) {
        // When what is missing is launched.
        let mut due: Option<Instant> = None;
        let mut has_begun = false;
        loop {
            let told = match due {
                Some(at) => news.recv_deadline(at),
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match told {
                Ok(News::Begin) => has_begun = true,
                Ok(News::Closed) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(news) => {
                    self.take(&mut policy, news);
                    // Whom somebody has launched since has come, or will not.
                    if policy.has_ended() && !self.hub.has_given_up() {
                        self.hub.give_up(TOO_MUCH.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if has_begun {
                due = self.act(&mut policy, due);
            }
        }
    }

    /// Does what the policy asks for. Returns when to ask again, if by then nothing has happened.
    fn act(&self, policy: &mut HealingPolicy, due: Option<Instant>) -> Option<Instant> {
        if policy.asks_for_waiting() {
            self.hub.tell_when_waiting();
        }
        let now = Instant::now();
        match policy.step(now - self.begun) {
            HealingStep::Rest => self.hub.set_heals_again(None),
            HealingStep::GiveUp => self.give_up(),
            HealingStep::Spent { pause } => {
                self.tell_of_budget(pause);
                self.hub.set_heals_again(Some(SystemTime::now() + pause));
                return Some(now + pause);
            }
            HealingStep::Launch { pause } => {
                let due = due.unwrap_or(now + pause);
                if due > now {
                    return Some(due);
                }
                self.hub.set_heals_again(None);
                self.launch(policy.take_missing(now - self.begun));
            }
        }
        None
    }

    fn take(&self, policy: &mut HealingPolicy, news: News) {
        match news {
            News::Presence(Presence::Joined { launched, replaces }) => {
                policy.joined(launched);
                if replaces {
                    note_untold(For::Replaced, &self.key, "");
                }
            }
            News::Presence(Presence::Left) => policy.left(),
            News::Presence(Presence::NotSetUp { id, reports }) => {
                policy.not_set_up(id, reports);
                let incident = format!(
                    "what everywhere() has set up has failed on daemon {id}, which has taken the place of another"
                );
                note_untold(For::Unserved, &incident, "");
                *self.last.lock() = incident;
            }
            News::Presence(Presence::TooMuchToReplay) => {
                policy.end();
                self.end_for(TOO_MUCH);
            }
            News::Presence(Presence::Waiting { tasks, reports }) => policy.waiting(tasks, reports),
            News::Presence(Presence::Died { death, reports }) => {
                policy.died(&death, reports);
                let incident = incident(&death);
                // A daemon that was killed here was to be.
                if !death.is_killed {
                    note_untold(For::Died, &incident, "");
                }
                *self.last.lock() = incident;
            }
            News::Launching(count) => {
                policy.launching(count);
                self.hub.expect_daemons();
            }
            News::NotLaunched(count) => policy.not_launched(count),
            News::Missed(reason) => {
                policy.missed();
                if matches!(self.starter, Starter::Session) {
                    self.hub.expect_fewer_replacements(1);
                }
                log::debug!("a replacement does not come: {reason}");
                *self.last.lock() = reason;
            }
            News::Begin | News::Closed => {}
        }
    }

    fn launch(&self, count: u64) {
        let (launcher, context, call, absent) = match &self.starter {
            Starter::Session => {
                self.hub.expect_replacements(count);
                (0..count).for_each(|_| note_untold(For::Relaunch, &self.key, ""));
                return self.hub.note_change();
            }
            Starter::Thread {
                launcher,
                context,
                call,
                absent,
            } => (launcher, context, call, absent),
        };
        let watcher = Watcher {
            hub: self.hub.clone(),
            absent: vec![Arc::clone(absent)],
            // By the policy, which has the user told in its own words.
            is_awaited: true,
            is_single: false,
            healer: Some(self.healer.clone()),
        };
        let request = LaunchRequest {
            context: (**context).clone(),
            daemons: vec![call.clone(); usize::try_from(count).unwrap_or(0)],
        };
        let handler = Arc::new(move |event| watcher.take(event));
        self.hub.starting(count);
        if let Err(error) = launcher.launch(request, handler) {
            self.hub.not_starting(count);
            for _ in 0..count {
                self.healer.tell(News::Missed(error.to_string()));
            }
        }
    }

    fn tell_of_budget(&self, pause: Duration) {
        let mut reason = format!(
            "as many daemons were launched as `options(mirai.heal_budget = )` allows within an hour, so a daemon that is missing is \
             launched in {} minutes.",
            pause.as_secs().div_ceil(60),
        );
        let last = self.last.lock();
        if !last.is_empty() {
            reason += &format!(" The last: {last}");
        }
        note_untold(For::Unserved, &reason, "");
    }

    fn give_up(&self) {
        let reason = format!(
            "{} daemons in a row have died or not come before they had done a task, so none is started any more; \
             launch_local(), launch_remote() or daemons() starts others. The last: {}",
            MOST_IN_A_ROW,
            self.last.lock()
        );
        self.end_for(&reason);
    }

    fn end_for(&self, reason: &str) {
        note_untold(For::GivenUp, reason, "");
        self.hub.give_up(reason.to_owned());
    }
}
