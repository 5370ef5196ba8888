//! A configuration with everything that it names. Owns reading all of it, from the file to the last token, so that
//! everything that is wrong is found before anything is done by it; decides nothing. The start, a reload and
//! `check-config` all come through here, on a thread of its own: a file that does not answer hangs nobody else.

use halley_service::access::Access;
use halley_service::config::changes::{Changes, merge};
use halley_service::config::reading::Reading;
use halley_service::config::value::text::Secret;
use halley_service::config::{ConfigError, Draft, Known, Loaded, Problem, Schema as _, Sources};
use halley_service::failure::Failure;
use halley_service::files::loose;

use super::access::{access, token_files};
use super::settings::Config;

/// A configuration with everything that it names.
pub(super) struct Prepared {
    /// The settings, and where they come from.
    pub(super) loaded: Loaded<Config>,
    /// What of them differs from before.
    pub(super) changes: Changes,
    /// Who may ask for what.
    pub(super) access: Access,
    /// What the file of the password to the brokers holds, where one is named.
    pub(super) password: Option<Secret>,
    /// What is no error and should be known, a sentence each.
    pub(super) notes: Vec<String>,
}

impl Prepared {
    /// Read everything, or say everything that is wrong. Of settings that need a restart those of `current` stay.
    pub(super) fn read(sources: &Sources, current: Option<&Config>) -> Result<Prepared, ConfigError> {
        let draft = Draft::<Config>::read(sources);
        let named = named(&draft.loaded.config, &draft.known);
        let (mut loaded, (mut access_now, password)) = draft.finish_with(named)?;
        let mut changes = Changes::default();
        if let Some(current) = current {
            (loaded.config, changes) = merge(current, &loaded.config);
        }
        if !changes.restart.is_empty() {
            // What goes on is neither the old configuration nor the new one.
            let together = loaded.config.findings().into_iter().map(|finding| Problem::Together(finding.sentence));
            ConfigError::unless_none(together.collect())?;
            access_now = access(&loaded.config, &Known::default())?;
        }
        let notes = notes(&loaded);
        Ok(Prepared { loaded, changes, access: access_now, password, notes })
    }

    /// Read everything, for a thread without a runtime.
    pub(super) fn read_at_start(sources: &Sources) -> Result<Prepared, Failure> {
        let sources = sources.clone();
        Reading::at_start(move || Prepared::read(&sources, None))
    }
}

/// What the settings name, as far as they are known, or everything that is wrong with that.
fn named(config: &Config, known: &Known) -> Result<(Access, Option<Secret>), ConfigError> {
    let password = config.kafka.password(known).map_err(|said| ConfigError::from(Problem::Named(said)));
    match (access(config, known), password) {
        (Ok(access), Ok(password)) => Ok((access, password)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(error), Err(more)) => Err(error.and(more)),
    }
}

/// Files that others may write or read, who decide what they should not.
fn notes(loaded: &Loaded<Config>) -> Vec<String> {
    let settings = loaded.file.as_deref().into_iter().map(|path| ("the configuration", path));
    let files = settings.chain(token_files(&loaded.config)).chain(loaded.config.kafka.secret_files());
    let loose = files.filter_map(|(what, path)| loose(what, path));
    loose.chain(loaded.config.kafka.notes()).collect()
}
