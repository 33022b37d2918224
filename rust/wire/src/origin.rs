//! Where a daemon runs, as it tells the hub once it is welcome.

use serde::{Deserialize, Serialize};

use crate::WireError;

/// Longest text in characters; host names have 253 at most, job numbers fewer.
const LONGEST: usize = 255;

/// Where a daemon runs, by its own words: for users to read, and nothing to rely on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// Name of its machine; empty if unknown.
    pub host: String,
    /// The job of a scheduler that it runs in, as the scheduler's own commands name it; empty for none.
    pub job: String,
}

impl Origin {
    /// The payload of [`FromDaemon::Origin`](crate::FromDaemon::Origin).
    pub fn encode(&self) -> Vec<u8> {
        bincode::serde::encode_to_vec(self, bincode::config::standard())
            .expect("two texts are plain data, and writing to a vector cannot fail")
    }

    /// Reads such a payload. Its texts are cut to 255 characters, and such as could do something to a terminal replaced.
    ///
    /// # Errors
    /// [`WireError::BadOrigin`].
    pub fn decode(bytes: &[u8]) -> Result<Origin, WireError> {
        // Room for both texts, each character at its longest.
        const LIMIT: usize = 2 * (4 * LONGEST + 9);
        let config = bincode::config::standard().with_limit::<LIMIT>();
        match bincode::serde::decode_from_slice(bytes, config) {
            Ok((Origin { host, job }, used)) if used == bytes.len() => Ok(Origin {
                host: harmless(&host),
                job: harmless(&job),
            }),
            Ok(_) | Err(_) => Err(WireError::BadOrigin),
        }
    }
}

fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    text.chars().take(LONGEST).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_arrives() {
        let origin = Origin {
            host: "node17".to_owned(),
            job: "123_4".to_owned(),
        };
        assert_eq!(Origin::decode(&origin.encode()), Ok(origin));
    }

    #[test]
    fn nothing_reaches_a_terminal_but_what_is_shown_there() {
        let origin = Origin {
            host: "a\x1b[2Jb".to_owned(),
            job: "9".repeat(300),
        };
        let read = Origin::decode(&origin.encode()).expect("it is well-formed");
        assert_eq!(read.host, "a?[2Jb");
        assert_eq!(read.job.len(), LONGEST);
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        let long = Origin {
            host: "h".repeat(1 << 20),
            job: String::new(),
        };
        for bytes in [&[][..], &[1], &[255; 40], &long.encode()] {
            assert_eq!(Origin::decode(bytes), Err(WireError::BadOrigin));
        }
    }
}
