//! HTTP requests of R's: sent from a thread, so that R can be interrupted meanwhile; and JSON, the language of what is sent.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use mirai_http::{HttpError, Request, Trust};
use mirai_hub::ErrorCode;
use mirai_launcher::{is_secret_name, without_secrets};
use serde_json::Value;

use crate::rapi::{Failure, Scope, Sexp};
use crate::sys::start_thread;
use crate::wait::interruptibly;

/// Lists within lists beyond this are no answer that anything here asks for.
const MAX_DEPTH: usize = 64;

/// Entry: sends a request and returns its answer, a list of the status, the headers and the body as text. `names` and `values`
/// are its headers, `body` a string or `NULL`, `seconds` the time for all of it. `trust` is `TRUE` for those that the system
/// trusts, `FALSE` for anyone, or a string with certificates as PEM. An answer of any status is one.
#[allow(clippy::too_many_arguments)]
pub(crate) fn http_request<'r>(
    scope: &'r Scope,
    method: Sexp<'r>,
    url: Sexp<'r>,
    names: Sexp<'r>,
    values: Sexp<'r>,
    body: Sexp<'r>,
    seconds: Sexp<'r>,
    trust: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let timeout = seconds.seconds(scope, "seconds")?;
    let trust = match trust.logical(scope, "trust") {
        Ok(Some(false)) => Trust::Anyone,
        Ok(_) => Trust::System,
        Err(_) => Trust::Certificates(trust.string(scope, "trust")?),
    };
    let mut request = Request::new(method.string(scope, "method")?, url.string(scope, "url")?)
        .timeout(timeout)
        .trust(trust);
    let names = names.strings(scope, "names")?;
    for (name, value) in names.iter().zip(values.strings(scope, "values")?) {
        request = request.header(name, value);
    }
    if !body.is_null() {
        request = request.body(body.string(scope, "body")?);
    }
    let response = send(scope, request)?;
    let names: Vec<&str> = response.headers.iter().map(|(name, _)| &**name).collect();
    let values: Vec<&str> = response.headers.iter().map(|(_, value)| &**value).collect();
    let headers = scope.strings(&values)?;
    scope.set_attr(headers, c"names", scope.strings(&names)?)?;
    // R's strings end at a NUL.
    let text = response.text().replace('\0', "");
    let parts = [
        scope.integer(response.status.into())?,
        headers,
        scope.string(&text)?,
    ];
    Ok(scope.named_list(&["status", "headers", "body"], &parts)?)
}

/// After an interrupt the thread comes to its end by itself, within the time of the request.
fn send(scope: &Scope, request: Request) -> Result<mirai_http::Response, Failure> {
    let (sender, answer) = sync_channel(1);
    let started = start_thread("mirai-http", move || drop(sender.send(request.send())));
    started.map_err(|error| Failure::error(format!("no thread for a request: {error}")))?;
    let result = interruptibly(scope, |slice| match answer.recv_timeout(slice) {
        Ok(result) => Some(Some(result)),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(None),
    })?;
    match result {
        Some(result) => result.map_err(failure),
        None => Err(Failure::Panic("a request has no result".to_owned())),
    }
}

fn failure(error: HttpError) -> Failure {
    let code = match &error {
        HttpError::Timeout(_) => ErrorCode::TIMED_OUT,
        HttpError::UnknownHost => ErrorCode::NO_ADDRESS,
        HttpError::Connection(why) if why.kind() == std::io::ErrorKind::ConnectionRefused => {
            ErrorCode::REFUSED
        }
        HttpError::Connection(_) => ErrorCode::UNREACHABLE,
        HttpError::Tls(_) => ErrorCode::UNAUTHENTICATED,
        HttpError::Certificates => ErrorCode::CRYPTOGRAPHIC,
        HttpError::Request(_) => ErrorCode::INVALID,
        HttpError::TooLong(_) | HttpError::Protocol(_) => ErrorCode::PROTOCOL,
    };
    Failure::coded_with(code, &error)
}

/// Entry: what a text in JSON stands for: objects are lists with names, arrays lists without, `null` is `NULL`.
pub(crate) fn json_read<'r>(scope: &'r Scope, text: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let text = text.string(scope, "text")?;
    let value = serde_json::from_str(&text)
        .map_err(|error| Failure::error(format!("this is not JSON: {error}")))?;
    to_r(scope, &value, MAX_DEPTH)
}

fn to_r<'r>(scope: &'r Scope, value: &Value, depth: usize) -> Result<Sexp<'r>, Failure> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Failure::error("JSON with too many lists within lists"));
    };
    Ok(match value {
        Value::Null => scope.null(),
        Value::Bool(value) => scope.logical(*value)?,
        Value::Number(value) => scope.doubles(&[value.as_f64().unwrap_or(f64::NAN)])?,
        Value::String(text) => scope.string(&text.replace('\0', ""))?,
        Value::Array(values) => {
            let values = values.iter().map(|value| to_r(scope, value, depth));
            scope.list(&values.collect::<Result<Vec<_>, _>>()?)?
        }
        Value::Object(fields) => {
            let values = fields.values().map(|value| to_r(scope, value, depth));
            let values = values.collect::<Result<Vec<_>, _>>()?;
            let names: Vec<String> = fields.keys().map(|name| name.replace('\0', "")).collect();
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            scope.named_list(&names, &values)?
        }
    })
}

/// Entry: strings as JSON has them, with their quotes.
pub(crate) fn json_quote<'r>(scope: &'r Scope, texts: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let texts = texts.strings(scope, "texts")?;
    let quoted: Vec<String> = texts
        .into_iter()
        .map(|text| Value::String(text).to_string())
        .collect();
    let quoted: Vec<&str> = quoted.iter().map(|text| &**text).collect();
    Ok(scope.strings(&quoted)?)
}

/// Entry: texts [without secrets](without_secrets).
pub(crate) fn hide_secrets<'r>(scope: &'r Scope, texts: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let texts = texts.strings(scope, "texts")?;
    let shown: Vec<String> = texts.iter().map(|text| without_secrets(text)).collect();
    let shown: Vec<&str> = shown.iter().map(|text| &**text).collect();
    Ok(scope.strings(&shown)?)
}

/// Entry: whether what has these names [is secret](is_secret_name).
pub(crate) fn are_secret_names<'r>(scope: &'r Scope, names: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let names = names.strings(scope, "names")?;
    let are: Vec<bool> = names.iter().map(|name| is_secret_name(name)).collect();
    Ok(scope.logicals(&are)?)
}
