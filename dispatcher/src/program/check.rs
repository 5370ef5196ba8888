//! Settings judged together: what contradicts itself, and what is dangerous. Owns the rule that a danger must be asked
//! for by name, and the sentences that say so, all of them at once; single values were judged when they were read.

use std::net::SocketAddr;

use halley_service::config::addresses::{self, Reachable, over_tcp};
use halley_service::config::schema::Finding;
use halley_service::log;

use super::settings::{Config, Insecure};

/// A danger that a configuration is in, whether accepted or not.
pub(super) struct Danger {
    /// Its name in `insecure`.
    pub(super) name: Insecure,
    /// What it means, as a clause.
    pub(super) meaning: String,
    cure: &'static str,
    about: Vec<&'static str>,
}

/// What a push to one name takes beside its message, at most, in bytes: twice the name, the server and the place.
const ENVELOPE_BYTES: u64 = 4096;

/// Settings that hold tokens, or name files of them.
const TOKENS: [&str; 4] = ["push_token", "push_token_file", "read_token", "read_token_file"];

/// Everything that cannot stay.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let checks = [doors, twice, bodies, bus, log_level, brokers];
    let mut findings: Vec<Finding> = checks.iter().flat_map(|check| check(config)).collect();
    findings.extend(config.kafka.findings());
    let unasked = dangers(config).into_iter().filter(|danger| !config.general.insecure.contains(&danger.name));
    findings.extend(unasked.map(|Danger { name, meaning, cure, about }| {
        let sentence = format!("{meaning}: {cure}, or accept it with insecure = [\"{}\"]", name.word());
        Finding { about, sentence }
    }));
    findings
}

/// Every danger of this configuration.
pub(super) fn dangers(config: &Config) -> Vec<Danger> {
    let general = &config.general;
    let admin = over_tcp(&general.admin_listen);
    let mut dangers = Vec::new();
    if let (false, Some(reachable)) = (has_tokens(config), Reachable::of(&[("http_listen", &general.http_listen)])) {
        dangers.push(Danger {
            name: Insecure::OpenIngress,
            meaning: format!(
                "{} without push_token {} other machines push to every client",
                reachable.names,
                reachable.let_()
            ),
            cure: "set push_token (`openssl rand -hex 24` makes one), or listen on 127.0.0.1",
            about: reachable.and(&TOKENS),
        });
    }
    let plain = Reachable::of(&[("http_listen", &general.http_listen), ("admin_listen", &admin)]);
    if let (true, Some(reachable)) = (has_tokens(config), plain) {
        dangers.push(Danger {
            name: Insecure::PlainHttp,
            meaning: format!("{} {} tokens come in over the network unencrypted", reachable.names, reachable.let_()),
            cure: "listen on 127.0.0.1 behind a proxy with TLS, or use another network for it",
            about: reachable.and(&[]),
        });
    }
    if let Some(reachable) = Reachable::of(&[("grpc_listen", &general.grpc_listen)]) {
        dangers.push(Danger {
            name: Insecure::PlainGrpc,
            meaning: format!(
                "{} {} other machines push to every client, and {} not encrypted",
                reachable.names,
                reachable.let_(),
                reachable.is()
            ),
            cure: "listen on 127.0.0.1",
            about: reachable.and(&[]),
        });
    }
    dangers
}

/// Whether a token is set, or a file of them.
pub(super) fn has_tokens(config: &Config) -> bool {
    let general = &config.general;
    let texts = [&general.push_token, &general.read_token];
    let files = [&general.push_token_file, &general.read_token_file];
    texts.iter().any(|list| !list.is_empty()) || files.iter().any(|file| !file.as_os_str().is_empty())
}

fn doors(config: &Config) -> Vec<Finding> {
    let none = config.general.http_listen.is_empty() && config.general.grpc_listen.is_empty();
    let sentence = "nobody could push: give http_listen or grpc_listen an address";
    none.then(|| Finding::new(&["http_listen", "grpc_listen"], sentence)).into_iter().collect()
}

fn twice(config: &Config) -> Vec<Finding> {
    let general = &config.general;
    let admin = over_tcp(&general.admin_listen);
    let lists: [(&'static str, &[SocketAddr]); 3] =
        [("http_listen", &general.http_listen), ("grpc_listen", &general.grpc_listen), ("admin_listen", &admin)];
    addresses::twice(&lists, false, &[])
}

fn bodies(config: &Config) -> Vec<Finding> {
    let (one, all) = (config.ingress.body_bytes_max, config.ingress.bodies_bytes_max);
    // One address holds half of it at most.
    let sentence = || {
        format!(
            "ingress.body_bytes_max ({one}) is above half of ingress.bodies_bytes_max ({all}), which is what one \
             address may hold: lower it"
        )
    };
    let about = ["ingress.body_bytes_max", "ingress.bodies_bytes_max"];
    (2 * u64::from(one) > all).then(|| Finding::new(&about, sentence())).into_iter().collect()
}

fn bus(config: &Config) -> Vec<Finding> {
    let (one, all) = (config.ingress.body_bytes_max, config.ingress.bus_bytes_max);
    let needed = u64::from(one) + ENVELOPE_BYTES;
    let sentence = || {
        format!(
            "ingress.bus_bytes_max ({all}) has no room for the largest message, ingress.body_bytes_max ({one}), and \
             its envelope: raise it to at least {needed}, or lower ingress.body_bytes_max"
        )
    };
    let about = ["ingress.body_bytes_max", "ingress.bus_bytes_max"];
    (needed > all).then(|| Finding::new(&about, sentence())).into_iter().collect()
}

fn brokers(config: &Config) -> Vec<Finding> {
    let sentence = "kafka.brokers names nobody to give a push to: name a broker, such as \"kafka-1.example:9092\"";
    (!config.kafka.is_used()).then(|| Finding::new(&["kafka.brokers"], sentence)).into_iter().collect()
}

fn log_level(config: &Config) -> Vec<Finding> {
    let level = &config.log.level;
    let sentence = || {
        format!(
            "log.level {level:?} is no level: use off, error, warn, info, debug or trace, also per part of the \
             program, as in \"info,halley_dispatcher::bus=debug\""
        )
    };
    (!log::is_level(level)).then(|| Finding::new(&["log.level"], sentence())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use halley_service::config::value::text::Secret;

    use super::*;
    use crate::config::Broker;

    fn sentences(edit: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        config.kafka.brokers = vec![Broker("kafka:9092".to_owned())];
        edit(&mut config);
        findings(&config).into_iter().map(|finding| finding.sentence).collect()
    }

    fn outside(port: u16) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], port))
    }

    /// Nothing is wrong with the defaults, and each mistake is one sentence of its own.
    #[test]
    fn each_mistake_is_named() {
        type Case = (fn(&mut Config), &'static str);
        let cases: [Case; 10] = [
            (|config| config.kafka.brokers.clear(), "name a broker"),
            (|config| config.kafka.topic.clear(), "kafka.topic is empty"),
            (|config| config.ingress.bus_bytes_max = 65_536, "no room for the largest message"),
            (
                |config| (config.general.http_listen, config.general.grpc_listen) = Default::default(),
                "nobody could push",
            ),
            (|config| config.general.grpc_listen = config.general.http_listen.clone(), "both name 127.0.0.1:3111"),
            (|config| config.ingress.bodies_bytes_max = 65_536, "lower it"),
            (|config| config.log.level = "loud".to_owned(), "is no level"),
            (|config| config.general.http_listen = vec![outside(3111)], "insecure = [\"open_ingress\"]"),
            (|config| config.general.grpc_listen = vec![outside(3119)], "insecure = [\"plain_grpc\"]"),
            (
                |config| {
                    config.general.push_token = vec![Secret("0123456789abcdef".to_owned())];
                    config.general.http_listen = vec![outside(3111)];
                },
                "insecure = [\"plain_http\"]",
            ),
        ];
        for (edit, part) in cases {
            let said = sentences(edit);
            assert!(said.len() == 1 && said[0].contains(part), "{part}: {said:?}");
        }
        assert_eq!(sentences(|_| ()), [""; 0]);
        let accepted = sentences(|config| {
            config.general.http_listen = vec![outside(3111)];
            config.general.insecure = vec![Insecure::OpenIngress];
        });
        assert_eq!(accepted, [""; 0]);
    }
}
