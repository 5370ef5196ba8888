//! Who accepts for whom when shards are full. Owns that decision as a state machine over "full" reports; sends nothing
//! itself: `control::node` carries the orders to the shards' rings.
//!
//! The kernel spreads connections over the shards' listeners by hash, so one shard can be full while another has room.
//! Then every shard with room accepts on the full one's listeners too. When nobody has room, each refuses on its own
//! listeners, so that clients hear it at once and try another node.

use crate::mesh::msg::ControlToShard;

/// Who is full, and what the shards were told for it.
#[derive(Debug)]
pub struct Steering {
    full: Vec<bool>,
    /// `serves[helper][owner]`: helper was told to accept on owner's listeners.
    serves: Vec<Vec<bool>>,
    refusing: bool,
}

/// What a shard is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// [`ControlToShard::ServeListeners`].
    Serve {
        /// Shard that is told.
        shard: u16,
        /// Whose listeners.
        owner: u16,
        /// Begin, or stop.
        on: bool,
    },
    /// [`ControlToShard::RefuseWhenFull`].
    Refuse {
        /// Shard that is told.
        shard: u16,
        /// Begin, or stop.
        on: bool,
    },
}

impl Order {
    /// The shard that is told, and the message.
    pub fn message(self) -> (u16, ControlToShard) {
        match self {
            Order::Serve { shard, owner, on } => (shard, ControlToShard::ServeListeners { owner, on }),
            Order::Refuse { shard, on } => (shard, ControlToShard::RefuseWhenFull { on }),
        }
    }
}

impl Steering {
    /// Every shard has room.
    pub fn new(shards: u16) -> Steering {
        let count = usize::from(shards);
        Steering { full: vec![false; count], serves: vec![vec![false; count]; count], refusing: false }
    }

    /// Take a report of `shard` and say what changes.
    pub fn report(&mut self, shard: u16, full: bool) -> Vec<Order> {
        self.full[usize::from(shard)] = full;
        let refuse = self.full.iter().all(|&full| full);
        let mut orders = Vec::new();
        if refuse != self.refusing {
            self.refusing = refuse;
            orders.extend((0..).take(self.full.len()).map(|shard| Order::Refuse { shard, on: refuse }));
        }
        for (helper, row) in (0..).zip(&mut self.serves) {
            for (owner, serves) in (0..).zip(row) {
                let should = helper != owner && self.full[usize::from(owner)] && !self.full[usize::from(helper)];
                if should != *serves {
                    *serves = should;
                    orders.push(Order::Serve { shard: helper, owner, on: should });
                }
            }
        }
        orders
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn serve(shard: u16, owner: u16, on: bool) -> Order {
        Order::Serve { shard, owner, on }
    }

    #[test]
    fn shards_with_room_accept_for_a_full_one() {
        let mut steering = Steering::new(3);
        assert_eq!(steering.report(1, true), [serve(0, 1, true), serve(2, 1, true)]);
        assert_eq!(steering.report(1, true), [], "a repeated report changes nothing");
        assert_eq!(steering.report(2, true), [serve(0, 2, true), serve(2, 1, false)]);
        assert_eq!(steering.report(1, false), [serve(0, 1, false), serve(1, 2, true)]);
    }

    #[test]
    fn all_refuse_only_when_all_are_full() {
        let mut steering = Steering::new(2);
        steering.report(0, true);
        let refuse = |on| [Order::Refuse { shard: 0, on }, Order::Refuse { shard: 1, on }];
        assert_eq!(steering.report(1, true), [&refuse(true)[..], &[serve(1, 0, false)]].concat());
        assert_eq!(steering.report(0, false), [&refuse(false)[..], &[serve(0, 1, true)]].concat());
        assert_eq!(Steering::new(1).report(0, true), [Order::Refuse { shard: 0, on: true }]);
    }

    proptest! {
        /// Whatever the reports: the orders given so far add up to the rule.
        #[test]
        fn orders_add_up_to_the_rule(reports in prop::collection::vec((0u16..4, any::<bool>()), 0..60)) {
            let mut steering = Steering::new(4);
            let (mut full, mut serving, mut refusing) = ([false; 4], [[false; 4]; 4], [false; 4]);
            for (shard, now_full) in reports {
                full[usize::from(shard)] = now_full;
                for order in steering.report(shard, now_full) {
                    match order {
                        Order::Serve { shard, owner, on } => {
                            let told = &mut serving[usize::from(shard)][usize::from(owner)];
                            prop_assert_ne!(*told, on, "told twice");
                            *told = on;
                        }
                        Order::Refuse { shard, on } => refusing[usize::from(shard)] = on,
                    }
                }
                let all = full == [true; 4];
                prop_assert_eq!(refusing, [all; 4]);
                for (helper, row) in serving.iter().enumerate() {
                    for (owner, &serves) in row.iter().enumerate() {
                        prop_assert_eq!(serves, helper != owner && full[owner] && !full[helper]);
                    }
                }
            }
        }
    }
}
