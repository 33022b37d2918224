//! R's serializer, reading and writing Rust's bytes.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use super::failure::Failure;
use super::ffi::{self, InStream, OutStream, SEXP};
use super::plain::read_plain;
use super::{Jump, Scope, Sexp};

/// Serialization format: R has read and written it since 3.5.0.
const VERSION: c_int = 3;

/// Stack between a reader and what it calls from which on an object counts as deeply nested: R looks then whether there is
/// more.
const DEEP: usize = 64 * 1024;

/// By how much the vector grows where it cannot double.
const LAST_STEP: usize = 16 * 1024 * 1024;

/// The result of serializing.
pub(crate) struct Pickled {
    /// The bytes that were there before, followed by the object's.
    pub bytes: Vec<u8>,
    /// The object holds environments, external pointers or weak references: whoever changes one of two copies of it
    /// changes that copy only, and whoever shares one copy shares the changes.
    pub has_references: bool,
}

/// Where the serializer writes.
struct Sink {
    pickled: Pickled,
    /// Memory ran out, or a callback panicked: the rest is not stored.
    broken: bool,
}

/// Serializes `object` behind the few bytes that are there, in native byte order.
pub(crate) fn pickle(scope: &Scope, object: Sexp<'_>, bytes: Vec<u8>) -> Result<Pickled, Failure> {
    let prefix = bytes.clone();
    if let Some(pickled) = try_pickle(scope, object, bytes)? {
        return Ok(pickled);
    }
    // R holds on to what nobody needs until its own memory runs low, and knows nothing of ours.
    // SAFETY: the closure holds nothing.
    unsafe { scope.protected(|| ffi::R_gc())? };
    try_pickle(scope, object, prefix)?
        .ok_or_else(|| Failure::error("2 | Out of memory: the object does not fit when serialized"))
}

/// `None` where memory ran out.
fn try_pickle(scope: &Scope, object: Sexp<'_>, bytes: Vec<u8>) -> Result<Option<Pickled>, Failure> {
    let mut sink = Sink {
        pickled: Pickled {
            bytes,
            has_references: false,
        },
        broken: false,
    };
    let callbacks = Callbacks {
        char: put_char,
        bytes: put_bytes,
        reference: note_reference,
    };
    // SAFETY: the callbacks are those of a `Sink`, which is dropped also after a jump.
    unsafe { serialize(scope, object, (&raw mut sink).cast(), callbacks)? };
    Ok((!sink.broken).then_some(sink.pickled))
}

/// What the serializer calls with what it has to say.
#[derive(Clone, Copy)]
struct Callbacks {
    char: unsafe extern "C-unwind" fn(*mut OutStream, c_int),
    bytes: unsafe extern "C-unwind" fn(*mut OutStream, *mut c_void, c_int),
    reference: unsafe extern "C-unwind" fn(SEXP, SEXP) -> SEXP,
}

/// Has R serialize `object`, in native byte order.
///
/// # Safety
/// `sink` is what the callbacks take it for. It stays so when R jumps, which leaves it as it is.
unsafe fn serialize(
    scope: &Scope,
    object: Sexp<'_>,
    sink: *mut c_void,
    callbacks: Callbacks,
) -> Result<(), Jump> {
    // SAFETY: the closure holds pointers; the stream is a local of the frame that R_Serialize runs above.
    unsafe {
        scope.protected(|| {
            let mut stream = MaybeUninit::<OutStream>::uninit();
            ffi::R_InitOutPStream(
                stream.as_mut_ptr(),
                sink,
                ffi::STREAM_BINARY,
                VERSION,
                Some(callbacks.char),
                Some(callbacks.bytes),
                Some(callbacks.reference),
                // For our hook only: R passes it on unread.
                sink.cast(),
            );
            ffi::R_Serialize(object.raw(), stream.as_mut_ptr());
        })
    }
}

/// What serializing would come to.
#[derive(Default)]
pub(crate) struct Measured {
    /// The number of bytes, but for what is inside of references.
    pub length: usize,
    /// As for [`Pickled`].
    pub has_references: bool,
}

/// Looks at what serializing `object` would come to, without looking into references or storing anything.
pub(crate) fn measure(scope: &Scope, object: Sexp<'_>) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let callbacks = Callbacks {
        char: count_char,
        bytes: count_bytes,
        reference: pass_over_reference,
    };
    // SAFETY: the callbacks are those of a `Measured`, which owns nothing.
    unsafe { serialize(scope, object, (&raw mut measured).cast(), callbacks)? };
    Ok(measured)
}

/// # Safety
/// Called by R with the stream of `measure`.
unsafe extern "C-unwind" fn count_char(stream: *mut OutStream, _: c_int) {
    // SAFETY: the caller's promise.
    unsafe { (*(*stream).data.cast::<Measured>()).length += 1 };
}

/// # Safety
/// Called by R with the stream of `measure`.
unsafe extern "C-unwind" fn count_bytes(stream: *mut OutStream, _: *mut c_void, length: c_int) {
    // SAFETY: the caller's promise.
    unsafe { (*(*stream).data.cast::<Measured>()).length += length as usize };
}

/// Names every reference, so that R writes the name and does not go into it.
///
/// # Safety
/// Called by R with what `measure` has come to.
unsafe extern "C-unwind" fn pass_over_reference(_: SEXP, data: SEXP) -> SEXP {
    // SAFETY: the caller's promise, and a constant of R.
    unsafe {
        (*data.cast::<Measured>()).has_references = true;
        ffi::R_BlankScalarString
    }
}

/// Where the serializer reads.
struct Source {
    bytes: *const u8,
    length: usize,
    at: usize,
    /// R has asked for more bytes than there are.
    short: bool,
}

/// Unserializes an object.
pub(crate) fn unpickle<'r>(scope: &'r Scope, bytes: &[u8]) -> Result<Sexp<'r>, Failure> {
    if let Some(plain) = read_plain(scope, bytes)? {
        return Ok(plain);
    }
    let mut source = Source {
        bytes: bytes.as_ptr(),
        length: bytes.len(),
        at: 0,
        short: false,
    };
    let data: *mut c_void = (&raw mut source).cast();
    // SAFETY: as for `pickle`; `bytes` outlives the call.
    let object = unsafe {
        scope.fresh(|| {
            let mut stream = MaybeUninit::<InStream>::zeroed();
            ffi::R_InitInPStream(
                stream.as_mut_ptr(),
                data,
                ffi::STREAM_ANY,
                Some(take_char),
                Some(take_bytes),
                None,
                ffi::R_NilValue,
            );
            ffi::R_Unserialize(stream.as_mut_ptr())
        })?
    };
    if source.short {
        return Err(Failure::error("the serialized object ends early"));
    }
    Ok(object)
}

/// # Safety
/// Called by R with the stream of `pickle`.
unsafe extern "C-unwind" fn put_char(stream: *mut OutStream, character: c_int) {
    // SAFETY: the caller's promise.
    unsafe { put(stream, &[character as u8]) };
}

/// # Safety
/// Called by R with the stream of `pickle` and `length` bytes.
unsafe extern "C-unwind" fn put_bytes(stream: *mut OutStream, bytes: *mut c_void, length: c_int) {
    // SAFETY: the caller's promise.
    unsafe {
        put(
            stream,
            slice::from_raw_parts(bytes.cast::<u8>(), length as usize),
        )
    };
}

/// # Safety
/// As for the callbacks.
unsafe fn put(stream: *mut OutStream, piece: &[u8]) {
    // SAFETY: `data` is the sink of `pickle`, which touches it again only when R has returned.
    let sink = unsafe { &mut *(*stream).data.cast::<Sink>() };
    if sink.broken {
        return;
    }
    let append = AssertUnwindSafe(|| {
        let bytes = &mut sink.pickled.bytes;
        // An allocation that fails is noted: `extend` alone would end the process. Where there is no room for twice as
        // much, there may be for some more.
        let fits = bytes.capacity() - bytes.len() >= piece.len();
        if fits
            || bytes.try_reserve(piece.len()).is_ok()
            || bytes.try_reserve_exact(piece.len().max(LAST_STEP)).is_ok()
        {
            bytes.extend_from_slice(piece);
            true
        } else {
            false
        }
    });
    if !matches!(catch_unwind(append), Ok(true)) {
        sink.broken = true;
    }
}

/// Consulted for what is passed by reference, save the environments that every process has.
///
/// # Safety
/// Called by R with the sink of `pickle`.
unsafe extern "C-unwind" fn note_reference(_: SEXP, data: SEXP) -> SEXP {
    // SAFETY: the caller's promise, and a constant of R.
    unsafe {
        (*data.cast::<Sink>()).pickled.has_references = true;
        ffi::R_NilValue
    }
}

/// # Safety
/// Called by R with the stream of `unpickle`.
unsafe extern "C-unwind" fn take_char(stream: *mut InStream) -> c_int {
    let mut byte = 0_u8;
    // SAFETY: the caller's promise.
    unsafe { take(stream, &raw mut byte, 1) };
    byte.into()
}

/// # Safety
/// Called by R with the stream of `unpickle` and room for `length` bytes.
unsafe extern "C-unwind" fn take_bytes(stream: *mut InStream, room: *mut c_void, length: c_int) {
    // SAFETY: the caller's promise.
    unsafe { take(stream, room.cast(), length as usize) };
}

/// Copies what there is. What is missing becomes zeros, which R takes for an item of no known type, so that it stops.
///
/// R's reader calls itself for what is nested, and does not look whether there is stack for it. Without that look, R jumps out
/// of the handler of a segmentation fault, in the midst of an allocation as like as not, whose lock nobody frees then.
///
/// # Safety
/// As for the callbacks. Nothing in here panics, and no frame from here to R's reader has anything to drop when R raises an
/// error over it.
unsafe fn take(stream: *mut InStream, room: *mut u8, length: usize) {
    let here = 0_u8;
    // SAFETY: the caller's promise. The source lies in the frame of `unpickle`.
    unsafe {
        if (&raw const here).addr().abs_diff((*stream).data.addr()) > DEEP {
            ffi::R_CheckStack();
        }
    }
    // SAFETY: `data` is the source of `unpickle`; reading stays within its bytes, writing within the room.
    unsafe {
        let source = &mut *(*stream).data.cast::<Source>();
        let there = length.min(source.length - source.at);
        room.copy_from_nonoverlapping(source.bytes.add(source.at), there);
        room.add(there).write_bytes(0, length - there);
        source.at += there;
        source.short |= there < length;
    }
}
