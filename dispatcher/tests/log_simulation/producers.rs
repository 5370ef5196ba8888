//! Two processes that publish, each the shipped producer over the model network. Owns what is on its way to brokers and
//! who waits for which answer; decides what is published and for whom, never when anything is sent: that is
//! [`halley_dispatcher::bus::kafka::produce`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use halley_dispatcher::bus::batch::{self, Codec};
use halley_dispatcher::bus::kafka::produce::act::{Action, Answer, PushId, Request, RequestId};
use halley_dispatcher::bus::kafka::produce::batch::Identity;
use halley_dispatcher::bus::kafka::produce::core::Produce;
use halley_dispatcher::bus::kafka::produce::settings::Settings;
use halley_dispatcher::bus::log::{TopicId, Trouble};
use halley_dispatcher::bus::partition::partition_of;
use halley_dispatcher::bus::{Position, PublishError, Record};
use halley_protocol::push::{Push, PushRecord, Target};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::cluster::{index, number};
use crate::faults::Fault;
use crate::network::Fate;
use crate::oracle::{Name, Sent, Told};
use crate::replica::{Replica, code};
use crate::world::{Event, World};

/// How a publishing process compresses, by its seed.
const CODECS: [Codec; 8] =
    [Codec::None, Codec::None, Codec::None, Codec::None, Codec::Lz4, Codec::Lz4, Codec::Lz4, Codec::Gzip];

/// One publishing process.
pub struct Producer {
    pub core: Produce,
    /// How often it was started; what is on its way to an earlier one is for nobody.
    pub life: u32,
    /// Records of the pushes that wait for their answers.
    pub open: BTreeMap<PushId, Vec<u64>>,
    /// When it is to be woken, so that this is told once.
    wakes: Option<Duration>,
    /// Questions and batches that it sent.
    pub requests: usize,
    /// By partition, for who keeps them against the rule.
    ids: BTreeMap<i32, i64>,
    sent: BTreeSet<(i32, i64, i32)>,
    codec: Codec,
}

/// A request on its way: its batches as bytes, and the answers so far.
pub struct Flight {
    producer: usize,
    life: u32,
    request: RequestId,
    topic: TopicId,
    broker: i32,
    batches: Vec<(i32, Bytes)>,
    fate: Fate,
    /// Nobody waits for it any more.
    is_over: bool,
    open: usize,
    answers: Vec<(i32, Answer)>,
}

impl Producer {
    pub fn new(life: u32, seed: u64) -> Producer {
        let settings = Settings {
            publish_timeout: Duration::from_secs(6),
            answer_timeout: Duration::from_secs(2),
            topology_interval: Duration::from_secs(4),
            records_max: 200,
            ..Settings::default()
        };
        let core = Produce::new(settings, SmallRng::seed_from_u64(seed));
        Producer {
            core,
            life,
            open: BTreeMap::new(),
            wakes: None,
            requests: 0,
            ids: BTreeMap::new(),
            sent: BTreeSet::new(),
            codec: CODECS[usize::try_from(seed % 8).expect("below 8")],
        }
    }
}

impl World {
    /// One push to somebody, or to several.
    pub fn publish(&mut self, producer: usize) {
        let partitions = self.producers[producer].core.partitions();
        if partitions == 0 {
            return;
        }
        let names = self.names();
        let op = 1_000;
        let mut grouped: BTreeMap<i32, Vec<Name>> = BTreeMap::new();
        for name in names {
            let key = match &name {
                Name::Key(key) => key.clone(),
                Name::Mid(mid) => mid.to_string(),
                Name::Room(room) => room.clone(),
                Name::All(op) => op.to_string(),
            };
            grouped.entry(partition_of(key.as_bytes(), number(partitions))).or_default().push(name);
        }
        let mut numbers = Vec::new();
        let mut records = Vec::new();
        for (partition, names) in grouped {
            let number = u64::try_from(self.oracle.sent.len()).expect("few");
            let mut body = BytesMut::new();
            body.put_u64(number);
            body.put_bytes(b'x', self.chance.below(120));
            let target = match &names[0] {
                Name::Key(_) => Target::Keys(names.iter().filter_map(Name::key).collect()),
                Name::Mid(mid) => Target::Mids(vec![*mid]),
                Name::Room(room) => Target::Room(room.clone()),
                Name::All(_) => Target::All { speed: 0 },
            };
            let push = Push { target, op, body: body.freeze() };
            let record = PushRecord { push, server: String::new(), receipt: 0 };
            records.push((partition, Record { key: record.key().into(), value: record.encode() }));
            let at = self.queue.now;
            self.oracle.sent.push(Sent {
                producer,
                names,
                at,
                told: Told::Nothing,
                spots: Vec::new(),
                is_excused: false,
            });
            numbers.push(number);
        }
        let now = self.queue.now;
        let timestamp_ms = i64::try_from(now.as_millis()).expect("a short run");
        self.note(|| format!("producer {producer} publishes {numbers:?}"));
        match self.producers[producer].core.admit(now, timestamp_ms, records) {
            Ok(push) => {
                self.producers[producer].open.insert(push, numbers);
            }
            Err(error) => self.oracle.answered(&numbers, &Err(error)),
        }
        self.act(producer);
    }

    fn names(&mut self) -> Vec<Name> {
        match self.chance.below(10) {
            0..4 => {
                let keys = 1 + self.chance.below(3);
                let keys: BTreeSet<usize> = (0..keys).map(|_| self.chance.below(8)).collect();
                keys.into_iter().map(|key| Name::Key(format!("k{key}"))).collect()
            }
            4..6 => vec![Name::Mid(i64::try_from(1 + self.chance.below(4)).expect("few"))],
            6..9 => vec![Name::Room(format!("live://{}", self.chance.below(3)))],
            _ => vec![Name::All(1_000)],
        }
    }

    /// What a producer wants done.
    pub fn act(&mut self, producer: usize) {
        while let Some(action) = self.producers[producer].core.action() {
            match action {
                Action::AskTopology => self.ask_for(producer, Event::TopologyArrives { producer, life: 0, back: None }),
                Action::AskIdentity { partition } => {
                    self.ask_for(producer, Event::IdentityArrives { producer, life: 0, partition, is_there: false });
                }
                Action::Send(request) => self.send(producer, &request),
                Action::Done { push, outcome } => {
                    let numbers = self.producers[producer].open.remove(&push).expect("it was admitted");
                    self.note(|| format!("producer {producer} answers {numbers:?}: {outcome:?}"));
                    self.oracle.answered(&numbers, &self.told(outcome));
                }
            }
        }
        let next = self.producers[producer].core.next_deadline();
        if let Some(at) = next.filter(|_| next != self.producers[producer].wakes) {
            let life = self.producers[producer].life;
            self.producers[producer].wakes = next;
            self.queue.at(at, Event::ProducerWakes { producer, life });
        }
    }

    /// What the publisher is told.
    fn told(&self, outcome: Result<Vec<Position>, PublishError>) -> Result<Vec<Position>, PublishError> {
        match outcome {
            Err(PublishError::Unknown(why))
                if self.lacks(Fault::LastAnswerDecides) && why.contains("(error 19)")
                    || self.lacks(Fault::ForgottenIsRefused) && why.contains("(error 59)")
                    || self.lacks(Fault::PartDecides) && why.contains("part of it") =>
            {
                Err(PublishError::Unavailable(why))
            }
            other => other,
        }
    }

    pub fn wake_producer(&mut self, producer: usize) {
        self.producers[producer].wakes = None;
        self.producers[producer].core.tick(self.queue.now);
        self.act(producer);
    }

    /// A question to any broker, with its fate.
    fn ask_for(&mut self, producer: usize, event: Event) {
        self.producers[producer].requests += 1;
        let asker = self.producers[producer].life;
        let brokers = self.cluster.brokers.len();
        let broker = number(self.chance.below(brokers));
        let fate = self.fate(broker);
        let answer = fate.answer.filter(|_| fate.arrives.is_some());
        let total = fate.arrives.unwrap_or_default() + answer.or(fate.gives_up).unwrap_or(Duration::from_secs(2));
        let total = total.min(Duration::from_secs(2));
        let event = match event {
            Event::TopologyArrives { .. } => {
                let back = answer.and_then(|_| self.cluster.topology(broker).map(Box::new));
                Event::TopologyArrives { producer, life: asker, back }
            }
            Event::IdentityArrives { partition, .. } => {
                Event::IdentityArrives { producer, life: asker, partition, is_there: answer.is_some() }
            }
            other => other,
        };
        self.queue.after(total, event);
    }

    pub fn topology_arrives(&mut self, producer: usize, topology: Option<Box<halley_dispatcher::bus::log::Topology>>) {
        let now = self.queue.now;
        let core = &mut self.producers[producer].core;
        match topology {
            Some(topology) => core.topology(now, &topology),
            None => core.topology_failed(now, Trouble::TimedOut(Arc::from("nobody answered"))),
        }
        self.act(producer);
    }

    pub fn identity_arrives(&mut self, producer: usize, partition: i32, is_there: bool) {
        let given = if is_there {
            let mut id = self.cluster.new_producer();
            if self.lacks(Fault::IdIsKept) {
                id = *self.producers[producer].ids.entry(partition).or_insert(id);
            }
            Ok(Identity { id, epoch: 0 })
        } else {
            Err(Arc::from("nobody answered"))
        };
        self.producers[producer].core.identity(self.queue.now, partition, given);
        self.act(producer);
    }

    fn send(&mut self, producer: usize, request: &Request) {
        self.producers[producer].requests += 1;
        let life = self.producers[producer].life;
        let fate = self.fate(request.source);
        assert!(self.queue.now <= request.write_by, "P5: nothing is sent after its time");
        let codec = self.producers[producer].codec;
        let batches = request.batches.iter().map(|(partition, batch)| (*partition, batch.encoded(codec))).collect();
        let batches = self.resigned(producer, request, batches);
        let flight = Flight {
            producer,
            life,
            request: request.id,
            topic: request.topic,
            broker: request.source,
            batches,
            fate,
            is_over: false,
            open: request.batches.len(),
            answers: Vec::new(),
        };
        let id = self.flights.len();
        self.note(|| format!("producer {producer} sends {:?} to {}: {fate:?}", request.id, request.source));
        self.flights.push(flight);
        if let Some(after) = fate.arrives {
            self.queue.after(after, Event::FlightArrives(id));
        }
        if let Some(after) = fate.again {
            self.queue.after(after, Event::FlightArrives(id));
        }
        if let Some(after) = fate.gives_up {
            self.queue.after(after, Event::FlightLost(id));
        }
        self.queue.at(request.answer_by, Event::FlightLost(id));
    }

    /// The batches as they are; against the rule, those that were sent before under a new id.
    fn resigned(&mut self, producer: usize, request: &Request, batches: Vec<(i32, Bytes)>) -> Vec<(i32, Bytes)> {
        if !self.lacks(Fault::NewIdOnRetry) {
            return batches;
        }
        let batches = batches.into_iter().zip(&request.batches).map(|((partition, bytes), (_, batch))| {
            if self.producers[producer].sent.insert((partition, batch.identity.id, batch.sequence)) {
                return (partition, bytes);
            }
            let producer_id = self.cluster.new_producer();
            let identity = batch::Identity { producer_id, producer_epoch: 0, base_sequence: 0 };
            (partition, batch::writer::signed_by(bytes, identity))
        });
        batches.collect()
    }

    /// A request reaches its broker.
    pub fn flight_arrives(&mut self, id: usize) {
        let Flight { broker, topic, .. } = self.flights[id];
        if !self.cluster.broker(broker).is_up {
            return;
        }
        for (partition, bytes) in self.flights[id].batches.clone() {
            // What comes twice comes from somebody who did not hear that the first was refused.
            let is_refused =
                |(of, answer): &(i32, Answer)| *of == partition && answer.code == code::NOT_ENOUGH_REPLICAS;
            if self.flights[id].answers.iter().any(is_refused)
                || self.flights[id].is_over && self.flights[id].fate.again.is_some()
            {
                continue;
            }
            let ticket = u64::try_from(self.tickets.len()).expect("few");
            self.tickets.push((id, partition));
            self.cluster.produce(broker, topic, partition, &bytes, ticket);
            if self.lacks(Fault::LeaderAlone) {
                self.cluster.answer_at_once(broker, partition, ticket);
            }
            self.queue.after(Duration::from_millis(1_500), Event::ProduceExpires { broker, partition, ticket });
        }
    }

    /// A broker has answered for one batch of a request.
    pub fn produced(&mut self, ticket: u64, code: i16, base_offset: i64) {
        let (id, partition) = self.tickets[usize::try_from(ticket).expect("few")];
        let leader = self.cluster.topology(self.flights[id].broker).and_then(|it| *it.leaders.get(index(partition))?);
        let leader = leader.filter(|_| self.chance.in_1000(500));
        let flight = &mut self.flights[id];
        flight.answers.retain(|(known, _)| *known != partition);
        flight.answers.push((partition, Answer { code, base_offset, leader }));
        if flight.answers.len() == flight.open
            && let Some(after) = flight.fate.answer
        {
            self.queue.after(after, Event::FlightAnswered(id));
        }
    }

    pub fn flight_answered(&mut self, id: usize) {
        let flight = &mut self.flights[id];
        if std::mem::replace(&mut flight.is_over, true) || flight.life != self.producers[flight.producer].life {
            return;
        }
        let (producer, request, mut answers) = (flight.producer, flight.request, std::mem::take(&mut flight.answers));
        let is_definite = self.lacks(Fault::NotLeaderIsRefused);
        for (_, answer) in answers.iter_mut().filter(|(_, it)| is_definite && it.code == code::NOT_LEADER_OR_FOLLOWER) {
            answer.code = code::NOT_ENOUGH_REPLICAS;
        }
        let throttle = if self.chance.in_1000(30) { self.chance.time(1_000, 500_000) } else { Duration::ZERO };
        self.note(|| format!("producer {producer} hears {request:?}: {answers:?}"));
        self.producers[producer].core.answered(self.queue.now, request, &answers, throttle);
        self.act(producer);
    }

    pub fn flight_lost(&mut self, id: usize) {
        let flight = &mut self.flights[id];
        if std::mem::replace(&mut flight.is_over, true) || flight.life != self.producers[flight.producer].life {
            return;
        }
        let (producer, request, is_written) = (flight.producer, flight.request, flight.fate.is_written);
        let is_written = is_written && !self.lacks(Fault::SilenceIsRefused);
        // Who leads may have forgotten the producer when the same comes again.
        if is_written && !self.is_calm && self.chance.in_1000(60) {
            for partition in self.flights[id].batches.iter().map(|(partition, _)| *partition) {
                self.cluster.leading(partition).into_iter().for_each(Replica::forget_producers);
            }
        }
        self.note(|| format!("producer {producer} has lost {request:?}"));
        self.producers[producer].core.lost(self.queue.now, request, is_written, &Arc::from("the connection broke"));
        self.act(producer);
    }

    /// A publishing process ends and begins anew; who waited for its answers hears nothing.
    pub fn restart_producer(&mut self, producer: usize) {
        let old = &mut self.producers[producer];
        let life = old.life + 1;
        let open: Vec<u64> = std::mem::take(&mut old.open).into_values().flatten().collect();
        for number in open {
            self.oracle.record(number).told = Told::Unknown;
        }
        let seed = self.chance.seed();
        self.producers[producer] = Producer::new(life, seed);
        self.wake_producer(producer);
    }
}
