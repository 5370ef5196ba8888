//! The metrics of the control loop. Owns their names; the numbers are what the loop published last.

use std::sync::Arc;

use halley_service::metrics::{Collect, Exposition, Kind, Plain};

use crate::control::stats::{ControlCounts, ControlStats};

const PLAIN: &[Plain<ControlCounts>] = &[
    ("halley_control_logins_waiting", Kind::Gauge, "Signed logins waiting for a decision.", |c| c.logins_waiting),
    ("halley_control_outbox_messages", Kind::Gauge, "Messages waiting for room in a shard's ring.", |c| {
        c.outbox_messages
    }),
    ("halley_control_questions", Kind::Gauge, "Questions to shards without answer.", |c| c.questions),
    ("halley_control_traced", Kind::Gauge, "Traced connections, counted once for each listener.", |c| c.traced),
    ("halley_control_logins_decided_total", Kind::Counter, "Signed logins decided.", |c| c.logins_decided),
    ("halley_control_logins_unavailable_total", Kind::Counter, "Signed logins refused undecided.", |c| {
        c.logins_unavailable
    }),
    ("halley_control_commands_total", Kind::Counter, "Commands taken by the control loop.", |c| c.commands),
    ("halley_control_commands_refused_total", Kind::Counter, "Commands refused because a shard was behind.", |c| {
        c.commands_refused
    }),
    ("halley_control_trace_events_total", Kind::Counter, "Events of traced connections.", |c| c.trace_events),
    ("halley_control_trace_events_lost_total", Kind::Counter, "Events lost to slow listeners.", |c| {
        c.trace_events_lost
    }),
];

/// What the control loop counts.
#[derive(Debug)]
pub struct Control(pub Arc<ControlStats>);

impl Collect for Control {
    fn collect(&self, out: &mut Exposition) {
        let counts = self.0.read();
        out.plain(PLAIN, &counts);
    }
}
