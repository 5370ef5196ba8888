//! What the settings of an ingress say together, whichever program has one: bounds that contradict each other, and
//! dangers. Owns the sentences; which settings there are, and which dangers were asked for by name, is the program's.

use halley_service::config::addresses::Reachable;
use halley_service::config::schema::Finding;

/// What a push to one key, user or room takes on the bus beside its message, at most, in bytes: twice the name, the
/// server and the place in the log.
const ENVELOPE_BYTES: u64 = 4096;

/// A danger that a configuration is in, whether accepted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Danger<Name> {
    /// Its name in `insecure`.
    pub name: Name,
    /// What it means, as a clause: "0.0.0.0:3101 lets anybody …".
    pub meaning: String,
    /// How to avoid it, as a clause.
    pub cure: &'static str,
    /// Paths of the settings that make it one.
    pub about: Vec<&'static str>,
}

impl<Name> Danger<Name> {
    /// Other machines push over HTTP without a token, which one of the settings `tokens` would ask for.
    pub fn open_ingress(name: Name, reachable: &Reachable, tokens: &[&'static str]) -> Danger<Name> {
        Danger {
            name,
            meaning: format!(
                "{} without push_token {} other machines push to every client",
                reachable.names,
                reachable.let_()
            ),
            cure: "set push_token (`openssl rand -hex 24` makes one), or listen on 127.0.0.1",
            about: reachable.and(tokens),
        }
    }

    /// Tokens come in from other machines over HTTP without TLS.
    pub fn plain_http(name: Name, reachable: &Reachable) -> Danger<Name> {
        Danger {
            name,
            meaning: format!("{} {} tokens come in over the network unencrypted", reachable.names, reachable.let_()),
            cure: "listen on 127.0.0.1 behind a proxy with TLS, or use another network for it",
            about: reachable.and(&[]),
        }
    }

    /// Other machines reach gRPC, which has no TLS.
    pub fn plain_grpc(name: Name, reachable: &Reachable) -> Danger<Name> {
        Danger {
            name,
            meaning: format!(
                "{} {} other machines push to every client, and {} not encrypted",
                reachable.names,
                reachable.let_(),
                reachable.is()
            ),
            cure: "listen on 127.0.0.1",
            about: reachable.and(&[]),
        }
    }

    /// What is said of it where it was not asked for; `word` is its name as `insecure` takes it.
    pub fn refusal(self, word: &str) -> Finding {
        let Danger { meaning, cure, about, .. } = self;
        Finding { about, sentence: format!("{meaning}: {cure}, or accept it with insecure = [\"{word}\"]") }
    }
}

/// Bounds of the section `ingress` that contradict each other, in bytes: those of one message, of all requests, and of
/// what waits on the bus.
pub fn of_bounds(body_bytes_max: u32, bodies_bytes_max: u64, bus_bytes_max: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    // One address holds half of it at most.
    if 2 * u64::from(body_bytes_max) > bodies_bytes_max {
        let sentence = format!(
            "ingress.body_bytes_max ({body_bytes_max}) is above half of ingress.bodies_bytes_max \
             ({bodies_bytes_max}), which is what one address may hold: lower it"
        );
        findings.push(Finding::new(&["ingress.body_bytes_max", "ingress.bodies_bytes_max"], sentence));
    }
    let needed = u64::from(body_bytes_max) + ENVELOPE_BYTES;
    if needed > bus_bytes_max {
        let sentence = format!(
            "ingress.bus_bytes_max ({bus_bytes_max}) has no room for the largest message, ingress.body_bytes_max \
             ({body_bytes_max}), and its envelope: raise it to at least {needed}, or lower ingress.body_bytes_max"
        );
        findings.push(Finding::new(&["ingress.body_bytes_max", "ingress.bus_bytes_max"], sentence));
    }
    findings
}
