//! What is not shown to anybody: certificates, keys, passwords and tokens, wherever they are in a text. The one rule for
//! that, for messages, logs, `status()`, printed configurations and the command lines of daemons.

/// In the place of what is not shown.
const HIDDEN: &str = "...";

/// The text without the secrets in it:
///
/// - PEM sections, also as URLs, JSON and HTML write them. Where the text was cut, what has no end is secret to its own end, and
///   what has no begin from its own begin;
/// - passwords in addresses, and users as well in those of services, which have tokens there;
/// - values in the queries of addresses, in JSON and in the headers of requests whose [names](is_secret_name) say what they are, and
///   what follows `Bearer` or `Basic`.
pub fn without_secrets(text: &str) -> String {
    let marks = [
        "-----", "://", "=", ":", "BEGIN", "begin", "earer", "asic", "END", "end",
    ];
    if !marks.iter().any(|mark| text.contains(mark)) {
        return text.to_owned();
    }
    without_credentials(&without_values(&without_users(&without_pem(text))))
}

/// Whether what has this name is a secret, as a parameter, a header or a field.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let parts = [
        "token",
        "secret",
        "passw",
        "credential",
        "signature",
        "authorization",
        "cookie",
        "api_key",
        "apikey",
    ];
    parts.iter().any(|part| name.contains(part))
        || ["key", "auth", "sig", "pwd", "pass", "jwt"].contains(&&*name)
        || name.ends_with("_key")
}

/// Backslashes that may stand before an escaped character.
const MOST_SLASHES: usize = 16;

/// How many bytes a dash takes at the begin of a text, as whatever writes it.
fn dash(text: &str) -> Option<usize> {
    let text = text.as_bytes();
    let has = |at: usize, form: &str| {
        let found = text.get(at..at + form.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(form.as_bytes()))
    };
    let slashes = text
        .iter()
        .take(MOST_SLASHES)
        .take_while(|byte| **byte == b'\\')
        .count();
    let forms: &[&str] = match slashes {
        0 => &["-", "%2d", "&#45;", "&#x2d;"],
        _ => &["u002d", "x2d"],
    };
    let form = forms.iter().find(|form| has(slashes, form))?;
    Some(slashes + form.len())
}

/// Where five dashes end that a text begins with.
fn dashes(text: &str) -> Option<usize> {
    (0..5).try_fold(0, |at, _| Some(at + dash(&text[at..])?))
}

/// Where five dashes are, and where they end.
fn all_dashes(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let may_begin = |(_, c): &(usize, char)| matches!(c, '-' | '%' | '&' | '\\');
    let places = text.char_indices().filter(may_begin);
    places.filter_map(|(at, _)| Some((at, at + dashes(&text[at..])?)))
}

fn without_pem(text: &str) -> String {
    let (mut first, mut last_begin, mut last_end) = (None, None, None);
    for (at, end) in all_dashes(text) {
        let follows = |word: &str| {
            let found = text.as_bytes().get(end..end + word.len());
            found.is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
        };
        let begins = follows("BEGIN");
        if begins {
            last_begin = Some(at);
        } else if follows("END") {
            last_end = Some((at, end + "END".len()));
        } else {
            continue;
        }
        first = first.or(Some((at, begins)));
    }
    let before = match first {
        None => return text.to_owned(),
        Some((at, true)) => &text[..at],
        Some((_, false)) => "",
    };
    let closed = last_end.filter(|(at, _)| last_begin < Some(*at));
    let label = closed.map_or("", |(_, end)| &text[end..]);
    let after = all_dashes(label)
        .next()
        .map_or("", |(_, end)| &label[end..]);
    format!("{before}{HIDDEN}{after}")
}

/// Without what stands before the `@` of an address and is a secret.
fn without_users(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace());
        let host = after[..end.unwrap_or(after.len())].rfind('@').unwrap_or(0);
        let user = &after[..host];
        let scheme = before[..at].to_ascii_lowercase();
        let is_service = ["http", "https", "ws", "wss"]
            .iter()
            .any(|end| scheme.ends_with(end));
        let colon = user
            .find([':', '@'])
            .filter(|at| user[*at..].starts_with(':'));
        match colon {
            _ if host > 0 && is_service => shown.push_str(HIDDEN),
            Some(colon) => {
                shown.push_str(&user[..=colon]);
                shown.push_str(HIDDEN);
            }
            None => shown.push_str(user),
        }
        rest = &after[host..];
    }
    shown + rest
}

/// Without the values of parameters, headers and fields whose names say that they are secret.
fn without_values(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let value = match rest[at..].starts_with('=') {
            true => parameter(rest, at),
            false => field(rest, at),
        };
        let (begin, end) = value.unwrap_or((at + 1, at + 1));
        shown.push_str(&rest[..begin]);
        if end > begin {
            shown.push_str(HIDDEN);
        }
        rest = &rest[end..];
    }
    shown + rest
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-".contains(c)
}

/// The name that a text ends with, and what is before it.
fn last_name(text: &str) -> (&str, &str) {
    let before = text.trim_end_matches(is_name);
    (before, &text[before.len()..])
}

/// Of a query, at its equals sign: where the value is, if it is secret.
fn parameter(text: &str, at: usize) -> Option<(usize, usize)> {
    let (before, name) = last_name(&text[..at]);
    let is_parameter = before.ends_with(['?', '&']) || before.ends_with("&amp;");
    if !is_parameter || !is_secret_name(name) {
        return None;
    }
    let ends = |c: char| c.is_whitespace() || "&#;\"'`<>)]}".contains(c);
    let length = text[at + 1..].find(ends).unwrap_or(text.len() - at - 1);
    Some((at + 1, at + 1 + length))
}

/// Of a header or of JSON, at its colon: where the value is, if it is secret.
fn field(text: &str, at: usize) -> Option<(usize, usize)> {
    let head = text[..at].trim_end_matches(' ');
    let unquoted = head.trim_end_matches(['"', '\'']).trim_end_matches('\\');
    let closing = &head[unquoted.len()..];
    let (before, name) = last_name(unquoted);
    let lower = name.to_ascii_lowercase();
    let is_header = [
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
    ]
    .contains(&&*lower)
        || lower.starts_with("x-");
    if !is_secret_name(name) || (closing.is_empty() && !is_header) {
        return None;
    }
    let value = text[at + 1..].trim_start_matches(' ');
    let begin = text.len() - value.len();
    let slashes = value.len() - value.trim_start_matches('\\').len();
    let is_quoted = value[slashes..].starts_with(['"', '\'']);
    let opening = if is_quoted { &value[..=slashes] } else { "" };
    // A header within quotes ends with these, one by itself with its line.
    let end = match (closing.is_empty(), opening) {
        (false, "") => return None,
        (_, "") => match before.chars().last().filter(|c| "\"'".contains(*c)) {
            Some(quote) => value.find(quote),
            None => value.find(['\r', '\n']),
        },
        (_, quote) => closing_quote(&value[quote.len()..], quote).map(|end| quote.len() + end),
    };
    let end = begin + end.unwrap_or(value.len());
    Some(((begin + opening.len()).min(end), end))
}

/// Where a value ends that began with this quote, which is a character behind as many backslashes as here.
fn closing_quote(value: &str, quote: &str) -> Option<usize> {
    let mut places = value.match_indices(quote);
    let (at, _) = places.find(|(at, _)| !value[..*at].ends_with('\\'))?;
    Some(at)
}

/// Without what follows the word for a kind of credentials, if that looks like some.
fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest
        .find("earer ")
        .into_iter()
        .chain(rest.find("asic "))
        .min()
    {
        let begin = at + rest[at..].find(' ').unwrap_or(0) + 1;
        let is_one = |c: char| c.is_ascii_alphanumeric() || "-._~+/=%".contains(c);
        let value = &rest[begin..];
        let length = value.find(|c| !is_one(c)).unwrap_or(value.len());
        let has_digit = value[..length].contains(|c: char| c.is_ascii_digit());
        shown.push_str(&rest[..begin]);
        let is_secret = length >= 20 || (length >= 6 && has_digit);
        shown.push_str(if is_secret { HIDDEN } else { &value[..length] });
        rest = &value[length..];
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(cases: &[(&str, &str)]) {
        for (text, shown) in cases {
            assert_eq!(without_secrets(text), *shown);
        }
    }

    #[test]
    fn pem_is_not_shown() {
        let secret = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n-----BEGIN MIRAI TOKEN-----\nxyz\n-----END \
            MIRAI TOKEN-----\n";
        let call = format!("mirai::daemon(\"tls+tcp://a:1\",tlscert=c(\"{secret}\",\"\"))");
        assert_eq!(
            without_secrets(&call),
            "mirai::daemon(\"tls+tcp://a:1\",tlscert=c(\"...\n\",\"\"))"
        );
        check(&[
            ("a -----BEGIN b-----c", "a ..."),
            ("c -----END a----- d", "... d"),
            ("c -----END a----- d -----BEGIN b-----e", "..."),
            ("c -----END a", "..."),
            // As R writes the words that it is started with.
            (
                "tlscert=c(\"-----BEGIN~+~MIRAI~+~TOKEN-----~n~xyz~n~-----END~+~MIRAI~+~TOKEN-----~n~\")",
                "tlscert=c(\"...~n~\")",
            ),
            ("a %2D%2D%2d%2D%2DBEGIN%20x y", "a ..."),
            ("a \\\\u002d\\u002D\\u002d\\u002d\\u002dBEGIN x y", "a ..."),
            ("&#45;&#x2d;-\\x2d-begin x", "..."),
        ]);
    }

    #[test]
    fn users_and_passwords_of_addresses_are_not_shown() {
        check(&[
            (
                "https://TOKEN@host/x and HTTP://TOKEN@host",
                "https://...@host/x and HTTP://...@host",
            ),
            (
                "https://TOKEN:@host wss://TOKEN:x-oauth-basic@host/a@b",
                "https://...@host wss://...@host/a@b",
            ),
            (
                "tcp://me:secret@host and https://to@ken@host",
                "tcp://me:...@host and https://...@host",
            ),
            (
                "ssh://me@host:22 and a@b.c:d",
                "ssh://me@host:22 and a@b.c:d",
            ),
        ]);
    }

    #[test]
    fn values_whose_names_say_that_they_are_secret_are_not_shown() {
        check(&[
            (
                "GET http://h/x?token=abc&n=1#top",
                "GET http://h/x?token=...&n=1#top",
            ),
            (
                "http://h?n=1&access_token=a.b-c%3D, no",
                "http://h?n=1&access_token=... no",
            ),
            (
                "http://h/?key=1&amp;sig=2'>",
                "http://h/?key=...&amp;sig=...'>",
            ),
            (
                "http://h?X-Amz-Signature=ab12 and ?page=3",
                "http://h?X-Amz-Signature=... and ?page=3",
            ),
            (
                "Authorization: Bearer abc\r\nHost: b",
                "Authorization: ...\r\nHost: b",
            ),
            (
                "curl -H 'X-Api-Key: abc d' http://h",
                "curl -H 'X-Api-Key: ...' http://h",
            ),
            ("cookie: a=1; b=2\nx: y", "cookie: ...\nx: y"),
            (
                "{\"access_token\": \"a\\nb\", \"n\": 1}",
                "{\"access_token\": \"...\", \"n\": 1}",
            ),
            (
                "{\\\"token\\\":\\\"abc\\\",\\\"n\\\":1}",
                "{\\\"token\\\":\\\"...\\\",\\\"n\\\":1}",
            ),
            ("{'Authorization':'Basic abc'}", "{'Authorization':'...'}"),
            ("{\"token\":\"cut he", "{\"token\":\"..."),
            (
                "{\"token\":\"\",\"key\":\"a\\\"b\",\"n\":\"c\"}",
                "{\"token\":\"\",\"key\":\"...\",\"n\":\"c\"}",
            ),
            (
                "invalid Bearer eyJhbGciOi.J9 here",
                "invalid Bearer ... here",
            ),
        ]);
    }

    #[test]
    fn all_else_is_shown() {
        let plain = [
            "",
            "-----x",
            "mirai::daemon(\"tcp://a:1\",dispatcher=FALSE,maxtasks=1)",
            "token: none was given",
            "the key: value",
            "a == b & key == 3, x:y, C:\\tokens, f(token = 1)",
            "{\"token\":5,\"name\":\"x\"}",
            "basic things, a bearer of news, Bearer tokens",
            "12:30:01 http://h:80/a?b=c",
        ];
        for text in plain {
            assert_eq!(without_secrets(text), text);
        }
    }

    proptest! {
        /// Whatever it is: no place is cut through, and nothing changes the second time.
        #[test]
        fn any_text_has_a_form_without_secrets(text in "([-%&#\\\\:/@?=\"' \n]|token|BEGIN|END|key|é|x2d|http|Bearer ){0,40}") {
            let shown = without_secrets(&text);
            prop_assert_eq!(without_secrets(&shown), shown);
        }

        #[test]
        fn no_token_of_a_query_or_header_is_shown(secret in "[A-Za-z0-9._~-]{8,40}") {
            for text in [
                format!("http://h/a?token={secret}"),
                format!("see http://h/a?b=1&api-key={secret} or\nAuthorization: Bearer {secret}"),
                format!("{{\"headers\":{{\"X-Auth-Token\":\"{secret}\"}}}}"),
            ] {
                prop_assert!(!without_secrets(&text).contains(&secret));
            }
        }
    }
}
