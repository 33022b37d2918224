//! The network lane: TCP and WebSocket, on NNG's byte streams.
//!
//! NNG runs a few threads of its own, from the first network address on and for the rest of the process. They read and
//! write into buffers of a [`Duplex`](duplex::Duplex), one for each connection, and wake who waits for it: a task of the
//! hub's reactor, or a daemon's thread. Each buffer has a bound, so a peer that stops reading costs no more than that.
//!
//! Start reading at [`duplex`]; all that is unsafe is in [`sys`].

use crate::LaneError;

mod address;
mod dial;
mod duplex;
mod failure;
mod incoming;
mod listener;
mod outgoing;
mod sys;

pub use address::{NetworkAddress, Scheme};
pub(crate) use dial::dial;
pub use failure::Failure;
pub use listener::NetworkListener;

/// Schemes that this lane cannot serve yet are told from those that nobody can.
fn check_scheme(address: &NetworkAddress) -> Result<(), LaneError> {
    match address.scheme().has_tls() {
        true => Err(LaneError::Unsupported {
            url: address.to_string(),
        }),
        false => Ok(()),
    }
}
