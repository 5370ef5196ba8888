//! What a configuration names in files: tokens, keys, certificates. Owns reading all of it before any of it is used, so that a
//! person hears of everything that is wrong at once and a broken file changes nothing; and the notes, what is no error but should
//! be known. Touches nothing that runs: the start, a reload and `check-config` do the same up to here.

use std::path::Path;
use std::time::SystemTime;

use halley_service::access::Access;

use crate::config::value::Auth;
use crate::config::{Config, ConfigError, Draft, Known, Loaded, Sources, convert};
use crate::conn::tls::certificates::{self, Certificates};
use crate::session::auth::jwt::JwtRules;

use super::access::access;
use super::notes;

/// A configuration and everything it names, ready to be used.
#[derive(Debug)]
pub struct Prepared {
    /// Who may ask for what.
    pub access: Access,
    /// What signed tokens must say, and the keys they are checked with, where logins are decided by them.
    pub jwt: Option<JwtRules>,
    /// The certificates, where anything listens with TLS.
    pub tls: Option<Certificates>,
    /// What the operator should know, a sentence each.
    pub notes: Vec<String>,
}

/// Read a configuration and everything it names; or say all that is wrong.
pub fn load(sources: &Sources) -> Result<(Loaded, Prepared), ConfigError> {
    let draft = Draft::read(sources);
    let prepared = prepare(&draft.loaded.config, draft.loaded.file.as_deref(), &draft.known);
    match (draft.finish(), prepared) {
        (Ok(loaded), Ok(prepared)) => Ok((loaded, prepared)),
        (loaded, prepared) => {
            let (loaded, prepared) = (loaded.err(), prepared.err());
            let problems = [loaded, prepared].into_iter().flatten().flat_map(ConfigError::into_problems).collect();
            Err(ConfigError::unless_none(problems).expect_err("one of them has failed"))
        }
    }
}

/// Read what the settings name, as far as they are known. `file` is where they come from.
pub fn prepare(config: &Config, file: Option<&Path>, known: &Known) -> Result<Prepared, ConfigError> {
    let mut problems = Vec::new();
    let access = access(config, known).map_err(|error| problems.extend(error.into_problems()));
    let jwt = jwt(config, known).map_err(|said| problems.extend(said));
    let tls = tls(config, known).map_err(|said| problems.extend(said));
    ConfigError::unless_none(problems)?;
    let (Ok(access), Ok(jwt), Ok(tls)) = (access, jwt, tls) else { unreachable!("each of them said why") };
    let keys = jwt.as_ref().map(|rules| &rules.keys);
    let notes = notes::of(config, file, tls.as_ref(), keys, SystemTime::now());
    Ok(Prepared { access, jwt, tls, notes })
}

fn jwt(config: &Config, known: &Known) -> Result<Option<JwtRules>, Vec<String>> {
    if config.general.auth != Auth::Jwt || !known.all(&["auth"]) {
        return Ok(None);
    }
    // What is not known is as if it were not there; that no key is left then is a consequence.
    let mut config = config.clone();
    let jwt = &mut config.jwt;
    if !known.all(&["jwt.secret"]) {
        jwt.secret = Default::default();
    }
    if !known.all(&["jwt.secret_file"]) {
        jwt.secret_file = Default::default();
    }
    if !known.all(&["jwt.key_files"]) {
        jwt.key_files = Default::default();
    }
    if jwt.secret.get().is_none() && jwt.secret_file.as_os_str().is_empty() && jwt.key_files.is_empty() {
        return Ok(None);
    }
    convert::jwt_rules(&config).map(Some)
}

fn tls(config: &Config, known: &Known) -> Result<Option<Certificates>, Vec<String>> {
    let wanted = !config.general.tls_listen.is_empty() || !config.general.wss_listen.is_empty();
    let is_known = |setting: &str| wanted && known.all(&[setting]);
    let files =
        |setting: &str, files: &[std::path::PathBuf]| if is_known(setting) { files.to_vec() } else { Vec::new() };
    let chains = files("tls.certificate_files", &config.tls.certificate_files);
    let keys = files("tls.key_files", &config.tls.key_files);
    let sentences = |errors: Vec<certificates::CertificateError>| errors.iter().map(ToString::to_string).collect();
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
