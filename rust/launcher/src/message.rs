//! What host and fork server tell each other, and their encoding.

use crate::context::Stamp;
use crate::event::ExitStatus;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Limit of bytes per message: below the send buffer that Linux gives a Unix socket, as a message
/// must fit in whole.
pub(crate) const MESSAGE_BYTES: usize = 192 * 1024;

/// From host to server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToServer {
    /// The first message, read before R is loaded. With it comes a file: the host's
    /// environment as `NAME=VALUE` texts, each ended by a zero byte.
    Boot,
    /// Read by the running server. With it comes a pidfd of the host, where there are such.
    Attend,
    /// Make daemons. With it come stdout and stderr of the daemons.
    Fork {
        /// Number that the answer repeats.
        batch: u64,
        jobs: Vec<Job>,
    },
    /// Make no more daemons, and end when all have ended.
    Close,
}

/// One daemon to be forked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The R code it runs.
    pub(crate) code: String,
    /// What its command line shows.
    pub(crate) title: String,
}

/// From server to host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromServer {
    /// libR is loaded; R starts now. A server that ends before it said so cannot work here.
    Booting,
    /// R is up. The files belong to packages that it has loaded.
    Ready {
        loaded: Vec<(PathBuf, Option<Stamp>)>,
    },
    /// The first `pids.len()` daemons of the batch are there; the others are not for `error`,
    /// an `errno`.
    Forked {
        batch: u64,
        pids: Vec<u32>,
        error: Option<i32>,
    },
    /// Nothing was forked as this process has other threads, which would be missing in a copy, or cannot tell (0).
    CannotFork { batch: u64, threads: u32 },
    /// A daemon has ended, of which so many bytes were in memory at most and when it last looked, and this was the last of what it
    /// discarded.
    Exited {
        pid: u32,
        status: ExitStatus,
        peak: Option<u64>,
        memory: Option<u64>,
        last: String,
    },
}

/// From daemon to server: the folder to remove after it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) pid: u32,
    pub(crate) tempdir: Vec<u8>,
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MESSAGE_BYTES>()
}

pub(crate) fn encode(message: &impl Serialize) -> Option<Vec<u8>> {
    let bytes = bincode::serde::encode_to_vec(message, config()).ok()?;
    (bytes.len() <= MESSAGE_BYTES).then_some(bytes)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (message, read) = bincode::serde::decode_from_slice(bytes, config()).ok()?;
    (read == bytes.len()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        let job = Job {
            code: "1".to_owned(),
            title: "2".to_owned(),
        };
        let message = ToServer::Fork {
            batch: 7,
            jobs: vec![job],
        };
        let mut bytes = encode(&message).expect("a small message");
        for length in 0..bytes.len() {
            assert!(decode::<ToServer>(&bytes[..length]).is_none(), "{length}");
        }
        bytes.push(0);
        assert!(decode::<ToServer>(&bytes).is_none());
        let job = Job {
            code: "x".repeat(MESSAGE_BYTES),
            title: String::new(),
        };
        let message = ToServer::Fork {
            batch: 7,
            jobs: vec![job],
        };
        assert!(encode(&message).is_none());
    }
}
