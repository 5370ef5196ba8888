//! What a start decides and binds before any thread runs: where shards stand, how many connections there may be, every
//! listening socket, the certificates. Owns the order in which that is tried, so that whatever cannot be had ends the
//! start with a sentence and nothing behind it. Next step: `start`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use halley_dispatcher::bus::kafka;
use halley_service::access::rules::AccessRules;
use halley_service::failure::{Cause, Failure};
use halley_service::serve::servers::Servers;
use halley_service::tls::certificates::TlsServer;

use super::listeners::{self, Addresses, Listeners};
use super::prepare::Named;
use super::ready_file::ReadyFile;
use super::serving;
use crate::config::Config;
use crate::control::logins::LoginRules;
use crate::placement::{Machine, Note, Placement, Wish, check_files, place};

/// Everything that the threads are started with and that outlives the start.
pub(super) struct Bound {
    /// The settings.
    pub(super) config: Config,
    /// Where shards stand, and what the operator should know of it.
    pub(super) placement: Placement,
    /// The listeners of HTTP and gRPC, with their bounds.
    pub(super) servers: Servers,
    /// The addresses that were bound.
    pub(super) addresses: Addresses,
    /// How signed logins are decided, where they are.
    pub(super) jwt: Option<Arc<LoginRules>>,
    /// Certificates, where anything listens with TLS.
    pub(super) tls: Option<Arc<TlsServer>>,
    /// How the cluster of the log is reached, where there is one.
    pub(super) kafka: Option<kafka::settings::Settings>,
    /// When the process started.
    pub(super) started: SystemTime,
}

impl Bound {
    /// Decide and bind; what it takes from others is undone by dropping it. The ready file of a predecessor is removed
    /// once the addresses are ours.
    pub(super) fn new(config: Config, named: Named) -> Result<(Bound, Listeners, ReadyFile), Failure> {
        let jwt = named.jwt.map(|rules| Arc::new(LoginRules::new(rules)));
        let tls = named.certificates.map(TlsServer::new).transpose();
        let tls = tls.map_err(|error| Failure::new(Cause::Usage, error))?.map(Arc::new);
        let kafka = config.kafka.is_used().then(|| config.kafka.client(named.kafka_password));
        let general = &config.general;
        let machine = Machine::detect();
        let mut placement = place(wish(&config), &machine);
        let shards = placement.shards.len();
        let (clients, others) = listeners::count(&config);
        check_files(&machine, shards, clients, others).map_err(|error| Failure::new(Cause::Kernel, error))?;
        let fit = serving::fit(&config, &machine, shards);
        let servers = serving::servers(&config, &fit, AccessRules::new(named.access));
        placement.notes.extend(fit.note.map(Note::FewerPlaces));
        let ready_file = ReadyFile::prepare(&general.ready_file)?;
        let listeners = Listeners::bind(&config, shards)?;
        ready_file.clear()?;
        let (addresses, started) = (listeners.addresses().clone(), SystemTime::now());
        let bound = Bound { config, placement, servers, addresses, jwt, tls, kafka, started };
        Ok((bound, listeners, ready_file))
    }

    /// When the process started, in nanoseconds since the Unix epoch.
    pub(super) fn started_ns(&self) -> i64 {
        let since = self.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        i64::try_from(since).unwrap_or(i64::MAX)
    }
}

/// What a start would say of the limit on open files. A note in any case: the limit is that of who asks, not of whoever
/// will run the gateway.
pub(super) fn notes_of_files(config: &Config) -> Vec<String> {
    let machine = Machine::detect();
    let placement = place(wish(config), &machine);
    let shards = placement.shards.len();
    let (clients, others) = listeners::count(config);
    if let Err(too_few) = check_files(&machine, shards, clients, others) {
        return vec![too_few.to_string()];
    }
    let fewer = serving::fit(config, &machine, shards).note.map(Note::FewerPlaces);
    let of_files = |note: &Note| matches!(note, Note::TooFewFiles { .. } | Note::FewerPlaces(_));
    placement.notes.into_iter().chain(fewer).filter(of_files).map(|note| note.to_string()).collect()
}

fn wish(config: &Config) -> Wish {
    let general = &config.general;
    Wish { shards: general.shards, max_connections: general.max_connections, pin: general.pin_shards }
}
