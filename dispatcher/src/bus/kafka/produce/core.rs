//! The producer without its sockets: admission, batches, attempts, results. Owns every partition's state and decides
//! what is sent when; the rules are in [`super`]. Never looks at a clock and never waits: time comes with each event,
//! actions go out by [`Produce::action`]. Next: whoever drives it, with the brokers behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;

use super::act::{Action, Answer, PushId, Request, RequestId};
use super::batch::{BATCH_HEADER_BYTES, Identity, Stamped, record_bytes};
use super::partition::{Entry, Naming, Partition};
use super::pushes::Pushes;
use super::settings::Settings;
use super::verdict::{Verdict, sentence};
use crate::backoff::{Backoff, Pauses};
use crate::bus::log::{Leader, NO_EPOCH, Source, TopicId, Topology, Trouble};
use crate::bus::{Depth, NO_OFFSET, Position, PublishError, Record};

/// News of a newer leader ends a batch's pause this many times; after that it waits like everything that fails.
const HURRIES_MAX: u32 = 3;
/// Records that wait for so long, while attempts fail, are more than a leader that changes.
const STUCK_MIN: Duration = Duration::from_secs(5);

/// What was done, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests with batches.
    pub requests: u64,
    /// Batches that were appended.
    pub batches: u64,
    /// Their records.
    pub records: u64,
    /// Batches that were sent again.
    pub retries: u64,
    /// Producer ids asked for.
    pub identities: u64,
    /// Questions about the topic.
    pub topologies: u64,
}

/// One broker: one request at a time, because it answers one at a time on a connection.
#[derive(Debug, Default)]
struct Broker {
    request: Option<RequestId>,
    not_before: Duration,
    backoff: Backoff,
    /// The partition that is looked at first, so that none is always last.
    first: usize,
}

/// What is known of the topic, and when it is asked for.
#[derive(Debug, Default)]
struct Lookup {
    topic: Option<TopicId>,
    asked: bool,
    /// Something went wrong that news of the leaders may mend.
    wanted: bool,
    not_before: Duration,
    /// Asked then, even if nothing is wrong.
    refresh_at: Duration,
    /// Questions in a row that something made necessary.
    in_a_row: u32,
    /// Why nobody answered, if so.
    trouble: Option<Trouble>,
}

/// The producer of one topic.
#[derive(Debug)]
pub struct Produce {
    settings: Settings,
    random: SmallRng,
    partitions: Vec<Partition>,
    brokers: BTreeMap<Source, Broker>,
    lookup: Lookup,
    pushes: Pushes,
    depth: Depth,
    /// Where each request is, and of which partitions.
    requests: BTreeMap<RequestId, Travelling>,
    next_request: u64,
    counts: Counts,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Travelling {
    source: Source,
    partitions: Vec<usize>,
}

impl Produce {
    /// A producer that knows nothing of its topic yet; the first [`Produce::tick`] asks. `random` is for jitter alone.
    pub fn new(settings: Settings, random: SmallRng) -> Produce {
        let lookup = Lookup { wanted: true, ..Lookup::default() };
        Produce {
            settings,
            random,
            partitions: Vec::new(),
            brokers: BTreeMap::new(),
            lookup,
            pushes: Pushes::default(),
            depth: Depth::default(),
            requests: BTreeMap::new(),
            next_request: 0,
            counts: Counts::default(),
            actions: VecDeque::new(),
        }
    }

    /// How many partitions the topic has; 0 while nobody has said.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Records that wait or are under way, and their bytes.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// What was done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether every push has its result.
    pub fn is_idle(&self) -> bool {
        self.pushes.len() == 0
    }

    /// What the driver has to do next; to be taken until there is nothing more after every event.
    pub fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Take the records of one push, each for its partition, at this time of the wall clock in milliseconds of the Unix
    /// epoch. All are looked at before the first is queued. They are sent by the next [`Produce::tick`] or other event,
    /// so that pushes that come together go together.
    ///
    /// # Errors
    /// Nothing of it is taken: [`PublishError::TooLarge`], [`PublishError::Full`], [`PublishError::Unavailable`].
    pub fn admit(
        &mut self,
        now: Duration,
        timestamp_ms: i64,
        records: Vec<(i32, Record)>,
    ) -> Result<PushId, PublishError> {
        self.check(&records)?;
        let push = self.pushes.open(records.len());
        let deadline = now.saturating_add(self.settings.publish_timeout);
        for (index, (partition, record)) in records.into_iter().enumerate() {
            let stamped = Stamped { timestamp_ms: timestamp_ms.max(0), record };
            let entry = Entry { push, index, stamped, deadline, renewed: false };
            let bytes = entry.bytes();
            if let Some(partition) = self.partition(partition) {
                partition.bytes += bytes;
                partition.queue.push_back(entry);
                self.depth.records += 1;
                self.depth.bytes += bytes;
            }
        }
        Ok(push)
    }

    fn check(&self, records: &[(i32, Record)]) -> Result<(), PublishError> {
        let bytes_max = self.settings.request_bytes_max.saturating_sub(BATCH_HEADER_BYTES);
        let mut added: BTreeMap<i32, usize> = BTreeMap::new();
        for (partition, record) in records {
            let bytes = record_bytes(record);
            if bytes > bytes_max {
                return Err(PublishError::TooLarge { bytes, bytes_max: Some(bytes_max) });
            }
            *added.entry(*partition).or_default() += bytes;
        }
        for partition in added.keys() {
            let known = usize::try_from(*partition).ok().and_then(|index| self.partitions.get(index));
            if known.is_none_or(|known| known.leader.is_none()) {
                return Err(PublishError::Unavailable(self.no_leader(*partition)));
            }
        }
        let full = added.iter().any(|(partition, bytes)| {
            let held = usize::try_from(*partition).ok().and_then(|index| self.partitions.get(index));
            held.is_none_or(|held| held.bytes + bytes > self.settings.partition_bytes_max)
        });
        let bytes: usize = added.values().sum();
        if full
            || self.depth.records + records.len() > self.settings.records_max
            || self.depth.bytes + bytes > self.settings.bytes_max
        {
            return Err(PublishError::Full);
        }
        Ok(())
    }

    fn no_leader(&self, partition: i32) -> Arc<str> {
        match (&self.lookup.topic, &self.lookup.trouble) {
            (_, Some(trouble)) => trouble.to_string().into(),
            (None, None) => "nobody has said yet who leads the topic's partitions".into(),
            (Some(_), None) => format!("nobody leads partition {partition} now").into(),
        }
    }

    fn partition(&mut self, number: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(number).ok()?)
    }

    /// The topic, as somebody knows it. Asked for or not.
    pub fn topology(&mut self, now: Duration, topology: &Topology) {
        self.lookup.trouble = None;
        self.lookup.wanted = false;
        self.looked_up(now);
        if self.lookup.topic.is_some_and(|known| known != topology.topic) {
            self.forget_topic(topology.leaders.len());
        }
        self.lookup.topic = Some(topology.topic);
        // Under one id partitions never become fewer: a shorter list is older news.
        while self.partitions.len() < topology.leaders.len() {
            self.partitions.push(Partition::new(self.settings.request_bytes_max));
        }
        for (index, leader) in topology.leaders.iter().enumerate() {
            self.learn(now, index, *leader);
        }
        self.pump(now);
    }

    /// The question about the topic has no answer. It is asked again, after what only an operator can mend slowly.
    pub fn topology_failed(&mut self, now: Duration, why: Trouble) {
        self.lookup.trouble = Some(why);
        self.lookup.wanted = true;
        self.looked_up(now);
        self.pump(now);
    }

    /// The topic was deleted and made again. What may be in the old one cannot be sent to the new one, where it would
    /// appear a second time; everything else can, under new ids.
    fn forget_topic(&mut self, partitions: usize) {
        for index in 0..self.partitions.len() {
            let partition = &mut self.partitions[index];
            let doubt = partition.under_way.as_ref().is_some_and(|it| it.in_doubt || it.request.is_some());
            if doubt {
                let entries = partition.give_up();
                self.unknown(index, entries, "the topic was deleted and made again");
            } else {
                partition.take_apart();
            }
            let partition = &mut self.partitions[index];
            partition.drop_identity();
            partition.leader = None;
            partition.newest_epoch = NO_EPOCH;
            if index >= partitions {
                let entries = partition.queue.drain(..).collect();
                let entries = partition.released(entries);
                self.refuse(index, entries, "the topic was made again with fewer partitions");
            }
        }
        self.partitions.truncate(partitions);
    }

    fn learn(&mut self, now: Duration, index: usize, leader: Option<Leader>) {
        let Some(partition) = self.partitions.get_mut(index) else { return };
        let hurry = partition.under_way.as_ref().is_none_or(|it| it.attempts <= HURRIES_MAX);
        if partition.learn(leader) && hurry {
            partition.not_before = partition.not_before.min(now);
        }
    }

    /// A producer id for a partition, or why not.
    pub fn identity(&mut self, now: Duration, partition: i32, given: Result<Identity, Arc<str>>) {
        let (interval, pause_max) = (self.settings.identity_interval, self.settings.pause_max);
        let Some(held) = usize::try_from(partition).ok().and_then(|index| self.partitions.get_mut(index)) else {
            return;
        };
        if held.naming != Naming::Asked {
            return;
        }
        match given {
            Ok(identity) => {
                held.naming = Naming::Held { identity, sequence: 0 };
                held.naming_backoff.reset();
            }
            Err(why) => {
                held.naming = Naming::Missing;
                let pauses = Pauses { first: interval, longest: pause_max.max(interval), ..self.settings.pauses() };
                let wait = held.naming_backoff.next(pauses, &mut self.random);
                held.naming_not_before = held.naming_not_before.max(now.saturating_add(wait));
                held.trouble = Some(why);
            }
        }
        self.pump(now);
    }

    /// A broker answered a request. Batches that it says nothing of are in doubt. It does not want to be asked again
    /// for `throttle`.
    pub fn answered(&mut self, now: Duration, request: RequestId, answers: &[(i32, Answer)], throttle: Duration) {
        let Some(travelling) = self.requests.remove(&request) else { return };
        if let Some(broker) = self.brokers.get_mut(&travelling.source) {
            broker.request = None;
            broker.backoff.reset();
            broker.not_before = now.saturating_add(throttle);
        }
        for index in travelling.partitions {
            let answer = answers.iter().find(|(partition, _)| usize::try_from(*partition) == Ok(index));
            match answer {
                Some((_, answer)) => self.judge(now, request, index, answer),
                None => self.doubtful(now, request, index, "the broker's answer leaves the batch out".into()),
            }
        }
        self.pump(now);
    }

    /// A request will not be answered: its connection broke, or its time is over; says from whom, and why. Unless
    /// nothing of it was `written` to a socket its batches are in doubt.
    pub fn lost(&mut self, now: Duration, request: RequestId, written: bool, why: &Arc<str>) {
        let Some(travelling) = self.requests.remove(&request) else { return };
        if let Some(broker) = self.brokers.get_mut(&travelling.source) {
            broker.request = None;
            let wait = broker.backoff.next(self.settings.pauses(), &mut self.random);
            broker.not_before = now.saturating_add(wait);
        }
        for index in travelling.partitions {
            if written {
                self.doubtful(now, request, index, why.clone());
            } else if let Some(partition) = self.in_request(request, index) {
                partition.trouble = Some(why.clone());
                if let Some(under_way) = &mut partition.under_way {
                    under_way.request = None;
                    if !under_way.in_doubt {
                        partition.take_apart();
                    }
                }
            }
        }
        self.lookup.wanted = true;
        self.pump(now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        self.pump(now);
    }

    /// The partition, if its batch still travels in this request.
    fn in_request(&mut self, request: RequestId, index: usize) -> Option<&mut Partition> {
        let partition = self.partitions.get_mut(index)?;
        let travels = partition.under_way.as_ref()?.request == Some(request);
        travels.then_some(partition)
    }

    fn judge(&mut self, now: Duration, request: RequestId, index: usize, answer: &Answer) {
        let Some(partition) = self.in_request(request, index) else { return };
        let Some(under_way) = &mut partition.under_way else { return };
        let verdict = Verdict::of(answer.code);
        // An earlier attempt in doubt stays so, whatever is said of this one.
        let first = !under_way.in_doubt;
        let renewed = under_way.entries.iter().any(|entry| entry.renewed);
        if verdict != Verdict::Appended {
            under_way.request = None;
            under_way.in_doubt |= !(verdict.is_definite() || verdict == Verdict::StaleIdentity && !renewed);
            partition.trouble = Some(sentence(answer.code).into());
        }
        match verdict {
            Verdict::Appended => self.appended(index, answer.base_offset),
            Verdict::Later => self.pause_partition(now, index),
            Verdict::TooLarge if first => self.too_large(now, index),
            Verdict::StaleIdentity if first && !renewed => self.renew(index),
            Verdict::NotLeader => {
                self.pause_partition(now, index);
                self.lookup.wanted = true;
                if answer.leader.is_some() {
                    self.learn(now, index, answer.leader);
                }
            }
            Verdict::Doubtful => {
                self.pause_partition(now, index);
                self.lookup.wanted = true;
            }
            Verdict::TooLarge | Verdict::Refused | Verdict::StaleIdentity | Verdict::Fatal => {
                self.pause_partition(now, index);
                self.end_under_way(index, &sentence(answer.code));
            }
        }
    }

    fn doubtful(&mut self, now: Duration, request: RequestId, index: usize, why: Arc<str>) {
        let Some(partition) = self.in_request(request, index) else { return };
        partition.trouble = Some(why);
        if let Some(under_way) = &mut partition.under_way {
            under_way.request = None;
            under_way.in_doubt = true;
        }
        self.pause_partition(now, index);
        self.lookup.wanted = true;
    }

    fn pause_partition(&mut self, now: Duration, index: usize) {
        let partition = &mut self.partitions[index];
        let wait = partition.backoff.next(self.settings.pauses(), &mut self.random);
        partition.not_before = now.saturating_add(wait);
    }

    fn appended(&mut self, index: usize, base_offset: i64) {
        let partition = &mut self.partitions[index];
        partition.backoff.reset();
        partition.trouble = None;
        let entries = partition.appended();
        self.counts.batches += 1;
        self.counts.records += u64::try_from(entries.len()).unwrap_or(u64::MAX);
        for (offset, entry) in (base_offset..).zip(entries) {
            let offset = if base_offset < 0 { NO_OFFSET } else { offset };
            self.end(&entry, Ok(Position { partition: number(index), offset }));
        }
    }

    /// The broker takes smaller batches than we send: halve them down to one record, which then is too large itself.
    /// They grow again as they are taken.
    fn too_large(&mut self, now: Duration, index: usize) {
        let partition = &mut self.partitions[index];
        let Some(under_way) = &partition.under_way else { return };
        if under_way.entries.len() > 1 {
            partition.fit.refused(under_way.bytes);
            partition.take_apart();
            self.pause_partition(now, index);
            return;
        }
        for entry in partition.give_up() {
            let bytes = entry.bytes();
            self.end(&entry, Err(PublishError::TooLarge { bytes, bytes_max: None }));
        }
    }

    /// The broker does not know the id, and so appended nothing: the same records go once more under a new one.
    fn renew(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if let Some(under_way) = &mut partition.under_way {
            under_way.entries.iter_mut().for_each(|entry| entry.renewed = true);
        }
        partition.take_apart();
        partition.drop_identity();
    }

    /// No further attempt: refused if nothing of it can be in the log, else unknown.
    fn end_under_way(&mut self, index: usize, why: &str) {
        let partition = &mut self.partitions[index];
        let Some(under_way) = &partition.under_way else { return };
        let doubt = under_way.in_doubt || under_way.request.is_some();
        let entries = partition.give_up();
        if doubt {
            self.unknown(index, entries, why);
        } else {
            self.refuse(index, entries, why);
        }
    }

    fn unknown(&mut self, index: usize, entries: Vec<Entry>, why: &str) {
        let why: Arc<str> = format!("it may appear once or not at all, partition {index}: {why}").into();
        for entry in entries {
            self.end(&entry, Err(PublishError::Unknown(why.clone())));
        }
    }

    fn refuse(&mut self, index: usize, entries: Vec<Entry>, why: &str) {
        let why: Arc<str> = format!("partition {index} was not written to: {why}").into();
        for entry in entries {
            self.end(&entry, Err(PublishError::Unavailable(why.clone())));
        }
    }

    fn end(&mut self, entry: &Entry, ended: Result<Position, PublishError>) {
        self.depth.records -= 1;
        self.depth.bytes -= entry.bytes();
        if let Some(outcome) = self.pushes.end(entry.push, entry.index, ended) {
            self.actions.push_back(Action::Done { push: entry.push, outcome });
        }
    }

    /// What keeps records waiting for 5 s and longer, of the first partition where something does.
    pub fn stuck(&self, now: Duration) -> Option<Arc<str>> {
        let is_long = |since: Duration| now.saturating_sub(since) >= STUCK_MIN;
        let mut partitions = self.partitions.iter().enumerate();
        let (index, partition) = partitions.find(|(_, partition)| partition.failing_since.is_some_and(is_long))?;
        let why = partition.trouble.as_deref().unwrap_or("nobody answers");
        Some(format!("partition {index} takes no pushes: {why}").into())
    }

    /// Whether the last that is known of every partition is a success.
    pub fn is_well(&self) -> bool {
        self.partitions.iter().all(|partition| partition.trouble.is_none())
    }

    /// Everything that is due.
    fn pump(&mut self, now: Duration) {
        self.partitions.iter_mut().for_each(|partition| partition.look(now));
        self.expire(now);
        self.ask_identities(now);
        self.send_all(now);
        self.ask_topology(now);
    }

    /// P5: nothing is sent after its time. Of a batch that is not in the log for certain only those go whose time it
    /// is; one in doubt, or that travels now, ends whole.
    fn expire(&mut self, now: Duration) {
        for index in 0..self.partitions.len() {
            let timeout = self.settings.publish_timeout.as_secs_f64();
            let partition = &mut self.partitions[index];
            let trouble = partition.trouble.clone();
            let why = |trouble: Option<Arc<str>>| match trouble {
                Some(trouble) => format!("no success within {timeout} s: {trouble}"),
                None => format!("no answer within {timeout} s"),
            };
            if let Some(under_way) = &partition.under_way
                && under_way.deadline() <= now
            {
                if under_way.in_doubt || under_way.request.is_some() {
                    self.end_under_way(index, &why(trouble.clone()));
                } else {
                    partition.take_apart();
                }
            }
            let partition = &mut self.partitions[index];
            // What travels or is in doubt was admitted before, and ends first.
            let entries = if partition.under_way.is_none() { partition.expired(now) } else { Vec::new() };
            if !entries.is_empty() {
                self.refuse(index, entries, &why(trouble));
            }
        }
    }

    fn ask_identities(&mut self, now: Duration) {
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            if partition.wants_identity() && partition.naming_not_before <= now {
                partition.naming = Naming::Asked;
                partition.naming_not_before = now.saturating_add(self.settings.identity_interval);
                self.counts.identities += 1;
                self.actions.push_back(Action::AskIdentity { partition: number(index) });
            }
        }
    }

    fn send_all(&mut self, now: Duration) {
        let ready = |partition: &&Partition| partition.can_send() && partition.not_before <= now;
        let sources = self.partitions.iter().filter(ready).filter_map(|partition| Some(partition.leader?.source));
        let sources: BTreeSet<Source> = sources.collect();
        for source in sources {
            let broker = self.brokers.entry(source).or_default();
            if broker.request.is_none() && broker.not_before <= now {
                self.send(now, source);
            }
        }
    }

    /// One request with what is ready for this broker, as much as fits.
    fn send(&mut self, now: Duration, source: Source) {
        let (Some(topic), Some(broker)) = (self.lookup.topic, self.brokers.get_mut(&source)) else { return };
        let id = RequestId(self.next_request);
        let count = self.partitions.len();
        let mut room = self.settings.request_bytes_max;
        let (mut batches, mut travelling) = (Vec::new(), Vec::new());
        let mut write_by = Duration::MAX;
        for index in (0..count).map(|step| (broker.first + step) % count) {
            let partition = &mut self.partitions[index];
            let led_here = partition.leader.is_some_and(|leader| leader.source == source);
            if !led_here || !partition.can_send() || partition.not_before > now {
                continue;
            }
            let Some(under_way) = partition.batch(room) else { continue };
            under_way.request = Some(id);
            under_way.attempts = under_way.attempts.saturating_add(1);
            self.counts.retries += u64::from(under_way.attempts > 1);
            room -= under_way.bytes;
            write_by = write_by.min(under_way.deadline());
            batches.push((number(index), under_way.batch.clone()));
            travelling.push(index);
        }
        let Some(first) = travelling.first() else { return };
        broker.first = first + 1;
        broker.request = Some(id);
        self.next_request += 1;
        self.counts.requests += 1;
        self.requests.insert(id, Travelling { source, partitions: travelling });
        let answer_by = now.saturating_add(self.settings.answer_timeout);
        self.actions.push_back(Action::Send(Request { id, source, topic, batches, write_by, answer_by }));
    }

    fn ask_topology(&mut self, now: Duration) {
        // A partition without a leader is asked for as long as something waits in it.
        self.lookup.wanted |= self.partitions.iter().any(|it| it.leader.is_none() && it.has_work());
        let lookup = &mut self.lookup;
        let due = if lookup.wanted { lookup.not_before } else { lookup.not_before.max(lookup.refresh_at) };
        if !lookup.asked && due <= now {
            lookup.asked = true;
            lookup.in_a_row = if lookup.wanted { lookup.in_a_row.saturating_add(1) } else { 0 };
            self.counts.topologies += 1;
            self.actions.push_back(Action::AskTopology);
        }
    }

    fn looked_up(&mut self, now: Duration) {
        let lookup = &mut self.lookup;
        lookup.asked = false;
        let pauses = match &lookup.trouble {
            Some(trouble) if trouble.needs_operator() => self.settings.slow_pauses(),
            _ => self.settings.pauses(),
        };
        let wait = pauses.after(lookup.in_a_row, &mut self.random);
        lookup.not_before = now.saturating_add(wait);
        let refresh = self.settings.pauses().even(self.settings.topology_interval).after(1, &mut self.random);
        lookup.refresh_at = now.saturating_add(refresh);
    }

    /// When to call [`Produce::tick`] if nothing happens before.
    pub fn next_deadline(&self) -> Option<Duration> {
        let lookup = &self.lookup;
        let look_up = (!lookup.asked).then(|| match lookup.wanted {
            true => lookup.not_before,
            false => lookup.not_before.max(lookup.refresh_at),
        });
        let partitions = self.partitions.iter().flat_map(|partition| {
            let deadline = match &partition.under_way {
                Some(under_way) => Some(under_way.deadline()),
                None => partition.queue.front().map(|entry| entry.deadline),
            };
            let naming = partition.wants_identity().then_some(partition.naming_not_before);
            let broker = partition.leader.and_then(|leader| self.brokers.get(&leader.source));
            let free_at = broker.map_or(Some(Duration::ZERO), |it| it.request.is_none().then_some(it.not_before));
            let send = free_at.filter(|_| partition.can_send()).map(|free_at| free_at.max(partition.not_before));
            [deadline, naming, send].into_iter().flatten()
        });
        partitions.chain(look_up).min()
    }
}

fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
