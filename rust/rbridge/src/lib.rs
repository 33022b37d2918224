//! Everything that touches the C interface of R: the library that R loads as mirai.so.
//!
//! Start at `entries`, the list of what R can call. `hub`, `tasks` and `launch` are the host's side over `mirai-hub` and
//! `mirai-launcher`, with `errands` and `follow` for daemons that start elsewhere by commands of the user's, and `promises`
//! for the way into R's event loop; `daemon` is the worker's side over `mirai-worker`, with `session` for its clean-up;
//! `http` is for requests to services. `payload` says what travels. `rapi` owns every call of R's interface and states the
//! rules for it.
//!
//! This crate decides nothing about scheduling, connections or processes, and R code decides nothing about bytes.
#![deny(unsafe_code)]

mod absent;
mod access;
mod batch;
mod collecting;
mod cookie;
mod daemon;
mod entries;
mod errands;
mod evaluating;
mod flags;
mod follow;
mod healer;
mod healing;
mod http;
mod hub;
mod launch;
mod launchers;
mod map;
mod memory;
mod part;
mod payload;
mod probe;
mod promises;
mod pure;
#[allow(unsafe_code)]
mod rapi;
mod rng;
mod session;
mod shadows;
mod status;
mod sys;
mod table;
mod tasks;
mod wait;
mod watcher;

/// Log messages go to standard error from level `MIRAI_LOG` (`debug` shows dropped connections); by default none do.
fn start_log() {
    // What a library says of a certificate that it refuses is in the error, too.
    let default = "error,rustls_platform_verifier=off";
    let level = env_logger::Env::new().filter_or("MIRAI_LOG", default);
    // Fails when the process has a logger already, as when R loads the library again after unloading it.
    let _ = env_logger::Builder::from_env(level).try_init();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // On R's thread a panic becomes an R error, which says it all; elsewhere nobody else would tell.
        if rapi::is_main_thread() {
            log::debug!("{panic}");
        } else {
            report(panic);
        }
    }));
}

/// Called by `R_init_mirai` (src/entry.c) when R loads the library.
///
/// # Safety
/// On R's main thread, with the library's own `info`.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn R_init_mirai_extendr(info: *mut rapi::DllInfo) {
    start_log();
    // SAFETY: the caller's promise.
    unsafe { rapi::register(info, entries::methods()) };
}
