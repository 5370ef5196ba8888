//! What a day brings: brokers that die, are cut off and come back, elections, weather, retention, compaction, damage,
//! foreign transactions, more partitions, another topic. Owns how often; what follows from it is the others'.

use std::time::Duration;

use bytes::Bytes;

use crate::batch::{Batch, Head, Health};
use crate::cluster::{Stubborn, index, number};
use crate::network::Weather;
use crate::world::{Event, World};

/// Of a value that is no push, and how often it comes at once.
const FLOOD_BYTES: usize = 12_000;
const FLOOD_BATCHES: usize = 15;

impl World {
    fn some_broker(&mut self) -> i32 {
        let brokers = self.cluster.brokers.len();
        number(self.chance.below(brokers))
    }

    fn some_partition(&mut self) -> Option<i32> {
        let partitions = self.cluster.truth.partitions.len();
        (partitions > 0).then(|| number(self.chance.below(partitions)))
    }

    /// One thing, and the next one later.
    pub fn chaos(&mut self) {
        if self.is_calm {
            return;
        }
        let next = self.chance.time(1_000, 500_000);
        self.queue.after(next, Event::Chaos);
        let broker = self.some_broker();
        let Some(partition) = self.some_partition() else { return };
        match self.chance.below(100) {
            0..18 => {
                self.note(|| format!("election in {partition}"));
                self.cluster.elect(partition, &mut self.chance);
            }
            18..26 => self.kill(broker),
            26..36 => self.isolate(broker),
            36..48 => {
                self.weather[index(broker)] = Weather::of(&mut self.chance);
                let until = self.chance.time(100_000, 6_000_000);
                self.queue.after(until, Event::Calms { broker });
            }
            48..54 => self.cluster.drop_slow(partition, broker),
            54..58 => self.retain(partition),
            58..66 => self.compact(partition),
            66..70 => self.damage(partition),
            70..82 => self.foreign(partition),
            82..84 => {
                if let Some(replica) = self.cluster.replica(broker, partition) {
                    replica.forget_producers();
                }
            }
            84..85 if self.chance.in_1000(300) => {
                self.note(|| "more partitions".into());
                self.cluster.grow(1, &mut self.chance);
            }
            85..86 if self.chance.in_1000(300) => {
                self.delete_topic();
            }
            86..89 => {
                self.cluster.broker(broker).stubborn = *self.chance.pick(&[
                    Stubborn::Denies,
                    Stubborn::Fails(-1),
                    Stubborn::Fails(35),
                    Stubborn::Fails(56),
                ]);
                let until = self.chance.time(100_000, 4_000_000);
                self.queue.after(until, Event::Calms { broker });
            }
            89..91 => {
                let producer = self.chance.below(self.producers.len());
                self.note(|| format!("producer {producer} is killed"));
                self.restart_producer(producer);
            }
            91..95 => {
                let gateway = self.chance.below(self.gateways.len());
                self.hang(gateway);
            }
            95..97 => {
                let gateway = self.chance.below(self.gateways.len());
                self.kill_gateway(gateway);
            }
            97..98 => {
                let gateway = self.chance.below(self.gateways.len());
                self.drain(gateway);
            }
            98..99 => self.flood(partition),
            _ => {}
        }
    }

    fn delete_topic(&mut self) {
        self.note(|| "the topic is deleted".into());
        self.cluster.delete();
        let after = self.chance.time(1_000, 3_000_000);
        self.queue.after(after, Event::Recreate);
    }

    fn kill(&mut self, broker: i32) {
        if !self.cluster.broker(broker).is_up {
            return;
        }
        self.note(|| format!("broker {broker} is killed"));
        self.cluster.kill(broker);
        let notices = self.chance.time(1_000, 2_000_000);
        self.queue.after(notices, Event::Fenced { broker });
        let returns = self.chance.time(10_000, 8_000_000);
        self.queue.after(returns, Event::Returns { broker, was_isolated: false });
    }

    fn isolate(&mut self, broker: i32) {
        if !self.cluster.broker(broker).is_up || self.cluster.broker(broker).is_isolated {
            return;
        }
        self.note(|| format!("broker {broker} is cut off from the controller"));
        self.cluster.broker(broker).is_isolated = true;
        let notices = self.chance.time(1_000, 1_000_000);
        self.queue.after(notices, Event::Fenced { broker });
        let returns = self.chance.time(10_000, 6_000_000);
        self.queue.after(returns, Event::Returns { broker, was_isolated: true });
    }

    /// The controller notices.
    pub fn fenced(&mut self, broker: i32) {
        let it = self.cluster.broker(broker);
        if (!it.is_up || it.is_isolated) && !it.is_fenced {
            self.note(|| format!("broker {broker} is taken for dead"));
            self.cluster.fence(broker, &mut self.chance);
        }
    }

    pub fn returns(&mut self, broker: i32, was_isolated: bool) {
        let it = self.cluster.broker(broker);
        if was_isolated == it.is_up && it.is_isolated == was_isolated {
            self.note(|| format!("broker {broker} is back"));
            self.cluster.broker(broker).is_isolated = false;
            if was_isolated {
                self.cluster.unfence(broker, &mut self.chance);
            } else {
                self.cluster.start(broker, &mut self.chance);
            }
        }
    }

    pub fn calms(&mut self, broker: i32) {
        self.weather[index(broker)] = Weather::FAIR;
        self.cluster.broker(broker).stubborn = Stubborn::No;
    }

    pub fn recreate(&mut self) {
        if !self.cluster.truth.is_there {
            let partitions = self.chance.between(1, 4);
            self.note(|| format!("the topic is made with {partitions} partitions"));
            self.cluster.recreate(partitions, &mut self.chance);
        }
    }

    fn retain(&mut self, partition: i32) {
        let Some(replica) = self.cluster.leading(partition) else { return };
        let (start, there) = (replica.start, replica.high_watermark);
        let span = usize::try_from(there - start).unwrap_or(0);
        let cut = start + i64::try_from(self.chance.below(span + 1)).expect("short");
        self.note(|| format!("partition {partition} begins at {cut} now"));
        self.cluster.leading(partition).expect("it was there").drop_before(cut);
    }

    fn compact(&mut self, partition: i32) {
        for number in self.cluster.compact(partition, &mut self.chance) {
            self.oracle.record(number).is_excused = true;
        }
    }

    /// Bytes of a batch that is there already are not what they were.
    fn damage(&mut self, partition: i32) {
        let health = if self.chance.in_1000(300) { Health::Unreadable } else { Health::DamagedFor(1) };
        let brokers = self.cluster.brokers.len();
        let Some(replica) = self.cluster.leading(partition) else { return };
        let Some(last) = replica.batches().last().map(|batch| (**batch).clone()) else { return };
        if last.health != Health::Sound || last.records == 0 {
            return;
        }
        self.note(|| format!("batch {} of partition {partition} is {health:?}", last.base));
        for &(_, number) in &last.pushes {
            // Damage that goes away may still be met twice.
            self.oracle.record(number).is_excused = true;
        }
        for broker in (0..brokers).map(number) {
            if let Some(replica) = self.cluster.replica(broker, partition) {
                replica.damage(last.base, last.epoch, health);
            }
        }
    }

    /// Somebody else writes.
    fn foreign(&mut self, partition: i32) {
        let junk = |text: &'static str| (Bytes::new(), Bytes::from_static(text.as_bytes()));
        let record = |delta: i32, (key, value): (Bytes, Bytes)| (delta, key, value);
        let batch = match self.chance.below(5) {
            0 => Batch::written(Head::plain(0), &[record(0, junk("no push at all"))]),
            // The cleaner was here: offsets 1, 2 and 4 are gone.
            1 => Batch::written(Head::plain(4), &[record(0, junk("\u{1}")), record(3, junk("\u{2}"))]),
            2 => Batch::written(Head::transactional(7, 1), &[record(0, junk("a")), record(1, junk("b"))]),
            3 => Batch::written(Head::control(7), &[record(0, junk("\0\0\0\0"))]),
            _ => Batch::written(Head::unknown_codec(2), &[record(0, junk("x"))]),
        };
        self.cluster.append(partition, batch);
    }

    /// Somebody else writes much more than a reader may hold.
    fn flood(&mut self, partition: i32) {
        let value = Bytes::from(vec![b'n'; FLOOD_BYTES]);
        let batch = Batch::written(Head::plain(0), &[(0, Bytes::new(), value)]);
        for _ in 0..FLOOD_BATCHES {
            self.cluster.append(partition, batch.clone());
        }
    }

    /// Some pushes at once, and the next ones later.
    pub fn publish_some(&mut self) {
        if self.is_calm && self.queue.now > self.plan.busy + self.plan.calm / 2 {
            return;
        }
        let burst = if self.chance.in_1000(100) { 12 } else { 3 };
        for _ in 0..self.chance.between(1, burst) {
            let producer = self.chance.below(self.producers.len());
            self.publish(producer);
        }
        let next = self.chance.time(1_000, 400_000);
        self.queue.after(next, Event::Publish);
    }

    /// Clients come and go.
    pub fn clients_come_and_go(&mut self) {
        let gateway = self.chance.below(self.gateways.len());
        if self.chance.in_1000(if self.is_calm { 900 } else { 700 }) {
            self.login(gateway);
        } else {
            self.leave(gateway);
        }
        if !self.is_calm || self.queue.now < self.plan.busy + self.plan.calm / 2 {
            let next = self.chance.time(1_000, 700_000);
            self.queue.after(next, Event::Clients);
        }
    }

    /// From now on everybody is there and the network is fair.
    pub fn calm_down(&mut self) {
        self.note(|| "all is calm".into());
        self.is_calm = true;
        for broker in (0..self.cluster.brokers.len()).map(number) {
            self.calms(broker);
            let it = self.cluster.broker(broker);
            let (is_up, is_isolated) = (it.is_up, it.is_isolated);
            if is_isolated {
                self.returns(broker, true);
            }
            if !is_up {
                self.cluster.broker(broker).is_isolated = false;
                self.returns(broker, false);
            }
        }
        self.recreate();
        for gateway in 0..self.gateways.len() {
            let now = self.queue.now;
            self.gateways[gateway].hangs_until = self.gateways[gateway].hangs_until.min(now);
            self.start_gateway(gateway);
        }
        let everybody = Duration::from_millis(1);
        self.queue.after(everybody, Event::Heartbeat);
    }
}
