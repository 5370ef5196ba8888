//! How old pushes were when they were queued for their clients: measured once each, by what they were for.

use halley_gateway::limits::ShardSettings;
use halley_gateway::mesh::msg::ShardTarget;
use halley_gateway::shard::stats::LATENCY_BOUNDS;

use crate::rig::{Rig, TCP};

/// An op that nobody accepts: what is measured does not hang on receivers.
const OP: i32 = 7;

#[test]
fn each_push_is_measured_once_by_its_kind() {
    let mut rig = Rig::new(16, ShardSettings::default());
    for _ in 0..3 {
        rig.log_in(TCP);
    }
    rig.ms = 100_000;
    let conns: Vec<_> = rig.feed.logins.values().copied().collect();
    rig.feed.push_written(ShardTarget::Conns(conns.clone().into()), OP, 99_000);
    rig.feed.push_written(ShardTarget::Conn(conns[0]), OP, 99_990);
    rig.feed.push_written(ShardTarget::All { per_second: 0 }, OP, 1);
    // Its writer's clock is ahead.
    rig.feed.push_written(ShardTarget::All { per_second: 5 }, OP, 200_000);
    rig.feed.push_written(ShardTarget::All { per_second: 0 }, OP, 0);
    rig.turns(2);
    let counts = rig.counts();
    let place = |ms: u64| LATENCY_BOUNDS.upper.iter().position(|upper| *upper == ms).expect("a bound");
    assert_eq!((counts.latency_conns.count(), counts.latency_conns.sum), (2, 1_010));
    assert_eq!((counts.latency_conns.counts[place(1_000)], counts.latency_conns.counts[place(10)]), (1, 1));
    assert_eq!((counts.latency_all.count(), counts.latency_all.above, counts.latency_all.counts[0]), (2, 1, 1));
    assert_eq!((counts.latency_rooms.count(), counts.pushes_timeless), (0, 1));
}
