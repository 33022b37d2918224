//! HTTP: connections, the limits of what they may send, and the end.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::api::{Api, Asked};
use crate::journal::{Entry, utc};
use crate::places::{Place, Places};
use crate::unanswered::Unanswered;

/// Bodies are an address, two numbers, and certificates.
const MAX_BODY: usize = 256 << 10;
/// For a caller to send its request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// More callers than this at once take the places of those who are not served.
const MAX_CONNECTIONS: usize = 256;
/// For requests in progress once the API is asked to leave.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// Serves callers, with `tls` by HTTPS, until `asked_to_leave` is done; requests in progress then have some seconds more.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    api: Api,
    asked_to_leave: impl Future<Output = ()>,
) {
    let api = Arc::new(api);
    let places = Places::new(MAX_CONNECTIONS);
    // The connections hold its receivers: it is known here when the last one has ended.
    let (leaving, leave) = watch::channel(false);
    let mut asked_to_leave = std::pin::pin!(asked_to_leave);
    loop {
        let accepted = tokio::select! {
            () = &mut asked_to_leave => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, from, place)) = accepted else {
            continue;
        };
        let (api, tls, leave) = (Arc::clone(&api), tls.clone(), leave.clone());
        tokio::spawn(async move {
            let caller = Caller { from, place };
            match tls {
                Some(tls) => attend_privately(stream, &tls, caller, api, leave).await,
                None => attend(stream, caller, api, leave).await,
            }
        });
    }
    drop(leave);
    leaving.send_replace(true);
    let _ = tokio::time::timeout(LEAVE_PATIENCE, leaving.closed()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Places>,
) -> Option<(TcpStream, IpAddr, Place)> {
    match listener.accept().await {
        Ok((stream, from)) => Some((stream, from.ip().to_canonical(), places.take().await?)),
        Err(error) => {
            eprintln!("mirai-containers: a caller could not be let in: {error}");
            // Out of descriptors, perhaps: at once again would be a busy loop.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

struct Caller {
    from: IpAddr,
    place: Place,
}

async fn attend_privately(
    stream: TcpStream,
    tls: &TlsAcceptor,
    caller: Caller,
    api: Arc<Api>,
    mut leave: watch::Receiver<bool>,
) {
    let shaken = tokio::time::timeout(REQUEST_PATIENCE, tls.accept(stream));
    let shaken = tokio::select! {
        shaken = shaken => shaken,
        () = caller.place.taken_away() => return,
        _ = leave.changed() => return,
    };
    let from = caller.from;
    match shaken {
        Ok(Ok(stream)) => attend(stream, caller, api, leave).await,
        Ok(Err(error)) => eprintln!("mirai-containers: no TLS with {from}: {error}"),
        Err(_) => eprintln!("mirai-containers: no TLS with {from}: nothing has come"),
    }
}

/// One request.
async fn attend(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    caller: Caller,
    api: Arc<Api>,
    mut leave: watch::Receiver<bool>,
) {
    let is_request = AtomicBool::new(false);
    let service = service_fn(|request| {
        is_request.store(true, Ordering::Relaxed);
        respond(request, &caller, Arc::clone(&api))
    });
    let io = Unanswered {
        stream: &mut stream,
        is_request: &is_request,
    };
    let mut connection = Box::pin(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_PATIENCE)
            .keep_alive(false)
            .serve_connection(TokioIo::new(io), service),
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = caller.place.taken_away() => return,
        _ = leave.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    drop(connection);
    // How a connection ends is the caller's affair, but what comes is answered and logged.
    if let Err(error) = ended
        && error.is_parse()
        && !is_request.load(Ordering::Relaxed)
    {
        let said = tokio::time::timeout(REQUEST_PATIENCE, refuse(stream, caller.from, &error));
        let _ = said.await;
    }
}

/// The answer to what is no request.
async fn refuse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    from: IpAddr,
    error: &hyper::Error,
) -> io::Result<()> {
    let received = SystemTime::now();
    let mut entry = Entry::new(received, "?", "?", from);
    entry.add(format_args!("refused (400): {error}"));
    entry.write();
    let body = Value::Object(refusal(&error.to_string(), received, from)).to_string();
    let length = body.len();
    let head =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let reply = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    // What is closed with something unread there takes the reply with it.
    let mut rest = stream.take(MAX_BODY as u64);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn respond(
    request: Request<Incoming>,
    caller: &Caller,
    api: Arc<Api>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let received = SystemTime::now();
    let (head, body) = request.into_parts();
    let authorization = head.headers.get(AUTHORIZATION);
    let mut asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        authorization: authorization.and_then(|value| Some(value.to_str().ok()?.to_owned())),
        body: Vec::new(),
        from: caller.from,
        received,
    };
    let body = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(REQUEST_PATIENCE, body).await {
        Ok(Ok(body)) => asked.body = body.to_bytes().to_vec(),
        Ok(Err(error)) => {
            let status = match error.is::<LengthLimitError>() {
                true => StatusCode::PAYLOAD_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            };
            return Ok(unread(&asked, status, &error.to_string()));
        }
        Err(_) => {
            return Ok(unread(
                &asked,
                StatusCode::REQUEST_TIMEOUT,
                "the body has not come",
            ));
        }
    }
    // Who may ask keeps its place meanwhile.
    let _served = api.admits(&asked).then(|| caller.place.serve());
    let from = asked.from;
    // A task of its own: what has been begun is finished, and logged, also when the caller does not wait for the reply.
    let answering = tokio::spawn(async move {
        let reply = api.answer(&asked).await;
        reply.entry.write();
        reply
    });
    let Ok(reply) = answering.await else {
        return Ok(json_response(
            500,
            &refusal("internal error", received, from),
        ));
    };
    let mut response = json_response(reply.status, &reply.body);
    if let Some(methods) = reply.allow {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(methods));
    }
    if reply.status == 401 {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Ok(response)
}

/// The response to a request whose body could not be read.
fn unread(asked: &Asked, status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut entry = Entry::new(asked.received, &asked.method, &asked.path, asked.from);
    entry.add(format_args!("refused ({}): {why}", status.as_u16()));
    entry.write();
    json_response(status.as_u16(), &refusal(why, asked.received, asked.from))
}

/// The fields of a reply to what does not get as far as the API.
fn refusal(why: &str, received: SystemTime, from: IpAddr) -> Map<String, Value> {
    Map::from_iter([
        ("error".to_owned(), json!(why)),
        ("received_at".to_owned(), json!(utc(received))),
        ("from".to_owned(), json!(from.to_string())),
    ])
}

fn json_response(status: u16, body: &Map<String, Value>) -> Response<Full<Bytes>> {
    let text = Value::Object(body.clone()).to_string();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
