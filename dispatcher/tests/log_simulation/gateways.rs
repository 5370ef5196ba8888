//! Two gateways, each the shipped reader before a model of feed: a bounded intake that is worked off in order and
//! answered late, clients that log in and leave, and the early filter. They hang, are drained, killed and begun anew.
//! Owns one life of a process each; what it must have got is [`crate::oracle`]'s.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use halley_dispatcher::bus::batch::{BatchReader, ReadLimits};
use halley_dispatcher::bus::log::{Answer, AskId};
use halley_dispatcher::consume::reader::{Batch, Reader, Settings};
use halley_dispatcher::gateways::{Gap, GapReason};
use halley_protocol::push::interest::Interest;
use halley_protocol::push::look::Look;
use halley_protocol::push::{PushRecord, Target};

use crate::asks::Line;
use crate::batch::push_number;
use crate::chance::Chance;
use crate::clients::Client;
use crate::faults::Fault;
use crate::oracle::{Hole, Memory, Name};
use crate::world::{Event, World};

/// Bytes of memory that a reader may hold.
const MEMORY_BYTES: usize = 64 * 1024;
/// Longest batch of the simulation, with room.
const BATCH_BYTES_MAX: usize = 32 * 1024;

/// More partitions than a topic ever has here.
const PARTITIONS_MAX: i32 = 12;

/// What waits in a gateway's intake.
pub enum Item {
    /// Numbers of records, each with the names that it is for.
    Deliver(Vec<(u64, Vec<Name>)>),
    /// Which of the told gaps.
    Gap(Vec<usize>),
}

/// One gateway.
pub struct Gateway {
    pub core: Reader,
    /// How often it was started.
    pub life: u32,
    pub is_up: bool,
    /// Nothing of it runs before.
    pub hangs_until: Duration,
    /// Clients may log in.
    pub is_open: bool,
    pub is_draining: bool,
    pub line: Line,
    pub memory: Memory,
    pub intake: VecDeque<Item>,
    intake_max: usize,
    feed_is_busy: bool,
    /// Names by the clients that have them.
    pub names: BTreeMap<Name, usize>,
    /// The early filter. It may let more pass, by a chance of its own: what passes must be in `names` too.
    pub interest: Interest,
    pub clients: Vec<Client>,
    /// The topic of which gaps were told, and the newest that was heard of.
    topic_told: u8,
    topic_heard: u8,
    /// Records in one handover at most.
    handover_max: usize,
    wakes: Option<Duration>,
    answered_at: Duration,
    /// Gaps that were told.
    gaps: u64,
    starts_without_at: Duration,
    reader: BatchReader,
}

impl Gateway {
    pub fn new(life: u32, now: Duration, chance: &mut Chance) -> Gateway {
        let settings = Settings {
            memory_bytes: MEMORY_BYTES,
            read_bytes_max: *chance.pick(&[700, 4_000, 1 << 20]),
            partition_bytes_max: *chance.pick(&[500, 4_000, 1 << 20]),
            fetch_interval: *chance.pick(&[Duration::ZERO, Duration::from_millis(5)]),
            topology_interval: Duration::from_secs(4),
            catchup_max: Duration::from_secs(6),
            catchup_records_max: *chance.pick(&[40, 1_000_000]),
            ready_age_max: Duration::from_secs(2),
            handovers_max: chance.between(1, 6),
            ..Settings::default()
        };
        let starts_without_at = match chance.in_1000(200) {
            true => now + chance.time(1_000, 3_000_000),
            false => Duration::MAX,
        };
        Gateway {
            core: Reader::new(settings, chance.seed()),
            life,
            is_up: true,
            hangs_until: Duration::ZERO,
            is_open: false,
            is_draining: false,
            line: Line::default(),
            memory: Memory::default(),
            intake: VecDeque::new(),
            intake_max: chance.between(1, 5),
            feed_is_busy: false,
            names: BTreeMap::new(),
            interest: Interest::new(0),
            clients: Vec::new(),
            topic_told: 0,
            topic_heard: 0,
            handover_max: chance.between(1, 12),
            wakes: None,
            answered_at: Duration::ZERO,
            gaps: 0,
            starts_without_at,
            reader: BatchReader::new(ReadLimits::default()),
        }
    }

    pub fn runs(&self, now: Duration) -> bool {
        self.is_up && now >= self.hangs_until
    }

    /// Whether its position went where a gap leads to that is not told yet.
    pub fn owes_a_gap(&self) -> bool {
        self.core.counts().gaps > self.gaps
    }

    /// The topic that it reads.
    pub fn topic(&self) -> u8 {
        self.topic_heard
    }

    fn concerns(&self, names: &[Name]) -> bool {
        names.iter().any(|name| matches!(name, Name::All(_)) || self.names.contains_key(name))
    }
}

/// The names of a record that was read.
fn names_of(target: &Target) -> Vec<Name> {
    match target {
        Target::Keys(keys) => keys.iter().cloned().map(Name::Key).collect(),
        Target::Mids(mids) => mids.iter().copied().map(Name::Mid).collect(),
        Target::Room(room) => vec![Name::Room(room.clone())],
        Target::All { .. } => vec![Name::All(0)],
    }
}

impl World {
    /// An answer for a reader. One that hangs takes it later.
    pub fn hand_in(&mut self, gateway: usize, id: AskId, answer: Answer) {
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) {
            let (until, life) = (it.hangs_until, it.life);
            self.queue.at(until, Event::HandsIn { gateway, life, id, answer: Box::new(answer) });
            return;
        }
        if let Answer::Topology(topology) = &answer {
            it.topic_heard = it.topic_heard.max(topology.topic.0[0]);
            if it.topic_told == 0 {
                it.topic_told = it.topic_heard;
            }
        }
        it.core.answer(now, id, answer);
        self.turn(gateway);
    }

    /// What a gateway's dispatch thread does whenever something happened.
    pub fn turn(&mut self, gateway: usize) {
        let now = self.queue.now;
        if !self.gateways[gateway].runs(now) {
            return;
        }
        if now >= self.gateways[gateway].starts_without_at {
            self.gateways[gateway].core.start_without();
        }
        self.hand_over(gateway);
        while let Some((id, ask)) = self.gateways[gateway].core.poll_ask(now) {
            self.ask(gateway, id, ask);
        }
        self.hand_over(gateway);
        let it = &mut self.gateways[gateway];
        let opens = it.core.is_started() || self.fault == Some(Fault::ListensFirst);
        if !it.is_open && !it.is_draining && opens {
            it.is_open = true;
            self.note(|| format!("gateway {gateway} opens"));
        }
        let it = &mut self.gateways[gateway];
        let held = it.core.memory_used();
        assert!(held <= MEMORY_BYTES + BATCH_BYTES_MAX, "gateway {gateway} holds {held} bytes");
        let next = it.core.wake_at(now);
        if let Some(at) = next.filter(|_| next != it.wakes) {
            it.wakes = next;
            let life = it.life;
            self.queue.at(at, Event::GatewayWakes { gateway, life });
        }
    }

    pub fn wake_gateway(&mut self, gateway: usize) {
        self.gateways[gateway].wakes = None;
        self.turn(gateway);
    }

    /// Fills the intake.
    fn hand_over(&mut self, gateway: usize) {
        loop {
            let it = &mut self.gateways[gateway];
            if it.intake.len() >= it.intake_max || !it.core.has_work() {
                self.move_on(gateway);
                break;
            }
            if let Some(gap) = it.core.take_gap() {
                let item = self.gap(gateway, &gap);
                let it = &mut self.gateways[gateway];
                it.intake.push_back(item);
                it.core.admitted(0);
                self.done_early(gateway);
                continue;
            }
            let deliveries = self.read_on(gateway);
            let it = &mut self.gateways[gateway];
            if deliveries.is_empty() {
                it.core.nothing_admitted();
            } else {
                let bytes = deliveries.len() * 100;
                it.core.admitted(bytes);
                it.intake.push_back(Item::Deliver(deliveries));
                self.done_early(gateway);
            }
        }
        self.feed_starts(gateway);
    }

    /// Against the rule, records are read on for which there is no place.
    fn move_on(&mut self, gateway: usize) {
        if self.lacks(Fault::MovedWithoutPlace)
            && self.gateways[gateway].core.has_work()
            && !self.gateways[gateway].owes_a_gap()
        {
            self.read_on(gateway);
            self.gateways[gateway].core.nothing_admitted();
        }
    }

    /// Against the rule, what was admitted is done with.
    fn done_early(&mut self, gateway: usize) {
        if self.lacks(Fault::DoneWhenAdmitted) {
            self.gateways[gateway].core.answered();
        }
    }

    /// Nothing is done with that waits.
    fn check_done(&self, gateway: usize) {
        let it = &self.gateways[gateway];
        let waiting = it.intake.iter().filter_map(|item| match item {
            Item::Deliver(deliveries) => Some(deliveries),
            Item::Gap(_) => None,
        });
        for (number, _) in waiting.flatten().filter(|_| !self.oracle.is_unclean) {
            let sent = &self.oracle.sent[usize::try_from(*number).expect("ours")];
            let spot = sent.spots[0];
            let done = it.core.done(spot.partition).unwrap_or(0);
            let is_wrong = spot.topic == it.topic() && done > spot.offset;
            assert!(!is_wrong, "gateway {gateway} says that {done} is done with, and {spot:?} waits");
        }
    }

    /// Records for one handover.
    fn read_on(&mut self, gateway: usize) -> Vec<(u64, Vec<Name>)> {
        let mut found = Vec::new();
        let now = self.queue.now;
        while found.len() < self.gateways[gateway].handover_max {
            let Some(batch) = self.gateways[gateway].core.take_batch() else { break };
            self.read_batch(gateway, now, &batch, &mut found);
        }
        found
    }

    fn read_batch(&mut self, gateway: usize, now: Duration, batch: &Batch, found: &mut Vec<(u64, Vec<Name>)>) {
        let it = &mut self.gateways[gateway];
        let mut numbers = Vec::new();
        let read = it.reader.open_sound(&batch.batch).and_then(|records| {
            for record in records {
                let record = record?;
                let Some(value) = record.value.filter(|_| record.offset >= batch.from) else { continue };
                if !it.interest.concerns(&Look::at(value)) {
                    continue;
                }
                let value = bytes::Bytes::copy_from_slice(value);
                let Ok(push) = PushRecord::decode(&value) else { continue };
                numbers.push((record.offset, push_number(&value), names_of(&push.push.target)));
            }
            Ok(())
        });
        if let Err(why) = read {
            it.core.unreadable(now, batch, why);
            return self
                .note(|| format!("gateway {gateway} cannot read {}-{}..{}", batch.partition, batch.from, batch.until));
        }
        let brief = |(offset, number, _): &(i64, Option<u64>, Vec<Name>)| format!("{offset}={number:?}");
        self.oracle.trace.note(now, || {
            let all: Vec<String> = numbers.iter().map(brief).collect();
            format!("gateway {gateway} reads {}-{}..{}: {all:?}", batch.partition, batch.from, batch.until)
        });
        for (offset, number, names) in numbers {
            let Some(number) = number.filter(|_| it.concerns(&names)) else { continue };
            if !it.core.advance(batch.partition, batch.generation, offset + 1) {
                return;
            }
            self.oracle.delivered(&mut it.memory, gateway, number);
            found.push((number, names));
        }
        it.core.advance(batch.partition, batch.generation, batch.until);
    }

    /// A gap is told: what it covers from now on, and the order to shed.
    fn gap(&mut self, gateway: usize, gap: &Gap) -> Item {
        self.note(|| format!("gateway {gateway} is told {gap:?}"));
        let it = &mut self.gateways[gateway];
        it.gaps += 1;
        if self.fault == Some(Fault::GapIsSilent) {
            it.topic_told = it.topic_heard;
            return Item::Gap(Vec::new());
        }
        let mut holes = Vec::new();
        let is_new_topic = gap.why == GapReason::NewTopic;
        for (partition, offsets) in &gap.partitions {
            let until = if is_new_topic { (it.topic_heard, 0) } else { (it.topic_heard, offsets.end) };
            // Nobody knows where it would have begun.
            let from = match gap.why {
                GapReason::StartedWithout => (0, 0),
                _ => (it.topic_told, offsets.start),
            };
            holes.push(it.memory.holes.len());
            it.memory.holes.push(Hole { partition: *partition, spots: from..until, at: Duration::MAX });
        }
        if is_new_topic {
            // Partitions that it never heard of are gone with the others.
            let is_listed = |partition: i32| gap.partitions.iter().any(|(of, _)| *of == partition);
            for partition in (0..PARTITIONS_MAX).filter(|partition| !is_listed(*partition)) {
                let spots = (it.topic_told, 0)..(it.topic_heard, 0);
                holes.push(it.memory.holes.len());
                it.memory.holes.push(Hole { partition, spots, at: Duration::MAX });
            }
            it.topic_told = it.topic_heard;
        }
        Item::Gap(holes)
    }

    /// Feed takes the next item, if it has none.
    fn feed_starts(&mut self, gateway: usize) {
        let it = &mut self.gateways[gateway];
        if it.feed_is_busy || it.intake.is_empty() {
            return;
        }
        it.feed_is_busy = true;
        let life = it.life;
        let slow = !self.is_calm && self.chance.in_1000(30);
        let takes = self.chance.time(50, if slow { 2_000_000 } else { 3_000 });
        self.queue.after(takes, Event::FeedDone { gateway, life });
    }

    /// Feed has delivered the oldest item of the intake, and answers.
    pub fn feed_done(&mut self, gateway: usize) {
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) {
            let (until, life) = (it.hangs_until, it.life);
            self.queue.at(until, Event::FeedDone { gateway, life });
            return;
        }
        it.feed_is_busy = false;
        self.check_done(gateway);
        let it = &mut self.gateways[gateway];
        match it.intake.pop_front().expect("feed is busy with it") {
            Item::Deliver(deliveries) => {
                for (number, names) in deliveries {
                    it.clients.iter_mut().for_each(|client| client.receive(number, &names));
                }
            }
            Item::Gap(holes) => {
                let is_told = !holes.is_empty();
                for hole in holes {
                    it.memory.holes[hole].at = now;
                }
                if is_told {
                    self.shed(gateway);
                }
            }
        }
        let answers = self.chance.time(10, 2_000);
        let life = self.gateways[gateway].life;
        // Answers come in the order of handovers.
        let at = (now + answers).max(self.gateways[gateway].answered_at);
        self.gateways[gateway].answered_at = at;
        self.queue.at(at, Event::HandoverAnswered { gateway, life });
        self.feed_starts(gateway);
        self.turn(gateway);
    }

    pub fn handover_answered(&mut self, gateway: usize) {
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) {
            let (until, life) = (it.hangs_until, it.life);
            self.queue.at(until, Event::HandoverAnswered { gateway, life });
            return;
        }
        if self.fault != Some(Fault::DoneWhenAdmitted) {
            it.core.answered();
        }
        self.turn(gateway);
    }

    /// A gateway does nothing for a while.
    pub fn hang(&mut self, gateway: usize) {
        let past = self.chance.in_1000(250);
        let takes = self.chance.time(10_000, if past { 12_000_000 } else { 2_000_000 });
        let it = &mut self.gateways[gateway];
        if !it.is_up {
            return;
        }
        it.hangs_until = self.queue.now + takes;
        let (until, life) = (it.hangs_until, it.life);
        self.note(|| format!("gateway {gateway} hangs until {until:?}"));
        self.queue.at(until, Event::GatewayWakes { gateway, life });
    }

    /// A gateway's connections go one by one while reading goes on; then its process ends.
    pub fn drain(&mut self, gateway: usize) {
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) || it.is_draining {
            return;
        }
        (it.is_draining, it.is_open) = (true, false);
        self.note(|| format!("gateway {gateway} drains"));
        self.drain_on(gateway);
    }

    /// The next connection goes, or the process.
    pub fn drain_on(&mut self, gateway: usize) {
        if !self.gateways[gateway].clients.is_empty() {
            self.leave(gateway);
            let next = self.chance.time(1_000, 300_000);
            let life = self.gateways[gateway].life;
            return self.queue.after(next, Event::DrainsOn { gateway, life });
        }
        self.gateways[gateway].core.stop();
        self.kill_gateway(gateway);
    }

    /// A gateway's process ends, with all its connections; another begins later.
    pub fn kill_gateway(&mut self, gateway: usize) {
        if !self.gateways[gateway].is_up {
            return;
        }
        self.note(|| format!("gateway {gateway} is killed"));
        self.gateways[gateway].is_up = false;
        let after = self.chance.time(1_000, 3_000_000);
        self.queue.after(after, Event::GatewayStarts(gateway));
    }

    pub fn start_gateway(&mut self, gateway: usize) {
        if self.gateways[gateway].is_up {
            return;
        }
        self.note(|| format!("gateway {gateway} starts"));
        let life = self.gateways[gateway].life + 1;
        self.gateways[gateway] = Gateway::new(life, self.queue.now, &mut self.chance);
        self.turn(gateway);
    }

    /// A gateway that read all there is: no age, nothing held, nothing left.
    pub fn check_gateway(&mut self, gateway: usize) {
        let now = self.queue.now;
        let it = &self.gateways[gateway];
        assert!(it.is_up && it.is_open, "gateway {gateway} is not open: {:?}", it.core.not_ready(now));
        assert_eq!(it.core.not_ready(now), None, "gateway {gateway} is not ready");
        assert_eq!(it.core.age(now), Duration::ZERO, "gateway {gateway} is behind");
        assert!(it.intake.is_empty(), "gateway {gateway} has not taken everything");
        let views: Vec<_> = it.core.partitions(now).collect();
        assert_eq!(views.len(), self.cluster.truth.partitions.len(), "gateway {gateway} does not know all partitions");
        for view in views {
            let end = self.cluster.leading(view.partition).expect("somebody leads").high_watermark;
            assert_eq!(
                (view.next, view.done, view.lag),
                (end, end, 0),
                "gateway {gateway}, partition {}",
                view.partition
            );
        }
        self.check_clients(gateway);
    }
}
