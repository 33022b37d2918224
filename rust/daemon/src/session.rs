use std::io::{self, IoSlice, Read};
use std::time::{Duration, Instant};

use mirai_lanes::{Address, Dialled, Spin, dial, receive_now};
use mirai_wire::{
    Frame, FrameBuffer, FromDaemon, Hello, Limits, PairKey, Preamble, Role, ToDaemon, Want,
    encode_head,
};

use crate::DaemonError;

/// A hub that takes longer to greet is stuck.
const GREETED_WITHIN: Duration = Duration::from_secs(30);

/// The two connections to a hub, greeted.
#[derive(Debug)]
pub(crate) struct Session {
    pub data: Channel,
    pub control: Channel,
    /// What the hub has sent with its welcome.
    pub settings: Vec<u8>,
}

impl Session {
    /// Connects and shakes hands: the control connection first, so that the hub knows it when the data connection comes.
    pub(crate) fn open(address: &Address, direct: bool) -> Result<Session, DaemonError> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|error| DaemonError::Io(io::Error::other(error)))?;
        let pair = PairKey(key);
        let mut control = Channel::open(
            address,
            Hello {
                role: Role::Control,
                pair,
                direct,
            },
        )?;
        match control.greeting()?.message {
            ToDaemon::ControlTaken => {}
            other => return Err(refusal(other)),
        }
        let mut data = Channel::open(
            address,
            Hello {
                role: Role::Data,
                pair,
                direct,
            },
        )?;
        let greeting = data.greeting()?;
        match greeting.message {
            ToDaemon::Welcome { .. } if greeting.lost => {
                Err(io::Error::from(io::ErrorKind::OutOfMemory).into())
            }
            ToDaemon::Welcome { .. } => Ok(Session {
                data,
                control,
                settings: greeting.payload,
            }),
            other => Err(refusal(other)),
        }
    }
}

fn refusal(message: ToDaemon) -> DaemonError {
    match message {
        ToDaemon::Refuse(reason) => reason.into(),
        _ => DaemonError::OutOfTurn,
    }
}

/// A blocking connection that carries frames.
#[derive(Debug)]
pub(crate) struct Channel {
    pub stream: Dialled,
    buffer: FrameBuffer,
    has_timeout: bool,
    spin: Spin,
}

/// What came next.
#[derive(Debug)]
pub(crate) enum Next {
    Message(Frame<ToDaemon>),
    /// The deadline passed.
    Late,
    /// The hub has closed the connection, or it broke.
    End,
}

impl Channel {
    fn open(address: &Address, hello: Hello) -> Result<Channel, DaemonError> {
        let stream = dial(address)?;
        let channel = Channel {
            stream,
            buffer: FrameBuffer::new(Limits::PEER),
            has_timeout: false,
            spin: Spin::default(),
        };
        let hello = encode_head(&FromDaemon::Hello(hello), 0);
        channel.write(&mut [IoSlice::new(&Preamble::OURS.encode()), IoSlice::new(&hello)])?;
        Ok(channel)
    }

    fn greeting(&mut self) -> Result<Frame<ToDaemon>, DaemonError> {
        match self.next(Some(Instant::now() + GREETED_WITHIN))? {
            Next::Message(frame) => Ok(frame),
            Next::Late => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Next::End => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
        }
    }

    /// The next message, or what came instead by `deadline`.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Result<Next, DaemonError> {
        loop {
            if let Some(frame) = self.buffer.next_frame()? {
                return Ok(Next::Message(frame));
            }
            if deadline.is_some() || self.has_timeout {
                let rest =
                    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                if rest.is_some_and(|rest| rest.is_zero()) {
                    return Ok(Next::Late);
                }
                // Zero would mean none: a timeout below the resolution is rounded up.
                self.stream
                    .set_read_timeout(rest.map(|rest| rest.max(Duration::from_micros(1))))?;
                self.has_timeout = rest.is_some();
            }
            let read = match self.buffer.want() {
                Want::Window(window) => read(&self.stream, window, &mut self.spin)
                    .inspect(|count| self.buffer.filled(*count)),
                Want::Payload { into, missing } => append(&self.stream, into, missing),
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
        self.write(&mut [IoSlice::new(&head), IoSlice::new(payload)])
    }

    fn write(&self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match mirai_lanes::send(&self.stream, parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the connection; a thread that reads from it sees the end.
    pub(crate) fn shutdown(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Reads what comes next: the answer to a reply often follows within microseconds.
fn read(mut stream: &Dialled, into: &mut [u8], spin: &mut Spin) -> io::Result<usize> {
    if let Some(until) = spin.begin() {
        loop {
            let read = receive_now(stream, into);
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
    stream.read(into)
}

/// Reads into spare capacity: the whole rest, unless the stream ends or its timeout passes before.
fn append(stream: &Dialled, into: &mut Vec<u8>, missing: usize) -> io::Result<usize> {
    let before = into.len();
    let result = stream.take(missing as u64).read_to_end(into);
    match into.len() - before {
        0 => result,
        count => Ok(count),
    }
}
