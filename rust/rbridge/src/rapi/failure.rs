//! How entries fail.
//!
//! An entry of ours never raises an R error itself. It returns a list of class `mirai_failure`, and one R function
//! (`checked()`) turns that into an error of the user's call. Conditions of R's own, interrupts among them, go on to R's
//! handlers by themselves.

use mirai_hub::ErrorCode;

use super::{Jump, Scope, Sexp};

/// Why an entry has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input is wrong, or the operation was refused; the text is for the user.
    Error(String),
    /// The same, with a code that users know; the text begins with it.
    Coded(ErrorCode, String),
    /// The object named was made by the process that this one is a fork of.
    Forked(&'static str),
    /// A panic: a bug in this library.
    Panic(String),
    /// R has jumped: an error in R code or an interrupt.
    Jump(Jump),
}

impl Failure {
    /// An [`Error`](Failure::Error) with this text.
    pub(crate) fn error(message: impl Into<String>) -> Failure {
        Failure::Error(message.into())
    }

    /// An error with a code that users know, such as `7 | Object closed`.
    pub(crate) fn coded(code: ErrorCode) -> Failure {
        Failure::Coded(code, code.to_string())
    }

    /// The same, with what happened.
    pub(crate) fn coded_with(code: ErrorCode, happened: &dyn std::fmt::Display) -> Failure {
        Failure::Coded(code, coded_text(code, happened))
    }

    /// The list for R; for a jump, the jump again.
    pub(crate) fn into_r(self, scope: &Scope) -> Result<Sexp<'_>, Jump> {
        let mut number = scope.null();
        let (kind, message) = match self {
            Failure::Error(message) => ("error", message),
            Failure::Coded(code, message) => {
                number = scope.integer(code.number())?;
                ("error", message)
            }
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
        let values = [scope.string(&message)?, scope.string(kind)?, number];
        let failure = scope.named_list(&["message", "kind", "code"], &values)?;
        scope.set_class(failure, &["mirai_failure"])?;
        Ok(failure)
    }
}

/// As users see it: `21 | Out of files: …`.
pub(crate) fn coded_text(code: ErrorCode, happened: &dyn std::fmt::Display) -> String {
    format!("{code}: {happened}")
}

impl From<Jump> for Failure {
    fn from(jump: Jump) -> Failure {
        Failure::Jump(jump)
    }
}

/// Entry: what a code means.
pub(crate) fn code_text<'r>(scope: &'r Scope, number: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let [number] = number.integers(scope, "number")?;
    Ok(scope.string(&ErrorCode::new(number).text())?)
}
