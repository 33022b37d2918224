//! What many tasks have in common: what of it a daemon unserializes once, and what for each task.
//!
//! What a task changes by reference is not for the next one to see: environments, external pointers and what holds them are
//! unserialized anew. The rest is kept as objects, which R copies before it changes them. [Packages](copy_for_each_task) that
//! change vectors where they lie get copies.
//!
//! ```text
//! part   := 0x00 object | 0x01 object | 0x02 mixed       for each task | once | some of its leaves for each task
//! mixed  := count:u32 place * count length:u64 object object      the leaves' places; the object without them; their list
//! place  := outer:u32 inner:u32      an element of the object, and of that if it is a list; else the inner one is 0xffffffff
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};

use mirai_hub::Payload;

use crate::rapi::{Failure, Kept, Pickled, Scope, Sexp, measure, pickle, unpickle};

const EACH: u8 = 0;
const ONCE: u8 = 1;
const MIXED: u8 = 2;

/// The inner place of a leaf that is an element of the object itself.
const WHOLE: u32 = u32::MAX;

/// Bytes of leaves without references from which on it pays to keep these apart.
const WORTHWHILE: usize = 4096;

/// Objects that are kept are copied for each task.
static COPIED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The parts of this daemon, by their numbers. Objects are not let go of as the process ends, when R has ended.
    static PARTS: ManuallyDrop<RefCell<HashMap<u64, Part>>> = ManuallyDrop::default();
}

/// Keeps a part that tasks refer to by its number.
pub(crate) fn insert(id: u64, bytes: Payload) {
    PARTS.with(|parts| parts.borrow_mut().insert(id, Part::Bytes(bytes)));
}

/// Forgets a part.
pub(crate) fn remove(id: u64) {
    PARTS.with(|parts| parts.borrow_mut().remove(&id));
}

/// Forgets all parts.
pub(crate) fn clear() {
    PARTS.with(|parts| parts.borrow_mut().clear());
}

/// A part that all its tasks share as one object. `None` for another, and for one that no task has used yet.
pub(crate) fn kept(scope: &Scope, id: u64) -> Result<Option<Sexp<'_>>, Failure> {
    PARTS.with(|parts| match parts.try_borrow().as_deref() {
        Ok(parts) => match parts.get(&id) {
            Some(Part::Kept(kept)) => Ok(Some(scope.hold(kept.get())?)),
            _ => Ok(None),
        },
        Err(_) => Ok(None),
    })
}

/// A part as an object, for one task.
pub(crate) fn object(scope: &Scope, id: u64) -> Result<Sexp<'_>, Failure> {
    PARTS.with(|parts| {
        let mut parts = parts
            .try_borrow_mut()
            .map_err(|_| Failure::error("a part of the task is in use"))?;
        let part = parts.get_mut(&id);
        part.ok_or_else(|| Failure::error("a part of the task is missing"))?
            .object(scope)
    })
}

/// Entry: has each task get a copy of what is kept for many, from here on: a package was loaded that changes vectors where they
/// lie, whoever else refers to them. The task that loads it has the objects already, so what is kept is a copy, too.
pub(crate) fn copy_for_each_task<'r>(scope: &'r Scope) -> Result<Sexp<'r>, Failure> {
    if !COPIED.swap(true, Ordering::Relaxed) {
        PARTS.with(|parts| {
            // In use, as a finalizer loads the package while a part is read: nobody has that one yet.
            let Ok(mut parts) = parts.try_borrow_mut() else {
                return Ok(());
            };
            parts.values_mut().try_for_each(|part| part.renew(scope))
        })?;
    }
    Ok(scope.null())
}

/// The bytes of a part. What is large is serialized once, into a vector that has room for it.
pub(crate) fn encode_part(scope: &Scope, object: Sexp<'_>) -> Result<Vec<u8>, Failure> {
    let leaves = Leaves::find(&scope.inner(), object)?;
    if leaves.places.is_empty() {
        return encode_whole(scope, object, ONCE, leaves.length);
    }
    if leaves.length >= WORTHWHILE
        && object.is_list()
        && let Some(mixed) = encode_mixed(&scope.inner(), object, &leaves)?
    {
        return Ok(mixed);
    }
    encode_whole(scope, object, EACH, leaves.length)
}

fn encode_whole(
    scope: &Scope,
    object: Sexp<'_>,
    kind: u8,
    length: usize,
) -> Result<Vec<u8>, Failure> {
    let Pickled {
        mut bytes,
        has_references,
    } = pickle(scope, object, with_room(length, &[kind]))?;
    // Those of attributes, which are no leaves.
    if has_references {
        bytes[0] = EACH;
    }
    Ok(bytes)
}

/// A vector that begins with `prefix`, with room for so many bytes more where there is memory for them.
fn with_room(length: usize, prefix: &[u8]) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    let _ = bytes.try_reserve_exact(length);
    bytes
}

/// The parts of an object that are looked at one by one: the elements of a list, and of those the elements that are lists; else
/// the object itself.
#[derive(Default)]
struct Leaves {
    /// Where those are that hold references.
    places: Vec<(u32, u32)>,
    /// What the others take at most when serialized.
    length: usize,
}

impl Leaves {
    fn find(scope: &Scope, object: Sexp<'_>) -> Result<Leaves, Failure> {
        let mut leaves = Leaves::default();
        if !object.is_list() {
            leaves.look(scope, object, (WHOLE, WHOLE))?;
            return Ok(leaves);
        }
        for (outer, element) in (0..).zip(object.elements(scope, "object")?) {
            if !element.is_list() {
                leaves.look(scope, element, (outer, WHOLE))?;
                continue;
            }
            for (inner, leaf) in (0..).zip(element.elements(scope, "object")?) {
                leaves.look(scope, leaf, (outer, inner))?;
            }
        }
        Ok(leaves)
    }

    fn look(&mut self, scope: &Scope, leaf: Sexp<'_>, place: (u32, u32)) -> Result<(), Failure> {
        let measured = measure(scope, leaf)?;
        if measured.has_references {
            self.places.push(place);
        } else {
            self.length = self.length.saturating_add(measured.length);
        }
        Ok(())
    }
}

/// `None` where it does not pay.
fn encode_mixed(
    scope: &Scope,
    object: Sexp<'_>,
    leaves: &Leaves,
) -> Result<Option<Vec<u8>>, Failure> {
    let Leaves { places, length } = leaves;
    let rest = scope.shallow_copy(object)?;
    let apart = scope.empty_list(places.len())?;
    let mut copied: Option<(u32, Sexp<'_>)> = None;
    for (i, &(outer, inner)) in places.iter().enumerate() {
        let element = element_at(scope, object, outer)?;
        if inner == WHOLE {
            rest.put(outer as usize, scope.null());
            apart.put(i, element);
            continue;
        }
        let copy = match copied {
            Some((at, copy)) if at == outer => copy,
            _ => scope.shallow_copy(element)?,
        };
        copied = Some((outer, copy));
        rest.put(outer as usize, copy);
        copy.put(inner as usize, scope.null());
        apart.put(i, element_at(scope, element, inner)?);
    }
    let head = encode_places(places);
    let length_at = head.len() - size_of::<u64>();
    let kept = pickle(scope, rest, with_room(*length, &head))?;
    let kept_length = kept.bytes.len() - head.len();
    if kept.has_references || kept_length < WORTHWHILE {
        return Ok(None);
    }
    let mut bytes = kept.bytes;
    bytes[length_at..head.len()].copy_from_slice(&(kept_length as u64).to_le_bytes());
    let apart = pickle(scope, apart, Vec::new())?.bytes;
    bytes.extend_from_slice(&apart);
    Ok(Some(bytes))
}

fn element_at<'s>(scope: &Scope, list: Sexp<'s>, at: u32) -> Result<Sexp<'s>, Failure> {
    let element = list.elements(scope, "object")?.nth(at as usize);
    element.ok_or_else(incomplete)
}

/// What a mixed part begins with, up to the length of the object, which is 0 until that is known.
fn encode_places(places: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![MIXED];
    bytes.extend((places.len() as u32).to_le_bytes());
    for (outer, inner) in places {
        bytes.extend(outer.to_le_bytes());
        bytes.extend(inner.to_le_bytes());
    }
    bytes.extend(0_u64.to_le_bytes());
    bytes
}

/// A part as a daemon has it.
enum Part {
    /// As received.
    Bytes(Payload),
    /// Unserialized for all tasks.
    Kept(Kept),
    /// Unserialized for all tasks but for some leaves.
    Mixed(Mixed),
}

struct Mixed {
    kept: Kept,
    places: Vec<(u32, u32)>,
    leaves: Payload,
}

impl Part {
    /// The object, for one task. What can be kept is unserialized at its first use.
    fn object<'s>(&mut self, scope: &'s Scope) -> Result<Sexp<'s>, Failure> {
        if let Part::Bytes(bytes) = self
            && let Some(kept) = keep(scope, bytes)?
        {
            *self = kept;
        }
        match self {
            Part::Bytes(bytes) => unpickle(scope, bytes.get(1..).ok_or_else(incomplete)?),
            Part::Kept(kept) => Ok(for_this_task(scope, kept)?),
            Part::Mixed(mixed) => mixed.object(scope),
        }
    }

    /// Puts a copy in the place of an object that a task may have.
    fn renew(&mut self, scope: &Scope) -> Result<(), Failure> {
        if let Part::Kept(kept) | Part::Mixed(Mixed { kept, .. }) = self {
            let scope = scope.inner();
            *kept = Kept::new(&scope, scope.deep_copy(kept.get())?)?;
        }
        Ok(())
    }
}

fn incomplete() -> Failure {
    Failure::error("a part of the task is incomplete")
}

fn keep(scope: &Scope, bytes: &Payload) -> Result<Option<Part>, Failure> {
    match bytes.split_first() {
        Some((&ONCE, object)) => {
            let object = unpickle(scope, object)?;
            Ok(Some(Part::Kept(Kept::new(scope, object)?)))
        }
        Some((&MIXED, rest)) => Ok(Some(Part::Mixed(Mixed::read(scope, bytes, rest)?))),
        Some(_) => Ok(None),
        None => Err(incomplete()),
    }
}

fn for_this_task<'s>(scope: &'s Scope, kept: &Kept) -> Result<Sexp<'s>, Failure> {
    if COPIED.load(Ordering::Relaxed) {
        return Ok(scope.deep_copy(kept.get())?);
    }
    Ok(scope.hold(kept.get())?)
}

impl Mixed {
    /// `rest` are the last of `bytes`.
    fn read(scope: &Scope, bytes: &Payload, rest: &[u8]) -> Result<Mixed, Failure> {
        let (count, mut rest) = rest.split_first_chunk().ok_or_else(incomplete)?;
        let mut places = Vec::new();
        for _ in 0..u32::from_le_bytes(*count) {
            let (outer, after) = rest.split_first_chunk().ok_or_else(incomplete)?;
            let (inner, after) = after.split_first_chunk().ok_or_else(incomplete)?;
            places.push((u32::from_le_bytes(*outer), u32::from_le_bytes(*inner)));
            rest = after;
        }
        let (length, rest) = rest.split_first_chunk().ok_or_else(incomplete)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (kept, leaves) = rest.split_at_checked(length).ok_or_else(incomplete)?;
        let kept = unpickle(scope, kept)?;
        Ok(Mixed {
            kept: Kept::new(scope, kept)?,
            places,
            leaves: bytes.slice_ref(leaves),
        })
    }

    fn object<'s>(&self, scope: &'s Scope) -> Result<Sexp<'s>, Failure> {
        let object = scope.shallow_copy(for_this_task(scope, &self.kept)?)?;
        let leaves = unpickle(scope, &self.leaves)?;
        let mut copied: Option<(u32, Sexp<'_>)> = None;
        for (&(outer, inner), leaf) in self.places.iter().zip(leaves.elements(scope, "leaves")?) {
            if inner == WHOLE {
                object.put(outer as usize, leaf);
                continue;
            }
            let list = match copied {
                Some((at, list)) if at == outer => list,
                _ => {
                    let element = object.elements(scope, "part")?.nth(outer as usize);
                    let copy = scope.shallow_copy(element.ok_or_else(incomplete)?)?;
                    object.put(outer as usize, copy);
                    copied = Some((outer, copy));
                    copy
                }
            };
            list.put(inner as usize, leaf);
        }
        Ok(object)
    }
}
