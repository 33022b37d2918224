//! What programs have said, as it may be shown.

use crate::secrets::without_secrets;

/// Characters that change the direction of writing.
const TURNING: [char; 12] = [
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

/// As a terminal would have it in the end, but without secrets and without anything that the terminal would act upon: of a line
/// what was written over what, of colours and the like the text alone.
pub fn printable(text: &str) -> String {
    let text = without_sequences(&without_secrets(text));
    let lines = text.split('\n').map(|line| {
        let last = line.rsplit('\r').find(|part| !part.is_empty());
        last.unwrap_or_default()
    });
    let mut shown = lines.collect::<Vec<_>>().join("\n");
    shown.retain(|c| (!c.is_control() && !TURNING.contains(&c)) || matches!(c, '\n' | '\t'));
    shown
}

/// Without what begins with an escape character, as a whole.
fn without_sequences(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\x1b' {
            shown.push(c);
            continue;
        }
        match rest.peek() {
            Some('[') => {
                rest.next();
                while rest.next_if(|c| (' '..='?').contains(c)).is_some() {}
                rest.next_if(|c| ('@'..='~').contains(c));
            }
            Some(']') => {
                let is_title = |c: &char| !matches!(c, '\x07' | '\x1b' | '\n');
                while rest.next_if(is_title).is_some() {}
            }
            // What ends a title.
            Some('\\') => drop(rest.next()),
            _ => {}
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_not_shown() {
        for (said, shown) in [
            ("plain\n\ttext \u{e9}\n", "plain\n\ttext \u{e9}\n"),
            ("\x1b[2J\x1b[1;31mred\x1b[0m\tblue", "red\tblue"),
            ("\x1b]0;title\x07here\r\n", "here\n"),
            ("\x1b]0;title\x1b\\here", "here"),
            ("\x1b]0;cut\nthere", "\nthere"),
            ("a\x08\x07\u{9b}b\x1b\u{202e}c", "abc"),
        ] {
            assert_eq!(printable(said), shown);
        }
    }

    #[test]
    fn of_a_line_that_is_written_anew_the_last_is_shown() {
        for (said, shown) in [
            ("10 %\r20 %\r\nnext", "20 %\nnext"),
            ("10 %\r\x1b[K20 %", "20 %"),
            ("\r\r\n", "\n"),
        ] {
            assert_eq!(printable(said), shown);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let said = "\x1b[1m-----BEGIN MIRAI TOKEN-----\r\nxyz";
        assert_eq!(printable(said), "...");
    }
}
