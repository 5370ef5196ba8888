//! When connections time out. Owns one 4-byte tick per slot, grouped so that a sweep skips groups with nothing due;
//! knows nothing of what a deadline means (`ending` asks the connection).

/// Slots of one group.
const GROUP_SLOTS: usize = 256;

/// No deadline.
pub const NEVER: u32 = u32::MAX;

#[derive(Debug)]
struct Group {
    /// No deadline of the group is earlier; may lie before the true earliest one.
    earliest: u32,
    ticks: [u32; GROUP_SLOTS],
}

/// Deadlines by slot. Putting one off costs a store; a sweep costs the groups that have something due.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "adding a group must not copy all others")]
pub struct Deadlines {
    groups: Vec<Box<Group>>,
}

impl Deadlines {
    /// Set the deadline of a slot; [`NEVER`] for none.
    pub fn set(&mut self, slot: u32, tick: u32) {
        let (group, at) = (slot as usize / GROUP_SLOTS, slot as usize % GROUP_SLOTS);
        while self.groups.len() <= group {
            self.groups.push(Box::new(Group { earliest: NEVER, ticks: [NEVER; GROUP_SLOTS] }));
        }
        let group = &mut self.groups[group];
        group.ticks[at] = tick;
        group.earliest = group.earliest.min(tick);
    }

    /// Collect the slots whose deadline is `now` or earlier, and forget those deadlines. Stops at the first group with
    /// something due once `due` has `at_most` slots; returns whether that was not so.
    pub fn sweep(&mut self, now: u32, at_most: usize, due: &mut Vec<u32>) -> bool {
        for (index, group) in self.groups.iter_mut().enumerate() {
            if group.earliest > now {
                continue;
            }
            if due.len() >= at_most {
                return false;
            }
            let mut earliest = NEVER;
            for (at, tick) in group.ticks.iter_mut().enumerate() {
                if *tick <= now {
                    *tick = NEVER;
                    due.push(u32::try_from(index * GROUP_SLOTS + at).expect("slots are 32 bits"));
                }
                earliest = earliest.min(*tick);
            }
            group.earliest = earliest;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every deadline fires exactly once, at its tick, after being put off any number of times; few at once.
    #[test]
    fn fires_once_when_due() {
        let mut deadlines = Deadlines::default();
        let mut wanted = vec![NEVER; 2000];
        let mut random = 7u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 8
        };
        for now in 0..200 {
            for _ in 0..50 {
                let (slot, tick) = (next() % 2000, now + 1 + next() % 40);
                deadlines.set(slot, tick);
                wanted[slot as usize] = tick;
            }
            let (mut due, mut turns) = (Vec::new(), 0);
            loop {
                let mut some = Vec::new();
                let all = deadlines.sweep(now, 7, &mut some);
                assert!(some.len() < 7 + GROUP_SLOTS, "{} at once", some.len());
                due.append(&mut some);
                turns += 1;
                if all {
                    break;
                }
            }
            assert!(turns <= 8, "each of 8 groups once: {turns}");
            let expected: Vec<u32> = (0..2000).filter(|slot| wanted[*slot as usize] <= now).collect();
            due.sort_unstable();
            assert_eq!(due, expected);
            for slot in due {
                wanted[slot as usize] = NEVER;
            }
        }
    }
}
