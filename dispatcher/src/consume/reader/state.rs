//! The reader's whole state. Owns the struct that its phases work on, and what several of them share; decides nothing
//! alone.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::bus::log::{Place, Source, TopicId};
use crate::gateways::GapReason;

use super::asks::{Asks, SourceState, TopologyState};
use super::counts::{Counts, Event, Events};
use super::gaps::Gaps;
use super::handovers::{Handovers, Moved};
use super::marks::Marks;
use super::memory::Memory;
use super::partition::{Partition, Phase};
use super::settings::Settings;

/// Longest extra wait of a first question after an outage.
const JITTER_MS_MAX: u64 = 50;

/// Why the ends of partitions are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndsFor {
    /// To leave out what lies before them (rule S3).
    Skip {
        /// What did not answer until then is left for later.
        until: Duration,
    },
    /// To know when everything is handed over.
    Drain,
}

/// Of which generation, and the end once it is known; `None` of a partition that is not asked.
pub(super) type EndOf = Option<(u64, Option<Place>)>;

/// The ends of partitions, as far as they were answered.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) why: EndsFor,
    /// By partition.
    pub(super) of: Vec<EndOf>,
}

/// Reads a log: decides what is asked next, what an answer means, and what is handed over in which order. Pure: time
/// comes in as a duration since some start, randomness from a seed, answers from whoever asks for it.
#[derive(Debug)]
pub struct Reader {
    pub(super) settings: Settings,
    pub(super) rng: SmallRng,
    pub(super) topic: Option<TopicId>,
    /// Topics of this name that are gone: whoever still names one is behind.
    pub(super) topics_gone: VecDeque<TopicId>,
    pub(super) partitions: Vec<Partition>,
    pub(super) sources: BTreeMap<Source, SourceState>,
    pub(super) asks: Asks,
    pub(super) topology: TopologyState,
    pub(super) ends: Option<Ends>,
    pub(super) memory: Memory,
    pub(super) gaps: Gaps,
    pub(super) handovers: Handovers,
    /// Partitions with batches, in their turn.
    pub(super) turns: VecDeque<usize>,
    pub(super) counts: Counts,
    pub(super) events: Events,
    pub(super) started: bool,
    /// Positions found from now on are gaps.
    pub(super) started_without: bool,
    pub(super) stopped: bool,
    pub(super) draining: bool,
    /// The next step to the log's end comes not before.
    pub(super) skip_not_before: Duration,
    /// Catching up reads nothing more before.
    pub(super) catchup_not_before: Duration,
    pub(super) generations: u64,
    /// When it was last asked or told anything.
    pub(super) looked_at: Option<Duration>,
    /// When this process last went on after it had stood still.
    pub(super) stood_until: Duration,
}

impl Reader {
    /// A reader that has asked nothing yet. Readers of one log should have different seeds.
    pub fn new(settings: Settings, seed: u64) -> Reader {
        Reader {
            memory: Memory::new(&settings),
            settings,
            rng: SmallRng::seed_from_u64(seed),
            topic: None,
            topics_gone: VecDeque::new(),
            partitions: Vec::new(),
            sources: BTreeMap::new(),
            asks: Asks::default(),
            topology: TopologyState::default(),
            ends: None,
            gaps: Gaps::default(),
            handovers: Handovers::default(),
            turns: VecDeque::new(),
            counts: Counts::default(),
            events: Events::default(),
            started: false,
            started_without: false,
            stopped: false,
            draining: false,
            skip_not_before: Duration::ZERO,
            catchup_not_before: Duration::ZERO,
            generations: 0,
            looked_at: None,
            stood_until: Duration::ZERO,
        }
    }

    /// A number that no generation of any partition had before.
    pub(super) fn new_generation(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }

    pub(super) fn new_partition(&mut self, phase: Phase, now: Duration) -> Partition {
        let generation = self.new_generation();
        Partition::new(phase, generation, Marks::new(self.settings.catchup_max), now)
    }

    /// By its number, if there is one.
    pub(super) fn index_of(&self, partition: i32) -> Option<usize> {
        usize::try_from(partition).ok().filter(|index| *index < self.partitions.len())
    }

    /// Position and cursor of a partition move together within its log (rule R2). What the gateway has not answered for
    /// stays what it was, up to the new place.
    pub(super) fn move_to(&mut self, index: usize, place: Place) {
        let generation = self.new_generation();
        let partition = &mut self.partitions[index];
        self.handovers.moved(number(index), partition.generation, Moved { generation, below: place.offset });
        partition.move_to(place, generation, &mut self.memory);
    }

    /// Something went wrong with a partition: it is asked nothing for a while.
    pub(super) fn retry_later(&mut self, index: usize, now: Duration, trouble: &'static str) {
        let partition = &mut self.partitions[index];
        partition.not_before = now + partition.backoff.next(self.settings.pauses(), &mut self.rng);
        partition.trouble = Some(trouble);
    }

    /// As [`Reader::retry_later`], for what only an operator can mend.
    pub(super) fn retry_slowly(&mut self, index: usize, now: Duration, trouble: &'static str) {
        let partition = &mut self.partitions[index];
        partition.not_before = now + partition.backoff.next(self.settings.slow_pauses(), &mut self.rng);
        partition.trouble = Some(trouble);
    }

    /// A short time that differs from reader to reader.
    pub(super) fn jitter(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(0..=JITTER_MS_MAX))
    }

    /// Records of a partition are left out.
    pub(super) fn leave_out(&mut self, partition: usize, offsets: Range<i64>, why: GapReason) {
        let left_out = u64::try_from(offsets.end.saturating_sub(offsets.start)).unwrap_or(0);
        self.counts.gap_records = self.counts.gap_records.saturating_add(left_out);
        if self.gaps.add(number(partition), offsets, why) {
            self.counts.gaps += 1;
            self.events.add(Event::Gap(why));
        }
    }
}

/// A partition's number by its place in the list, which is as long as the log says.
pub(super) fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
