//! The connection to one peer, over and over: made when somebody asks, again after a pause that grows when it breaks.
//! Owns the pause and the sentences about a peer that cannot be reached. Next step on the way out:
//! [`crate::bus::kafka::connection::driver`].

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Class;
use crate::backoff::{Backoff, Pauses};
use crate::bus::kafka::connection::core::{Profile, QUEUE_MAX};
use crate::bus::kafka::connection::driver::{self, Command, Stream};
use crate::bus::kafka::error::{ErrorKind, RequestError};
use crate::bus::kafka::metadata::Metadata;
use crate::bus::kafka::settings::{ANSWER_BYTES_MAX, Settings};
use crate::bus::log::Source;

/// A connection that lived so long has shown that the broker is well: the pauses begin anew.
const LIVED: Duration = Duration::from_secs(10);

/// Whom a connection is to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// A broker of the cluster.
    Node(Source),
    /// Where the configuration says to begin.
    Bootstrap(String),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Node(node) => write!(f, "broker {node}"),
            Peer::Bootstrap(address) => write!(f, "the broker at {address}"),
        }
    }
}

/// What became of connections and requests, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections on which a broker let us in.
    pub connected: u64,
    /// Attempts that made no such connection.
    pub unreachable: u64,
    /// Of those, the ones in which a broker was reached and did not let us log in.
    pub denied: u64,
    /// Of those that let us in, the ones that ended before we ended them.
    pub broken: u64,
    /// Requests that were handed to a connection; its own, by which it is opened, are not among them.
    pub requests: u64,
    /// Requests that found no place among those that wait.
    pub refused: u64,
    /// Requests without an answer in time.
    pub timed_out: u64,
    /// Answers with which a broker asked for a pause.
    pub throttled: u64,
}

/// What is known of the cluster, and how.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What it says.
    pub(super) metadata: Metadata,
    /// Brokers that let us in once.
    pub(super) reached: BTreeSet<Source>,
    /// The address of the configuration that answered last.
    pub(super) bootstrap: Option<String>,
    /// For whoever watches.
    pub(super) counts: Counts,
}

impl View {
    /// How people are told of a peer: a broker with its address.
    pub(super) fn name_of(&self, peer: &Peer) -> String {
        match peer {
            Peer::Node(node) => match self.metadata.nodes.get(node) {
                Some(address) => format!("broker {node} ({address})"),
                None => format!("broker {node}"),
            },
            Peer::Bootstrap(_) => peer.to_string(),
        }
    }

    fn address_of(&self, peer: &Peer) -> Option<String> {
        match peer {
            Peer::Node(node) => self.metadata.nodes.get(node).cloned(),
            Peer::Bootstrap(address) => Some(address.clone()),
        }
    }

    /// Why a peer cannot be reached, and what to do: of a broker that never was, where its address comes from.
    fn unreachable(&self, peer: &Peer, reason: &str) -> String {
        let name = self.name_of(peer);
        match (peer, &self.bootstrap) {
            (Peer::Node(node), Some(bootstrap)) if !self.reached.contains(node) => format!(
                "{name} {reason}. That is where the broker at {bootstrap}, which answers, says it is: if broker {node} \
                 runs, check its advertised.listeners"
            ),
            _ => format!("{name} {reason}"),
        }
    }
}

/// The part of a pause by which it may be shorter or longer.
const PAUSE_JITTER: f64 = 0.2;

/// A log-in that was denied is tried again after so many times the longest pause.
const DENIED_FACTOR: u32 = 10;

/// Serve one peer until nobody can ask any more.
pub(super) async fn serve(
    settings: Arc<Settings>,
    view: Arc<Mutex<View>>,
    peer: Peer,
    class: Class,
    mut commands: mpsc::Receiver<Command>,
) {
    let (first, longest) = settings.reconnect_pause;
    let (pauses, mut backoff) = (Pauses { first, longest, jitter: PAUSE_JITTER }, Backoff::default());
    let mut rng = SmallRng::from_os_rng();
    let mut not_before = Instant::now();
    while let Some(command) = commands.recv().await {
        let mut held = VecDeque::from([command]);
        let attempt = attempt(&settings, &view, &peer, not_before);
        let Some(connected) = hold(attempt, &peer, &mut held, &mut commands).await else { return };
        let (stream, deadline) = match connected {
            Ok(connected) => connected,
            Err(reason) => {
                let text: Arc<str> = {
                    let mut view = lock(&view);
                    view.counts.unreachable += 1;
                    view.unreachable(&peer, &reason).into()
                };
                tracing::debug!("{text}");
                let waiting = std::iter::from_fn(|| commands.try_recv().ok());
                held.into_iter().chain(waiting).for_each(|command| refuse(command, ErrorKind::Unreachable, &text));
                not_before = Instant::now() + backoff.next(pauses, &mut rng);
                continue;
            }
        };
        let began = Instant::now();
        let profile = profile(&settings, &lock(&view), &peer, class, deadline);
        let (mut opened, mut denied) = (false, false);
        let mark = || {
            opened = true;
            let mut view = lock(&view);
            view.counts.connected += 1;
            if let Peer::Node(node) = peer {
                view.reached.insert(node);
            }
        };
        let Some(closed) = driver::run(stream, profile, held, &mut commands, mark).await else { return };
        tracing::debug!("{closed}");
        {
            let mut view = lock(&view);
            let count = if opened { &mut view.counts.broken } else { &mut view.counts.unreachable };
            *count += 1;
            denied |= !opened && closed.kind == ErrorKind::Denied;
            view.counts.denied += u64::from(denied);
        }
        if began.elapsed() >= LIVED {
            backoff.reset();
        }
        // Denied log-ins count against the account.
        let pauses = if denied { pauses.even(longest * DENIED_FACTOR) } else { pauses };
        not_before = Instant::now() + backoff.next(pauses, &mut rng);
    }
}

/// `deadline` is that of the attempt: whoever is reached late has less time to let us in.
fn profile(settings: &Settings, view: &View, peer: &Peer, class: Class, deadline: Instant) -> Profile {
    Profile {
        broker: view.name_of(peer).into(),
        client_id: StrBytes::from_string(settings.client_id.clone()),
        sasl: settings.sasl.clone(),
        answer_bytes_max: match class {
            Class::Fetch => settings.read_answer_bytes_max,
            Class::Rest => ANSWER_BYTES_MAX,
        },
        open_timeout: deadline.saturating_duration_since(Instant::now()),
    }
}

/// Wait for the pause to be over, then connect to where the peer is now. Answers until when it has to let us in, too.
async fn attempt(
    settings: &Settings,
    view: &Mutex<View>,
    peer: &Peer,
    not_before: Instant,
) -> Result<(Box<dyn Stream>, Instant), String> {
    sleep_until(not_before).await;
    let deadline = Instant::now() + settings.connect_timeout;
    let address = lock(view).address_of(peer).ok_or("is no longer one of the cluster")?;
    Ok((driver::connect(&address, settings.tls.as_ref(), deadline).await?, deadline))
}

/// Keep what is asked while a connection is made, each until its deadline. `None` when nobody can ask any more.
async fn hold<C>(
    attempt: impl Future<Output = C>,
    peer: &Peer,
    held: &mut VecDeque<Command>,
    commands: &mut mpsc::Receiver<Command>,
) -> Option<C> {
    let mut attempt = std::pin::pin!(attempt);
    loop {
        let late_at = held.iter().map(|command| command.deadline).min();
        tokio::select! {
            biased;
            connected = &mut attempt => return Some(connected),
            command = commands.recv() => match command {
                Some(command) if held.len() < QUEUE_MAX => held.push_back(command),
                Some(command) => {
                    let text: Arc<str> = format!("{QUEUE_MAX} requests wait for {peer} already").into();
                    refuse(command, ErrorKind::Busy, &text);
                }
                None => {
                    let text: Arc<str> = format!("the connection to {peer} is given up").into();
                    held.drain(..).for_each(|command| refuse(command, ErrorKind::Broken, &text));
                    return None;
                }
            },
            () = sleep_until(late_at.unwrap_or_else(Instant::now)), if late_at.is_some() => {
                let now = Instant::now();
                let text: Arc<str> = format!("{peer} was not reached in time").into();
                let late = (0..held.len()).rev().filter(|&at| held[at].deadline <= now).collect::<Vec<_>>();
                late.into_iter().filter_map(|at| held.remove(at)).for_each(|command| {
                    refuse(command, ErrorKind::TimedOut, &text);
                });
            }
        }
    }
}

fn refuse(command: Command, kind: ErrorKind, text: &Arc<str>) {
    // Whoever asked may have gone.
    let _ = command.asker.send(Err(RequestError::unsent(kind, Arc::clone(text))));
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    // What a panicking thread left is whole: every change is one step.
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::MetadataRequest;
    use tokio::sync::oneshot;

    use super::*;
    use crate::bus::kafka::wire::request::Request;

    /// What the connection took is gone from the time that the broker has to let us in: together they have one bound.
    #[tokio::test(start_paused = true)]
    async fn connecting_and_logging_in_have_one_bound() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let peer = Peer::Bootstrap(listener.local_addr().expect("an address").to_string());
        let settings = Settings { connect_timeout: Duration::from_secs(10), ..Settings::new(Vec::new()) };
        let view = Mutex::new(View::default());
        let not_before = Instant::now() + Duration::from_secs(3);
        let (_stream, deadline) = attempt(&settings, &view, &peer, not_before).await.expect("it listens");
        assert!(deadline >= not_before + settings.connect_timeout, "the pause before is not part of it");
        tokio::time::sleep_until(deadline - Duration::from_secs(4)).await;
        let profile = profile(&settings, &lock(&view), &peer, Class::Rest, deadline);
        assert!(profile.open_timeout <= Duration::from_secs(4), "{:?}", profile.open_timeout);
    }

    /// While a connection is made no more wait for it than for one that is there; more are told at once.
    #[tokio::test]
    async fn what_waits_for_a_connection_is_bounded() {
        let (sender, mut commands) = mpsc::channel(QUEUE_MAX + 3);
        let deadline = Instant::now() + Duration::from_secs(3600);
        let mut answers = Vec::new();
        for _ in 0..QUEUE_MAX + 3 {
            let (asker, answer) = oneshot::channel();
            let request = Request::Metadata(MetadataRequest::default());
            assert!(sender.try_send(Command { request, deadline, asker }).is_ok());
            answers.push(answer);
        }
        let mut held = VecDeque::new();
        let peer = Peer::Node(1);
        let connected = {
            let last = answers.pop().expect("asked");
            let attempt = async { last.await.expect("told").map(drop).map_err(|error| (error.written, error.kind)) };
            hold(attempt, &peer, &mut held, &mut commands).await
        };
        assert_eq!(connected, Some(Err((false, ErrorKind::Busy))));
        assert_eq!((held.len(), commands.len()), (QUEUE_MAX, 0));
    }
}
