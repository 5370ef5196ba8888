//! A drain over real Kafka, sentence by sentence (rule S5): not ready, new pushes refused by name, the one under way
//! answered, clients sent away bit by bit while the log goes on to be read for those who are left. Owns that story, and
//! the one of a gateway that nobody is connected to.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::brokers::{Brokers, Setup};
use crate::clients;
use crate::ledger::{PushId, Stream, Who};
use crate::process::Program;
use crate::pushes::{ask, get, request};
use crate::world::TOPIC;

/// Over so long the clients are sent away, and so many are there.
const DRAIN: Duration = Duration::from_secs(8);
const CLIENTS: u32 = 16;
/// For so long a broker stands still: longer than the servers of a gateway that ends go on (5 s), and shorter than a
/// push is tried (15 s).
const STANDSTILL: Duration = Duration::from_secs(8);
/// Only failures wait so long.
const PATIENCE: Duration = Duration::from_secs(60);
const ROOM: Stream = Stream::Room(0);

/// What came to one client, in order.
type Received = Arc<Mutex<Vec<u64>>>;

/// A client in the room, which leaves for good when it is sent away.
fn client(gateway: SocketAddr, key: u32) -> (Received, JoinHandle<()>) {
    let received = Received::default();
    let seen = Arc::clone(&received);
    let who = Who { gateway: 0, key, mid: 1 + key, room: 0 };
    let reading = tokio::spawn(async move {
        let connection = clients::login(gateway, &who).await.expect("it logs in");
        seen.lock().unwrap().push(0);
        let _ = clients::read(connection, |id| seen.lock().unwrap().push(id.number)).await;
    });
    (received, reading)
}

/// The status and the text that a push is answered with.
async fn push(door: SocketAddr, number: u64) -> (u16, String) {
    let answer = ask(door, &request(PushId { stream: ROOM, number })).await;
    answer.expect("it is answered")
}

/// Looks again and again.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn numbers(received: &Received) -> Vec<u64> {
    received.lock().unwrap().clone()
}

/// Two gateways of one log.
async fn gateways(brokers: &Brokers, folder: &Path) -> (Program, Program) {
    let settings = [
        format!("--set=kafka.brokers={}", brokers.bootstrap().join(",")),
        format!("--drain-seconds={}", DRAIN.as_secs()),
        "--set=node.heartbeat_seconds=86400".to_owned(),
    ];
    let mut leaving = Program::gateway("leaving", folder, &settings);
    let mut staying = Program::gateway("staying", folder, &settings);
    leaving.start().await;
    staying.start().await;
    (leaving, staying)
}

/// One broker, as the test's own.
async fn broker() -> Arc<Brokers> {
    let brokers = tokio::task::spawn_blocking(|| {
        let brokers = Setup::new(1).start();
        brokers.create_topic(TOPIC, 1, &json!({}));
        Arc::new(brokers)
    });
    brokers.await.expect("Kafka starts")
}

/// The broker stands still, and a push waits for it.
async fn push_under_way(brokers: &Brokers, door: SocketAddr, number: u64) -> JoinHandle<(u16, String)> {
    brokers.pause(1);
    let under_way = tokio::spawn(async move { push(door, number).await });
    let is_waiting =
        async || get(door, "/metrics").await.is_some_and(|(_, text)| text.contains("\nhalley_bus_records 1\n"));
    until("the push waits for the broker", is_waiting).await;
    under_way
}

/// A gateway that nobody is connected to has nothing to do but to answer a push whose broker stands still for longer
/// than anything else at the end may take.
pub async fn story_without_clients() {
    let brokers = broker().await;
    let folder = tempfile::Builder::new().prefix("halley-drain-").tempdir().expect("a folder");
    let (mut leaving, _staying) = gateways(&brokers, folder.path()).await;
    let door = leaving.http;
    until("a push is taken", async || push(door, 1).await.0 == 200).await;
    let under_way = push_under_way(&brokers, door, 2).await;
    leaving.signal(Signal::TERM);
    tokio::time::sleep(STANDSTILL).await;
    assert!(leaving.runs() && !under_way.is_finished(), "the push is still under way:\n{}", leaving.log_end());
    brokers.resume(1);
    let (status, said) = under_way.await.expect("it is answered");
    assert_eq!(status, 200, "the broker came back in time: {said}");
    leaving.wait_end().await;

    // One that does not come back in time: nobody knows what became of the push, and that is the answer.
    leaving.start().await;
    until("a push is taken", async || push(door, 3).await.0 == 200).await;
    let under_way = push_under_way(&brokers, door, 4).await;
    leaving.signal(Signal::TERM);
    let (status, said) = under_way.await.expect("it is answered");
    assert!(status == 504 && said.contains("once or not at all"), "{status}: {said}");
    leaving.wait_end().await;
    brokers.resume(1);
    let log = leaving.log_end();
    assert!(!log.contains("did not reach") && !log.contains("without an answer"), "it ends in order:\n{log}");
}

/// From the signal to the end of the process.
pub async fn story() {
    let brokers = broker().await;
    let folder = tempfile::Builder::new().prefix("halley-drain-").tempdir().expect("a folder");
    let (mut leaving, staying) = gateways(&brokers, folder.path()).await;
    let clients: Vec<_> = (0..CLIENTS).map(|key| client(leaving.tcp, key)).collect();
    until("all are logged in", async || clients.iter().all(|(received, _)| numbers(received) == [0])).await;
    assert_eq!(push(leaving.http, 1).await.0, 200);

    // One push is under way when the drain begins.
    let door = leaving.http;
    let under_way = push_under_way(&brokers, door, 2).await;
    leaving.signal(Signal::TERM);
    until("it is not ready", async || get(door, "/readyz").await.is_some_and(|(status, _)| status == 503)).await;
    let (_, said) = get(door, "/readyz").await.expect("it still answers");
    assert!(said.starts_with("draining"), "{said}");
    let (status, said) = push(door, 1_000).await;
    assert!(status == 503 && said.contains("stopping") && said.contains("push through another one"), "{said}");
    brokers.resume(1);
    let (status, said) = under_way.await.expect("it is answered");
    assert_eq!(status, 200, "what was taken before is answered: {said}");

    // Others go on pushing, and who is still here goes on getting it.
    let mut last = 2;
    while clients.iter().any(|(_, reading)| !reading.is_finished()) {
        last += 1;
        let (status, said) = push(staying.http, last).await;
        assert_eq!(status, 200, "{said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    leaving.wait_end().await;
    let received: Vec<Vec<u64>> = clients.iter().map(|(received, _)| numbers(received)).collect();
    for (client, numbers) in received.iter().enumerate() {
        let whole: Vec<u64> = (0..u64::try_from(numbers.len()).expect("few")).collect();
        assert_eq!(*numbers, whole, "client {client} got every push until it was sent away, once and in order");
        assert!(numbers.contains(&1), "client {client} was there before the drain");
    }
    let longest = received.iter().map(Vec::len).max().expect("there are clients");
    let shortest = received.iter().map(Vec::len).min().expect("there are clients");
    assert!(longest > 4, "the log was read on while clients were sent away: {received:?}");
    assert!(shortest < longest, "they were not sent away all at once: {received:?}");
}
