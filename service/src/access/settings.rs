//! The tokens that settings hold, and those in the files that settings name. Owns reading them, and the refusal of a
//! text that is no token, which is never repeated; the program says which settings there are and what they allow.

use std::path::Path;

use super::Scope;
use super::tokens::{TOKENS_MAX, Token, TokenError, lines};
use crate::config::value::text::Secret;
use crate::config::{ConfigError, Known, Problem};
use crate::files;

/// Bytes of one token file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Tokens of one kind, where they stand, and what they allow.
#[derive(Clone, Copy, Debug)]
pub struct TokenSettings<'c> {
    /// The setting that holds tokens.
    pub setting: &'static str,
    /// The setting that names a file of more.
    pub file_setting: &'static str,
    /// What stands in the first.
    pub texts: &'c [Secret],
    /// What stands in the second; empty for none.
    pub file: &'c Path,
    /// What each of them allows.
    pub scopes: &'static [Scope],
}

/// The token files that are set, each with its setting.
pub fn files<'c>(kinds: impl IntoIterator<Item = TokenSettings<'c>>) -> impl Iterator<Item = (&'static str, &'c Path)> {
    let named = kinds.into_iter().filter(|kind| !kind.file.as_os_str().is_empty());
    named.map(|kind| (kind.file_setting, kind.file))
}

/// All tokens of these settings, as far as those are known.
///
/// # Errors
/// Everything that is wrong with them, a sentence each.
pub fn read(kinds: &[TokenSettings<'_>], known: &Known) -> Result<Vec<Token>, ConfigError> {
    let mut tokens = Vec::new();
    let mut problems = Vec::new();
    for kind in kinds {
        let before = tokens.len();
        if known.all(&[kind.setting]) {
            kind.add_texts(&mut tokens, &mut problems);
        }
        if known.all(&[kind.file_setting]) {
            kind.add_file(&mut tokens, &mut problems);
        }
        let count = tokens.len() - before;
        if count > TOKENS_MAX {
            problems.push(format!("{} {}", kind.setting, TokenError::TooMany(count)));
        }
    }
    ConfigError::unless_none(problems.into_iter().map(Problem::Named).collect())?;
    Ok(tokens)
}

impl TokenSettings<'_> {
    fn add_texts(&self, tokens: &mut Vec<Token>, problems: &mut Vec<String>) {
        let mut said = Vec::new();
        for Secret(text) in self.texts {
            match Token::new(text, self.setting, self.scopes) {
                Ok(token) => tokens.push(token),
                Err(error) => said.push(format!("{} {} {error}", article(self.setting), self.setting)),
            }
        }
        said.dedup();
        problems.extend(said);
    }

    fn add_file(&self, tokens: &mut Vec<Token>, problems: &mut Vec<String>) {
        if self.file.as_os_str().is_empty() {
            return;
        }
        let name = format!("{} {}", self.file_setting, self.file.display());
        let text = match files::read(self.file, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(reason) => return problems.push(format!("{name} cannot be read: {reason}")),
        };
        let lines = match lines(&text) {
            Ok(lines) => lines,
            Err(error) => return problems.push(format!("{name} {error}")),
        };
        let mut said = Vec::new();
        for line in lines {
            match Token::new(line, self.setting, self.scopes) {
                Ok(token) => tokens.push(token),
                Err(error) => said.push(format!("{name}: a token in it {error}")),
            }
        }
        said.dedup();
        problems.extend(said);
    }
}

/// "a push_token", "an admin_token".
fn article(setting: &str) -> &'static str {
    if setting.starts_with('a') { "an" } else { "a" }
}
