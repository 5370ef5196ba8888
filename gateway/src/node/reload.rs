//! Reading the configuration again. Owns the order in which parts take the new one over: everything that can fail
//! first, so that a broken file or key changes nothing at all.

use std::sync::Arc;
use std::time::SystemTime;

use halley_service::access::rules::AccessRules;
use halley_service::config::changes::Changes;
use halley_service::config::reading::Reading;
use halley_service::metrics::reloads::Reloads;

use crate::config::{Config, ConfigError, Loaded, Sources, check, convert};
use crate::control::handle::ControlHandle;
use crate::control::logins::LoginRules;
use crate::feed::intake::Intake;
use halley_service::tls::certificates::TlsServer;

use super::prepare::{Named, Prepared};

/// The target of this module's log lines, none of which is ever left out: an operator has asked for them.
pub(super) const TARGET: &str = module_path!();

/// Who takes a new configuration over.
pub(super) struct Targets {
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
    /// Counts what came of each reload.
    pub reloads: Reloads,
}

/// Takes new configurations over.
pub(super) struct Reloader {
    sources: Sources,
    current: Config,
    targets: Targets,
    reading: Reading<Prepared>,
}

impl Reloader {
    /// `current` is what the process runs by, read from `sources`.
    pub(super) fn new(sources: Sources, current: Config, targets: Targets) -> Reloader {
        Reloader { sources, current, targets, reading: Reading::default() }
    }

    /// The configuration that the process runs by.
    pub(super) fn current(&self) -> &Config {
        &self.current
    }

    /// Read again and take over what may change. Says in the log what came of it. Reading hangs nobody but its own
    /// thread.
    pub(super) async fn reload(&mut self) {
        match self.try_reload().await {
            Ok((Changes { mut live, restart }, notes, tokens_changed)) => {
                self.targets.reloads.taken(SystemTime::now());
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
                self.targets.reloads.refused();
                tracing::error!(problem = %error, "the new configuration is not right, the old one stays");
            }
        }
    }

    /// What changed, what should be known, and whether other tokens are let in.
    async fn try_reload(&mut self) -> Result<(Changes, Vec<String>, bool), ConfigError> {
        let (sources, current) = (self.sources.clone(), self.current.clone());
        let prepared = self.reading.again(move || Prepared::read(&sources, Some(&current))).await?;
        let Prepared { loaded: Loaded { config, .. }, changes, named } = prepared;
        let Named { jwt, certificates, access, notes, .. } = named;
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
