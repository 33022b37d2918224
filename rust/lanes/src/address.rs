//! Addresses: parsing them, and making one that is not in use.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{LaneError, NetworkAddress};

/// Where a hub listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `abstract://name`: a socket without a file, on Linux only.
    Abstract(String),
    /// `ipc:///path`: a socket at a path; on Windows also `ipc://name`.
    Ipc(PathBuf),
    /// `tcp://host:port`, `tls+tcp://host:port`, `ws://host:port/path`, `wss://host:port/path`.
    Network(NetworkAddress),
}

/// Longest name in bytes: `sun_path` holds 108 on Linux, one of them for the leading NUL.
const MAX_NAME: usize = 107;

impl Address {
    /// Parses a URL.
    ///
    /// # Errors
    /// [`LaneError::Malformed`], or [`LaneError::Unsupported`] for a scheme that this build does not have.
    pub fn parse(url: &str) -> Result<Address, LaneError> {
        if let Some(network) = NetworkAddress::parse(url) {
            return network.map(Address::Network);
        }
        let malformed = |reason| LaneError::Malformed {
            url: url.to_owned(),
            reason,
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| malformed("it has no scheme such as tcp:// or abstract://"))?;
        let fits = !rest.is_empty() && rest.len() <= MAX_NAME && !rest.contains('\0');
        match scheme {
            "abstract" if fits && cfg!(target_os = "linux") => {
                Ok(Address::Abstract(rest.to_owned()))
            }
            "ipc" if fits => Ok(Address::Ipc(PathBuf::from(rest))),
            "abstract" if fits => Err(LaneError::Unsupported {
                url: url.to_owned(),
            }),
            "inproc" if !rest.is_empty() => Err(LaneError::Unsupported {
                url: url.to_owned(),
            }),
            "abstract" | "ipc" | "inproc" => Err(malformed("its name is empty or too long")),
            _ => Err(malformed(
                "its scheme is none of tcp, tls+tcp, ws, wss, abstract and ipc",
            )),
        }
    }

    /// A new address for daemons of this machine, not in use: 24 hexadecimal digits from the operating system's
    /// randomness. `directory` holds the socket where there are no abstract ones; it should be private to the user. On
    /// Windows it is not used.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn unique(directory: &Path) -> Result<Address, LaneError> {
        let name = random_name()?;
        if cfg!(target_os = "linux") {
            Ok(Address::Abstract(name))
        } else if cfg!(unix) {
            Ok(Address::Ipc(directory.join(name)))
        } else {
            Ok(Address::Ipc(name.into()))
        }
    }
}

/// 24 hexadecimal digits.
fn random_name() -> Result<String, LaneError> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| LaneError::Os {
        url: "local".to_owned(),
        source: std::io::Error::other(error),
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Abstract(name) => write!(f, "abstract://{name}"),
            Address::Ipc(path) => write!(f, "ipc://{}", path.display()),
            Address::Network(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_back_as_given() {
        let mut urls = vec!["ipc:///tmp/x", "tcp://127.0.0.1:0", "wss://x:1/y"];
        if cfg!(target_os = "linux") {
            urls.push("abstract://abc");
        }
        for url in urls {
            assert_eq!(Address::parse(url).unwrap().to_string(), url);
        }
    }

    #[test]
    fn what_is_not_a_url_is_malformed_with_code_3() {
        for url in [
            "",
            "host",
            "://x",
            "abstract://",
            "gopher://x",
            &format!("ipc://{}", "x".repeat(200)),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert_eq!(error.code().number(), 3, "{url}: {error}");
        }
    }

    #[test]
    fn a_scheme_without_a_lane_is_unsupported_with_code_9() {
        assert_eq!(Address::parse("inproc://a").unwrap_err().code().number(), 9);
    }

    #[test]
    fn unique_addresses_differ_and_parse() {
        let directory = Path::new("/tmp");
        let a = Address::unique(directory).unwrap();
        assert_ne!(a, Address::unique(directory).unwrap());
        assert_eq!(Address::parse(&a.to_string()).unwrap(), a);
    }
}
