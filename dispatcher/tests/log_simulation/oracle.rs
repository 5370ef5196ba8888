//! What must hold. Owns every record that was published with its answer, what reached which gateway's memory and which
//! client, and what gaps covered; asserts what was promised, as soon as it can be known or at the end. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use halley_dispatcher::bus::{Position, PublishError};

/// Whom a record is for, as one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Key(String),
    Mid(i64),
    Room(String),
    All(i32),
}

impl Name {
    /// The key, where it is one.
    pub fn key(&self) -> Option<String> {
        match self {
            Name::Key(key) => Some(key.clone()),
            _ => None,
        }
    }
}

/// What a publisher was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    Acked,
    Refused,
    Unknown,
}

/// A place in some incarnation of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub topic: u8,
    pub partition: i32,
    pub offset: i64,
}

/// One record that was published.
#[derive(Clone, Debug)]
pub struct Sent {
    pub producer: usize,
    pub names: Vec<Name>,
    pub at: Duration,
    pub told: Told,
    /// Where leaders put it; more than one place only where elections were unclean.
    pub spots: Vec<Spot>,
    /// Compaction or damage took it: it may appear or not.
    pub is_excused: bool,
}

/// What a gateway was told to have missed.
#[derive(Clone, Debug)]
pub struct Hole {
    pub partition: i32,
    /// Topics with their offsets.
    pub spots: Range<(u8, i64)>,
    /// When the order to shed was taken: who was told to be in by then is shed for it.
    pub at: Duration,
}

impl Hole {
    /// Whether who was told to be in then is shed for it.
    pub fn is_for(&self, told: Duration) -> bool {
        self.at != Duration::MAX && told <= self.at
    }
}

/// One life of a gateway's process.
#[derive(Debug, Default)]
pub struct Memory {
    /// Numbers of the records that reached it, in order.
    pub got: Vec<u64>,
    seen: BTreeSet<u64>,
    last: BTreeMap<(u8, i32), i64>,
    pub holes: Vec<Hole>,
}

#[derive(Debug)]
pub struct Oracle {
    pub sent: Vec<Sent>,
    pub is_unclean: bool,
    /// What is in the log in the end; elections that are unclean lose what was acked.
    pub left: BTreeSet<u64>,
    pub trace: Trace,
}

/// What happened last, for who replays a run.
#[derive(Debug, Default)]
pub struct Trace {
    lines: Vec<String>,
    pub is_kept: bool,
}

impl Trace {
    pub fn note(&mut self, now: Duration, line: impl FnOnce() -> String) {
        if self.is_kept {
            self.lines.push(format!("{:>10.3} ms  {}", now.as_secs_f64() * 1e3, line()));
        }
    }

    pub fn last(&self, lines: usize) -> &[String] {
        &self.lines[self.lines.len().saturating_sub(lines)..]
    }
}

impl Memory {
    /// One more; returns which.
    pub fn hole(&mut self, hole: Hole) -> usize {
        self.holes.push(hole);
        self.holes.len() - 1
    }
}

impl Oracle {
    pub fn new(is_unclean: bool) -> Oracle {
        Oracle { sent: Vec::new(), is_unclean, left: BTreeSet::new(), trace: Trace::default() }
    }

    pub fn record(&mut self, number: u64) -> &mut Sent {
        &mut self.sent[usize::try_from(number).expect("a number of ours")]
    }

    /// A leader appended these.
    pub fn appended(&mut self, topic: u8, partition: i32, pushes: &[(i64, u64)]) {
        for &(offset, number) in pushes {
            let spot = Spot { topic, partition, offset };
            let spots = &mut self.record(number).spots;
            if !spots.contains(&spot) {
                spots.push(spot);
            }
        }
    }

    /// A publisher has its answer for these records of one push.
    pub fn answered(&mut self, numbers: &[u64], outcome: &Result<Vec<Position>, PublishError>) {
        let told = match outcome {
            Ok(_) => Told::Acked,
            Err(PublishError::Unknown(_)) => Told::Unknown,
            Err(_) => Told::Refused,
        };
        if let Ok(positions) = outcome {
            assert_eq!(positions.len(), numbers.len(), "a position for each record");
        }
        for (index, &number) in numbers.iter().enumerate() {
            let is_unclean = self.is_unclean;
            let sent = self.record(number);
            assert_eq!(sent.told, Told::Nothing, "record {number} was answered twice");
            sent.told = told;
            if let Ok(positions) = outcome {
                let Position { partition, offset } = positions[index];
                let is_there = |spot: &Spot| (spot.partition, spot.offset) == (partition, offset);
                assert!(
                    sent.spots.iter().any(is_there) || offset < 0,
                    "record {number} was acked at {partition}-{offset}, which is none of {:?}",
                    sent.spots
                );
            }
            if told == Told::Refused {
                assert!(sent.spots.is_empty() || is_unclean, "record {number} was refused and is at {:?}", sent.spots);
            }
        }
    }

    /// A record has reached a gateway's memory.
    pub fn delivered(&mut self, memory: &mut Memory, gateway: usize, number: u64) {
        let sent = &self.sent[usize::try_from(number).expect("a number of ours")];
        assert_ne!(sent.told, Told::Refused, "record {number} was refused and reached gateway {gateway}");
        memory.got.push(number);
        if self.is_unclean {
            return;
        }
        assert!(memory.seen.insert(number), "record {number} at {:?} reached gateway {gateway} twice", sent.spots);
        let spot = sent.spots.first().expect("a leader has it");
        let last = memory.last.insert((spot.topic, spot.partition), spot.offset);
        assert!(
            last.is_none_or(|last| last < spot.offset),
            "record {number} at {spot:?} reached gateway {gateway} behind offset {last:?}"
        );
    }

    /// A record is owed to a client of this gateway that was told to be in at `told`, unless a gap covers it.
    pub fn is_owed(&self, number: u64, memory: &Memory, told: Duration) -> bool {
        let sent = &self.sent[usize::try_from(number).expect("a number of ours")];
        if sent.told != Told::Acked || sent.at < told || sent.is_excused {
            return false;
        }
        if self.is_unclean && !self.left.contains(&number) {
            return false;
        }
        let covers = |hole: &Hole, spot: &Spot| {
            hole.at >= told && hole.partition == spot.partition && hole.spots.contains(&(spot.topic, spot.offset))
        };
        !sent.spots.iter().any(|spot| memory.holes.iter().any(|hole| covers(hole, spot)))
    }

    /// What producers' records look like in the end: acked ones of one producer lie in the order in which they were
    /// published, and nothing lies anywhere twice.
    pub fn check_log(&self) {
        if self.is_unclean {
            return;
        }
        let mut last: BTreeMap<(u8, i32, usize), (i64, u64)> = BTreeMap::new();
        for (number, sent) in (0_u64..).zip(&self.sent) {
            assert!(sent.spots.len() < 2, "record {number} is in the log twice: {:?}", sent.spots);
            if sent.told != Told::Acked {
                continue;
            }
            let spot = sent.spots[0];
            let before = last.insert((spot.topic, spot.partition, sent.producer), (spot.offset, number));
            assert!(
                before.is_none_or(|(offset, _)| offset < spot.offset),
                "record {number} at {spot:?} was published behind {before:?} and lies before it"
            );
        }
    }
}
