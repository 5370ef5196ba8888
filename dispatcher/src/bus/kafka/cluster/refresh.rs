//! Asking the cluster who leads. Owns whom to ask and in which order, that it is asked at most once in a while however
//! many want to know, and the sentences about a topic that is not there. Next step: [`crate::bus::kafka::metadata`].

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::peer::Peer;
use super::{Class, Cluster};
use crate::bus::kafka::error::{ErrorKind, RequestError};
use crate::bus::kafka::metadata::TopicTrouble;
use crate::bus::kafka::wire::answer::Response;
use crate::bus::kafka::wire::request::Request;
use crate::bus::log::{Topology, Trouble};

/// Between two questions, at least.
const INTERVAL: Duration = Duration::from_millis(100);
/// A broker that is silent so long gets company: the next one is asked too.
const STAGGER: Duration = Duration::from_millis(500);

/// The last question, for those who want to know at the same time.
#[derive(Debug, Default)]
pub(super) struct Refreshing {
    /// When it was asked, and what came.
    last: Option<(Instant, Result<Topology, Trouble>)>,
    /// Turns with each question, so that not one broker is asked by all of us for ever.
    turn: usize,
}

impl Cluster {
    /// Ask who leads, now or together with others who ask. Bounded by the time-outs of the settings.
    ///
    /// # Errors
    /// Nobody answers, or the topic is not there; says what to do.
    pub async fn refresh(&self) -> Result<Topology, Trouble> {
        let wanted = Instant::now();
        let mut refreshing = self.shared.refreshing.lock().await;
        if let Some((asked, result)) = &refreshing.last {
            if *asked >= wanted {
                return result.clone();
            }
            sleep_until(*asked + INTERVAL).await;
        }
        let asked = Instant::now();
        refreshing.turn = refreshing.turn.wrapping_add(1);
        let result = self.ask_anybody(refreshing.turn).await;
        refreshing.last = Some((asked, result.clone()));
        result
    }

    /// Known brokers first, then where the configuration says to begin.
    async fn ask_anybody(&self, turn: usize) -> Result<Topology, Trouble> {
        let mut peers: Vec<Peer> = self.view().metadata.nodes.keys().map(|&node| Peer::Node(node)).collect();
        if !peers.is_empty() {
            let known = peers.len();
            peers.rotate_left(turn % known);
        }
        peers.extend(self.shared.settings.brokers.iter().cloned().map(Peer::Bootstrap));
        let deadline = Instant::now() + self.shared.settings.request_timeout;
        let mut peers = peers.into_iter().peekable();
        let mut asked = FuturesUnordered::new();
        let mut failures = Vec::new();
        loop {
            match peers.next() {
                Some(peer) => asked.push(self.ask_peer(peer, deadline)),
                None if asked.is_empty() => return Err(self.nobody(&failures)),
                None => {}
            }
            tokio::select! {
                Some(answered) = asked.next() => match answered {
                    (peer, Ok(answer)) => return self.believe(&peer, &answer),
                    (_, Err(error)) => failures.push(error),
                },
                () = sleep(STAGGER), if peers.peek().is_some() => {}
            }
        }
    }

    async fn ask_peer(&self, peer: Peer, deadline: Instant) -> (Peer, Result<MetadataResponse, RequestError>) {
        let name = TopicName(StrBytes::from_string(self.shared.settings.topic.clone()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name))]))
            .with_allow_auto_topic_creation(false);
        let answer = self.request_peer(peer.clone(), Class::Rest, Request::Metadata(request), deadline).await;
        let answer = answer.and_then(|answer| match answer {
            Response::Metadata(answer) => Ok(answer),
            _ => {
                let text = format!("{peer} answered to something else").into();
                Err(RequestError { written: true, kind: ErrorKind::Unsuited, text })
            }
        });
        (peer, answer)
    }

    fn believe(&self, peer: &Peer, answer: &MetadataResponse) -> Result<Topology, Trouble> {
        let mut view = self.view();
        if let Peer::Bootstrap(address) = peer {
            view.bootstrap = Some(address.clone());
        }
        let applied = view.metadata.apply(answer);
        let topology = view.metadata.topology();
        let name = view.name_of(peer);
        drop(view);
        self.prune();
        match (applied, topology) {
            (Ok(()), Some(topology)) => Ok(topology),
            (Ok(()), None) => Err(self.trouble(&name, TopicTrouble::NotYet)),
            (Err(trouble), _) => Err(self.trouble(&name, trouble)),
        }
    }

    fn trouble(&self, name: &str, trouble: TopicTrouble) -> Trouble {
        let topic = &self.shared.settings.topic;
        match trouble {
            TopicTrouble::Missing => Trouble::NoTopic(self.no_topic().into()),
            TopicTrouble::Denied => Trouble::Denied(self.not_allowed("DESCRIBE").into()),
            TopicTrouble::NotYet => Trouble::Refused(format!("{name} does not know topic {topic} yet").into()),
            TopicTrouble::Stale => {
                Trouble::Refused(format!("{name} still tells of a topic {topic} that was replaced").into())
            }
            TopicTrouble::Rebootstrap => {
                Trouble::Refused(format!("{name} wants us to begin anew with the configured brokers").into())
            }
            TopicTrouble::Code(code) => Trouble::Refused(format!("{name} says of topic {topic}: {code}").into()),
        }
    }

    /// What to do about a topic that is not there.
    pub(in crate::bus::kafka) fn no_topic(&self) -> String {
        let (topic, at) = (&self.shared.settings.topic, self.tools_at());
        format!(
            "there is no topic {topic}; create it: kafka-topics.sh --bootstrap-server {at} --create --topic {topic} \
             --partitions 12 --replication-factor 3 --config min.insync.replicas=2 --config cleanup.policy=delete \
             --config retention.ms=3600000"
        )
    }

    /// What to do about a missing right, which is named.
    pub(in crate::bus::kafka) fn not_allowed(&self, operation: &str) -> String {
        let (topic, at) = (&self.shared.settings.topic, self.tools_at());
        let user = self.shared.settings.sasl.as_ref().map_or("ANONYMOUS", |sasl| sasl.user.as_str());
        format!(
            "{operation} of topic {topic} is not allowed to us; allow it: kafka-acls.sh --bootstrap-server {at} --add \
             --allow-principal User:{user} --operation READ --operation DESCRIBE --operation WRITE --topic {topic}"
        )
    }

    fn tools_at(&self) -> String {
        let bootstrap = self.view().bootstrap.clone();
        bootstrap.or_else(|| self.shared.settings.brokers.first().cloned()).unwrap_or_default()
    }

    /// Nobody answers: all that went wrong, each once.
    fn nobody(&self, failures: &[RequestError]) -> Trouble {
        let mut texts: Vec<&str> = Vec::new();
        for failure in failures {
            if !texts.contains(&&*failure.text) {
                texts.push(&failure.text);
            }
        }
        if texts.is_empty() {
            return Trouble::Unreachable("no broker is configured".into());
        }
        let text = texts.join("; ").into();
        if failures.iter().any(|failure| failure.kind == ErrorKind::Denied) {
            Trouble::Denied(text)
        } else if failures.iter().any(|failure| failure.kind == ErrorKind::Unsuited) {
            Trouble::Refused(text)
        } else if failures.iter().all(|failure| failure.kind == ErrorKind::TimedOut) {
            Trouble::TimedOut(text)
        } else {
            Trouble::Unreachable(text)
        }
    }
}
