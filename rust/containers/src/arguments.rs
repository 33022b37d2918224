//! What workers call `daemon()` with, as it is asked for: each argument is checked here, so that a bad one is refused at
//! once, and not by each worker in its container.

use serde_json::{Map, Value};

/// What may be the value of an argument.
#[derive(Clone, Copy)]
enum Kind {
    /// `true` or `false`.
    Flag,
    /// The same, or `null` for R's `NA`.
    Tristate,
    /// Milliseconds.
    Time,
    /// A whole number.
    Count,
}

/// What a worker lets be chosen.
const ARGUMENTS: [(&str, Kind); 8] = [
    ("dispatcher", Kind::Flag),
    ("asyncdial", Kind::Flag),
    ("autoexit", Kind::Tristate),
    ("cleanup", Kind::Flag),
    ("output", Kind::Flag),
    ("maxtasks", Kind::Count),
    ("idletime", Kind::Time),
    ("walltime", Kind::Time),
];

/// From here on a number of R may be any of several whole ones.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

/// Arguments as R writes them, separated by commas. The error is in the words of who asks.
pub(crate) fn arguments_as_code(arguments: &Map<String, Value>) -> Result<String, String> {
    let code = arguments.iter().map(|(name, value)| argument(name, value));
    Ok(code.collect::<Result<Vec<_>, _>>()?.join(","))
}

fn argument(name: &str, value: &Value) -> Result<String, String> {
    let known = ARGUMENTS.iter().find(|(known, _)| *known == name);
    let (_, kind) = known.ok_or_else(|| {
        let names = ARGUMENTS.map(|(known, _)| format!("`{known}`")).join(", ");
        format!(
            "`arguments` may have {names}, and not `{}`",
            name.escape_debug()
        )
    })?;
    let value = match (kind, value) {
        (Kind::Flag | Kind::Tristate, Value::Bool(true)) => "TRUE".to_owned(),
        (Kind::Flag | Kind::Tristate, Value::Bool(false)) => "FALSE".to_owned(),
        (Kind::Tristate, Value::Null) => "NA".to_owned(),
        (Kind::Time | Kind::Count, Value::Number(number)) if is_limit(*kind, number.as_f64()) => {
            number.to_string()
        }
        _ => {
            return Err(format!(
                "`{name}` must be {}, not `{value}`",
                kind.in_words()
            ));
        }
    };
    Ok(format!("{name}={value}"))
}

fn is_limit(kind: Kind, number: Option<f64>) -> bool {
    let is_whole = |number: f64| number.fract() == 0.0 && number <= MOST_EXACT;
    number.is_some_and(|number| number >= 0.0 && (!matches!(kind, Kind::Count) || is_whole(number)))
}

impl Kind {
    fn in_words(self) -> &'static str {
        match self {
            Kind::Flag => "true or false",
            Kind::Tristate => "true, false or null",
            Kind::Time => "a number of milliseconds of at least 0",
            Kind::Count => "a whole number of at least 0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code(arguments: Value) -> Result<String, String> {
        let Value::Object(arguments) = arguments else {
            panic!("an object");
        };
        arguments_as_code(&arguments)
    }

    #[test]
    fn arguments_become_code() {
        let all = json!({
            "dispatcher": false, "asyncdial": true, "autoexit": null, "cleanup": true, "output": false, "maxtasks": 10,
            "idletime": 0.5, "walltime": 1e16
        });
        let expected = "asyncdial=TRUE,autoexit=NA,cleanup=TRUE,dispatcher=FALSE,idletime=0.5,maxtasks=10,output=FALSE,\
            walltime=1e+16";
        assert_eq!(code(all).as_deref(), Ok(expected));
        assert_eq!(code(json!({})).as_deref(), Ok(""));
    }

    #[test]
    fn bad_values_are_refused_in_the_words_of_who_asks() {
        let count = "a whole number of at least 0";
        for (name, value, wanted) in [
            ("maxtasks", json!(-1), count),
            ("maxtasks", json!(1.5), count),
            ("maxtasks", json!(1e300), count),
            ("maxtasks", json!(true), count),
            ("maxtasks", json!("1"), count),
            ("maxtasks", json!(null), count),
            (
                "idletime",
                json!(-0.5),
                "a number of milliseconds of at least 0",
            ),
            (
                "walltime",
                json!([1]),
                "a number of milliseconds of at least 0",
            ),
            ("cleanup", json!(1), "true or false"),
            ("asyncdial", json!(null), "true or false"),
            ("dispatcher", json!("FALSE"), "true or false"),
            ("output", json!({}), "true or false"),
            ("autoexit", json!(0), "true, false or null"),
        ] {
            let expected = format!("`{name}` must be {wanted}, not `{value}`");
            assert_eq!(code(json!({ name: value })), Err(expected));
        }
        let error = code(json!({ "url": 1 })).expect_err("no such argument");
        assert!(error.ends_with("`walltime`, and not `url`"), "{error}");
    }
}
