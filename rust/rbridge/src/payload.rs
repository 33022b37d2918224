//! What travels: the bytes of tasks and settings, all opaque to hub and daemon; see `part.rs` for what many tasks have in common.
//!
//! ```text
//! task     := seed object          seed   := 0x00 | 0x01 i32 * 7     the stream to evaluate with, if it has its own
//! settings := seed object?         the stream of the daemon, if it gets one, and what else its pool has settled
//! result   := object               object := R's serialization, version 3, native byte order
//! ```
//!
//! Host and daemons run on machines of one byte order, which R's format checks.

use std::cell::{Cell, OnceCell};

use mirai_hub::Payload;

use crate::rapi::{Failure, Preface, Scope, Sexp, pickle, unpickle};
use crate::rng::Seed;

const SEED_LEN: usize = size_of::<Seed>();

/// Room for a small task, so that it takes one allocation.
pub(crate) const SMALL: usize = 1024;

thread_local! {
    /// Where a small task is written before it is known how much it takes.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };

    /// What small tasks begin with. The encoding that it names is that of a locale which may not be the session's any more: no string
    /// of a small task depends on it.
    static PREFACE: OnceCell<Preface> = const { OnceCell::new() };
}

/// The bytes of a task.
pub(crate) fn encode_task(
    scope: &Scope,
    object: Sexp<'_>,
    seed: Option<Seed>,
) -> Result<Payload, Failure> {
    if let Some(small) = encode_small_task(scope, object, seed)? {
        return Ok(small);
    }
    let mut bytes = Vec::with_capacity(SMALL);
    push_seed(&mut bytes, seed);
    let mut bytes = pickle(scope, object, bytes)?.bytes;
    // It may wait in the queue among a hundred thousand others.
    bytes.shrink_to_fit();
    Ok(bytes.into())
}

/// `None` for what is R's serializer's to write.
fn encode_small_task(
    scope: &Scope,
    object: Sexp<'_>,
    seed: Option<Seed>,
) -> Result<Option<Payload>, Failure> {
    if PREFACE.with(|preface| preface.get().is_none()) {
        let made = Preface::new(scope)?;
        PREFACE.with(|preface| preface.set(made).ok());
    }
    let mut room = ROOM.take();
    room.clear();
    room.reserve(SMALL);
    push_seed(&mut room, seed);
    let small = PREFACE.with(|preface| {
        let preface = preface.get();
        preface.map_or(Ok(false), |preface| {
            preface.pickle_small(scope, object, &mut room)
        })
    });
    let payload = matches!(small, Ok(true)).then(|| Payload::copy_from_slice(&room));
    ROOM.set(room);
    small?;
    Ok(payload)
}

/// Begins a task, or the settings of a daemon.
pub(crate) fn push_seed(bytes: &mut Vec<u8>, seed: Option<Seed>) {
    bytes.push(seed.is_some().into());
    bytes.extend(
        seed.iter()
            .flatten()
            .flat_map(|number| number.to_ne_bytes()),
    );
}

/// Splits the seed, if there is one, from the bytes; `None` when they are cut short.
fn split_seed(bytes: &[u8]) -> Option<(Option<Seed>, &[u8])> {
    match bytes.split_first()? {
        (0, rest) => Some((None, rest)),
        (1, rest) => {
            let (seed, rest) = rest.split_first_chunk::<SEED_LEN>()?;
            Some((Some(decode_seed(seed)), rest))
        }
        _ => None,
    }
}

/// A task's stream and object.
pub(crate) fn decode_task<'r>(
    scope: &'r Scope,
    bytes: &[u8],
) -> Result<(Option<Seed>, Sexp<'r>), Failure> {
    let (seed, object) =
        split_seed(bytes).ok_or_else(|| Failure::error("the task is incomplete"))?;
    Ok((seed, unpickle(scope, object)?))
}

/// The bytes of a task's object, without its stream; `None` when they are cut short.
pub(crate) fn object_of_task(bytes: &[u8]) -> Option<&[u8]> {
    split_seed(bytes).map(|(_, object)| object)
}

/// The settings of a daemon with this stream; `object` is from [`encode_settings_object`].
pub(crate) fn encode_settings(seed: Option<Seed>, object: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + SEED_LEN + object.len());
    push_seed(&mut bytes, seed);
    bytes.extend_from_slice(object);
    bytes
}

/// The bytes of a pool's settings; none for `NULL`.
pub(crate) fn encode_settings_object(scope: &Scope, object: Sexp<'_>) -> Result<Vec<u8>, Failure> {
    if object.is_null() {
        return Ok(Vec::new());
    }
    Ok(pickle(scope, object, Vec::new())?.bytes)
}

/// A daemon's stream and its pool's settings, each or `NULL`.
pub(crate) fn decode_settings<'r>(
    scope: &'r Scope,
    bytes: &[u8],
) -> Result<(Option<Seed>, Sexp<'r>), Failure> {
    match split_seed(bytes) {
        Some((seed, object)) if !object.is_empty() => Ok((seed, unpickle(scope, object)?)),
        Some((seed, _)) => Ok((seed, scope.null())),
        None => Ok((None, scope.null())),
    }
}

fn decode_seed(bytes: &[u8; SEED_LEN]) -> Seed {
    let mut numbers = bytes.chunks_exact(size_of::<i32>());
    std::array::from_fn(|_| {
        let number = numbers.next().and_then(|number| number.try_into().ok());
        i32::from_ne_bytes(number.unwrap_or_default())
    })
}

/// The bytes of a result.
pub(crate) fn encode_result(
    scope: &Scope,
    object: Sexp<'_>,
    preface: &Preface,
) -> Result<Vec<u8>, Failure> {
    preface.pickle(scope, object, Vec::new())
}
