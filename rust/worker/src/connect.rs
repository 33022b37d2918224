//! Connecting to a hub: how often to try, and when to give up.

use std::io;
use std::time::{Duration, Instant};

use mirai_lanes::{Address, ErrorCode, HOST_SILENCE, LaneError, Refusal};
use mirai_wire::Return;

use crate::clock::Clock;
use crate::connections::Connections;
use crate::limits::WorkerLimits;
use crate::options::LOOK;
use crate::session::{Membership, Reopened, Session};
use crate::{Evaluator, ExitReason, WorkerError, WorkerOptions};

/// Pause between attempts to reach a hub of this machine that does not listen yet: short beside the start of a session,
/// long enough to cost nothing. Over a network, the first of them.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: thousands of daemons that wait for a host must not load it, or the network.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The longest one after a break: the hub waits for seconds.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// A daemon that dials after a break begins anew when there was no answer for half of the hub's patience, within these: a
/// message that is lost is sent again after ever longer times.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);

/// See [`SHORTEST_ATTEMPT`].
const LONGEST_ATTEMPT: Duration = Duration::from_secs(30);

/// How often a daemon connects again after a hub has dropped it before the greeting, over a network within some 16 s. A hub
/// drops the oldest when many connect, or who is too late, and resets what comes from where too many have come from.
const RETURNS: u32 = 8;

/// How long a daemon tries to reach a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Once.
    None,
    /// Until somebody listens. If the two don't trust each other, the daemon may have been given what is wrong, and says so.
    UntilHeard,
    /// Until a hub takes it that it trusts. One has, so what it was given is right, and whoever listens at the address
    /// meanwhile shall not be able to end it.
    UntilTaken,
}

impl Patience {
    fn bears(self, error: &WorkerError) -> bool {
        match (self, error) {
            (Patience::None, _) => false,
            // A hub that is just closing: its successor may listen at the same address.
            (_, WorkerError::Io(_)) => true,
            (_, WorkerError::Dial(error)) if error.is_absence() => true,
            (Patience::UntilHeard, _) => false,
            (Patience::UntilTaken, WorkerError::Dial(error)) => matches!(
                error.code(),
                ErrorCode::UNAUTHENTICATED | ErrorCode::PROTOCOL
            ),
            (Patience::UntilTaken, error) => {
                matches!(error, WorkerError::Wire(_) | WorkerError::OutOfTurn)
            }
        }
    }
}

/// Connects, with patience or without. Or why the daemon leaves before: a limit was reached, or someone wants it to stop.
pub(crate) fn connect(
    options: &WorkerOptions,
    limits: &WorkerLimits,
    evaluator: &mut dyn Evaluator,
    patience: Patience,
    clock: &dyn Clock,
) -> Result<Result<Session, ExitReason>, WorkerError> {
    let mut pauses = Pauses::new(&options.address);
    let mut returns = 0;
    loop {
        let mut left = None;
        let mut gives_up = || {
            left = reason_to_leave(options, limits, evaluator, clock.now());
            left.is_some()
        };
        let opened = Session::open(options, &mut gives_up);
        if let Some(reason) = left {
            return Ok(Err(reason));
        }
        match opened {
            Ok(session) => return Ok(Ok(session)),
            Err(error) if patience.bears(&error) => {}
            Err(error) if is_let_go(&error) && returns < RETURNS => returns += 1,
            Err(error) => return Err(error),
        }
        let until = clock.now() + pauses.next(random());
        loop {
            let now = clock.now();
            if let Some(reason) = reason_to_leave(options, limits, evaluator, now) {
                return Ok(Err(reason));
            }
            let rest = until.saturating_duration_since(now);
            if rest.is_zero() {
                break;
            }
            let limit = limits
                .deadline()
                .map_or(rest, |deadline| deadline.saturating_duration_since(now));
            clock.sleep(rest.min(limit).min(LOOK));
        }
    }
}

/// Connects again after a break, as the daemon that was there. `None` when nobody listens any more, the hub does not know it
/// or does not answer at all, or when it is to leave.
pub(crate) fn reconnect(
    options: &WorkerOptions,
    membership: &Membership,
    connections: &Connections,
    clock: &dyn Clock,
) -> Option<Reopened> {
    let Membership { daemon, ticket } = *membership;
    let gives_up_at = clock.now() + HOST_SILENCE;
    let attempt = Duration::from_millis(ticket.grace.into()) / 2;
    let attempt = attempt.clamp(SHORTEST_ATTEMPT, LONGEST_ATTEMPT);
    let mut pauses = Pauses::new(&options.address);
    let is_over = || connections.is_over() || options.leave.is_asked();
    while !is_over() && clock.now() < gives_up_at {
        let returning = Return {
            daemon,
            key: ticket.key,
            received: connections.break_off()?,
        };
        let until = clock.now() + attempt;
        let mut gives_up = || is_over() || clock.now() >= until;
        match Session::reopen(options, returning, &mut gives_up) {
            Ok(reopened) => return Some(reopened),
            Err(error) if is_final(&error) => return None,
            Err(_) => connections.pause(pauses.next(random()).min(LONGEST_REST)),
        }
    }
    None
}

/// Whether a hub says, or shows, that there is no return: nobody listens any more. An address that has served before is right, though
/// there may be none of that name or kind while a link is down, and a handshake may be cut at any point.
fn is_final(error: &WorkerError) -> bool {
    match error {
        WorkerError::Dial(error) => error.code() == ErrorCode::REFUSED,
        WorkerError::Io(_) => false,
        _ => true,
    }
}

fn reason_to_leave(
    options: &WorkerOptions,
    limits: &WorkerLimits,
    evaluator: &mut dyn Evaluator,
    now: Instant,
) -> Option<ExitReason> {
    if let Some(reason) = limits.reached_idle(now) {
        return Some(reason.into());
    }
    if options.attended && evaluator.wants_to_leave() {
        return Some(ExitReason::Interrupted);
    }
    options.leave.is_asked().then_some(ExitReason::Ended)
}

/// Whether the hub has dropped the connection without a word: one that refuses says why. A reset is seen while dialling, in
/// what follows, or as an end where writing has met it.
fn is_let_go(error: &WorkerError) -> bool {
    let error = match error {
        WorkerError::Dial(LaneError::Refused {
            reason: Refusal::Gone,
            ..
        }) => return true,
        WorkerError::Io(error)
        | WorkerError::Dial(
            LaneError::Os { source: error, .. }
            | LaneError::Refused {
                reason: Refusal::Io(error),
                ..
            },
        ) => error,
        _ => return false,
    };
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// A random number; 0 if the system gives none.
fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

/// Pauses between attempts: constant on this machine; over a network each is twice the one before, less a random part,
/// so that daemons which lost their host at the same moment do not return at the same moment.
#[derive(Debug)]
struct Pauses {
    next: Duration,
    is_remote: bool,
}

impl Pauses {
    fn new(address: &Address) -> Pauses {
        Pauses {
            next: FIRST_PAUSE,
            is_remote: matches!(address, Address::Network(_)),
        }
    }

    fn next(&mut self, random: u32) -> Duration {
        if !self.is_remote {
            return self.next;
        }
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST_PAUSE);
        whole.mul_f64(1.0 - 0.5 * f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Shutdown, TcpListener};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use mirai_lanes::Access;

    use super::*;
    use crate::clock::HandClock;

    #[test]
    fn pauses_grow_over_a_network_and_differ() {
        let remote = Address::parse("tcp://host:1").unwrap();
        let mut pauses = Pauses::new(&remote);
        let longest: Vec<u128> = (0..8).map(|_| pauses.next(0).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let mut pauses = Pauses::new(&remote);
        assert_eq!(pauses.next(u32::MAX), FIRST_PAUSE / 2);
        let between = pauses.next(u32::MAX / 3);
        assert!(between > FIRST_PAUSE && between < 2 * FIRST_PAUSE);
    }

    struct Idle;

    impl Evaluator for Idle {
        fn welcome(&mut self, _settings: &[u8]) {}
        fn evaluate(&mut self, _task: crate::Task<'_>) -> crate::Evaluation {
            panic!("there is no hub");
        }
        fn after(&mut self, _flags: crate::TaskFlags) {}
        fn keep_part(&mut self, _id: u64, _bytes: crate::Payload) {}
        fn forget_part(&mut self, _id: u64) {}
    }

    /// Dials where nobody listens; why the daemon leaves, and after how long.
    fn dial_nobody(
        patience: Patience,
        limited: impl FnOnce(&mut WorkerOptions),
    ) -> (Result<ExitReason, WorkerError>, Duration) {
        let folder = std::env::temp_dir();
        let mut options = WorkerOptions::new(Address::unique(&folder).unwrap());
        limited(&mut options);
        let begun = Instant::now();
        let clock = HandClock::at(begun);
        let limits = WorkerLimits::new(&options, begun);
        let left = match connect(&options, &limits, &mut Idle, patience, &clock) {
            Ok(Ok(_)) => panic!("nobody listens"),
            Ok(Err(reason)) => Ok(reason),
            Err(error) => Err(error),
        };
        (left, clock.now() - begun)
    }

    #[test]
    fn limits_end_a_daemon_that_waits_for_a_host() {
        let limit = Duration::from_millis(123_456);
        let (left, after) = dial_nobody(Patience::UntilHeard, |options| {
            options.idletime = Some(limit)
        });
        assert_eq!((left.unwrap(), after), (ExitReason::IdleTime, limit));
        let (left, after) = dial_nobody(Patience::UntilHeard, |options| {
            options.idletime = Some(2 * limit);
            options.walltime = Some(limit);
        });
        assert_eq!((left.unwrap(), after), (ExitReason::WallTime, limit));
    }

    #[test]
    fn a_daemon_that_was_there_goes_on_where_its_machine_has_no_address_for_a_while() {
        let dialled = |kind: io::ErrorKind| {
            WorkerError::Dial(LaneError::Os {
                url: "ws://[2001:db8::1]:7".to_owned(),
                source: kind.into(),
            })
        };
        assert!(!is_final(&dialled(io::ErrorKind::AddrNotAvailable)));
        assert!(!is_final(&dialled(io::ErrorKind::NetworkUnreachable)));
        assert!(is_final(&dialled(io::ErrorKind::ConnectionRefused)));
    }

    /// What a host does with a peer that it has no time for.
    #[derive(Debug, Clone, Copy)]
    enum Drops {
        AtOnce,
        OnceItSpeaks,
        ByAnEnd,
    }

    /// Takes peers, counts them and drops each.
    fn drop_all(listener: &TcpListener, count: &AtomicU32, how: Drops) {
        for peer in listener.incoming() {
            let mut peer = peer.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            if !matches!(how, Drops::AtOnce) {
                peer.read_exact(&mut [0]).unwrap();
            }
            if matches!(how, Drops::ByAnEnd) {
                peer.shutdown(Shutdown::Write).unwrap();
                // Until it has closed its side, too: what is unread would be a reset.
                let _ = peer.read_to_end(&mut Vec::new());
            } else {
                rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
            }
        }
    }

    #[test]
    fn a_daemon_that_is_dropped_without_a_word_comes_again() {
        let (_, secured) = Access::single_use("127.0.0.1").unwrap();
        for scheme in ["tcp", "ws", "tls+tcp", "wss"] {
            for how in [Drops::AtOnce, Drops::OnceItSpeaks, Drops::ByAnEnd] {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let url = format!("{scheme}://{}", listener.local_addr().unwrap());
                let mut options = WorkerOptions::new(Address::parse(&url).unwrap());
                if matches!(scheme, "tls+tcp" | "wss") {
                    options.credentials = secured.clone();
                }
                let count = Arc::new(AtomicU32::new(0));
                let counted = Arc::clone(&count);
                std::thread::spawn(move || drop_all(&listener, &counted, how));
                let clock = HandClock::at(Instant::now());
                let limits = WorkerLimits::new(&options, clock.now());
                let left = connect(&options, &limits, &mut Idle, Patience::None, &clock);
                let error = left.expect_err("nobody takes it in");
                let count = count.load(Ordering::SeqCst);
                assert_eq!(count, RETURNS + 1, "{url}, {how:?}: {error:?}");
                assert!(!is_final(&error), "{url}, {how:?}: {error:?}");
            }
        }
    }

    #[test]
    fn without_patience_there_is_one_attempt() {
        let (left, after) = dial_nobody(Patience::None, |_| {});
        assert!(matches!(left, Err(WorkerError::Dial(error)) if error.is_absence()));
        assert_eq!(after, Duration::ZERO);
    }

    #[test]
    fn pauses_on_this_machine_are_all_alike() {
        let local = Address::unique(&std::env::temp_dir()).unwrap();
        let mut pauses = Pauses::new(&local);
        for random in [0, 7, u32::MAX] {
            assert_eq!(pauses.next(random), FIRST_PAUSE);
        }
    }
}
