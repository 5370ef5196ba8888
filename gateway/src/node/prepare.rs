//! A configuration with everything that it names: keys, certificates, tokens. Owns reading all of it, from the file to
//! the last key, so that everything that is wrong is found before anything is done by it; decides nothing. The start, a
//! reload and `check-config` all come through here, on a thread of its own: a file that does not answer hangs nobody
//! else.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use halley_protocol::login::jwt::JwtRules;
use halley_service::access::Access;
use halley_service::config::changes::{Changes, merge};
use halley_service::config::reading::Reading;
use halley_service::config::value::text::Secret;
use halley_service::failure::Failure;

use super::access::access;
use super::notes;
use crate::config::words::Auth;
use crate::config::{Config, ConfigError, Draft, Known, Loaded, Problem, Sources, check, convert};
use halley_service::tls::certificates::{self, CertificateError, Certificates};

/// A configuration with everything that it names.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The settings, and where they come from.
    pub loaded: Loaded,
    /// What of them differs from before.
    pub changes: Changes,
    /// What they name.
    pub named: Named,
}

/// What a configuration names in files, or secures with them.
#[derive(Debug)]
pub(super) struct Named {
    /// How signed logins are decided, where they are.
    pub jwt: Option<JwtRules>,
    /// Certificates, where anything listens with TLS.
    pub certificates: Option<Certificates>,
    /// Who may ask for what.
    pub access: Access,
    /// The password for the brokers of the log, where we log in.
    pub kafka_password: Option<Secret>,
    /// What the operator should know, a sentence each.
    pub notes: Vec<String>,
}

impl Prepared {
    /// Read everything, or say everything that is wrong. Of settings that need a restart those of `current` stay.
    pub(super) fn read(sources: &Sources, current: Option<&Config>) -> Result<Prepared, ConfigError> {
        let draft = Draft::read(sources);
        let named = Named::read(&draft.loaded.config, draft.loaded.file.as_deref(), &draft.known);
        let (mut loaded, mut named) = draft.finish_with(named)?;
        let mut changes = Changes::default();
        if let Some(current) = current {
            (loaded.config, changes) = merge(current, &loaded.config);
        }
        if !changes.restart.is_empty() {
            // What goes on is neither the old configuration nor the new one.
            check::check(&loaded.config)?;
            named = Named::read(&loaded.config, loaded.file.as_deref(), &Known::default())?;
        }
        Ok(Prepared { loaded, changes, named })
    }

    /// Read everything, for a thread without a runtime.
    pub(super) fn read_at_start(sources: &Sources) -> Result<Prepared, Failure> {
        let sources = sources.clone();
        Reading::at_start(move || Prepared::read(&sources, None))
    }
}

impl Named {
    /// Read what the settings name, as far as they are known, or say everything that is wrong with that. `file` is
    /// where they come from.
    fn read(config: &Config, file: Option<&Path>, known: &Known) -> Result<Named, ConfigError> {
        let mut problems = Vec::new();
        let access = access(config, known).map_err(|error| problems.extend(error.into_problems()));
        let jwt = jwt_rules(config, known).map_err(|said| problems.extend(said.into_iter().map(Problem::Named)));
        let certificates =
            certificates(config, known).map_err(|said| problems.extend(said.into_iter().map(Problem::Named)));
        let password = config.kafka.password(known).map_err(|said| problems.push(Problem::Named(said)));
        ConfigError::unless_none(problems)?;
        let (Ok(access), Ok(jwt), Ok(certificates), Ok(kafka_password)) = (access, jwt, certificates, password) else {
            unreachable!("each of them said why")
        };
        let keys = jwt.as_ref().map(|rules| &rules.keys);
        let notes = notes::of(config, file, certificates.as_ref(), keys, SystemTime::now());
        Ok(Named { jwt, certificates, access, kafka_password, notes })
    }
}

fn jwt_rules(config: &Config, known: &Known) -> Result<Option<JwtRules>, Vec<String>> {
    if config.general.auth != Auth::Jwt || !known.all(&["auth"]) {
        return Ok(None);
    }
    // What is not known is as if it were not there; that no key is left then is a consequence.
    let mut config = config.clone();
    let jwt = &mut config.jwt;
    if !known.all(&["jwt.secret"]) {
        jwt.secret = Secret::default();
    }
    if !known.all(&["jwt.secret_file"]) {
        jwt.secret_file = PathBuf::new();
    }
    if !known.all(&["jwt.key_files"]) {
        jwt.key_files = Vec::new();
    }
    if jwt.secret.get().is_none() && jwt.secret_file.as_os_str().is_empty() && jwt.key_files.is_empty() {
        return Ok(None);
    }
    convert::jwt_rules(&config).map(Some)
}

fn certificates(config: &Config, known: &Known) -> Result<Option<Certificates>, Vec<String>> {
    let wanted = !config.general.tls_listen.is_empty() || !config.general.wss_listen.is_empty();
    let files = |setting: &str, files: &[PathBuf]| {
        if wanted && known.all(&[setting]) { files.to_vec() } else { Vec::new() }
    };
    let chains = files("tls.certificate_files", &config.tls.certificate_files);
    let keys = files("tls.key_files", &config.tls.key_files);
    let sentences = |errors: Vec<CertificateError>| errors.iter().map(ToString::to_string).collect();
    if chains.len() != keys.len() {
        // That they make no pairs was said already.
        let faults = certificates::faults(&chains, &keys);
        return if faults.is_empty() { Ok(None) } else { Err(sentences(faults)) };
    }
    if chains.is_empty() {
        return Ok(None);
    }
    Certificates::read(&convert::certificates(config)).map(Some).map_err(sentences)
}
