//! The cluster under test and everybody who uses it. Owns the processes and the tasks of clients and senders, and what
//! a round is: load, a fault, recovery, quiet, judgement.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::brokers::{Brokers, Setup};
use crate::clients;
use crate::faults::Fault;
use crate::ledger::{Ledger, Stream, Who};
use crate::process::Program;
use crate::pushes;
use crate::verdict::Verdict;

/// Clients of each gateway.
const CLIENTS: u32 = 24;
/// Rooms that they share.
const ROOMS: u32 = 4;
/// Pushes a second, over all doors.
const PUSHES_PER_SECOND: u32 = 150;
/// Load before a fault, and after the cluster is whole again.
const AROUND: Duration = Duration::from_secs(2);
/// Nothing comes any more when nothing came for this long.
const QUIET: Duration = Duration::from_secs(2);
/// How long answers and deliveries may take after a round.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// How far behind a gateway may be and still catch up.
pub const CATCHUP_MAX: Duration = Duration::from_secs(20);

/// The topic, of which every partition has a leader of its own among the three.
pub const TOPIC: &str = "goim-push-topic";
const PARTITIONS: u32 = 6;

/// The cluster and its users.
pub struct World {
    /// Three brokers.
    pub brokers: Arc<Brokers>,
    /// Two, and a third one while it is tried.
    pub gateways: Vec<Program>,
    /// One.
    pub dispatcher: Program,
    ledger: Arc<Ledger>,
    settings: Vec<String>,
    folder: TempDir,
    clients: Vec<JoinHandle<()>>,
}

/// Pushes that come at their times until it is dropped.
struct Load(JoinHandle<()>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl World {
    /// Everything up, everybody logged in.
    pub async fn start() -> World {
        let brokers = tokio::task::spawn_blocking(|| {
            let brokers = Setup::new(3).start();
            brokers.create_topic(TOPIC, PARTITIONS, &json!({ "min.insync.replicas": "2" }));
            brokers
        });
        let brokers = Arc::new(brokers.await.expect("Kafka starts"));
        let folder = tempfile::Builder::new().prefix("halley-chaos-").tempdir().expect("a folder");
        let kafka = vec![format!("--set=kafka.brokers={}", brokers.bootstrap().join(","))];
        let own = [
            "--drain-seconds=2".to_owned(),
            "--set=kafka.gap_shed_seconds=2".to_owned(),
            format!("--set=kafka.catchup_max_seconds={}", CATCHUP_MAX.as_secs()),
            "--set=node.heartbeat_seconds=86400".to_owned(),
        ];
        let settings = [kafka.clone(), own.to_vec()].concat();
        let gateways = (1..=2).map(|number| Program::gateway(&format!("gateway-{number}"), folder.path(), &settings));
        let (gateways, dispatcher) = (gateways.collect(), Program::dispatcher(folder.path(), &kafka));
        let (ledger, clients) = (Arc::default(), Vec::new());
        let mut world = World { brokers, gateways, dispatcher, ledger, settings, folder, clients };
        world.start_all().await;
        for gateway in 0..2 {
            world.let_in(gateway);
        }
        world
    }

    /// Starts what does not run, and waits until all of it is ready.
    pub async fn start_all(&mut self) {
        for gateway in &mut self.gateways {
            gateway.start().await;
        }
        self.dispatcher.start().await;
    }

    /// A gateway more, and clients that log in to it.
    pub async fn join(&mut self) {
        let mut third = Program::gateway("gateway-3", self.folder.path(), &self.settings);
        third.start().await;
        self.gateways.push(third);
        self.let_in(2);
    }

    /// It goes again, and its clients with it.
    pub async fn leave(&mut self) {
        let mut third = self.gateways.pop().expect("it joined");
        third.signal(rustix::process::Signal::TERM);
        third.wait_end().await;
        self.clients.drain(2 * CLIENTS as usize..).for_each(|client| client.abort());
        self.ledger.closed_all(2, Instant::now());
    }

    /// The same keys, users and rooms on every gateway.
    fn let_in(&mut self, gateway: usize) {
        let tcp = self.gateways[gateway].tcp;
        for client in 0..CLIENTS {
            let who = Who { gateway, key: client, mid: 1 + client / 2, room: client % ROOMS };
            self.clients.push(clients::stay(self.ledger.clone(), tcp, who));
        }
    }

    /// Where clients log in.
    pub fn doors_of_clients(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(|gateway| gateway.tcp).collect()
    }

    /// What a fault does to the brokers; waits for it.
    pub async fn with_brokers<T: Send + 'static>(&self, work: impl FnOnce(&Brokers) -> T + Send + 'static) -> T {
        let brokers = self.brokers.clone();
        tokio::task::spawn_blocking(move || work(&brokers)).await.expect("it works")
    }

    /// Load, the fault, recovery, quiet; what was seen.
    pub async fn round(&mut self, fault: Fault) -> Verdict {
        self.wait_clients().await;
        let load = self.load();
        tokio::time::sleep(AROUND).await;
        fault.happen(self).await;
        self.start_all().await;
        tokio::time::sleep(AROUND).await;
        drop(load);
        self.settle().await;
        self.ledger.judge(|gateway| fault.ending(gateway))
    }

    /// Until everybody is connected.
    async fn wait_clients(&self) {
        let (deadline, wanted) = (Instant::now() + SETTLE_MAX, self.clients.len());
        while self.ledger.open_sessions() < wanted {
            let open = self.ledger.open_sessions();
            assert!(Instant::now() < deadline, "{open} of {wanted} clients are logged in after {SETTLE_MAX:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Pushes at their times, by turns to every name and through every door.
    fn load(&self) -> Load {
        let doors = [self.dispatcher.http, self.gateways[0].http, self.gateways[1].http];
        let ledger = self.ledger.clone();
        let next = AtomicU64::new(0);
        Load(tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / PUSHES_PER_SECOND);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            loop {
                tick.tick().await;
                let number = next.fetch_add(1, Ordering::Relaxed);
                let name = u32::try_from(number / 3 % 1_000_000).expect("small");
                let stream = match number % 3 {
                    0 => Stream::Key(name % CLIENTS),
                    1 => Stream::Mid(1 + name % (CLIENTS / 2)),
                    _ => Stream::Room(name % ROOMS),
                };
                let door = doors[usize::try_from(number / 7 % 3).expect("small")];
                tokio::spawn(pushes::push(ledger.clone(), door, stream));
            }
        }))
    }

    /// Until every push has its answer, and nothing comes any more.
    async fn settle(&self) {
        let deadline = Instant::now() + SETTLE_MAX;
        let (mut before, mut since) = (self.ledger.progress(), Instant::now());
        while before.0 > 0 || since.elapsed() < QUIET {
            assert!(Instant::now() < deadline, "{before:?} after {SETTLE_MAX:?}: answers or deliveries do not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = self.ledger.progress();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
    }
}
