//! The network lane over loopback: certificates and tokens, and those who have none or wrong ones.

mod common;

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use common::*;
use mirai_lanes::{
    Access, Address, Connection, Credentials, DaemonTls, Dialled, HandshakeError, HubTls,
    LaneError, Refusal, new_token,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

const TLS: [&str; 2] = ["tls+tcp://127.0.0.1:0", "wss://127.0.0.1:0"];
const PLAIN: [&str; 2] = ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"];

fn token_only() -> (Access, Credentials) {
    let token = new_token().unwrap();
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

type DaemonsEnd = Result<Arc<dyn Dialled>, LaneError>;
type HubsEnd = Result<Box<dyn Connection>, LaneError>;

/// How both sides end: what the daemon gets, and what the hub says of it. A hub is never told of who fails TLS or HTTP at a
/// WebSocket.
fn meet(url: &str, access: &Access, credentials: Credentials) -> (DaemonsEnd, Option<HubsEnd>) {
    in_runtime(async {
        let mut listener = listen(&address(url), access).unwrap();
        let at = listener.address().clone();
        let mut daemon = tokio::task::spawn_blocking(move || dial(&at, &credentials));
        tokio::select! {
            hub = listener.accept() => (daemon.await.unwrap(), Some(hub)),
            early = &mut daemon => match url.starts_with("ws") {
                true => (early.unwrap(), None),
                false => (early.unwrap(), Some(listener.accept().await)),
            },
        }
    })
}

fn assert_served(url: &str, access: &Access, credentials: Credentials) {
    const LEN: usize = 3_000_000;
    in_runtime(async {
        let mut listener = listen(&address(url), access).unwrap();
        let at = listener.address().clone();
        let daemon = thread::spawn(move || {
            let daemon = dial(&at, &credentials).unwrap();
            let sender = Arc::clone(&daemon);
            let bytes: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
            let sent = bytes.clone();
            let sending = thread::spawn(move || send(&*sender, &sent));
            assert!(receive(&*daemon, LEN) == bytes);
            sending.join().unwrap();
            daemon.shutdown();
        });
        echo(listener.accept().await.unwrap()).await.unwrap();
        daemon.join().unwrap();
    });
}

/// Asserts that neither side has a connection, with what the daemon is told.
fn assert_refused(url: &str, access: &Access, credentials: Credentials, code: i32, text: &str) {
    let (daemon, hub) = meet(url, access, credentials);
    if let Some(hub) = hub {
        let error = hub.unwrap_err();
        assert!(error.is_stranger(), "{url}: {error}");
    }
    let error = daemon.unwrap_err();
    assert!(error.to_string().contains(text), "{url}: {error}");
    assert!(error.to_string().contains("127.0.0.1"), "{url}: {error}");
    assert_eq!(error.code().number(), code, "{url}: {error}");
}

#[test]
fn single_use_credentials_serve_at_every_kind_of_tls_address() {
    let mut urls = TLS.to_vec();
    urls.push("tls+tcp://localhost:0");
    match std::net::TcpListener::bind(("::1", 0)) {
        Ok(_) => urls.push("tls+tcp://[::1]:0"),
        Err(error) => println!("IPv6 is left out: {error}"),
    }
    for url in urls {
        let Address::Network(at) = address(url) else {
            panic!("{url} is a network's")
        };
        let (access, credentials) = Access::single_use(at.host()).unwrap();
        // As they travel in launch commands.
        let credentials = Credentials::parse(&credentials.to_text(), "");
        assert_served(url, &access, credentials);
    }
}

#[test]
fn single_use_credentials_serve_a_hub_that_has_no_name() {
    in_runtime(async {
        let (access, credentials) = Access::single_use("").unwrap();
        let mut listener = listen(&address("tls+tcp://:0"), &access).unwrap();
        let at = address(&format!("tls+tcp://localhost:{}", port(listener.address())));
        let daemon = thread::spawn(move || dial(&at, &credentials).map(drop));
        listener.accept().await.unwrap();
        daemon.join().unwrap().unwrap();
    });
}

#[test]
fn a_token_serves_without_tls() {
    for url in PLAIN {
        let (access, credentials) = token_only();
        assert_served(url, &access, credentials);
    }
}

#[test]
fn a_wrong_or_missing_token_is_told_to_the_daemon() {
    for url in PLAIN {
        let (access, _) = token_only();
        let (_, wrong) = token_only();
        assert_refused(url, &access, wrong, 27, "does not know the token");
        assert_refused(url, &access, Credentials::default(), 27, "MIRAI_TOKEN");
    }
    for url in TLS {
        let (access, mut credentials) = Access::single_use("127.0.0.1").unwrap();
        credentials.token = None;
        assert_refused(url, &access, credentials, 27, "MIRAI_TOKEN");
    }
}

#[test]
fn a_daemon_with_a_token_takes_no_hub_that_asks_for_none() {
    let (_, credentials) = token_only();
    let (daemon, _) = meet(PLAIN[0], &Access::default(), credentials);
    match daemon.unwrap_err() {
        LaneError::Refused {
            reason: Refusal::Handshake(HandshakeError::TokenIgnored),
            ..
        } => {}
        error => panic!("{error}"),
    }
}

#[test]
fn another_hubs_certificate_is_not_the_one_expected() {
    for url in TLS {
        let (access, _) = Access::single_use("127.0.0.1").unwrap();
        let (_, other) = Access::single_use("127.0.0.1").unwrap();
        assert_refused(url, &access, other, 27, "could not be authenticated");
    }
}

#[test]
fn a_daemon_without_its_certificate_is_turned_away() {
    for url in TLS {
        let (access, credentials) = Access::single_use("127.0.0.1").unwrap();
        // All but the daemon's own certificate and key: the first of the text.
        let hubs_alone = pem::parse_many(credentials.to_text()).unwrap().remove(0);
        let credentials = Credentials {
            tls: Some(DaemonTls::trusting(&pem::encode(&hubs_alone), "")),
            ..credentials
        };
        assert_refused(url, &access, credentials, 27, "could not be authenticated");
    }
}

/// An authority of the user's own, with a certificate for a hub.
struct Authority {
    certificate: String,
    hub: String,
    hub_key: KeyPair,
}

fn authority(host: &str, not_after: (i32, u8, u8)) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let (year, month, day) = not_after;
    params.not_after = rcgen::date_time_ymd(year, month, day);
    let hub_key = KeyPair::generate().unwrap();
    let hub = params.signed_by(&hub_key, &issuer).unwrap();
    Authority {
        certificate: issuer.pem(),
        hub: hub.pem(),
        hub_key,
    }
}

impl Authority {
    fn access(&self) -> Access {
        Access {
            tls: Some(HubTls::own(&self.hub, &self.hub_key.serialize_pem(), None)),
            token: None,
        }
    }

    fn credentials(&self) -> Credentials {
        Credentials::parse(&self.certificate, "")
    }
}

#[test]
fn own_certificates_serve_from_text_and_from_a_file() {
    let authority = authority("127.0.0.1", (2900, 1, 1));
    for url in TLS {
        assert_served(url, &authority.access(), authority.credentials());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.pem");
    std::fs::write(
        &file,
        authority.hub.clone() + &authority.hub_key.serialize_pem(),
    )
    .unwrap();
    let access = Access {
        tls: Some(HubTls::read(&file, None).unwrap()),
        token: None,
    };
    assert_served(TLS[0], &access, authority.credentials());
}

#[test]
fn expired_certificates_and_those_of_other_hosts_are_refused() {
    let expired = authority("127.0.0.1", (2001, 1, 1));
    let elsewhere = authority("elsewhere.example", (2900, 1, 1));
    for url in TLS {
        for authority in [&expired, &elsewhere] {
            let told = "could not be authenticated";
            assert_refused(url, &authority.access(), authority.credentials(), 27, told);
        }
    }
}

/// A key on P-256 and its certificate for 127.0.0.1 until 2126, made by OpenSSL; the password is "secret".
const ENCRYPTED: &str = include_str!("encrypted.pem");

#[test]
fn encrypted_keys_need_their_password() {
    let listens = |password| {
        let access = Access {
            tls: Some(HubTls::own(ENCRYPTED, ENCRYPTED, password)),
            token: None,
        };
        in_runtime(async { listen(&address(TLS[0]), &access).map(drop) })
    };
    listens(Some("secret")).unwrap();
    for wrong in [None, Some("wrong"), Some("\0")] {
        assert_eq!(listens(wrong).unwrap_err().code().number(), 26);
    }
}

#[test]
fn what_is_wrong_with_certificates_is_said() {
    let listens = |url: &str, tls| {
        let access = Access { tls, token: None };
        let listened = in_runtime(async { listen(&address(url), &access).map(drop) });
        listened.unwrap_err()
    };
    let good = authority("127.0.0.1", (2900, 1, 1));
    let key = good.hub_key.serialize_pem();
    for (certificate, key, says) in [
        ("nonsense", key.as_str(), "no certificate"),
        (&good.hub, "nonsense", "no private key"),
        (&good.hub.replace("MII", "AAA"), &key, "cannot be read"),
    ] {
        let error = listens(TLS[0], Some(HubTls::own(certificate, key, None)));
        assert_eq!(error.code().number(), 26, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(listens(TLS[0], None).code().number(), 26);
    let on_plain = listens(PLAIN[0], good.access().tls);
    assert_eq!(on_plain.code().number(), 9, "{on_plain}");
    let missing = HubTls::read(Path::new("/no/such/file.pem"), None).unwrap_err();
    assert_eq!(missing.code().number(), 12);
    assert!(missing.to_string().contains("/no/such/file.pem"));
    let at = address("tls+tcp://127.0.0.1:1");
    assert_eq!(
        dial(&at, &Credentials::default())
            .unwrap_err()
            .code()
            .number(),
        27
    );
    assert_eq!(
        dial(&at, &Credentials::parse("nonsense", ""))
            .unwrap_err()
            .code()
            .number(),
        26
    );
    let at = address("tcp://127.0.0.1:1");
    assert_eq!(
        dial(&at, &good.credentials()).unwrap_err().code().number(),
        9
    );
}

#[test]
fn plain_and_tls_do_not_meet() {
    let (access, credentials) = Access::single_use("127.0.0.1").unwrap();
    let meet = |listens: &str, access: &Access, dials: &str, credentials: Credentials| {
        in_runtime(async {
            let mut listener = listen(&address(listens), access).unwrap();
            let at = address(&dials.replace(":0", &format!(":{}", port(listener.address()))));
            let daemon = tokio::task::spawn_blocking(move || dial(&at, &credentials).map(drop));
            // What speaks no HTTP never gets as far as the hub.
            tokio::select! {
                daemon = daemon => daemon.unwrap().unwrap_err(),
                Ok(_) = listener.accept() => panic!("they have met"),
            }
        })
    };
    for (listens, dials) in [(TLS[0], PLAIN[0]), (TLS[1], PLAIN[1])] {
        let error = meet(listens, &access, dials, Credentials::default());
        assert!(
            [13, 18, 19, 7, 31].contains(&error.code().number()),
            "{dials}: {error} {}",
            error.code().number()
        );
        let error = meet(dials, &Access::default(), listens, credentials.clone());
        assert!(
            [13, 18, 27, 7, 31, 5].contains(&error.code().number()),
            "{listens}: {error} {}",
            error.code().number()
        );
    }
}

#[test]
fn strangers_cost_the_others_nothing() {
    let (access, credentials) = Access::single_use("127.0.0.1").unwrap();
    in_runtime(async {
        for (url, access, credentials) in [
            (TLS[0], access, credentials),
            (PLAIN[0], Access::default(), Credentials::default()),
        ] {
            let mut listener = listen(&address(url), &access).unwrap();
            let port = port(listener.address());
            let strangers: Vec<_> = [
                "",
                "GET / HTTP/1.1\r\n\r\n",
                "mirai>",
                "\x16\x03\x01\x7f\x7f",
            ]
            .into_iter()
            .flat_map(|words| std::iter::repeat_n(words, 30))
            .map(|words| {
                let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stranger.write_all(words.as_bytes()).unwrap();
                stranger
            })
            .collect();
            let at = listener.address().clone();
            let daemon = thread::spawn(move || {
                let daemon = dial(&at, &credentials).unwrap();
                send(&*daemon, b"hello");
                receive(&*daemon, 5)
            });
            let hub = loop {
                match listener.accept().await {
                    Ok(hub) => break hub,
                    Err(error) => assert!(error.is_stranger(), "{error}"),
                }
            };
            let mut bytes = [0; 5];
            read_some(&*hub, &mut bytes).await.unwrap();
            write_all(&*hub, &bytes).await.unwrap();
            assert_eq!(daemon.join().unwrap(), b"hello");
            drop(strangers);
        }
    });
}

/// Carries bytes between a daemon and its hub, and changes them on the way when it is told to.
fn in_the_middle(hub: u16, change: impl Fn(bool, usize, &mut [u8]) + Send + Sync + 'static) -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let change = Arc::new(change);
    thread::spawn(move || {
        let (daemon, _) = listener.accept().unwrap();
        let hub = TcpStream::connect(("127.0.0.1", hub)).unwrap();
        for (from_daemon, from, to) in [
            (true, daemon.try_clone().unwrap(), hub.try_clone().unwrap()),
            (false, hub, daemon),
        ] {
            let change = Arc::clone(&change);
            thread::spawn(move || carry(from, to, |at, bytes| change(from_daemon, at, bytes)));
        }
    });
    port
}

fn carry(mut from: TcpStream, mut to: TcpStream, change: impl Fn(usize, &mut [u8])) {
    let mut bytes = [0; 4096];
    let mut at = 0;
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        change(at, &mut bytes[..count]);
        at += count;
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_man_in_the_middle_of_plain_tcp_changes_nothing_unseen() {
    let (access, credentials) = token_only();
    in_runtime(async {
        let mut listener = listen(&address(PLAIN[0]), &access).unwrap();
        // The openings, the proof and the first record go through; a byte of the second is changed.
        let second: usize = 48 + 32 + 4 + 5 + 16 + 4 + 2;
        let middle = in_the_middle(port(listener.address()), move |from_daemon, at, bytes| {
            if from_daemon
                && let Some(byte) = second.checked_sub(at).and_then(|at| bytes.get_mut(at))
            {
                *byte ^= 1;
            }
        });
        let at = address(&format!("tcp://127.0.0.1:{middle}"));
        let daemon = thread::spawn(move || {
            let daemon = dial(&at, &credentials).unwrap();
            send(&*daemon, b"hello");
            send(&*daemon, b"world");
            daemon.read(&mut [0; 5], Some(Instant::now() + GUARD)).ok()
        });
        let hub = listener.accept().await.unwrap();
        let mut bytes = [0; 20];
        assert_eq!(read_some(&*hub, &mut bytes).await.unwrap(), 5);
        assert_eq!(&bytes[..5], b"hello");
        let error = read_some(&*hub, &mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert_eq!(hub.try_write(&[IoSlice::new(b"x")]).unwrap(), 1);
        drop(hub);
        daemon.join().unwrap();
    });
}

#[test]
fn a_tls_peer_that_goes_is_noticed_whenever_it_goes() {
    for (url, rounds) in TLS.into_iter().zip([40, 4]) {
        let (access, credentials) = Access::single_use("127.0.0.1").unwrap();
        in_runtime(async {
            let mut listener = listen(&address(url), &access).unwrap();
            for round in 0..rounds {
                let (at, credentials) = (listener.address().clone(), credentials.clone());
                let daemon = thread::spawn(move || {
                    let daemon = dial(&at, &credentials).unwrap();
                    send(&*daemon, b"last words");
                    // Both with and without an orderly end right behind the words.
                    if round % 2 == 0 {
                        daemon.shutdown();
                    }
                });
                let hub = listener.accept().await.unwrap();
                daemon.join().unwrap();
                let mut said = Vec::new();
                let mut bytes = [0; 4];
                let end = loop {
                    match read_some(&*hub, &mut bytes).await {
                        Ok(count @ 1..) => said.extend_from_slice(&bytes[..count]),
                        end => break end,
                    }
                };
                assert_eq!(said, b"last words", "{url}, round {round}: {end:?}");
            }
        });
    }
}
