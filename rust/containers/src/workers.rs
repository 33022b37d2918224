//! Workers: containers of one image, each with the address of the host that it is for.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;

use crate::Settings;
use crate::arguments::arguments_as_code;
use crate::engine::{Blueprint, Container, Engine, EngineError, Provided};

/// More than this in one request is a mistake.
pub(crate) const MAX_WORKERS: u32 = 1000;
/// How often the number of a worker may turn out to be taken by others who start workers of the same host at the same time.
const MAX_CONFLICTS: usize = 100;

const DISPATCHER_LABEL: &str = "mirai.dispatcher";
const PORT_LABEL: &str = "mirai.port";

/// The address of a host, as its workers dial it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dispatcher {
    host: String,
    port: u16,
}

impl Dispatcher {
    /// `None` if that is no name and no address of a machine, or the port is none.
    pub(crate) fn new(host: &str, port: u16) -> Option<Dispatcher> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
        let is_host = host.len() <= 253
            && host.chars().all(is_plain)
            && host.contains(|c: char| c.is_ascii_alphanumeric())
            && !host.starts_with('-');
        (is_host && port > 0).then(|| Dispatcher {
            host: host.to_owned(),
            port,
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The name of its worker of this number.
    fn worker(&self, number: usize) -> String {
        let host = self.host.replace(['.', ':'], "-");
        format!("mirai-worker-{host}-{}-{number}", self.port)
    }

    /// By which its workers are found. Names would not do: different hosts may have the same with their dots replaced.
    fn labels(&self) -> Vec<(&'static str, String)> {
        vec![
            (DISPATCHER_LABEL, self.host.clone()),
            (PORT_LABEL, self.port.to_string()),
        ]
    }

    fn filters(&self) -> Vec<String> {
        let labels = self.labels().into_iter();
        labels
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

impl fmt::Display for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How workers reach their host beside its address: what they are told by their environment.
#[derive(Clone, Default)]
pub(crate) struct Approach {
    /// `None` for the worker's own default, plain TCP.
    scheme: Option<String>,
    /// Certificates to trust and what to show, in PEM format. Secret as a rule.
    credentials: Option<String>,
    /// What daemons of its pool are called with, as R writes it, separated by commas.
    arguments: Option<String>,
}

/// Those that daemons connect by.
const SCHEMES: [&str; 4] = ["tcp", "tls+tcp", "ws", "wss"];
/// An environment variable of Linux is at most 128 KiB long.
const MAX_CREDENTIALS: usize = 100 << 10;
impl Approach {
    /// An error says what is wrong, without what was given as credentials.
    pub(crate) fn new(
        scheme: Option<String>,
        credentials: Option<String>,
        arguments: &Map<String, Value>,
    ) -> Result<Approach, String> {
        if scheme
            .as_deref()
            .is_some_and(|scheme| !SCHEMES.contains(&scheme))
        {
            return Err(format!("`scheme` must be one of {}", SCHEMES.join(", ")));
        }
        let is_text = |text: &str| {
            text.starts_with("-----BEGIN ") && text.len() <= MAX_CREDENTIALS && !text.contains('\0')
        };
        if !credentials.as_deref().is_none_or(is_text) {
            return Err(format!(
                "`credentials` must be a text in PEM format, of {} kB at most",
                MAX_CREDENTIALS >> 10
            ));
        }
        let arguments = arguments_as_code(arguments)?;
        Ok(Approach {
            scheme,
            credentials,
            arguments: Some(arguments).filter(|code| !code.is_empty()),
        })
    }

    fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        let scheme = self.scheme.clone().map(|scheme| ("MIRAI_SCHEME", scheme));
        let credentials = self.credentials.clone();
        let credentials = credentials.map(|text| ("MIRAI_CREDENTIALS", text));
        let arguments = self.arguments.clone();
        let arguments = arguments.map(|text| ("MIRAI_ARGUMENTS", text));
        scheme.into_iter().chain(credentials).chain(arguments)
    }
}

/// For the log, after other fields: without the secret.
impl fmt::Display for Approach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, " scheme={scheme}")?;
        }
        if self.credentials.is_some() {
            f.write_str(" credentials=given")?;
        }
        match &self.arguments {
            Some(arguments) => write!(f, " arguments={arguments}"),
            None => Ok(()),
        }
    }
}

/// What has become of the workers that were to be started or stopped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The names of those with which it worked.
    pub done: Vec<String>,
    /// The names of the others, and why.
    pub failed: Vec<(String, String)>,
}

/// A worker that runs.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Worker {
    name: String,
    id: String,
    state: String,
    status: String,
    dispatcher: String,
    port: u16,
}

/// The workers on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    engine: Engine,
    settings: Settings,
    /// Held by whoever makes, starts or removes containers: one at a time, as an engine may lose its way where containers come and
    /// go at once, and no request takes a container for ended that another one is about to start.
    turn: Arc<Mutex<()>>,
}

impl Workers {
    pub(crate) fn new(settings: Settings) -> Workers {
        Workers {
            engine: Engine::new(&settings.engine),
            settings,
            turn: Arc::default(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Starts `n` workers beside those that the host has, after the image has been pulled if it is not here.
    pub(crate) async fn start(
        &self,
        dispatcher: &Dispatcher,
        approach: &Approach,
        n: u32,
    ) -> Result<(Provided, Outcome), EngineError> {
        // Others need not wait for a pull.
        let provided = self.engine.provide_image(&self.settings.image).await?;
        let _turn = self.tidy_turn().await?;
        let taken: BTreeSet<String> = (self.engine.list(&dispatcher.filters(), true).await?)
            .iter()
            .map(|container| container.name().to_owned())
            .collect();
        let mut names = (1..)
            .map(|number| dispatcher.worker(number))
            .filter(|name| !taken.contains(name));
        let mut outcome = Outcome::default();
        let mut conflicts = 0;
        while outcome.done.len() + outcome.failed.len() < n as usize {
            let Some(name) = names.next() else { break };
            match self.start_one(&name, dispatcher, approach).await {
                Ok(()) => outcome.done.push(name),
                Err(error) if error.is_name_taken() && conflicts < MAX_CONFLICTS => conflicts += 1,
                Err(error) => {
                    let is_hopeless = error.is_hopeless();
                    outcome.failed.push((name, error.to_string()));
                    if is_hopeless {
                        break;
                    }
                }
            }
        }
        // Each would keep everybody waiting as long.
        let missing = (n as usize).saturating_sub(outcome.done.len() + outcome.failed.len());
        let not_tried = |name| (name, "not tried, as the engine does not answer".to_owned());
        outcome.failed.extend(names.take(missing).map(not_tried));
        Ok((provided, outcome))
    }

    /// A turn at the containers, with no ended worker among them. Engines are asked to remove a container as it ends, but not all
    /// versions of podman do, and nobody does while the engine restarts.
    async fn tidy_turn(&self) -> Result<MutexGuard<'_, ()>, EngineError> {
        let turn = self.turn.lock().await;
        self.tidy().await?;
        Ok(turn)
    }

    /// The same for those who can do without, as where another request waits for the engine.
    async fn tidy_if_free(&self) -> Result<(), EngineError> {
        match self.turn.try_lock() {
            Ok(_turn) => self.tidy().await,
            Err(_) => Ok(()),
        }
    }

    async fn tidy(&self) -> Result<(), EngineError> {
        let labels = [DISPATCHER_LABEL.to_owned()];
        for container in self.engine.list(&labels, true).await? {
            if container.has_ended() {
                // The engine may be at it already. One that stays is no reason not to serve.
                let removed = self.engine.remove(&container.id).await;
                if removed.is_err_and(|error| error.is_hopeless()) {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn start_one(
        &self,
        name: &str,
        dispatcher: &Dispatcher,
        approach: &Approach,
    ) -> Result<(), EngineError> {
        let blueprint = self.blueprint(name, dispatcher, approach);
        let id = self.engine.create(&blueprint).await?;
        let started = self.engine.start(&id).await;
        // Only containers that have run are removed by themselves.
        if started.is_err() {
            let _ = self.engine.remove(&id).await;
        }
        started
    }

    fn blueprint<'a>(
        &'a self,
        name: &'a str,
        dispatcher: &Dispatcher,
        approach: &Approach,
    ) -> Blueprint<'a> {
        let mut variables = vec![
            ("MIRAI_HOST", dispatcher.host.clone()),
            ("MIRAI_PORT", dispatcher.port.to_string()),
        ];
        if let Some(token) = &self.settings.worker_token {
            variables.push(("MIRAI_TOKEN", token.clone()));
        }
        variables.extend(approach.variables());
        Blueprint {
            name,
            image: &self.settings.image,
            variables,
            labels: dispatcher.labels(),
            network: self.settings.network.as_deref(),
        }
    }

    /// Stops the workers of a host, all at a time, and returns when they have ended and are gone.
    pub(crate) async fn stop(&self, dispatcher: &Dispatcher) -> Result<Outcome, EngineError> {
        let mut stopping = JoinSet::new();
        for container in self.engine.list(&dispatcher.filters(), false).await? {
            let engine = self.engine.clone();
            stopping.spawn(async move {
                let stopped = engine.stop(&container.id).await;
                (container.name().to_owned(), stopped)
            });
        }
        let mut outcome = Outcome::default();
        while let Some(ended) = stopping.join_next().await {
            match ended {
                Ok((name, Ok(()))) => outcome.done.push(name),
                Ok((name, Err(error))) => outcome.failed.push((name, error.to_string())),
                Err(error) => outcome.failed.push(("?".to_owned(), error.to_string())),
            }
        }
        self.tidy_if_free().await?;
        outcome.done.sort();
        outcome.failed.sort();
        Ok(outcome)
    }

    /// The workers that run, of all hosts.
    pub(crate) async fn list(&self) -> Result<Vec<Worker>, EngineError> {
        self.tidy_if_free().await?;
        let containers = self
            .engine
            .list(&[DISPATCHER_LABEL.to_owned()], false)
            .await?;
        let mut workers: Vec<Worker> = containers.into_iter().filter_map(worker).collect();
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(workers)
    }

    /// Tries what a start takes, without starting: makes a container and removes it. Returns its id.
    pub(crate) async fn try_create(&self) -> Result<String, EngineError> {
        let name = format!("mirai-debug-{}", std::process::id());
        let blueprint = Blueprint {
            name: &name,
            image: &self.settings.image,
            variables: Vec::new(),
            labels: Vec::new(),
            network: self.settings.network.as_deref(),
        };
        let _turn = self.turn.lock().await;
        // One that an earlier attempt could not remove.
        self.engine.remove(&name).await?;
        let id = self.engine.create(&blueprint).await?;
        self.engine.remove(&id).await?;
        Ok(id)
    }
}

/// `None` for a container that has our label but not all that we give.
fn worker(container: Container) -> Option<Worker> {
    Some(Worker {
        name: container.name().to_owned(),
        dispatcher: container.label(DISPATCHER_LABEL)?.to_owned(),
        port: container.label(PORT_LABEL)?.parse().ok()?,
        id: container.id,
        state: container.state,
        status: container.status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_dashes_for_the_dots_of_an_address() {
        let name = |host, port| Dispatcher::new(host, port).unwrap().worker(3);
        assert_eq!(name("192.0.2.4", 5555), "mirai-worker-192-0-2-4-5555-3");
        assert_eq!(name("host.lan", 80), "mirai-worker-host-lan-80-3");
        assert_eq!(name("fd00::1", 80), "mirai-worker-fd00--1-80-3");
    }

    #[test]
    fn an_approach_is_logged_without_its_secret_and_refused_without_it() {
        let secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        let text = |text: &str| Some(text.to_owned());
        let new = |scheme, credentials| Approach::new(scheme, credentials, &Map::new());
        let approach = new(text("tls+tcp"), text(secret)).ok().unwrap();
        assert_eq!(approach.to_string(), " scheme=tls+tcp credentials=given");
        assert_eq!(Approach::default().to_string(), "");
        let long = format!("{secret}{}", "x".repeat(MAX_CREDENTIALS));
        let nul = format!("{secret}\0");
        for credentials in ["c2VjcmV0", &*long, &*nul] {
            let error = new(None, text(credentials)).err().unwrap();
            assert!(!error.contains("c2V") && error.contains("PEM"), "{error}");
        }
        assert!(new(text("ssh"), None).is_err());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for host in ["", "-x", "a b", "a/b", "a\nb", "é", "..", "a=b", "http://a"] {
            assert_eq!(Dispatcher::new(host, 5555), None, "{host}");
        }
        assert_eq!(Dispatcher::new("192.0.2.4", 0), None);
    }
}
