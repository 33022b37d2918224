//! The network lane over loopback: plain TCP and WebSocket.

mod common;

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use mirai_lanes::{Access, Connection, Credentials, LaneError};

/// What every kind of address has to do; IPv6 only where this machine has it.
fn urls() -> Vec<&'static str> {
    let mut urls = vec![
        "tcp://127.0.0.1:0",
        "tcp://localhost:0",
        "ws://127.0.0.1:0",
        "ws://127.0.0.1:0/some/path",
    ];
    match std::net::TcpListener::bind(("::1", 0)) {
        Ok(_) => urls.extend(["tcp://[::1]:0", "ws://[::1]:0"]),
        Err(error) => println!("IPv6 is left out: {error}"),
    }
    urls
}

#[test]
fn bytes_go_both_ways_at_every_kind_of_address() {
    for url in urls() {
        let received = with_pair(
            url,
            |daemon| {
                send(&*daemon, b"hello");
                let received = receive(&*daemon, 5);
                daemon.shutdown();
                received
            },
            async |hub| {
                echo(hub).await.unwrap();
            },
        );
        assert_eq!(received, b"hello", "{url}");
    }
}

#[test]
fn the_port_that_the_system_chose_is_reported() {
    in_runtime(async {
        for url in urls() {
            let listener = listen(&address(url), &Access::default()).unwrap();
            let reported = listener.address().to_string();
            assert_ne!(port(listener.address()), 0, "{reported}");
            assert_eq!(
                reported.replace(&port(listener.address()).to_string(), "0"),
                url
            );
        }
    });
}

#[test]
fn all_interfaces_are_one_address_without_a_host() {
    in_runtime(async {
        let mut listener = listen(&address("tcp://:0"), &Access::default()).unwrap();
        let port = port(listener.address());
        assert_eq!(listener.address().to_string(), format!("tcp://:{port}"));
        let daemon = thread::spawn(move || {
            dial(
                &address(&format!("tcp://127.0.0.1:{port}")),
                &Credentials::default(),
            )
            .map(drop)
        });
        listener.accept().await.unwrap();
        daemon.join().unwrap().unwrap();
    });
}

#[test]
fn an_address_in_use_is_code_10_and_an_absent_hub_code_6() {
    in_runtime(async {
        let first = listen(&address("tcp://127.0.0.1:0"), &Access::default()).unwrap();
        let at = first.address().clone();
        let error = listen(&at, &Access::default()).unwrap_err();
        assert_eq!(error.code().number(), 10);
        assert!(error.to_string().contains(&at.to_string()), "{error}");
        drop(first);
        let error = dial(&at, &Credentials::default()).unwrap_err();
        assert_eq!(error.code().number(), 6);
        assert!(
            error.is_absence() && error.to_string().contains("refused"),
            "{error}"
        );
        drop(listen(&at, &Access::default()).unwrap());
    });
}

#[test]
fn unknown_hosts_and_foreign_addresses_are_code_15() {
    let foreign = in_runtime(async {
        listen(&address("tcp://192.0.2.1:0"), &Access::default()).unwrap_err()
    });
    assert_eq!(foreign.code().number(), 15, "{foreign}");
    let unknown = dial(
        &address("tcp://no-such-host.invalid:1"),
        &Credentials::default(),
    )
    .unwrap_err();
    assert_eq!(unknown.code().number(), 15, "{unknown}");
    assert!(unknown.to_string().contains("no-such-host.invalid"));
    let nobody = dial(&address("tcp://:1"), &Credentials::default()).unwrap_err();
    assert_eq!(nobody.code().number(), 3, "{nobody}");
}

#[test]
fn large_payloads_arrive_whole_on_both_sides() {
    const LEN: usize = 20_000_000;
    fn payload() -> Vec<u8> {
        (0..LEN).map(|at| (at % 251) as u8).collect()
    }
    for url in ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"] {
        with_pair(
            url,
            |daemon| {
                let sender = Arc::clone(&daemon);
                let sending = thread::spawn(move || send(&*sender, &payload()));
                let mut got = Vec::with_capacity(LEN);
                while got.len() < LEN {
                    let missing = LEN - got.len();
                    let deadline = Some(Instant::now() + GUARD);
                    assert!(daemon.read_append(&mut got, missing, deadline).unwrap() > 0);
                }
                assert!(got == payload());
                sending.join().unwrap();
                daemon.shutdown();
            },
            async |hub| {
                echo(hub).await.unwrap();
            },
        );
    }
}

#[test]
fn what_was_written_before_a_shutdown_arrives() {
    for url in ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"] {
        for len in [10, 300_000] {
            let got = with_pair(
                url,
                move |daemon| receive(&*daemon, len),
                async |hub| {
                    write_all(&*hub, &vec![3; len]).await.unwrap();
                    hub.shutdown();
                },
            );
            assert!(got == vec![3; len], "{url}");
        }
    }
}

#[test]
fn each_side_sees_the_end_of_the_other() {
    for url in ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"] {
        with_pair(
            url,
            |daemon| {
                send(&*daemon, b"goodbye");
                daemon.shutdown();
                daemon.shutdown();
                assert_eq!(daemon.read(&mut [0; 10], None).unwrap(), 0);
                assert!(daemon.write(&[IoSlice::new(b"x")]).is_err());
            },
            async |hub| {
                let mut said = Vec::new();
                let mut bytes = [0; 3];
                loop {
                    match read_some(&*hub, &mut bytes).await.unwrap() {
                        0 => break,
                        count => said.extend_from_slice(&bytes[..count]),
                    }
                }
                assert_eq!(said, b"goodbye", "{url}");
            },
        );
        with_pair(
            url,
            |daemon| {
                let deadline = Some(Instant::now() + GUARD);
                assert_eq!(daemon.read(&mut [0; 10], deadline).unwrap(), 0);
            },
            async |hub| drop(hub),
        );
    }
}

#[test]
fn a_deadline_ends_a_read_and_not_the_connection() {
    with_pair(
        "tcp://127.0.0.1:0",
        |daemon| {
            let read = daemon.read(&mut [0; 10], Some(Instant::now()));
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let read = daemon.read_now(&mut [0; 10]);
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
            send(&*daemon, b"still here");
            assert_eq!(receive(&*daemon, 10), b"still here");
            daemon.shutdown();
        },
        async |hub| {
            echo(hub).await.unwrap();
        },
    );
}

#[test]
fn a_daemon_that_ends_reading_can_still_write() {
    with_pair(
        "tcp://127.0.0.1:0",
        |daemon| {
            let reader = Arc::clone(&daemon);
            let reading = thread::spawn(move || reader.read(&mut [0; 10], None));
            daemon.end_reading();
            assert_eq!(reading.join().unwrap().unwrap(), 0);
            send(&*daemon, b"the result");
            daemon.shutdown();
        },
        async |hub| {
            let mut bytes = [0; 10];
            assert_eq!(read_some(&*hub, &mut bytes).await.unwrap(), 10);
        },
    );
}

/// Takes as much as there is room for, without waiting.
fn fill(connection: &dyn Connection) -> usize {
    let bytes = vec![0; 1 << 20];
    let mut total = 0;
    // What is full now may take more in a moment, as the system's buffers grow.
    for _ in 0..200 {
        match connection.try_write(&[IoSlice::new(&bytes)]) {
            Ok(count) => total += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    total
}

#[test]
fn a_peer_that_stops_reading_costs_a_bounded_amount_and_delays_nobody() {
    in_runtime(async {
        let mut listener = listen(&address("tcp://127.0.0.1:0"), &Access::default()).unwrap();
        let stuck = bare(port(listener.address()));
        let to_stuck = listener.accept().await.unwrap();
        let taken = fill(&*to_stuck);
        // Two buffers of ours; the rest is the system's, which is at most a few megabytes on each side.
        assert!(
            taken < 32 << 20,
            "{taken} bytes are held for a peer that does not read"
        );

        let at = listener.address().clone();
        let other = thread::spawn(move || {
            let daemon = dial(&at, &Credentials::default()).unwrap();
            send(&*daemon, b"hello");
            receive(&*daemon, 5)
        });
        let hub = listener.accept().await.unwrap();
        let mut bytes = [0; 5];
        read_some(&*hub, &mut bytes).await.unwrap();
        write_all(&*hub, &bytes).await.unwrap();
        assert_eq!(other.join().unwrap(), b"hello");
        drop(stuck);
    });
}

#[test]
fn a_peer_that_sends_unread_costs_a_bounded_amount() {
    in_runtime(async {
        let mut listener = listen(&address("tcp://127.0.0.1:0"), &Access::default()).unwrap();
        let mut flood = bare(port(listener.address()));
        let _unread = listener.accept().await.unwrap();
        read_answers();
        flood.set_nonblocking(true).unwrap();
        let bytes = vec![0; 1 << 20];
        let mut total = 0;
        for _ in 0..200 {
            match flood.write(&bytes) {
                Ok(count) => total += count,
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
        assert!(total < 32 << 20, "{total} bytes are held unread");
    });
}

#[test]
fn half_open_and_broken_peers_end_like_others() {
    in_runtime(async {
        let mut listener = listen(&address("tcp://127.0.0.1:0"), &Access::default()).unwrap();
        let port = port(listener.address());
        // Says no more, but still listens.
        let mut half = bare(port);
        let hub = listener.accept().await.unwrap();
        read_answers();
        half.write_all(b"last words").unwrap();
        half.shutdown(std::net::Shutdown::Write).unwrap();
        let mut bytes = [0; 10];
        assert_eq!(read_some(&*hub, &mut bytes).await.unwrap(), 10);
        assert_eq!(read_some(&*hub, &mut bytes).await.unwrap(), 0);
        write_all(&*hub, b"understood").await.unwrap();
        half.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"understood");
        drop(hub);
        assert_eq!(half.read(&mut bytes).unwrap(), 0);

        // Goes with unread data in its hands, which resets the connection.
        let reset = bare(port);
        let hub = listener.accept().await.unwrap();
        read_answers();
        write_all(&*hub, b"unread").await.unwrap();
        reset.set_nonblocking(true).unwrap();
        while reset.peek(&mut bytes).is_err() {
            tokio::task::yield_now().await;
        }
        drop(reset);
        assert!(matches!(read_some(&*hub, &mut bytes).await, Ok(0) | Err(_)));
    });
}

#[test]
fn whatever_strangers_say_to_a_websocket_others_are_served() {
    in_runtime(async {
        let mut listener = listen(&address("ws://127.0.0.1:0"), &Access::default()).unwrap();
        let port = port(listener.address());
        let mut strangers = Vec::new();
        for words in [
            "",
            "GET / HTTP/1.1\r\n\r\n",
            "\0\0\0\0",
            "POST /x HTTP/1.1\r\nA: b\r\n",
        ] {
            let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stranger.write_all(words.as_bytes()).unwrap();
            strangers.push(stranger);
        }
        let at = listener.address().clone();
        let daemon = thread::spawn(move || {
            let daemon = dial(&at, &Credentials::default()).unwrap();
            send(&*daemon, b"hello");
            receive(&*daemon, 5);
        });
        let mut refused = 0;
        let hub = loop {
            match listener.accept().await {
                Ok(hub) => break hub,
                Err(error) if error.is_stranger() => refused += 1,
                Err(error) => panic!("{error}"),
            }
        };
        let mut bytes = [0; 5];
        read_some(&*hub, &mut bytes).await.unwrap();
        write_all(&*hub, &bytes).await.unwrap();
        daemon.join().unwrap();
        // Those that may still ask for a WebSocket are waited for.
        assert!(refused <= 1, "{refused}");
        drop(strangers);
        while refused < 3 {
            listener.accept().await.unwrap_err();
            refused += 1;
        }
    });
}

#[test]
fn a_websocket_costs_a_peer_that_asks_for_none_its_connection() {
    in_runtime(async {
        let mut listener = listen(&address("ws://127.0.0.1:0/here"), &Access::default()).unwrap();
        let port = port(listener.address());
        let elsewhere = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        let endless = "GET /here HTTP/1.1\r\nA: ".to_owned() + &"b".repeat(10_000);
        for (words, answer) in [
            (elsewhere, "HTTP/1.1 404 "),
            ("GET /here HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
            (&endless, "HTTP/1.1 431 "),
        ] {
            let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stranger.write_all(words.as_bytes()).unwrap();
            assert!(listener.accept().await.unwrap_err().is_stranger());
            let mut said = vec![0; answer.len()];
            stranger.read_exact(&mut said).unwrap();
            assert_eq!(said, answer.as_bytes());
        }
    });
}

/// As many as the limit of descriptors allows: each connection takes two here.
fn crowd() -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
        let most = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
        usize::try_from(most / 2)
            .unwrap_or(usize::MAX)
            .saturating_sub(100)
            .min(3000)
    }
    #[cfg(not(unix))]
    500
}

async fn serve_crowd(listener: &mut Listening, count: usize) {
    let mut served = tokio::task::JoinSet::new();
    for _ in 0..count {
        let connection = listener.accept().await.unwrap();
        served.spawn(async move { echo(connection).await.unwrap() });
    }
    while served.join_next().await.is_some() {}
}

#[test]
fn thousands_of_connections_live_at_one_port() {
    let count = crowd();
    in_runtime(async {
        let mut listener = listen(&address("tcp://127.0.0.1:0"), &Access::default()).unwrap();
        let at = listener.address().clone();
        let crowd = thread::spawn(move || {
            let daemons: Result<Vec<_>, LaneError> = (0..count)
                .map(|_| dial(&at, &Credentials::default()))
                .collect();
            let daemons = daemons.unwrap();
            for daemon in &daemons {
                send(&**daemon, b"here");
            }
            for daemon in &daemons {
                assert_eq!(receive(&**daemon, 4), b"here");
                daemon.shutdown();
            }
        });
        serve_crowd(&mut listener, count).await;
        crowd.join().unwrap();
    });
}

#[test]
fn a_listener_that_is_gone_leaves_its_connections() {
    in_runtime(async {
        for url in ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"] {
            let mut listener = listen(&address(url), &Access::default()).unwrap();
            let at = listener.address().clone();
            let daemon = thread::spawn(move || dial(&at, &Credentials::default()).unwrap());
            let hub = listener.accept().await.unwrap();
            let daemon = daemon.join().unwrap();
            drop(listener);
            send(&*daemon, b"hello");
            let mut bytes = [0; 5];
            assert_eq!(read_some(&*hub, &mut bytes).await.unwrap(), 5);
        }
    });
}
