//! A Kafka cluster as one asks it: a request to one broker, and who leads what. Owns connections (two a broker: one for
//! reads, which wait at the broker, and one for the rest) and what is known of the cluster. Tries nothing twice: who
//! asks knows what may be repeated. Used by [`super::log`] and by the producer, each with a cluster of its own, so that
//! both live on their own thread. Next step on the way out: `peer`.

mod peer;
mod refresh;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::connection::core::QUEUE_MAX;
use super::connection::driver::Command;
use super::error::{ErrorKind, RequestError};
use super::metadata::Metadata;
use super::settings::Settings;
use super::wire::answer::Response;
use super::wire::request::Request;
use crate::bus::log::{Leader, Source, TopicId, Topology};
use peer::{Peer, View};

pub use peer::Counts;
use refresh::Refreshing;

/// Which of a broker's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// For reads: a broker lets them wait, and whatever is asked behind them.
    Fetch,
    /// For everything else.
    Rest,
}

/// Shows what a cluster counts, and keeps none of its connections.
#[derive(Clone, Debug)]
pub struct Counting(Arc<Mutex<View>>);

impl Counting {
    /// As [`Cluster::counts`].
    pub fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts
    }
}

/// A Kafka cluster. Clones are the same one; connections end with the last.
#[derive(Clone, Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<Settings>,
    view: Arc<Mutex<View>>,
    peers: Mutex<HashMap<(Peer, Class), mpsc::Sender<Command>>>,
    refreshing: tokio::sync::Mutex<Refreshing>,
}

impl Cluster {
    /// A cluster to which nothing is connected yet. Connections are made when they are needed, by tasks of the runtime
    /// that the first request comes from.
    pub fn new(settings: Settings) -> Cluster {
        let shared = Shared {
            settings: Arc::new(settings),
            view: Arc::default(),
            peers: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
        };
        Cluster { shared: Arc::new(shared) }
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Ask one broker, once. While the broker cannot be reached this waits for the pause between attempts and for the
    /// next attempt; it never takes longer than until `deadline`, give or take a turn of the runtime. Dropping the
    /// future takes a request that was sent not back.
    ///
    /// # Errors
    /// There is no answer; says whether the broker may have got the request.
    pub async fn request(
        &self,
        node: Source,
        class: Class,
        request: Request,
        deadline: Instant,
    ) -> Result<Response, RequestError> {
        if !self.view().metadata.nodes.contains_key(&node) {
            let text = format!("broker {node} is not one of the cluster, as far as the cluster says");
            return Err(RequestError::unsent(ErrorKind::Unreachable, text));
        }
        self.request_peer(Peer::Node(node), class, request, deadline).await
    }

    async fn request_peer(
        &self,
        peer: Peer,
        class: Class,
        request: Request,
        deadline: Instant,
    ) -> Result<Response, RequestError> {
        let (asker, answer) = oneshot::channel();
        let answer = match self.sender(&peer, class).try_send(Command { request, deadline, asker }) {
            Ok(()) => answer.await.unwrap_or_else(|_| {
                let text = format!("the connection to {peer} was given up").into();
                Err(RequestError { written: true, kind: ErrorKind::Broken, text })
            }),
            Err(_) => {
                let text = format!("{QUEUE_MAX} requests wait for {peer} already");
                Err(RequestError::unsent(ErrorKind::Busy, text))
            }
        };
        let counts = &mut self.view().counts;
        match &answer {
            Ok(answer) => counts.throttled += u64::from(!answer.throttle().is_zero()),
            Err(error) if error.kind == ErrorKind::Busy => counts.refused += 1,
            Err(error) => counts.timed_out += u64::from(error.kind == ErrorKind::TimedOut),
        }
        counts.requests += u64::from(!answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Busy));
        answer
    }

    /// What is known of the topic now; `None` before the first [`Cluster::refresh`] that found it.
    pub fn topology(&self) -> Option<Topology> {
        self.view().metadata.topology()
    }

    /// How many partitions the topic has, as far as is known.
    pub fn partitions(&self) -> Option<usize> {
        self.view().metadata.topic.as_ref().map(|topic| topic.partitions.len())
    }

    /// Who leads a partition, as far as is known.
    pub fn leader_of(&self, partition: i32) -> Option<Leader> {
        self.view().metadata.leader_of(partition)
    }

    /// Everything that is known.
    pub fn metadata(&self) -> Metadata {
        self.view().metadata.clone()
    }

    /// What became of connections and requests.
    pub fn counts(&self) -> Counts {
        self.view().counts
    }

    /// For those who show them.
    pub fn counting(&self) -> Counting {
        Counting(Arc::clone(&self.shared.view))
    }

    /// How people are told of a broker: with its address.
    pub fn name_of(&self, node: Source) -> String {
        self.view().name_of(&Peer::Node(node))
    }

    /// A broker refused and said who leads (KIP-951); `nodes` are brokers that it named in passing, as id, host, port.
    /// Answers whether that was news.
    pub fn hint<'a>(
        &self,
        topic: Option<TopicId>,
        partition: i32,
        leader: Leader,
        nodes: impl Iterator<Item = (Source, &'a str, i32)>,
    ) -> bool {
        let mut view = self.view();
        nodes.filter(|(node, ..)| *node == leader.source).for_each(|(node, host, port)| {
            view.metadata.apply_node(node, host, port);
        });
        view.metadata.nodes.contains_key(&leader.source) && view.metadata.apply_hint(topic, partition, leader)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        // What a panicking thread left is whole: every change is one step.
        self.shared.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where requests to this peer go; its task is begun if there is none.
    fn sender(&self, peer: &Peer, class: Class) -> mpsc::Sender<Command> {
        let mut peers = self.shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = peers.entry((peer.clone(), class)).and_modify(|sender| {
            if sender.is_closed() {
                *sender = self.begin(peer, class);
            }
        });
        entry.or_insert_with(|| self.begin(peer, class)).clone()
    }

    fn begin(&self, peer: &Peer, class: Class) -> mpsc::Sender<Command> {
        let (sender, commands) = mpsc::channel(QUEUE_MAX);
        let (settings, view) = (Arc::clone(&self.shared.settings), Arc::clone(&self.shared.view));
        tokio::spawn(peer::serve(settings, view, peer.clone(), class, commands));
        sender
    }

    /// End connections to brokers that are none any more, and to those of the configuration once others are known.
    fn prune(&self) {
        let nodes = self.view().metadata.nodes.clone();
        let mut peers = self.shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|(peer, _), _| match peer {
            Peer::Node(node) => nodes.contains_key(node),
            Peer::Bootstrap(_) => nodes.is_empty(),
        });
    }
}
