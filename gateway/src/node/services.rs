//! What runs on the threads that are no shards: feed, the ingress with the HTTP and gRPC listeners, dispatch with the
//! reader of the log, control with the admin listeners and the signals. Owns the runtime of each, and the order in
//! which they end: control drains, then tells the others.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use halley_dispatcher::bus::kafka::producer::Driver;
use halley_dispatcher::consume::stats::Status;
use halley_protocol::push::interest::Interest;
use halley_service::health::Health;
use halley_service::lifecycle::{Lifecycle, until_stop};
use halley_service::pulse::PulseSource;
use halley_service::threads::{Opening, Up, runtime, runtime_failure};
use halley_service::{log, notify, panics};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use halley_service::failure::{Cause, Failure};
use halley_service::log::seldom::Seldom;
use halley_service::serve::grpc::Grpc;
use halley_service::serve::servers::{AdminListener, Servers};
use halley_service::signals::Wishes;

use crate::config::convert;
use crate::control::admin::{self, Admin};
use crate::control::drain::Drain;
use crate::control::ends::Ends;
use crate::control::handle::ControlHandle;
use crate::control::logins::LoginRules;
use crate::control::node::{ControlNode, ControlParts};
use crate::control::stats::ControlStats;
use crate::control::steer::Steering;
use crate::feed::directory::DirectoryLimits;
use crate::feed::intake::Request;
use crate::feed::node::{FeedNode, FeedParts};
use crate::feed::stats::FeedStats;
use crate::mesh::msg::ControlToShard;
use crate::standalone::Standalone;

use super::reload::Reloader;
use super::wiring::{ControlEnds, FeedEnds};

/// Between two attempts to give a shard an order that it does not take.
const RETRY: Duration = Duration::from_millis(100);

/// Becomes true when everything is to end.
type Stopping = watch::Receiver<bool>;

/// The feed thread.
pub(super) struct Feed {
    /// Ring ends.
    pub ends: FeedEnds,
    /// The receiving end of the intake.
    pub requests: mpsc::Receiver<Request>,
    /// Bounds on logins.
    pub limits: DirectoryLimits,
    /// Kept by it for the reader of the log, where there is one.
    pub interest: Option<Arc<Interest>>,
    /// Its counters.
    pub stats: Arc<FeedStats>,
    /// When to end.
    pub stopping: Stopping,
}

impl Feed {
    /// Run to the end.
    pub(super) fn run(self, up: Up) -> Result<(), Failure> {
        let runtime = runtime()?;
        runtime.block_on(async move {
            let FeedEnds { shards, doorbell } = self.ends;
            let Feed { requests, limits, interest, stats, .. } = self;
            let parts = FeedParts { shards, doorbell, requests, limits, interest, stats };
            up.now();
            FeedNode::new(parts).run(stop(self.stopping)).await.map_err(runtime_failure)
        })
    }
}

/// The ingress thread.
pub(super) struct Ingress {
    /// HTTP listeners.
    pub http: Vec<TcpListener>,
    /// What is served on them.
    pub router: Router,
    /// gRPC listeners.
    pub grpc: Vec<TcpListener>,
    /// What is served on them.
    pub calls: Grpc,
    /// The servers on both.
    pub servers: Servers,
    /// Writes pushes to the log, where it is shared.
    pub publish: Option<Driver>,
    /// Told when nothing more is written, and every push that was taken has its answer.
    pub published: watch::Sender<bool>,
    /// Says that the thread takes turns.
    pub pulse: PulseSource,
    /// When to end.
    pub stopping: Stopping,
}

impl Ingress {
    /// Run to the end.
    pub(super) fn run(self, up: Up) -> Result<(), Failure> {
        let runtime = runtime()?;
        runtime.block_on(async move {
            let mut servers = JoinSet::new();
            for listener in self.http {
                let stop = stop(self.stopping.clone());
                servers.spawn(self.servers.clone().serve_http(listener, self.router.clone(), stop));
            }
            for listener in self.grpc {
                let stop = stop(self.stopping.clone());
                servers.spawn(self.servers.clone().serve_grpc(listener, self.calls.clone(), stop));
            }
            tokio::spawn(self.pulse.run());
            if let Some(publish) = self.publish {
                let published = self.published;
                tokio::spawn(async move {
                    publish.run().await;
                    published.send_replace(true);
                });
            }
            up.now();
            all(servers).await
        })
    }
}

/// The dispatch thread: from the log to feed.
pub(super) struct Dispatch {
    /// The dispatcher.
    pub standalone: Standalone,
    /// Is told what of a shared log is missing; `None` for a log of our own, which misses nothing.
    pub lifecycle: Option<Lifecycle>,
    /// Says that the thread takes turns.
    pub pulse: PulseSource,
    /// Told when the bus is empty for good.
    pub bus_ended: watch::Sender<bool>,
    /// When to read nothing more of a shared log.
    pub stop_reading: watch::Receiver<bool>,
    /// When to end.
    pub stopping: Stopping,
}

impl Dispatch {
    /// Run to the end.
    pub(super) fn run(self, up: Up) -> Result<(), Failure> {
        let runtime = runtime()?;
        runtime.block_on(async move {
            tokio::spawn(self.pulse.run());
            let opening = up.now();
            if let Some(lifecycle) = self.lifecycle {
                tokio::spawn(follow(self.standalone.status(), lifecycle, opening));
            }
            self.standalone.consume(stop(self.stop_reading)).await.map_err(|missing| {
                let sentence = format_args!("the log could not be read within kafka.start_timeout_seconds: {missing}");
                Failure::new(Cause::Runtime, sentence)
            })?;
            self.bus_ended.send_replace(true);
            // Whoever ends before the process drains has failed.
            stop(self.stopping).await;
            Ok(())
        })
    }
}

/// Say what of the log is missing, whenever that changes, and let clients in when it has been read first.
async fn follow(mut status: watch::Receiver<Status>, lifecycle: Lifecycle, opening: Opening) {
    let mut opening = Some(opening);
    let mut lacked = Seldom::default();
    loop {
        let Status { is_started, not_ready } = status.borrow_and_update().clone();
        match &not_ready {
            Some(missing) if lacked.is_news(missing, Instant::now()) => tracing::warn!(missing, "not ready"),
            None if lacked.ends() => tracing::info!("the log is read: ready"),
            _ => {}
        }
        lifecycle.lack(not_ready.as_deref());
        if let Some(opening) = opening.take_if(|_| is_started) {
            opening.now();
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// The control thread.
pub(super) struct Control {
    /// Ring ends.
    pub ends: ControlEnds,
    /// The asking end of the loop.
    pub handle: ControlHandle,
    /// How signed logins are decided.
    pub jwt: Option<Arc<LoginRules>>,
    /// Its counters.
    pub stats: Arc<ControlStats>,
    /// The admin routes.
    pub admin: Arc<Admin>,
    /// Where they are served alone.
    pub listeners: Vec<AdminListener>,
    /// The servers on them.
    pub servers: Servers,
    /// Asks the threads whether they take turns, for the watchdog.
    pub health: Health,
    /// Says that this thread takes turns.
    pub pulse: PulseSource,
    /// Logs why connections ended.
    pub ends_told: Ends,
    /// What the operator wants.
    pub wishes: Wishes,
    /// How to stop.
    pub drain: Drain,
    /// How to reload.
    pub reloader: Reloader,
    /// Becomes true when clients may come, where they may not from the start.
    pub opened: watch::Receiver<bool>,
    /// Tells all threads to end.
    pub stop: watch::Sender<bool>,
    /// When to end.
    pub stopping: Stopping,
}

impl Control {
    /// Run to the end.
    pub(super) fn run(self, up: Up) -> Result<(), Failure> {
        let runtime = runtime()?;
        let seed = super::shards::seed()?;
        runtime.block_on(async move {
            let mut servers = JoinSet::new();
            for listener in self.listeners {
                let (router, stop) = (admin::router(Arc::clone(&self.admin)), stop(self.stopping.clone()));
                servers.spawn(self.servers.clone().serve_admin(listener, router, stop));
            }
            tokio::spawn(self.pulse.run());
            let ControlEnds { shards, doorbell, door } = self.ends;
            let parts = ControlParts { shards, doorbell, door, jwt: self.jwt, seed, stats: self.stats };
            let node = async { ControlNode::new(parts).run().await.map_err(runtime_failure) };
            let handle = self.handle.clone();
            let life = async {
                live(self.wishes, self.reloader, self.drain).await;
                // What is not taken by a shard now never will be: it is stuck, and the process ends around it.
                let _ = handle.send_all(ControlToShard::Stop).await;
                self.stop.send_replace(true);
                handle.stop().await;
                Ok(())
            };
            let opening = open(self.opened, self.handle.clone());
            let mut ends_told = self.ends_told;
            let chores = async {
                let chores = async {
                    tokio::join!(
                        opening,
                        steer(&self.handle),
                        notify::watch(&self.health),
                        log::tell_left_out(),
                        panics::tell(),
                        ends_told.watch(),
                    )
                };
                tokio::select! {
                    _ = chores => {}
                    () = stop(self.stopping.clone()) => {}
                }
                ends_told.tell();
                Ok(())
            };
            up.now();
            tokio::try_join!(node, life, chores, all(servers)).map(drop)
        })
    }
}

/// Carry out what the operator wants until the gateway has drained.
async fn live(mut wishes: Wishes, mut reloader: Reloader, drain: Drain) {
    until_stop(&mut wishes, async || reloader.reload().await).await;
    let drain_ms = convert::drain_ms(reloader.current());
    tracing::info!(drain_ms, "stopping: clients are sent away; a second signal ends it now");
    let drained = drain.run(drain_ms).await;
    match drained.left.as_slice() {
        [] => tracing::info!("every client was sent away"),
        shards => tracing::warn!(?shards, "these shards did not get rid of their clients in time"),
    }
    if drained.in_doubt > 0 {
        let pushes = drained.in_doubt;
        tracing::warn!(
            pushes,
            "pushes on their way into the log end without an answer: each may appear once or not at all"
        );
    }
}

/// Tell shards that their listeners listen, once they do.
async fn open(mut opened: watch::Receiver<bool>, control: ControlHandle) {
    if opened.wait_for(|opened| *opened).await.is_err() {
        return;
    }
    for shard in 0..control.shards() {
        while let Err(error) = control.send(shard, ControlToShard::Open).await {
            tracing::warn!(shard, %error, "a shard does not take the order to accept clients");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Tell shards who accepts for whom, whenever one becomes full or has room again.
async fn steer(control: &ControlHandle) {
    let mut states = control.states();
    let mut steering = Steering::new(control.shards());
    let mut known = vec![false; usize::from(control.shards())];
    loop {
        let now: Vec<bool> = states.borrow_and_update().iter().map(|state| state.full).collect();
        for (shard, (known, full)) in (0..).zip(known.iter_mut().zip(now)) {
            if *known == full {
                continue;
            }
            *known = full;
            for order in steering.report(shard, full) {
                let (shard, message) = order.message();
                while let Err(error) = control.send(shard, message.clone()).await {
                    tracing::warn!(shard, %error, "a shard does not take the order who accepts for whom");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

/// Resolves when everything is to end, also when nobody is left who could say so.
async fn stop(mut stopping: Stopping) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Wait for every server; the first failure counts.
async fn all(mut servers: JoinSet<io::Result<()>>) -> Result<(), Failure> {
    while let Some(ended) = servers.join_next().await {
        ended.map_err(runtime_failure)?.map_err(runtime_failure)?;
    }
    Ok(())
}
