//! A page on this machine that is shown to the user's browser once, for the cookie that it sends along.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::rapi::{Failure, Handle, Scope, Sexp};
use crate::sys::start_thread;
use crate::wait::interruptibly;

/// A request has no longer head than this.
const MOST_BYTES: u64 = 64 << 10;

/// How long one visitor may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A page that waits for visitors.
struct Page {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    cookies: Mutex<Receiver<String>>,
}

impl Handle for Page {
    const NAME: &'static str = "page";
}

impl Drop for Page {
    fn drop(&mut self) {
        // Its thread waits for a visitor: this is one.
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
    }
}

/// Entry: a page with this text, on a free port of the loopback interface: a list of its `port` and of `page`.
pub(crate) fn cookie_page<'r>(scope: &'r Scope, text: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let text = text.string(scope, "text")?;
    let failed = |error: io::Error| Failure::error(format!("no page can be shown: {error}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (tell, cookies) = sync_channel(1);
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_over);
    let serve = move || {
        for visitor in listener.incoming() {
            if seen.load(Ordering::Relaxed) {
                return;
            }
            // A browser asks for other things, too, and so may anybody else.
            if let Ok(Some(cookie)) = visitor.and_then(|stream| show(stream, &text)) {
                let _ = tell.send(cookie);
                return;
            }
        }
    };
    start_thread("mirai-page", serve).map_err(failed)?;
    let page = Page {
        address,
        is_over,
        cookies: Mutex::new(cookies),
    };
    let values = [
        scope.integer(address.port().into())?,
        scope.pointer(page, None)?,
    ];
    Ok(scope.named_list(&["port", "page"], &values)?)
}

/// Shows the page to a visitor, and takes the cookie if there is one.
fn show(mut stream: TcpStream, text: &str) -> io::Result<Option<String>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut cookie = None;
    for line in BufReader::new((&stream).take(MOST_BYTES)).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("cookie") => {
                cookie = Some(value.trim().to_owned());
            }
            _ => {}
        }
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close";
    write!(
        stream,
        "{head}\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )?;
    Ok(cookie)
}

/// Entry: the cookie of the first visitor of a page that has one; `NULL` if none has come within `seconds`.
pub(crate) fn cookie_wait<'r>(
    scope: &'r Scope,
    page: Sexp<'r>,
    seconds: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let page: &Page = page.handle(scope, "page")?;
    let limit = seconds.seconds(scope, "seconds")?;
    let begun = Instant::now();
    let cookie = interruptibly(scope, |slice| {
        match page.cookies.lock().recv_timeout(slice) {
            Ok(cookie) => Some(Some(cookie)),
            Err(RecvTimeoutError::Timeout) if begun.elapsed() < limit => None,
            Err(_) => Some(None),
        }
    })?;
    match cookie {
        Some(cookie) => Ok(scope.string(&cookie)?),
        None => Ok(scope.null()),
    }
}
