//! Texts for other interpreters: R code, and commands as one types them in a shell.

use crate::context::Context;
use crate::secrets::without_secrets;
use std::path::Path;

/// The descriptor at which the fork server finds its socket to the host.
pub const SERVER_FD: i32 = 3;

/// The R code a fork server runs: library paths of the host, mirai from where the host has
/// it, and the loop.
pub fn server_script(context: &Context) -> String {
    let mut steps = prelude(context);
    steps.push(format!("mirai:::serve_forks({SERVER_FD}L)"));
    format!("{{{}}}", steps.join(";"))
}

/// The R code that goes before all else: library paths of the host, and mirai from where the
/// host has it.
pub(crate) fn prelude(context: &Context) -> Vec<String> {
    let paths: Vec<String> = context.library_paths.iter().map(|p| r_string(p)).collect();
    let library = context.package.as_deref().and_then(Path::parent);
    let paths = (!paths.is_empty()).then(|| format!(".libPaths(c({}))", paths.join(",")));
    let load = library.map(|l| format!("loadNamespace(\"mirai\",lib.loc={})", r_string(l)));
    paths.into_iter().chain(load).collect()
}

/// An R string literal.
fn r_string(text: &Path) -> String {
    let mut literal = String::from("\"");
    for c in text.to_string_lossy().chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            '\n' => literal.push_str("\\n"),
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

/// The text without secrets, and without the lines of these, in whatever way the rest of these is written in the text.
#[cfg(target_os = "linux")]
pub(crate) fn without(text: &str, secrets: &[String]) -> String {
    let lines = secrets.iter().flat_map(|secret| secret.lines());
    let lines = lines.map(str::trim).filter(|line| line.len() >= TELLING);
    lines.fold(without_secrets(text), |text, line| {
        text.replace(line, "...")
    })
}

/// Lines of fewer bytes than this tell nothing, and may be anywhere.
#[cfg(target_os = "linux")]
const TELLING: usize = 12;

/// A command line as one would type it in a shell, without secrets.
pub(crate) fn shell_line(words: &[String]) -> String {
    let shown = words.iter().map(|word| without_secrets(word));
    let quoted: Vec<String> = shown.map(|word| shell_word(&word)).collect();
    quoted.join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_r_strings() {
        assert_eq!(r_string(Path::new(r#"/a "b"\c"#)), r#""/a \"b\"\\c""#);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn secrets_are_found_by_what_they_are() {
        let secret = "-----BEGIN MIRAI TOKEN-----\r\nMDEyMzQ1Njc4OWFi\r\nMDEy\r\n-----END MIRAI TOKEN-----\r\n".to_owned();
        let line = "R -e daemon(%2D%2DBEGIN%20MIRAI%20TOKEN%0AMDEyMzQ1Njc4OWFi%0AMDEy)";
        assert_eq!(
            without(line, &[secret]),
            "R -e daemon(%2D%2DBEGIN%20MIRAI%20TOKEN%0A...%0AMDEy)"
        );
    }

    #[test]
    fn words_survive_a_shell() {
        let words = ["a b".to_owned(), "it's".to_owned(), "x=1".to_owned()];
        assert_eq!(shell_line(&words), r"'a b' 'it'\''s' x=1");
    }

    #[test]
    fn the_script_loads_mirai_from_the_hosts_library() {
        let context = Context {
            environment: Vec::new(),
            working_dir: "/".into(),
            library_paths: vec!["/a".into(), "/b".into()],
            package: Some("/a/mirai".into()),
        };
        assert_eq!(
            server_script(&context),
            r#"{.libPaths(c("/a","/b"));loadNamespace("mirai",lib.loc="/a");mirai:::serve_forks(3L)}"#
        );
    }
}
