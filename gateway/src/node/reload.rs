//! Reading the configuration again. Owns the comparison of old and new, and the order in which parts take the new one over:
//! everything that can fail first, so that a broken file or key changes nothing at all. What needs a restart keeps its
//! old value and is named.

use std::sync::Arc;

use halley_service::access::rules::AccessRules;
use halley_service::plain::Plain;

use crate::config::key::{Key, Reload};
use crate::config::schema::keys;
use crate::config::{Config, ConfigError, Sources, check, convert};
use crate::conn::tls::certificates::TlsServer;
use crate::control::handle::ControlHandle;
use crate::control::logins::LoginRules;
use crate::feed::intake::Intake;

use super::prepare::{self, Named, Prepared, Reading};

/// Settings that differ between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Taken over: "limits.frames_burst 2000 -> 4000".
    pub live: Vec<String>,
    /// Ignored until a restart.
    pub restart: Vec<String>,
}

/// The configuration to go on with: `old` with what may change taken from `new`; and what changed.
pub fn merge(old: &Config, new: &Config) -> (Config, Changes) {
    let mut merged = old.clone();
    let mut changes = Changes::default();
    for key in keys().filter(|key| key.value(old) != key.value(new)) {
        match key.reload {
            Reload::Live => {
                key.copy(new, &mut merged);
                changes.live.push(describe(key, old, new));
            }
            Reload::Restart => changes.restart.push(describe(key, old, new)),
        }
    }
    (merged, changes)
}

fn describe(key: &Key, old: &Config, new: &Config) -> String {
    if key.secret { key.path() } else { format!("{} {} -> {}", key.path(), key.value(old), key.value(new)) }
}

/// Who takes a new configuration over.
pub struct Targets {
    /// Reaches the shards.
    pub control: ControlHandle,
    /// Reaches feed.
    pub intake: Intake,
    /// Who may ask for what.
    pub access: AccessRules,
    /// How signed logins are decided.
    pub jwt: Option<Arc<LoginRules>>,
    /// Certificates, if anything listens with TLS.
    pub tls: Option<Arc<TlsServer>>,
    /// The ingress takes what concerns it.
    pub ingress: Box<dyn Fn(&Config) + Send + Sync>,
    /// Sets the log level; it was found right before.
    pub log_level: Box<dyn Fn(&str) + Send + Sync>,
}

/// Takes new configurations over.
pub struct Reloader {
    sources: Sources,
    current: Config,
    targets: Targets,
    /// The last reading, which may hang.
    reading: Option<Reading>,
}

impl Reloader {
    /// `current` is what the process runs by, read from `sources`.
    pub fn new(sources: Sources, current: Config, targets: Targets) -> Reloader {
        Reloader { sources, current, targets, reading: None }
    }

    /// The configuration that the process runs by.
    pub fn current(&self) -> &Config {
        &self.current
    }

    /// Read again and take over what may change. Says in the log what came of it. Reading hangs nobody but its own thread.
    pub async fn reload(&mut self) {
        match self.try_reload().await {
            Ok((Changes { mut live, restart }, notes, tokens_changed)) => {
                if !restart.is_empty() {
                    tracing::warn!(settings = restart.join(", "), "these settings need a restart and stay as they are");
                }
                if tokens_changed {
                    live.push("the tokens".to_owned());
                }
                let changed = if live.is_empty() { "no setting".to_owned() } else { live.join(", ") };
                tracing::info!(changed, "configuration read again, and all files of keys, certificates and tokens");
                for note in notes {
                    tracing::warn!("{note}");
                }
            }
            Err(error) => {
                tracing::error!(problem = %error, "the new configuration is not right, the old one stays");
            }
        }
    }

    /// What changed, what should be known, and whether other tokens are let in.
    async fn try_reload(&mut self) -> Result<(Changes, Vec<String>, bool), ConfigError> {
        if let Some(reading) = self.reading.as_ref().filter(|reading| !reading.is_over()) {
            let file = reading.reading().map_or_else(|| "a file".to_owned(), |file| Plain(file.display()).to_string());
            return Err(ConfigError::from(format!(
                "{file}, read the last time, still does not answer: nothing was read"
            )));
        }
        let reading = Prepared::begin(self.sources.clone(), Some(self.current.clone()));
        let reading =
            reading.map_err(|error| ConfigError::from(format!("it cannot be read, for want of a thread: {error}")))?;
        let reading = self.reading.insert(reading);
        let prepared = prepare::answer(reading).await;
        let Prepared { config, changes, named, .. } = prepared?;
        let Named { jwt, certificates, access, notes } = named;
        let targets = &self.targets;
        if let (Some(tls), Some(certificates)) = (&targets.tls, certificates) {
            tls.replace(certificates);
        }
        if let (Some(auth), Some(rules)) = (&targets.jwt, jwt) {
            auth.replace(rules);
        }
        (targets.log_level)(&config.log.level);
        (targets.ingress)(&config);
        let tokens_changed = !targets.access.has_tokens_of(&access);
        targets.access.replace(access);
        if check::has_tokens(&self.current) && !check::has_tokens(&config) {
            tracing::warn!("no token is configured any more: what programs on this machine ask is let in without one");
        }
        let settings = convert::shard_settings(&config, targets.tls.as_deref());
        // Both fail only when the gateway is stopping, or when a shard is stuck, which /healthz tells.
        if let Err(error) = targets.control.settings(Arc::new(settings)).await {
            tracing::warn!(%error, "a shard did not take the new settings");
        }
        if let Err(error) = targets.intake.set_limits(convert::directory_limits(&config)).await {
            tracing::warn!(%error, "the directory did not take the new limits on logins");
        }
        self.current = config;
        Ok((changes, notes, tokens_changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Secret;

    #[test]
    fn what_may_change_is_taken_over_and_the_rest_is_named() {
        let old = Config::default();
        let mut new = Config::default();
        new.limits.frames_burst = 4_000;
        new.general.shards = 7;
        new.general.push_token = vec![Secret("hunter2".to_owned())];
        let (merged, changes) = merge(&old, &new);
        assert_eq!(changes.live, ["push_token", "limits.frames_burst 2000 -> 4000"]);
        assert_eq!(changes.restart, ["shards 0 -> 7"]);
        assert_eq!(merged.limits.frames_burst, 4_000);
        assert_eq!(merged.general.push_token, new.general.push_token);
        assert_eq!(merged.general.shards, 0);
    }

    #[test]
    fn without_a_change_nothing_is_named() {
        let (merged, changes) = merge(&Config::default(), &Config::default());
        assert_eq!((merged, changes), (Config::default(), Changes::default()));
    }
}
