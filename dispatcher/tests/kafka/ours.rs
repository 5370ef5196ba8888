//! Our side of a comparison: [`KafkaLog`] under the [`Reader`]'s core, which keeps every record that it hands over.
//! Owns the loop between the two; judges nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use halley_dispatcher::bus::batch::{BatchReader, ReadLimits};
use halley_dispatcher::bus::kafka::log::KafkaLog;
use halley_dispatcher::bus::kafka::settings::Settings;
use halley_dispatcher::bus::log::{Answer, Ask, Edge, Log as _, Trouble};
use halley_dispatcher::consume::reader::{self, Counts, Event, Reader};
use halley_dispatcher::gateways::Gap;

use crate::brokers::Record;

/// How long anything may take on a machine that is busy with other things. Only failures wait so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reader of one topic, and what it has read.
pub struct Ours {
    log: KafkaLog,
    reader: Reader,
    began: Instant,
    batches: BatchReader,
    /// What was handed over, by partition, in order.
    pub records: BTreeMap<i32, Vec<Record>>,
    /// What was left out.
    pub gaps: Vec<Gap>,
    /// What an operator is told.
    pub events: Vec<Event>,
    /// The last question that failed as a whole.
    pub trouble: Option<Trouble>,
}

impl Ours {
    /// Reads the topic of these settings from its start.
    pub fn new(settings: Settings) -> Ours {
        let own = reader::Settings {
            start: Edge::Start,
            topology_interval: Duration::from_millis(500),
            catchup_records_max: u64::MAX,
            ..reader::Settings::default()
        };
        Ours {
            log: KafkaLog::new(settings),
            reader: Reader::new(own, 1),
            began: Instant::now(),
            batches: BatchReader::new(ReadLimits::default()),
            records: BTreeMap::new(),
            gaps: Vec::new(),
            events: Vec::new(),
            trouble: None,
        }
    }

    /// What the reader counted.
    pub fn counts(&self) -> &Counts {
        self.reader.counts()
    }

    /// The offset that is read next.
    pub fn next(&self, partition: i32) -> Option<i64> {
        self.reader.partitions(self.began.elapsed()).find(|view| view.partition == partition).map(|view| view.next)
    }

    /// Reads until all that is in these partitions up to these offsets was read.
    pub async fn read_up_to(&mut self, ends: &[(i32, i64)]) {
        self.read_until(&format!("read up to {ends:?}"), |ours| {
            ends.iter().all(|(partition, end)| ours.next(*partition).is_some_and(|next| next >= *end))
        })
        .await;
    }

    /// Reads until `done`.
    pub async fn read_until(&mut self, what: &str, done: impl Fn(&Ours) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            self.round().await;
            let (next, trouble) = (self.next(0), &self.trouble);
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; next {next:?}, {trouble:?}");
        }
    }

    async fn round(&mut self) {
        let now = self.began.elapsed();
        while let Some((id, ask)) = self.reader.poll_ask(now) {
            assert!(!matches!(&ask, Ask::Read { from, .. } if from.is_empty()), "a read wants something");
            self.log.ask(id, ask);
        }
        let wait =
            self.reader.wake_at(now).map_or(PATIENCE, |at| at.saturating_sub(now)).min(Duration::from_millis(100));
        if let Ok((id, answer)) = tokio::time::timeout(wait, self.log.answer()).await {
            if let Answer::Failed(trouble) = &answer {
                self.trouble = Some(trouble.clone());
            }
            self.reader.answer(self.began.elapsed(), id, answer);
        }
        while self.reader.has_work() {
            self.take();
        }
        while let Some(event) = self.reader.take_event() {
            self.events.push(event);
        }
    }

    fn take(&mut self) {
        if let Some(gap) = self.reader.take_gap() {
            self.gaps.push(gap);
        } else if let Some(taken) = self.reader.take_batch() {
            let mut found = Vec::new();
            let read = self.batches.open_sound(&taken.batch).and_then(|records| {
                for record in records {
                    let record = record?;
                    found.push(Record {
                        offset: record.offset,
                        timestamp: record.timestamp_ms.unwrap_or(-1),
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                    });
                }
                Ok(())
            });
            match read {
                Ok(()) => {
                    let wanted = found.into_iter().filter(|record| record.offset >= taken.from);
                    self.records.entry(taken.partition).or_default().extend(wanted);
                    self.reader.advance(taken.partition, taken.generation, taken.until);
                }
                Err(why) => panic!("partition {} from {}: {why}", taken.partition, taken.from),
            }
        } else {
            return self.reader.nothing_admitted();
        }
        self.reader.admitted(0);
        self.reader.answered();
    }
}
