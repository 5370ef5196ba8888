//! The brokers and their controller. Owns who is up, who is cut off, who leads since which epoch and who knows of it:
//! each broker works by the last word it heard, so old leaders go on answering. Answers what clients ask a broker;
//! knows no network and no time. Its copies of partitions are in [`crate::replica`].

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use halley_dispatcher::bus::log::{Edge, EdgeOf, Leader, Place, ReadFrom, Refusal, Slice, TopicId, Topology};

use crate::batch::Batch;
use crate::chance::Chance;
use crate::replica::{Fetched, MIN_INSYNC, Produced, Replica, Role, code};

/// What the controller says of a partition.
#[derive(Clone, Debug, Default)]
pub struct Led {
    pub leader: Option<i32>,
    pub epoch: i32,
    pub isr: BTreeSet<i32>,
}

/// What the controller says of the topic.
#[derive(Clone, Debug)]
pub struct Image {
    /// How often the topic was made; its id.
    pub topic: u8,
    /// Not while it is deleted and not yet made again.
    pub is_there: bool,
    pub partitions: Vec<Led>,
}

impl Image {
    pub fn id(&self) -> TopicId {
        TopicId([self.topic; 16])
    }
}

/// Why a broker answers clients nothing useful, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stubborn {
    No,
    Denies,
    Fails(i16),
}

#[derive(Debug)]
pub struct Broker {
    pub is_up: bool,
    /// The controller neither hears it nor is heard.
    pub is_isolated: bool,
    /// The controller takes it for dead.
    pub is_fenced: bool,
    pub stubborn: Stubborn,
    image: Image,
    pub replicas: BTreeMap<i32, Replica>,
}

#[derive(Debug)]
pub struct Cluster {
    pub brokers: Vec<Broker>,
    pub truth: Image,
    /// Elections may take who is not in sync.
    is_unclean: bool,
    /// Answers to producers that wait to be carried to them.
    pub produced: Vec<Produced>,
    /// The controller has said something that brokers have not heard.
    pub has_news: bool,
    /// Partitions whose followers have something to fetch.
    pub stirred: BTreeSet<i32>,
    /// Brokers of which waiting readers may get something now.
    pub readable: BTreeSet<i32>,
    next_producer: i64,
}

impl Cluster {
    pub fn new(brokers: usize, partitions: usize, is_unclean: bool, chance: &mut Chance) -> Cluster {
        let image = Image { topic: 1, is_there: true, partitions: Vec::new() };
        let broker = || Broker {
            is_up: true,
            is_isolated: false,
            is_fenced: false,
            stubborn: Stubborn::No,
            image: image.clone(),
            replicas: BTreeMap::new(),
        };
        let mut cluster = Cluster {
            brokers: (0..brokers).map(|_| broker()).collect(),
            truth: image.clone(),
            is_unclean,
            produced: Vec::new(),
            has_news: false,
            stirred: BTreeSet::new(),
            readable: BTreeSet::new(),
            next_producer: 1_000,
        };
        cluster.grow(partitions, chance);
        (0..brokers).for_each(|id| cluster.learn(number(id)));
        cluster
    }

    pub fn broker(&mut self, id: i32) -> &mut Broker {
        &mut self.brokers[index(id)]
    }

    fn ids(&self) -> impl Iterator<Item = i32> + use<> {
        (0..self.brokers.len()).map(number)
    }

    fn is_alive(&self, id: i32) -> bool {
        let broker = &self.brokers[index(id)];
        broker.is_up && !broker.is_fenced
    }

    // --- the controller

    /// More partitions.
    pub fn grow(&mut self, by: usize, chance: &mut Chance) {
        for _ in 0..by {
            let alive: Vec<i32> = self.ids().filter(|&id| self.is_alive(id)).collect();
            let leader = (!alive.is_empty()).then(|| *chance.pick(&alive));
            let isr = if alive.is_empty() { self.ids().collect() } else { alive.into_iter().collect() };
            self.truth.partitions.push(Led { leader, epoch: 0, isr });
        }
        self.has_news = true;
    }

    /// The topic is deleted: who is up knows it at once, and answers its waiting producers so.
    pub fn delete(&mut self) {
        self.truth.is_there = false;
        self.truth.partitions.clear();
        self.tell_everybody();
    }

    /// A topic of the same name is made.
    pub fn recreate(&mut self, partitions: usize, chance: &mut Chance) {
        self.truth.topic += 1;
        self.truth.is_there = true;
        self.grow(partitions, chance);
        self.tell_everybody();
    }

    fn tell_everybody(&mut self) {
        for id in self.ids() {
            if self.brokers[index(id)].is_up {
                self.learn(id);
            }
        }
    }

    /// Another leader for a partition: from those in sync, or anybody where that is allowed and nobody is.
    pub fn elect(&mut self, partition: i32, chance: &mut Chance) {
        let Some(led) = self.truth.partitions.get(index(partition)) else { return };
        let in_sync: Vec<i32> =
            led.isr.iter().copied().filter(|&id| self.is_alive(id) && led.leader != Some(id)).collect();
        let anybody: Vec<i32> = self.ids().filter(|&id| self.is_alive(id)).collect();
        let is_led = led.leader.is_some_and(|id| self.is_alive(id));
        let unclean = self.is_unclean && (in_sync.is_empty() || chance.in_1000(300)) && !anybody.is_empty();
        let leader = match (unclean, in_sync.is_empty()) {
            (true, _) => Some(*chance.pick(&anybody)),
            (false, false) => Some(*chance.pick(&in_sync)),
            (false, true) if is_led => return,
            (false, true) => None,
        };
        let led = &mut self.truth.partitions[index(partition)];
        led.epoch += 1;
        led.leader = leader;
        if let Some(id) = leader.filter(|id| !led.isr.contains(id)) {
            led.isr = BTreeSet::from([id]);
        }
        self.has_news = true;
    }

    /// The controller takes a broker for dead.
    pub fn fence(&mut self, id: i32, chance: &mut Chance) {
        self.broker(id).is_fenced = true;
        for partition in 0..self.truth.partitions.len() {
            let led = &mut self.truth.partitions[partition];
            if led.leader == Some(id) {
                self.elect(number(partition), chance);
            }
            let led = &mut self.truth.partitions[partition];
            // Somebody has to know where the log ends.
            if led.isr.len() > 1 {
                led.isr.remove(&id);
            }
        }
        self.has_news = true;
    }

    /// The controller hears a broker again.
    pub fn unfence(&mut self, id: i32, chance: &mut Chance) {
        self.broker(id).is_fenced = false;
        for partition in 0..self.truth.partitions.len() {
            let led = &self.truth.partitions[partition];
            if led.leader.is_none_or(|leader| !self.is_alive(leader)) {
                self.elect(number(partition), chance);
            }
        }
        self.has_news = true;
    }

    /// A broker's process ends. Connections break, what waited is answered by nobody.
    pub fn kill(&mut self, id: i32) {
        let broker = self.broker(id);
        broker.is_up = false;
        for replica in broker.replicas.values_mut() {
            drop(replica.give_up(code::REQUEST_TIMED_OUT));
            replica.role = Role::Follower;
            replica.leader = None;
        }
    }

    /// And begins again: fenced until then, so that it leads in no epoch of before.
    pub fn start(&mut self, id: i32, chance: &mut Chance) {
        if !self.broker(id).is_fenced {
            self.fence(id, chance);
        }
        self.broker(id).is_up = true;
        self.unfence(id, chance);
        self.learn(id);
    }

    /// A broker hears the controller's last word.
    pub fn learn(&mut self, id: i32) {
        let truth = self.truth.clone();
        let broker = self.broker(id);
        let mut produced = Vec::new();
        if broker.image.topic != truth.topic || !truth.is_there {
            for replica in broker.replicas.values_mut() {
                produced.extend(replica.give_up(code::UNKNOWN_TOPIC_OR_PARTITION));
            }
            broker.replicas.clear();
        }
        for (partition, led) in (0..).zip(&truth.partitions) {
            let replica = broker.replicas.entry(partition).or_insert_with(|| Replica::new(id));
            produced.extend(replica.learn(led.leader, led.epoch, &led.isr));
        }
        broker.image = truth;
        self.stirred.extend(0..number(self.truth.partitions.len()));
        self.readable.insert(id);
        self.produced.extend(produced);
    }

    /// One step of a follower. Whether anything is different now.
    pub fn replicate(&mut self, partition: i32, follower: i32, batches_max: usize) -> bool {
        let Some(mine) = self.replica(follower, partition) else { return false };
        let (Some(leader), epoch, end) = (mine.leader, mine.epoch, mine.end) else { return false };
        let last = mine.last_epoch();
        if leader == follower || !self.brokers[index(follower)].is_up {
            return false;
        }
        let Some(theirs) = self.replica(leader, partition) else { return false };
        if theirs.epoch != epoch || theirs.lead().is_none() {
            return false;
        }
        let before = theirs.high_watermark;
        let fetched = theirs.fetched_by(follower, end, last, batches_max);
        let is_near = !matches!(fetched, Fetched::Truncate(..) | Fetched::Restart(_)) && theirs.is_near(follower);
        let produced = theirs.advance();
        let mut moved = theirs.high_watermark != before;
        self.produced.extend(produced);
        if moved {
            self.readable.insert(leader);
        }
        if is_near && self.join(partition, leader, epoch, follower) {
            moved = true;
        }
        self.replica(follower, partition).is_some_and(|mine| mine.take(fetched)) || moved
    }

    /// A follower is in sync again, if its leader is still the one.
    fn join(&mut self, partition: i32, leader: i32, epoch: i32, follower: i32) -> bool {
        let is_alive = self.is_alive(follower);
        let led = &mut self.truth.partitions[index(partition)];
        if led.leader != Some(leader) || led.epoch != epoch || !is_alive || !led.isr.insert(follower) {
            return false;
        }
        self.replica(leader, partition).expect("it leads").join(follower);
        true
    }

    /// A leader drops a follower that is slow, if it is still the leader.
    pub fn drop_slow(&mut self, partition: i32, follower: i32) {
        let Some(led) = self.truth.partitions.get_mut(index(partition)) else { return };
        let (Some(leader), epoch) = (led.leader, led.epoch) else { return };
        if leader == follower || !self.brokers[index(leader)].is_up || self.brokers[index(leader)].is_isolated {
            return;
        }
        let mine = self.brokers[index(leader)].replicas.get_mut(&partition);
        let Some(mine) = mine.filter(|mine| mine.epoch == epoch && mine.lead().is_some()) else { return };
        led.isr.remove(&follower);
        let isr = led.isr.clone();
        let produced = mine.learn(Some(leader), epoch, &isr);
        self.produced.extend(produced);
        self.readable.insert(leader);
        self.stirred.insert(partition);
    }

    // --- what the world does to the log

    /// A copy at a broker that is up and knows the partition.
    pub fn replica(&mut self, id: i32, partition: i32) -> Option<&mut Replica> {
        let broker = &mut self.brokers[index(id)];
        broker.replicas.get_mut(&partition).filter(|_| broker.is_up)
    }

    /// The copy of whoever leads, where it knows that it does.
    pub fn leading(&mut self, partition: i32) -> Option<&mut Replica> {
        let led = self.truth.partitions.get(index(partition))?;
        let (leader, epoch) = (led.leader?, led.epoch);
        self.replica(leader, partition).filter(|replica| replica.epoch == epoch && replica.lead().is_some())
    }

    /// Whether nobody who answers takes himself for the leader of a partition that another leads by now.
    pub fn has_no_zombie(&self, partition: i32) -> bool {
        let epoch = self.truth.partitions.get(index(partition)).map(|led| led.epoch);
        let copies = self.brokers.iter().filter(|broker| broker.is_up).filter_map(|it| it.replicas.get(&partition));
        copies.filter(|copy| copy.lead().is_some()).all(|copy| Some(copy.epoch) == epoch)
    }

    /// Somebody else's batch.
    pub fn append(&mut self, partition: i32, batch: Batch) -> bool {
        let Some(replica) = self.leading(partition) else { return false };
        if replica.lead().is_none_or(|lead| lead.isr.len() < MIN_INSYNC) {
            return false;
        }
        replica.append(batch);
        self.stirred.insert(partition);
        true
    }

    /// The cleaner takes a batch that everybody has. The pushes that are gone with it.
    pub fn compact(&mut self, partition: i32, chance: &mut Chance) -> Vec<u64> {
        let Some(replica) = self.leading(partition) else { return Vec::new() };
        let there = replica.high_watermark;
        let all: Vec<_> = replica.batches().iter().filter(|batch| batch.next() <= there && batch.records > 0).collect();
        if all.is_empty() {
            return Vec::new();
        }
        let batch = (**chance.pick(&all)).clone();
        let same = |replica: &Replica| {
            replica.end < batch.next()
                || replica.batches().iter().any(|own| (own.base, own.epoch) == (batch.base, batch.epoch))
        };
        if !self.brokers.iter().all(|broker| broker.replicas.get(&partition).is_none_or(same)) {
            return Vec::new();
        }
        // What a producer wrote last is kept as an empty batch, for its sequence number.
        let left = (batch.producer >= 0).then(|| batch.emptied());
        for broker in &mut self.brokers {
            if let Some(replica) = broker.replicas.get_mut(&partition) {
                replica.replace(batch.base, batch.epoch, left.clone());
            }
        }
        batch.pushes.iter().map(|&(_, number)| number).collect()
    }

    // --- what clients ask

    /// What a broker believes of the topic; `None` where it knows of none.
    pub fn topology(&self, id: i32) -> Option<Topology> {
        let image = &self.brokers[index(id)].image;
        let leader = |led: &Led| Some(Leader { source: led.leader?, epoch: led.epoch });
        let leaders = image.partitions.iter().map(leader).collect();
        image.is_there.then(|| Topology { topic: image.id(), leaders })
    }

    fn asked(&mut self, id: i32, partition: i32) -> Result<(&mut Replica, Option<Leader>), Refusal> {
        let broker = self.broker(id);
        match broker.stubborn {
            Stubborn::No => {}
            Stubborn::Denies => return Err(Refusal::Denied),
            Stubborn::Fails(code) => return Err(Refusal::Code(code)),
        }
        let led = broker.image.partitions.get(index(partition));
        let now = led.and_then(|led| Some(Leader { source: led.leader?, epoch: led.epoch }));
        broker.replicas.get_mut(&partition).map(|replica| (replica, now)).ok_or(Refusal::UnknownTopic)
    }

    pub fn edge(&mut self, id: i32, edge: Edge, of: EdgeOf) -> Result<Place, Refusal> {
        let (replica, now) = self.asked(id, of.partition)?;
        let found = match edge {
            Edge::Start => replica.earliest(of),
            Edge::End => replica.latest(of),
        };
        found.map_err(|refusal| pointed(refusal, now))
    }

    pub fn read(
        &mut self,
        id: i32,
        topic: TopicId,
        from: ReadFrom,
        bytes_max: usize,
        whole: bool,
    ) -> Result<Slice, Refusal> {
        if self.broker(id).image.id() != topic {
            return Err(Refusal::UnknownTopic);
        }
        let (replica, now) = self.asked(id, from.partition)?;
        replica.read(from, bytes_max, whole).map_err(|refusal| pointed(refusal, now))
    }

    /// Whether a read would wait.
    pub fn is_at_end(&mut self, id: i32, topic: TopicId, from: ReadFrom) -> bool {
        self.broker(id).image.id() == topic
            && self.asked(id, from.partition).is_ok_and(|(replica, _)| replica.is_at_end(from))
    }

    /// A producer's batch reaches a broker. The answer is in `produced`, now or later.
    pub fn produce(&mut self, id: i32, topic: TopicId, partition: i32, bytes: &Bytes, ticket: u64) {
        let answer = |code| vec![(ticket, code, -1)];
        if self.broker(id).image.id() != topic {
            self.produced.extend(answer(code::UNKNOWN_TOPIC_ID));
            return;
        }
        let produced = match (Batch::read(bytes), self.asked(id, partition)) {
            (_, Err(Refusal::Denied)) => answer(29),
            (_, Err(Refusal::Code(code))) => answer(code),
            (_, Err(_)) => answer(code::UNKNOWN_TOPIC_OR_PARTITION),
            (None, _) => answer(code::CORRUPT_MESSAGE),
            (Some(batch), Ok((replica, _))) => replica.produce(batch, ticket),
        };
        self.produced.extend(produced);
        self.stirred.insert(partition);
    }

    /// As if nobody else had to have it.
    pub fn answer_at_once(&mut self, id: i32, partition: i32, ticket: u64) {
        let base = self.replica(id, partition).and_then(|replica| replica.give_away(ticket));
        self.produced.extend(base.map(|base| (ticket, code::NONE, base)));
    }

    /// The broker waits no longer for the others to have what it appended.
    pub fn expire(&mut self, id: i32, partition: i32, ticket: u64) {
        if self.replica(id, partition).is_some_and(|replica| replica.expire(ticket)) {
            self.produced.push((ticket, code::REQUEST_TIMED_OUT, -1));
        }
    }

    /// What leaders have committed since this was asked last: the topic, the partition, the batch.
    pub fn committed(&mut self) -> Vec<(u8, i32, Rc<Batch>)> {
        let mut found = Vec::new();
        for broker in &mut self.brokers {
            let topic = broker.image.topic;
            for (partition, replica) in &mut broker.replicas {
                found.extend(replica.committed().into_iter().map(|batch| (topic, *partition, batch)));
            }
        }
        found
    }

    pub fn new_producer(&mut self) -> i64 {
        self.next_producer += 1;
        self.next_producer
    }
}

fn pointed(refusal: Refusal, now: Option<Leader>) -> Refusal {
    if matches!(refusal, Refusal::NotLeader { .. }) { Refusal::NotLeader { now } } else { refusal }
}

/// Of a broker or partition, its number.
pub fn number(index: usize) -> i32 {
    i32::try_from(index).expect("few")
}

/// Of a number, its place.
pub fn index(number: i32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
