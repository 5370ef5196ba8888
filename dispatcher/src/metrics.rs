//! The dispatcher's counters under their metric names. Owns the names and their help; counts nothing itself.

use std::sync::Arc;

use halley_service::metrics::{Collect, Exposition, Kind as MetricKind, Plain};

use crate::assemble::SharedCounts;
use crate::bus::kafka::cluster::{Counting, Counts as ClusterCounts};
use crate::bus::kafka::producer::{KafkaProducer, PRODUCE_US};
use crate::consume::reader::{Counts, FETCH_BOUNDS};
use crate::consume::stats::{Consumed, DECODE_BOUNDS, LogStats};
use crate::ingress::Ingress;
use crate::stats::{Kind, Outcome, Stats};

/// What is counted of this ingress and its bus.
pub struct IngressMetrics(pub Arc<Ingress>);

impl Collect for IngressMetrics {
    fn collect(&self, out: &mut Exposition) {
        let stats: &Stats = self.0.stats();
        let depth = self.0.bus().depth();
        let name = "halley_ingress_pushes_total";
        let mut family = out.family(name, MetricKind::Counter, "Push requests by kind of target and how they ended.");
        for kind in Kind::ALL {
            for outcome in Outcome::ALL {
                family.sample(&[("kind", &kind.label()), ("outcome", &outcome.label())], stats.pushes(kind, outcome));
            }
        }
        let plain: [(&'static str, MetricKind, &str, u64); 6] = [
            (
                "halley_ingress_accepted_bytes_total",
                MetricKind::Counter,
                "Message bytes of accepted pushes.",
                stats.accepted_bytes(),
            ),
            (
                "halley_ingress_matched_total",
                MetricKind::Counter,
                "Connections matched by the pushes that asked for their number.",
                stats.matched(),
            ),
            ("halley_bus_records", MetricKind::Gauge, "Pushes waiting on the bus.", to_u64(depth.records)),
            ("halley_bus_bytes", MetricKind::Gauge, "Bytes waiting on the bus.", to_u64(depth.bytes)),
            (
                "halley_bus_delivered_total",
                MetricKind::Counter,
                "Pushes handed from the bus to the gateway.",
                stats.delivered_records(),
            ),
            ("halley_bus_batches_total", MetricKind::Counter, "Hand-overs they took.", stats.delivered_batches()),
        ];
        for (name, kind, help, value) in plain {
            out.family(name, kind, help).sample(&[], value);
        }
    }
}

/// What is counted of a producer to Kafka. What waits in it is the bus's.
pub struct ProducerMetrics(pub KafkaProducer);

impl Collect for ProducerMetrics {
    fn collect(&self, out: &mut Exposition) {
        let counts = self.0.counts();
        let plain: [(&'static str, &str, u64); 5] = [
            ("halley_produce_requests_total", "Requests with records to brokers.", counts.requests.get()),
            ("halley_produce_batches_total", "Batches that are in the log.", counts.batches.get()),
            ("halley_produce_records_total", "Records that are in the log.", counts.records.get()),
            ("halley_produce_retries_total", "Batches that were sent again.", counts.retries.get()),
            ("halley_produce_ids_total", "Producer ids that were asked for.", counts.identities.get()),
        ];
        for (name, help, value) in plain {
            out.family(name, MetricKind::Counter, help).sample(&[], value);
        }
        let help = "From a push's arrival at the producer to the brokers' confirmation.";
        out.family("halley_produce_seconds", MetricKind::Histogram, help).histogram(
            &[],
            &PRODUCE_US,
            &counts.times.read(),
        );
    }
}

/// What is counted of the brokers, by what they are asked for: a name for that, and who counts.
pub struct ClusterMetrics(pub Vec<(&'static str, Counting)>);

/// What became of connections and requests to brokers.
const CLUSTER: [Plain<ClusterCounts>; 8] = [
    (
        "halley_kafka_connections_total",
        MetricKind::Counter,
        "Connections to brokers on which we were let in.",
        |counts| counts.connected,
    ),
    (
        "halley_kafka_connections_failed_total",
        MetricKind::Counter,
        "Attempts to connect to a broker that made no such connection.",
        |counts| counts.unreachable,
    ),
    ("halley_kafka_logins_denied_total", MetricKind::Counter, "Log-ins that a broker denied.", |counts| counts.denied),
    (
        "halley_kafka_connections_broken_total",
        MetricKind::Counter,
        "Connections to brokers that ended before we ended them.",
        |counts| counts.broken,
    ),
    ("halley_kafka_requests_total", MetricKind::Counter, "Requests to brokers.", |counts| counts.requests),
    (
        "halley_kafka_requests_refused_total",
        MetricKind::Counter,
        "Requests that were not sent because too many waited for the broker.",
        |counts| counts.refused,
    ),
    ("halley_kafka_timeouts_total", MetricKind::Counter, "Requests that no broker answered in time.", |counts| {
        counts.timed_out
    }),
    ("halley_kafka_throttled_total", MetricKind::Counter, "Answers with which a broker asked for a pause.", |counts| {
        counts.throttled
    }),
];

impl Collect for ClusterMetrics {
    fn collect(&self, out: &mut Exposition) {
        let all: Vec<_> = self.0.iter().map(|(of, counting)| (of, counting.counts())).collect();
        for (name, kind, help, value) in CLUSTER {
            let mut family = out.family(name, kind, help);
            for (of, counts) in &all {
                family.sample(&[("for", of)], value(counts));
            }
        }
    }
}

/// What a gateway shows of a log that others have too; nothing without one.
pub struct SharedMetrics(pub Option<SharedCounts>);

impl Collect for SharedMetrics {
    fn collect(&self, out: &mut Exposition) {
        let Some(SharedCounts { producer, reading }) = &self.0 else { return };
        ProducerMetrics(producer.clone()).collect(out);
        let of = vec![("reading", reading.clone()), ("writing", producer.cluster().clone())];
        ClusterMetrics(of).collect(out);
    }
}

/// What is counted while the log is read.
pub struct LogMetrics(pub Arc<LogStats>);

/// What the reader counts.
const READER: [Plain<Counts>; 13] = [
    ("halley_log_reads_total", MetricKind::Counter, "Reads that the log was asked for.", |counts| counts.reads),
    (
        "halley_log_topology_asks_total",
        MetricKind::Counter,
        "Times that the log's partitions and leaders were asked for.",
        |counts| counts.topology_asks,
    ),
    (
        "halley_log_edge_asks_total",
        MetricKind::Counter,
        "Times that the ends of partitions were asked for.",
        |counts| counts.edge_asks,
    ),
    ("halley_log_failed_total", MetricKind::Counter, "Questions to the log that failed as a whole.", |counts| {
        counts.failed
    }),
    ("halley_log_refused_total", MetricKind::Counter, "Partitions that a leader did not answer for.", |counts| {
        counts.refused
    }),
    ("halley_log_late_total", MetricKind::Counter, "Answers for a partition that came too late to count.", |counts| {
        counts.late
    }),
    ("halley_log_read_bytes_total", MetricKind::Counter, "Bytes of batches read.", |counts| counts.bytes),
    ("halley_log_read_batches_total", MetricKind::Counter, "Batches read.", |counts| counts.batches),
    (
        "halley_log_gaps_total",
        MetricKind::Counter,
        "Times that records of the log were left out; who was connected is told to come again.",
        |counts| counts.gaps,
    ),
    (
        "halley_log_gap_records_total",
        MetricKind::Counter,
        "Records left out by gaps, as far as their number is known.",
        |counts| counts.gap_records,
    ),
    (
        "halley_log_truncated_total",
        MetricKind::Counter,
        "Times that a partition of the log was cut off below what had been read.",
        |counts| counts.truncated,
    ),
    ("halley_log_missing_offsets_total", MetricKind::Counter, "Offsets of the log that held no record.", |counts| {
        counts.missing
    }),
    (
        "halley_log_unreadable_total",
        MetricKind::Counter,
        "Batches of the log that could not be read and were skipped.",
        |counts| counts.unreadable,
    ),
];

/// What became of records.
const CONSUMED: [Plain<Consumed>; 5] = [
    ("halley_log_records_total", MetricKind::Counter, "Records of the log that were looked at.", |counts| {
        counts.records
    }),
    ("halley_log_filtered_total", MetricKind::Counter, "Records of the log that concerned nobody here.", |counts| {
        counts.filtered
    }),
    ("halley_log_skipped_total", MetricKind::Counter, "Records of the log that were no push.", |counts| counts.skipped),
    ("halley_log_timeless_total", MetricKind::Counter, "Records of the log without a time.", |counts| counts.timeless),
    ("halley_log_held_bytes", MetricKind::Gauge, "Bytes held of what is read and not delivered yet.", |counts| {
        counts.held_bytes
    }),
];

impl Collect for LogMetrics {
    fn collect(&self, out: &mut Exposition) {
        let LogMetrics(stats) = self;
        let (reader, consumed, partitions) = (stats.reader(), stats.consumed(), stats.partitions());
        let ready = u64::from(stats.status().not_ready.is_none());
        out.family("halley_log_ready", MetricKind::Gauge, "1 while the log is read without being behind.")
            .sample(&[], ready);
        let mut lag = out.family(
            "halley_log_lag_records",
            MetricKind::Gauge,
            "Records of a partition that are not on their way to a client yet.",
        );
        for partition in &partitions {
            lag.sample(&[("partition", &partition.partition)], partition.lag);
        }
        let mut age = out.family(
            "halley_log_age_seconds",
            MetricKind::Gauge,
            "How long the oldest record of a partition that is not delivered waits at most.",
        );
        for partition in &partitions {
            age.sample(&[("partition", &partition.partition)], partition.age.as_secs_f64());
        }
        out.plain(&READER, &reader);
        out.plain(&CONSUMED, &consumed);
        let help = "How long reads took that brought batches, from the question to the answer.";
        out.family("halley_log_fetch_seconds", MetricKind::Histogram, help).histogram(
            &[],
            &FETCH_BOUNDS,
            &reader.fetch,
        );
        let help = "How long the records of one handover took to be read, filtered and framed.";
        out.family("halley_log_decode_seconds", MetricKind::Histogram, help).histogram(
            &[],
            &DECODE_BOUNDS,
            &consumed.decode,
        );
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use halley_service::metrics::Metrics;

    use super::*;
    use crate::bus::batch::Codec;
    use crate::bus::kafka::cluster::Cluster;
    use crate::bus::kafka::{producer, settings};

    /// What a gateway shows beside the rest where it has Kafka, in order, without the values.
    const GOLDEN: &str = include_str!("metrics.golden.txt");

    /// Names, helps, types and labels of what is counted of Kafka are the committed ones: dashboards rely on them.
    #[test]
    fn names_of_kafka_are_the_committed_ones() {
        let cluster = Cluster::new(settings::Settings::new(Vec::new()));
        let reading = cluster.counting();
        let (producer, _driver) = producer::producer(Default::default(), Codec::None, cluster);
        let text = Metrics::default().with(SharedMetrics(Some(SharedCounts { producer, reading }))).text();
        let named = |line: &str| match line.rsplit_once(' ') {
            Some((sample, _)) if !line.starts_with('#') => format!("{sample}\n"),
            _ => format!("{line}\n"),
        };
        assert_eq!(text.lines().map(named).collect::<String>(), GOLDEN);
    }
}
