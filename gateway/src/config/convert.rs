//! Run-time types made of a configuration: the only place that knows both. Owns unit conversions and derived values; a setting
//! that a part needs reaches it through here, once at start and once per reload.

use std::time::Duration;

use crate::limits::{self, AuthMode, Rate, ShardSettings};
use crate::listen::SocketOptions;

use super::schema::Config;
use super::value::{Auth, SlowConsumer, WebSocketProfile};

/// What a shard works by.
pub fn shard_settings(config: &Config) -> ShardSettings {
    let (general, bounds) = (&config.general, &config.limits);
    ShardSettings {
        auth: match general.auth {
            Auth::Open => AuthMode::Open,
            Auth::Jwt => AuthMode::Ask,
        },
        // Certificates are files, and this conversion reads none: who starts or reloads the gateway puts them in.
        tls: None,
        handshake_timeout_ms: bounds.handshake_timeout_ms,
        heartbeat_timeout_ms: u64::from(config.node.heartbeat_seconds) * 1000 * u64::from(config.node.heartbeat_max),
        pending_handshakes_max: bounds.max_pending_handshakes,
        upgrade_bytes_max: usize::try_from(bounds.upgrade_bytes_max).unwrap_or(usize::MAX),
        origins: general.origins.clone(),
        websocket_profile: match general.websocket_profile {
            WebSocketProfile::Goim => limits::WebSocketProfile::Goim,
            WebSocketProfile::Strict => limits::WebSocketProfile::Strict,
        },
        message_bytes_max: bounds.message_bytes_max,
        queue_bytes_max: config.queues.queue_bytes_max,
        shard_queue_bytes_max: config.queues.shard_queue_bytes_max,
        slow_consumer: match config.queues.slow_consumer {
            SlowConsumer::DropNewest => limits::SlowConsumer::DropNewest,
            SlowConsumer::DropOldest => limits::SlowConsumer::DropOldest,
            SlowConsumer::Close => limits::SlowConsumer::Close,
        },
        frames: rate(bounds.frames_per_second, bounds.frames_burst),
        bytes: rate(bounds.bytes_per_second, bounds.bytes_burst),
        room_changes: rate(bounds.room_changes_per_second, bounds.room_changes_burst),
        accepts: rate(bounds.accepts_per_second, bounds.accepts_burst),
        connections_per_address_max: bounds.max_connections_per_address,
    }
}

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate { per_second, burst: if per_second == 0 { 0 } else { burst } }
}

/// Options of the sockets that clients connect to.
pub fn socket_options(config: &Config) -> SocketOptions {
    let sockets = &config.sockets;
    let bytes = |bytes: u32| (bytes > 0).then(|| usize::try_from(bytes).unwrap_or(usize::MAX));
    SocketOptions {
        backlog: i32::try_from(sockets.backlog).unwrap_or(i32::MAX),
        nodelay: sockets.nodelay,
        keepalive: (sockets.keepalive_seconds > 0).then(|| {
            socket2::TcpKeepalive::new()
                .with_time(Duration::from_secs(sockets.keepalive_seconds.into()))
                .with_interval(Duration::from_secs(sockets.keepalive_interval_seconds.into()))
                .with_retries(sockets.keepalive_probes)
        }),
        user_timeout: (sockets.user_timeout_ms > 0).then(|| Duration::from_millis(sockets.user_timeout_ms.into())),
        send_buffer_bytes: bytes(sockets.send_buffer_bytes),
        receive_buffer_bytes: bytes(sockets.receive_buffer_bytes),
        ipv6_only: sockets.ipv6_only,
    }
}

/// How long a drain takes.
pub fn drain_ms(config: &Config) -> u64 {
    u64::from(config.general.drain_seconds) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_configuration_a_shard_works_by_its_own_defaults() {
        assert_eq!(format!("{:?}", shard_settings(&Config::default())), format!("{:?}", ShardSettings::default()));
    }
}
