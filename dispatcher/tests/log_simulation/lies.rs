//! How questions and answers are twisted where a rule is left out ([`crate::faults`]). Owns the lies about what brokers
//! say; without a fault everything goes through as it is.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use halley_dispatcher::bus::batch::header::set_checksum;
use halley_dispatcher::bus::log::{Answer, Ask, Edge, NO_EPOCH, Place, ReadFrom, Refusal, Slice, Source, TopicId};

use crate::batch::{Batch, HEADER_BYTES, Health};
use crate::faults::Fault;
use crate::world::World;

impl World {
    /// What brokers hear of a question.
    pub fn twist_ask(&mut self, ask: &mut Ask) {
        let Ask::Read { topic, from, .. } = ask else { return };
        if self.lacks(Fault::EpochNotTold) {
            from.iter_mut().for_each(|from| from.place.epoch = NO_EPOCH);
        }
        if self.lacks(Fault::SameName) {
            *topic = self.cluster.truth.id();
        }
    }

    /// What the reader hears of an answer.
    pub fn twisted(&mut self, question: usize, mut answer: Answer) -> Answer {
        if self.fault.is_none() {
            return answer;
        }
        let source = self.asks[question].source;
        match (&mut answer, self.asks[question].ask.clone()) {
            (Answer::Topology(topology), _) if self.lacks(Fault::SameName) => topology.topic = TopicId([1; 16]),
            (Answer::Edges(edges), Ask::Edges { edge: Edge::End, .. }) if self.lacks(Fault::BeginsAtLogEnd) => {
                for (partition, place) in edges {
                    if let (Ok(place), Some(replica)) = (place, self.cluster.replica(source, *partition)) {
                        place.offset = replica.end;
                    }
                }
            }
            (Answer::Read { slices, .. }, _) if self.lacks(Fault::LateAnswerCounts) => {
                let kept = &mut self.gateways[self.asks[question].gateway].line.kept;
                match self.chance.below(10) {
                    0 => drop(kept.insert(source, slices.clone())),
                    1 => *slices = kept.remove(&source).unwrap_or_else(|| slices.clone()),
                    _ => {}
                }
            }
            (Answer::Read { throttle, slices }, Ask::Read { from, .. }) => {
                if self.lacks(Fault::ThrottleIsIgnored) {
                    *throttle = Duration::ZERO;
                }
                for (partition, slice) in slices {
                    if let Some(from) = from.iter().find(|from| from.partition == *partition) {
                        self.twist_slice(source, *from, slice);
                    }
                }
            }
            _ => {}
        }
        answer
    }

    fn twist_slice(&mut self, source: Source, from: ReadFrom, slice: &mut Result<Slice, Refusal>) {
        let epoch = from.place.epoch;
        let there = self.cluster.replica(source, from.partition).map_or(0, |replica| replica.high_watermark);
        let is_poison = |batch: &Batch| batch.next() > from.place.offset && batch.health == Health::Unreadable;
        match slice {
            Ok(_) if self.lacks(Fault::PoisonStops) => {
                let replica = self.cluster.replica(source, from.partition);
                let first =
                    replica.and_then(|it| it.batches().iter().find(|it| it.next() > from.place.offset).cloned());
                if first.is_some_and(|batch| is_poison(&batch)) {
                    *slice = Err(Refusal::Corrupt);
                }
            }
            Err(Refusal::OutOfRange) if self.lacks(Fault::OutOfRangeIsGap) => {
                *slice = Err(Refusal::Diverging { end: Place { offset: there, epoch } });
            }
            Ok(found) if self.lacks(Fault::HighWatermarkIsEnd) && found.high_watermark < from.place.offset => {
                *slice = Err(Refusal::Diverging { end: Place { offset: found.high_watermark, epoch } });
            }
            Err(Refusal::Diverging { .. }) if self.lacks(Fault::CutIsIgnored) => *slice = Err(Refusal::NotYet),
            Ok(found) if self.lacks(Fault::OffsetsAreCounted) => found.batches = counted(&found.batches),
            _ => {}
        }
    }
}

/// Batches whose last offset is as many behind their first as they have records.
fn counted(batches: &Bytes) -> Bytes {
    let mut bytes = BytesMut::from(&batches[..]);
    let mut at = 0;
    while let Some(length) = bytes.get(at + 8..at + 12) {
        let end = at + 12 + usize::try_from(i32::from_be_bytes(length.try_into().expect("4 bytes"))).unwrap_or(0);
        if end > bytes.len() || end < at + HEADER_BYTES {
            break;
        }
        let count = i32::from_be_bytes(bytes[at + 57..at + 61].try_into().expect("4 bytes"));
        bytes[at + 23..at + 27].copy_from_slice(&(count - 1).to_be_bytes());
        set_checksum(&mut bytes[at..end]);
        at = end;
    }
    bytes.freeze()
}
