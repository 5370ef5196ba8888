//! What the gateway was given and has not answered for. Owns how far each partition is done with when it does (rule
//! R1): answers come in the order of handovers. What concerned nobody is done when the handover before it is.

use std::collections::VecDeque;

/// A partition is read up to an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upto {
    pub(super) partition: i32,
    /// It means nothing when the partition has another by now.
    pub(super) generation: u64,
    pub(super) offset: i64,
}

/// Where a partition goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    /// Its new generation.
    pub(super) generation: u64,
    /// Only what is below counts of what went before.
    pub(super) below: i64,
}

#[derive(Debug)]
struct Handover {
    bytes: usize,
    upto: Vec<Upto>,
}

/// Handovers under way, and what the next one will contain.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    next: Vec<Upto>,
    under_way: VecDeque<Handover>,
}

impl Handovers {
    /// The next handover contains this.
    pub(super) fn add(&mut self, upto: Upto) {
        put(&mut self.next, upto);
    }

    /// The next handover went, with so many bytes.
    pub(super) fn went(&mut self, bytes: usize) {
        let upto = std::mem::take(&mut self.next);
        self.under_way.push_back(Handover { bytes, upto });
    }

    /// There is nothing to hand over of what the next one contains. Returns what is done with it now.
    pub(super) fn went_nowhere(&mut self) -> Vec<Upto> {
        let upto = std::mem::take(&mut self.next);
        match self.under_way.back_mut() {
            Some(last) => {
                upto.into_iter().for_each(|upto| put(&mut last.upto, upto));
                Vec::new()
            }
            None => upto,
        }
    }

    /// A partition of this generation goes on at another place of the same log. What went below it is done with when it
    /// is answered for, as ever.
    pub(super) fn moved(&mut self, partition: i32, generation: u64, to: Moved) {
        let under_way = self.under_way.iter_mut().flat_map(|handover| &mut handover.upto);
        let of = self.next.iter_mut().chain(under_way);
        for upto in of.filter(|upto| upto.partition == partition && upto.generation == generation) {
            upto.generation = to.generation;
            upto.offset = upto.offset.min(to.below);
        }
    }

    /// The oldest is answered for: its bytes, and what is done with it.
    pub(super) fn answered(&mut self) -> Option<(usize, Vec<Upto>)> {
        self.under_way.pop_front().map(|handover| (handover.bytes, handover.upto))
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether everything is answered for.
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty() && self.under_way.is_empty()
    }
}

/// One entry for each partition: the newest counts.
fn put(list: &mut Vec<Upto>, upto: Upto) {
    match list.iter_mut().rev().find(|known| known.partition == upto.partition) {
        Some(known) => *known = upto,
        None => list.push(upto),
    }
}
