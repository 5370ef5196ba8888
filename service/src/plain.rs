//! Text that a terminal or a log may be given. What a stranger wrote must not begin a line of its own, move the cursor,
//! or turn the direction of what follows. Owns which characters do that, and how they are shown instead: as Rust writes
//! them in a literal (`\n`, `\u{1b}`), or as JSON does (`\u001b`).

use std::fmt::{self, Write};

/// Whether a character is shown as it is. Others are control characters (ESC, newline, C1), the ends of lines and
/// paragraphs of Unicode, and those that change the direction of text (UAX #9).
pub fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Shows what it holds with every other character escaped.
#[derive(Clone, Copy, Debug)]
pub struct Plain<T>(pub T);

impl<T: fmt::Display> fmt::Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(PlainWriter(f), "{}", self.0)
    }
}

/// Passes text on with every other character escaped.
pub struct PlainWriter<W>(pub W);

impl<W: Write> Write for PlainWriter<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (plain, other) in pieces(text) {
            self.0.write_str(plain)?;
            if let Some(other) = other {
                write!(self.0, "{}", other.escape_default())?;
            }
        }
        Ok(())
    }
}

/// A line of JSON with every other character escaped; its last newline stays. They stand in strings only, so it means
/// the same.
pub fn json_line(line: &str) -> String {
    let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
    let mut escaped = String::with_capacity(line.len() + end.len());
    for (plain, other) in pieces(line) {
        escaped.push_str(plain);
        // All of them are below U+10000: one unit of UTF-16.
        escaped.extend(other.map(|other| format!("\\u{:04x}", u32::from(other))));
    }
    escaped + end
}

/// Runs of plain characters, each with the other one behind it, if there is one.
fn pieces(text: &str) -> impl Iterator<Item = (&str, Option<char>)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let other = text.char_indices().find(|&(_, character)| !is_plain(character));
        rest = other.map(|(at, character)| &text[at + character.len_utf8()..]);
        Some(other.map_or((text, None), |(at, character)| (&text[..at], Some(character))))
    })
}

/// The text in quotes and escaped, with `…` for what is beyond `characters_max`: a name that somebody else chose, in a
/// sentence.
pub fn quoted(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        Some((at, _)) => {
            let cut = Plain(format!("{:?}", &text[..at])).to_string();
            format!("{}…\"", cut.strip_suffix('"').unwrap_or(&cut))
        }
        None => Plain(format!("{text:?}")).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of every kind that a terminal or a reader of lines obeys.
    const OBEYED: [char; 15] = [
        '\n', '\r', '\t', '\0', '\u{7}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{61c}', '\u{200e}', '\u{202e}',
        '\u{2028}', '\u{2029}', '\u{2066}',
    ];

    #[test]
    fn whatever_a_terminal_obeys_is_escaped_and_the_rest_is_as_it_was() {
        for character in OBEYED {
            let shown = Plain(format!("a{character}b")).to_string();
            assert!(shown.chars().all(is_plain) && shown.starts_with("a\\") && shown.ends_with('b'), "{shown}");
        }
        assert_eq!(Plain("a\nb\u{1b}[2J\u{202e}c").to_string(), "a\\nb\\u{1b}[2J\\u{202e}c");
        for text in ["", "plain", "直播 ünïcode 🎈", "back\\slash \"quoted\""] {
            assert_eq!(Plain(text).to_string(), text);
        }
    }

    #[test]
    fn a_line_of_json_stays_one_and_means_the_same() {
        let all: String = OBEYED.iter().collect();
        let line = "{\"a\":\"\u{9b}2J\u{202e}\u{7f}\u{2028}直\"}\n";
        let plain = json_line(line);
        assert!(plain.trim_end_matches('\n').chars().all(is_plain) && plain.ends_with("}\n"), "{plain}");
        let value: serde_json::Value = serde_json::from_str(&plain).expect("JSON");
        assert_eq!(value["a"], "\u{9b}2J\u{202e}\u{7f}\u{2028}直");
        assert!(json_line(&format!("{all}\n")).trim_end_matches('\n').chars().all(is_plain));
    }

    #[test]
    fn a_name_is_quoted_and_cut() {
        assert_eq!(quoted("key-1", 8), "\"key-1\"");
        assert_eq!(quoted("a\"b\n", 8), "\"a\\\"b\\n\"");
        assert_eq!(quoted("直播直播直播", 2), "\"直播…\"");
    }
}
