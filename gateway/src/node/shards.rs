//! Starting the shards: each on its own thread and CPU, with a ring made there. Owns nothing that lives on; a shard is
//! alone with its parts from then on.

use std::sync::Arc;

use halley_service::failure::{Cause, Failure};
use rand::TryRngCore as _;
use rand::rngs::OsRng;

use crate::config::{Config, convert};
use crate::io::uring::{UringConfig, UringIo};
use crate::placement::{self, Placement};
use crate::shard::application::Goim;
use crate::shard::quota::AddressQuota;
use crate::shard::stats::ShardStats;
use crate::shard::{Shard, ShardLinks, ShardParts};
use halley_service::tls::certificates::TlsServer;

use super::listeners::ShardSockets;
use halley_service::threads::Threads;

/// Start one thread per place.
pub(super) fn start(
    threads: &mut Threads,
    config: &Config,
    placement: &Placement,
    sockets: ShardSockets,
    links: Vec<ShardLinks>,
    stats: &[Arc<ShardStats>],
    tls: Option<&TlsServer>,
) -> Result<(), Failure> {
    let settings = Arc::new(convert::shard_settings(config, tls));
    let quota = Arc::new(AddressQuota::default());
    for ((index, place), (links, stats)) in (0u16..).zip(&placement.shards).zip(links.into_iter().zip(stats)) {
        let place = *place;
        let (listeners, descriptors) = sockets.of(usize::from(index)).into_iter().unzip();
        let ring = UringConfig::new(place.slots(), descriptors, Arc::clone(&links.doorbell));
        let parts = ShardParts {
            index,
            listeners,
            open: !config.kafka.is_used(),
            capacity: place.capacity,
            settings: Arc::clone(&settings),
            quota: Arc::clone(&quota),
            stats: Arc::clone(stats),
            seed: seed()?,
            application: Goim,
        };
        threads.spawn(&format!("shard-{index}"), move |up| {
            if let Some(cpu) = place.cpu {
                placement::pin(cpu);
            }
            let io = UringIo::new(ring).map_err(|error| Failure::new(Cause::Kernel, error))?;
            let mut shard = Shard::new(io, links, parts);
            up.now();
            shard.run();
            Ok(())
        })?;
    }
    Ok(())
}

/// Randomness from the system.
pub(super) fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    OsRng.try_fill_bytes(&mut seed).map_err(|error| Failure::new(Cause::Kernel, error))?;
    Ok(seed)
}
