//! How entries fail.
//!
//! An entry of ours never raises an R error itself. It returns a list of class `mirai_failure`, and one R function
//! (`rust()`) turns that into an error of the user's call. Conditions of R's own, interrupts among them, go on to R's
//! handlers by themselves.

use crate::rapi::{Jump, Scope, Sexp};
use crate::sys::error_text;

/// Why an entry has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong input, or something refused it; the text is for the user.
    Error(String),
    /// The object named was made by the process that this one is a fork of.
    Forked(&'static str),
    /// A bug of ours.
    Panic(String),
    /// R has jumped: an error in R code or an interrupt.
    Jump(Jump),
}

impl Failure {
    /// An [`Error`](Failure::Error) with this text.
    pub(crate) fn error(message: impl Into<String>) -> Failure {
        Failure::Error(message.into())
    }

    /// An error with a number that users know: `7 | Object closed`.
    pub(crate) fn coded(code: i32) -> Failure {
        Failure::Error(format!("{code} | {}", code_text(code)))
    }

    /// The same with what happened.
    pub(crate) fn coded_with(code: i32, happened: &dyn std::fmt::Display) -> Failure {
        Failure::Error(format!("{code} | {}: {happened}", code_text(code)))
    }

    /// The list for R; for a jump, the jump again.
    pub(crate) fn into_r(self, scope: &Scope) -> Result<Sexp<'_>, Jump> {
        let (kind, message) = match self {
            Failure::Error(message) => ("error", message),
            Failure::Forked(what) => (
                "forked",
                format!(
                    "this {what} belongs to the process that this one was forked from, and does not work here; \
                     call mirai in the parent process, or set daemons() anew in this one"
                ),
            ),
            Failure::Panic(message) => (
                "panic",
                format!("internal error in mirai, please report it: {message}"),
            ),
            Failure::Jump(jump) => return Err(jump),
        };
        let values = [scope.string(&message)?, scope.string(kind)?];
        let failure = scope.named_list(&["message", "kind"], &values)?;
        scope.set_class(failure, &["mirai_failure"])?;
        Ok(failure)
    }
}

impl From<Jump> for Failure {
    fn from(jump: Jump) -> Failure {
        Failure::Jump(jump)
    }
}

/// Set in the code of an error of the operating system, beside its number.
const SYSTEM: i32 = 0x1000_0000;

/// The texts of the codes that are used here; R/errors.R has the whole table.
fn code_text(code: i32) -> String {
    let text = match code {
        2 => "Out of memory",
        3 => "Invalid argument",
        5 => "Timed out",
        6 => "Connection refused",
        7 => "Object closed",
        9 => "Not supported",
        10 => "Address in use",
        12 => "Entry not found",
        13 => "Protocol error",
        14 => "Destination unreachable",
        15 => "Address invalid",
        16 => "Permission denied",
        18 => "Connection aborted",
        19 => "Connection reset",
        21 => "Out of files",
        22 => "Out of space",
        26 => "Cryptographic error",
        27 => "Peer could not be authenticated",
        code if code & SYSTEM != 0 => return error_text(code & !SYSTEM),
        _ => "Unknown error",
    };
    text.to_owned()
}

/// Entry: the operating system's text for an error number.
pub(crate) fn system_error_text<'r>(
    scope: &'r Scope,
    number: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let number = number.count(scope, "number")?;
    Ok(scope.string(&error_text(i32::try_from(number).unwrap_or_default()))?)
}
