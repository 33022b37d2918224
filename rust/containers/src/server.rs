//! HTTP: connections, the limits of what they may send, and the end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::api::{Api, Asked};
use crate::journal::{Entry, utc};

/// Bodies are an address and two numbers.
const MAX_BODY: usize = 64 << 10;
/// For a caller to send its request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// More callers than this at once wait until others have gone.
const MAX_CONNECTIONS: usize = 256;
/// For requests in progress once the API is asked to leave.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// Serves callers until `asked_to_leave` is done; requests in progress then have some seconds more.
pub async fn serve(listener: TcpListener, api: Api, asked_to_leave: impl Future<Output = ()>) {
    let api = Arc::new(api);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
        let (api, leave) = (Arc::clone(&api), leave.clone());
        tokio::spawn(async move {
            attend(stream, from, api, leave).await;
            drop(place);
        });
    }
    drop(leave);
    leaving.send_replace(true);
    let _ = tokio::time::timeout(LEAVE_PATIENCE, leaving.closed()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => Some((stream, from.ip().to_canonical(), place)),
        Err(error) => {
            eprintln!("mirai-containers: a caller could not be let in: {error}");
            // Out of descriptors, perhaps: at once again would be a busy loop.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn attend(stream: TcpStream, from: IpAddr, api: Arc<Api>, mut leave: watch::Receiver<bool>) {
    let service = service_fn(|request| respond(request, from, Arc::clone(&api)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a connection ends is the caller's affair.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = leave.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn respond(
    request: Request<Incoming>,
    from: IpAddr,
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
        from,
        received,
    };
    let body = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(REQUEST_PATIENCE, body).await {
        Ok(Ok(body)) => asked.body = body.to_bytes().to_vec(),
        Ok(Err(error)) => {
            return Ok(unread(
                &asked,
                StatusCode::PAYLOAD_TOO_LARGE,
                &error.to_string(),
            ));
        }
        Err(_) => {
            return Ok(unread(
                &asked,
                StatusCode::REQUEST_TIMEOUT,
                "the body has not come",
            ));
        }
    }
    // A task of its own: what has been begun is finished, and logged, also when the caller does not wait for the reply.
    let answering = tokio::spawn(async move {
        let reply = api.answer(&asked).await;
        reply.entry.write();
        reply
    });
    let Ok(reply) = answering.await else {
        let body = Map::from_iter([("error".to_owned(), json!("internal error"))]);
        return Ok(json_response(500, &body));
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
    let body = Map::from_iter([
        ("error".to_owned(), json!(why)),
        ("received_at".to_owned(), json!(utc(asked.received))),
        ("from".to_owned(), json!(asked.from.to_string())),
    ]);
    json_response(status.as_u16(), &body)
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
