//! One broker's copy of a partition: the log with the epochs of its leaders, the high watermark as far as it is known
//! here, what producers wrote last, and the part that the broker plays. Owns what Kafka's `Partition`, `UnifiedLog` and
//! `ProducerStateManager` own, and as much of their rules as clients can see. Knows no network and no controller.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::batch::{Batch, Health};
use halley_dispatcher::bus::log::{EdgeOf, NO_EPOCH, Place, ReadFrom, Refusal, Slice};

/// Error codes of the protocol that a leader answers a producer with.
pub mod code {
    pub const NONE: i16 = 0;
    pub const CORRUPT_MESSAGE: i16 = 2;
    pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    pub const REQUEST_TIMED_OUT: i16 = 7;
    pub const NOT_ENOUGH_REPLICAS: i16 = 19;
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    pub const UNKNOWN_PRODUCER_ID: i16 = 59;
    pub const UNKNOWN_TOPIC_ID: i16 = 100;
}

/// Replicas that must have a record before it is acked.
pub const MIN_INSYNC: usize = 2;

/// Batches of a producer that are known again when they come twice.
const BATCHES_KNOWN: usize = 5;

/// What a broker does for a partition.
#[derive(Debug)]
pub enum Role {
    Leader(Lead),
    Follower,
}

/// What only a leader knows.
#[derive(Debug)]
pub struct Lead {
    /// Where its epoch begins.
    pub first: i64,
    /// Who is in sync, as far as it knows: never fewer than the controller knows.
    pub isr: BTreeSet<i32>,
    /// How far the others said they are.
    ends: BTreeMap<i32, i64>,
    /// Producers whose records are appended and not yet everywhere, by their tickets.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    base: i64,
    next: i64,
}

/// What a producer is answered, by its ticket: a code, and the base offset where that is 0.
pub type Produced = (u64, i16, i64);

#[derive(Clone, Debug)]
struct Known {
    epoch: i16,
    /// First and last sequence number and base offset of its batches.
    batches: Vec<(i32, i32, i64)>,
}

#[derive(Debug)]
pub struct Replica {
    pub id: i32,
    pub role: Role,
    /// Epoch of the leader it knows.
    pub epoch: i32,
    pub leader: Option<i32>,
    log: Vec<Rc<Batch>>,
    pub start: i64,
    pub end: i64,
    pub high_watermark: i64,
    epochs: Vec<(i32, i64)>,
    producers: BTreeMap<i64, Known>,
    forgotten: BTreeSet<i64>,
    /// What lies below was said to be committed.
    said: i64,
}

impl Replica {
    pub fn new(id: i32) -> Replica {
        Replica {
            id,
            role: Role::Follower,
            epoch: NO_EPOCH,
            leader: None,
            log: Vec::new(),
            start: 0,
            end: 0,
            high_watermark: 0,
            epochs: Vec::new(),
            producers: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            said: 0,
        }
    }

    /// What it holds, in order.
    pub fn batches(&self) -> &[Rc<Batch>] {
        &self.log
    }

    /// The newest epoch that its log knows of, whether anything was written in it or not.
    pub fn last_epoch(&self) -> i32 {
        self.epochs.last().map_or(NO_EPOCH, |&(epoch, _)| epoch)
    }

    pub fn lead(&self) -> Option<&Lead> {
        match &self.role {
            Role::Leader(lead) => Some(lead),
            Role::Follower => None,
        }
    }

    /// The controller's word: who leads since which epoch, and who is in sync. Who leads no longer answers its waiting
    /// producers so, though their records are appended.
    pub fn learn(&mut self, leader: Option<i32>, epoch: i32, isr: &BTreeSet<i32>) -> Vec<Produced> {
        if epoch < self.epoch {
            return Vec::new();
        }
        if epoch == self.epoch {
            if let Role::Leader(lead) = &mut self.role {
                lead.isr.clone_from(isr);
            }
            return self.advance();
        }
        let given_up = self.give_up(code::NOT_LEADER_OR_FOLLOWER);
        (self.epoch, self.leader, self.role) = (epoch, leader, Role::Follower);
        if leader == Some(self.id) {
            self.begin_epoch(epoch, self.end);
            let lead = Lead { first: self.end, isr: isr.clone(), ends: BTreeMap::new(), waiting: Vec::new() };
            self.role = Role::Leader(lead);
        }
        given_up.into_iter().chain(self.advance()).collect()
    }

    /// Answers everybody who waits with one code.
    pub fn give_up(&mut self, code: i16) -> Vec<Produced> {
        match &mut self.role {
            Role::Leader(lead) => lead.waiting.drain(..).map(|waiting| (waiting.ticket, code, -1)).collect(),
            Role::Follower => Vec::new(),
        }
    }

    /// A produce request does not wait for others: where it lies, if it did wait.
    pub fn give_away(&mut self, ticket: u64) -> Option<i64> {
        let Role::Leader(lead) = &mut self.role else { return None };
        let at = lead.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        Some(lead.waiting.remove(at).base)
    }

    /// A produce request waits no longer. Whether it did.
    pub fn expire(&mut self, ticket: u64) -> bool {
        let Role::Leader(lead) = &mut self.role else { return false };
        let before = lead.waiting.len();
        lead.waiting.retain(|waiting| waiting.ticket != ticket);
        lead.waiting.len() < before
    }

    /// A producer's batch, `acks=all`. An answer, or none while others do not have it yet.
    pub fn produce(&mut self, batch: Batch, ticket: u64) -> Vec<Produced> {
        let Role::Leader(lead) = &mut self.role else { return vec![(ticket, code::NOT_LEADER_OR_FOLLOWER, -1)] };
        if lead.isr.len() < MIN_INSYNC {
            return vec![(ticket, code::NOT_ENOUGH_REPLICAS, -1)];
        }
        let base = match self.producers.get(&batch.producer).filter(|_| batch.producer >= 0) {
            Some(known) => {
                let range = (batch.sequence, batch.last_sequence());
                let last = known.batches.last().map_or(-1, |&(_, last, _)| last);
                match known.batches.iter().rev().take(BATCHES_KNOWN).find(|&&(first, last, _)| (first, last) == range) {
                    Some(&(_, _, base)) if known.epoch == batch.producer_epoch => Some(base),
                    _ if known.epoch == batch.producer_epoch && batch.sequence == last.wrapping_add(1) => None,
                    _ => return vec![(ticket, code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)],
                }
            }
            // A leader that forgot a producer, and is old enough to mind.
            None if batch.producer >= 0 && (batch.sequence > 0 || self.forgotten.contains(&batch.producer)) => {
                return vec![(ticket, code::UNKNOWN_PRODUCER_ID, -1)];
            }
            None => None,
        };
        let records = i64::from(batch.last_delta) + 1;
        let base = base.unwrap_or_else(|| self.append(batch));
        if let Role::Leader(lead) = &mut self.role {
            lead.waiting.push(Waiting { ticket, base, next: base + records });
        }
        self.advance()
    }

    /// Appends as a leader does; where it lies.
    pub fn append(&mut self, batch: Batch) -> i64 {
        let base = self.end;
        self.store(Rc::new(batch.placed(base, self.epoch)));
        base
    }

    fn store(&mut self, batch: Rc<Batch>) {
        self.end = batch.next();
        if self.epochs.last().is_none_or(|&(epoch, _)| epoch < batch.epoch) {
            self.begin_epoch(batch.epoch, batch.base);
        }
        self.remember(&batch);
        self.log.push(batch);
    }

    fn begin_epoch(&mut self, epoch: i32, first: i64) {
        self.epochs.retain(|&(known, known_first)| known < epoch && known_first < first);
        self.epochs.push((epoch, first));
    }

    fn remember(&mut self, batch: &Batch) {
        if batch.producer < 0 || batch.sequence < 0 {
            return;
        }
        let fresh = Known { epoch: batch.producer_epoch, batches: Vec::new() };
        let known = self.producers.entry(batch.producer).or_insert(fresh);
        if known.epoch != batch.producer_epoch {
            *known = Known { epoch: batch.producer_epoch, batches: Vec::new() };
        }
        known.batches.push((batch.sequence, batch.last_sequence(), batch.base));
    }

    /// What it knows of producers is lost, but for that there were some.
    pub fn forget_producers(&mut self) {
        self.forgotten.extend(std::mem::take(&mut self.producers).into_keys());
    }

    /// A follower asks: how far it is, and in which epoch its log ends. What it is to cut off, or what comes next.
    pub fn fetched_by(&mut self, follower: i32, end: i64, epoch: i32, batches_max: usize) -> Fetched {
        let Role::Leader(lead) = &mut self.role else { return Fetched::Nothing };
        if end < self.start {
            return Fetched::Restart(self.start);
        }
        if epoch >= 0
            && let Some((known, known_end)) = end_of_epoch(&self.epochs, epoch, self.end)
            && (known < epoch || known_end < end)
        {
            return Fetched::Truncate(known, known_end);
        }
        if end > self.end {
            return Fetched::Truncate(i32::MAX, self.end);
        }
        lead.ends.insert(follower, end);
        let from = self.log.partition_point(|batch| batch.next() <= end);
        let batches = self.log[from..].iter().take(batches_max).cloned().collect();
        Fetched::Batches(batches, self.high_watermark, self.start)
    }

    /// Takes what a leader answered. What was cut off, and whether anything is different now.
    pub fn take(&mut self, fetched: Fetched) -> bool {
        match fetched {
            Fetched::Nothing => false,
            Fetched::Restart(start) => {
                self.log.clear();
                self.epochs.clear();
                (self.start, self.end, self.high_watermark) = (start, start, start);
                true
            }
            Fetched::Truncate(epoch, end) => {
                self.truncate(epoch, end);
                true
            }
            Fetched::Batches(batches, high_watermark, start) => {
                let before = (self.end, self.high_watermark, self.start);
                batches.into_iter().for_each(|batch| self.store(batch));
                self.high_watermark = self.high_watermark.max(high_watermark.min(self.end));
                self.drop_before(start.min(self.high_watermark));
                before != (self.end, self.high_watermark, self.start)
            }
        }
    }

    /// Keeps what was written up to an epoch and lies before an offset.
    fn truncate(&mut self, epoch: i32, end: i64) {
        let end = self.log.iter().find(|batch| batch.epoch > epoch).map_or(end, |batch| batch.base.min(end));
        self.log.retain(|batch| batch.next() <= end);
        self.end = end.min(self.end);
        self.start = self.start.min(self.end);
        self.high_watermark = self.high_watermark.min(self.end);
        self.said = self.said.min(self.high_watermark);
        self.epochs.retain(|&(_, first)| first < self.end);
        let end = self.end;
        self.producers.retain(|_, known| {
            known.batches.retain(|&(_, _, base)| base < end);
            !known.batches.is_empty()
        });
    }

    /// Retention: nothing before this offset is kept.
    pub fn drop_before(&mut self, start: i64) {
        if start <= self.start {
            return;
        }
        self.start = start;
        self.log.retain(|batch| batch.next() > start);
        // The epoch in which the log now begins stays known.
        let kept = self.epochs.partition_point(|&(_, first)| first <= start).saturating_sub(1);
        self.epochs.drain(..kept);
        if let Some(first) = self.epochs.first_mut() {
            first.1 = first.1.max(start);
        }
    }

    /// Puts another batch in the place of one, where it has one.
    pub fn replace(&mut self, base: i64, epoch: i32, with: Option<Batch>) {
        let Some(at) = self.log.iter().position(|batch| (batch.base, batch.epoch) == (base, epoch)) else { return };
        match with {
            Some(batch) => self.log[at] = Rc::new(batch),
            None => {
                self.log.remove(at);
            }
        }
    }

    /// A batch is not read as it was written.
    pub fn damage(&mut self, base: i64, epoch: i32, health: Health) {
        if let Some(batch) = self.log.iter_mut().find(|batch| (batch.base, batch.epoch) == (base, epoch)) {
            *batch = Rc::new(Batch { health, ..(**batch).clone() });
        }
    }

    /// What followers reached moves the high watermark of a leader, and answers producers.
    pub fn advance(&mut self) -> Vec<Produced> {
        let Role::Leader(lead) = &mut self.role else { return Vec::new() };
        let others = lead.isr.iter().filter(|&&id| id != self.id);
        let reached = others.map(|id| lead.ends.get(id).copied().unwrap_or(0)).fold(self.end, i64::min);
        self.high_watermark = self.high_watermark.max(reached);
        let code = if lead.isr.len() < MIN_INSYNC { code::NOT_ENOUGH_REPLICAS_AFTER_APPEND } else { code::NONE };
        let there = self.high_watermark;
        let (done, waiting) = lead.waiting.drain(..).partition(|waiting: &Waiting| waiting.next <= there);
        lead.waiting = waiting;
        done.into_iter().map(|waiting: Waiting| (waiting.ticket, code, waiting.base)).collect()
    }

    /// What it knows to be committed and did not say before: batches of which nothing is lost from now on.
    pub fn committed(&mut self) -> Vec<Rc<Batch>> {
        if self.said >= self.high_watermark {
            return Vec::new();
        }
        let first = self.log.partition_point(|batch| batch.base < self.said);
        let there = self.high_watermark;
        self.said = there;
        self.log[first..].iter().take_while(|batch| batch.next() <= there).cloned().collect()
    }

    /// Whether a follower is as far as who is in sync has to be.
    pub fn is_near(&self, follower: i32) -> bool {
        let end = self.lead().and_then(|lead| lead.ends.get(&follower)).copied().unwrap_or(-1);
        self.lead().is_some_and(|lead| end >= self.high_watermark.max(lead.first))
    }

    pub fn join(&mut self, follower: i32) {
        if let Role::Leader(lead) = &mut self.role {
            lead.isr.insert(follower);
        }
    }

    fn check(&self, asked: i32) -> Result<&Lead, Refusal> {
        if asked != NO_EPOCH && asked < self.epoch {
            return Err(Refusal::FencedEpoch);
        }
        if asked != NO_EPOCH && asked > self.epoch {
            return Err(Refusal::UnknownEpoch);
        }
        self.lead().ok_or(Refusal::NotLeader { now: None })
    }

    /// Kafka's ListOffsets, for the log's end.
    pub fn latest(&self, of: EdgeOf) -> Result<Place, Refusal> {
        let lead = self.check(of.leader_epoch)?;
        if self.high_watermark < lead.first {
            return Err(Refusal::NotYet);
        }
        Ok(Place { offset: self.high_watermark, epoch: self.last_epoch() })
    }

    /// Kafka's ListOffsets, for the log's start.
    pub fn earliest(&self, of: EdgeOf) -> Result<Place, Refusal> {
        self.check(of.leader_epoch)?;
        let epoch =
            self.epochs.first().filter(|&&(_, first)| first <= self.start).map_or(NO_EPOCH, |&(epoch, _)| epoch);
        Ok(Place { offset: self.start, epoch })
    }

    /// Kafka's Fetch of a consumer. A first batch that is longer than `bytes_max` comes whole where `whole` says so;
    /// what does not fit is cut off.
    pub fn read(&mut self, from: ReadFrom, bytes_max: usize, whole: bool) -> Result<Slice, Refusal> {
        self.check(from.leader_epoch)?;
        let Place { offset, epoch } = from.place;
        if epoch >= 0 {
            let (known, known_end) = end_of_epoch(&self.epochs, epoch, self.end).ok_or(Refusal::OutOfRange)?;
            if offset >= self.start && (known < epoch || known_end < offset) {
                return Err(Refusal::Diverging { end: Place { offset: known_end, epoch: known } });
            }
        }
        if offset < self.start || offset > self.end {
            return Err(Refusal::OutOfRange);
        }
        let mut bytes = Vec::new();
        let first = self.log.partition_point(|batch| batch.next() <= offset);
        for batch in &mut self.log[first..] {
            if batch.base >= self.high_watermark {
                break;
            }
            let start = bytes.len();
            let room = bytes_max.saturating_sub(start);
            if batch.bytes.len() > room && !(whole && start == 0) {
                bytes.extend_from_slice(&batch.bytes[..room]);
                break;
            }
            bytes.extend_from_slice(&batch.bytes);
            match batch.health {
                Health::Sound => {}
                Health::Unreadable => *bytes.last_mut().expect("a header") ^= 0x40,
                Health::DamagedFor(readers) => {
                    bytes[start + 58] ^= 1;
                    let health = if readers > 1 { Health::DamagedFor(readers - 1) } else { Health::Sound };
                    *batch = Rc::new(Batch { health, ..(**batch).clone() });
                }
            }
        }
        Ok(Slice { batches: bytes.into(), high_watermark: self.high_watermark, log_start: self.start })
    }

    /// Whether a read would find nothing, and no reason to refuse.
    pub fn is_at_end(&self, from: ReadFrom) -> bool {
        let is_behind = |batch: &Rc<Batch>| batch.next() > from.place.offset && batch.base < self.high_watermark;
        let is_known = end_of_epoch(&self.epochs, from.place.epoch, self.end);
        let is_same = from.place.epoch < 0
            || is_known.is_some_and(|(known, end)| known >= from.place.epoch && end >= from.place.offset);
        let is_within = from.place.offset >= self.start && from.place.offset <= self.end;
        self.check(from.leader_epoch).is_ok() && is_same && is_within && !self.log.iter().any(is_behind)
    }
}

/// What a leader answers a follower.
#[derive(Debug)]
pub enum Fetched {
    Nothing,
    /// The follower's log ends before the leader's begins.
    Restart(i64),
    /// Keep what was written up to this epoch and lies before this offset.
    Truncate(i32, i64),
    /// Batches, the leader's high watermark and log start.
    Batches(Vec<Rc<Batch>>, i64, i64),
}

/// The largest epoch up to `epoch` and where it ends, as Kafka's `LeaderEpochFileCache` says; `None` where it does not
/// know.
fn end_of_epoch(epochs: &[(i32, i64)], epoch: i32, end: i64) -> Option<(i32, i64)> {
    let above = epochs.partition_point(|&(known, _)| known <= epoch);
    let last = epochs.last()?.0;
    if last == epoch {
        return Some((epoch, end));
    }
    let &(_, next_first) = epochs.get(above)?;
    Some((above.checked_sub(1).map_or(epoch, |at| epochs[at].0), next_first))
}
