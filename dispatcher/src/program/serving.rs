//! How many connections the listeners of this program may have. Owns what a configuration asks for and what the process
//! opens besides; what follows, and the serving itself, is [`halley_service::serve`]'s.

use halley_service::access::rules::AccessRules;
use halley_service::open_files::{SPARE, TooFew};
use halley_service::serve::Serving;
use halley_service::serve::budget::Budget;
use halley_service::serve::fit::{Fit, Wanted};
use halley_service::serve::servers::{Listeners, Servers};

use super::access::SCOPES;
use super::doors;
use super::settings::Config;

/// Descriptors that the process has open besides those of its listeners: the runtimes of its threads, standard streams,
/// signals.
const FILES_OF_PROCESS: u32 = 28;
/// Descriptors left for connections to brokers, one each.
const FILES_OF_BROKERS: u32 = 32;

/// The bounds as configured, as far as the limit on open files goes.
///
/// # Errors
/// The limit is too low to serve anybody.
pub(super) fn fit(config: &Config, open_files: u64) -> Result<Fit, TooFew> {
    let (general, ingress) = (&config.general, &config.ingress);
    let wanted = Wanted {
        http: general.http_listen.len(),
        http_connections_max: ingress.http_connections_max,
        http_connections_per_address: ingress.http_connections_per_address,
        grpc: general.grpc_listen.len(),
        grpc_connections_max: ingress.grpc_connections_max,
        admin: general.admin_listen.len(),
    };
    let listeners = u32::try_from(wanted.listeners()).unwrap_or(u32::MAX);
    let own = listeners.saturating_add(FILES_OF_PROCESS + FILES_OF_BROKERS);
    let needed = own.saturating_add(SPARE);
    if open_files < u64::from(needed) {
        let purpose = format!(
            "{own} for listeners, threads and brokers and {SPARE} kept for HTTP and gRPC connections and for files"
        );
        return Err(TooFew { open_files, needed, purpose });
    }
    Ok(wanted.fit(open_files, own))
}

/// The servers within these bounds.
pub(super) fn servers(config: &Config, fit: &Fit, access: AccessRules) -> Servers {
    let bodies_bytes_max = usize::try_from(config.ingress.bodies_bytes_max).unwrap_or(usize::MAX);
    Servers {
        serving: Serving::new(Budget::new(bodies_bytes_max)),
        access,
        scopes: &SCOPES,
        http: Listeners::new("http", fit.http, doors::paths()),
        grpc: Listeners::new("grpc", fit.grpc, Vec::new()),
        admin: Listeners::new("admin", fit.admin, doors::ADMIN_PATHS.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for is enough, and one less is not.
    #[test]
    fn a_limit_that_is_too_low_is_said_with_the_one_that_would_do() {
        let config = Config::default();
        let needed = fit(&config, 0).expect_err("too few").needed;
        assert_eq!(needed, 158);
        assert!(fit(&config, u64::from(needed) - 1).is_err());
        let low = fit(&config, needed.into()).expect("enough");
        let enough = low.note.expect("fewer places are said").open_files;
        assert_eq!(fit(&config, enough).expect("enough").note, None);
    }
}
