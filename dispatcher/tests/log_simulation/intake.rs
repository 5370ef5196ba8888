//! What lies between the shipped hand-over and a gateway's feed: places, and what went through them until it is worked
//! off and answered. Owns the translation of what was handed over into numbers of pushes and told gaps; decides nothing
//! about positions. Filled by [`crate::gateways`], worked off by [`crate::feed`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halley_dispatcher::gateways::{Gap, GapReason, Handover, Matched, Place};
use halley_protocol::push::{Body, Delivery, Target};
use tokio::sync::oneshot;

use crate::faults::Fault;
use crate::oracle::{Hole, Name};
use crate::world::World;

/// Bytes of goim's header before a message's body.
const FRAME_HEADER_BYTES: usize = 16;
/// More partitions than a topic ever has here.
const PARTITIONS_MAX: i32 = 12;

/// Answers a handover: how many deliveries it had, and who waits.
pub type Answer = (usize, Option<oneshot::Sender<Vec<Matched>>>);

/// What waits in a gateway's intake.
pub struct Item {
    pub what: What,
    pub answer: Answer,
}

pub enum What {
    /// Numbers of records, each with the names that it is for.
    Deliver(Vec<(u64, Vec<Name>)>),
    /// Which of the told gaps.
    Gap(Vec<usize>),
}

/// What went through a place, and who waits for its answer.
type Admitted = (Handover, oneshot::Sender<Vec<Matched>>);

/// One place, and the other side of it.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Option<Admitted>>>);

impl Slot {
    /// What went through it.
    pub fn take(&self) -> Option<Admitted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Place for Slot {
    fn admit(self, handover: Handover) -> oneshot::Receiver<Vec<Matched>> {
        let (answer, answered) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((handover, answer));
        answered
    }
}

/// The answer to a handover of so many deliveries.
pub fn answer((deliveries, waiting): Answer) {
    if let Some(waiting) = waiting {
        // A process that ended meanwhile hears nothing.
        let _ = waiting.send((0..deliveries).map(|_| None).collect());
    }
}

/// The number of the push that is delivered, which begins its body.
fn number_of(delivery: &Delivery) -> u64 {
    let Some(Body::Framed(payload)) = &delivery.body else { panic!("{delivery:?} is not framed") };
    let number = payload.bytes(false)[FRAME_HEADER_BYTES..].first_chunk().expect("a push of ours");
    u64::from_be_bytes(*number)
}

/// The names of a push.
fn names_of(target: &Target) -> Vec<Name> {
    match target {
        Target::Keys(keys) => keys.iter().cloned().map(Name::Key).collect(),
        Target::Mids(mids) => mids.iter().copied().map(Name::Mid).collect(),
        Target::Room(room) => vec![Name::Room(room.clone())],
        Target::All { .. } => vec![Name::All(0)],
    }
}

impl World {
    /// What went through a place waits in the intake.
    pub fn admitted(&mut self, gateway: usize, (handover, waiting): Admitted) {
        let (what, deliveries) = match handover {
            Handover::Gap(gap) => (What::Gap(self.told_of(gateway, &gap)), 0),
            Handover::Deliver(deliveries) => {
                let pushes: Vec<_> = deliveries.iter().map(|it| (number_of(it), names_of(&it.target))).collect();
                self.note(|| {
                    let numbers: Vec<u64> = pushes.iter().map(|(number, _)| *number).collect();
                    format!("gateway {gateway} takes {numbers:?}")
                });
                let memory = &mut self.gateways[gateway].memory;
                pushes.iter().for_each(|(number, _)| self.oracle.delivered(memory, gateway, *number));
                (What::Deliver(pushes), deliveries.len())
            }
        };
        let mut item = Item { what, answer: (deliveries, Some(waiting)) };
        if self.lacks(Fault::DoneWhenAdmitted) {
            answer((deliveries, item.answer.1.take()));
        }
        self.gateways[gateway].intake.push_back(item);
    }

    /// A gap is told: what it covers from now on, and the order to shed.
    fn told_of(&mut self, gateway: usize, gap: &Gap) -> Vec<usize> {
        self.note(|| format!("gateway {gateway} is told {gap:?}"));
        let it = &mut self.gateways[gateway];
        it.gaps += 1;
        if self.fault == Some(Fault::GapIsSilent) {
            it.topic_told = it.topic_heard;
            return Vec::new();
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
            holes.push(it.memory.hole(Hole { partition: *partition, spots: from..until, at: Duration::MAX }));
        }
        // Partitions of topics before that it never heard of are gone with the others.
        if is_new_topic || gap.why == GapReason::StartedWithout {
            let first = if is_new_topic { it.topic_told } else { 0 };
            let is_listed = |partition: i32| gap.partitions.iter().any(|(of, _)| *of == partition);
            for partition in (0..PARTITIONS_MAX).filter(|partition| !is_listed(*partition)) {
                let spots = (first, 0)..(it.topic_heard, 0);
                holes.push(it.memory.hole(Hole { partition, spots, at: Duration::MAX }));
            }
        }
        if is_new_topic {
            it.topic_told = it.topic_heard;
        }
        holes
    }
}
