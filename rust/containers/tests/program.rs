//! The program itself: what it listens to, what it writes, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use mirai_http::{Request, Trust};

struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Program {
    fn start(variables: &[(&str, &str)]) -> Program {
        let mut child = command(variables).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.split("listening at ").nth(1).unwrap();
        let address = address.split(',').next().unwrap().to_owned();
        Program {
            child,
            output,
            address,
        }
    }

    fn get(&self, path: &str) -> mirai_http::Response {
        let url = format!("http://{}{path}", self.address);
        Request::new("GET", url)
            .timeout(Duration::from_secs(30))
            .send()
            .unwrap()
    }

    /// Its output, once it has been told to end and has.
    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirai-containers"));
    command
        .env_clear()
        .env("DOCKER_HOST", "unix:///nowhere/engine.sock")
        .env("MIRAI_API_ADDRESS", "127.0.0.1")
        // The system chooses one.
        .env("MIRAI_API_PORT", "0")
        .envs(variables.iter().copied());
    command
}

#[test]
fn every_request_is_answered_and_logged_and_sigterm_ends_it() {
    let program = Program::start(&[]);
    let response = program.get("/nowhere");
    assert_eq!(response.status, 404);
    assert!(response.text().contains("\"from\":\"127.0.0.1\""));
    assert_eq!(program.get("/workers").status, 502);
    let mut long = TcpStream::connect(&program.address).unwrap();
    let head = "POST /workers/start HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    long.write_all(head.as_bytes()).unwrap();
    let _ = long.write_all(&vec![b' '; 300_000]);
    let mut answer = String::new();
    BufReader::new(&long).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    drop(long);
    let log = program.end();
    assert!(
        log.contains("Z] GET /nowhere from 127.0.0.1\n  refused (404): "),
        "{log}"
    );
    assert!(
        log.contains("Z] GET /workers from 127.0.0.1\n  refused (502): "),
        "{log}"
    );
    assert!(
        log.contains("Z] POST /workers/start from 127.0.0.1\n  refused (413): "),
        "{log}"
    );
}

#[test]
fn what_is_no_request_is_answered_and_logged_as_well() {
    let program = Program::start(&[("MIRAI_API_TOKEN", "sesame")]);
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(500_000));
    for text in [
        "GET /\x01 HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02 a handshake of TLS\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &long,
    ] {
        let mut stream = TcpStream::connect(&program.address).unwrap();
        // It may be refused before all of it has gone.
        let _ = stream.write_all(text.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{answer}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["from"], "127.0.0.1");
        assert!(body["received_at"].as_str().unwrap().ends_with('Z'));
        assert!(!body["error"].as_str().unwrap().is_empty());
    }
    let mut cut = TcpStream::connect(&program.address).unwrap();
    let head = "POST /workers/start HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n";
    cut.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    cut.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\"from\":\"127.0.0.1\""), "{answer}");
    let log = program.end();
    let refused = log.matches("Z] ? ? from 127.0.0.1\n  refused (400): ");
    assert_eq!(refused.count(), 4, "{log}");
}

#[test]
fn a_caller_that_says_nothing_does_not_hold_up_the_end() {
    let program = Program::start(&[]);
    let _silent = TcpStream::connect(&program.address).unwrap();
    assert_eq!(program.get("/").status, 404);
    program.end();
}

#[test]
fn callers_that_may_not_ask_or_say_nothing_do_not_keep_others_out() {
    let program = Program::start(&[("MIRAI_API_TOKEN", "sesame")]);
    let beginning = |text: &str| {
        let mut stream = TcpStream::connect(&program.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    // As many as there are places, and again with a request that is refused.
    let _begun: Vec<TcpStream> = (0..256).map(|_| beginning("GET /wor")).collect();
    let refused = "GET /workers HTTP/1.1\r\nHost: x\r\n\r\n";
    let _refused: Vec<TcpStream> = (0..256).map(|_| beginning(refused)).collect();
    let response = Request::new("GET", format!("http://{}/nowhere", program.address))
        .header("Authorization", "Bearer sesame")
        .timeout(Duration::from_secs(20))
        .send()
        .unwrap();
    assert_eq!(response.status, 404);
    program.end();
}

#[test]
fn what_is_no_request_is_logged() {
    let program = Program::start(&[]);
    let mut stream = TcpStream::connect(&program.address).unwrap();
    stream.write_all(b"GET /\x01 HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let log = program.end();
    assert!(
        log.contains("Z] ? ? from 127.0.0.1\n  refused (400): "),
        "{log}"
    );
}

/// In PEM format: for callers to trust, and what the program shows.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = made.cert.pem();
    let shown = format!("{certificate}{}", made.signing_key.serialize_pem());
    (certificate, shown)
}

#[test]
fn with_a_certificate_it_speaks_https_and_nothing_else() {
    let (trusted, shown) = certificate();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), shown).unwrap();
    let path = file.path().to_str().unwrap();
    let program = Program::start(&[("MIRAI_API_CERTIFICATE", path)]);
    let get = |scheme: &str, trust| {
        Request::new("GET", format!("{scheme}://{}/nowhere", program.address))
            .timeout(Duration::from_secs(30))
            .trust(trust)
            .send()
    };
    let response = get("https", Trust::Certificates(trusted)).unwrap();
    assert_eq!(response.status, 404);
    let (stranger, _) = certificate();
    assert!(get("https", Trust::Certificates(stranger)).is_err());
    assert!(get("http", Trust::System).is_err());
    // One that says nothing does not hold up the end.
    let _silent = TcpStream::connect(&program.address).unwrap();
    let log = program.end();
    assert!(log.contains("GET /nowhere from 127.0.0.1"), "{log}");
}

#[test]
fn a_certificate_that_cannot_be_used_ends_it_with_a_reason() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate().0).unwrap();
    for path in ["/nowhere/at/all.pem", file.path().to_str().unwrap()] {
        let output = command(&[("MIRAI_API_CERTIFICATE", path)])
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        let named = format!("the certificate and private key in {path} cannot be used: ");
        assert!(text.contains(&named), "{text}");
    }
}

#[test]
fn settings_that_cannot_be_used_end_it_with_a_reason() {
    let output = command(&[("MIRAI_WORKERS", "many")]).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("MIRAI_WORKERS must be a number of workers, not `many`"),
        "{text}"
    );
}
