//! Settings judged together: what contradicts itself, and what is dangerous. Owns the rule that a danger must be asked
//! for by name, and the sentences that say so, all of them at once; single values were judged when they were read.

use std::net::SocketAddr;

use halley_dispatcher::config::findings::{self, Danger};
use halley_service::config::addresses::{self, Reachable, over_tcp};
use halley_service::config::schema::Finding;
use halley_service::config::{ConfigError, Problem};
use halley_service::log;

use super::schema::Config;
use super::words::{Auth, HttpRoutes, Insecure};

/// Refuses what cannot work, and what is dangerous without having been asked for.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    ConfigError::unless_none(findings(config).into_iter().map(|finding| Problem::Together(finding.sentence)).collect())
}

/// Everything that [`check`] refuses.
pub fn findings(config: &Config) -> Vec<Finding> {
    let checks = [clients, twice, tls, jwt, queues, ingress, log_level, admin];
    let mut findings: Vec<Finding> = checks.iter().flat_map(|check| check(config)).collect();
    findings.extend(config.kafka.findings());
    let unasked = dangers(config).into_iter().filter(|danger| !config.general.insecure.contains(&danger.name));
    findings.extend(unasked.map(|danger| {
        let word = danger.name.word();
        danger.refusal(word)
    }));
    findings
}

/// Every danger of this configuration.
pub fn dangers(config: &Config) -> Vec<Danger<Insecure>> {
    let general = &config.general;
    let mut dangers = Vec::new();
    let clients = [
        ("tcp_listen", &*general.tcp_listen),
        ("ws_listen", &*general.ws_listen),
        ("tls_listen", &*general.tls_listen),
        ("wss_listen", &*general.wss_listen),
    ];
    if let (Auth::Open, Some(reachable)) = (general.auth, Reachable::of(&clients)) {
        dangers.push(Danger {
            name: Insecure::OpenAuth,
            meaning: format!(
                "{} with auth = \"open\" {} other machines log in as anybody",
                reachable.names,
                reachable.let_()
            ),
            cure: "use auth = \"jwt\", or listen on 127.0.0.1",
            about: reachable.and(&["auth"]),
        });
    }
    let pushing = general.http_routes.contains(&HttpRoutes::Push);
    let http = Reachable::of(&[("http_listen", &*general.http_listen)]);
    if let (false, true, Some(reachable)) = (has_tokens(config), pushing, http) {
        let about = [TOKENS.as_slice(), &["http_routes"]].concat();
        dangers.push(Danger::open_ingress(Insecure::OpenIngress, &reachable, &about));
    }
    let admin = over_tcp(&config.general.admin_listen);
    let plain = Reachable::of(&[("http_listen", &*general.http_listen), ("admin_listen", &admin)]);
    if let (true, Some(reachable)) = (has_tokens(config), plain) {
        dangers.push(Danger::plain_http(Insecure::PlainHttp, &reachable));
    }
    let grpc = Reachable::of(&[("grpc_listen", &*general.grpc_listen)]);
    dangers.extend(grpc.map(|reachable| Danger::plain_grpc(Insecure::PlainGrpc, &reachable)));
    dangers
}

/// Listeners where signed tokens come in over the network unencrypted: their settings and addresses. That is no
/// refusal, since what a token is worth there, and for how long, is its issuer's decision.
pub fn plain_tokens(config: &Config) -> Option<String> {
    let general = &config.general;
    let lists = [("tcp_listen", &*general.tcp_listen), ("ws_listen", &*general.ws_listen)];
    (general.auth == Auth::Jwt).then(|| Reachable::of(&lists)).flatten().map(|reachable| reachable.names)
}

/// Settings that hold tokens, or name files of them.
const TOKENS: [&str; 8] = [
    "admin_token",
    "admin_token_file",
    "push_token",
    "push_token_file",
    "read_token",
    "read_token_file",
    "comet_token",
    "comet_token_file",
];

/// Whether a token is set, or a file of them.
pub fn has_tokens(config: &Config) -> bool {
    let general = &config.general;
    let texts = [&general.admin_token, &general.push_token, &general.read_token, &general.comet_token];
    let files =
        [&general.admin_token_file, &general.push_token_file, &general.read_token_file, &general.comet_token_file];
    texts.iter().any(|list| !list.is_empty()) || files.iter().any(|file| !file.as_os_str().is_empty())
}

/// Whether other machines reach goim's Comet service, and need no token for it though others do.
pub fn jobs_need_no_token(config: &Config) -> bool {
    let general = &config.general;
    let asked = !general.comet_token.is_empty() || !general.comet_token_file.as_os_str().is_empty();
    has_tokens(config) && !asked && Reachable::of(&[("grpc_listen", &*general.grpc_listen)]).is_some()
}

fn clients(config: &Config) -> Vec<Finding> {
    let general = &config.general;
    let lists = [&general.tcp_listen, &general.ws_listen, &general.tls_listen, &general.wss_listen];
    let sentence = "no client could connect: give tcp_listen, ws_listen, tls_listen or wss_listen an address";
    let about = ["tcp_listen", "ws_listen", "tls_listen", "wss_listen"];
    let none = lists.iter().all(|list| list.is_empty());
    none.then(|| Finding::new(&about, sentence)).into_iter().collect()
}

fn twice(config: &Config) -> Vec<Finding> {
    let general = &config.general;
    let admin = over_tcp(&general.admin_listen);
    let lists: [(&'static str, &[SocketAddr]); 7] = [
        ("tcp_listen", &general.tcp_listen),
        ("ws_listen", &general.ws_listen),
        ("tls_listen", &general.tls_listen),
        ("wss_listen", &general.wss_listen),
        ("http_listen", &general.http_listen),
        ("grpc_listen", &general.grpc_listen),
        ("admin_listen", &admin),
    ];
    addresses::twice(&lists, config.sockets.ipv6_only, &["sockets.ipv6_only"])
}

fn tls(config: &Config) -> Vec<Finding> {
    let (certificates, keys) = (config.tls.certificate_files.len(), config.tls.key_files.len());
    let wanted = !config.general.tls_listen.is_empty() || !config.general.wss_listen.is_empty();
    let files = ["tls.certificate_files", "tls.key_files"];
    let mut findings = Vec::new();
    if certificates != keys {
        let sentence = format!(
            "tls.certificate_files names {certificates} files and tls.key_files {keys}: give every certificate its key"
        );
        findings.push(Finding::new(&files, sentence));
    }
    if wanted && certificates == 0 {
        let sentence = "tls_listen and wss_listen need a certificate: set tls.certificate_files and tls.key_files";
        let about = [files.as_slice(), &["tls_listen", "wss_listen"]].concat();
        findings.push(Finding::new(&about, sentence));
    }
    findings
}

fn jwt(config: &Config) -> Vec<Finding> {
    let jwt = &config.jwt;
    let mut findings = Vec::new();
    let no_key = jwt.secret.get().is_none() && jwt.secret_file.as_os_str().is_empty() && jwt.key_files.is_empty();
    if config.general.auth == Auth::Jwt && no_key {
        let sentence = "auth = \"jwt\" needs a key: set jwt.secret, jwt.secret_file or jwt.key_files";
        findings.push(Finding::new(&["auth", "jwt.secret", "jwt.secret_file", "jwt.key_files"], sentence));
    }
    let claims = [
        ("jwt.claim_mid", &jwt.claim_mid),
        ("jwt.claim_key", &jwt.claim_key),
        ("jwt.claim_room", &jwt.claim_room),
        ("jwt.claim_accepts", &jwt.claim_accepts),
        ("jwt.claim_rooms", &jwt.claim_rooms),
        ("jwt.claim_ops", &jwt.claim_ops),
    ];
    let empty = claims.iter().filter(|(_, claim)| claim.is_empty());
    findings.extend(empty.map(|(name, _)| Finding::new(&[name], format!("{name} is empty: name a claim"))));
    findings
}

fn queues(config: &Config) -> Vec<Finding> {
    let (one, all) = (config.queues.queue_bytes_max, config.queues.shard_queue_bytes_max);
    let about = ["queues.queue_bytes_max", "queues.shard_queue_bytes_max"];
    above(&about, u64::from(one), all)
}

fn ingress(config: &Config) -> Vec<Finding> {
    let ingress = &config.ingress;
    findings::of_bounds(ingress.body_bytes_max, ingress.bodies_bytes_max, ingress.bus_bytes_max)
}

/// Of two bounds the first, of one, may not be above the second, of all.
fn above(about: &[&'static str; 2], one: u64, all: u64) -> Vec<Finding> {
    let [name_of_one, name_of_all] = about;
    let sentence = || format!("{name_of_one} ({one}) is above {name_of_all} ({all}): lower it");
    (one > all).then(|| Finding::new(about, sentence())).into_iter().collect()
}

fn log_level(config: &Config) -> Vec<Finding> {
    log::finding(&config.log.level, "halley_gateway::control").into_iter().collect()
}

fn admin(config: &Config) -> Vec<Finding> {
    let general = &config.general;
    let none = general.admin_token.is_empty() && general.admin_token_file.as_os_str().is_empty();
    let open = Reachable::of(&[("admin_listen", &over_tcp(&config.general.admin_listen))]).filter(|_| none);
    let sentence = |open: Reachable| {
        let cure = "set admin_token, or listen on 127.0.0.1";
        Finding::new(
            &["admin_listen", "admin_token", "admin_token_file"],
            format!("{} {} reachable from other machines: {cure}", open.names, open.is()),
        )
    };
    open.map(sentence).into_iter().collect()
}
