//! The servers of one process: HTTP and gRPC for those it serves, and an admin side. Owns what their listeners share,
//! what each kind counts together, and the names under which that is shown; how many connections each may have is
//! handed in.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;

use super::budget::Budget;
use super::grpc::Grpc;
use super::places::Phase;
use super::requests;
use super::stats::ListenerStats;
use super::{Application, ServeLimits, Serving, serve};
use crate::access::Scope;
use crate::access::rules::AccessRules;
use crate::listen::UnixSocket;
use crate::metrics::{Collect, Exposition, Kind};

/// A listener of the admin side.
#[derive(Debug)]
pub enum AdminListener {
    /// TCP.
    Tcp(TcpListener),
    /// A socket file.
    Unix(UnixSocket),
}

/// Listeners of one kind, each within the same bounds; cheap to clone.
#[derive(Clone, Debug)]
pub struct Listeners {
    limits: ServeLimits,
    stats: Arc<ListenerStats>,
}

impl Listeners {
    /// Listeners of this name in metrics, each within these bounds. Requests for these paths are told apart.
    pub fn new(name: &'static str, limits: ServeLimits, paths: Vec<&'static str>) -> Listeners {
        Listeners { limits, stats: ListenerStats::with_routes(name, paths) }
    }
}

/// The servers of this process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Servers {
    /// What they share.
    pub serving: Serving,
    /// Who may ask for what.
    pub access: AccessRules,
    /// What may be asked for, as metrics name it.
    pub scopes: &'static [(&'static str, Scope)],
    /// Routes for those whom the process serves.
    pub http: Listeners,
    /// Calls from them.
    pub grpc: Listeners,
    /// The admin routes alone.
    pub admin: Listeners,
}

impl Servers {
    /// What strangers may make the process hold.
    pub fn budget(&self) -> &Budget {
        self.serving.budget()
    }

    /// Serve routes on one listener, which must not block, until `stop` resolves.
    pub async fn serve_http(
        self,
        listener: TcpListener,
        router: Router,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let Listeners { limits, stats } = self.http;
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
        let Listeners { limits, stats } = self.grpc;
        serve(listener, Application::Grpc(calls), limits, self.serving, stats, stop).await;
        Ok(())
    }

    /// Serve the admin routes alone on one listener, which must not block, until `stop` resolves. A socket file is
    /// removed then.
    pub async fn serve_admin(
        self,
        listener: AdminListener,
        router: Router,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let (application, Listeners { limits, stats }) = (Application::Http(router), self.admin);
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

impl Collect for Servers {
    fn collect(&self, out: &mut Exposition) {
        self.collect_connections(out);
        // Calls of gRPC are no requests for routes.
        let named = [&self.http.stats, &self.admin.stats].map(|stats| (stats.name(), stats.requests()));
        requests::collect(&named, out);
        let budget = self.budget();
        out.family("halley_ingress_bodies_bytes", Kind::Gauge, "Bytes that requests and their answers hold in memory.")
            .sample(&[], budget.held_bytes());
        out.family("halley_ingress_bodies_refused_total", Kind::Counter, "Requests and answers that found no room.")
            .sample(&[], budget.refused());
        let mut family = out.family("halley_ingress_denied_total", Kind::Counter, "Requests of callers who may not.");
        for (name, scope) in self.scopes {
            family.sample(&[("scope", name)], self.access.denied(*scope));
        }
        out.family(
            "halley_ingress_wrong_tokens_total",
            Kind::Counter,
            "Tokens shown that are none of those configured.",
        )
        .sample(&[], self.access.failures());
    }
}

impl Servers {
    fn collect_connections(&self, out: &mut Exposition) {
        let kinds = [&self.http.stats, &self.grpc.stats, &self.admin.stats];
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
    }
}
