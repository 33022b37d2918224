//! The routes: what is asked for, by whom, and what is replied. No HTTP in here but its words.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use crate::journal::{Entry, utc};
use crate::workers::{Approach, Dispatcher, MAX_WORKERS, Outcome, Workers};
use crate::{EngineError, Settings};

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its header `Authorization`.
    pub authorization: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
    /// Who asks.
    pub from: IpAddr,
    /// When it came.
    pub received: SystemTime,
}

/// A reply, and what the log says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The methods of the path, where another was used.
    pub allow: Option<&'static str>,
    /// The fields of the JSON object that is replied.
    pub body: Map<String, Value>,
    /// For the log.
    pub entry: Entry,
}

/// The API.
#[derive(Debug, Clone)]
pub struct Api {
    settings: Settings,
    workers: Workers,
}

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("a bearer token is asked for, and none or another one was shown")]
    Token,
    #[error("there is no `{0}` here")]
    Path(String),
    #[error("this path is for {0} only")]
    Method(&'static str),
    #[error("{0}")]
    Body(String),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Refusal {
    fn status(&self) -> u16 {
        match self {
            Refusal::Body(_) => 400,
            Refusal::Token => 401,
            Refusal::Path(_) => 404,
            Refusal::Method(_) => 405,
            Refusal::Engine(_) => 502,
        }
    }
}

impl Api {
    /// With these settings.
    pub fn new(settings: Settings) -> Api {
        Api {
            workers: Workers::new(settings.clone()),
            settings,
        }
    }

    /// Whether who asks may.
    pub fn admits(&self, asked: &Asked) -> bool {
        self.admit(asked).is_ok()
    }

    /// Does what is asked for.
    pub async fn answer(&self, asked: &Asked) -> Reply {
        let mut entry = Entry::new(asked.received, &asked.method, &asked.path, asked.from);
        let served = match self.admit(asked) {
            Ok(()) => self.serve(asked, &mut entry).await,
            Err(refusal) => Err(refusal),
        };
        let (status, allow, fields) = match served {
            Ok(fields) => (200, None, fields),
            Err(refusal) => {
                entry.add(format_args!("refused ({}): {refusal}", refusal.status()));
                let allow = match refusal {
                    Refusal::Method(methods) => Some(methods),
                    _ => None,
                };
                (
                    refusal.status(),
                    allow,
                    json!({ "error": refusal.to_string() }),
                )
            }
        };
        Reply {
            status,
            allow,
            body: signed(fields, asked),
            entry,
        }
    }

    fn admit(&self, asked: &Asked) -> Result<(), Refusal> {
        let Some(token) = &self.settings.token else {
            return Ok(());
        };
        let shown = asked.authorization.as_deref().unwrap_or_default();
        let shown = shown
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let shown = shown.map_or("", |(_, token)| token.trim());
        // Takes as long however much of it is right.
        match shown.as_bytes().ct_eq(token.as_bytes()).into() {
            true => Ok(()),
            false => Err(Refusal::Token),
        }
    }

    async fn serve(&self, asked: &Asked, entry: &mut Entry) -> Result<Value, Refusal> {
        match (asked.path.as_str(), asked.method.as_str()) {
            ("/workers/start", "POST") => self.start(&asked.body, entry).await,
            ("/workers/stop", "POST") => self.stop(&asked.body, entry).await,
            ("/workers", "GET") => self.list(entry).await,
            ("/debug", "GET") => Ok(self.debug(entry).await),
            ("/workers/start" | "/workers/stop", _) => Err(Refusal::Method("POST")),
            ("/workers" | "/debug", _) => Err(Refusal::Method("GET")),
            (path, _) => Err(Refusal::Path(path.to_owned())),
        }
    }

    async fn start(&self, body: &[u8], entry: &mut Entry) -> Result<Value, Refusal> {
        let fields = Fields::parse(body)?;
        let n = fields.whole("n", 0..=MAX_WORKERS)?;
        let n = n.unwrap_or(self.settings.workers);
        let dispatcher = self.dispatcher(&fields)?;
        let (scheme, credentials) = (fields.text("scheme")?, fields.text("credentials")?);
        let approach = Approach::new(scheme, credentials, &fields.object("arguments")?)
            .map_err(Refusal::Body)?;
        let (host, port, image) = (dispatcher.host(), dispatcher.port(), &self.settings.image);
        entry.add(format_args!(
            "dispatcher={host} n={n} port={port} image={image}{approach}"
        ));
        let (provided, outcome) = self.workers.start(&dispatcher, &approach, n).await?;
        if provided == crate::engine::Provided::Pulled {
            entry.add(format_args!("pulled {image}"));
        }
        note(&outcome, "started", entry);
        Ok(json!({
            "started": outcome.done,
            "failed": names_of(&outcome.failed),
            "errors": errors_of(&outcome.failed),
            "dispatcher": host,
            "port": port,
        }))
    }

    async fn stop(&self, body: &[u8], entry: &mut Entry) -> Result<Value, Refusal> {
        let dispatcher = self.dispatcher(&Fields::parse(body)?)?;
        let (host, port) = (dispatcher.host(), dispatcher.port());
        entry.add(format_args!("dispatcher={host} port={port}"));
        let outcome = self.workers.stop(&dispatcher).await?;
        note(&outcome, "stopped", entry);
        Ok(json!({
            "stopped": outcome.done.len(),
            "workers": outcome.done,
            "failed": names_of(&outcome.failed),
            "errors": errors_of(&outcome.failed),
            "dispatcher": host,
            "port": port,
        }))
    }

    async fn list(&self, entry: &mut Entry) -> Result<Value, Refusal> {
        let workers = self.workers.list().await?;
        entry.add(format_args!("{} running", workers.len()));
        Ok(json!({ "workers": workers }))
    }

    /// Fails in no way: what does not work is what is asked for.
    async fn debug(&self, entry: &mut Entry) -> Value {
        let engine = self.workers.engine();
        let version = engine.version().await;
        let created = match &version {
            Ok(_) => self
                .workers
                .try_create()
                .await
                .map(|id| json!({ "id": id })),
            // It would be the same once more.
            Err(_) => Ok(Value::Null),
        };
        let told = |what, result: &Result<Value, EngineError>, entry: &mut Entry| match result {
            Ok(value) => {
                entry.add(format_args!("{what}: ok"));
                json!({ "ok": !value.is_null(), "answer": value })
            }
            Err(error) => {
                entry.add(format_args!("{what}: {error}"));
                json!({ "ok": false, "error": error.to_string() })
            }
        };
        json!({
            "socket": engine.socket().display().to_string(),
            "engine": told("engine", &version, entry),
            "image": self.settings.image,
            "create": match version {
                Ok(_) => told("create", &created, entry),
                Err(_) => json!({ "ok": false, "error": "not tried" }),
            },
        })
    }

    fn dispatcher(&self, fields: &Fields) -> Result<Dispatcher, Refusal> {
        let host = fields.text("dispatcher")?.unwrap_or_default();
        let port = fields.whole("port", 1..=u16::MAX)?;
        Dispatcher::new(&host, port.unwrap_or(self.settings.port)).ok_or_else(|| {
            Refusal::Body(format!(
                "`dispatcher` must be the address of a machine, not `{}`",
                host.escape_debug()
            ))
        })
    }
}

/// Those of a request, which say themselves what is wrong with them. Those that are `null` are not given.
struct Fields(Map<String, Value>);

impl Fields {
    fn parse(body: &[u8]) -> Result<Fields, Refusal> {
        let fields = serde_json::from_slice(body).map_err(|error| {
            Refusal::Body(format!(
                "the body must be a JSON object with the fields of this path: {error}"
            ))
        });
        fields.map(Fields)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// What was given is not told: it may be secret.
    fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Refusal::Body(format!("`{name}` must be a text"))),
        }
    }

    fn object(&self, name: &str) -> Result<Map<String, Value>, Refusal> {
        match self.get(name) {
            None => Ok(Map::new()),
            Some(Value::Object(fields)) => Ok(fields.clone()),
            Some(_) => Err(Refusal::Body(format!("`{name}` must be an object"))),
        }
    }

    /// A whole number of that range.
    fn whole<T: TryFrom<u64> + Into<u64> + Copy>(
        &self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let (least, most): (u64, u64) = ((*range.start()).into(), (*range.end()).into());
        let number = value.as_u64().filter(|n| (least..=most).contains(n));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.map(Some).ok_or_else(|| {
            Refusal::Body(format!(
                "`{name}` must be a whole number from {least} to {most}, not `{value}`"
            ))
        })
    }
}

fn note(outcome: &Outcome, what: &str, entry: &mut Entry) {
    for name in &outcome.done {
        entry.add(format_args!("{what} {name}"));
    }
    for (name, error) in &outcome.failed {
        entry.add(format_args!("not {what} {name}: {error}"));
    }
}

fn names_of(failed: &[(String, String)]) -> Vec<&str> {
    failed.iter().map(|(name, _)| &**name).collect()
}

fn errors_of(failed: &[(String, String)]) -> Map<String, Value> {
    let errors = failed.iter();
    errors
        .map(|(name, error)| (name.clone(), json!(error)))
        .collect()
}

/// The fields of a reply, with when and from where it was asked for.
fn signed(fields: Value, asked: &Asked) -> Map<String, Value> {
    let mut body = match fields {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    body.insert("received_at".to_owned(), json!(utc(asked.received)));
    body.insert("from".to_owned(), json!(asked.from.to_string()));
    body
}
