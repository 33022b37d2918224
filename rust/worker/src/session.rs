//! The two connections to a hub: opening them, and reading and writing frames.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirai_lanes::{Alarm, Dialled, Passed, Patience, SharedWords, Spin, dial};
use mirai_wire::{
    Frame, FrameBuffer, FrameLimits, FromDaemon, Hello, PairKey, Payload, Preamble, Return,
    ReturnTicket, Role, ToDaemon, Want, encode_head,
};

use crate::clock::{Clock, SystemClock};
use crate::{WorkerError, WorkerOptions};

/// Time after which a host that does not answer is taken for unreachable.
const DIALLED_WITHIN: Duration = Duration::from_secs(30);

/// Time after which a hub that has not greeted is given up.
const GREETED_WITHIN: Duration = Duration::from_secs(30);

/// The two connections to a hub, greeted.
#[derive(Debug)]
pub(crate) struct Session {
    pub data: Channel,
    pub control: Channel,
    /// What the hub has sent with its welcome.
    pub settings: Payload,
    /// Words that decide about tasks sent before their turn; `None` where there are none of these.
    pub words: Option<SharedWords>,
    /// Number of this daemon at the hub, and what it needs to return; `None` where a broken connection is the end.
    pub membership: Option<Membership>,
}

/// What identifies a daemon that returns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Membership {
    pub daemon: u32,
    pub ticket: ReturnTicket,
}

impl Membership {
    /// Whether a broken connection is not the end.
    pub(crate) fn may_return(&self) -> bool {
        self.ticket.grace > 0
    }

    /// How long nothing may be heard of the hub's machine before a connection is taken for broken.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.ticket.silence.into())
    }
}

/// The two connections to a hub to which a daemon has returned.
#[derive(Debug)]
pub(crate) struct Reopened {
    pub data: Channel,
    pub control: Channel,
    /// Messages that the hub has received.
    pub received: u64,
}

impl Session {
    /// Has the lanes take the connections for broken after the time that the hub has set.
    pub(crate) fn set_silence(&self) {
        for channel in [&self.control, &self.data] {
            if let Some(membership) = &self.membership {
                channel.connection.set_silence(membership.silence());
            }
        }
    }

    /// Connects and exchanges greetings. `gives_up` is called at intervals, and ends the attempt by returning true.
    pub(crate) fn open(
        options: &WorkerOptions,
        gives_up: &mut dyn FnMut() -> bool,
    ) -> Result<Session, WorkerError> {
        let (control, mut data, greeting) = open_both(options, None, gives_up)?;
        match greeting.message {
            ToDaemon::Welcome { .. } if greeting.lost => {
                Err(io::Error::from(io::ErrorKind::OutOfMemory).into())
            }
            ToDaemon::Welcome {
                daemon,
                ticket,
                ahead,
            } => {
                data.tell_origin(options);
                Ok(Session {
                    words: data.take_words(ahead)?,
                    data,
                    control,
                    settings: greeting.payload,
                    membership: ticket.map(|ticket| Membership { daemon, ticket }),
                })
            }
            other => Err(refusal(other)),
        }
    }

    /// Connects again after a break.
    pub(crate) fn reopen(
        options: &WorkerOptions,
        returning: Return,
        gives_up: &mut dyn FnMut() -> bool,
    ) -> Result<Reopened, WorkerError> {
        let (control, data, greeting) = open_both(options, Some(returning), gives_up)?;
        match greeting.message {
            ToDaemon::WelcomeBack { received } => {
                data.tell_origin(options);
                Ok(Reopened {
                    data,
                    control,
                    received,
                })
            }
            other => Err(refusal(other)),
        }
    }
}

/// Opens both connections, and returns the greeting on the data connection: control first, so that the hub knows it
/// when the data connection comes.
fn open_both(
    options: &WorkerOptions,
    returning: Option<Return>,
    gives_up: &mut dyn FnMut() -> bool,
) -> Result<(Channel, Channel, Frame<ToDaemon>), WorkerError> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| WorkerError::Io(io::Error::other(error)))?;
    let hello = Hello {
        role: Role::Control,
        pair: PairKey(key),
        direct: options.direct,
        pid: std::process::id(),
        launcher: options.launcher,
        ahead: false,
        returning: None,
    };
    let mut control = Channel::open(options, hello, gives_up)?;
    match control.greeting(gives_up)?.message {
        ToDaemon::ControlTaken => {}
        other => return Err(refusal(other)),
    }
    let hello = Hello {
        role: Role::Data,
        ahead: returning.is_none() && takes_ahead(options, &control),
        returning,
        ..hello
    };
    let mut data = Channel::open(options, hello, gives_up)?;
    let greeting = data.greeting(gives_up)?;
    Ok((control, data, greeting))
}

/// Whether tasks may come before their turn. Not with a limit of tasks: the hub does not know how many are left.
fn takes_ahead(options: &WorkerOptions, control: &Channel) -> bool {
    control.connection.passes() && options.maxtasks.is_none() && Alarm::new().is_ok()
}

fn refusal(message: ToDaemon) -> WorkerError {
    match message {
        ToDaemon::Refuse(reason) => reason.into(),
        _ => WorkerError::OutOfTurn,
    }
}

/// A blocking connection that carries frames.
#[derive(Debug)]
pub(crate) struct Channel {
    pub connection: Arc<dyn Dialled>,
    buffer: FrameBuffer,
    spin: Spin,
    /// Whether the first message has come, along with which there may be a descriptor.
    is_greeted: bool,
    passed: Option<Passed>,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Next {
    Message(Frame<ToDaemon>),
    /// The deadline passed.
    Late,
    /// The hub has closed the connection, or it broke.
    End,
}

impl Channel {
    pub(crate) fn new(connection: Arc<dyn Dialled>) -> Channel {
        Channel {
            connection,
            buffer: FrameBuffer::new(FrameLimits::PEER),
            spin: Spin::default(),
            is_greeted: true,
            passed: None,
        }
    }

    fn open(
        options: &WorkerOptions,
        hello: Hello,
        gives_up: &mut dyn FnMut() -> bool,
    ) -> Result<Channel, WorkerError> {
        let patience = &mut Patience::new(DIALLED_WITHIN, gives_up);
        let mut channel = Channel::new(dial(&options.address, &options.credentials, patience)?);
        channel.is_greeted = false;
        let hello = encode_head(&FromDaemon::Hello(hello), 0);
        let parts = [&Preamble::OURS.encode()[..], &hello];
        write_all(&*channel.connection, &mut parts.map(IoSlice::new))?;
        Ok(channel)
    }

    fn greeting(
        &mut self,
        gives_up: &mut dyn FnMut() -> bool,
    ) -> Result<Frame<ToDaemon>, WorkerError> {
        let mut patience = Patience::new(GREETED_WITHIN, gives_up);
        loop {
            match self.next(Some(patience.moment()?), &SystemClock)? {
                Next::Message(frame) => {
                    self.is_greeted = true;
                    return Ok(frame);
                }
                Next::Late => {}
                Next::End => return Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            }
        }
    }

    fn tell_origin(&self, options: &WorkerOptions) {
        // A failure shows in reading.
        let _ = self.send(&FromDaemon::Origin, &options.origin.encode());
    }

    /// What has come with the greeting.
    fn take_words(&mut self, expected: bool) -> io::Result<Option<SharedWords>> {
        match self.passed.take() {
            Some(passed) if expected => SharedWords::open(&passed).map(Some),
            None if expected => Err(io::Error::other("a descriptor of the host's has not come")),
            _ => Ok(None),
        }
    }

    /// Whether there is a message that has been read already.
    pub(crate) fn has_buffered(&self) -> bool {
        self.buffer.has_frame()
    }

    /// Reads the next message, until `deadline`.
    pub(crate) fn next(
        &mut self,
        deadline: Option<Instant>,
        clock: &dyn Clock,
    ) -> Result<Next, WorkerError> {
        loop {
            if let Some(frame) = self.buffer.next_frame()? {
                return Ok(Next::Message(frame));
            }
            if deadline.is_some_and(|deadline| deadline <= clock.now()) {
                return Ok(Next::Late);
            }
            let connection = &*self.connection;
            let read = match self.buffer.want() {
                Want::Window(window) if self.is_greeted => {
                    read(connection, window, deadline, &mut self.spin)
                        .inspect(|count| self.buffer.filled(*count))
                }
                Want::Window(window) => {
                    let read = connection.read_passed(window, deadline);
                    read.map(|(count, passed)| {
                        self.passed = passed.or(self.passed.take());
                        self.buffer.filled(count);
                        count
                    })
                }
                Want::Payload { into, missing } => connection.read_append(into, missing, deadline),
            };
            match read {
                Ok(0) => return Ok(Next::End),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut => {}
                    _ => return Ok(Next::End),
                },
            }
        }
    }

    /// A message that has been read already.
    pub(crate) fn buffered(&mut self) -> Option<Frame<ToDaemon>> {
        self.buffer.next_frame().ok().flatten()
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: &FromDaemon, payload: &[u8]) -> io::Result<()> {
        let head = encode_head(message, payload.len() as u64);
        write_all(
            &*self.connection,
            &mut [IoSlice::new(&head), IoSlice::new(payload)],
        )
    }

    /// Ends the connection; a thread that reads from it sees the end.
    pub(crate) fn shutdown(&self) {
        self.connection.shutdown();
    }
}

/// Writes all, waiting until the peer takes it.
pub(crate) fn write_all(connection: &dyn Dialled, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match connection.write(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut parts, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what comes next: the answer to a reply often follows within microseconds.
fn read(
    connection: &dyn Dialled,
    into: &mut [u8],
    deadline: Option<Instant>,
    spin: &mut Spin,
) -> io::Result<usize> {
    if let Some(until) = spin.begin() {
        loop {
            let read = connection.read_now(into);
            let came = !matches!(&read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            if came || Instant::now() >= until {
                spin.end(until, came);
                if came {
                    return read;
                }
                break;
            }
        }
    }
    connection.read(into, deadline)
}
