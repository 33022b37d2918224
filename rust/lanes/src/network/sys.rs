//! NNG's byte streams behind safe types: all `unsafe` of the network lane.
//!
//! An [`Operation`] is one thing that NNG does in the background: a read, a write, an accept. It owns what NNG works with
//! meanwhile, the buffer and a count of its owner, so nothing that NNG may touch goes away before the operation has
//! ended. Its end is told by a function on one of NNG's threads, called without any of NNG's locks.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::failure::Failure;

/// NNG's threads: two for callbacks, which only copy states and wake others, and one of each other kind. They start with
/// the first listener or dialler, and not before.
const INIT_NUM_TASK_THREADS: nng::nng_init_parameter = 1;
const INIT_NUM_EXPIRE_THREADS: nng::nng_init_parameter = 2;
const INIT_NUM_POLLER_THREADS: nng::nng_init_parameter = 3;
const INIT_NUM_RESOLVER_THREADS: nng::nng_init_parameter = 4;

const NODELAY: &CStr = c"tcp-nodelay";
const REMOTE_ADDRESS: &CStr = c"remote-address";
const WS_RECEIVE_MOST: &CStr = c"ws:rxframe-max";

/// Longest WebSocket frame, which is all that is ever sent at once: a peer that announces one costs this much before it
/// has proved anything.
const WS_FRAME: usize = super::outgoing::MOST;

const AF_INET: u16 = 3;
const AF_INET6: u16 = 4;

fn check(code: c_int) -> Result<(), Failure> {
    Failure::of(code).map_or(Ok(()), Err)
}

/// Sets the number of NNG's threads and starts them with all signals blocked, which they inherit: R's handlers run on
/// R's thread only.
fn with_nng<T>(start: impl FnOnce() -> T) -> T {
    static PARAMETERS: std::sync::Once = std::sync::Once::new();
    PARAMETERS.call_once(|| {
        for (parameter, count) in [
            (INIT_NUM_TASK_THREADS, 2),
            (INIT_NUM_EXPIRE_THREADS, 1),
            (INIT_NUM_POLLER_THREADS, 1),
            (INIT_NUM_RESOLVER_THREADS, 1),
        ] {
            // SAFETY: plain numbers; only this call sets any, and NNG has not been used yet.
            unsafe { nng::nng_init_set_parameter(parameter, count) };
        }
    });
    with_signals_blocked(start)
}

/// Runs what starts a thread with all signals blocked, which the thread inherits.
pub(super) fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    let _blocked = BlockedSignals::new();
    start()
}

/// All signals are blocked on this thread while this lives.
struct BlockedSignals {
    #[cfg(unix)]
    before: Option<libc::sigset_t>,
}

impl BlockedSignals {
    #[cfg(unix)]
    fn new() -> BlockedSignals {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: sigfillset writes `all` before it is read, pthread_sigmask writes `before` when it answers 0.
        let before = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            let done =
                libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) == 0;
            done.then(|| before.assume_init())
        };
        BlockedSignals { before }
    }

    #[cfg(not(unix))]
    fn new() -> BlockedSignals {
        BlockedSignals {}
    }
}

#[cfg(unix)]
impl Drop for BlockedSignals {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: a mask that pthread_sigmask has written.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
        }
    }
}

/// A connected stream of bytes.
#[derive(Debug)]
pub(super) struct Stream(NonNull<nng::nng_stream>);

// SAFETY: NNG's streams may be used from any thread, several at a time.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// Ends the stream in both directions: operations on it end with an error.
    pub(super) fn close(&self) {
        // SAFETY: a stream that lives; closing twice does nothing more.
        unsafe { nng::nng_stream_close(self.0.as_ptr()) };
    }

    /// The peer's address; `None` once the connection is broken.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        let mut address = MaybeUninit::<nng::nng_sockaddr>::zeroed();
        // SAFETY: NNG writes an address of its own type; all zeroes are one, too, of no family.
        let address = unsafe {
            let code = nng::nng_stream_get_addr(
                self.0.as_ptr(),
                REMOTE_ADDRESS.as_ptr(),
                address.as_mut_ptr(),
            );
            check(code).ok()?;
            address.assume_init()
        };
        read_address(&address)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the only owner; operations hold a count of whoever holds the stream, so none is under way. NNG frees it
        // later, on a thread of its own.
        unsafe { nng::nng_stream_free(self.0.as_ptr()) };
    }
}

fn read_address(address: &nng::nng_sockaddr) -> Option<SocketAddr> {
    // SAFETY: all variants begin with the family, which says which one was written; all are plain numbers.
    unsafe {
        match address.s_family {
            AF_INET => {
                let v4 = address.s_in;
                let ip = Ipv4Addr::from(v4.sa_addr.to_ne_bytes());
                Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sa_port)))
            }
            AF_INET6 => {
                let v6 = address.s_in6;
                let ip = Ipv6Addr::from(v6.sa_addr).to_canonical();
                Some(SocketAddr::new(ip, u16::from_be(v6.sa_port)))
            }
            _ => None,
        }
    }
}

fn milliseconds(time: Duration) -> nng::nng_duration {
    nng::nng_duration::try_from(time.as_millis()).unwrap_or(nng::nng_duration::MAX)
}

/// A dialler of streams.
#[derive(Debug)]
pub(super) struct Dialer(NonNull<nng::nng_stream_dialer>);

// SAFETY: NNG's diallers may be used from any thread, several at a time.
unsafe impl Send for Dialer {}
// SAFETY: as above.
unsafe impl Sync for Dialer {}

impl Dialer {
    /// To `url`, whose host is an IP address.
    pub(super) fn new(url: &str, tls: Option<&TlsConfig>) -> Result<Dialer, Failure> {
        let url = CString::new(url).map_err(|_| Failure::INVALID)?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is written before it is read, `url` ends with a NUL.
        let code = with_nng(|| unsafe { nng::nng_stream_dialer_alloc(&mut raw, url.as_ptr()) });
        check(code)?;
        let dialer = Dialer(NonNull::new(raw).ok_or(Failure::NO_MEMORY)?);
        // SAFETY: the dialler lives, names end with a NUL, NNG counts the configuration as its own. That a transport lacks one
        // of the first two options is no failure.
        unsafe {
            nng::nng_stream_dialer_set_bool(raw, NODELAY.as_ptr(), true);
            nng::nng_stream_dialer_set_size(raw, WS_RECEIVE_MOST.as_ptr(), WS_FRAME);
            if let Some(tls) = tls {
                check(nng::nng_stream_dialer_set_ptr(
                    raw,
                    nng::NNG_OPT_TLS_CONFIG.as_ptr().cast(),
                    tls.0.as_ptr().cast(),
                ))?;
            }
        }
        Ok(dialer)
    }

    /// It makes no connection any more; a pending operation ends with an error. That of a WebSocket must not be cancelled in
    /// place of this: NNG 1.12 looks at it under two locks then, and may end it twice, which ends the process.
    pub(super) fn close(&self) {
        // SAFETY: the dialler lives; closing twice does nothing more.
        unsafe { nng::nng_stream_dialer_close(self.0.as_ptr()) };
    }
}

impl Drop for Dialer {
    fn drop(&mut self) {
        // SAFETY: the only owner; no operation is under way, as each holds a count of whoever holds the dialler.
        unsafe { nng::nng_stream_dialer_free(self.0.as_ptr()) };
    }
}

/// # Safety
/// `aio` has ended as a dial or an accept, with success, and its output has not been taken before.
unsafe fn output_stream(aio: *mut nng::nng_aio) -> Result<Stream, Failure> {
    // SAFETY: as the caller says.
    let stream = unsafe { nng::nng_aio_get_output(aio, 0) };
    NonNull::new(stream.cast())
        .map(Stream)
        .ok_or(Failure::NO_MEMORY)
}

/// The TLS configuration of one side: its own certificate, and which ones it trusts.
#[derive(Debug)]
pub(super) struct TlsConfig(NonNull<nng::nng_tls_config>);

// SAFETY: NNG's configurations have a lock, and are not changed once they are used.
unsafe impl Send for TlsConfig {}
// SAFETY: as above.
unsafe impl Sync for TlsConfig {}

impl TlsConfig {
    /// For one that dials: the peer's certificate has to be for `host`.
    pub(super) fn client(host: &str) -> Result<TlsConfig, Failure> {
        let config = Self::new(nng::nng_tls_mode::NNG_TLS_MODE_CLIENT)?;
        let host = CString::new(host).map_err(|_| Failure::INVALID)?;
        // SAFETY: the configuration lives, the name ends with a NUL, and NNG copies it.
        check(unsafe { nng::nng_tls_config_server_name(config.0.as_ptr(), host.as_ptr()) })?;
        config.require_peer()?;
        Ok(config)
    }

    fn new(mode: nng::nng_tls_mode::Type) -> Result<TlsConfig, Failure> {
        use nng::nng_tls_version::{NNG_TLS_1_2, NNG_TLS_1_3};
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is written before it is read.
        check(with_nng(|| unsafe {
            nng::nng_tls_config_alloc(&mut raw, mode)
        }))?;
        let config = TlsConfig(NonNull::new(raw).ok_or(Failure::NO_MEMORY)?);
        // SAFETY: the configuration lives.
        check(unsafe { nng::nng_tls_config_version(raw, NNG_TLS_1_2, NNG_TLS_1_3) })?;
        Ok(config)
    }

    /// A peer without a certificate that is trusted gets no connection.
    pub(super) fn require_peer(&self) -> Result<(), Failure> {
        let mode = nng::nng_tls_auth_mode::NNG_TLS_AUTH_MODE_REQUIRED;
        // SAFETY: the configuration lives.
        check(unsafe { nng::nng_tls_config_auth_mode(self.0.as_ptr(), mode) })
    }

    /// Trusts peers whose certificate is one of these or signed by one, and is not in the list of revoked ones.
    pub(super) fn trust(&self, certificates: &CStr, revoked: Option<&CStr>) -> Result<(), Failure> {
        let revoked = revoked.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the configuration lives, texts end with a NUL, and NNG copies what is in them.
        check(unsafe {
            nng::nng_tls_config_ca_chain(self.0.as_ptr(), certificates.as_ptr(), revoked)
        })
    }

    /// Shows this certificate, with the chain above it, to peers.
    pub(super) fn own(
        &self,
        certificate: &CStr,
        key: &CStr,
        password: Option<&CStr>,
    ) -> Result<(), Failure> {
        let password: *const c_char = password.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the configuration lives, texts end with a NUL, and NNG copies what is in them.
        check(unsafe {
            nng::nng_tls_config_own_cert(
                self.0.as_ptr(),
                certificate.as_ptr(),
                key.as_ptr(),
                password,
            )
        })
    }
}

impl Drop for TlsConfig {
    fn drop(&mut self) {
        // SAFETY: gives up this count of it.
        unsafe { nng::nng_tls_config_free(self.0.as_ptr()) };
    }
}

const IDLE: u8 = 0;
const UNDER_WAY: u8 = 1;
const ENDED: u8 = 2;
/// Between the others: one thread has it.
const HELD: u8 = 3;

/// An asynchronous operation of NNG on behalf of a `T`; one at a time.
pub(super) struct Operation<T> {
    aio: NonNull<nng::nng_aio>,
    context: NonNull<Context<T>>,
}

/// What the callback gets. It lives as long as the operation's owner.
struct Context<T> {
    state: AtomicU8,
    ended: fn(Arc<T>),
    /// A count of the owner while an operation is under way. Touched only by who has put the state to `HELD`, and by the
    /// callback.
    owner: UnsafeCell<Option<Arc<T>>>,
    /// What NNG works on; touched likewise.
    buffer: UnsafeCell<Vec<u8>>,
}

// SAFETY: the state says who may touch the parts, which may go to other threads themselves.
unsafe impl<T: Send + Sync> Send for Operation<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Operation<T> {}

impl<T> std::fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation").finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Operation<T> {
    /// An operation of nothing yet; `ended` is called whenever one has ended.
    ///
    /// `ended` must not panic, must not wait for this operation, and takes the result by [`take`](Self::take) or
    /// [`take_stream`](Self::take_stream).
    pub(super) fn new(ended: fn(Arc<T>)) -> Result<Operation<T>, Failure> {
        let context = Box::new(Context {
            state: AtomicU8::new(IDLE),
            ended,
            owner: UnsafeCell::new(None),
            buffer: UnsafeCell::new(Vec::new()),
        });
        let context = NonNull::from(Box::leak(context));
        let mut aio = ptr::null_mut();
        // SAFETY: `aio` is written before it is read. NNG calls `callback` only for operations that are started below,
        // and the context outlives these.
        let code = with_nng(|| unsafe {
            nng::nng_aio_alloc(&mut aio, Some(callback::<T>), context.as_ptr().cast())
        });
        let aio = check(code).and_then(|()| NonNull::new(aio).ok_or(Failure::NO_MEMORY));
        match aio {
            Ok(aio) => Ok(Operation { aio, context }),
            Err(failure) => {
                // SAFETY: made above by a box, and known to nobody else.
                drop(unsafe { Box::from_raw(context.as_ptr()) });
                Err(failure)
            }
        }
    }

    /// Reads some bytes into `buffer`; they go to its beginning.
    pub(super) fn receive(&self, stream: &Stream, buffer: Vec<u8>, owner: Arc<T>) {
        self.start(buffer, 0, owner, |aio| {
            // SAFETY: both live; the owner, which holds the stream, is held until the operation has ended.
            unsafe { nng::nng_stream_recv(stream.0.as_ptr(), aio) };
        });
    }

    /// Writes some of the bytes of `buffer` from `from` on.
    pub(super) fn send(&self, stream: &Stream, buffer: Vec<u8>, from: usize, owner: Arc<T>) {
        self.start(buffer, from, owner, |aio| {
            // SAFETY: as for `receive`.
            unsafe { nng::nng_stream_send(stream.0.as_ptr(), aio) };
        });
    }

    /// Makes a connection; [`take_stream`](Self::take_stream) has it.
    pub(super) fn dial(&self, dialer: &Dialer, owner: Arc<T>) {
        self.start(Vec::new(), 0, owner, |aio| {
            // SAFETY: both live; the owner, which holds the dialler, is held until the operation has ended.
            unsafe { nng::nng_stream_dialer_dial(dialer.0.as_ptr(), aio) };
        });
    }

    /// Waits for this time.
    pub(super) fn sleep(&self, time: Duration, owner: Arc<T>) {
        self.start(Vec::new(), 0, owner, |aio| {
            // SAFETY: the operation lives, as its owner is held until it has ended.
            unsafe { nng::nng_sleep_aio(milliseconds(time), aio) };
        });
    }

    fn start(
        &self,
        buffer: Vec<u8>,
        from: usize,
        owner: Arc<T>,
        begin: impl FnOnce(*mut nng::nng_aio),
    ) {
        // SAFETY: the context lives as long as `self`.
        let context = unsafe { self.context.as_ref() };
        let before =
            context
                .state
                .compare_exchange(IDLE, HELD, Ordering::Acquire, Ordering::Relaxed);
        assert!(
            before.is_ok(),
            "invariant: an operation is not started while it is under way"
        );
        // SAFETY: `HELD` is ours alone.
        let buffer = unsafe {
            *context.owner.get() = Some(owner);
            let slot = &mut *context.buffer.get();
            *slot = buffer;
            slot
        };
        let part = buffer.get_mut(from..).unwrap_or_default();
        let part = nng::nng_iov {
            iov_buf: part.as_mut_ptr().cast(),
            iov_len: part.len(),
        };
        let aio = self.aio.as_ptr();
        // SAFETY: the operation lives and is not under way. The bytes stay where they are: the vector is not touched
        // until the operation has ended, and NNG writes no more than the length given.
        unsafe { nng::nng_aio_set_iov(aio, 1, &part) };
        context.state.store(UNDER_WAY, Ordering::Release);
        begin(aio);
    }

    /// The buffer and the number of bytes read or written, once; `None` unless the operation has ended.
    pub(super) fn take(&self) -> Option<(Vec<u8>, Result<usize, Failure>)> {
        self.take_with(|aio| {
            // SAFETY: the operation has ended.
            unsafe { check(nng::nng_aio_result(aio)).map(|()| nng::nng_aio_count(aio)) }
        })
    }

    /// The connection that was taken in or made, once; `None` unless the operation has ended.
    pub(super) fn take_stream(&self) -> Option<Result<Stream, Failure>> {
        self.take_with(|aio| {
            // SAFETY: the operation has ended, and this happens once for each.
            unsafe { check(nng::nng_aio_result(aio)).and_then(|()| output_stream(aio)) }
        })
        .map(|(_, result)| result)
    }

    fn take_with<R>(&self, read: impl FnOnce(*mut nng::nng_aio) -> R) -> Option<(Vec<u8>, R)> {
        // SAFETY: the context lives as long as `self`.
        let context = unsafe { self.context.as_ref() };
        context
            .state
            .compare_exchange(ENDED, HELD, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let result = read(self.aio.as_ptr());
        // SAFETY: `HELD` is ours alone.
        let buffer = unsafe { std::mem::take(&mut *context.buffer.get()) };
        context.state.store(IDLE, Ordering::Release);
        Some((buffer, result))
    }

    /// Ends the operation that is under way, if there is one, with an error.
    pub(super) fn cancel(&self) {
        // SAFETY: the operation lives; without one under way nothing happens.
        unsafe { nng::nng_aio_cancel(self.aio.as_ptr()) };
    }

    /// Blocks until no operation is under way and its end has been told. Not to be called from `ended`.
    pub(super) fn wait(&self) {
        // SAFETY: the operation lives.
        unsafe { nng::nng_aio_wait(self.aio.as_ptr()) };
    }
}

impl<T> Drop for Operation<T> {
    fn drop(&mut self) {
        // SAFETY: nothing is under way, as that would hold the owner and thereby this. NNG frees the operation on a thread
        // of its own: this may be the last thing that its own callback does, which touches the context no more.
        unsafe {
            nng::nng_aio_reap(self.aio.as_ptr());
            drop(Box::from_raw(self.context.as_ptr()));
        }
    }
}

extern "C" fn callback<T: Send + Sync + 'static>(context: *mut c_void) {
    // SAFETY: the context given with the operation. The owner, which holds it, is alive until this function lets go of it.
    let (owner, ended) = unsafe {
        let context = &*context.cast::<Context<T>>();
        // The state is `UNDER_WAY` until this has ended: nobody else touches the owner.
        let owner = (*context.owner.get()).take();
        context.state.store(ENDED, Ordering::Release);
        (owner, context.ended)
    };
    if let Some(owner) = owner {
        ended(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mbed_tls_has_locks() {
        unsafe extern "C" {
            fn mbedtls_version_check_feature(feature: *const c_char) -> c_int;
        }
        // SAFETY: the name ends with a NUL, and nothing else is touched.
        let missing = unsafe { mbedtls_version_check_feature(c"MBEDTLS_THREADING_C".as_ptr()) };
        assert_eq!(missing, 0, "see CFLAGS in .cargo/config.toml");
    }
}
