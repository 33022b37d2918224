//! What happens on a connection before it is given out: the handshake, and with it, on the way, that of TLS.

use std::future::poll_fn;
use std::io::{self, IoSlice};

use mirai_handshake::{Daemon, HandshakeError, Hub, Keys, Nonce, Step, Token};
use thiserror::Error;

use super::failure::Failure;
use super::sealed::Sealed;
use super::tls_failure::TlsFailure;
use crate::{Connection, Dialled, Patience};

/// Why a peer was refused, or refused this side.
#[derive(Debug, Error)]
pub enum Refusal {
    /// It failed the handshake.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// TLS says so.
    #[error("{0}")]
    Tls(#[from] TlsFailure),
    /// It failed the handshake of TLS below a WebSocket: it has no certificate that is trusted, or speaks no TLS.
    #[error("TLS has failed: {0}")]
    WebTls(Failure),
    /// It closed the connection before it had proved itself.
    #[error("it closed the connection before it had said who it is")]
    Gone,
    /// It speaks something else, where a WebSocket is asked for, or it asks for another path.
    #[error("it did not ask for a WebSocket at this path")]
    NoWebSocket,
    /// It speaks TLS, and this side does not.
    #[error("it asks for TLS")]
    WantsTls,
    /// It took too long.
    #[error("it did not say in time who it is")]
    Late,
    /// The connection failed.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        if let Some(failure) = TlsFailure::in_error(&error) {
            return Refusal::Tls(failure);
        }
        match Failure::in_error(&error) {
            Some(failure) if failure.is_authentication() => Refusal::WebTls(failure),
            _ if error.kind() == io::ErrorKind::TimedOut => Refusal::Late,
            _ => Refusal::Io(error),
        }
    }
}

/// First byte that a TLS peer sends in answer to something else.
const TLS_ALERT: u8 = 21;

fn nonce() -> io::Result<Nonce> {
    let mut nonce = [0; mirai_handshake::NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    Ok(nonce)
}

/// The hub's side of the proofs.
pub(super) async fn take_in(
    connection: Box<dyn Connection>,
    has_tls: bool,
    token: Option<Token>,
) -> Result<Box<dyn Connection>, Refusal> {
    let mut hub = Hub::new(token, nonce()?);
    loop {
        let said = read_exactly(&*connection, hub.wants()).await?;
        match hub.read(&said) {
            Ok(Step::Send(answer)) => write_all(&*connection, &answer).await?,
            Ok(Step::Done(answer, keys)) => {
                write_all(&*connection, &answer).await?;
                return Ok(match keys.filter(|_| !has_tls) {
                    Some(keys) => Box::new(Sealed::new(connection, &keys)),
                    None => connection,
                });
            }
            Err((error, told)) => {
                // It may be gone already.
                let _ = write_all(&*connection, &told).await;
                connection.shutdown();
                return Err(error.into());
            }
        }
    }
}

async fn read_exactly(connection: &dyn Connection, len: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = vec![0; len];
    let mut at = 0;
    while at < len {
        poll_fn(|cx| connection.poll_readable(cx)).await?;
        match connection.try_read(&mut bytes[at..]) {
            Ok(0) => return Err(Refusal::Gone),
            Ok(count) => at += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

pub(super) async fn write_all(connection: &dyn Connection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        poll_fn(|cx| connection.poll_writable(cx)).await?;
        match connection.try_write(&[IoSlice::new(bytes)]) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The daemon's side of the proofs. Blocks for as long as `patience` allows.
pub(super) fn introduce(
    connection: &dyn Dialled,
    token: Option<Token>,
    patience: &mut Patience<'_>,
) -> Result<Option<Keys>, Refusal> {
    let (mut daemon, opening) = Daemon::new(token, nonce()?);
    // A hub that does not want this daemon may be gone by now: what it has said before is still to be read, and says more.
    let _ = send(connection, &opening);
    loop {
        let mut said = vec![0; daemon.wants()];
        let mut at = 0;
        while at < said.len() {
            match connection.read(&mut said[at..], Some(patience.moment()?)) {
                Ok(0) if said[0] == TLS_ALERT => return Err(Refusal::WantsTls),
                Ok(0) => return Err(Refusal::Gone),
                Ok(count) => at += count,
                Err(error) if is_slice_over(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match daemon.read(&said)? {
            Step::Send(proof) => send(connection, &proof)?,
            Step::Done(_, keys) => return Ok(keys),
        }
    }
}

pub(super) fn is_slice_over(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn send(connection: &dyn Dialled, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[connection.write(&[IoSlice::new(bytes)])?..];
    }
    Ok(())
}
