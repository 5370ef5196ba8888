//! The metrics of the shards. Owns their names and labels; the numbers are what each shard published last.

use std::sync::Arc;

use halley_protocol::login::AuthRefusal;
use halley_service::metrics::{Collect, Exposition, Kind, Plain, Seconds};

use crate::close::CloseReason;
use crate::shard::stats::{Counts, LATENCY_BOUNDS, ShardStats, TRANSPORTS};

/// The counters of every shard, by index.
#[derive(Debug)]
pub struct Shards(pub Vec<Arc<ShardStats>>);

/// Counters that need no label beside `shard`.
const PLAIN: &[Plain<Counts>] = &[
    ("halley_capacity_connections", Kind::Gauge, "Connections that the shard may hold.", |c| c.capacity),
    ("halley_connections", Kind::Gauge, "Connections, whatever their state.", |c| c.connections),
    ("halley_connections_authenticated", Kind::Gauge, "Connections that logged in.", |c| c.authenticated),
    ("halley_handshakes_pending", Kind::Gauge, "Connections not logged in yet.", |c| c.pending_handshakes),
    (
        "halley_rooms",
        Kind::Gauge,
        "Rooms in the shard: those with members, and those that a request under way holds.",
        |c| c.rooms,
    ),
    ("halley_queued_bytes", Kind::Gauge, "Bytes waiting in all send queues.", |c| c.queued_bytes),
    ("halley_tls_buffered_bytes", Kind::Gauge, "Bytes of TLS records that are not whole yet, or not sent yet.", |c| {
        c.tls_buffered_bytes
    }),
    ("halley_reports_waiting", Kind::Gauge, "Messages of shards that control's ring had no room for.", |c| {
        c.reports_waiting
    }),
    ("halley_partial_bytes", Kind::Gauge, "Bytes of partly received frames and messages.", |c| c.partial_bytes),
    ("halley_slots_used", Kind::Gauge, "Direct descriptors in use.", |c| c.slots_used),
    ("halley_inbox_depth", Kind::Gauge, "Messages taken from feed in the last turn.", |c| c.inbox_depth),
    ("halley_broadcasts_paced", Kind::Gauge, "Paced broadcasts under way.", |c| c.broadcasts_paced),
    (
        "halley_broadcasts_hurried_total",
        Kind::Counter,
        "Paced broadcasts that did not keep their pace: too many others came, or a drain.",
        |c| c.broadcasts_hurried,
    ),
    ("halley_sheds_waiting", Kind::Gauge, "Connections that are to be shed and wait for their turn.", |c| {
        c.sheds_waiting
    }),
    ("halley_pushes_timeless_total", Kind::Counter, "Pushes that did not say when they were written.", |c| {
        c.pushes_timeless
    }),
    ("halley_accepted_total", Kind::Counter, "Accepted connections.", |c| c.accepted),
    ("halley_accept_errors_total", Kind::Counter, "Accepts that ended with an error.", |c| c.accept_errors),
    ("halley_logins_total", Kind::Counter, "Logins.", |c| c.logins),
    ("halley_frames_received_total", Kind::Counter, "Frames received from clients.", |c| c.frames_in),
    ("halley_received_bytes_total", Kind::Counter, "Bytes received from clients.", |c| c.bytes_in),
    ("halley_deliveries_total", Kind::Counter, "Pushes put in a connection's queue.", |c| c.deliveries),
    ("halley_replies_total", Kind::Counter, "Replies put in a connection's queue.", |c| c.replies),
    ("halley_sends_total", Kind::Counter, "Sends started.", |c| c.sends),
    ("halley_sent_bytes_total", Kind::Counter, "Bytes handed to the kernel.", |c| c.bytes_out),
    ("halley_sends_short_total", Kind::Counter, "Sends taken only in part, or not at all.", |c| c.sends_short),
    ("halley_upstream_total", Kind::Counter, "Upstream messages answered.", |c| c.upstream),
    ("halley_heartbeats_total", Kind::Counter, "Heartbeats answered.", |c| c.heartbeats),
    ("halley_traces_lost_total", Kind::Counter, "Trace events lost because control was behind.", |c| c.traces_lost),
    ("halley_turns_total", Kind::Counter, "Turns of the shard's loop.", |c| c.turns),
    ("halley_ring_enters_total", Kind::Counter, "Calls of io_uring_enter.", |c| c.ring_enters),
    ("halley_ring_submissions_total", Kind::Counter, "Submission queue entries.", |c| c.ring_submissions),
    ("halley_ring_overflows_total", Kind::Counter, "Completions through the overflow list.", |c| c.ring_overflows),
    ("halley_ring_no_buffers_total", Kind::Counter, "Receives that found no buffer.", |c| c.ring_no_buffers),
    (
        "halley_news_deferred_total",
        Kind::Counter,
        "Turns that kept news for feed, or reports for control, because a ring was full.",
        |c| c.news_deferred,
    ),
];

/// One counter of a family that is split by a label: the label's text and the count.
type Part = (&'static str, fn(&Counts) -> u64);

/// Drops by cause.
const DROPS: &[Part] = &[
    ("queue_full", |c| c.drops_queue_full),
    ("oldest", |c| c.drops_oldest),
    ("shard_full", |c| c.drops_shard_full),
    ("closed", |c| c.drops_closed),
];

/// Refused ops 12 and 14.
const DENIED: &[Part] = &[("room", |c| c.denied_rooms), ("op", |c| c.denied_ops)];

impl Collect for Shards {
    fn collect(&self, out: &mut Exposition) {
        let shards: Vec<Counts> = self.0.iter().map(|stats| stats.read()).collect();
        for &(name, kind, help, value) in PLAIN {
            let mut family = out.family(name, kind, help);
            for (shard, counts) in shards.iter().enumerate() {
                family.sample(&[("shard", &shard)], value(counts));
            }
        }
        let labelled = [
            ("halley_drops_total", "Pushes dropped.", "cause", DROPS),
            ("halley_denied_total", "Rooms and ops refused: beyond the token or the bounds.", "what", DENIED),
        ];
        for (name, help, label, values) in labelled {
            let mut family = out.family(name, Kind::Counter, help);
            for (shard, counts) in shards.iter().enumerate() {
                for (text, value) in values {
                    family.sample(&[("shard", &shard), (label, text)], value(counts));
                }
            }
        }
        let help = "Connections by what they speak, whatever their state.";
        let mut transports = out.family("halley_connections_by_transport", Kind::Gauge, help);
        for (shard, counts) in shards.iter().enumerate() {
            for (transport, count) in TRANSPORTS.iter().zip(counts.transports) {
                transports.sample(&[("shard", &shard), ("transport", transport)], count);
            }
        }
        let mut closes = out.family("halley_closes_total", Kind::Counter, "Ended connections.");
        for (shard, counts) in shards.iter().enumerate() {
            for (reason, count) in CloseReason::ALL.iter().zip(counts.closes) {
                closes.sample(&[("shard", &shard), ("reason", &reason.label())], count);
            }
        }
        let mut refusals = out.family("halley_auth_refusals_total", Kind::Counter, "Refused logins.");
        for (shard, counts) in shards.iter().enumerate() {
            for (refusal, count) in AuthRefusal::ALL.iter().zip(counts.refusals) {
                refusals.sample(&[("shard", &shard), ("cause", &refusal.label())], count);
            }
        }
        let help = "Time from a push's record until the turn that took it has flushed within its budget; later sends \
                    are not waited for. Paced ones: until they begin.";
        let mut latencies = out.family("halley_push_latency_seconds", Kind::Histogram, help);
        for (shard, counts) in shards.iter().enumerate() {
            let targets =
                [("name", &counts.latency_conns), ("room", &counts.latency_rooms), ("all", &counts.latency_all)];
            for (target, buckets) in targets {
                latencies.histogram(&[("shard", &shard), ("target", &target)], &LATENCY_BOUNDS, buckets);
            }
        }
        let mut busy = out.family("halley_turn_seconds_total", Kind::Counter, "Time spent in turns, without sleep.");
        for (shard, counts) in shards.iter().enumerate() {
            busy.sample(&[("shard", &shard)], Seconds(counts.turn_ns));
        }
        let mut longest = out.family("halley_turn_seconds_max", Kind::Gauge, "Longest turn so far.");
        for (shard, counts) in shards.iter().enumerate() {
            longest.sample(&[("shard", &shard)], Seconds(counts.turn_ns_max));
        }
    }
}
