//! Starting the threads. Owns which thread gets what, and the order in which they end: control hears of the stop and
//! closes the producer, the ingress answers what it took and ends, then everything does.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use halley_service::access::Access;
use halley_service::access::rules::AccessRules;
use halley_service::config::Sources;
use halley_service::config::reading::Reading;
use halley_service::config::value::text::Secret;
use halley_service::failure::Failure;
use halley_service::health::Health;
use halley_service::lifecycle::{Lifecycle, Phase, until_stop};
use halley_service::log::seldom::Seldom;
use halley_service::log::{self, Level, LogMetrics};
use halley_service::metrics::Metrics;
use halley_service::metrics::process::Process;
use halley_service::metrics::reloads::Reloads;
use halley_service::pulse::{Pulse, PulseSource};
use halley_service::serve::Serving;
use halley_service::serve::grpc::Grpc;
use halley_service::serve::servers::Servers;
use halley_service::signals::Wishes;
use halley_service::threads::{Threads, Up, runtime, runtime_failure};
use halley_service::{notify, panics};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::alone;
use super::bound::Bound;
use super::doors::{self, Observed};
use super::reload::Reloader;
use super::serving;
use super::settings::Config;
use crate::bus::Producer as _;
use crate::bus::kafka::cluster::Cluster;
use crate::bus::kafka::producer::{Driver, KafkaProducer, producer};
use crate::ingress::Ingress;
use crate::ingress::admit::Limits;
use crate::ingress::http::HttpState;
use crate::metrics::{ClusterMetrics, IngressMetrics, ProducerMetrics};

/// Between two looks at whether the topic is known.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How the operator reaches the process.
pub(super) struct Operator {
    /// Where a reload reads from.
    pub(super) sources: Sources,
    /// What signals ask for.
    pub(super) wishes: Wishes,
    /// Changes the level of log lines.
    pub(super) level: Level,
}

/// Start both threads, with a phase of life that begins.
pub(super) fn start(
    config: Config,
    access: Access,
    password: Option<Secret>,
    bound: Bound,
    operator: Operator,
) -> Result<(Threads, Lifecycle), Failure> {
    let (ingress_pulse, ingress_beats) = Pulse::new();
    let (control_pulse, control_beats) = Pulse::new();
    let health = Health::new(Vec::new(), vec![("ingress", ingress_pulse), ("control", control_pulse)]);
    let (lifecycle, reloads) = (Lifecycle::default(), Reloads::since(SystemTime::now()));
    // Until the brokers have told of the topic.
    lifecycle.lack(Some("the topic was not asked for yet"));
    let servers = serving::servers(&config, &bound.fit, AccessRules::new(access));
    let (producer, driver) = producing(&config, password);
    let (ingress, registry) = alone::ingress(Arc::new(producer.clone()), limits(&config), servers.access.clone());
    let metrics = Metrics::default()
        .with(Process::starts(env!("CARGO_PKG_VERSION")))
        .with(IngressMetrics(ingress.clone()))
        .with(ProducerMetrics(producer.clone()))
        .with(ClusterMetrics(vec![("writing", producer.cluster().clone())]))
        .with(servers.clone())
        .with(LogMetrics)
        .with(reloads.clone());
    let (metrics, access) = (Arc::new(metrics), servers.access.clone());
    let observed = Observed { metrics, lifecycle: lifecycle.clone(), health: health.clone(), access: access.clone() };
    let state = HttpState::of_no_node(ingress.clone(), registry, servers.budget().clone());
    let (ended, ending) = watch::channel(false);
    let Bound { http, grpc, admin, .. } = bound;
    let mut threads = Threads::new(2);

    let doors = Doors {
        http,
        router: doors::routes(state, observed.clone()),
        grpc,
        calls: doors::calls(&ingress),
        servers: servers.clone(),
        driver,
        pulse: ingress_beats,
        ended,
        stopping: ending.clone(),
    };
    threads.spawn("ingress", move |up| doors.run(up))?;

    let Operator { sources, wishes, level } = operator;
    let reloader = Reloader { sources, current: config, access, level, reloads, reading: Reading::default() };
    let control = Control {
        reloader,
        wishes,
        health,
        lifecycle: lifecycle.clone(),
        ingress,
        producer,
        serving: servers.serving.clone(),
        pulse: control_beats,
    };
    threads.spawn("control", move |up| {
        runtime()?.block_on(async move {
            let mut serving = JoinSet::new();
            for listener in admin {
                let router = doors::admin_router(observed.clone());
                serving.spawn(servers.clone().serve_admin(listener, router, stop(ending.clone())));
            }
            up.now();
            control.run(ending).await;
            all(serving).await
        })
    })?;
    Ok((threads, lifecycle))
}

/// Both ends of the way to Kafka.
fn producing(config: &Config, password: Option<Secret>) -> (KafkaProducer, Driver) {
    let (kafka, ingress) = (&config.kafka, &config.ingress);
    let produce = kafka.producer(to_usize(ingress.bus_records_max.into()), to_usize(ingress.bus_bytes_max));
    producer(produce, kafka.codec(), Cluster::new(kafka.client(password)))
}

/// What the ingress thread works with.
struct Doors {
    http: Vec<TcpListener>,
    router: Router,
    grpc: Vec<TcpListener>,
    calls: Grpc,
    servers: Servers,
    driver: Driver,
    pulse: PulseSource,
    /// Told when every push that was taken has its answer.
    ended: watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
}

impl Doors {
    /// Serve until the producer was closed and everything that it took has its answer.
    fn run(self, up: Up) -> Result<(), Failure> {
        runtime()?.block_on(async move {
            let mut serving = JoinSet::new();
            for listener in self.http {
                let stopping = stop(self.stopping.clone());
                serving.spawn(self.servers.clone().serve_http(listener, self.router.clone(), stopping));
            }
            for listener in self.grpc {
                let stopping = stop(self.stopping.clone());
                serving.spawn(self.servers.clone().serve_grpc(listener, self.calls.clone(), stopping));
            }
            tokio::spawn(self.pulse.run());
            up.now();
            self.driver.run().await;
            self.ended.send_replace(true);
            all(serving).await
        })
    }
}

/// What the control thread works with.
struct Control {
    reloader: Reloader,
    wishes: Wishes,
    health: Health,
    lifecycle: Lifecycle,
    ingress: Arc<Ingress>,
    producer: KafkaProducer,
    serving: Serving,
    pulse: PulseSource,
}

impl Control {
    /// Carry out what the operator wants, until the ingress has ended.
    async fn run(self, ending: watch::Receiver<bool>) {
        let Control { mut reloader, mut wishes, health, lifecycle, ingress, producer, serving, pulse } = self;
        tokio::spawn(pulse.run());
        let life = async {
            until_stop(&mut wishes, async || reloader.reload().await).await;
            tracing::info!("stopping: no further push is taken; a second signal ends it now");
            // First: whoever reads that it drains reads it in an answer that ends its connection.
            serving.close_soon();
            lifecycle.enter(Phase::Draining);
            ingress.stop();
            stop(ending).await;
            tracing::info!("every push that was taken was answered");
        };
        let chores = async {
            tokio::join!(
                watch_topic(&producer, &lifecycle),
                notify::watch(&health),
                log::tell_left_out(),
                panics::tell(),
            )
        };
        tokio::select! {
            () = life => {}
            _ = chores => {}
        }
    }
}

/// Ready is who can take a push: when the brokers have told of the topic.
async fn watch_topic(producer: &KafkaProducer, lifecycle: &Lifecycle) {
    let mut lacked = Seldom::default();
    loop {
        let unknown = || producer.partition_of(b"").is_err().then(|| "the topic was not found yet".into());
        let lack: Option<Arc<str>> = producer.trouble().or_else(unknown);
        match &lack {
            Some(why) if lacked.is_news(why, Instant::now()) => tracing::warn!(%why, "not ready for pushes"),
            None if lacked.ends() => tracing::info!("the topic takes pushes: ready"),
            _ => {}
        }
        lifecycle.lack(lack.as_deref());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        body_bytes_max: to_usize(config.ingress.body_bytes_max.into()),
        targets_max: to_usize(config.ingress.recipients_max.into()),
        ..Limits::default()
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Resolves when everything is to end, also when nobody is left who could say so.
async fn stop(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Wait for every server; the first failure counts.
async fn all(mut servers: JoinSet<std::io::Result<()>>) -> Result<(), Failure> {
    while let Some(ended) = servers.join_next().await {
        ended.map_err(runtime_failure)?.map_err(runtime_failure)?;
    }
    Ok(())
}
