//! The container engine, by Docker's API over its Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::UnixStream;

/// Time for an ordinary request; stopping a container takes up to [`STOP_SECONDS`] of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time to bring an image here.
const PULL_PATIENCE: Duration = Duration::from_secs(1800);
/// How long a worker may take to leave before it is killed.
const STOP_SECONDS: u32 = 10;
/// The engine's answers are lists of containers, and the progress of a pull.
const MAX_ANSWER: usize = 64 << 20;

/// The engine behind a socket. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Engine {
    socket: PathBuf,
}

/// Why the engine has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers at its socket.
    #[error("the engine's socket {} cannot be reached: {source}", .socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What answers does not speak HTTP, or not to the end.
    #[error("talking to the engine failed: {0}")]
    Talk(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It does not answer.
    #[error("the engine has not answered within {} s", .0.as_secs())]
    Late(Duration),
    /// It says no.
    #[error("the engine says {status}: {message}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it says.
        message: String,
    },
    /// Its answer is none to the question.
    #[error("the engine's answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
}

/// A container, as the engine lists it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Container {
    pub id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub labels: Option<std::collections::BTreeMap<String, String>>,
}

impl Container {
    /// Its name, before which engines put a slash.
    pub(crate) fn name(&self) -> &str {
        let name = self.names.first().map_or(&*self.id, |name| &**name);
        name.strip_prefix('/').unwrap_or(name)
    }

    /// Whether it has run and does so no more. One that was made and not started yet has not.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(&*self.state, "exited" | "dead" | "stopped")
    }

    pub(crate) fn label(&self, label: &str) -> Option<&str> {
        self.labels.as_ref()?.get(label).map(|value| &**value)
    }
}

/// A container to be made.
#[derive(Debug, Clone)]
pub(crate) struct Blueprint<'a> {
    pub name: &'a str,
    pub image: &'a str,
    pub variables: Vec<(&'a str, String)>,
    pub labels: Vec<(&'a str, String)>,
    pub network: Option<&'a str>,
}

impl EngineError {
    /// Whether the name of a new container is that of another one.
    pub(crate) fn is_name_taken(&self) -> bool {
        // Not all versions of podman have the status for it.
        matches!(self, EngineError::Refused { status, message }
            if *status == 409 || message.contains("already in use"))
    }

    /// Whether another attempt would most likely end like this one, and take as long.
    pub(crate) fn is_hopeless(&self) -> bool {
        matches!(self, EngineError::Late(_) | EngineError::Unreachable { .. })
    }

    /// Whether there is no such container or image.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, EngineError::Refused { status: 404, .. })
    }
}

impl Engine {
    /// The engine that listens at this socket.
    pub fn new(socket: impl Into<PathBuf>) -> Engine {
        Engine {
            socket: socket.into(),
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its name and version, if it is there.
    pub async fn version(&self) -> Result<Value, EngineError> {
        let answer = self.ask(Method::GET, "/version", None, PATIENCE).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Has the image here, by pulling it if it is not.
    pub(crate) async fn provide_image(&self, image: &str) -> Result<Provided, EngineError> {
        match self.find_image(image).await {
            Err(error) if error.is_absent() => {
                self.pull(image).await?;
                Ok(Provided::Pulled)
            }
            found => found.map(|()| Provided::Present),
        }
    }

    async fn find_image(&self, image: &str) -> Result<(), EngineError> {
        let path = format!("/images/{}/json", escaped(image));
        self.ask(Method::GET, &path, None, PATIENCE).await.map(drop)
    }

    async fn pull(&self, image: &str) -> Result<(), EngineError> {
        let (name, tag) = split_image(image);
        let path = format!(
            "/images/create?fromImage={}&tag={}",
            escaped(name),
            escaped(tag)
        );
        let answer = self.ask(Method::POST, &path, None, PULL_PATIENCE).await?;
        // A line of JSON for each step. The status was sent before it could be known whether they succeed.
        let steps = serde_json::Deserializer::from_slice(&answer).into_iter::<Value>();
        for step in steps.map_while(Result::ok) {
            if let Some(message) = step.get("error").and_then(Value::as_str) {
                return Err(EngineError::Refused {
                    status: 500,
                    message: message.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Makes a container, and returns its id.
    pub(crate) async fn create(&self, blueprint: &Blueprint<'_>) -> Result<String, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
        }
        let path = format!("/containers/create?name={}", escaped(blueprint.name));
        let body = blueprint.to_json();
        let answer = self.ask(Method::POST, &path, Some(&body), PATIENCE).await?;
        Ok(serde_json::from_slice::<Created>(&answer)?.id)
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{}/start", escaped(id));
        self.ask(Method::POST, &path, None, PATIENCE)
            .await
            .map(drop)
    }

    /// Asks a container to end, kills it if it does not, and returns when it has ended. One that is gone is no error.
    pub(crate) async fn stop(&self, id: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{}/stop?t={STOP_SECONDS}", escaped(id));
        match self.ask(Method::POST, &path, None, PATIENCE).await {
            Err(error) if !error.is_absent() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a container, whatever its state. One that is gone is no error.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{}?force=true", escaped(id));
        match self.ask(Method::DELETE, &path, None, PATIENCE).await {
            Err(error) if !error.is_absent() => Err(error),
            _ => Ok(()),
        }
    }

    /// The containers with all of these labels, each `name` or `name=value`; those that do not run as well if `all`.
    pub(crate) async fn list(
        &self,
        labels: &[String],
        all: bool,
    ) -> Result<Vec<Container>, EngineError> {
        let filters = json!({ "label": labels }).to_string();
        let path = format!("/containers/json?all={all}&filters={}", escaped(&filters));
        let answer = self.ask(Method::GET, &path, None, PATIENCE).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Bytes, EngineError> {
        let asked = self.ask_patiently(method, path, body);
        tokio::time::timeout(patience, asked)
            .await
            .unwrap_or(Err(EngineError::Late(patience)))
    }

    async fn ask_patiently(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, EngineError> {
        let talk = |error: hyper::Error| EngineError::Talk(Box::new(error));
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| EngineError::Unreachable {
                    socket: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(talk)?;
        // Ends when the sender and the answer are gone.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "localhost")
            .header("Content-Type", "application/json")
            .body(Full::new(body.map_or_else(Bytes::new, |body| {
                Bytes::from(body.to_string())
            })))
            .map_err(|error| EngineError::Talk(Box::new(error)))?;
        let answer = sender.send_request(request).await.map_err(talk)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(EngineError::Talk)?
            .to_bytes();
        // 304: it has that state already.
        match status.is_success() || status == StatusCode::NOT_MODIFIED {
            true => Ok(body),
            false => Err(EngineError::Refused {
                status: status.as_u16(),
                message: refusal(&body),
            }),
        }
    }
}

/// Whether an image had to be brought here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provided {
    Present,
    Pulled,
}

impl Blueprint<'_> {
    fn to_json(&self) -> Value {
        let variables: Vec<String> = self
            .variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let labels: serde_json::Map<String, Value> = self
            .labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        // `Init`: the first process of a container has no default for signals, so R is not to be the first.
        let mut host = json!({ "AutoRemove": true, "Init": true });
        if let Some(network) = self.network {
            host["NetworkMode"] = json!(network);
        }
        json!({ "Image": self.image, "Env": variables, "Labels": labels, "HostConfig": host })
    }
}

/// What an answer that is no success says.
fn refusal(body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let message = parsed
        .as_ref()
        .and_then(|value| value.get("message")?.as_str());
    match message {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

/// Name and tag of an image. A colon before a slash belongs to the port of a registry.
fn split_image(image: &str) -> (&str, &str) {
    if image.contains('@') {
        return (image, "");
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_an_image_is_what_follows_its_last_colon() {
        for (image, name, tag) in [
            ("worker", "worker", "latest"),
            ("worker:3", "worker", "3"),
            ("ghcr.io/a/worker:3", "ghcr.io/a/worker", "3"),
            ("registry:5000/worker", "registry:5000/worker", "latest"),
            ("registry:5000/worker:3", "registry:5000/worker", "3"),
            ("worker@sha256:ab", "worker@sha256:ab", ""),
        ] {
            assert_eq!(split_image(image), (name, tag));
        }
    }
}
