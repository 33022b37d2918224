//! The API before a stand-in for the engine, which checks what it is asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mirai_containers::{Api, Asked, Reply, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the stand-in has.
#[derive(Default)]
struct State {
    has_image: bool,
    /// What a pull says at its end, if it fails.
    pull_error: Option<&'static str>,
    /// What a start is refused with.
    start_error: Option<&'static str>,
    pulls: usize,
    /// By name: what it was made from, and its state.
    containers: BTreeMap<String, (Value, &'static str)>,
    /// Whether a stopped container stays, as with some versions of podman.
    keeps_ended: bool,
    /// Its socket, if it is to be gone once a container has been made.
    vanishing: Option<PathBuf>,
    /// Whether it does not remove any.
    removal_fails: bool,
}

struct Engine {
    folder: TempDir,
    state: Arc<Mutex<State>>,
}

impl Engine {
    fn new(state: State) -> Engine {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || answer(stream, &state));
            }
        });
        Engine { folder, state }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    fn api(&self, variables: &[(&str, &str)]) -> Api {
        let host = format!("unix://{}", self.socket().display());
        let settings = Settings::from_variables(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            let given = found.map(|(_, value)| (*value).to_owned());
            given.or_else(|| (name == "DOCKER_HOST").then(|| host.clone()))
        });
        Api::new(settings.unwrap())
    }

    fn names(&self) -> Vec<String> {
        self.state
            .lock()
            .unwrap()
            .containers
            .keys()
            .cloned()
            .collect()
    }
}

fn answer(mut stream: UnixStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if reader.read_line(&mut head).unwrap() == 0 {
            return;
        }
        let line = head[start..].trim_end().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (status, text) = act(&mut state.lock().unwrap(), method, path, query, body);
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .unwrap();
}

fn act(state: &mut State, method: &str, path: &str, query: &str, body: Value) -> (u16, String) {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let missing = || (404, json!({ "message": "no such thing" }).to_string());
    match (method, &parts[..]) {
        ("GET", ["version"]) => (200, json!({ "Version": "stand-in" }).to_string()),
        ("GET", ["images", "worker%3A1", "json"]) if state.has_image => (200, "{}".to_owned()),
        ("GET", ["images", ..]) => missing(),
        ("POST", ["images", "create"]) => {
            assert_eq!(query, "fromImage=worker&tag=1");
            state.pulls += 1;
            match state.pull_error {
                Some(error) => (
                    200,
                    format!("{}\n{}\n", json!({"status": "x"}), json!({"error": error})),
                ),
                None => {
                    state.has_image = true;
                    (200, json!({ "status": "done" }).to_string())
                }
            }
        }
        ("GET", ["containers", "json"]) => (200, listing(state, query)),
        ("POST", ["containers", "create"]) => {
            let name = query.strip_prefix("name=").unwrap().replace("%2D", "-");
            if state.containers.contains_key(&name) {
                return (409, json!({ "message": "in use" }).to_string());
            }
            state.containers.insert(name.clone(), (body, "created"));
            if let Some(socket) = state.vanishing.take() {
                std::fs::remove_file(socket).unwrap();
            }
            (201, json!({ "Id": name }).to_string())
        }
        ("POST", ["containers", id, "start"]) => match state.start_error {
            Some(error) => (500, json!({ "message": error }).to_string()),
            None => {
                state.containers.get_mut(&id.replace("%2D", "-")).unwrap().1 = "running";
                (204, String::new())
            }
        },
        ("POST", ["containers", id, "stop"]) => {
            let id = id.replace("%2D", "-");
            let Some((_, runs)) = state.containers.get_mut(&id) else {
                return missing();
            };
            *runs = "exited";
            if !state.keeps_ended {
                state.containers.remove(&id);
            }
            (204, String::new())
        }
        ("DELETE", ["containers", _]) if state.removal_fails => {
            (409, json!({ "message": "in progress" }).to_string())
        }
        ("DELETE", ["containers", id]) => match state.containers.remove(&id.replace("%2D", "-")) {
            Some(_) => (204, String::new()),
            None => missing(),
        },
        _ => panic!("not a request of Docker's API that is expected here: {method} {path}"),
    }
}

/// All of the labels that are asked for, as `name=value` or `name`.
fn listing(state: &State, query: &str) -> String {
    let (all, filters) = query.split_once("&filters=").unwrap();
    let filters = percent_encoding::percent_decode_str(filters)
        .decode_utf8()
        .unwrap();
    let filters: Value = serde_json::from_str(&filters).unwrap();
    let wanted = filters["label"].as_array().unwrap();
    let listed = state.containers.iter().filter(|(_, (made, runs))| {
        (*runs == "running" || all == "all=true")
            && wanted.iter().all(|label| {
                let (name, value) = match label.as_str().unwrap().split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (label.as_str().unwrap(), None),
                };
                let has = made["Labels"].get(name).and_then(Value::as_str);
                has.is_some() && (value.is_none() || has == value)
            })
    });
    let listed = listed.map(|(name, (made, runs))| {
        json!({ "Id": name, "Names": [format!("/{name}")], "State": runs, "Status": "Up",
                "Labels": made["Labels"] })
    });
    Value::Array(listed.collect()).to_string()
}

fn asked(method: &str, path: &str, body: &str) -> Asked {
    Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        authorization: None,
        body: body.as_bytes().to_vec(),
        from: IpAddr::from([192, 0, 2, 9]),
        received: SystemTime::UNIX_EPOCH + Duration::from_secs(1_776_428_538),
    }
}

fn ask(api: &Api, asked: &Asked) -> Reply {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let reply = runtime.block_on(api.answer(asked));
    assert_eq!(reply.body["received_at"], "2026-04-17T12:22:18Z");
    assert_eq!(reply.body["from"], "192.0.2.9");
    reply
}

fn log(reply: &Reply) -> &str {
    reply.entry.text()
}

const IMAGE: (&str, &str) = ("MIRAI_IMAGE", "worker:1");

#[test]
fn workers_of_several_hosts_start_and_stop_side_by_side() {
    let engine = Engine::new(State::default());
    let api = engine.api(&[IMAGE, ("MIRAI_TOKEN", "secret"), ("MIRAI_NETWORK", "lan")]);
    let reply = ask(
        &api,
        &asked(
            "POST",
            "/workers/start",
            r#"{"dispatcher":"192.0.2.4","n":2,"port":5555}"#,
        ),
    );
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.body["started"],
        json!([
            "mirai-worker-192-0-2-4-5555-1",
            "mirai-worker-192-0-2-4-5555-2"
        ])
    );
    assert!(log(&reply).contains("dispatcher=192.0.2.4 n=2 port=5555 image=worker:1"));
    assert!(log(&reply).contains("pulled worker:1"));
    assert!(log(&reply).contains("started mirai-worker-192-0-2-4-5555-2"));
    // One that another host's address could be taken for, and more for the first: both keep what they have.
    ask(
        &api,
        &asked(
            "POST",
            "/workers/start",
            r#"{"dispatcher":"192-0-2-4","n":3,"port":5555}"#,
        ),
    );
    ask(
        &api,
        &asked(
            "POST",
            "/workers/start",
            r#"{"dispatcher":"192.0.2.4","n":1,"port":555}"#,
        ),
    );
    ask(
        &api,
        &asked(
            "POST",
            "/workers/start",
            r#"{"dispatcher":"192.0.2.4","n":1}"#,
        ),
    );
    assert_eq!(engine.names().len(), 7);
    assert_eq!(engine.state.lock().unwrap().pulls, 1);
    let made = engine.state.lock().unwrap().containers["mirai-worker-192-0-2-4-5555-2"]
        .0
        .clone();
    assert_eq!(made["Image"], "worker:1");
    assert_eq!(
        made["Env"],
        json!([
            "MIRAI_HOST=192.0.2.4",
            "MIRAI_PORT=5555",
            "MIRAI_TOKEN=secret"
        ])
    );
    assert_eq!(
        made["HostConfig"],
        json!({"AutoRemove": true, "Init": true, "NetworkMode": "lan"})
    );

    let reply = ask(&api, &asked("GET", "/workers", ""));
    assert_eq!(reply.body["workers"].as_array().unwrap().len(), 7);
    assert_eq!(reply.body["workers"][0]["dispatcher"], "192.0.2.4");
    let reply = ask(
        &api,
        &asked(
            "POST",
            "/workers/stop",
            r#"{"dispatcher":"192.0.2.4","port":5555}"#,
        ),
    );
    assert_eq!((reply.status, &reply.body["stopped"]), (200, &json!(3)));
    let own = [1, 2, 6].map(|number| format!("mirai-worker-192-0-2-4-5555-{number}"));
    assert_eq!(reply.body["workers"], json!(own));
    assert!(log(&reply).contains(&format!("stopped {}", own[2])));
    let left = ask(&api, &asked("GET", "/workers", ""));
    let left = left.body["workers"].as_array().unwrap().clone();
    assert!(
        left.iter()
            .all(|worker| worker["dispatcher"] != "192.0.2.4" || worker["port"] != 5555)
    );
    assert!(
        left.iter()
            .any(|worker| worker["dispatcher"] == "192-0-2-4")
    );
    assert!(left.iter().any(|worker| worker["port"] == 555));
}

#[test]
fn an_engine_that_does_not_answer_is_not_tried_for_each_worker() {
    let engine = Engine::new(State {
        has_image: true,
        ..State::default()
    });
    engine.state.lock().unwrap().vanishing = Some(engine.socket());
    let api = engine.api(&[IMAGE]);
    let body = r#"{"dispatcher":"192.0.2.4","n":3}"#;
    let reply = ask(&api, &asked("POST", "/workers/start", body));
    assert_eq!(reply.status, 200);
    let names = [1, 2, 3].map(|number| format!("mirai-worker-192-0-2-4-5555-{number}"));
    assert_eq!(reply.body["failed"], json!(names));
    let errors = names
        .each_ref()
        .map(|name| reply.body["errors"][name].as_str().unwrap());
    assert!(errors[0].contains("cannot be reached"), "{errors:?}");
    assert_eq!(errors[1..], ["not tried, as the engine does not answer"; 2]);
    assert_eq!(engine.names(), names[..1]);
}

#[test]
fn how_a_host_is_reached_goes_to_its_workers_and_into_no_log_or_reply() {
    let engine = Engine::new(State {
        has_image: true,
        ..State::default()
    });
    let api = engine.api(&[IMAGE]);
    let secret = "-----BEGIN MIRAI TOKEN-----\nc2VjcmV0\n-----END MIRAI TOKEN-----\n";
    let start = |fields: Value| {
        let mut body = json!({ "dispatcher": "192.0.2.4", "n": 1 });
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        ask(&api, &asked("POST", "/workers/start", &body.to_string()))
    };
    let arguments = json!({ "cleanup": false, "autoexit": null, "maxtasks": 10, "idletime": 1e16 });
    let reply =
        start(json!({ "scheme": "tls+tcp", "credentials": secret, "arguments": arguments }));
    assert_eq!(reply.status, 200);
    let name = "mirai-worker-192-0-2-4-5555-1";
    let made = engine.state.lock().unwrap().containers[name].0.clone();
    let variables = [
        "MIRAI_HOST=192.0.2.4",
        "MIRAI_PORT=5555",
        "MIRAI_SCHEME=tls+tcp",
        &format!("MIRAI_CREDENTIALS={secret}"),
        "MIRAI_ARGUMENTS=autoexit=NA,cleanup=FALSE,idletime=1e+16,maxtasks=10",
    ];
    assert_eq!(made["Env"], json!(variables));
    let logged = "dispatcher=192.0.2.4 n=1 port=5555 image=worker:1 scheme=tls+tcp credentials=given \
        arguments=autoexit=NA,cleanup=FALSE,idletime=1e+16,maxtasks=10\n";
    assert!(log(&reply).contains(logged), "{}", log(&reply));
    let refused = [
        start(json!({ "scheme": "ftp" })),
        start(json!({ "credentials": "c2VjcmV0" })),
        start(json!({ "arguments": { "url": 1 } })),
        start(json!({ "arguments": { "cleanup": "system('x')" } })),
        start(json!({ "arguments": [1] })),
        start(json!({ "arguments": { "maxtasks": -1 } })),
        start(json!({ "credentials": ["c2VjcmV0"] })),
    ];
    let told = |reply: &Reply| reply.body["error"].as_str().unwrap().to_owned();
    assert_eq!(
        told(&refused[5]),
        "`maxtasks` must be a whole number of at least 0, not `-1`"
    );
    for (fields, expected) in [
        (
            json!({ "n": -1 }),
            "`n` must be a whole number from 0 to 1000, not `-1`",
        ),
        (
            json!({ "n": 1001 }),
            "`n` must be a whole number from 0 to 1000, not `1001`",
        ),
        (
            json!({ "n": 1.5 }),
            "`n` must be a whole number from 0 to 1000, not `1.5`",
        ),
        (
            json!({ "port": 0 }),
            "`port` must be a whole number from 1 to 65535, not `0`",
        ),
        (
            json!({ "port": "80" }),
            "`port` must be a whole number from 1 to 65535, not `\"80\"`",
        ),
        (json!({ "dispatcher": 5 }), "`dispatcher` must be a text"),
        (
            json!({ "dispatcher": "" }),
            "`dispatcher` must be the address of a machine, not ``",
        ),
    ] {
        let reply = start(fields);
        assert_eq!((reply.status, told(&reply).as_str()), (400, expected));
    }
    assert!(refused.iter().all(|reply| reply.status == 400));
    for reply in refused.iter().chain([&reply]) {
        let text = format!("{}{:?}", log(reply), reply.body);
        assert!(!text.contains("c2VjcmV0"), "{text}");
    }
    assert_eq!(engine.names(), [name]);
}

#[test]
fn what_the_engine_refuses_is_told_and_leaves_nothing() {
    let engine = Engine::new(State {
        has_image: true,
        start_error: Some("no room"),
        ..State::default()
    });
    let api = engine.api(&[IMAGE]);
    let reply = ask(
        &api,
        &asked(
            "POST",
            "/workers/start",
            r#"{"dispatcher":"192.0.2.4","n":1}"#,
        ),
    );
    let name = "mirai-worker-192-0-2-4-5555-1";
    assert_eq!((reply.status, &reply.body["started"]), (200, &json!([])));
    assert_eq!(reply.body["failed"], json!([name]));
    assert_eq!(reply.body["errors"][name], "the engine says 500: no room");
    assert!(engine.names().is_empty());

    let engine = Engine::new(State {
        pull_error: Some("no such image anywhere"),
        ..State::default()
    });
    let reply = ask(
        &engine.api(&[IMAGE]),
        &asked("POST", "/workers/start", r#"{"dispatcher":"192.0.2.4"}"#),
    );
    assert_eq!(reply.status, 502);
    assert!(
        reply.body["error"]
            .as_str()
            .unwrap()
            .contains("no such image anywhere")
    );

    let api = engine.api(&[("DOCKER_HOST", "unix:///nowhere/engine.sock")]);
    let reply = ask(&api, &asked("GET", "/workers", ""));
    assert_eq!(reply.status, 502);
    assert!(
        reply.body["error"]
            .as_str()
            .unwrap()
            .contains("/nowhere/engine.sock")
    );
    let reply = ask(&api, &asked("GET", "/debug", ""));
    assert_eq!(
        (reply.status, &reply.body["engine"]["ok"]),
        (200, &json!(false))
    );
}

#[test]
fn ended_workers_are_removed_whoever_they_were_for() {
    let engine = Engine::new(State {
        has_image: true,
        keeps_ended: true,
        ..State::default()
    });
    let api = engine.api(&[IMAGE]);
    let start = |host: &str| {
        let body = json!({ "dispatcher": host, "n": 2 }).to_string();
        ask(&api, &asked("POST", "/workers/start", &body))
    };
    let end = |name: &str, state| {
        engine
            .state
            .lock()
            .unwrap()
            .containers
            .get_mut(name)
            .unwrap()
            .1 = state;
    };
    start("192.0.2.4");
    start("192.0.2.5");
    ask(
        &api,
        &asked("POST", "/workers/stop", r#"{"dispatcher":"192.0.2.4"}"#),
    );
    let others = [1, 2].map(|number| format!("mirai-worker-192-0-2-5-5555-{number}"));
    assert_eq!(engine.names(), others);
    // One that somebody else has made is none of ours.
    engine.state.lock().unwrap().containers.insert(
        "else".to_owned(),
        (json!({ "Labels": { "a": "b" } }), "exited"),
    );
    end(&others[0], "exited");
    let listed = ask(&api, &asked("GET", "/workers", ""));
    assert_eq!(listed.body["workers"].as_array().unwrap().len(), 1);
    assert_eq!(engine.names(), ["else", &others[1]]);
    // Its number is free again.
    end(&others[1], "dead");
    assert_eq!(start("192.0.2.5").body["started"], json!(others));
    assert_eq!(engine.names().len(), 3);

    // What another process is about to start stays, and what cannot be removed is left.
    end(&others[0], "created");
    ask(&api, &asked("GET", "/workers", ""));
    assert_eq!(engine.names().len(), 3);
    end(&others[0], "exited");
    engine.state.lock().unwrap().removal_fails = true;
    let listed = ask(&api, &asked("GET", "/workers", ""));
    assert_eq!(listed.body["workers"].as_array().unwrap().len(), 1);
}

#[test]
fn debug_tries_a_create_and_leaves_nothing() {
    let engine = Engine::new(State {
        has_image: true,
        ..State::default()
    });
    let reply = ask(&engine.api(&[IMAGE]), &asked("GET", "/debug", ""));
    assert_eq!(reply.body["engine"]["answer"]["Version"], "stand-in");
    assert_eq!(reply.body["create"]["ok"], true);
    assert_eq!(reply.body["socket"], engine.socket().display().to_string());
    assert!(engine.names().is_empty());
}

#[test]
fn a_token_is_asked_for_where_one_is_set() {
    let engine = Engine::new(State {
        has_image: true,
        ..State::default()
    });
    let api = engine.api(&[IMAGE, ("MIRAI_API_TOKEN", "abc")]);
    for (shown, status) in [
        (None, 401),
        (Some("Bearer abd"), 401),
        (Some("Bearer "), 401),
        (Some("Basic abc"), 401),
        (Some("abc"), 401),
        (Some("Bearer abc"), 200),
        (Some("bearer abc"), 200),
    ] {
        for path in ["/workers", "/debug"] {
            let mut request = asked("GET", path, "");
            request.authorization = shown.map(str::to_owned);
            assert_eq!(ask(&api, &request).status, status, "{shown:?}");
        }
    }
    let reply = ask(&api, &asked("POST", "/workers/start", "{}"));
    assert_eq!(reply.status, 401);
    assert!(!log(&reply).contains("abc"));
}

#[test]
fn what_is_asked_wrongly_is_refused() {
    let engine = Engine::new(State {
        has_image: true,
        ..State::default()
    });
    let api = engine.api(&[IMAGE]);
    for (method, path, body, status) in [
        ("GET", "/workers/start", "", 405),
        ("POST", "/workers", "", 405),
        ("POST", "/debug", "", 405),
        ("GET", "/", "", 404),
        ("POST", "/workers/start", "", 400),
        ("POST", "/workers/start", "[]", 400),
        ("POST", "/workers/start", r#"{"n":1}"#, 400),
        ("POST", "/workers/start", r#"{"dispatcher":"a b"}"#, 400),
        (
            "POST",
            "/workers/start",
            r#"{"dispatcher":"a","n":-1}"#,
            400,
        ),
        (
            "POST",
            "/workers/start",
            r#"{"dispatcher":"a","n":1001}"#,
            400,
        ),
        (
            "POST",
            "/workers/start",
            r#"{"dispatcher":"a","port":70000}"#,
            400,
        ),
        (
            "POST",
            "/workers/stop",
            r#"{"dispatcher":"a","port":0}"#,
            400,
        ),
    ] {
        let reply = ask(&api, &asked(method, path, body));
        assert_eq!(reply.status, status, "{method} {path} {body}");
        assert!(reply.body["error"].is_string());
        assert_eq!(reply.allow.is_some(), status == 405);
    }
    assert!(engine.names().is_empty());
}
