//! Flags of environments and functions that R cannot take back itself (R/flags.R).

use crate::rapi::{Failure, Scope, Sexp};

/// Entry: the flags of an object.
pub(crate) fn object_flags<'r>(scope: &'r Scope, x: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    Ok(scope.integer(x.flags() as i32)?)
}

/// Entry: takes one flag away from an environment or a function.
pub(crate) fn clear_flag<'r>(
    scope: &'r Scope,
    x: Sexp<'r>,
    flag: Sexp<'r>,
) -> Result<Sexp<'r>, Failure> {
    let [flag] = flag.integers(scope, "flag")?;
    if !(x.is_environment() || x.is_function()) || flag.count_ones() != 1 {
        return Err(Failure::error(
            "one flag, of an environment or a function, can be taken away",
        ));
    }
    x.clear_flags(flag as u32);
    Ok(scope.null())
}
