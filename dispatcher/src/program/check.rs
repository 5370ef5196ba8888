//! Settings judged together: what contradicts itself, and what is dangerous. Owns the rule that a danger must be asked
//! for by name, and the sentences that say so, all of them at once; single values were judged when they were read.

use std::net::SocketAddr;

use halley_service::config::addresses::{self, Reachable, over_tcp};
use halley_service::config::schema::Finding;
use halley_service::log;

use super::settings::{Config, Insecure};
use crate::config::findings::{self, Danger};

/// Settings that hold tokens, or name files of them.
const TOKENS: [&str; 4] = ["push_token", "push_token_file", "read_token", "read_token_file"];

/// Everything that cannot stay.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let checks = [doors, twice, ingress, log_level, brokers];
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
pub(super) fn dangers(config: &Config) -> Vec<Danger<Insecure>> {
    let general = &config.general;
    let admin = over_tcp(&general.admin_listen);
    let http = ("http_listen", &*general.http_listen);
    let (open, plain) = match has_tokens(config) {
        true => (None, Reachable::of(&[http, ("admin_listen", &admin)])),
        false => (Reachable::of(&[http]), None),
    };
    let grpc = Reachable::of(&[("grpc_listen", &*general.grpc_listen)]);
    let dangers = [
        open.map(|reachable| Danger::open_ingress(Insecure::OpenIngress, &reachable, &TOKENS)),
        plain.map(|reachable| Danger::plain_http(Insecure::PlainHttp, &reachable)),
        grpc.map(|reachable| Danger::plain_grpc(Insecure::PlainGrpc, &reachable)),
    ];
    dangers.into_iter().flatten().collect()
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

fn ingress(config: &Config) -> Vec<Finding> {
    let ingress = &config.ingress;
    findings::of_bounds(ingress.body_bytes_max, ingress.bodies_bytes_max, ingress.bus_bytes_max)
}

fn brokers(config: &Config) -> Vec<Finding> {
    let sentence = "kafka.brokers names nobody to give a push to: name a broker, such as \"kafka-1.example:9092\"";
    (!config.kafka.is_used()).then(|| Finding::new(&["kafka.brokers"], sentence)).into_iter().collect()
}

fn log_level(config: &Config) -> Vec<Finding> {
    log::finding(&config.log.level, "halley_dispatcher::bus").into_iter().collect()
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
