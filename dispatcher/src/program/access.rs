//! Who may ask the program for what, as configured. Owns which tokens allow what; reading them and the rules themselves
//! are [`halley_service::access`]'s. Made at the start and at every reload, before anything is taken over.

use std::path::Path;

use halley_service::access::settings::{self, TokenSettings};
use halley_service::access::{Access, Scope};
use halley_service::config::{ConfigError, Known};

use super::settings::{Config, Insecure};
pub(super) use crate::ingress::access::OBSERVE;
use crate::ingress::access::{PUSH, QUESTIONS, tokens};

/// What callers may be allowed, by the names that metrics have for it.
pub(super) const SCOPES: [(&str, Scope); 3] = [("questions", QUESTIONS), ("push", PUSH), ("observe", OBSERVE)];

fn kinds(config: &Config) -> [TokenSettings<'_>; 2] {
    let general = &config.general;
    tokens((&general.push_token, &general.push_token_file), (&general.read_token, &general.read_token_file))
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
