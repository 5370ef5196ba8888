//! What the configuration means for the dispatcher. Owns the mapping of names, and nothing that may change while it
//! runs.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use halley_dispatcher::assemble::{Settings, SharedLog};
use halley_dispatcher::bus::embedded::BusLimits;
use halley_dispatcher::bus::kafka::settings::Settings as ClientSettings;
use halley_dispatcher::config::Records;
use halley_dispatcher::consume::share::Gateways;
use halley_dispatcher::ingress::admit::Limits;
use halley_dispatcher::ingress::http::DemoInfo;
use halley_protocol::login::NAME_BYTES_MAX;
use halley_protocol::push::interest::Interest;
use halley_service::access::rules::AccessRules;

use crate::config::Config;
use crate::config::words::Auth;

use super::node_info::{Bound, server_id};

/// What a dispatcher is made by. Its ids begin at the clock's microseconds, so that none repeats after a restart.
pub(super) fn dispatcher(config: &Config, access: AccessRules) -> Settings {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Settings {
        limits: Limits {
            body_bytes_max: to_usize(config.ingress.body_bytes_max.into()),
            targets_max: to_usize(config.ingress.recipients_max.into()),
            name_bytes_max: NAME_BYTES_MAX,
        },
        access,
        bus: BusLimits {
            records_max: to_usize(config.ingress.bus_records_max.into()),
            bytes_max: to_usize(config.ingress.bus_bytes_max),
        },
        first_offset: i64::try_from(since_epoch.as_micros()).unwrap_or_default(),
        server_id: written_server_id(config),
    }
}

/// What stands as the server in records to keys: nobody reads it but goim's jobs, so it is left out where records are
/// for gateways alone.
fn written_server_id(config: &Config) -> String {
    match config.kafka.records {
        Records::Halley if config.kafka.is_used() => String::new(),
        Records::Halley | Records::Goim => server_id(config),
    }
}

/// What a shared log is read and written by.
pub(super) fn shared_log(
    config: &Config,
    client: ClientSettings,
    interest: Arc<Interest>,
    gateways: Arc<Gateways>,
) -> SharedLog {
    let (kafka, ingress) = (&config.kafka, &config.ingress);
    SharedLog {
        client,
        producer: kafka.producer(to_usize(ingress.bus_records_max.into()), to_usize(ingress.bus_bytes_max)),
        codec: kafka.codec(),
        reader: kafka.reader(),
        gateways,
        interest,
    }
}

/// What the demo page is told.
pub(super) fn demo(config: &Config, bound: &Bound) -> DemoInfo {
    DemoInfo {
        websocket: bound.ws,
        websocket_tls: bound.wss,
        jwt: config.general.auth == Auth::Jwt,
        ..DemoInfo::default()
    }
}

/// A configured bound as a length; one that no memory holds becomes the largest.
pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use halley_dispatcher::config::Broker;

    use super::*;

    /// G1: the server is left out of records that are for gateways alone, and only where there is a shared log.
    #[test]
    fn g1_records_for_gateways_alone_name_no_server() {
        let mut config = Config::default();
        config.node.server_id = "edge-1".to_owned();
        assert_eq!(written_server_id(&config), "edge-1");
        config.kafka.records = Records::Halley;
        assert_eq!(written_server_id(&config), "edge-1", "without brokers nothing of [kafka] counts");
        config.kafka.brokers = vec![Broker("kafka:9092".to_owned())];
        assert_eq!(written_server_id(&config), "");
        config.kafka.records = Records::Goim;
        assert_eq!(written_server_id(&config), "edge-1");
    }
}
