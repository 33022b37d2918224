//! Connections that have just come, from peers that have said nothing yet.

use std::future::IntoFuture;
use std::net::SocketAddr;

use crate::connection::Spoken;
use crate::network::NetworkArrival;
use crate::{LaneError, Proof};

/// A connection that has just come. Awaiting it ends when its peer has said something, however long that takes, or with
/// [`LaneError::is_stranger`] when it has gone without a word. Dropping it ends the connection. To be awaited inside a tokio
/// runtime, as is the proof.
#[derive(Debug)]
pub struct Arrival(Came);

/// From where an [`Arrival`] has come.
enum Came {
    FromHere(Spoken),
    FromNetwork(NetworkArrival),
}

impl std::fmt::Debug for Came {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Came::FromHere(_) => f.write_str("FromHere"),
            Came::FromNetwork(arrival) => write!(f, "FromNetwork({})", arrival.peer),
        }
    }
}

impl Arrival {
    pub(crate) fn from_here(spoken: Spoken) -> Arrival {
        Arrival(Came::FromHere(spoken))
    }

    pub(crate) fn from_network(arrival: NetworkArrival) -> Arrival {
        Arrival(Came::FromNetwork(arrival))
    }

    /// Where the peer is, over a network.
    pub fn peer(&self) -> Option<SocketAddr> {
        match &self.0 {
            Came::FromHere(_) => None,
            Came::FromNetwork(arrival) => Some(arrival.peer),
        }
    }

    /// Turns it away unheard. Over a network its peer sees a reset, so that it can tell this from a hub that refuses it, and
    /// nothing of the connection is left here.
    pub fn reset(self) {
        if let Came::FromNetwork(arrival) = self.0 {
            arrival.reset();
        }
    }
}

impl IntoFuture for Arrival {
    type Output = Result<Proof, LaneError>;
    type IntoFuture = Spoken;

    fn into_future(self) -> Spoken {
        match self.0 {
            Came::FromHere(spoken) => spoken,
            Came::FromNetwork(arrival) => Box::pin(arrival.spoken()),
        }
    }
}
