//! Who may ask the program for what, as configured. Owns which tokens allow what; reading them and the rules themselves
//! are [`halley_service::access`]'s. Made at the start and at every reload, before anything is taken over.

use std::path::Path;

use halley_service::access::settings::{self, TokenSettings};
use halley_service::access::{Access, Scope};
use halley_service::config::{ConfigError, Known};

use super::settings::{Config, Insecure};
use crate::ingress::access::{PUSH, QUESTIONS};

/// Metrics.
pub(super) const OBSERVE: Scope =
    Scope { bit: 2, what: "reading metrics", setting: "read_token", needs_this_machine: true };

/// What callers may be allowed, by the names that metrics have for it.
pub(super) const SCOPES: [(&str, Scope); 3] = [("questions", QUESTIONS), ("push", PUSH), ("observe", OBSERVE)];

fn kinds(config: &Config) -> [TokenSettings<'_>; 2] {
    let general = &config.general;
    [
        TokenSettings {
            setting: "push_token",
            file_setting: "push_token_file",
            texts: &general.push_token,
            file: &general.push_token_file,
            scopes: &[PUSH, QUESTIONS, OBSERVE],
        },
        TokenSettings {
            setting: "read_token",
            file_setting: "read_token_file",
            texts: &general.read_token,
            file: &general.read_token_file,
            scopes: &[QUESTIONS, OBSERVE],
        },
    ]
}

/// The token files that are set, each with its setting.
pub(super) fn token_files(config: &Config) -> impl Iterator<Item = (&'static str, &Path)> {
    settings::files(kinds(config))
}

/// The rules of this configuration. Reads the token files; says everything that is wrong in what is known of them.
pub(super) fn access(config: &Config, known: &Known) -> Result<Access, ConfigError> {
    let tokens = settings::read(&kinds(config), known)?;
    let none = tokens.is_empty();
    let mut access = Access::new(tokens);
    // What was accepted is that nobody needs a token because there is none.
    if none && config.general.insecure.contains(&Insecure::OpenIngress) {
        access = access.open_to_all(PUSH).open_to_all(QUESTIONS);
    }
    Ok(access)
}
