//! One run: brokers, network, publishers and gateways on virtual time. Owns what happens when, and what everybody is
//! asked to do after each event; what a day brings is [`crate::chaos`]'s.

use std::collections::BTreeSet;
use std::time::Duration;

use halley_dispatcher::bus::log::{Answer, AskId, Topology};

use crate::asks::Asked;
use crate::chance::Chance;
use crate::cluster::{Cluster, number};
use crate::faults::Fault;
use crate::gateways::Gateway;
use crate::network::{Fate, Weather};
use crate::oracle::Oracle;
use crate::producers::{Flight, Producer};
use crate::queue::Queue;

/// Events of one run: several times what the longest takes.
const STEPS_MAX: usize = 1_000_000;

/// What happens.
pub enum Event {
    /// The day brings something.
    Chaos,
    /// Somebody publishes.
    Publish,
    /// Every follower looks.
    Heartbeat,
    /// A broker hears the controller.
    Learn(i32),
    /// A follower asks its leader.
    Replicate {
        partition: i32,
        follower: i32,
    },
    /// The controller notices that it does not hear a broker.
    Fenced {
        broker: i32,
    },
    /// A broker that is gone comes back, or one that is cut off is heard again.
    Returns {
        broker: i32,
        was_isolated: bool,
    },
    /// The topic is made again.
    Recreate,
    /// A broker is no longer stubborn, a weather is over.
    Calms {
        broker: i32,
    },
    TopologyArrives {
        producer: usize,
        life: u32,
        back: Option<Box<Topology>>,
    },
    IdentityArrives {
        producer: usize,
        life: u32,
        partition: i32,
        is_there: bool,
    },
    ProducerWakes {
        producer: usize,
        life: u32,
    },
    FlightArrives(usize),
    FlightAnswered(usize),
    FlightLost(usize),
    AskArrives(usize),
    AskWaited(usize),
    AskFails {
        question: usize,
        is_late: bool,
    },
    Answered {
        question: usize,
        answer: Box<Answer>,
    },
    /// A gateway that hung takes what came meanwhile.
    HandsIn {
        gateway: usize,
        life: u32,
        id: AskId,
        answer: Box<Answer>,
    },
    GatewayWakes {
        gateway: usize,
        life: u32,
    },
    GatewayStarts(usize),
    /// A gateway that drains lets the next connection go.
    DrainsOn {
        gateway: usize,
        life: u32,
    },
    FeedDone {
        gateway: usize,
        life: u32,
    },
    HandoverAnswered {
        gateway: usize,
        life: u32,
    },
    /// Somebody logs in, or leaves.
    Clients,
    ClientTold {
        gateway: usize,
        life: u32,
        client: u64,
    },
    /// Somebody goes whose names are not counted any more.
    ClientGone {
        gateway: usize,
        life: u32,
        client: u64,
    },
    ClientShed {
        gateway: usize,
        life: u32,
        client: u64,
    },
    ProduceExpires {
        broker: i32,
        partition: i32,
        ticket: u64,
    },
}

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long things happen.
    pub busy: Duration,
    /// How long nothing happens any more.
    pub calm: Duration,
}

pub struct World {
    pub chance: Chance,
    pub plan: Plan,
    pub queue: Queue<Event>,
    pub cluster: Cluster,
    pub weather: Vec<Weather>,
    pub oracle: Oracle,
    pub producers: Vec<Producer>,
    pub gateways: Vec<Gateway>,
    pub asks: Vec<Asked>,
    pub parked: Vec<usize>,
    /// Clients so far.
    pub clients: u64,
    pub flights: Vec<Flight>,
    pub tickets: Vec<(usize, i32)>,
    pub is_calm: bool,
    /// The rule that is left out.
    pub fault: Option<Fault>,
    pub steps: usize,
    learning: BTreeSet<i32>,
    replicating: BTreeSet<(i32, i32)>,
}

impl World {
    pub fn new(seed: u64, fault: Option<Fault>) -> World {
        let mut chance = Chance::new(seed);
        // Only there it matters whether epochs are told.
        let is_unclean = chance.in_1000(100) || fault == Some(Fault::EpochNotTold);
        let plan = Plan { busy: Duration::from_secs(40), calm: Duration::from_secs(40) };
        let partitions = chance.between(1, 4);
        let cluster = Cluster::new(3, partitions, is_unclean, &mut chance);
        let producers = (0..2).map(|_| Producer::new(0, chance.seed())).collect();
        let gateways = (0..2).map(|_| Gateway::new(0, Duration::ZERO, &mut chance, fault)).collect();
        let mut world = World {
            chance,
            plan,
            queue: Queue::new(),
            cluster,
            weather: vec![Weather::FAIR; 3],
            oracle: Oracle::new(is_unclean),
            producers,
            gateways,
            asks: Vec::new(),
            parked: Vec::new(),
            clients: 0,
            flights: Vec::new(),
            tickets: Vec::new(),
            is_calm: false,
            fault,
            steps: 0,
            learning: BTreeSet::new(),
            replicating: BTreeSet::new(),
        };
        (0..2).for_each(|producer| world.wake_producer(producer));
        (0..2).for_each(|gateway| world.turn(gateway));
        world.queue.after(Duration::from_millis(20), Event::Clients);
        world.queue.after(Duration::from_millis(300), Event::Publish);
        world.queue.after(Duration::from_millis(500), Event::Chaos);
        world.queue.after(Duration::from_millis(200), Event::Heartbeat);
        world
    }

    /// Whether this rule is left out.
    pub fn lacks(&self, rule: Fault) -> bool {
        self.fault == Some(rule)
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        self.oracle.trace.note(self.queue.now, line);
    }

    /// The whole run; what it came to, which two runs of one seed agree in.
    pub fn run(&mut self) -> (usize, usize) {
        self.run_until(self.plan.busy);
        self.calm_down();
        self.run_until(self.plan.busy + self.plan.calm);
        self.check_end();
        (self.steps, self.oracle.sent.len())
    }

    fn run_until(&mut self, end: Duration) {
        while self.queue.now < end
            && let Some(event) = self.queue.next()
        {
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "the run does not come to its end");
            self.happen(event);
            self.settle();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Chaos => self.chaos(),
            Event::Publish => self.publish_some(),
            Event::Heartbeat => {
                let partitions = number(self.cluster.truth.partitions.len());
                self.cluster.stirred.extend(0..partitions);
                self.queue.after(Duration::from_millis(500), Event::Heartbeat);
            }
            Event::Learn(broker) => {
                self.learning.remove(&broker);
                let it = self.cluster.broker(broker);
                if it.is_up && !it.is_isolated {
                    self.cluster.learn(broker);
                }
            }
            Event::Replicate { partition, follower } => {
                self.replicating.remove(&(partition, follower));
                let batches_max = self.chance.between(1, 5);
                if self.cluster.replicate(partition, follower, batches_max) {
                    self.cluster.stirred.insert(partition);
                }
            }
            Event::Fenced { broker } => self.fenced(broker),
            Event::Returns { broker, was_isolated } => self.returns(broker, was_isolated),
            Event::Recreate => self.recreate(),
            Event::Calms { broker } => self.calms(broker),
            Event::TopologyArrives { producer, life, back } if self.is_life(producer, life) => {
                self.topology_arrives(producer, back);
            }
            Event::IdentityArrives { producer, life, partition, is_there } if self.is_life(producer, life) => {
                self.identity_arrives(producer, partition, is_there);
            }
            Event::ProducerWakes { producer, life } if self.is_life(producer, life) => self.wake_producer(producer),
            Event::TopologyArrives { .. } | Event::IdentityArrives { .. } | Event::ProducerWakes { .. } => {}
            Event::FlightArrives(flight) => self.flight_arrives(flight),
            Event::FlightAnswered(flight) => self.flight_answered(flight),
            Event::FlightLost(flight) => self.flight_lost(flight),
            Event::AskArrives(question) => self.ask_arrives(question),
            Event::AskWaited(question) => self.ask_waited(question),
            Event::AskFails { question, is_late } => self.ask_fails(question, is_late),
            Event::Answered { question, answer } => self.answered(question, *answer),
            Event::GatewayStarts(gateway) => self.start_gateway(gateway),
            Event::Clients => self.clients_come_and_go(),
            Event::HandsIn { gateway, life, id, answer } if self.lives(gateway, life) => {
                self.hand_in(gateway, id, *answer);
            }
            Event::GatewayWakes { gateway, life } if self.lives(gateway, life) => self.wake_gateway(gateway),
            Event::DrainsOn { gateway, life } if self.lives(gateway, life) => self.drain_on(gateway),
            Event::FeedDone { gateway, life } if self.lives(gateway, life) => self.feed_done(gateway),
            Event::HandoverAnswered { gateway, life } if self.lives(gateway, life) => self.handover_answered(gateway),
            Event::ClientTold { gateway, life, client } if self.lives(gateway, life) => {
                self.client_told(gateway, client);
            }
            Event::ClientGone { gateway, life, client } if self.lives(gateway, life) => {
                self.client_gone(gateway, client);
            }
            Event::ClientShed { gateway, life, client } if self.lives(gateway, life) => {
                self.client_shed(gateway, client);
            }
            Event::DrainsOn { .. } | Event::HandsIn { .. } | Event::GatewayWakes { .. } | Event::FeedDone { .. } => {}
            Event::ClientGone { .. }
            | Event::HandoverAnswered { .. }
            | Event::ClientTold { .. }
            | Event::ClientShed { .. } => {}
            Event::ProduceExpires { broker, partition, ticket } => self.cluster.expire(broker, partition, ticket),
        }
    }

    fn is_life(&self, producer: usize, life: u32) -> bool {
        self.producers[producer].life == life
    }

    fn lives(&self, gateway: usize, life: u32) -> bool {
        self.gateways[gateway].is_up && self.gateways[gateway].life == life
    }

    /// What follows from an event by itself.
    fn settle(&mut self) {
        for (topic, partition, batch) in self.cluster.committed() {
            self.oracle.appended(topic, partition, &batch.pushes);
        }
        for (ticket, code, base) in std::mem::take(&mut self.cluster.produced) {
            self.produced(ticket, code, base);
        }
        self.look_at_parked();
        if std::mem::take(&mut self.cluster.has_news) {
            for broker in (0..self.cluster.brokers.len()).map(number) {
                if self.learning.insert(broker) {
                    let late = !self.is_calm && self.chance.in_1000(150);
                    let delay = self.chance.time(1_000, if late { 4_000_000 } else { 150_000 });
                    self.queue.after(delay, Event::Learn(broker));
                }
            }
        }
        for partition in std::mem::take(&mut self.cluster.stirred) {
            for follower in (0..self.cluster.brokers.len()).map(number) {
                let it = &self.cluster.brokers[crate::cluster::index(follower)];
                let follows = it.replicas.get(&partition).is_some_and(|it| it.leader.is_some_and(|id| id != follower));
                if it.is_up && follows && self.replicating.insert((partition, follower)) {
                    let slow = !self.is_calm && self.chance.in_1000(20);
                    let delay = self.chance.time(300, if slow { 600_000 } else { 4_000 });
                    self.queue.after(delay, Event::Replicate { partition, follower });
                }
            }
        }
    }

    /// The fate of a request to a broker.
    pub fn fate(&mut self, broker: i32) -> Fate {
        let is_up = self.cluster.broker(broker).is_up;
        self.weather[crate::cluster::index(broker)].fate(is_up, &mut self.chance)
    }

    /// What must hold when all has been calm for long.
    fn check_end(&mut self) {
        for partition in (0..self.cluster.truth.partitions.len()).map(number) {
            let log = self.cluster.leading(partition).expect("somebody leads").batches();
            self.oracle.left.extend(log.iter().flat_map(|batch| batch.pushes.iter().map(|(_, number)| number)));
        }
        self.oracle.check_log();
        (0..self.gateways.len()).for_each(|gateway| self.check_gateway(gateway));
        for producer in &self.producers {
            assert!(producer.open.is_empty(), "nobody answers {:?}", producer.open);
        }
    }
}
