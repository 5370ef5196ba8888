//! The producer of a topic: the end that pushes go in by. Owns the handle that the ingress holds, and the channel to
//! the task that drives [`super::produce`]. Never waits for a broker itself: the task does. Once a push was handed over
//! nothing takes it back. Next: `driver`.

mod counts;
mod driver;
mod requests;
mod shared;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot};

use super::cluster::{Cluster, Counting};
use super::produce::core::Produce;
use super::produce::settings::Settings;
use crate::bus::batch::Codec;
use crate::bus::partition::partition_of;
use crate::bus::{Depth, Position, Producer, PublishError, Record};
pub use counts::{PRODUCE_US, ProduceCounts};
pub use driver::Driver;
use shared::{Shared, Submission};

/// Pushes that were handed over and not looked at by the task yet, at most; whoever hands over one more waits.
const SUBMISSIONS_MAX: usize = 1024;

/// The ingress's end; clones are the same one.
#[derive(Clone, Debug)]
pub struct KafkaProducer {
    shared: Arc<Shared>,
    submissions: mpsc::Sender<Submission>,
    cluster: Counting,
}

/// A producer, and the task that has to run for it to do anything. The task ends after [`Producer::close`], or with the
/// last handle, when everything that was taken has its answer.
pub fn producer(settings: Settings, codec: Codec, cluster: Cluster) -> (KafkaProducer, Driver) {
    let shared = Shared::new();
    let (submissions, handed_over) = mpsc::channel(SUBMISSIONS_MAX);
    let produce = Produce::new(settings, SmallRng::from_os_rng());
    let counting = cluster.counting();
    let driver = Driver::new(Arc::clone(&shared), handed_over, produce, codec, cluster);
    (KafkaProducer { shared, submissions, cluster: counting }, driver)
}

impl KafkaProducer {
    /// What was done, since start.
    pub fn counts(&self) -> &ProduceCounts {
        &self.shared.counts
    }

    /// What became of its connections and requests.
    pub fn cluster(&self) -> &Counting {
        &self.cluster
    }

    /// Why the topic is not known yet, or was not found when it was last asked for, and what to do; or what keeps
    /// records waiting.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.shared.trouble().or_else(|| self.shared.stuck())
    }

    fn is_closed(&self) -> bool {
        *self.shared.closed.borrow()
    }
}

#[async_trait::async_trait]
impl Producer for KafkaProducer {
    fn partition_of(&self, key: &[u8]) -> Result<i32, PublishError> {
        match i32::try_from(self.shared.partitions.load(Ordering::Relaxed)) {
            Ok(partitions) if partitions > 0 => Ok(partition_of(key, partitions)),
            _ => {
                let why = self.shared.trouble().unwrap_or_else(|| "the topic was not found yet".into());
                Err(PublishError::Unavailable(why))
            }
        }
    }

    async fn publish(&self, records: Vec<Record>) -> Result<Vec<Position>, PublishError> {
        if self.is_closed() {
            return Err(PublishError::Closed);
        }
        let (answer, answered) = oneshot::channel();
        if self.submissions.send(Submission { records, answer }).await.is_err() {
            let stopped = || PublishError::Unavailable("the producer has stopped".into());
            return Err(if self.is_closed() { PublishError::Closed } else { stopped() });
        }
        // The task answers whatever it takes; without it nobody knows how far it came.
        let unknown =
            |_| Err(PublishError::Unknown("the producer has stopped, it may appear once or not at all".into()));
        answered.await.unwrap_or_else(unknown)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn depth(&self) -> Depth {
        Depth { records: self.shared.records.load(Ordering::Relaxed), bytes: self.shared.bytes.load(Ordering::Relaxed) }
    }

    fn close(&self) {
        self.shared.closed.send_replace(true);
    }
}
