//! What the environment says of this API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The settings of the API.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The engine's socket.
    pub engine: PathBuf,
    /// The image of a worker.
    pub image: String,
    /// What callers have to show.
    pub token: Option<String>,
    /// The file with the certificate and the key that it shows to callers, who then speak HTTPS.
    pub certificate: Option<PathBuf>,
    /// The network of the engine that workers join; its default one if there is none.
    pub network: Option<String>,
    /// The token that workers show to their host.
    pub worker_token: Option<String>,
    /// How many workers are started where the caller does not say.
    pub workers: u32,
    /// The port of the host where the caller does not say.
    pub port: u16,
}

/// What is wrong with the environment.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the environment variable {variable} must be {wanted}, not `{value}`")]
pub struct SettingsError {
    variable: &'static str,
    wanted: &'static str,
    value: String,
}

impl Settings {
    /// From environment variables, which `get` looks up. One that is empty counts as not set.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let address = parsed(&get, "MIRAI_API_ADDRESS", "an IP address")?;
        let port = parsed(&get, "MIRAI_API_PORT", "a port")?;
        Ok(Settings {
            listen: SocketAddr::new(
                address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                port.unwrap_or(8080),
            ),
            engine: engine_socket(get("DOCKER_HOST"))?,
            image: get("MIRAI_IMAGE").unwrap_or_else(|| "mirai-worker:latest".to_owned()),
            token: get("MIRAI_API_TOKEN"),
            certificate: get("MIRAI_API_CERTIFICATE").map(PathBuf::from),
            network: get("MIRAI_NETWORK"),
            worker_token: get("MIRAI_TOKEN"),
            workers: parsed(&get, "MIRAI_WORKERS", "a number of workers")?.unwrap_or(4),
            port: parsed(&get, "MIRAI_PORT", "a port")?.unwrap_or(5555),
        })
    }

    /// For the log, as the API starts.
    pub fn summary(&self, listening: SocketAddr) -> String {
        format!(
            "mirai-containers {}: listening at {listening}, {}, image {}, engine {}, {}",
            env!("CARGO_PKG_VERSION"),
            match self.certificate {
                Some(_) => "by HTTPS",
                None => "by plain HTTP",
            },
            self.image,
            self.engine.display(),
            match self.token {
                Some(_) => "a bearer token is asked for",
                None => "no token is asked for: whoever reaches it can start and stop workers",
            }
        )
    }
}

fn parsed<T: std::str::FromStr>(
    get: &impl Fn(&str) -> Option<String>,
    variable: &'static str,
    wanted: &'static str,
) -> Result<Option<T>, SettingsError> {
    get(variable)
        .map(|value| {
            value.trim().parse().map_err(|_| SettingsError {
                variable,
                wanted,
                value,
            })
        })
        .transpose()
}

fn engine_socket(host: Option<String>) -> Result<PathBuf, SettingsError> {
    let Some(value) = host else {
        return Ok(PathBuf::from("/var/run/docker.sock"));
    };
    match value.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(SettingsError {
            variable: "DOCKER_HOST",
            wanted: "the URL of a Unix socket, unix:///path",
            value,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_variables(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_not_set_or_empty_has_its_default() {
        let settings = with(&[("MIRAI_API_TOKEN", ""), ("MIRAI_PORT", "")]).unwrap();
        assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(settings.engine, PathBuf::from("/var/run/docker.sock"));
        assert_eq!((settings.workers, settings.port), (4, 5555));
        assert_eq!((settings.token, settings.network), (None, None));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (variable, value) in [
            ("MIRAI_API_PORT", "80800"),
            ("MIRAI_PORT", "x"),
            ("MIRAI_WORKERS", "-1"),
            ("MIRAI_API_ADDRESS", "here"),
            ("DOCKER_HOST", "tcp://127.0.0.1:2375"),
        ] {
            let error = with(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.contains(variable) && error.contains(value), "{error}");
        }
    }
}
