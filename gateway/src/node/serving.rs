//! How many connections the HTTP and gRPC listeners of this process may have. Owns what a configuration asks for; what
//! follows, and the serving itself, is [`halley_service::serve`]'s.

use halley_service::access::rules::AccessRules;
use halley_service::serve::Serving;
use halley_service::serve::budget::Budget;
use halley_service::serve::fit::{Fit, Wanted};
use halley_service::serve::servers::{Listeners, Servers};

use crate::config::Config;
use crate::control::admin;
use crate::placement::{Machine, own_files};
use crate::standalone;

/// The bounds as configured, as far as the limit on open files goes.
pub(super) fn fit(config: &Config, machine: &Machine, shards: usize) -> Fit {
    let (general, ingress) = (&config.general, &config.ingress);
    let wanted = Wanted {
        http: general.http_listen.len(),
        http_connections_max: ingress.http_connections_max,
        http_connections_per_address: ingress.http_connections_per_address,
        grpc: general.grpc_listen.len(),
        grpc_connections_max: ingress.grpc_connections_max,
        admin: general.admin_listen.len(),
    };
    let (clients, others) = super::listeners::count(config);
    wanted.fit(machine.open_files, own_files(shards, clients, others))
}

/// The servers within these bounds.
pub(super) fn servers(config: &Config, fit: &Fit, access: AccessRules) -> Servers {
    let bodies_bytes_max = usize::try_from(config.ingress.bodies_bytes_max).unwrap_or(usize::MAX);
    Servers {
        serving: Serving::new(Budget::new(bodies_bytes_max)),
        access,
        scopes: &super::access::SCOPES,
        http: Listeners::new("http", fit.http, standalone::paths()),
        grpc: Listeners::new("grpc", fit.grpc, Vec::new()),
        admin: Listeners::new("admin", fit.admin, admin::PATHS.to_vec()),
    }
}
