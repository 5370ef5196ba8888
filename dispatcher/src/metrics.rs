//! The dispatcher's counters under their metric names. Owns the names and their help; counts nothing itself.

use std::sync::Arc;

use halley_service::metrics::{Collect, Exposition, Kind as MetricKind};

use crate::bus::kafka::producer::{KafkaProducer, PRODUCE_US};
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
        let plain: [(&'static str, MetricKind, &str, u64); 7] = [
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
            ("halley_bus_skipped_total", MetricKind::Counter, "Records that were no push.", stats.skipped_records()),
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

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
