//! Two gateways, each the shipped reader, record decoder and hand-over before a model of feed: a bounded intake,
//! clients that log in and leave, and the early filter. They hang, are drained, killed and begun anew. Owns one life of
//! a process each, and its rounds; what it must have got is [`crate::oracle`]'s.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use halley_dispatcher::bus::log::{Answer, AskId};
use halley_dispatcher::consume::handing::Handing;
use halley_dispatcher::consume::reader::Settings;
use halley_dispatcher::consume::share;
use halley_dispatcher::receipts::Receipts;
use halley_protocol::push::interest::Interest;

use crate::asks::Line;
use crate::chance::Chance;
use crate::clients::{Client, early_filter};
use crate::faults::Fault;
use crate::intake::{self, Item, Slot};
use crate::oracle::Memory;
use crate::world::{Event, World};

/// Bytes of memory that a reader may hold.
const MEMORY_BYTES: usize = 64 * 1024;
/// Longest batch of the simulation, with room.
const BATCH_BYTES_MAX: usize = 32 * 1024;

/// Rounds of a gateway at one time: more than there is ever to do.
const ROUNDS_MAX: usize = 20_000;

/// One gateway.
pub struct Gateway {
    pub handing: Handing,
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
    pub feed_is_busy: bool,
    /// To items that were worked off, not sent yet.
    pub answers: VecDeque<intake::Answer>,
    /// The early filter.
    pub interest: Arc<Interest>,
    pub clients: Vec<Client>,
    /// The topic of which gaps were told, and the newest that was heard of.
    pub topic_told: u8,
    pub topic_heard: u8,
    wakes: Option<Duration>,
    pub answered_at: Duration,
    /// Gaps that were told.
    pub gaps: u64,
    /// Records that were acked when it was told to read to the end.
    pub owed_by_drain: BTreeSet<u64>,
}

impl Gateway {
    pub fn new(life: u32, now: Duration, chance: &mut Chance, fault: Option<Fault>) -> Gateway {
        let is_bounded = fault != Some(Fault::MemoryIsNotBounded);
        let start_without = chance.in_1000(200);
        let start_timeout = chance.time(1_000, 3_000_000);
        let settings = Settings {
            start_timeout: if start_without { start_timeout } else { Duration::ZERO },
            start_without,
            memory_bytes: if is_bounded { MEMORY_BYTES } else { usize::MAX },
            // What is asked for at once stays small where only the sum is not bounded.
            read_bytes_max: *chance.pick(if is_bounded { &[700, 4_000, 1 << 20] } else { &[700, 700, 700] }),
            partition_bytes_max: *chance.pick(&[500, 4_000, 1 << 20]),
            fetch_interval: *chance.pick(&[Duration::ZERO, Duration::from_millis(5)]),
            topology_interval: Duration::from_secs(4),
            catchup_max: Duration::from_secs(6),
            catchup_records_max: *chance.pick(&[40, 1_000_000]),
            ready_age_max: Duration::from_secs(2),
            handovers_max: chance.between(1, 6),
            ..Settings::default()
        };
        let interest = early_filter();
        let gateways = Arc::new(share::Gateways::new(1));
        let handing =
            Handing::new(now, settings, chance.seed(), Receipts::new(1), gateways, Some(Arc::clone(&interest)));
        Gateway {
            handing: handing.with_records_max(chance.between(1, 12)),
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
            answers: VecDeque::new(),
            interest,
            clients: Vec::new(),
            topic_told: 0,
            topic_heard: 0,
            wakes: None,
            answered_at: Duration::ZERO,
            gaps: 0,
            owed_by_drain: BTreeSet::new(),
        }
    }

    pub fn runs(&self, now: Duration) -> bool {
        self.is_up && now >= self.hangs_until
    }

    /// Whether its position went where a gap leads to that is not told yet.
    pub fn owes_a_gap(&self) -> bool {
        self.handing.reader.counts().gaps > self.gaps
    }

    /// The topic that it reads.
    pub fn topic(&self) -> u8 {
        self.topic_heard
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
        it.handing.reader.answer(now, id, answer);
        if let Some(topic) = it.handing.reader.topic() {
            it.topic_heard = it.topic_heard.max(topic.0[0]);
            if it.topic_told == 0 {
                it.topic_told = it.topic_heard;
            }
        }
        self.turn(gateway);
    }

    /// What a gateway's dispatch thread does whenever something happened.
    pub fn turn(&mut self, gateway: usize) {
        let now = self.queue.now;
        if !self.gateways[gateway].runs(now) {
            return;
        }
        let it = &mut self.gateways[gateway];
        while it.handing.is_waiting()
            && let Some(answer) = it.handing.answer().now_or_never()
        {
            it.handing.answered(answer.expect("feed is there as long as its gateway"));
        }
        if let Some(why) = it.handing.ended(now) {
            return self.drained(gateway, &why);
        }
        self.hand_over(gateway);
        let mut rounds = 0;
        while let Some((id, ask)) = self.gateways[gateway].handing.reader.poll_ask(now) {
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "gateway {gateway} asks for ever");
            self.ask(gateway, id, ask);
        }
        self.hand_over(gateway);
        let it = &mut self.gateways[gateway];
        let opens = it.handing.reader.is_started() || self.fault == Some(Fault::ListensFirst);
        if !it.is_open && !it.is_draining && opens {
            it.is_open = true;
            self.note(|| format!("gateway {gateway} opens"));
        }
        let it = &mut self.gateways[gateway];
        let held = it.handing.reader.memory_used();
        assert!(held <= MEMORY_BYTES + BATCH_BYTES_MAX, "gateway {gateway} holds {held} bytes");
        let next = it.handing.wake_at(now);
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
        let now = self.queue.now;
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "gateway {gateway} has work for ever and hands nothing over");
            let it = &mut self.gateways[gateway];
            if it.intake.len() >= it.intake_max || !it.handing.has_work() {
                self.move_on(gateway);
                break;
            }
            let place = Slot::default();
            it.handing.hand_over(now, place.clone());
            if let Some(admitted) = place.take() {
                self.admitted(gateway, admitted);
            }
        }
        self.feed_starts(gateway);
    }

    /// Against the rule, records are read on for which there is no place.
    fn move_on(&mut self, gateway: usize) {
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if self.fault == Some(Fault::MovedWithoutPlace) && it.handing.has_work() && !it.owes_a_gap() {
            let place = Slot::default();
            it.handing.hand_over(now, place.clone());
            if let Some((_, waiting)) = place.take() {
                intake::answer((0, Some(waiting)));
            }
        }
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
        self.gateways[gateway] = Gateway::new(life, self.queue.now, &mut self.chance, self.fault);
        self.turn(gateway);
    }

    /// A gateway that read all there is: no age, nothing held, nothing left.
    pub fn check_gateway(&mut self, gateway: usize) {
        let now = self.queue.now;
        let it = &self.gateways[gateway];
        assert!(it.is_up && it.is_open, "gateway {gateway} is not open: {:?}", it.handing.reader.not_ready(now));
        assert_eq!(it.handing.reader.not_ready(now), None, "gateway {gateway} is not ready");
        assert_eq!(it.handing.reader.age(now), Duration::ZERO, "gateway {gateway} is behind");
        assert!(it.intake.is_empty(), "gateway {gateway} has not taken everything");
        let views: Vec<_> = it.handing.reader.partitions(now).collect();
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
