//! Fills a topic of Kafka with records of our making, as fast as brokers take them. Owns the producer, the dispatcher's
//! own, and the thread of its runtime; a record that is not confirmed is an error. Who reads them is a scenario's
//! matter.

use std::time::Duration;

use halley_dispatcher::bus::batch::Codec;
use halley_dispatcher::bus::kafka::cluster::Cluster;
use halley_dispatcher::bus::kafka::produce::settings::Settings as ProduceSettings;
use halley_dispatcher::bus::kafka::producer::{KafkaProducer, producer};
use halley_dispatcher::bus::kafka::settings::Settings;
use halley_dispatcher::bus::{Producer as _, PublishError, Record};
use halley_protocol::push::{PushRecord, Target};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::records;
use crate::failure::{Doing, Failure, Result};

/// Records of one publish call where batches shall be large.
const TOGETHER: usize = 2_000;
/// Such calls under way at once.
const CALLS_MAX: usize = 8;
/// How long the topic may take to be found.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// How records become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batching {
    /// As many a batch as wait.
    Full,
    /// Each is a batch.
    Single,
}

/// A topic that can be filled.
pub(crate) struct Topic {
    runtime: Runtime,
    producer: KafkaProducer,
}

impl Topic {
    /// One that exists.
    pub(crate) fn open(broker: &str, name: &str) -> Result<Topic> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().doing(|| "start the producer")?;
        let settings = Settings { topic: name.to_owned(), ..Settings::new(vec![broker.to_owned()]) };
        let (producer, driver) = producer(ProduceSettings::default(), Codec::None, Cluster::new(settings));
        runtime.spawn(driver.run());
        let found = runtime.block_on(async {
            let found = async {
                while producer.partition_of(b"").is_err() {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::time::timeout(FOUND_WITHIN, found).await
        });
        match found {
            Ok(()) => Ok(Topic { runtime, producer }),
            Err(_) => {
                let why = producer.trouble().unwrap_or_else(|| "it did not answer".into());
                Err(Failure::new(format!("the topic {name} at {broker} cannot be written to: {why}")))
            }
        }
    }

    /// Append a record for each of these, in order within a partition.
    pub(crate) fn fill(&self, targets: impl Iterator<Item = Target>, op: i32, batching: Batching) -> Result<()> {
        let mut noise = records::Noise::new();
        let records = targets.map(|target| of(records::record(target, op, &mut noise)));
        self.runtime.block_on(async {
            match batching {
                Batching::Full => self.in_bulk(records).await,
                Batching::Single => self.one_by_one(records).await,
            }
        })
    }

    async fn in_bulk(&self, mut records: impl Iterator<Item = Record>) -> Result<()> {
        let mut calls = JoinSet::new();
        loop {
            let together: Vec<Record> = records.by_ref().take(TOGETHER).collect();
            let is_last = together.is_empty();
            while calls.len() >= CALLS_MAX || (is_last && !calls.is_empty()) {
                let Some(call) = calls.join_next().await else { break };
                call.map_err(|_| Failure::new("a publishing task broke off"))??;
            }
            if is_last {
                return Ok(());
            }
            let producer = self.producer.clone();
            calls.spawn(async move { publish(&producer, together).await });
        }
    }

    /// At most one record of a partition is under way: what waits behind it would join its batch.
    async fn one_by_one(&self, records: impl Iterator<Item = Record>) -> Result<()> {
        let mut waiting: Vec<Vec<Record>> = Vec::new();
        for record in records {
            let partition = self.producer.partition_of(&record.key).map_err(failed)?;
            let partition = usize::try_from(partition).unwrap_or(0);
            if waiting.len() <= partition {
                waiting.resize_with(partition + 1, Vec::new);
            }
            waiting[partition].push(record);
        }
        loop {
            let together: Vec<Record> = waiting.iter_mut().filter_map(Vec::pop).collect();
            if together.is_empty() {
                return Ok(());
            }
            publish(&self.producer, together).await?;
        }
    }
}

async fn publish(producer: &KafkaProducer, records: Vec<Record>) -> Result<()> {
    producer.publish(records).await.map(drop).map_err(failed)
}

fn failed(error: PublishError) -> Failure {
    Failure::new(format!("the topic cannot be filled: {error}"))
}

fn of(record: PushRecord) -> Record {
    Record { key: record.key().into(), value: record.encode() }
}
