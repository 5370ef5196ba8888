//! Step 1 of a push on its way out, as of every request: serving HTTP and gRPC to anybody who connects. Owns the one
//! accept loop of every such listener and what its connections share: the bounds on them, the budget of bytes, the
//! counters, the end. It binds nothing, and knows no route and no method.
//!
//! | file | noun |
//! |---|---|
//! | `listener` | what is accepted from |
//! | `places` | who may be connected, and who makes room |
//! | `budget` | the bytes that strangers may make us hold |
//! | `stream` | a socket with its clocks, below the HTTP library |
//! | `progress` | what a connection is at, and whose turn it is |
//! | `http1`, `http2` | one connection |
//! | `request`, `body` | what every request must keep to; reading its body |
//! | `grpc` | a call before its message is decoded |
//! | `asked` | what a route says of its request |
//! | `answer`, `answers` | an answer on its way out; answers that no route makes |
//! | `stats` | counters |
//! | `servers`, `fit` | all listeners of a process; how many connections each may have |
//! | `requests` | what requests came to, by route |

pub mod answer;
pub mod answers;
pub mod asked;
pub mod body;
pub mod budget;
mod connection;
pub mod fit;
pub mod grpc;
mod http1;
mod http2;
pub mod listener;
pub mod places;
mod progress;
mod request;
pub mod requests;
pub mod servers;
pub mod stats;
mod stream;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::address::AddressBlock;
use budget::Budget;
use connection::{Connection, Stopping};
use grpc::Grpc;
use listener::{Listener, accept};
use places::{Admission, Place, PlaceLimits, Places};
use stats::ListenerStats;

pub use http1::HEAD_BYTES_MAX;
pub use http2::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX};
pub use stream::{Clocks, HEAD_BYTES_FREE};

/// Places kept beside the others of each listener, for who asks how the process is.
pub const KEPT_PLACES: usize = 16;

/// Connections that are accepted before others on the thread have their turn.
const ACCEPTS_AT_ONCE: usize = 16;
/// Time after which somebody may be made to leave who was not before.
const ADMIT_RETRY: Duration = Duration::from_millis(50);

/// Times for HTTP: a connection may be idle longer than the 90 s after which common clients give up theirs, so that
/// they close first and no request meets a closed one.
pub const HTTP_CLOCKS: Clocks = Clocks {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(120),
    write: Duration::from_secs(30),
    answer: Duration::from_secs(60),
    linger: Duration::from_secs(30),
    linger_silence: Duration::from_secs(5),
};

/// Times for gRPC: clients connect again by themselves, so those without calls need not stay.
pub const GRPC_CLOCKS: Clocks = Clocks {
    idle: Duration::from_secs(300),
    linger: Duration::from_secs(2),
    linger_silence: Duration::from_secs(1),
    ..HTTP_CLOCKS
};

/// Bounds on one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Who may be connected.
    pub places: PlaceLimits,
    /// How long a peer may take for what it does.
    pub clocks: Clocks,
    /// How long requests under way may take to finish after the stop.
    pub finish_within: Duration,
}

impl ServeLimits {
    /// So many connections, half of them from one address at most, for HTTP.
    pub fn http(places_max: usize) -> ServeLimits {
        let places = PlaceLimits { places_max, per_address_max: (places_max / 2).max(1), kept: KEPT_PLACES };
        ServeLimits { places, clocks: HTTP_CLOCKS, finish_within: Duration::from_secs(5) }
    }

    /// As [`ServeLimits::http`], some of so many connections in kept places.
    pub fn http_with_kept(all: usize) -> ServeLimits {
        let kept = KEPT_PLACES.min(all / 4);
        let mut limits = ServeLimits::http((all - kept).max(1));
        limits.places.kept = kept.max(1);
        limits
    }

    /// So many connections, half of them from one address at most, for gRPC, where nobody asks how the process is.
    pub fn grpc(places_max: usize) -> ServeLimits {
        let http = ServeLimits::http(places_max);
        ServeLimits { places: PlaceLimits { kept: 0, ..http.places }, clocks: GRPC_CLOCKS, ..http }
    }
}

/// What the listeners of a process share; cheap to clone.
#[derive(Clone, Debug)]
pub struct Serving {
    budget: Budget,
    closing: Arc<watch::Sender<bool>>,
}

impl Serving {
    /// Listeners that take from this budget.
    pub fn new(budget: Budget) -> Serving {
        Serving { budget, closing: Arc::new(watch::Sender::new(false)) }
    }

    /// What strangers may make the process hold.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Let every answer from now on be the last of its connection: the process will stop.
    pub fn close_soon(&self) {
        self.closing.send_replace(true);
    }
}

/// What is served on a listener.
#[derive(Clone, Debug)]
pub enum Application {
    /// Routes, over HTTP/1.
    Http(Router),
    /// Methods, over HTTP/2.
    Grpc(Grpc),
}

/// Serve until `stop` resolves, then let requests under way finish.
pub async fn serve<L: Listener>(
    listener: L,
    application: Application,
    limits: ServeLimits,
    serving: Serving,
    stats: Arc<ListenerStats>,
    stop: impl Future<Output = ()>,
) {
    let places = Places::new(limits.places);
    stats.watch(&places);
    let stopping = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let mut accepted_at_once = 0_usize;
    tokio::pin!(stop);
    loop {
        let next = async {
            let (io, peer) = accept(&listener, &places, &stats).await;
            (io, peer, admit(&places, peer.block(), &stats).await)
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = &mut stop => break,
        };
        let (io, peer, Some(place)) = accepted else { continue };
        // Those that ended meanwhile are forgotten here, so that the set is no larger than the connections.
        while connections.try_join_next().is_some() {}
        let connection = Connection {
            place,
            share: serving.budget.share(peer.block()),
            clocks: limits.clocks,
            peer,
            stats: Arc::clone(&stats),
            closing: serving.closing.subscribe(),
            stopping: Stopping::new(stopping.subscribe()),
        };
        let (application, counted) = (application.clone(), stats.count());
        connections.spawn(async move {
            match application {
                Application::Http(router) => http1::run(io, connection, router).await,
                Application::Grpc(grpc) => http2::run(io, connection, grpc).await,
            }
            drop(counted);
        });
        // Those who were let in read what came with them before too many others are.
        accepted_at_once += 1;
        if accepted_at_once.is_multiple_of(ACCEPTS_AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    // Whoever takes longer is cut off as the set is dropped.
    let _ = tokio::time::timeout(limits.finish_within, all).await;
}

/// A place, waited for if need be; `None` when the connection must not wait. That a bound was reached is said once in a
/// while.
async fn admit(places: &Places, address: AddressBlock, stats: &ListenerStats) -> Option<Place> {
    let tell = |consequence: &str| {
        if stats.may_tell() {
            let (listener, connections) = (stats.name(), stats.connections());
            tracing::warn!(listener, connections, consequence, "as many connections are open as may be");
        }
    };
    let mut waits = false;
    loop {
        match places.admit(address, Instant::now()) {
            Admission::Admitted(place) => return Some(place),
            Admission::Displacing(place) => {
                tell("idle and slow ones make room for new ones");
                return Some(place);
            }
            Admission::Kept(place) => {
                tell("new ones are answered 503");
                return Some(place);
            }
            Admission::Refused => {
                tell("new ones of an address that has its share are closed");
                return None;
            }
            Admission::Full => {
                tell("new ones wait");
                if !std::mem::replace(&mut waits, true) {
                    places.count_waiting();
                }
                // Those who are spared now are not later.
                let _ = tokio::time::timeout(ADMIT_RETRY, places.freed()).await;
            }
        }
    }
}
