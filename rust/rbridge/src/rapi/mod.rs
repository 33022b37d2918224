//! The one place where R's C interface is called; everything outside is safe Rust.
//!
//! # Rules
//!
//! *Thread.* R is called on its main thread only. The thread that loaded the library is remembered, and [`run_entry()`] checks
//! it, in release builds too. A [`Scope`], which every call needs, can only be had in an entry or by [`Scope::here`],
//! which checks too; it is not `Send`, nor is anything that holds a `SEXP`. Other threads get bytes, numbers and handles.
//!
//! *Jumps.* R leaves a failing call by `longjmp`. Every call that evaluates, allocates, reads elements (ALTREP may
//! compute), sets attributes or checks interrupts goes through [`Scope::protected`], which stops the jump in C
//! (`src/protect.c`) and returns it as a [`Jump`]. The frames that are jumped over are the closure's, which captures and
//! holds plain data only: it is `Copy`, and so is its result. A [`Jump`] is carried on by `run_entry()` after everything of
//! Rust's has been dropped, so R's own condition arrives at R's own handlers; or it is [abandoned](Jump::abandon) where
//! an R error is an answer, in a daemon. We raise no R error ourselves: what fails in Rust is returned as a value (see
//! `failure`).
//!
//! *Callbacks.* What R calls (finalizers, serializer streams) is `extern "C-unwind"` with its body under
//! `catch_unwind`, unless it copies bytes and nothing else; the reader's has R look for room on the stack, too, which may raise an
//! error over that callback. What the event loop of package later
//! calls goes through `run_entry()`. Finalizers drop, they do not wait, join or call R, but for one that registers itself anew; in a forked child they forget.
//!
//! *Protection.* Arguments of `.Call` are protected by R. A fresh object is protected by the scope that made it, before
//! anything else can allocate, and stays so until the scope ends; scopes nest, and only the innermost one protects. What
//! lives longer is [`Kept`] in one list with constant-time removal.
//!
//! *Strings* are copied to UTF-8 where they are read. Pointers into R's vectors never leave this module.
//!
//! extendr registers the entries and supplies the basic types. Its `Robj` is not used: it costs a lock and a hash entry
//! per argument (a call with seven took 2 µs, against 0.1 µs with `run_entry()`), and while it grows its preserve list it
//! allocates with a lock held that an R finalizer calling one of our entries would wait for for ever.

// extendr declares what a `SEXP` points to as non-exhaustive, which the lint takes for a type without layout.
#![allow(improper_ctypes, improper_ctypes_definitions)]

mod attributes;
mod beside;
mod build;
mod collections;
mod entry;
mod env;
mod evaluation;
mod failure;
mod ffi;
mod header;
mod kept;
mod later;
mod look;
mod main_thread;
mod plain;
mod pointer;
mod protect;
mod pure;
mod read;
mod scalars;
mod small;
mod stream;

pub(crate) use beside::Beside;
pub(crate) use collections::Listener;
pub(crate) use entry::{entries, register, run_entry};
pub(crate) use env::Form;
pub(crate) use evaluation::{Given, MAP};
pub(crate) use failure::{Failure, code_text, coded_text};
pub(crate) use ffi::DllInfo;
pub(crate) use kept::Kept;
pub(crate) use later::{EventLoop, Turn};
pub(crate) use main_thread::is_main_thread;
pub(crate) use plain::read_plain;
pub(crate) use pointer::Handle;
pub(crate) use protect::{Jump, Scope, Sexp};
pub(crate) use pure::Pure;
pub(crate) use scalars::{Elements, Preface};
pub(crate) use stream::{Pickled, measure, pickle, unpickle};
