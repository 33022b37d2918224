//! Reading from a peer, and why that, or the peer's messages, may fail.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::Ordering;

use mirai_lanes::{LaneError, NoFrame, OutOfFiles};
use mirai_wire::{FrameBuffer, Want, WireError};
use thiserror::Error;

use crate::link::Link;
use crate::newcomers::For;
use crate::refusals::Kind;

/// Why a peer did not become a daemon, or stopped being one.
#[derive(Debug, Error)]
pub(crate) enum PeerError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it closed the connection before it said hello")]
    Gone,
    #[error("its first message is no hello")]
    NoHello,
    #[error("it does not answer any more")]
    Silent,
    #[error("it has no control connection")]
    NoControl,
    #[error("its data connection did not come")]
    NoData,
    #[error(transparent)]
    Files(#[from] OutOfFiles),
    #[error("its dispatcher setting differs from the hub's")]
    Mode,
    #[error("it did not say hello in time")]
    Late,
    #[error("it was silent while others waited")]
    Crowded(For),
    #[error("too many from its address were turned away just before")]
    Unheard,
    #[error(transparent)]
    Lane(#[from] LaneError),
}

impl PeerError {
    /// Whether what came was no WebSocket's any more: by a fault of the peer's, as TLS and codes tell of what others change.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(self, PeerError::Io(error) if NoFrame::is_in(error))
    }

    /// Whether somebody on the way has changed what came.
    pub(crate) fn is_forged(&self) -> bool {
        matches!(self, PeerError::Io(error) if error.kind() == io::ErrorKind::InvalidData)
    }

    /// Whether its source does not pay for it: it had to go for one from elsewhere, or its data connection did not come after a
    /// hello that was right. What goes for others of its own source does count: whoever holds all places and comes all the
    /// time would have everybody wait for these.
    pub(crate) fn is_blameless(&self) -> bool {
        matches!(self, PeerError::Crowded(For::Elsewhere) | PeerError::NoData)
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            PeerError::Lane(error) => Kind::of(error),
            PeerError::Unheard => Kind::Unproven,
            error if error.is_forged() => Kind::Unproven,
            PeerError::Late | PeerError::Crowded(_) => Kind::Silent,
            _ => Kind::Unfit,
        }
    }
}

/// Reads what the peer has sent next; `false` at the end of the stream. Giving up in between loses nothing.
pub(crate) async fn fill(link: &Link, buffer: &mut FrameBuffer) -> Result<bool, PeerError> {
    loop {
        poll_fn(|cx| link.connection.poll_readable(cx)).await?;
        if let Some(open) = fill_now(link, buffer)? {
            return Ok(open);
        }
    }
}

/// Reads what is there: `None` when nothing is, `Some(false)` at the end of the stream.
pub(crate) fn fill_now(link: &Link, buffer: &mut FrameBuffer) -> Result<Option<bool>, PeerError> {
    let read = match buffer.want() {
        Want::Window(window) => link
            .connection
            .try_read(window)
            .inspect(|count| buffer.filled(*count)),
        Want::Payload { into, missing } => link.connection.try_read_append(into, missing),
    };
    match read {
        Ok(count) => {
            link.heard.fetch_add(1, Ordering::Relaxed);
            Ok(Some(count > 0))
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
