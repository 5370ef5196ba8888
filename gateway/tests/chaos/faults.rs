//! The faults. Owns what each of them does to the cluster, under load; what it must not lead to is the ledger's.

use std::time::Duration;

use rustix::process::Signal;

use crate::clients;
use crate::ledger::Ending;
use crate::pushes;
use crate::world::{CATCHUP_MAX, TOPIC, World};

/// What happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None, so that what the tester itself loses is seen.
    None,
    /// The dispatcher is killed.
    DispatcherKilled,
    /// A gateway is killed.
    GatewayKilled,
    /// The broker that leads a partition is killed, and comes back.
    LeaderKilled,
    /// Every broker is killed, and they come back.
    BrokersKilled,
    /// A gateway stands still, and catches up.
    GatewayPaused,
    /// A gateway stands still for longer than it may catch up: it goes to the end of the log, and says so.
    GatewayBehind,
    /// A third gateway joins, and leaves.
    GatewayJoins,
    /// Very many clients log in and leave while a gateway is killed.
    LoginStorm,
    /// A gateway is told to stop.
    GatewayDrains,
}

/// How long a gateway stands still.
const PAUSE: Duration = Duration::from_secs(5);
/// How long something stays away.
const AWAY: Duration = Duration::from_secs(2);
/// How long a broker that leads is away: longer than its cluster takes to notice.
const LEADER_AWAY: Duration = Duration::from_secs(12);
/// Logins a second of the storm.
const LOGINS_PER_SECOND: u32 = 200;

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 10] = [
        Fault::None,
        Fault::DispatcherKilled,
        Fault::GatewayKilled,
        Fault::LeaderKilled,
        Fault::BrokersKilled,
        Fault::GatewayPaused,
        Fault::GatewayBehind,
        Fault::GatewayJoins,
        Fault::LoginStorm,
        Fault::GatewayDrains,
    ];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::DispatcherKilled => "dispatcher-killed",
            Fault::GatewayKilled => "gateway-killed",
            Fault::LeaderKilled => "leader-killed",
            Fault::BrokersKilled => "brokers-killed",
            Fault::GatewayPaused => "gateway-paused",
            Fault::GatewayBehind => "gateway-behind",
            Fault::GatewayJoins => "gateway-joins",
            Fault::LoginStorm => "login-storm",
            Fault::GatewayDrains => "gateway-drains",
        }
    }

    /// What becomes of the sessions of this gateway that end meanwhile.
    pub fn ending(self, gateway: usize) -> Ending {
        match (self, gateway) {
            (Fault::GatewayDrains, 1) | (Fault::GatewayJoins, 2) => Ending::Drained,
            (Fault::GatewayBehind, 1) => Ending::Shed,
            _ => Ending::Cut,
        }
    }

    /// Lets it happen; the world starts again what has ended by it.
    pub async fn happen(self, world: &mut World) {
        match self {
            Fault::None => tokio::time::sleep(AWAY).await,
            Fault::DispatcherKilled => {
                world.dispatcher.kill();
                tokio::time::sleep(AWAY).await;
            }
            Fault::GatewayKilled => {
                world.gateways[0].kill();
                tokio::time::sleep(AWAY).await;
            }
            Fault::LeaderKilled => leader_killed(world).await,
            Fault::BrokersKilled => brokers_killed(world).await,
            Fault::GatewayPaused => assert_eq!(pause(world, PAUSE).await, 0.0, "it caught up, and left out nothing"),
            Fault::GatewayBehind => {
                let gaps = pause(world, CATCHUP_MAX + PAUSE).await;
                assert!(gaps > 0.0, "what it left out, it says");
            }
            Fault::GatewayJoins => {
                world.join().await;
                tokio::time::sleep(AWAY).await;
                world.leave().await;
            }
            Fault::LoginStorm => {
                let storm = clients::storm(world.doors_of_clients(), LOGINS_PER_SECOND);
                tokio::time::sleep(AWAY).await;
                world.gateways[1].kill();
                tokio::time::sleep(AWAY).await;
                world.start_all().await;
                tokio::time::sleep(AWAY).await;
                storm.abort();
            }
            Fault::GatewayDrains => {
                world.gateways[1].signal(Signal::TERM);
                world.gateways[1].wait_end().await;
            }
        }
    }
}

/// Lets a gateway stand still for so long; how many gaps it counts for that.
async fn pause(world: &World, long: Duration) -> f64 {
    let gateway = &world.gateways[1];
    let gaps = || pushes::metric(gateway.http, "halley_log_gaps_total");
    let before = gaps().await;
    gateway.signal(Signal::STOP);
    tokio::time::sleep(long).await;
    gateway.signal(Signal::CONT);
    tokio::time::sleep(PAUSE).await;
    gaps().await - before
}

async fn leader_killed(world: &World) {
    let leader = world
        .with_brokers(|brokers| {
            let leader = brokers.leader(TOPIC, 0).expect("somebody leads");
            brokers.kill(leader);
            leader
        })
        .await;
    tokio::time::sleep(LEADER_AWAY).await;
    world
        .with_brokers(move |brokers| {
            brokers.run(leader);
            brokers.wait_ready();
        })
        .await;
    // Until it is a replica in sync again: the next one to die may be another.
    tokio::time::sleep(PAUSE).await;
}

async fn brokers_killed(world: &World) {
    world.with_brokers(|brokers| (1..=3).for_each(|node| brokers.kill(node))).await;
    tokio::time::sleep(AWAY).await;
    world
        .with_brokers(|brokers| {
            (1..=3).for_each(|node| brokers.run(node));
            brokers.wait_ready();
        })
        .await;
    tokio::time::sleep(PAUSE).await;
}
