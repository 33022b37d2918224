//! What travels: the bytes of tasks, shared parts and settings, all opaque to hub and daemon.
//!
//! ```text
//! task     := seed object          seed   := 0x00 | 0x01 i32 * 7     the stream to evaluate with, if it has its own
//! part     := cacheable object     cacheable := 0x00 | 0x01
//! settings := i32 * 7 | nothing    the stream of the daemon
//! result   := object               object := R's serialization, version 3, native byte order
//! ```
//!
//! Host and daemons run on machines of one byte order, which R's format checks.

use crate::failure::Failure;
use crate::rapi::{Pickled, Scope, Sexp, pickle, unpickle};
use crate::rng::Seed;

const SEED_LEN: usize = size_of::<Seed>();

/// Room for a small task, so that it takes one allocation.
const SMALL: usize = 1024;

/// The bytes of a task.
pub(crate) fn encode_task(
    scope: &Scope,
    object: Sexp<'_>,
    seed: Option<Seed>,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(SMALL);
    bytes.push(seed.is_some().into());
    bytes.extend(
        seed.iter()
            .flatten()
            .flat_map(|number| number.to_ne_bytes()),
    );
    Ok(pickle(scope, object, bytes)?.bytes)
}

/// A task's stream and object.
pub(crate) fn decode_task<'r>(
    scope: &'r Scope,
    bytes: &[u8],
) -> Result<(Option<Seed>, Sexp<'r>), Failure> {
    let (seed, object) = match bytes.split_first() {
        Some((0, object)) => (None, object),
        Some((1, rest)) if rest.len() >= SEED_LEN => {
            let (seed, object) = rest.split_at(SEED_LEN);
            (decode_seed(seed), object)
        }
        _ => return Err(Failure::error("the task is incomplete")),
    };
    Ok((seed, unpickle(scope, object)?))
}

/// The bytes of a shared part. A daemon unserializes it once if it holds no references, else for each task: what a task
/// changes by reference is not for the next one to see.
pub(crate) fn encode_part(scope: &Scope, object: Sexp<'_>) -> Result<Vec<u8>, Failure> {
    let Pickled {
        mut bytes,
        has_references,
    } = pickle(scope, object, vec![1])?;
    if has_references {
        bytes[0] = 0;
    }
    Ok(bytes)
}

/// Whether a part may be kept unserialized, and its object's bytes.
pub(crate) fn split_part(bytes: &[u8]) -> Result<(bool, &[u8]), Failure> {
    match bytes.split_first() {
        Some((cacheable, object)) => Ok((*cacheable == 1, object)),
        None => Err(Failure::error("a part of the task is incomplete")),
    }
}

/// The settings of a daemon with this stream.
pub(crate) fn encode_settings(seed: Seed) -> Vec<u8> {
    seed.iter()
        .flat_map(|number| number.to_ne_bytes())
        .collect()
}

/// The stream in a seed's bytes, if they are one.
pub(crate) fn decode_seed(bytes: &[u8]) -> Option<Seed> {
    let bytes: &[u8; SEED_LEN] = bytes.try_into().ok()?;
    let mut numbers = bytes.chunks_exact(size_of::<i32>());
    Some(std::array::from_fn(|_| {
        let number = numbers.next().and_then(|number| number.try_into().ok());
        i32::from_ne_bytes(number.unwrap_or_default())
    }))
}

/// The bytes of a result.
pub(crate) fn encode_result(scope: &Scope, object: Sexp<'_>) -> Result<Vec<u8>, Failure> {
    Ok(pickle(scope, object, Vec::with_capacity(SMALL))?.bytes)
}
