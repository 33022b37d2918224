//! NNG's threads: none before they are needed, few then, and none that runs a handler of R's. A file of its own, as it looks
//! at all threads of its process.
#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use mirai_lanes::{Access, Address, Credentials, Patience, dial, listen};

/// Name and blocked signals of each thread of NNG's.
fn threads() -> Vec<(String, u64)> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| {
            let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name))?;
                Some(line[name.len()..].trim().to_owned())
            };
            let blocked = u64::from_str_radix(&field("SigBlk:")?, 16).ok()?;
            Some((field("Name:")?, blocked))
        })
        .filter(|(name, _)| name.starts_with("nng:"))
        .collect()
}

#[test]
fn threads_start_with_the_first_websocket_that_is_dialled_and_block_all_signals() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let _local = listen(&Address::unique(folder.path()).unwrap(), &Access::default()).unwrap();
    for url in ["tcp://host", "gopher://host:1"] {
        Address::parse(url).unwrap_err();
    }
    let listening = ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"]
        .map(|url| listen(&Address::parse(url).unwrap(), &Access::default()).unwrap());
    let nobody = Address::parse(&listening[1].address().to_string()).unwrap();
    drop(listening);
    assert_eq!(threads(), []);

    let mut stays = || false;
    let patience = &mut Patience::new(Duration::from_secs(60), &mut stays);
    dial(&nobody, &Credentials::default(), patience).unwrap_err();
    let threads = threads();
    assert!((1..=6).contains(&threads.len()), "{threads:?}");
    // All but the two that cannot be blocked, and two that the C library keeps for itself.
    let kill_and_stop = (1 << 8) | (1 << 18);
    let internal = 0b11 << 31;
    for (name, blocked) in threads {
        assert_eq!(
            blocked | internal,
            !kill_and_stop,
            "{name} leaves signals unblocked: {blocked:x}"
        );
    }
}
