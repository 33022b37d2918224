//! Addresses of a network: scheme, host, port, path.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use crate::LaneError;

/// How bytes travel to a network address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `tcp://`
    Tcp,
    /// `tls+tcp://`
    Tls,
    /// `ws://`: WebSocket
    Ws,
    /// `wss://`: WebSocket over TLS
    Wss,
}

impl Scheme {
    fn parse(text: &str) -> Option<Scheme> {
        let all = [Scheme::Tcp, Scheme::Tls, Scheme::Ws, Scheme::Wss];
        all.into_iter()
            .find(|scheme| scheme.name().eq_ignore_ascii_case(text))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls+tcp",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        }
    }

    /// Whether its peers need certificates: TLS.
    pub fn has_tls(self) -> bool {
        matches!(self, Scheme::Tls | Scheme::Wss)
    }

    /// Whether its addresses have a path, and a port of their own.
    pub(super) fn is_web(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }

    fn default_port(self) -> Option<u16> {
        match self {
            Scheme::Tcp | Scheme::Tls => None,
            Scheme::Ws => Some(80),
            Scheme::Wss => Some(443),
        }
    }
}

/// An address beyond this machine: scheme, host, port, and for WebSocket a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAddress {
    scheme: Scheme,
    /// A name, an IPv4 address, or an IPv6 address without its brackets; empty for all interfaces.
    host: String,
    port: u16,
    /// Empty, or begins with a slash.
    path: String,
}

impl NetworkAddress {
    /// Parses a URL; `None` when its scheme is none of a network.
    pub(crate) fn parse(url: &str) -> Option<Result<NetworkAddress, LaneError>> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = Scheme::parse(scheme)?;
        Some(
            Self::parse_rest(scheme, rest).map_err(|reason| LaneError::Malformed {
                url: url.to_owned(),
                reason,
            }),
        )
    }

    fn parse_rest(scheme: Scheme, rest: &str) -> Result<NetworkAddress, &'static str> {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains(['?', '#', '%']) {
            return Err("its path has characters that cannot be used here");
        }
        if authority.contains('@') {
            return Err("it names a user, which has no use here");
        }
        let path = match scheme.is_web() {
            true => path,
            false if path.len() <= 1 => "",
            false => return Err("only ws:// and wss:// have a path"),
        };
        let (host, port) = split_port(authority)?;
        let port = match (port, scheme.default_port()) {
            (Some(port), _) => port
                .parse()
                .ok()
                .filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or("its port is no number from 0 to 65535")?,
            (None, Some(port)) => port,
            (None, None) => return Err("it has no port"),
        };
        Ok(NetworkAddress {
            scheme,
            host: parse_host(host)?,
            port,
            path: path.to_owned(),
        })
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: a name or an IP address without brackets; empty for all interfaces.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 for any that is free.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host as a certificate has it: without the zone of an IPv6 address.
    pub(super) fn certified_host(&self) -> &str {
        self.host
            .split_once('%')
            .map_or(&self.host, |(host, _zone)| host)
    }

    /// The same address with the port that the system has chosen.
    pub(super) fn with_port(&self, port: u16) -> NetworkAddress {
        NetworkAddress {
            port,
            ..self.clone()
        }
    }

    /// Where to listen: on all interfaces IPv6 comes first, as its socket takes IPv4 as well where the system lets it.
    pub(super) fn to_listen(&self) -> std::io::Result<Vec<SocketAddr>> {
        if self.host.is_empty() {
            let all: [IpAddr; 2] = [
                Ipv6Addr::UNSPECIFIED.into(),
                std::net::Ipv4Addr::UNSPECIFIED.into(),
            ];
            return Ok(all.map(|ip| SocketAddr::new(ip, self.port)).to_vec());
        }
        self.to_dial()
    }

    /// Whether no name has to be looked up.
    pub(super) fn is_numeric(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    /// Where the host may be reached, in the order of the system's resolver. Blocks while a name is looked up.
    pub(super) fn to_dial(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }

    /// What a WebSocket's request asks for.
    pub(super) fn web_path(&self) -> &str {
        match self.path.as_str() {
            "" => "/",
            path => path,
        }
    }

    /// The URL of one of the host's addresses, for NNG, which has WebSockets only.
    pub(super) fn url_of(&self, at: SocketAddr) -> String {
        format!("{}://{at}{}", self.scheme.name(), self.web_path())
    }
}

/// Host, with its brackets if it has some, and port.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    let after_host = match authority.strip_prefix('[') {
        Some(rest) => 2 + rest.find(']').ok_or("a bracket is not closed")?,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(after_host);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err("what follows the closing bracket is no port"),
    }
}

fn parse_host(host: &str) -> Result<String, &'static str> {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').unwrap_or(inner);
        let ip = inner.split_once('%').map_or(inner, |(ip, _zone)| ip);
        return match ip.parse::<Ipv6Addr>() {
            Ok(_) => Ok(inner.to_ascii_lowercase()),
            Err(_) => Err("what is in brackets is no IPv6 address"),
        };
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match host {
        "" | "*" => Ok(String::new()),
        _ if host.len() <= 253 && host.bytes().all(is_name) => Ok(host.to_ascii_lowercase()),
        _ => Err("its host is neither a name nor an address"),
    }
}

impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        let NetworkAddress {
            scheme,
            host,
            port,
            path,
        } = self;
        write!(f, "{}://{open}{host}{close}:{port}{path}", scheme.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> NetworkAddress {
        NetworkAddress::parse(url).expect("a network's").unwrap()
    }

    #[test]
    fn urls_come_back_in_one_form() {
        for (url, shown) in [
            ("tcp://10.75.32.70:5555", "tcp://10.75.32.70:5555"),
            ("tls+tcp://Host.Example:1", "tls+tcp://host.example:1"),
            ("TCP://:0", "tcp://:0"),
            ("tcp://*:5555", "tcp://:5555"),
            ("tcp://[::1]:5555", "tcp://[::1]:5555"),
            ("tcp://[FE80::1%eth0]:7/", "tcp://[fe80::1%eth0]:7"),
            ("ws://127.0.0.1:0", "ws://127.0.0.1:0"),
            ("ws://a/b/c", "ws://a:80/b/c"),
            ("wss://a", "wss://a:443"),
        ] {
            assert_eq!(parse(url).to_string(), shown, "{url}");
            assert_eq!(parse(shown), parse(url), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_with_code_3() {
        for (url, reason) in [
            ("tcp://host", "no port"),
            ("tcp://host:", "no number"),
            ("tcp://host:+1", "no number"),
            ("tcp://host:65536", "no number"),
            ("tcp://host:1/x", "path"),
            ("ws://host:1/a b", "characters"),
            ("tcp://me@host:1", "user"),
            ("tcp://[::1:5", "bracket"),
            ("tcp://[::1]5", "no port"),
            ("tcp://[host]:5", "no IPv6 address"),
            ("tcp://::1:5", "no number"),
            ("tcp://ho st:5", "neither a name"),
        ] {
            let error = NetworkAddress::parse(url)
                .expect("a network's")
                .unwrap_err();
            assert_eq!(error.code().number(), 3, "{url}");
            let text = error.to_string();
            assert!(text.contains(url) && text.contains(reason), "{text}");
        }
    }

    #[test]
    fn other_schemes_are_none_of_a_network() {
        for url in ["ipc:///tmp/x", "abstract://x", "gopher://x:1", "host:1", ""] {
            assert!(NetworkAddress::parse(url).is_none(), "{url}");
        }
    }

    #[test]
    fn all_interfaces_are_listened_at_and_not_dialled() {
        let all = parse("tcp://:5").to_listen().unwrap();
        assert!(
            all.iter()
                .all(|at| at.ip().is_unspecified() && at.port() == 5)
        );
        assert_eq!(parse("ws://[::1]:5").url_of(all[0]), "ws://[::]:5/");
        assert_eq!(
            parse("ws://[::1]:5/x").url_of("[::1]:5".parse().unwrap()),
            "ws://[::1]:5/x"
        );
    }
}
