//! Run-time types made of a configuration: the only place that knows both. Owns unit conversions and derived values; a
//! setting that a part needs reaches it through here, once at start and once per reload.

use std::path::Path;
use std::time::Duration;

use halley_service::listen::SocketOptions;

use halley_protocol::login::jwt::{ClaimNames, JwtRules, JwtSettings};
use halley_protocol::login::keys::{KEY_FILE_BYTES_MAX, KeyError, KeyFile, KeySet, KeySource, Text};
use halley_service::files;

use crate::feed::directory::DirectoryLimits;
use crate::limits::{self, AuthMode, Rate, ShardSettings};
use halley_service::tls::certificates::{CertificateFiles, TlsServer};

use super::schema::Config;
use super::words::{Auth, WebSocketProfile};

/// What a shard works by; `tls` serves its encrypted listeners.
pub fn shard_settings(config: &Config, tls: Option<&TlsServer>) -> ShardSettings {
    let (general, bounds) = (&config.general, &config.limits);
    ShardSettings {
        auth: match general.auth {
            Auth::Open => AuthMode::Open,
            Auth::Jwt => AuthMode::Ask,
        },
        handshake_timeout_ms: bounds.handshake_timeout_ms,
        heartbeat_timeout_ms: u64::from(config.node.heartbeat_seconds) * 1000 * u64::from(config.node.heartbeat_max),
        pending_handshakes_max: bounds.max_pending_handshakes,
        upgrade_bytes_max: usize::try_from(bounds.upgrade_bytes_max).unwrap_or(usize::MAX),
        origins: general.origins.iter().map(|origin| origin.0.clone()).collect(),
        websocket_profile: match general.websocket_profile {
            WebSocketProfile::Goim => limits::WebSocketProfile::Goim,
            WebSocketProfile::Strict => limits::WebSocketProfile::Strict,
        },
        message_bytes_max: bounds.message_bytes_max,
        queue_bytes_max: config.queues.queue_bytes_max,
        shard_queue_bytes_max: config.queues.shard_queue_bytes_max,
        slow_consumer: config.queues.slow_consumer,
        frames: rate(bounds.frames_per_second, bounds.frames_burst),
        bytes: rate(bounds.bytes_per_second, bounds.bytes_burst),
        room_changes: rate(bounds.room_changes_per_second, bounds.room_changes_burst),
        accepts: rate(bounds.accepts_per_second, bounds.accepts_burst),
        connections_per_address_max: bounds.max_connections_per_address,
        tls: tls.map(TlsServer::config),
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

/// How many connections a key and a user may have.
pub fn directory_limits(config: &Config) -> DirectoryLimits {
    DirectoryLimits {
        per_key_max: config.limits.max_connections_per_key,
        per_key_policy: config.limits.when_key_full,
        per_mid_max: config.limits.max_connections_per_mid,
        per_mid_policy: config.limits.when_mid_full,
    }
}

/// What signed tokens must say, and the keys they are checked with, read from their files now; or what is wrong with
/// any of those.
pub fn jwt_rules(config: &Config) -> Result<JwtRules, Vec<String>> {
    let jwt = &config.jwt;
    let mut sources: Vec<KeySource> =
        jwt.secret.get().map(|secret| KeySource::Secret(Text(secret.into()))).into_iter().collect();
    if !jwt.secret_file.as_os_str().is_empty() {
        sources.push(KeySource::SecretFile(key_file(&jwt.secret_file)));
    }
    sources.extend(jwt.key_files.iter().map(|path| KeySource::KeyFile(key_file(path))));
    let sentence = |error: KeyError| format!("[jwt]: {error}");
    let keys = KeySet::load(&sources).map_err(|errors| errors.into_iter().map(sentence).collect::<Vec<_>>())?;
    let settings = JwtSettings {
        claims: ClaimNames {
            mid: jwt.claim_mid.clone(),
            key: jwt.claim_key.clone(),
            room: jwt.claim_room.clone(),
            accepts: jwt.claim_accepts.clone(),
            rooms: jwt.claim_rooms.clone(),
            ops: jwt.claim_ops.clone(),
        },
        issuers: jwt.issuers.clone(),
        audiences: jwt.audiences.clone(),
        leeway_s: jwt.leeway_seconds,
        required: jwt.required.clone(),
    };
    Ok(JwtRules { settings, keys })
}

fn key_file(path: &Path) -> KeyFile {
    let text = files::read(path, KEY_FILE_BYTES_MAX).map(Text).map_err(|error| error.to_string());
    KeyFile { path: path.to_owned(), text }
}

/// Certificates with their keys, in the order of the settings.
pub fn certificates(config: &Config) -> Vec<CertificateFiles> {
    let pairs = config.tls.certificate_files.iter().zip(&config.tls.key_files);
    pairs.map(|(certificate, key)| CertificateFiles { certificate: certificate.clone(), key: key.clone() }).collect()
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
        assert_eq!(
            format!("{:?}", shard_settings(&Config::default(), None)),
            format!("{:?}", ShardSettings::default())
        );
    }
}
