//! Listening and dialling, whatever the kind of address.

use std::sync::Arc;

use crate::arrival::Arrival;
use crate::blocking::Blocking;
use crate::connection::Dialled;
use crate::network::{self, NetworkListener};
use crate::{Access, Address, Credentials, LaneError, Patience, lane};

/// Connects to the hub at `address`, and checks that it is one that this daemon may trust: within a machine by the user it
/// runs as, over a network by the credentials.
///
/// # Errors
/// [`LaneError`], with code 6 when nobody listens, and 5 when nobody answers while there is patience.
pub fn dial(
    address: &Address,
    credentials: &Credentials,
    patience: &mut Patience<'_>,
) -> Result<Arc<dyn Dialled>, LaneError> {
    match address {
        Address::Network(address) => network::dial(address, credentials, patience),
        Address::Abstract(_) | Address::Ipc(_) => {
            Ok(Arc::new(Blocking::new(lane::dial(address, patience)?)))
        }
    }
}

/// Accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// The platform's lane within one machine.
    Local(lane::LocalListener),
    /// The lane to other machines.
    Network(NetworkListener),
}

impl Listener {
    /// The next connection. Giving up in between loses none. How many may prove themselves at a time, how long that may take
    /// and how many may be turned away is the caller's to limit.
    ///
    /// # Errors
    /// [`LaneError::is_stranger`] for a peer that is turned away at once (go on accepting); others when accepting itself failed
    /// (descriptors may have run out: pause before the next call).
    pub async fn accept(&mut self) -> Result<Arrival, LaneError> {
        match self {
            Listener::Local(listener) => Ok(Arrival::from_here(listener.accept().await?)),
            Listener::Network(listener) => Ok(Arrival::from_network(listener.accept().await?)),
        }
    }

    /// The address with everything the system filled in.
    pub fn address(&self) -> &Address {
        match self {
            Listener::Local(listener) => listener.address(),
            Listener::Network(listener) => listener.address(),
        }
    }
}

/// Listens at `address`, for peers of the same user or with `access` over a network; to be called inside a tokio runtime.
///
/// # Errors
/// [`LaneError`] as the operating system or the platform gives it.
pub fn listen(address: &Address, access: &Access) -> Result<Listener, LaneError> {
    match address {
        Address::Network(address) => Ok(Listener::Network(NetworkListener::bind(address, access)?)),
        Address::Abstract(_) | Address::Ipc(_) => {
            Ok(Listener::Local(lane::LocalListener::bind(address)?))
        }
    }
}
