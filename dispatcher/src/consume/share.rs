//! A gateway's share of a paced broadcast (rule G2). Owns the number of gateways that read the log, which may change
//! while it is read.

use std::sync::atomic::{AtomicU32, Ordering};

use halley_protocol::push::Target;

/// How many gateways read the log, each of which delivers at its share of a broadcast's speed.
#[derive(Debug)]
pub struct Gateways(AtomicU32);

impl Gateways {
    /// So many; none is taken for one.
    pub fn new(count: u32) -> Gateways {
        Gateways(AtomicU32::new(count))
    }

    /// So many from now on.
    pub fn set(&self, count: u32) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// How many.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed).max(1)
    }

    /// What one gateway delivers of a push: all of it, except that the speed of a broadcast is divided. A paced one
    /// stays paced however slow it is: a share of 0 would mean "at once" (defect J15).
    pub(super) fn share(&self, target: &mut Target) {
        if let Target::All { speed } = target
            && *speed > 0
        {
            *speed = (*speed / self.count()).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(speed: u32, gateways: u32) -> Target {
        let mut target = Target::All { speed };
        Gateways::new(gateways).share(&mut target);
        target
    }

    /// J15: a speed below the number of gateways must not become "no pace at all".
    #[test]
    fn j15_a_broadcast_pace_is_divided_and_never_becomes_unpaced() {
        assert_eq!(share(32, 1), Target::All { speed: 32 });
        assert_eq!(share(32, 4), Target::All { speed: 8 });
        assert_eq!(share(32, 3), Target::All { speed: 10 });
        assert_eq!(share(2, 3), Target::All { speed: 1 });
        assert_eq!(share(0, 3), Target::All { speed: 0 }, "0 asks for no pace");
        let room = Target::Room("live://1".into());
        let mut same = room.clone();
        Gateways::new(3).share(&mut same);
        assert_eq!(same, room);
    }

    /// J4: no gateway at all is not a division by zero.
    #[test]
    fn j04_no_gateway_is_taken_for_one() {
        assert_eq!(share(9, 0), Target::All { speed: 9 });
    }

    /// G2: the number may change while pushes go on.
    #[test]
    fn g2_the_number_of_gateways_changes_at_once() {
        let gateways = Gateways::new(1);
        gateways.set(4);
        let mut target = Target::All { speed: 100 };
        gateways.share(&mut target);
        assert_eq!((target, gateways.count()), (Target::All { speed: 25 }, 4));
    }
}
