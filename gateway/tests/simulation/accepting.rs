//! Accepting when it must wait: listeners that change hands, and the accept rate.

use halley_gateway::limits::{Rate, ShardSettings};
use halley_gateway::mesh::msg::ControlToShard;

use crate::rig::{NEIGHBOUR, NEIGHBOUR_SHARD, Rig, TCP, WEBSOCKET, WIDE};

/// How long after a listener changed hands a neighbour may still be cancelling its accept.
const CANCELLING_MS: [u64; 5] = [0, 1, 5, 100, 900];

/// Sleeps as long as the shard likes until it has accepted one more, for at most ten seconds.
fn is_accepted(rig: &mut Rig) -> bool {
    let (before, until_ms) = (rig.counts().accepted, rig.ms + 10_000);
    while rig.counts().accepted == before && rig.ms < until_ms {
        rig.turn_and_sleep();
    }
    rig.counts().accepted > before
}

/// A shard that was started closed accepts nobody, and tries nothing, until it is told that its listeners listen.
#[test]
fn nobody_is_accepted_before_the_shard_is_open() {
    let mut rig = Rig::started(16, ShardSettings::default(), false);
    rig.shard.io().connect(TCP, WIDE);
    for _ in 0..20 {
        rig.turn_and_sleep();
    }
    assert_eq!((rig.counts().accepted, rig.counts().accept_errors), (0, 0));
    rig.say(ControlToShard::Open);
    assert!(is_accepted(&mut rig));
}

/// A shard that begins to serve a full neighbour's listener finds the client whose wake-up went to the accept that the
/// neighbour was cancelling, although nobody else comes.
#[test]
fn a_client_behind_a_cancelled_accept_is_found_when_a_neighbour_takes_over() {
    for cancelling_ms in CANCELLING_MS {
        let mut rig = Rig::new(16, ShardSettings::default());
        rig.turns(3);
        rig.say(ControlToShard::ServeListeners { owner: NEIGHBOUR_SHARD, on: true });
        rig.turns(2);
        rig.ms += cancelling_ms;
        rig.shard.io().connect_unheard(NEIGHBOUR, WIDE);
        assert!(is_accepted(&mut rig), "{cancelling_ms} ms after the change");
    }
}

/// The same for its own listeners, once it has room again and its neighbours stop serving them.
#[test]
fn a_client_behind_a_cancelled_accept_is_found_when_a_shard_has_room_again() {
    for cancelling_ms in CANCELLING_MS {
        let mut rig = Rig::new(2, ShardSettings::default());
        let first = rig.connect(TCP);
        rig.connect(TCP);
        while rig.counts().slots_used < 2 {
            rig.turn_and_sleep();
        }
        // Full, and long so: what it did when it became full is over.
        while rig.ms < 5_000 {
            rig.turn_and_sleep();
        }
        let leaver = rig.id(first);
        rig.shard.io().reset(leaver);
        while rig.counts().slots_used == 2 {
            rig.turn();
        }
        rig.turns(2);
        rig.ms += cancelling_ms;
        rig.shard.io().connect_unheard(TCP, WIDE);
        assert!(is_accepted(&mut rig), "{cancelling_ms} ms after the change");
    }
}

/// More clients than the burst come at once, on one listener or on two: never have more been accepted than the burst,
/// the pace since then and one per further listener; and none waits longer than the pace asks.
#[test]
fn a_burst_smaller_than_the_rush_paces_the_rest() {
    let (per_second, burst, clients) = (10, 3, 20);
    for listeners in [&[TCP][..], &[TCP, WEBSOCKET]] {
        let accepts = Rate { per_second, burst };
        let mut rig = Rig::new(64, ShardSettings { accepts, handshake_timeout_ms: 60_000, ..ShardSettings::default() });
        rig.turns(3);
        for number in 0..clients {
            rig.shard.io().connect(listeners[number % listeners.len()], WIDE);
        }
        let beyond = listeners.len() as u64 - 1;
        while rig.counts().accepted < clients as u64 {
            rig.turn();
            let due = u64::from(burst) + rig.ms * u64::from(per_second) / 1000;
            let accepted = rig.counts().accepted;
            assert!(accepted <= due + beyond, "{accepted} accepted after {} ms, {due} are due", rig.ms);
            assert!(rig.ms <= 1_800, "17 clients wait 100 ms each: {accepted} are in after {} ms", rig.ms);
            rig.ms += 1;
        }
    }
}
