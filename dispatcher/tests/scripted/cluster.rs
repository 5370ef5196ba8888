//! The cluster over sockets: who is asked who leads, how often, and what people are told of brokers that cannot be
//! reached.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use halley_dispatcher::bus::kafka::check::{Needs, Verdict, check};
use halley_dispatcher::bus::kafka::cluster::{Class, Cluster};
use halley_dispatcher::bus::kafka::error::{ErrorKind, RequestError};
use halley_dispatcher::bus::kafka::settings::Settings;
use halley_dispatcher::bus::kafka::wire::answer::Response;
use halley_dispatcher::bus::kafka::wire::api::Api;
use halley_dispatcher::bus::kafka::wire::request::Request;
use halley_dispatcher::bus::log::{Leader, Trouble};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::broker::{Broker, Reaction};
use crate::words::{TOPIC, metadata};

/// Longer than anything that works.
const LONG: Duration = Duration::from_secs(30);

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound")
}

fn init() -> Request {
    Request::InitProducerId(InitProducerIdRequest::default().with_transaction_timeout_ms(1))
}

async fn request(cluster: &Cluster, node: i32, within: Duration) -> Result<Response, RequestError> {
    cluster.request(node, Class::Rest, init(), Instant::now() + within).await
}

/// The topic is asked for by name and never made by asking; what is answered is the topology.
#[tokio::test]
async fn the_topology_is_asked_for() {
    let broker = Broker::start(|_| None).await;
    let cluster = Cluster::new(broker.settings());
    assert_eq!(cluster.topology(), None);
    let topology = cluster.refresh().await.expect("a topic");
    assert_eq!(topology.topic.0, *TOPIC.as_bytes());
    assert_eq!(topology.leaders, [Some(Leader { source: 1, epoch: 5 }); 2]);
    assert_eq!((cluster.topology(), cluster.partitions()), (Some(topology), Some(2)));
    let asked = broker.asked(Api::Metadata)[0].1.decode::<MetadataRequest>();
    assert!(!asked.allow_auto_topic_creation);
    let names = asked.topics.expect("one topic").iter().map(|topic| topic.name.clone()).collect::<Vec<_>>();
    assert_eq!(names, [Some(TopicName(StrBytes::from_static_str("goim-push-topic")))]);
}

/// However many ask at once, the brokers are asked once or twice.
#[tokio::test]
async fn many_who_ask_are_one_question() {
    let broker = Broker::start(|_| None).await;
    let cluster = Cluster::new(broker.settings());
    let many = (0..100).map(|_| cluster.refresh());
    for topology in futures_util::future::join_all(many).await {
        topology.expect("a topic");
    }
    assert!(broker.asked(Api::Metadata).len() <= 2);
}

/// A broker that is silent does not keep the next one from being asked.
#[tokio::test]
async fn a_silent_broker_gets_company() {
    let silent = Broker::start(|_| Some(Reaction::Silence)).await;
    let well = Broker::start(|_| None).await;
    let cluster = Cluster::new(Settings::new(vec![silent.address.to_string(), well.address.to_string()]));
    cluster.refresh().await.expect("the second answers");
    assert_eq!(silent.asked(Api::ApiVersions).len(), 1);
}

/// When all known brokers are gone, those of the configuration are asked again.
#[tokio::test]
async fn the_configuration_is_the_last_resort() {
    let gone = nobody().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let broker = Broker::start(move |asked| {
        if asked.api != Api::Metadata || count.fetch_add(1, Ordering::Relaxed) > 0 {
            return None;
        }
        Some(Reaction::Answer(asked.answer(&metadata(&[(9, "127.0.0.1", gone.port())], 1))))
    })
    .await;
    let cluster = Cluster::new(broker.settings());
    assert_eq!(cluster.refresh().await.expect("a topic").leaders, [Some(Leader { source: 9, epoch: 5 })]);
    cluster.refresh().await.expect("the configuration's broker answers");
    assert!(cluster.metadata().nodes.contains_key(&1), "{:?}", cluster.metadata().nodes);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

/// A broker that is not where it says is named with what to look at, and nothing was sent.
#[tokio::test]
async fn a_wrong_advertised_listener_is_explained() {
    let gone = nobody().await;
    let broker = Broker::start(move |asked| {
        let lie = metadata(&[(2, "127.0.0.1", gone.port())], 1);
        (asked.api == Api::Metadata).then(|| Reaction::Answer(asked.answer(&lie)))
    })
    .await;
    let cluster = Cluster::new(broker.settings());
    cluster.refresh().await.expect("a topic");
    let error = request(&cluster, 2, LONG).await.expect_err("nobody listens");
    assert_eq!((error.written, error.kind), (false, ErrorKind::Unreachable));
    let (bootstrap, text) = (broker.address, error.to_string());
    assert!(text.starts_with(&format!("broker 2 ({gone}) cannot be reached at {gone}: ")), "{text}");
    let explained = format!(
        ". That is where the broker at {bootstrap}, which answers, says it is: if broker 2 runs, check its \
         advertised.listeners"
    );
    assert!(text.ends_with(&explained), "{text}");
    let unknown = request(&cluster, 3, LONG).await.expect_err("there is no such broker");
    assert_eq!(unknown.to_string(), "broker 3 is not one of the cluster, as far as the cluster says");
}

/// Each end of a topic that is not there is a sentence with the command that mends it.
#[tokio::test]
async fn troubles_with_the_topic_are_sentences() {
    for (code, expected) in [
        (
            3,
            "NoTopic: there is no topic goim-push-topic; create it: kafka-topics.sh --bootstrap-server ADDRESS \
             --create --topic goim-push-topic --partitions 12 \
             --replication-factor 3 --config min.insync.replicas=2 --config \
             cleanup.policy=delete --config retention.ms=3600000",
        ),
        (
            29,
            "Denied: DESCRIBE of topic goim-push-topic is not allowed to us; allow it: kafka-acls.sh \
             --bootstrap-server ADDRESS --add --allow-principal User:ANONYMOUS --operation READ \
             --operation DESCRIBE --operation WRITE \
             --topic goim-push-topic",
        ),
        (5, "Refused: the broker at ADDRESS does not know topic goim-push-topic yet"),
        (17, "Refused: the broker at ADDRESS says of topic goim-push-topic: INVALID_TOPIC_EXCEPTION (17)"),
        (4711, "Refused: the broker at ADDRESS says of topic goim-push-topic: error code 4711"),
    ] {
        let broker = Broker::start(move |asked| {
            let mut answer = metadata(&[(1, "127.0.0.1", 9)], 0);
            answer.topics[0].error_code = code;
            (asked.api == Api::Metadata).then(|| Reaction::Answer(asked.answer(&answer)))
        })
        .await;
        let trouble = Cluster::new(broker.settings()).refresh().await.expect_err("no topic");
        let kind = match trouble {
            Trouble::NoTopic(_) => "NoTopic",
            Trouble::Denied(_) => "Denied",
            Trouble::Refused(_) => "Refused",
            Trouble::Unreachable(_) => "Unreachable",
            Trouble::TimedOut(_) => "TimedOut",
        };
        let said = format!("{kind}: {trouble}").replace(&broker.address.to_string(), "ADDRESS");
        assert_eq!(said, expected);
    }
}

/// A cluster that wants us to begin anew is begun anew.
#[tokio::test]
async fn a_cluster_may_want_to_be_begun_anew() {
    let calls = Arc::new(AtomicUsize::new(0));
    let broker = Broker::start(move |asked| {
        let anew = MetadataResponse::default().with_error_code(129);
        let second = asked.api == Api::Metadata && calls.fetch_add(1, Ordering::Relaxed) == 1;
        second.then(|| Reaction::Answer(asked.answer(&anew)))
    })
    .await;
    let cluster = Cluster::new(broker.settings());
    cluster.refresh().await.expect("a topic");
    let Err(Trouble::Refused(text)) = cluster.refresh().await else { panic!("begin anew") };
    assert!(text.contains("begin anew"), "{text}");
    assert!(cluster.metadata().nodes.is_empty());
    cluster.refresh().await.expect("the configuration's broker answers");
}

/// Whether a request was sent: a broker that breaks off after it leaves it in doubt, one that answers answers.
#[tokio::test]
async fn what_was_sent_is_in_doubt() {
    let calls = Arc::new(AtomicUsize::new(0));
    let broker = Broker::start(move |asked| {
        let answer = InitProducerIdResponse::default().with_producer_id(5.into());
        (asked.api == Api::InitProducerId).then(|| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => Reaction::Close,
            1 => Reaction::Last(asked.answer(&answer).slice(..20)),
            _ => Reaction::Answer(asked.answer(&answer)),
        })
    })
    .await;
    let cluster = Cluster::new(broker.settings());
    cluster.refresh().await.expect("a topic");
    for _ in 0..2 {
        let error = request(&cluster, 1, LONG).await.expect_err("it breaks off");
        assert_eq!((error.written, error.kind), (true, ErrorKind::Broken));
    }
    let Ok(Response::InitProducerId(answer)) = request(&cluster, 1, LONG).await else { panic!("it answers") };
    assert_eq!(answer.producer_id.0, 5);
    // One for the configuration's address.
    let counts = cluster.counts();
    assert_eq!((counts.connected, counts.broken, counts.unreachable, counts.refused), (4, 2, 0, 0));
    assert_eq!(broker.asked(Api::InitProducerId).len(), 3, "nothing is sent twice");
}

/// A broker that never answers is left in time, in doubt, and asked on another connection afterwards.
#[tokio::test]
async fn a_broker_that_never_answers_is_left() {
    let broker = Broker::start(|asked| (asked.api == Api::InitProducerId).then_some(Reaction::Silence)).await;
    let cluster = Cluster::new(broker.settings());
    cluster.refresh().await.expect("a topic");
    for _ in 0..2 {
        let error = request(&cluster, 1, Duration::from_millis(100)).await.expect_err("it is silent");
        assert_eq!((error.written, error.kind), (true, ErrorKind::TimedOut));
    }
    let connections: Vec<usize> = broker.asked(Api::InitProducerId).iter().map(|(number, _)| *number).collect();
    assert!(connections.len() == 2 && connections[0] != connections[1], "{connections:?}");
    let counts = cluster.counting().counts();
    assert_eq!((counts.requests, counts.timed_out, counts.throttled, counts.denied), (3, 2, 0, 0));
}

/// Whoever asks without pause while a broker breaks every connection does not make it a hot loop: pauses grow.
#[tokio::test]
async fn a_broker_that_breaks_every_connection_is_not_hurried() {
    let broker = Broker::start(|asked| (asked.api == Api::InitProducerId).then_some(Reaction::Close)).await;
    let cluster = Cluster::new(broker.settings());
    cluster.refresh().await.expect("a topic");
    let hurry = async {
        loop {
            request(&cluster, 1, LONG).await.expect_err("it breaks off");
        }
    };
    timeout(Duration::from_secs(1), hurry).await.expect_err("a second is over");
    let asked = broker.asked(Api::InitProducerId).len();
    assert!((2..=8).contains(&asked), "{asked} in a second: pauses of 50, 100, 200, 400 ms");
}

/// A broker that cannot be reached for a while is reached again when it is back, by whoever waited.
#[tokio::test]
async fn a_broker_comes_back() {
    let broker = Broker::start(|asked| {
        (asked.api == Api::InitProducerId).then(|| Reaction::Answer(asked.answer(&InitProducerIdResponse::default())))
    })
    .await;
    let cluster = Cluster::new(broker.settings());
    cluster.refresh().await.expect("a topic");
    request(&cluster, 1, LONG).await.expect("it answers");
    let address = broker.address;
    broker.end().await;
    let error = loop {
        match request(&cluster, 1, LONG).await.expect_err("it is gone") {
            error if error.written => {}
            error => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(!error.text.contains("advertised.listeners"), "it was reached there: {error}");
    let listener = TcpListener::bind(address).await.expect("its port");
    let back = tokio::spawn(async move { listener.accept().await.map(|_| ()) });
    let waiting = request(&cluster, 1, Duration::from_secs(5));
    let (reached, _) = tokio::join!(back, waiting);
    reached.expect("it runs").expect("a connection");
}

/// Every broker that was tried is in the sentence when nobody answers.
#[tokio::test]
async fn nobody_is_said_with_names() {
    let (first, second) = (nobody().await, nobody().await);
    let cluster = Cluster::new(Settings::new(vec![first.to_string(), second.to_string()]));
    let Err(Trouble::Unreachable(text)) = cluster.refresh().await else { panic!("nobody listens") };
    assert!(text.contains(&format!("the broker at {first} cannot be reached")), "{text}");
    assert!(text.contains(&format!("the broker at {second} cannot be reached")), "{text}");
    let none = Cluster::new(Settings::new(Vec::new())).refresh().await;
    assert_eq!(none, Err(Trouble::Unreachable("no broker is configured".into())));
}

/// Brokers of two clusters under one configuration are found out: each gateway would read whichever answers first.
#[tokio::test]
async fn brokers_of_two_clusters_are_found_out() {
    let start = |id: &'static str| {
        Broker::start(move |asked| {
            let other = MetadataResponse::default().with_cluster_id(Some(StrBytes::from_static_str(id)));
            (asked.api == Api::Metadata).then(|| Reaction::Answer(asked.answer(&other)))
        })
    };
    let (first, second) = (start("one").await, start("two").await);
    let settings = Settings::new(vec![first.address.to_string(), second.address.to_string()]);
    let lines = check(settings, Needs { catchup_max: Some(LONG), reads: true }).await;
    let expected = "the configured brokers are of different clusters: one, two. Name those of one";
    assert!(lines.iter().any(|line| line.verdict == Verdict::Error && line.text == expected), "{lines:#?}");
}
