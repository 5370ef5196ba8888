//! How many connections the HTTP and gRPC listeners of this process may have. Owns the numbers, as configured and as
//! far as the limit on open files goes; the serving itself is [`halley_service::serve`]'s.

use halley_service::access::rules::AccessRules;
use halley_service::serve::budget::Budget;
use halley_service::serve::servers::{Listeners, Servers};
use halley_service::serve::{KEPT_PLACES, ServeLimits, Serving};

use crate::config::Config;
use crate::control::admin;
use crate::placement::{Machine, Note, share_files};
use crate::standalone;

/// Connections to each of `admin_listen`.
const ADMIN_PLACES: usize = 64;

/// The servers as configured, as far as the limit on open files goes; what it does not let be is the note.
pub(super) fn servers(
    config: &Config,
    machine: &Machine,
    shards: usize,
    access: AccessRules,
) -> (Servers, Option<Note>) {
    let (general, ingress) = (&config.general, &config.ingress);
    let to_usize = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let wanted = [
        (general.http_listen.len(), to_usize(ingress.http_connections_max) + KEPT_PLACES),
        (general.grpc_listen.len(), to_usize(ingress.grpc_connections_max)),
        (general.admin_listen.len(), ADMIN_PLACES + KEPT_PLACES),
    ];
    let all: Vec<usize> = wanted.iter().flat_map(|&(listeners, places)| vec![places; listeners]).collect();
    let (clients, _) = super::listeners::count(config);
    let (fit, note) = share_files(machine, shards, clients, &all);
    let mut fit = fit.into_iter();
    let mut next =
        |(listeners, wanted): (usize, usize)| (0..listeners).filter_map(|_| fit.next()).min().unwrap_or(wanted);
    let [http, grpc, admin] = wanted.map(&mut next);
    let mut http = ServeLimits::http_with_kept(http);
    if ingress.http_connections_per_address > 0 {
        http.places.per_address_max = to_usize(ingress.http_connections_per_address).min(http.places.places_max);
    }
    let admin = ServeLimits::http_with_kept(admin);
    let servers = Servers {
        serving: Serving::new(Budget::new(usize::try_from(ingress.bodies_bytes_max).unwrap_or(usize::MAX))),
        access,
        scopes: &super::access::SCOPES,
        http: Listeners::new("http", http, standalone::paths()),
        grpc: Listeners::new("grpc", ServeLimits::grpc(grpc), Vec::new()),
        admin: Listeners::new("admin", admin, admin::PATHS.to_vec()),
    };
    (servers, note)
}
