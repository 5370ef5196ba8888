//! The configuration that a program runs by. Owns replacing it: a reload that is right takes over what may change, one
//! that is not changes nothing; both are logged and counted. For programs whose parts look their settings up; those
//! that hand them out merge for themselves.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::changes::{Changes, merge};
use super::load::{Loaded, Sources, load};
use super::problem::{ConfigError, Problem};
use super::reading::Reading;
use super::schema::Schema;
use crate::failure::Failure;
use crate::metrics::reloads::Reloads;

/// The target of the log lines of a reload: an operator has asked for each.
pub const TARGET: &str = module_path!();

/// The settings in force, shared; cheap to clone.
#[derive(Clone, Debug)]
pub struct InForce<C>(Arc<Inner<C>>);

#[derive(Debug)]
struct Inner<C> {
    current: ArcSwap<C>,
    sources: Sources,
    reading: Mutex<Reading<Loaded<C>>>,
    reloads: Reloads,
}

impl<C: Schema + Sync> InForce<C> {
    /// Read the configuration for the first time, on a thread without a runtime.
    ///
    /// # Errors
    /// As [`Reading::at_start`].
    pub fn at_start(mut sources: Sources) -> Result<InForce<C>, Failure> {
        let read = sources.clone();
        let Loaded { config, file, .. } = Reading::at_start(move || load::<C>(&read))?;
        // Found by itself, it is asked for from now on: if it goes, a reload changes nothing.
        sources.file = file.or(sources.file);
        let (current, reading) = (ArcSwap::from_pointee(config), Mutex::default());
        let reloads = Reloads::since(SystemTime::now());
        Ok(InForce(Arc::new(Inner { current, sources, reading, reloads })))
    }

    /// The settings now.
    pub fn get(&self) -> Arc<C> {
        self.0.current.load_full()
    }

    /// How reloads ended, for the metrics.
    pub fn reloads(&self) -> Reloads {
        self.0.reloads.clone()
    }

    /// Read again, and take over what may change while the program runs.
    pub async fn reload(&self) {
        match self.try_reload().await {
            Ok(Changes { live, restart }) => {
                self.0.reloads.taken(SystemTime::now());
                if !restart.is_empty() {
                    tracing::warn!(settings = restart.join(", "), "these settings need a restart and stay as they are");
                }
                let changed = if live.is_empty() { "no setting".to_owned() } else { live.join(", ") };
                tracing::info!(changed, "configuration read again");
            }
            Err(error) => {
                self.0.reloads.refused();
                tracing::error!(problem = %error, "the new configuration is not right, the old one stays");
            }
        }
    }

    async fn try_reload(&self) -> Result<Changes, ConfigError> {
        let sources = self.0.sources.clone();
        let Loaded { config, .. } = self.0.reading.lock().await.again(move || load::<C>(&sources)).await?;
        let (merged, changes) = merge(&*self.get(), &config);
        // What goes on may be neither the old configuration nor the new one.
        let together = merged.findings().into_iter().map(|finding| Problem::Together(finding.sentence));
        ConfigError::unless_none(together.collect())?;
        self.0.current.store(Arc::new(merged));
        Ok(changes)
    }
}
