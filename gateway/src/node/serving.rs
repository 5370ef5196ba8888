//! The HTTP and gRPC listeners of this process. Owns how many connections each may have, what they count together, and the names
//! under which that is shown; the serving itself is [`halley_service::serve`]'s.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use halley_service::access::rules::AccessRules;
use halley_service::listen::UnixSocket;
use halley_service::serve::budget::Budget;
use halley_service::serve::grpc::Grpc;
use halley_service::serve::places::Phase;
use halley_service::serve::requests;
use halley_service::serve::stats::ListenerStats;
use halley_service::serve::{Application, KEPT_PLACES, ServeLimits, Serving, serve};

use super::listeners::AdminListener;
use crate::config::Config;
use crate::placement::{Machine, Note, share_files};
use halley_service::metrics::{Collect, Exposition, Kind};

/// Connections to each of `admin_listen`.
const ADMIN_PLACES: usize = 64;

/// The listeners of this process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Servers {
    /// What they share.
    pub serving: Serving,
    /// Who may ask for what.
    pub access: AccessRules,
    http: (ServeLimits, Arc<ListenerStats>),
    grpc: (ServeLimits, Arc<ListenerStats>),
    admin: (ServeLimits, Arc<ListenerStats>),
}

impl Servers {
    /// As configured, as far as the limit on open files goes; what it does not let be is the note.
    pub fn new(config: &Config, machine: &Machine, shards: usize, access: AccessRules) -> (Servers, Option<Note>) {
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
        let mut http = with_kept(http);
        if ingress.http_connections_per_address > 0 {
            http.places.per_address_max = to_usize(ingress.http_connections_per_address).min(http.places.places_max);
        }
        let budget = Budget::new(usize::try_from(ingress.bodies_bytes_max).unwrap_or(usize::MAX));
        let servers = Servers {
            serving: Serving::new(budget),
            access,
            http: (http, ListenerStats::with_routes("http", crate::standalone::paths())),
            grpc: (ServeLimits::grpc(grpc), ListenerStats::new("grpc")),
            admin: (with_kept(admin), ListenerStats::with_routes("admin", crate::control::admin::PATHS.to_vec())),
        };
        (servers, note)
    }

    /// Serve routes on one listener, which must not block, until `stop` resolves.
    pub async fn serve_http(
        self,
        listener: TcpListener,
        router: Router,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (limits, stats) = self.http;
        serve(listener, Application::Http(router), limits, self.serving, stats, stop).await;
        Ok(())
    }

    /// Serve calls on one listener, which must not block, until `stop` resolves.
    pub async fn serve_grpc(
        self,
        listener: TcpListener,
        calls: Grpc,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (limits, stats) = self.grpc;
        serve(listener, Application::Grpc(calls), limits, self.serving, stats, stop).await;
        Ok(())
    }

    /// Serve the admin routes alone on one listener, which must not block, until `stop` resolves. A socket file is removed then.
    pub async fn serve_admin(
        self,
        listener: AdminListener,
        router: Router,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let (application, (limits, stats)) = (Application::Http(router), self.admin);
        match listener {
            AdminListener::Tcp(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                serve(listener, application, limits, self.serving, stats, stop).await;
            }
            AdminListener::Unix(socket) => {
                let listener = tokio::net::UnixListener::from_std(socket.listener.try_clone()?)?;
                serve(listener, application, limits, self.serving, stats, stop).await;
                drop::<UnixSocket>(socket);
            }
        }
        Ok(())
    }
}

/// So many connections, some of them in kept places.
fn with_kept(all: usize) -> ServeLimits {
    let kept = KEPT_PLACES.min(all / 4);
    let mut limits = ServeLimits::http((all - kept).max(1));
    limits.places.kept = kept.max(1);
    limits
}

impl Collect for Servers {
    fn collect(&self, out: &mut Exposition) {
        let kinds = [&self.http.1, &self.grpc.1, &self.admin.1];
        let help = "Connections to the listeners of HTTP and gRPC.";
        let mut family = out.family("halley_http_connections", Kind::Gauge, help);
        for stats in kinds {
            family.sample(&[("listener", &stats.name())], stats.connections());
        }
        let help = "Accepts of these connections that failed and were tried again.";
        let mut family = out.family("halley_http_accept_errors_total", Kind::Counter, help);
        for stats in kinds {
            family.sample(&[("listener", &stats.name())], stats.accept_errors());
        }
        let help = "Connections ended to make room for others, by what they did.";
        let mut family = out.family("halley_http_evicted_total", Kind::Counter, help);
        for stats in kinds {
            for phase in Phase::ALL {
                family.sample(&[("listener", &stats.name()), ("phase", &phase.label())], stats.evicted(phase));
            }
        }
        let help = "Connections that found no place but to ask how the gateway is, by whose bound was reached.";
        let mut family = out.family("halley_http_turned_away_total", Kind::Counter, help);
        for stats in kinds {
            let (address, listener) = stats.turned_away();
            family.sample(&[("listener", &stats.name()), ("bound", &"address")], address);
            family.sample(&[("listener", &stats.name()), ("bound", &"listener")], listener);
        }
        // Calls of gRPC are no requests for routes.
        let named = [&self.http.1, &self.admin.1].map(|stats| (stats.name(), stats.requests()));
        requests::collect(&named, out);
        let budget = self.serving.budget();
        out.family("halley_ingress_bodies_bytes", Kind::Gauge, "Bytes that requests and their answers hold in memory.")
            .sample(&[], budget.held_bytes());
        out.family("halley_ingress_bodies_refused_total", Kind::Counter, "Requests and answers that found no room.")
            .sample(&[], budget.refused());
        let mut family = out.family("halley_ingress_denied_total", Kind::Counter, "Requests of callers who may not.");
        for (name, scope) in super::access::SCOPES {
            family.sample(&[("scope", &name)], self.access.denied(scope));
        }
        out.family(
            "halley_ingress_wrong_tokens_total",
            Kind::Counter,
            "Tokens shown that are none of those configured.",
        )
        .sample(&[], self.access.failures());
    }
}
