//! Reading the configuration again. Owns the order in which it is taken over: everything that can fail first, so that a
//! broken file or token changes nothing at all.

use std::time::SystemTime;

use halley_service::access::rules::AccessRules;
use halley_service::config::reading::Reading;
use halley_service::config::{ConfigError, Sources};
use halley_service::log::Level;
use halley_service::metrics::reloads::Reloads;

use super::check;
use super::prepare::Prepared;
use super::settings::Config;

/// The target of this module's log lines, none of which is ever left out: an operator has asked for them.
pub(super) const TARGET: &str = module_path!();

/// Takes new configurations over.
pub(super) struct Reloader {
    /// Where they are read from.
    pub(super) sources: Sources,
    /// What the process runs by.
    pub(super) current: Config,
    /// Who may ask for what.
    pub(super) access: AccessRules,
    /// The level of log lines.
    pub(super) level: Level,
    /// Counts what came of each reload.
    pub(super) reloads: Reloads,
    /// The thread that reads.
    pub(super) reading: Reading<Prepared>,
}

impl Reloader {
    /// Read again and take over what may change. Says in the log what came of it.
    pub(super) async fn reload(&mut self) {
        match self.try_reload().await {
            Ok(prepared) => {
                self.reloads.taken(SystemTime::now());
                self.told(prepared);
            }
            Err(error) => {
                self.reloads.refused();
                tracing::error!(problem = %error, "the new configuration is not right, the old one stays");
            }
        }
    }

    async fn try_reload(&mut self) -> Result<Prepared, ConfigError> {
        let (sources, current) = (self.sources.clone(), self.current.clone());
        self.reading.again(move || Prepared::read(&sources, Some(&current))).await
    }

    fn told(&mut self, prepared: Prepared) {
        let Prepared { loaded, mut changes, access, notes, .. } = prepared;
        self.level.set(&loaded.config.log.level);
        if !self.access.has_tokens_of(&access) {
            changes.live.push("the tokens".to_owned());
        }
        self.access.replace(access);
        if check::has_tokens(&self.current) && !check::has_tokens(&loaded.config) {
            tracing::warn!("no token is configured any more: what programs on this machine ask is let in without one");
        }
        if !changes.restart.is_empty() {
            let settings = changes.restart.join(", ");
            tracing::warn!(settings, "these settings need a restart and stay as they are");
        }
        let changed = if changes.live.is_empty() { "no setting".to_owned() } else { changes.live.join(", ") };
        tracing::info!(changed, "configuration read again, and all files of tokens");
        for note in notes {
            tracing::warn!("{note}");
        }
        self.current = loaded.config;
    }
}
