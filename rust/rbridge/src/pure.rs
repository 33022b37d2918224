//! Elements of maps that can do nothing but compute: after these a daemon need not look for what they have left.
//!
//! Whether a function is such a one is found out in R (R/pure.R), once. That the names in it mean what they should is found out
//! there, too, and holds until something else is evaluated, or a garbage collection has run finalizers, which are code of others.
//! An element that signals a condition is evaluated again as all others are, so nobody sees that this has been tried; nor by the
//! time that it takes, as it is tried only among elements that are short.

use std::collections::HashMap;

use crate::part;
use crate::rapi::{Failure, Kept, Pure, Scope, Sexp, read_plain};

/// Elements in a row after which it pays to find out whether the function is pure.
const WORTHWHILE: u32 = 16;

/// The most that are waited for, where elements keep signalling conditions.
const LONGEST_WAIT: u32 = 1 << 16;

/// The pure functions of a daemon's maps.
pub(crate) struct PureCalls<'r> {
    /// R's functions.
    call: Sexp<'r>,
    are_of_base: Sexp<'r>,
    /// By the numbers of the parts that have them; `None` for what is not pure.
    calls: HashMap<u64, Option<PureCall>>,
    streak: Streak,
}

/// Whether it is worth trying, by what has been evaluated so far.
#[derive(Debug)]
struct Streak {
    /// How many elements of maps have been evaluated in a row as others are, all of them short.
    row: u32,
    /// How many it takes.
    wait: u32,
}

struct PureCall {
    call: Kept,
    /// Of functions, and of variables.
    names: [Kept; 2],
    /// These names are those of base.
    is_sure: bool,
}

impl<'r> PureCalls<'r> {
    /// `call` and `are_of_base` are `pure_call()` and `are_names_of_base()` of R/pure.R.
    pub(crate) fn new(call: Sexp<'r>, are_of_base: Sexp<'r>) -> PureCalls<'r> {
        PureCalls {
            call,
            are_of_base,
            calls: HashMap::new(),
            streak: Streak::default(),
        }
    }

    /// The value of an element, if it needs nothing but a pure function. `None`: evaluate it as others are.
    pub(crate) fn evaluate<'s>(
        &mut self,
        scope: &'s Scope,
        part: u64,
        element: &[u8],
    ) -> Result<Option<Sexp<'s>>, Failure> {
        if !self.streak.is_long_enough() || !self.is_sure(scope, part)? {
            return Ok(None);
        }
        let Some(Some(pure)) = self.calls.get(&part) else {
            return Ok(None);
        };
        let Some(x) = read_plain(scope, element)? else {
            return Ok(None);
        };
        match scope.evaluate_pure(&pure.call, x)? {
            Pure::Value(value) => Ok(Some(value)),
            Pure::Condition => {
                self.streak.wait_longer();
                Ok(None)
            }
        }
    }

    /// Something else is evaluated, be it an element of a map: whatever is sure is so no longer.
    pub(crate) fn disturb(&mut self, is_element: bool) {
        self.streak.note(is_element);
        self.doubt();
    }

    /// What was evaluated last has taken long: next to that, a look for changes is nothing, and a second evaluation would be as much.
    pub(crate) fn note_long(&mut self) {
        self.streak.end();
    }

    /// What names mean may be something else now.
    pub(crate) fn doubt(&mut self) {
        for pure in self.calls.values_mut().flatten() {
            pure.is_sure = false;
        }
    }

    /// No further task refers to this part.
    pub(crate) fn forget(&mut self, part: u64) {
        self.calls.remove(&part);
    }

    /// The parts of another hub are others.
    pub(crate) fn clear(&mut self) {
        self.calls.clear();
        self.streak = Streak::default();
    }

    fn is_sure(&mut self, scope: &Scope, part: u64) -> Result<bool, Failure> {
        if !self.calls.contains_key(&part) {
            let found = self.find(&scope.inner(), part);
            let Some(found) = or_none(scope, found)?.unwrap_or(Some(None)) else {
                return Ok(false);
            };
            self.calls.insert(part, found);
        }
        let Some(Some(pure)) = self.calls.get_mut(&part) else {
            return Ok(false);
        };
        if !pure.is_sure {
            scope.watch_for_collection()?;
            let answer = pure.look(&scope.inner(), self.are_of_base);
            pure.is_sure = or_none(scope, answer)? == Some(true) && !scope.has_collected();
            // Where others have a name of base's, that is to stay.
            if !pure.is_sure {
                self.streak.wait_longer();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `None` if that cannot be said yet.
    fn find(&self, scope: &Scope, part: u64) -> Result<Option<Option<PureCall>>, Failure> {
        let Some(shared) = part::kept(scope, part)? else {
            return Ok(None);
        };
        let found = scope.call(self.call, &[shared])?;
        if found.is_null() {
            return Ok(Some(None));
        }
        let parts: Vec<Sexp<'_>> = found.elements(scope, "call")?.collect();
        let &[call, functions, variables] = &parts[..] else {
            return Err(Failure::error("a call and names are needed"));
        };
        Ok(Some(Some(PureCall {
            call: Kept::new(scope, call)?,
            names: [Kept::new(scope, functions)?, Kept::new(scope, variables)?],
            is_sure: false,
        })))
    }
}

impl Default for Streak {
    fn default() -> Streak {
        Streak {
            row: 0,
            wait: WORTHWHILE,
        }
    }
}

impl Streak {
    fn is_long_enough(&self) -> bool {
        self.row >= self.wait
    }

    /// Something is evaluated as others are.
    fn note(&mut self, is_element: bool) {
        self.row = if is_element {
            self.row.saturating_add(1)
        } else {
            0
        };
    }

    fn end(&mut self) {
        self.row = 0;
    }

    /// It was tried in vain.
    fn wait_longer(&mut self) {
        self.row = 0;
        self.wait = self.wait.saturating_mul(2).min(LONGEST_WAIT);
    }
}

impl PureCall {
    /// Whether its names are those of base.
    fn look(&self, scope: &Scope, are_of_base: Sexp<'_>) -> Result<bool, Failure> {
        let [functions, variables] = &self.names;
        let answer = scope.call(are_of_base, &[functions.get(), variables.get()])?;
        answer.flag(scope, "answer")
    }
}

/// `None` for an error: then it is not known that a function is pure, and that is all. An interrupt is the task's.
fn or_none<T>(scope: &Scope, answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => return Ok(Some(answer)),
        Err(Failure::Jump(jump)) => {
            if jump.carries(c"interrupt") || scope.has_noted_interrupt()? {
                return Err(jump.into());
            }
            jump.abandon();
        }
        Err(failure) => log::debug!("a function could not be looked at: {failure:?}"),
    }
    scope.forget_conditions()?;
    Ok(None)
}

/// Entry: whether a vector is one that may compute its elements.
pub(crate) fn is_altrep<'r>(scope: &'r Scope, x: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    Ok(scope.logical(x.is_altrep())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(elements: u32, streak: &mut Streak) -> bool {
        (0..elements).for_each(|_| streak.note(true));
        streak.is_long_enough()
    }

    #[test]
    fn it_is_tried_after_a_row_of_short_elements_and_nothing_else() {
        let mut streak = Streak::default();
        assert!(!after(WORTHWHILE - 1, &mut streak));
        assert!(after(1, &mut streak));
        streak.note(false);
        assert!(!after(WORTHWHILE - 1, &mut streak));
        streak.end();
        assert!(!after(WORTHWHILE - 1, &mut streak));
        assert!(after(1, &mut streak));
    }

    #[test]
    fn elements_that_are_long_are_never_tried() {
        let mut streak = Streak::default();
        for _ in 0..10 * WORTHWHILE {
            assert!(!after(1, &mut streak));
            streak.end();
        }
    }

    #[test]
    fn each_vain_attempt_makes_the_next_one_rarer() {
        let mut streak = Streak::default();
        for wait in [WORTHWHILE, 2 * WORTHWHILE, 4 * WORTHWHILE] {
            assert!(!after(wait - 1, &mut streak));
            assert!(after(1, &mut streak));
            streak.wait_longer();
        }
        (0..40).for_each(|_| streak.wait_longer());
        assert!(after(LONGEST_WAIT, &mut streak));
    }
}
