//! The rules of reading, each by its name, on a reader whose questions the test answers itself.

mod damage;
mod errors;
mod reading;
mod starting;

use std::time::Duration;

use bytes::Bytes;

use super::{Reader, Settings};
use crate::bus::batch::writer::placed_at;
use crate::bus::batch::{BatchBuilder, BatchReader, ReadLimits};
use crate::bus::log::{Answer, Ask, AskId, Edge, Leader, Place, ReadFrom, Refusal, Slice, TopicId, Topology};
use crate::gateways::Gap;

const TOPIC: TopicId = TopicId([7; 16]);

/// A reader, the time, and the questions that nobody has answered.
struct Rig {
    reader: Reader,
    now: Duration,
    asked: Vec<(AskId, Ask)>,
}

impl Rig {
    fn new(settings: Settings) -> Rig {
        Rig { reader: Reader::new(settings, 1), now: Duration::from_secs(1_000), asked: Vec::new() }
    }

    /// So many partitions, all led by source 1 in epoch 1, with the position 100 of epoch 1.
    fn started(partitions: usize, settings: Settings) -> Rig {
        let mut rig = Rig::new(settings);
        rig.topology(TOPIC, &vec![leader(1, 1); partitions]);
        rig.edges(Edge::End, |_| Ok(Place { offset: 100, epoch: 1 }));
        assert!(rig.reader.is_started());
        rig
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// Take the reader's questions; returns how many there were.
    fn poll(&mut self) -> usize {
        let before = self.asked.len();
        while let Some(ask) = self.reader.poll_ask(self.now) {
            self.asked.push(ask);
            assert!(self.asked.len() < 1_000, "a hot loop");
        }
        self.asked.len() - before
    }

    fn answer(&mut self, id: AskId, answer: Answer) {
        self.asked.retain(|(asked, _)| *asked != id);
        self.reader.answer(self.now, id, answer);
    }

    /// The outstanding question that this accepts, asked for now if need be.
    fn find<T>(&mut self, accept: impl Fn(&Ask) -> Option<T>) -> Option<(AskId, T)> {
        self.poll();
        self.asked.iter().find_map(|(id, ask)| Some((*id, accept(ask)?)))
    }

    fn topology(&mut self, topic: TopicId, leaders: &[Option<Leader>]) {
        let found = self.find(|ask| matches!(ask, Ask::Topology).then_some(()));
        let (id, ()) = found.expect("the topic is asked for");
        self.answer(id, Answer::Topology(Topology { topic, leaders: leaders.to_vec() }));
    }

    /// Answers the next question for this edge, for all of its partitions.
    fn edges(&mut self, edge: Edge, answer: impl Fn(i32) -> Result<Place, Refusal>) {
        let found = self.find(|ask| match ask {
            Ask::Edges { edge: of, partitions, .. } if *of == edge => Some(partitions.clone()),
            _ => None,
        });
        let (id, partitions) = found.expect("the edge is asked for");
        let answers = partitions.iter().map(|of| (of.partition, answer(of.partition))).collect();
        self.answer(id, Answer::Edges(answers));
    }

    fn reading(&mut self) -> Option<(AskId, Vec<ReadFrom>)> {
        self.find(|ask| match ask {
            Ask::Read { from, .. } => Some(from.clone()),
            _ => None,
        })
    }

    /// Answers the next read.
    fn read(&mut self, slices: Vec<(i32, Result<Slice, Refusal>)>) {
        let (id, _) = self.reading().expect("somebody is read");
        self.answer(id, Answer::Read { throttle: Duration::ZERO, slices });
    }

    /// Hands over what there is: the offsets of records by partition, and the gaps.
    fn take(&mut self) -> (Vec<(i32, i64)>, Vec<Gap>) {
        let (mut records, mut gaps) = (Vec::new(), Vec::new());
        let mut limits = BatchReader::new(ReadLimits::default());
        while self.reader.has_work() {
            if let Some(gap) = self.reader.take_gap() {
                gaps.push(gap);
                self.reader.admitted(0);
                self.reader.answered();
                continue;
            }
            let mut bytes = 0;
            while let Some(taken) = self.reader.take_batch() {
                let opened = limits.open_sound(&taken.batch).expect("a right batch");
                for record in opened.map(|record| record.expect("a right record")) {
                    if record.offset >= taken.from {
                        records.push((taken.partition, record.offset));
                        bytes += record.value.map_or(0, <[u8]>::len);
                    }
                }
                assert!(self.reader.advance(taken.partition, taken.generation, taken.until));
            }
            self.reader.admitted(bytes);
            self.reader.answered();
        }
        (records, gaps)
    }

    fn records(&mut self) -> Vec<i64> {
        let (records, gaps) = self.take();
        assert_eq!(gaps, []);
        records.into_iter().map(|(_, offset)| offset).collect()
    }
}

fn leader(source: i32, epoch: i32) -> Option<Leader> {
    Some(Leader { source, epoch })
}

/// One batch of so many records.
fn batch(base: i64, count: usize, epoch: i32) -> Bytes {
    let mut builder = BatchBuilder::new(1 << 20);
    for _ in 0..count {
        builder.push(Some(b"key"), Some(b"0123456789"), 1_000).unwrap();
    }
    placed_at(builder.finish().unwrap(), base, epoch)
}

fn batches(parts: &[Bytes]) -> Bytes {
    parts.concat().into()
}

/// Everything up to the end is answered.
fn slice(batches: Bytes, high_watermark: i64) -> Result<Slice, Refusal> {
    Ok(Slice { batches, high_watermark, log_start: 0 })
}
