//! A configuration with everything that it names: keys, certificates, tokens. Owns reading all of it, from the file to the last
//! key, so that whatever is wrong is found before anything is done by it; decides nothing. The start, a reload and
//! `check-config` all come through here, on a thread of its own: a file that does not answer hangs nobody else.

use std::io;
use std::time::Duration;

use halley_service::access::Access;
use halley_service::files::Errand;

use super::access::access;
use super::reload::{Changes, merge};
use crate::config::value::Auth;
use crate::config::{Config, ConfigError, Loaded, Sources, check, convert, load};
use crate::conn::tls::certificates::Certificates;
use crate::failure::Failure;
use crate::session::auth::jwt::JwtRules;

/// How long reading everything may take.
pub const READ_WITHIN: Duration = Duration::from_secs(10);

/// Reading that goes on, on its own thread.
pub type Reading = Errand<Result<Prepared, ConfigError>>;

/// See the module.
#[derive(Debug)]
pub struct Prepared {
    /// The settings.
    pub config: Config,
    /// Where they come from, for people.
    pub origin: String,
    /// What of them differs from before.
    pub changes: Changes,
    /// How signed logins are decided, where they are.
    pub jwt: Option<JwtRules>,
    /// Certificates, where anything listens with TLS.
    pub certificates: Option<Certificates>,
    /// Who may ask for what.
    pub access: Access,
}

impl Prepared {
    /// Read everything. Of settings that need a restart those of `current` stay.
    pub fn read(sources: &Sources, current: Option<&Config>) -> Result<Prepared, ConfigError> {
        let Loaded { config, origin } = load(sources)?;
        check::check(&config)?;
        let (config, changes) = match current {
            None => (config, Changes::default()),
            Some(current) => {
                let (merged, changes) = merge(current, &config);
                check::check(&merged)?;
                (merged, changes)
            }
        };
        let jwt = match config.general.auth {
            Auth::Jwt => Some(convert::jwt_rules(&config)?),
            Auth::Open => None,
        };
        let encrypted = !config.general.tls_listen.is_empty() || !config.general.wss_listen.is_empty();
        let certificates = if encrypted {
            let read = Certificates::read(&convert::certificates(&config));
            Some(read.map_err(|error| ConfigError(error.to_string()))?)
        } else {
            None
        };
        let access = access(&config)?;
        Ok(Prepared { config, origin, changes, jwt, certificates, access })
    }

    /// Begin [`Prepared::read`] on a thread of its own. Fails when there is none.
    pub fn begin(sources: Sources, current: Option<Config>) -> io::Result<Reading> {
        Errand::begin(move || Prepared::read(&sources, current.as_ref()))
    }

    /// Read everything, for a thread without a runtime.
    pub fn read_at_start(sources: &Sources) -> Result<Prepared, Failure> {
        let failure = |error| Failure::of_kernel("cannot start a thread to read the configuration", &error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failure)?;
        let mut reading = Prepared::begin(sources.clone(), None).map_err(failure)?;
        runtime.block_on(answer(&mut reading)).map_err(Failure::from)
    }
}

/// What was read, if that is over within [`READ_WITHIN`]. Cancel safe.
pub async fn answer(reading: &mut Reading) -> Result<Prepared, ConfigError> {
    reading.answer(READ_WITHIN).await.unwrap_or_else(|late| Err(ConfigError(format!("the configuration: {late}"))))
}
