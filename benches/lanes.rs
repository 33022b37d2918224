//! The lanes alone, without frames, hub and R: 200 bytes to another process (this program, started again) and back, and
//! 64 MB to it, over each of them.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use mirai_lanes::{
    Access, Address, Connection, Credentials, Dialled, Listener, Patience, dial, listen, new_token,
};
use tokio::runtime::Builder;

const URL: &str = "MIRAI_BENCH_URL";
const CREDENTIALS: &str = "MIRAI_BENCH_CREDENTIALS";
const SMALL: usize = 200;
const LARGE: usize = 64 << 20;

/// Before each message: its length, and that of the answer.
type Head = [u8; 16];

fn head(len: usize, answer: usize) -> Head {
    (len as u128 | (answer as u128) << 64).to_le_bytes()
}

/// Answers to messages until the hub is gone.
fn echo_all(hub: &dyn Dialled) -> io::Result<()> {
    let mut bytes = vec![0; 256 * 1024];
    loop {
        let mut head = Head::default();
        read(hub, &mut head)?;
        let both = u128::from_le_bytes(head);
        let (mut missing, answer) = (both as u64 as usize, (both >> 64) as usize);
        while missing > 0 {
            let most = missing.min(bytes.len());
            match hub.read(&mut bytes[..most], None)? {
                0 => return Ok(()),
                count => missing -= count,
            }
        }
        let mut rest = &bytes[..answer];
        while !rest.is_empty() {
            rest = &rest[hub.write(&[IoSlice::new(rest)])?..];
        }
    }
}

fn read(hub: &dyn Dialled, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match hub.read(into, None)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => into = &mut into[count..],
        }
    }
    Ok(())
}

async fn exchange(daemon: &dyn Connection, message: &[u8], answer: usize) -> io::Result<()> {
    let head = head(message.len(), answer);
    let mut parts = [IoSlice::new(&head), IoSlice::new(message)];
    let mut parts = &mut parts[..];
    while !parts.is_empty() {
        poll_fn(|cx| daemon.poll_writable(cx)).await?;
        match daemon.try_write(parts) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            count => IoSlice::advance_slices(&mut parts, count?),
        }
    }
    let mut bytes = [0; SMALL];
    let mut missing = answer;
    while missing > 0 {
        poll_fn(|cx| daemon.poll_readable(cx)).await?;
        match daemon.try_read(&mut bytes[..missing]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            count => missing -= count?,
        }
    }
    Ok(())
}

fn start_daemon(listener: &Listener, credentials: &Credentials) -> Child {
    Command::new(std::env::current_exe().expect("our own path"))
        .env(URL, listener.address().to_string())
        .env(CREDENTIALS, credentials.to_text())
        .spawn()
        .expect("a daemon")
}

fn measure(
    criterion: &mut Criterion,
    name: &str,
    address: Address,
    (access, credentials): (Access, Credentials),
) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (daemon, mut process) = runtime.block_on(async {
        let mut listener = listen(&address, &access).expect("an address");
        let process = start_daemon(&listener, &credentials);
        let arrival = listener.accept().await.expect("a daemon");
        let proof = arrival.await.expect("one that speaks");
        (proof.await.expect("one that is let in"), process)
    });
    let mut group = criterion.benchmark_group(name);
    let small = [1; SMALL];
    group.bench_function("round trip of 200 B", |bench| {
        bench.iter(|| {
            let exchanged = runtime.block_on(exchange(&*daemon, &small, SMALL));
            exchanged.expect("a daemon");
        });
    });
    group.sample_size(10);
    group.throughput(Throughput::Bytes(LARGE as u64));
    let large = vec![1; LARGE];
    group.bench_function("64 MB to the daemon", |bench| {
        bench.iter_batched(
            || (),
            |()| {
                let exchanged = runtime.block_on(exchange(&*daemon, &large, 1));
                exchanged.expect("a daemon");
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    daemon.shutdown();
    let _ = process.wait();
}

fn with_token() -> (Access, Credentials) {
    let token = new_token().expect("random numbers");
    let access = Access {
        tls: None,
        token: Some(token.clone()),
    };
    let credentials = Credentials {
        tls: None,
        token: Some(token),
    };
    (access, credentials)
}

fn main() {
    if let Ok(url) = std::env::var(URL) {
        let address = Address::parse(&url).expect("a URL");
        let text = std::env::var(CREDENTIALS).unwrap_or_default();
        let credentials = match text.as_str() {
            "" => Credentials::default(),
            text => Credentials::parse(text, ""),
        };
        let mut never = || false;
        let mut patience = Patience::new(Duration::from_secs(30), &mut never);
        let hub = dial(&address, &credentials, &mut patience).expect("a hub");
        // The hub's end ends it as well.
        let _ = echo_all(&*hub);
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let open = || (Access::default(), Credentials::default());
    let tls = || Access::single_use("127.0.0.1").expect("certificates");
    let network = |scheme| Address::parse(&format!("{scheme}://127.0.0.1:0")).expect("a URL");
    let local = Address::unique(Path::new("/tmp")).expect("an address");
    measure(&mut criterion, "local", local, open());
    measure(&mut criterion, "tcp", network("tcp"), open());
    measure(&mut criterion, "tcp, token", network("tcp"), with_token());
    measure(&mut criterion, "tls+tcp", network("tls+tcp"), tls());
    measure(&mut criterion, "ws", network("ws"), open());
    measure(&mut criterion, "wss", network("wss"), tls());
    criterion.final_summary();
}
