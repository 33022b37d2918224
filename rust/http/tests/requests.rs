//! Requests to servers of the tests' own: what is sent, what comes back, and why nothing does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mirai_http::{HttpError, Request, Trust};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// A guard against hanging.
const LONG: Duration = Duration::from_secs(30);

/// Answers one request with these bytes; gives what it was sent.
fn serve(answer: &'static [u8]) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        converse(stream, answer)
    });
    (port, server)
}

fn converse(mut stream: impl Read + Write, answer: &[u8]) -> String {
    let asked = read_request(&mut stream);
    stream.write_all(answer).unwrap();
    stream.flush().unwrap();
    asked
}

fn read_request(stream: &mut impl Read) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        reader.read_line(&mut head).unwrap();
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
    head + &String::from_utf8(body).unwrap()
}

fn to(port: u16) -> Request {
    Request::new("GET", format!("http://127.0.0.1:{port}/path?x=1")).timeout(LONG)
}

#[test]
fn method_path_headers_and_body_are_sent_and_the_answer_comes_back() {
    let (port, server) =
        serve(b"HTTP/1.1 201 Created\r\nX-Made: yes\r\nContent-Length: 4\r\n\r\nmade");
    let url = format!("http://127.0.0.1:{port}/path?x=1");
    let response = Request::new("POST", url)
        .timeout(LONG)
        .header("Authorization", "Bearer abc")
        .body("{\"n\":1}")
        .send()
        .unwrap();
    assert_eq!((response.status, response.text().as_str()), (201, "made"));
    assert!(response.is_success());
    assert!(
        response
            .headers
            .contains(&("x-made".to_owned(), "yes".to_owned()))
    );
    let asked = server.join().unwrap();
    assert!(asked.starts_with("POST /path?x=1 HTTP/1.1\r\n"), "{asked}");
    assert!(
        asked
            .to_lowercase()
            .contains("\r\nauthorization: bearer abc\r\n"),
        "{asked}"
    );
    assert!(asked.ends_with("\r\n\r\n{\"n\":1}"), "{asked}");
}

#[test]
fn an_answer_of_any_status_is_an_answer() {
    for (answer, status) in [
        (
            &b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"[..],
            404,
        ),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", 503),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 2\r\n\r\nno",
            302,
        ),
    ] {
        let (port, server) = serve(answer);
        let response = to(port).send().unwrap();
        assert_eq!((response.status, response.text().as_str()), (status, "no"));
        assert!(!response.is_success());
        server.join().unwrap();
    }
}

#[test]
fn what_fails_says_why() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    assert!(matches!(to(closed).send(), Err(HttpError::Connection(_))));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let error = to(port)
        .timeout(Duration::from_millis(50))
        .send()
        .unwrap_err();
    assert!(matches!(error, HttpError::Timeout(_)), "{error:?}");
    let (port, server) = serve(b"nothing of the kind\r\n\r\n");
    assert!(matches!(to(port).send(), Err(HttpError::Protocol(_))));
    server.join().unwrap();
    let (port, server) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlong");
    assert!(matches!(
        to(port).limit(3).send(),
        Err(HttpError::TooLong(3))
    ));
    server.join().unwrap();
    for url in ["", "nowhere", "http://", "http://a b/", "ftp://127.0.0.1/"] {
        assert!(
            Request::new("GET", url).timeout(LONG).send().is_err(),
            "{url}"
        );
    }
    let header = to(closed).header("X", "two\nlines").send();
    assert!(matches!(header, Err(HttpError::Request(_))));
}

#[test]
fn a_server_proves_to_be_the_host_unless_anyone_will_do() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pem = own.cert.pem();
    let config = Arc::new(tls_config(&own));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            answer_by_tls(stream.unwrap(), &config);
        }
    });
    let send = |host: &str, trust| {
        Request::new("GET", format!("https://{host}:{port}/"))
            .timeout(LONG)
            .trust(trust)
            .send()
    };
    let error = send("localhost", Trust::System).unwrap_err();
    assert!(matches!(error, HttpError::Tls(_)), "{error:?}");
    let error = send("127.0.0.1", Trust::Certificates(pem.clone())).unwrap_err();
    assert!(matches!(error, HttpError::Tls(_)), "{error:?}");
    assert_eq!(
        send("localhost", Trust::Certificates(pem)).unwrap().text(),
        "sure"
    );
    assert_eq!(send("localhost", Trust::Anyone).unwrap().text(), "sure");
    let none = send("localhost", Trust::Certificates("none".to_owned()));
    assert!(matches!(none, Err(HttpError::Certificates)));
    server.join().unwrap();
}

fn tls_config(own: &rcgen::CertifiedKey<rcgen::KeyPair>) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap()
}

/// A client that does not trust the server ends the connection before it has asked anything.
fn answer_by_tls(mut stream: TcpStream, config: &Arc<rustls::ServerConfig>) {
    let mut connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut stream).is_err() {
            return;
        }
    }
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    if tls.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsure")
            .unwrap();
    }
}
