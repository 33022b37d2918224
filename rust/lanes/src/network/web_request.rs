//! The request for a WebSocket, and the answer to it.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What RFC 6455 has the hub add to the peer's key.
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Length of a key: 16 bytes in base 64.
const KEY_LEN: usize = 24;

/// What a peer gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted(String),
    /// By a line that says why.
    Refused(&'static str),
}

impl Answer {
    pub(super) const TOO_LONG: Answer = Answer::Refused("431 Request Header Fields Too Large");
    const UNKNOWN: Answer = Answer::Refused("404 Not Found");
    const NO_WEBSOCKET: Answer = Answer::Refused("400 Bad Request");

    pub(super) fn text(&self) -> String {
        match self {
            Answer::Accepted(text) => text.clone(),
            Answer::Refused(why) => {
                format!("HTTP/1.1 {why}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            }
        }
    }
}

/// The answer to a request, which ends with an empty line; `path` is the one that is listened at.
pub(super) fn answer(request: &[u8], path: &str) -> Answer {
    let Ok(request) = str::from_utf8(request) else {
        return Answer::NO_WEBSOCKET;
    };
    let mut lines = request.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    match words[..] {
        ["GET", asked, "HTTP/1.1"] if asked == path => {}
        ["GET", _, "HTTP/1.1"] => return Answer::UNKNOWN,
        _ => return Answer::NO_WEBSOCKET,
    }
    let fields: Vec<(&str, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let field = |wanted: &str| {
        let is_it = |(name, _): &&(&str, &str)| name.eq_ignore_ascii_case(wanted);
        fields.iter().find(is_it).map(|(_, value)| *value)
    };
    let says = |name, wanted: &str| {
        field(name).is_some_and(|value| {
            let mut words = value.split(',');
            words.any(|word| word.trim().eq_ignore_ascii_case(wanted))
        })
    };
    match field("Sec-WebSocket-Key") {
        // Browsers say on whose behalf they ask; a page is no daemon.
        Some(key)
            if key.len() == KEY_LEN
                && field("Origin").is_none()
                && says("Upgrade", "websocket")
                && says("Connection", "upgrade")
                && says("Sec-WebSocket-Version", "13") =>
        {
            Answer::Accepted(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                proof(key)
            ))
        }
        _ => Answer::NO_WEBSOCKET,
    }
}

/// Shows that the key has been read. It proves nothing else: what SHA-1 lacks does not matter.
fn proof(key: &str) -> String {
    let salted = [key, SALT].concat();
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes()).as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for place in 0..4 {
            text.push(match place <= three.len() {
                true => LETTERS[(bits >> (18 - 6 * place)) as usize & 63].into(),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3.
    const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, \
        Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    #[test]
    fn a_request_is_answered_as_the_standard_has_it() {
        let text = answer(REQUEST.as_bytes(), "/chat").text();
        assert!(text.starts_with("HTTP/1.1 101 "));
        assert!(text.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn whoever_asks_for_something_else_is_told() {
        assert_eq!(answer(REQUEST.as_bytes(), "/"), Answer::UNKNOWN);
        let others = [
            ("GET", "POST"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("websocket", "h2c"),
            ("Version: 13", "Version: 8"),
            ("Upgrade\r\nSec", "close\r\nSec"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "short"),
            ("\r\n\r\n", "\r\nOrigin: http://page.example.com\r\n\r\n"),
        ];
        for (right, wrong) in others {
            let request = REQUEST.replacen(right, wrong, 1);
            assert_eq!(answer(request.as_bytes(), "/chat"), Answer::NO_WEBSOCKET);
        }
        for request in [&b""[..], b"\r\n\r\n", b"\xff\xfe\r\n\r\n"] {
            assert_eq!(answer(request, "/"), Answer::NO_WEBSOCKET);
        }
    }

    #[test]
    fn bytes_in_base_64() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
