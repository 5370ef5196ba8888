//! Settings judged together: what contradicts itself, and what is dangerous. Owns the rule that a danger must be asked for by
//! name, and the sentences that say so; single values were judged when they were read.

use std::net::{IpAddr, SocketAddr};

use super::load::ConfigError;
use super::schema::Config;
use super::value::{AdminAddress, Auth, HttpRoutes, Insecure};

/// What a push to one key, user or room takes on the bus beside its message, at most, in bytes: twice the name, the server and
/// the place in the log.
const ENVELOPE_BYTES: u64 = 4096;

/// Refuses what cannot work, and what is dangerous without having been asked for.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    for problem in [clients, twice, tls, jwt, queues, bodies, bus, log_level, admin] {
        problem(config).map_or(Ok(()), |sentence| Err(ConfigError(sentence)))?;
    }
    for danger in dangers(config) {
        if !config.general.insecure.contains(&danger.name) {
            return Err(ConfigError(danger.refusal()));
        }
    }
    Ok(())
}

/// A danger that this configuration is in, whether accepted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Danger {
    /// Its name in `insecure`.
    pub name: Insecure,
    /// What it means, as a clause: "0.0.0.0:3101 lets anybody …".
    pub meaning: String,
    /// How to avoid it, as a clause.
    pub cure: &'static str,
}

impl Danger {
    fn refusal(&self) -> String {
        format!("{}: {}, or accept it with insecure = [\"{}\"]", self.meaning, self.cure, self.name.word())
    }
}

/// Every danger of this configuration.
pub fn dangers(config: &Config) -> Vec<Danger> {
    let general = &config.general;
    let clients = [
        ("tcp_listen", &general.tcp_listen),
        ("ws_listen", &general.ws_listen),
        ("tls_listen", &general.tls_listen),
        ("wss_listen", &general.wss_listen),
    ];
    let mut dangers = Vec::new();
    let reachable = clients.iter().find_map(|(name, list)| Some((name, first_reachable(list)?)));
    if let (Auth::Open, Some((name, address))) = (general.auth, reachable) {
        dangers.push(Danger {
            name: Insecure::OpenAuth,
            meaning: format!("{name} {address} with auth = \"open\" lets other machines log in as anybody"),
            cure: "use auth = \"jwt\", or listen on 127.0.0.1",
        });
    }
    let pushing = general.http_routes.contains(&HttpRoutes::Push);
    if let (false, true, Some(address)) = (has_tokens(config), pushing, first_reachable(&general.http_listen)) {
        dangers.push(Danger {
            name: Insecure::OpenIngress,
            meaning: format!("http_listen {address} without push_token lets other machines push to every client"),
            cure: "set push_token (`openssl rand -hex 24` makes one), or listen on 127.0.0.1",
        });
    }
    let admin = general.admin_listen.iter().filter_map(|address| match address {
        AdminAddress::Tcp(address) => Some(*address),
        AdminAddress::Unix(_) => None,
    });
    let plain = [("http_listen", general.http_listen.clone()), ("admin_listen", admin.collect())];
    let plain = plain.iter().find_map(|(name, list)| Some((name, first_reachable(list)?)));
    if let (true, Some((name, address))) = (has_tokens(config), plain) {
        dangers.push(Danger {
            name: Insecure::PlainHttp,
            meaning: format!("{name} {address} lets tokens come in over the network unencrypted"),
            cure: "listen on 127.0.0.1 behind a proxy with TLS, or use another network for it",
        });
    }
    if let Some(address) = first_reachable(&general.grpc_listen) {
        dangers.push(Danger {
            name: Insecure::PlainGrpc,
            meaning: format!("grpc_listen {address} lets other machines push to every client, and is not encrypted"),
            cure: "listen on 127.0.0.1",
        });
    }
    dangers
}

/// Whether a token is set, or a file of them.
pub fn has_tokens(config: &Config) -> bool {
    let general = &config.general;
    let texts = [&general.admin_token, &general.push_token, &general.read_token, &general.comet_token];
    let files =
        [&general.admin_token_file, &general.push_token_file, &general.read_token_file, &general.comet_token_file];
    texts.iter().any(|list| !list.is_empty()) || files.iter().any(|file| !file.as_os_str().is_empty())
}

/// The first address that other machines may reach.
fn first_reachable(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses.iter().copied().find(|address| !is_local(address.ip()))
}

fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn clients(config: &Config) -> Option<String> {
    let general = &config.general;
    let lists = [&general.tcp_listen, &general.ws_listen, &general.tls_listen, &general.wss_listen];
    lists
        .iter()
        .all(|list| list.is_empty())
        .then(|| "no client could connect: give tcp_listen, ws_listen, tls_listen or wss_listen an address".to_owned())
}

fn twice(config: &Config) -> Option<String> {
    let general = &config.general;
    let admin: Vec<SocketAddr> = general
        .admin_listen
        .iter()
        .filter_map(|address| if let AdminAddress::Tcp(address) = address { Some(*address) } else { None })
        .collect();
    let lists = [
        ("tcp_listen", &general.tcp_listen),
        ("ws_listen", &general.ws_listen),
        ("tls_listen", &general.tls_listen),
        ("wss_listen", &general.wss_listen),
        ("http_listen", &general.http_listen),
        ("grpc_listen", &general.grpc_listen),
        ("admin_listen", &admin),
    ];
    let mut seen: Vec<(&str, SocketAddr)> = Vec::new();
    for (name, list) in lists {
        for &address in list {
            let overlap = seen.iter().find(|(_, other)| overlaps(*other, address, config.sockets.ipv6_only));
            if let Some((other_name, other)) = overlap {
                return Some(if *other == address {
                    format!("{other_name} and {name} both name {address}: give each an address of its own")
                } else {
                    format!("{other_name} {other} and {name} {address} share a port: give each a port of its own")
                });
            }
            seen.push((name, address));
        }
    }
    None
}

/// Whether the kernel would refuse to listen on both.
fn overlaps(a: SocketAddr, b: SocketAddr, ipv6_only: bool) -> bool {
    let covers = |wide: SocketAddr, other: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv4() == other.is_ipv4() || (wide.is_ipv6() && !ipv6_only))
    };
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

fn tls(config: &Config) -> Option<String> {
    let (certificates, keys) = (config.tls.certificate_files.len(), config.tls.key_files.len());
    let wanted = !config.general.tls_listen.is_empty() || !config.general.wss_listen.is_empty();
    if certificates != keys {
        return Some(format!(
            "tls.certificate_files names {certificates} files and tls.key_files {keys}: give every certificate its key"
        ));
    }
    (wanted && certificates == 0)
        .then(|| "tls_listen and wss_listen need a certificate: set tls.certificate_files and tls.key_files".to_owned())
}

fn jwt(config: &Config) -> Option<String> {
    let jwt = &config.jwt;
    let no_key = jwt.secret.get().is_none() && jwt.secret_file.as_os_str().is_empty() && jwt.key_files.is_empty();
    if config.general.auth == Auth::Jwt && no_key {
        return Some("auth = \"jwt\" needs a key: set jwt.secret, jwt.secret_file or jwt.key_files".to_owned());
    }
    let claims = [
        ("jwt.claim_mid", &jwt.claim_mid),
        ("jwt.claim_key", &jwt.claim_key),
        ("jwt.claim_room", &jwt.claim_room),
        ("jwt.claim_accepts", &jwt.claim_accepts),
        ("jwt.claim_rooms", &jwt.claim_rooms),
        ("jwt.claim_ops", &jwt.claim_ops),
    ];
    let (name, _) = claims.iter().find(|(_, claim)| claim.is_empty())?;
    Some(format!("{name} is empty: name a claim"))
}

fn queues(config: &Config) -> Option<String> {
    let (one, all) = (config.queues.queue_bytes_max, config.queues.shard_queue_bytes_max);
    (u64::from(one) > all)
        .then(|| format!("queues.queue_bytes_max ({one}) is above queues.shard_queue_bytes_max ({all}): lower it"))
}

fn bodies(config: &Config) -> Option<String> {
    let (one, all) = (config.ingress.body_bytes_max, config.ingress.bodies_bytes_max);
    (u64::from(one) > all)
        .then(|| format!("ingress.body_bytes_max ({one}) is above ingress.bodies_bytes_max ({all}): lower it"))
}

fn bus(config: &Config) -> Option<String> {
    let (one, all) = (config.ingress.body_bytes_max, config.ingress.bus_bytes_max);
    let needed = u64::from(one) + ENVELOPE_BYTES;
    (needed > all).then(|| {
        format!(
            "ingress.bus_bytes_max ({all}) has no room for the largest message, ingress.body_bytes_max ({one}), and its \
             envelope: raise it to at least {needed}, or lower ingress.body_bytes_max"
        )
    })
}

fn log_level(config: &Config) -> Option<String> {
    let level = &config.log.level;
    // The library takes a lone word that is no level for the name of a part, all of whose lines are then shown.
    let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let is_known = |part: &str| part.contains(['=', '[']) || is_level(part.trim());
    let right = level.split(',').all(is_known) && tracing_subscriber::EnvFilter::try_new(level).is_ok();
    (!right).then(|| {
        format!(
            "log.level {level:?} is no level: use off, error, warn, info, debug or trace, also per part of the program, as in \
             \"info,halley_gateway::control=debug\""
        )
    })
}

fn admin(config: &Config) -> Option<String> {
    let general = &config.general;
    let open = general.admin_listen.iter().find(|address| match address {
        AdminAddress::Tcp(address) => !is_local(address.ip()),
        AdminAddress::Unix(_) => false,
    })?;
    let none = general.admin_token.is_empty() && general.admin_token_file.as_os_str().is_empty();
    none.then(|| {
        format!("admin_listen {open} is reachable from other machines: set admin_token, or listen on 127.0.0.1")
    })
}
