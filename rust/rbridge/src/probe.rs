//! Entries for the tests of the boundary itself (tests/testthat/test-bridge.R).

use std::sync::atomic::{AtomicI32, Ordering};

use crate::part::encode_part;
use crate::rapi::{
    Elements, Failure, Handle, Kept, Preface, Scope, Sexp, measure, pickle, unpickle,
};

/// Entry: the bytes of an object, and whether it holds references.
pub(crate) fn test_serialize<'r>(scope: &'r Scope, object: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let pickled = pickle(scope, object, Vec::new())?;
    let values = [
        scope.raw(&pickled.bytes)?,
        scope.logical(pickled.has_references)?,
    ];
    Ok(scope.list(&values)?)
}

/// Entry: the bytes of a small object written without R's serializer, within so much room; `NULL` for one that is not.
pub(crate) fn test_serialize_small<'r>(
    scope: &'r Scope,
    object: Sexp<'r>,
    room: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let preface = Preface::new(scope)?;
    let mut bytes = Vec::with_capacity(room.count(scope, "room")? as usize);
    match preface.pickle_small(scope, object, &mut bytes)? {
        true => Ok(scope.raw(&bytes)?),
        false if bytes.is_empty() => Ok(scope.null()),
        false => Err(Failure::error("something was left behind")),
    }
}

/// Entry: how many bytes an object would come to, and whether it holds references.
pub(crate) fn test_measure<'r>(scope: &'r Scope, object: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let measured = measure(scope, object)?;
    let values = [
        scope.doubles(&[measured.length as f64])?,
        scope.logical(measured.has_references)?,
    ];
    Ok(scope.list(&values)?)
}

/// Entry: the bytes of what many tasks have in common.
pub(crate) fn test_encode_part<'r>(
    scope: &'r Scope,
    object: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let bytes = encode_part(scope, object)?;
    Ok(scope.raw(&bytes)?)
}

/// Entry: the object of these bytes.
pub(crate) fn test_unserialize<'r>(scope: &'r Scope, bytes: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let bytes = bytes.bytes(scope, "bytes")?;
    unpickle(scope, &bytes)
}

/// Entry: the bytes of each element of a vector, as a map sends it.
pub(crate) fn test_serialize_elements<'r>(
    scope: &'r Scope,
    x: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let elements = Elements::new(scope, x, "x")?;
    let preface = Preface::new(scope)?;
    let result = scope.empty_list(elements.len)?;
    for i in 0..elements.len {
        let scope = scope.inner();
        let bytes = elements.pickle(&scope, i, &preface, Vec::new())?;
        result.put(i, scope.raw(&bytes)?);
    }
    Ok(result)
}

/// Number of [`Counted`] values alive.
static ALIVE: AtomicI32 = AtomicI32::new(0);

struct Counted;

impl Counted {
    fn new() -> Counted {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something to point to.
struct Inert;

impl Handle for Inert {
    const NAME: &'static str = "test";
}

/// Panics when it is dropped, which R does by a finalizer.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

impl Handle for PanicsInDrop {
    const NAME: &'static str = "panics in drop";
}

/// Entry: holds values that must be dropped while it does something that goes wrong: calls `f`, which may jump
/// (`"call"`), calls it and gives a jump up, with `"abandoned"` as the result (`"abandon"`), panics (`"panic"`), returns
/// a pointer (`"pointer"`) or one whose finalizer panics (`"panics in drop"`), or nothing. Unless that goes wrong, the result is the number of such
/// values before the call.
pub(crate) fn test_boundary<'r>(
    scope: &'r Scope,
    what: Sexp<'r>,
    f: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let alive = ALIVE.load(Ordering::Relaxed);
    let _counted = [Counted::new(), Counted::new()];
    let _kept = Kept::new(scope, f)?;
    match what.string(scope, "what")?.as_str() {
        "call" => {
            scope.call(f, &[])?;
        }
        "abandon" => {
            if let Err(jump) = scope.call(f, &[]) {
                jump.abandon();
                return Ok(scope.string("abandoned")?);
            }
        }
        "panic" => panic!("asked for"),
        "pointer" => return Ok(scope.pointer(Inert, None)?),
        "panics in drop" => return Ok(scope.pointer(PanicsInDrop, None)?),
        _ => {}
    }
    Ok(scope.integer(alive)?)
}
