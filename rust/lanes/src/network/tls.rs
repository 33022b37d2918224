//! TLS on the system's sockets, by rustls.
//!
//! A [`Session`] turns bytes into bytes and does no I/O; what it keeps of a peer has a bound. The hub's end has it under one
//! lock, held while bytes are read from or written to the socket, which never waits. A daemon's socket blocks: there the
//! session's lock is let go before it is read from or written to.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::opening::{Refusal, is_slice_over};
use super::sealed::{append_to, copy_into, is_empty};
use super::tcp::TcpConnection;
use super::tls_failure::TlsFailure;
use crate::blocking::Blocking;
use crate::{Connection, Dialled, HostWatch, Patience, Wake};

/// Room for what is read at once: at rest, and most.
const SMALL: usize = 4 * 1024;
const MOST: usize = 64 * 1024;

/// One side of TLS.
#[derive(Debug)]
struct Session {
    tls: rustls::Connection,
    /// What has been read and not been looked at: `start..end`.
    ahead: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the writer's that are encrypted and not all sent: it offers them again.
    taken: usize,
}

/// Whether there is something for the reader, its end included.
#[derive(Debug, PartialEq, Eq)]
enum Has {
    Plain,
    Nothing,
}

impl Session {
    fn new(tls: impl Into<rustls::Connection>) -> Session {
        Session {
            tls: tls.into(),
            ahead: Vec::new(),
            start: 0,
            end: 0,
            taken: 0,
        }
    }

    /// Decrypts what has been read, a record at a time.
    fn decrypt(&mut self) -> io::Result<Has> {
        loop {
            match self.tls.reader().into_first_chunk() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // To cut a connection is in anybody's power: frames that are cut short are noticed by their reader.
                _ => return Ok(Has::Plain),
            }
            if self.start == self.end {
                return Ok(Has::Nothing);
            }
            self.start += self.tls.read_tls(&mut &self.ahead[self.start..self.end])?;
            self.process()?;
        }
    }

    fn process(&mut self) -> io::Result<()> {
        match self.tls.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => Err(TlsFailure::from(&error).into()),
        }
    }

    /// Takes bytes out with `copy`, after [`decrypt`](Self::decrypt) has found some.
    fn take(&mut self, copy: impl FnOnce(&[u8]) -> usize) -> usize {
        use std::io::BufRead;
        let mut reader = self.tls.reader();
        let Ok(plain) = reader.fill_buf() else {
            return 0;
        };
        let count = copy(plain);
        reader.consume(count);
        count
    }

    /// The buffer to read into, when all that was read has been looked at. It grows while it is filled.
    fn lend(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.ahead);
        let len = match buffer.len() {
            0 => SMALL,
            len if self.end == len => (4 * len).min(MOST),
            len => len,
        };
        buffer.resize(len, 0);
        buffer
    }

    /// The buffer again, with so many bytes; none are the end of the stream.
    fn give_back(&mut self, buffer: Vec<u8>, count: usize) -> io::Result<()> {
        self.ahead = buffer;
        self.start = 0;
        self.end = count;
        if count == 0 {
            self.tls.read_tls(&mut io::empty())?;
            self.process()?;
        }
        Ok(())
    }

    /// The buffer again, as there was nothing to read: a large one is let go.
    fn rest(&mut self, buffer: Vec<u8>) {
        if buffer.len() <= SMALL {
            self.ahead = buffer;
        }
        self.start = 0;
        self.end = 0;
    }

    /// Encrypts the beginning of `parts`, unless some of it is under way.
    fn encrypt(&mut self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        if self.taken == 0 {
            self.taken = self.tls.writer().write_vectored(parts)?;
        }
        Ok(())
    }

    /// Sends all that is encrypted.
    fn send(&mut self, write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
        let mut writer = Writer(write);
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut writer)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

/// What rustls writes to.
struct Writer<F>(F);

impl<F: FnMut(&[IoSlice<'_>]) -> io::Result<usize>> Write for Writer<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (self.0)(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A daemon's connection at the hub.
#[derive(Debug)]
pub(super) struct TlsConnection {
    below: TcpConnection,
    session: Mutex<Session>,
}

impl TlsConnection {
    /// Shakes hands, however long that takes.
    pub(super) async fn accept(
        below: TcpConnection,
        config: Arc<ServerConfig>,
    ) -> Result<TlsConnection, Refusal> {
        let tls = ServerConnection::new(config).map_err(|error| TlsFailure::from(&error))?;
        let connection = TlsConnection {
            below,
            session: Mutex::new(Session::new(tls)),
        };
        match connection.shake_hands().await {
            Ok(()) => Ok(connection),
            Err(refusal) => {
                connection.below.shutdown();
                Err(refusal)
            }
        }
    }

    async fn shake_hands(&self) -> Result<(), Refusal> {
        loop {
            let step = self.handshake_step();
            match step {
                Ok(Handshake::Done) => return Ok(()),
                Ok(Handshake::Gone) => return Err(Refusal::Gone),
                Ok(Handshake::Writes) => poll_fn(|cx| self.below.poll_writable(cx)).await?,
                Ok(Handshake::Reads) => poll_fn(|cx| self.below.poll_readable(cx)).await?,
                Ok(Handshake::GoesOn) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// As far as it goes without waiting.
    fn handshake_step(&self) -> io::Result<Handshake> {
        let mut session = self.session.lock();
        match session.send(|parts| self.below.try_write(parts)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Handshake::Writes);
            }
            done => done?,
        }
        if !session.tls.is_handshaking() {
            return Ok(Handshake::Done);
        }
        let mut buffer = session.lend();
        match self.below.try_read(&mut buffer) {
            Ok(0) => return Ok(Handshake::Gone),
            Ok(count) => session.give_back(buffer, count)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                session.rest(buffer);
                return Ok(Handshake::Reads);
            }
            Err(error) => return Err(error),
        }
        self.decrypt(&mut session)?;
        Ok(Handshake::GoesOn)
    }

    /// A peer that breaks the rules is told so, if it can be at once.
    fn decrypt(&self, session: &mut Session) -> io::Result<Has> {
        session.decrypt().inspect_err(|_| {
            let _ = session.send(|parts| self.below.try_write(parts));
        })
    }

    fn take(&self, copy: impl FnOnce(&[u8]) -> usize) -> io::Result<usize> {
        let mut session = self.session.lock();
        while self.decrypt(&mut session)? == Has::Nothing {
            let mut buffer = session.lend();
            match self.below.try_read(&mut buffer) {
                Ok(count) => session.give_back(buffer, count)?,
                Err(error) => {
                    session.rest(buffer);
                    return Err(error);
                }
            }
        }
        Ok(session.take(copy))
    }
}

enum Handshake {
    Done,
    Gone,
    Reads,
    Writes,
    GoesOn,
}

impl Connection for TlsConnection {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error shows when it is read.
        let has = self.decrypt(&mut self.session.lock());
        match has {
            Ok(Has::Nothing) => self.below.poll_readable(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_writable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.take(copy_into(into))
    }

    fn try_read_append(&self, into: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
        self.take(append_to(into, limit))
    }

    /// After `WouldBlock` the same bytes have to be offered again: some of them may be on their way.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if is_empty(parts) {
            return Ok(0);
        }
        let mut session = self.session.lock();
        session.send(|parts| self.below.try_write(parts))?;
        session.encrypt(parts)?;
        session.send(|parts| self.below.try_write(parts))?;
        Ok(std::mem::take(&mut session.taken))
    }

    fn shutdown(&self) {
        let mut session = self.session.lock();
        session.tls.send_close_notify();
        // Whoever does not read does without it.
        let _ = session.send(|parts| self.below.try_write(parts));
        self.below.shutdown();
    }

    fn below(&self) -> Option<&dyn Connection> {
        Some(&self.below)
    }
}

/// A daemon's end of one.
#[derive(Debug)]
pub(super) struct TlsDialled {
    below: Blocking<StdStream>,
    session: Mutex<Session>,
    /// Held from encrypting to sending, so that records go out in their order; for it only another writer would wait.
    sending: Mutex<Vec<u8>>,
}

impl TlsDialled {
    /// Shakes hands with a hub of that name. Blocks, as long as there is patience.
    pub(super) fn dial(
        stream: StdStream,
        config: Arc<ClientConfig>,
        hub: ServerName<'static>,
        patience: &mut Patience<'_>,
    ) -> Result<TlsDialled, Refusal> {
        let tls = ClientConnection::new(config, hub).map_err(|error| TlsFailure::from(&error))?;
        let dialled = TlsDialled {
            below: Blocking::new(stream),
            session: Mutex::new(Session::new(tls)),
            sending: Mutex::default(),
        };
        loop {
            dialled.send(|_| Ok(()))?;
            if !dialled.session.lock().tls.is_handshaking() {
                return Ok(dialled);
            }
            let deadline = patience.moment()?;
            match dialled.read_more(|buffer| dialled.below.read(buffer, Some(deadline))) {
                Ok(0) => return Err(Refusal::Gone),
                Ok(_) => dialled.decrypt_handshake()?,
                Err(error) if is_slice_over(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A hub that is not the one expected is told so.
    fn decrypt_handshake(&self) -> io::Result<()> {
        let decrypted = self.session.lock().decrypt();
        if decrypted.is_err() {
            let _ = self.send(|_| Ok(()));
        }
        decrypted.map(drop)
    }

    /// Has `encrypt` put something into the session, and sends all that is in there.
    fn send<T>(&self, encrypt: impl FnOnce(&mut Session) -> io::Result<T>) -> io::Result<T> {
        let mut sending = self.sending.lock();
        let result = {
            let mut session = self.session.lock();
            let result = encrypt(&mut session)?;
            while session.tls.wants_write() {
                session.tls.write_tls(&mut *sending)?;
            }
            result
        };
        let mut rest = &sending[..];
        while !rest.is_empty() {
            match self.below.write(&[IoSlice::new(rest)]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                count => rest = &rest[count?..],
            }
        }
        sending.clear();
        Ok(result)
    }

    /// Reads what comes next with `read`, without a lock.
    fn read_more(&self, read: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut buffer = self.session.lock().lend();
        let result = read(&mut buffer);
        let mut session = self.session.lock();
        match result {
            Ok(count) => session.give_back(buffer, count)?,
            Err(_) => session.rest(buffer),
        }
        result
    }

    fn take(
        &self,
        copy: impl FnOnce(&[u8]) -> usize,
        read: impl Fn(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            {
                let mut session = self.session.lock();
                if session.decrypt()? == Has::Plain {
                    return Ok(session.take(copy));
                }
            }
            self.read_more(&read)?;
        }
    }
}

impl Dialled for TlsDialled {
    fn read(&self, into: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        self.take(copy_into(into), |buffer| self.below.read(buffer, deadline))
    }

    fn read_append(
        &self,
        into: &mut Vec<u8>,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        let copy = append_to(into, limit);
        self.take(copy, |buffer| self.below.read(buffer, deadline))
    }

    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        self.take(copy_into(into), |buffer| self.below.read_now(buffer))
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if is_empty(parts) {
            return Ok(0);
        }
        self.send(|session| session.tls.writer().write_vectored(parts))
    }

    fn wait(&self, host: &HostWatch) -> Wake {
        let has = self.session.lock().decrypt();
        match has {
            Ok(Has::Nothing) => self.below.wait(host),
            _ => Wake::Readable,
        }
    }

    fn end_reading(&self) {
        self.below.end_reading();
    }

    fn shutdown(&self) {
        // Without a farewell of TLS's, for which a hub that does not read would have this wait.
        self.below.shutdown();
    }

    fn host_pid(&self) -> Option<u32> {
        None
    }

    fn notices_silence(&self) -> bool {
        self.below.notices_silence()
    }

    fn set_silence(&self, silence: Duration) {
        self.below.set_silence(silence);
    }
}
