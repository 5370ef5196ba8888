//! The configuration that a program runs by. Owns replacing it: a reload that is right takes over what may change, one
//! that is not changes nothing; both are logged. For programs whose parts look their settings up; those that hand them
//! out merge for themselves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::changes::merge;
use super::load::{Loaded, Sources, load};
use super::reading::Reading;
use super::schema::Schema;
use crate::failure::Failure;

/// The settings in force, shared; cheap to clone.
#[derive(Clone, Debug)]
pub struct InForce<C>(Arc<Inner<C>>);

#[derive(Debug)]
struct Inner<C> {
    current: ArcSwap<C>,
    sources: Sources,
    reading: Mutex<Reading<Loaded<C>>>,
}

impl<C: Schema + Sync> InForce<C> {
    /// Read the configuration for the first time, on a thread without a runtime.
    ///
    /// # Errors
    /// As [`Reading::at_start`].
    pub fn at_start(sources: Sources) -> Result<InForce<C>, Failure> {
        let read = sources.clone();
        let Loaded { config, .. } = Reading::at_start(move || load::<C>(&read))?;
        Ok(InForce(Arc::new(Inner { current: ArcSwap::from_pointee(config), sources, reading: Mutex::default() })))
    }

    /// The settings now.
    pub fn get(&self) -> Arc<C> {
        self.0.current.load_full()
    }

    /// Read again, and take over what may change while the program runs.
    pub async fn reload(&self) {
        let sources = self.0.sources.clone();
        match self.0.reading.lock().await.again(move || load::<C>(&sources)).await {
            Ok(Loaded { config, .. }) => {
                let (merged, changes) = merge(&*self.get(), &config);
                self.0.current.store(Arc::new(merged));
                let restart = changes.restart.join(", ");
                tracing::info!(changed = changes.live.join(", "), restart, "configuration read again");
            }
            Err(error) => tracing::error!(problem = %error, "the new configuration is not right, the old one stays"),
        }
    }
}
