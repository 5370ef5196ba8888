//! The configuration file: TOML with the settings of a [`Schema`]. Owns reading it and finding what is wrong in it,
//! each with its line. No problem holds a value, except of a setting that is known and no secret.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::guess::{Hint, guess};
use super::problem::{Place, Problem};
use super::schema::Schema;
use crate::files;
use crate::nearest::nearest;
use crate::plain::quoted;

/// Bytes of the longest file.
const BYTES_MAX: u64 = 1024 * 1024;
/// Characters of a name that is repeated.
const NAME_CHARACTERS_MAX: usize = 64;
/// Lines that are no TOML after which the rest is not looked at any more.
const BROKEN_LINES_MAX: usize = 50;

/// Problems that one file is told of; of a file that is something else there would be one a line.
const PROBLEMS_MAX: usize = 50;

type Name<'n> = Spanned<std::borrow::Cow<'n, str>>;

/// What became of a file's text.
#[derive(Debug, Default)]
pub(crate) struct Contents {
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
///
/// # Errors
/// It cannot be read within the bounds of [`files`], or is not UTF-8.
pub(crate) fn read<C: Schema>(path: &Path) -> Result<String, Problem> {
    let failed = |reason: String| {
        let name = path.display().to_string();
        Problem::Unreadable { name, reason, program: C::PROGRAM }
    };
    let bytes = files::read(path, BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".to_owned()))
}

/// Take over what a file says; what is wrong is added to `problems`.
pub(crate) fn apply<C: Schema>(config: &mut C, text: &str, name: &str, problems: &mut Vec<Problem>) -> Contents {
    let Whole { text, broken, blind } = Whole::of(text);
    // Whatever stands on a broken line is not known.
    let wrong = broken.iter().flat_map(|(line, _)| settings_on::<C>(&text, *line)).collect();
    let contents = Contents { wrong, blind, ..Contents::default() };
    let mut reader = Reader { config, text: &text, name, problems: Vec::new(), contents, more: 0 };
    for (line, reason) in broken {
        let place = reader.place(line);
        reader.problems.push((line, Problem::NotToml { place, reason }));
    }
    if let Some(document) = DeTable::parse(&text).ok().filter(|_| !blind) {
        for (key, value) in document.get_ref() {
            match value.get_ref() {
                DeValue::Table(table) if C::find(key.get_ref()).is_none() => reader.section(key, table),
                value => reader.key("", key, value),
            }
        }
    }
    // A document gives its keys in the order of their names.
    let Reader { problems: mut found, contents, more, .. } = reader;
    found.sort_by_key(|(line, _)| *line);
    problems.extend(found.into_iter().map(|(_, problem)| problem));
    if more > 0 {
        problems.push(Problem::More { name: name.to_owned(), count: more });
    }
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
            // Commented out it is wrong all the same: a control character, which no line may hold.
            let again = whole.broken.last().is_some_and(|(last, _)| *last == line);
            if !again {
                whole.broken.push((line, reason));
            }
            if again || !own_fault || whole.broken.len() == BROKEN_LINES_MAX {
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
fn settings_on<C: Schema>(text: &str, line: usize) -> Vec<String> {
    let line = text.lines().nth(line - 1).unwrap_or_default().trim_start_matches(['#', ' ', '\t', '"']);
    let name = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap_or_default();
    C::keys().filter(|key| key.name == name || key.section == name && !name.is_empty()).map(|key| key.path()).collect()
}

/// Takes settings over one by one.
struct Reader<'r, C> {
    config: &'r mut C,
    text: &'r str,
    /// The file, for people.
    name: &'r str,
    /// Each with its line.
    problems: Vec<(usize, Problem)>,
    /// Settings beyond [`PROBLEMS_MAX`] problems, which were not looked at.
    more: usize,
    contents: Contents,
}

impl<C: Schema> Reader<'_, C> {
    fn place(&self, line: usize) -> Place {
        Place::File { name: self.name.to_owned(), line }
    }

    /// Adds what is wrong with what stands at this byte.
    fn problem(&mut self, at: usize, problem: impl FnOnce(Place) -> Problem) {
        let line = line_number(self.text, at);
        self.problems.push((line, problem(self.place(line))));
    }

    fn section(&mut self, section: &Name<'_>, table: &DeTable<'_>) {
        let name: &str = section.get_ref();
        let named = |known: &str| known == name && !known.is_empty();
        if !C::sections().iter().any(|known| named(known.name)) {
            return self.no_section(section);
        }
        for (key, value) in table {
            self.key(name, key, value.get_ref());
        }
    }

    fn no_section(&mut self, section: &Name<'_>) {
        let name: &str = section.get_ref();
        let known = C::sections().iter().map(|section| section.name).filter(|name| !name.is_empty());
        let meant = nearest(name, known);
        let settings = C::keys().filter(|key| meant.is_some_and(|meant| key.section == meant));
        self.contents.guessed.extend(settings.map(|key| key.path()));
        let name = quoted(name, NAME_CHARACTERS_MAX).trim_matches('"').to_owned();
        self.problem(section.span().start, |place| Problem::NoSection { place, name, meant });
    }

    fn key(&mut self, section: &str, key: &Name<'_>, value: &DeValue<'_>) {
        if self.problems.len() >= PROBLEMS_MAX {
            // What the rest would say is not known.
            self.contents.blind = true;
            self.more += 1;
            return;
        }
        let name: &str = key.get_ref();
        let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        let at = key.span().start;
        let Some(known) = C::find(&path) else {
            self.contents.guessed.extend(guess::<C>(section, name).map(|key| key.path()));
            let (shown, section, hint) =
                (quoted(name, NAME_CHARACTERS_MAX), section.to_owned(), Hint::of::<C>(section, name));
            return self.problem(at, |place| Problem::NoSetting { place, name: shown, section, hint });
        };
        if let Err(faults) = known.set_toml(self.config, value) {
            for fault in faults.0 {
                self.problem(at, |place| Problem::Value { place, setting: path.clone(), fault });
            }
            self.contents.wrong.push(path);
        } else {
            self.contents.given.push(path);
        }
    }
}
