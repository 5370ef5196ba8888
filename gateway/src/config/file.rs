//! The configuration file: TOML with the settings of [`super::schema`]. Owns reading it and the sentences about what is
//! wrong in it, each with its line. No sentence repeats a value, except of a setting that is known and no secret.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use halley_service::files;
use halley_service::plain::quoted;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::{did_you_mean, guess, nearest};
use super::schema::{Config, SECTIONS, find, keys};

/// Bytes of the longest file.
const BYTES_MAX: u64 = 1024 * 1024;
/// Characters of a name that is repeated.
const NAME_CHARACTERS_MAX: usize = 64;
/// Lines that are no TOML after which the rest is not looked at any more.
const BROKEN_LINES_MAX: usize = 50;

type Name<'n> = Spanned<std::borrow::Cow<'n, str>>;

/// What became of a file's text.
#[derive(Debug, Default)]
pub struct Contents {
    /// Settings whose values could not be read.
    pub wrong: Vec<String>,
    /// Settings that seem to have been meant by names that do not exist.
    pub guessed: Vec<String>,
    /// Settings that it gives.
    pub given: Vec<String>,
    /// It is not TOML in a way that leaves open what belongs where: nothing was taken from it.
    pub blind: bool,
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String, String> {
    let failed = |reason: &dyn fmt::Display| {
        format!(
            "cannot read the configuration {}: {reason}; `halley-gateway default-config` prints one to begin with",
            path.display()
        )
    };
    let bytes = files::read(path, BYTES_MAX).map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8"))
}

/// Take over what a file says; what is wrong is added to `problems`.
pub fn apply(config: &mut Config, text: &str, name: &str, problems: &mut Vec<String>) -> Contents {
    let Whole { text, broken, blind } = Whole::of(text);
    let lines = broken.iter().map(|(line, reason)| (*line, format!("not TOML: {reason}"))).collect();
    // Whatever stands on a broken line is not known.
    let wrong = broken.iter().flat_map(|(line, _)| settings_on(&text, *line)).collect();
    let mut reader =
        Reader { config, text: &text, problems: lines, contents: Contents { wrong, blind, ..Contents::default() } };
    if let Some(document) = DeTable::parse(&text).ok().filter(|_| !blind) {
        for (key, value) in document.get_ref() {
            match value.get_ref() {
                DeValue::Table(table) if find(key.get_ref()).is_none() => reader.section(key, table),
                value => reader.key("", key, value),
            }
        }
    }
    // A document gives its keys in the order of their names.
    let Reader { problems: mut lines, contents, .. } = reader;
    lines.sort_by_key(|(line, _)| *line);
    problems.extend(lines.into_iter().map(|(line, sentence)| format!("{name}, line {line}: {sentence}")));
    contents
}

/// A text with every line that is no TOML commented out, as long as what follows a line does not depend on it.
struct Whole {
    text: String,
    /// Those lines, counted from 1, and why.
    broken: Vec<(usize, String)>,
    /// It is still no TOML.
    blind: bool,
}

impl Whole {
    fn of(text: &str) -> Whole {
        let mut whole = Whole { text: text.to_owned(), broken: Vec::new(), blind: false };
        while let Err(error) = DeTable::parse(&whole.text) {
            // The library's reasons are made of its own words: they repeat nothing.
            let reason = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
            let at = error.span().map_or(0, |span| span.start.min(whole.text.len()));
            let (line, start, end) = line_at(&whole.text, at);
            let own_fault = {
                let text = whole.text[start..end].trim_start();
                let alone = reason == "duplicate key" || DeTable::parse(text).is_err();
                !text.starts_with('[') && alone
            };
            whole.broken.push((line, reason));
            if !own_fault || whole.broken.len() == BROKEN_LINES_MAX {
                whole.blind = true;
                break;
            }
            // In place: every other line stays where it is.
            whole.text.insert(start, '#');
        }
        whole
    }
}

/// The line with this byte: its number from 1, and its bytes without the newline.
fn line_at(text: &str, at: usize) -> (usize, usize, usize) {
    let before = &text.as_bytes()[..at];
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    (line_number(text, at), start, end)
}

fn line_number(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}

/// Every setting that a commented-out line may have been about.
fn settings_on(text: &str, line: usize) -> Vec<String> {
    let line = text.lines().nth(line - 1).unwrap_or_default().trim_start_matches(['#', ' ', '\t', '"']);
    let name = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap_or_default();
    keys().filter(|key| key.name == name || key.section == name && !name.is_empty()).map(|key| key.path()).collect()
}

/// Takes settings over one by one.
struct Reader<'r> {
    config: &'r mut Config,
    text: &'r str,
    /// Each with its line.
    problems: Vec<(usize, String)>,
    contents: Contents,
}

impl Reader<'_> {
    fn problem(&mut self, span: Range<usize>, sentence: String) {
        self.problems.push((line_number(self.text, span.start), sentence));
    }

    fn section(&mut self, section: &Name<'_>, table: &DeTable<'_>) {
        let name: &str = section.get_ref();
        if name.is_empty() || !SECTIONS.iter().any(|known| known.name == name) {
            let guess = nearest(name, SECTIONS.iter().map(|section| section.name).filter(|name| !name.is_empty()));
            let hint = guess.map(|guess| format!("; did you mean [{guess}]?")).unwrap_or_default();
            let meant = keys().filter(|key| guess.is_some_and(|guess| key.section == guess));
            self.contents.guessed.extend(meant.map(|key| key.path()));
            let name = quoted(name, NAME_CHARACTERS_MAX);
            return self.problem(section.span(), format!("there is no section [{}]{hint}", name.trim_matches('"')));
        }
        for (key, value) in table {
            self.key(name, key, value.get_ref());
        }
    }

    fn key(&mut self, section: &str, key: &Name<'_>, value: &DeValue<'_>) {
        let name: &str = key.get_ref();
        let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        let Some(known) = find(&path) else {
            let scope = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
            let shown = quoted(name, NAME_CHARACTERS_MAX);
            self.contents.guessed.extend(guess(section, name).map(|key| key.path()));
            return self
                .problem(key.span(), format!("there is no setting {shown}{scope}{}", did_you_mean(section, name)));
        };
        if let Err(reasons) = (known.set_toml)(self.config, value) {
            for reason in reasons {
                self.problem(key.span(), format!("{path} {reason}"));
            }
            self.contents.wrong.push(path);
        } else {
            self.contents.given.push(path);
        }
    }
}
