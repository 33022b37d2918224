//! The launcher of this process, and what its daemons are known by.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::Path;
use std::process;
use std::sync::{Arc, OnceLock};

use mirai_hub::Hub;
use mirai_launcher::{LaunchId, Launcher, LauncherConfig};
use parking_lot::Mutex;

use crate::rapi::Failure;

/// The number that identifies daemons launched by this process: random, and another one in its forked children.
pub(crate) fn launcher() -> u64 {
    static RANDOM: OnceLock<u64> = OnceLock::new();
    let random = *RANDOM.get_or_init(|| RandomState::new().hash_one("mirai"));
    (random ^ u64::from(process::id())).max(1)
}

/// The launcher of this process, made at the first launch; with the process that it belongs to. Locked on R's thread only: a
/// forked child would find it locked for good by a thread that it has not. Nothing of R's runs meanwhile, hence no garbage
/// collection, which may drop a hub.
static LAUNCHER: Mutex<Option<(u32, Arc<Launcher>)>> = Mutex::new(None);

/// Gives up daemons of a hub that have not joined it, and the R that starts for them.
pub(crate) fn withdraw(launches: &[LaunchId], hub: &Hub) {
    if let Some((_, launcher)) = &*LAUNCHER.lock() {
        for launch in launches {
            let hub = hub.handle();
            launcher.withdraw(*launch, move |pid| hub.has_joined(pid));
        }
    }
}

pub(crate) fn with_launcher<T>(
    package: &Path,
    act: impl FnOnce(&Arc<Launcher>) -> T,
) -> Result<T, Failure> {
    let mut launcher = LAUNCHER.lock();
    // A forked child has a copy of its parent's, which is of no use to it.
    let (_, launcher) = match launcher.take() {
        Some(own) if own.0 == process::id() => launcher.insert(own),
        other => {
            drop(other);
            let home = std::env::var_os("R_HOME")
                .ok_or_else(|| Failure::error("the environment variable R_HOME is not set"))?;
            let mut config = LauncherConfig::new(home);
            config.binary = Some(package.join("bin/mirai-daemon"));
            launcher.insert((process::id(), Arc::new(Launcher::new(config))))
        }
    };
    Ok(act(launcher))
}
