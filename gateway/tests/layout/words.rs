//! Words that do not belong in finished work. Owns their list, put together here so that this file may hold them.

use crate::source::{has_word, read, sources};

/// Words of unfinished work and of places that exist on one machine only.
pub fn unfinished_words() -> Vec<String> {
    let pairs = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X:"),
        ("HA", "CK"),
        ("simpli", "fied"),
        ("un", "implemented!("),
        ("to", "do!("),
        ("dbg", "!("),
        ("/wo", "rk/"),
        ("/ro", "ot/"),
    ];
    pairs.map(|(a, b)| format!("{a}{b}")).into()
}

/// Phrases that speak of a list of wishes somewhere else: what the text says must stand here. Lines may break within
/// them.
pub fn foreign_phrases(path: &str, text: &str) -> Vec<String> {
    let comment = |c: char| c.is_whitespace() || "/!*#>-".contains(c);
    let words = text.split(comment).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").to_lowercase();
    [("the is", "sue"), ("is", "sue of"), ("this is", "sue"), ("is", "sue says"), ("is", "sue #")]
        .map(|(a, b)| format!("{a}{b}"))
        .into_iter()
        .filter(|phrase| has_word(&words, phrase))
        .map(|phrase| format!("{path}: `{phrase}` speaks of something that is not here"))
        .collect()
}

#[test]
fn other_files_hold_no_unfinished_work() {
    let mut files = sources(&[".md", ".toml", ".proto", ".js", ".css", ".html", ".py", ".sh"]);
    for name in
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Cargo.toml", "test", "cluster", ".ci/run", ".ci/deny.toml"]
    {
        files.push(crate::source::Source { path: name.into(), text: read(name) });
    }
    for crate::source::Source { path, text } in &files {
        for word in unfinished_words() {
            assert!(!text.contains(&word), "{path} holds `{word}`");
        }
        assert_eq!(foreign_phrases(path, text), [""; 0]);
    }
}
