//! Whether a cluster is what Halley needs, tried from here. Owns the questions and the verdicts, each one line that
//! says what to do; changes nothing in the cluster and prints nothing. Whoever runs the check shows the lines.

use std::fmt;
use std::time::Duration;

use halley_service::plain::Plain;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeConfigsRequest, InitProducerIdRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep};

use super::cluster::{Class, Cluster};
use super::codes::{self, Code};
use super::error::RequestError;
use super::metadata::Topic;
use super::settings::Settings;
use super::wire::answer::Response;
use super::wire::api::Api;
use super::wire::request::Request;
use crate::bus::log::Source;

/// The kind of resource that is a topic.
const RESOURCE_TOPIC: i8 = 2;
/// The settings of the topic that are looked at.
const CONFIGS: [&str; 4] = ["cleanup.policy", "min.insync.replicas", "retention.bytes", "retention.ms"];
/// Rights on a topic, by their numbers in Kafka.
const READ: u8 = 3;
const WRITE: u8 = 4;
/// What an answer about rights is when nobody looked.
const RIGHTS_UNKNOWN: i32 = i32::MIN;

/// A producer id is asked for so often while the brokers say that it may come later, with this pause.
const PRODUCER_ID_ATTEMPTS: u32 = 10;
const PRODUCER_ID_PAUSE: Duration = Duration::from_millis(200);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It works, and something may be lost because of it.
    Warning,
    /// It does not work.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How bad it is.
    pub verdict: Verdict,
    /// What was seen, and what to do.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Fine => "fine",
            Verdict::Warning => "warning",
            Verdict::Error => "error",
        };
        write!(f, "{word:<8}{}", Plain(&self.text))
    }
}

/// What is needed of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// How far a gateway may fall behind: the topic must keep records longer. `None` is however far.
    pub catchup_max: Option<Duration>,
    /// Whether pushes are read here too, to be delivered. Written they are by all.
    pub reads: bool,
}

/// The check under way.
struct Check {
    cluster: Cluster,
    needs: Needs,
    lines: Vec<Line>,
}

/// Try all of it: each configured broker, each broker where it says it is, the topic, its settings, and our rights.
/// Bounded by the time-outs of the settings.
pub async fn check(settings: Settings, needs: Needs) -> Vec<Line> {
    let mut check = Check { cluster: Cluster::new(settings.clone()), needs, lines: Vec::new() };
    let mut clusters: Vec<String> = Vec::new();
    for address in &settings.brokers {
        let alone = Cluster::new(Settings { brokers: vec![address.clone()], ..settings.clone() });
        let answer = alone.refresh().await;
        clusters.extend(alone.metadata().cluster_id.filter(|id| !clusters.contains(id)));
        match answer {
            _ if !alone.metadata().nodes.is_empty() => {
                check.say(Verdict::Fine, format!("the broker at {address} answers"))
            }
            Err(trouble) => check.say(Verdict::Error, trouble.to_string()),
            Ok(_) => check.say(Verdict::Error, format!("the broker at {address} names no brokers: it is starting")),
        }
    }
    if clusters.len() > 1 {
        let text =
            format!("the configured brokers are of different clusters: {}. Name those of one", clusters.join(", "));
        check.say(Verdict::Error, text);
    }
    let found = check.cluster.refresh().await;
    check.brokers().await;
    match (found, check.cluster.metadata().topic) {
        (Ok(_), Some(topic)) => {
            check.topic(&topic);
            check.rights().await;
            check.configs().await;
            check.producer_id().await;
        }
        // Said already of each broker of the configuration, when none of them knows any.
        (Err(_), _) if check.cluster.metadata().nodes.is_empty() => {}
        (Err(trouble), _) => check.say(Verdict::Error, trouble.to_string()),
        (Ok(_), None) => check.say(Verdict::Error, check.cluster.no_topic()),
    }
    check.lines
}

impl Check {
    fn say(&mut self, verdict: Verdict, text: impl Into<String>) {
        self.lines.push(Line { verdict, text: text.into() });
    }

    async fn ask(&self, node: Source, class: Class, request: Request) -> Result<Response, RequestError> {
        let settings = self.cluster.settings();
        let deadline = Instant::now() + settings.request_timeout.min(settings.connect_timeout * 2);
        self.cluster.request(node, class, request, deadline).await
    }

    /// Any broker answers about the topic; the first that does.
    async fn ask_any(&self, request: &Request) -> Option<Response> {
        for node in self.cluster.metadata().nodes.into_keys() {
            if let Ok(answer) = self.ask(node, Class::Rest, request.clone()).await {
                return Some(answer);
            }
        }
        None
    }

    /// Each broker where it says it is, on both kinds of connection.
    async fn brokers(&mut self) {
        for node in self.cluster.metadata().nodes.into_keys() {
            let name = self.cluster.name_of(node);
            let request = || {
                let software = StrBytes::from_static_str("halley");
                let version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
                let request = ApiVersionsRequest::default();
                let request = request.with_client_software_name(software).with_client_software_version(version);
                Request::ApiVersions(request)
            };
            let rest = self.ask(node, Class::Rest, request()).await;
            match (rest, self.ask(node, Class::Fetch, request()).await) {
                (Ok(Response::ApiVersions(answer)), Ok(_)) => {
                    let spoken = spoken(&answer);
                    self.say(Verdict::Fine, format!("{name} answers where it says it is, and speaks {spoken}"));
                }
                (Err(error), _) | (_, Err(error)) => self.say(Verdict::Error, error.to_string()),
                (Ok(_), Ok(_)) => self.say(Verdict::Error, format!("{name} answered to something else")),
            }
        }
    }

    /// Partitions, leaders, replicas.
    fn topic(&mut self, topic: &Topic) {
        let name = self.cluster.settings().topic.clone();
        let fewest = topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or_default();
        let count = topic.partitions.len();
        if fewest > 1 {
            self.say(Verdict::Fine, format!("topic {name} has {count} partitions, each on {fewest} brokers or more"));
        } else {
            self.say(
                Verdict::Warning,
                format!(
                    "topic {name} has {count} partitions, of which some are on one broker alone: when it is lost, so \
                     are they. Use a replication factor of 3"
                ),
            );
        }
        let among = |is: &dyn Fn(&super::metadata::Partition) -> bool| {
            let found = (0..).zip(&topic.partitions).filter(|(_, partition)| is(partition));
            found.map(|(index, _): (i32, _)| index.to_string()).collect::<Vec<_>>().join(", ")
        };
        let leaderless = among(&|partition| partition.leader.is_none());
        if !leaderless.is_empty() {
            let text = format!(
                "nobody leads these partitions of topic {name}: {leaderless}. Start the brokers that keep them"
            );
            self.say(Verdict::Error, text);
        }
        let behind = among(&|partition| partition.in_sync.len() < partition.replicas.len());
        if !behind.is_empty() {
            let text = format!("not all replicas are in step in these partitions of topic {name}: {behind}");
            self.say(Verdict::Warning, text);
        }
    }

    /// WRITE, and READ where it is needed, as the brokers say; DESCRIBE we have, or we would not know the topic.
    async fn rights(&mut self) {
        let name = self.cluster.settings().topic.clone();
        let topic = TopicName(StrBytes::from_string(name.clone()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(topic))]))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        let Some(Response::Metadata(answer)) = self.ask_any(&Request::Metadata(request)).await else { return };
        let rights = answer.topics.first().map_or(RIGHTS_UNKNOWN, |topic| topic.topic_authorized_operations);
        if rights == RIGHTS_UNKNOWN {
            let rights = if self.needs.reads { "READ, DESCRIBE, WRITE" } else { "DESCRIBE, WRITE" };
            let text = format!("the brokers do not say what we may do with topic {name}; it needs {rights}");
            return self.say(Verdict::Warning, text);
        }
        let has = |right: u8| rights & (1 << right) != 0;
        let needed: &[(u8, &str)] =
            if self.needs.reads { &[(READ, "READ"), (WRITE, "WRITE")] } else { &[(WRITE, "WRITE")] };
        let missing: Vec<&str> = needed.iter().filter(|(right, _)| !has(*right)).map(|(_, name)| *name).collect();
        for right in &missing {
            self.say(Verdict::Error, self.cluster.not_allowed(right));
        }
        if missing.is_empty() {
            let names: Vec<&str> = needed.iter().map(|(_, name)| *name).collect();
            self.say(Verdict::Fine, format!("topic {name} may be used: DESCRIBE, {}", names.join(", ")));
        }
    }

    /// The settings of the topic that decide what is lost.
    async fn configs(&mut self) {
        let name = self.cluster.settings().topic.clone();
        let resource = DescribeConfigsResource::default()
            .with_resource_type(RESOURCE_TOPIC)
            .with_resource_name(StrBytes::from_string(name.clone()))
            .with_configuration_keys(Some(CONFIGS.iter().map(|key| StrBytes::from_static_str(key)).collect()));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.ask_any(&Request::DescribeConfigs(request)).await;
        let Some(Response::DescribeConfigs(answer)) = answer else {
            let text = format!("no broker says how topic {name} is set up: look at {} yourself", CONFIGS.join(", "));
            return self.say(Verdict::Warning, text);
        };
        let Some(result) = answer.results.into_iter().next().filter(|result| result.error_code == codes::NONE) else {
            let text = format!(
                "DESCRIBE_CONFIGS of topic {name} is not allowed to us: look at {} yourself, or allow it",
                CONFIGS.join(", ")
            );
            return self.say(Verdict::Warning, text);
        };
        let value = |key: &str| {
            let config = result.configs.iter().find(|config| &*config.name == key);
            config.and_then(|config| config.value.as_ref()).map(|value| value.to_string())
        };
        let number = |key: &str| value(key).and_then(|value| value.parse::<i64>().ok());
        let verdicts = [
            cleanup(&name, value("cleanup.policy").as_deref()),
            in_sync(&name, number("min.insync.replicas")),
            retention(&name, number("retention.ms"), self.needs.catchup_max),
            retention_bytes(&name, number("retention.bytes")),
        ];
        self.lines.extend(verdicts.into_iter().flatten());
    }

    /// An id for a producer, which some clusters do not give to everybody.
    async fn producer_id(&mut self) {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1_000);
        let request = Request::InitProducerId(request);
        let mut answer = self.ask_any(&request).await;
        // A broker that just started has no ids yet.
        for _ in 1..PRODUCER_ID_ATTEMPTS {
            let Some(Response::InitProducerId(said)) = &answer else { break };
            if codes::action(said.error_code) != codes::Action::Retry {
                break;
            }
            sleep(PRODUCER_ID_PAUSE).await;
            answer = self.ask_any(&request).await;
        }
        match answer {
            Some(Response::InitProducerId(answer)) if answer.error_code == codes::NONE => {
                self.say(Verdict::Fine, "a producer that repeats nothing is allowed");
            }
            Some(Response::InitProducerId(answer)) => {
                let code = Code(answer.error_code);
                let denied = answer.error_code == codes::CLUSTER_AUTHORIZATION_FAILED;
                let help = if denied { "allow us WRITE of the topic, or IDEMPOTENT_WRITE" } else { "try again later" };
                let text = format!("a producer that repeats nothing is not given an id: {code}; {help}");
                self.say(Verdict::Error, text);
            }
            _ => self.say(Verdict::Error, "no broker gives a producer an id: is the cluster's controller there?"),
        }
    }
}

fn line(verdict: Verdict, text: String) -> Option<Line> {
    Some(Line { verdict, text })
}

fn cleanup(topic: &str, policy: Option<&str>) -> Option<Line> {
    let policy = policy?;
    if policy == "delete" {
        return line(Verdict::Fine, format!("topic {topic} has cleanup.policy delete"));
    }
    let text = format!(
        "topic {topic} has cleanup.policy {policy}: of pushes to one key only the last would be kept. Set it to delete"
    );
    line(Verdict::Error, text)
}

fn in_sync(topic: &str, replicas: Option<i64>) -> Option<Line> {
    let replicas = replicas?;
    if replicas >= 2 {
        return line(Verdict::Fine, format!("topic {topic} has min.insync.replicas {replicas}"));
    }
    let text = format!(
        "topic {topic} has min.insync.replicas {replicas}: a push may be answered with success that one broker alone \
         has, and be lost with it. Set it to 2"
    );
    line(Verdict::Warning, text)
}

fn retention(topic: &str, retention_ms: Option<i64>, catchup_max: Option<Duration>) -> Option<Line> {
    let retention_ms = retention_ms?;
    let Some(catchup_max) = catchup_max.filter(|_| retention_ms >= 0) else {
        if retention_ms < 0 {
            return line(Verdict::Fine, format!("topic {topic} keeps records for ever"));
        }
        let text = format!(
            "topic {topic} has retention.ms {retention_ms}, and a gateway may fall behind however far: what is older \
             is gone before it is read. Set kafka.catchup_max_seconds below that"
        );
        return line(Verdict::Warning, text);
    };
    let catchup_ms = i64::try_from(catchup_max.as_millis()).unwrap_or(i64::MAX);
    if retention_ms > catchup_ms {
        return line(Verdict::Fine, format!("topic {topic} keeps records longer than a gateway may fall behind"));
    }
    let text = format!(
        "topic {topic} has retention.ms {retention_ms}, and a gateway may fall behind by {catchup_ms} ms: records \
         would be gone before they are read. Set retention.ms above that"
    );
    line(Verdict::Error, text)
}

fn retention_bytes(topic: &str, bytes: Option<i64>) -> Option<Line> {
    let bytes = bytes.filter(|&bytes| bytes >= 0)?;
    let text = format!(
        "topic {topic} has retention.bytes {bytes} for each partition: under load that may be less than what \
         retention.ms promises"
    );
    line(Verdict::Warning, text)
}

/// The ranges of what matters, as the broker says.
fn spoken(answer: &ApiVersionsResponse) -> String {
    let range = |api: Api| {
        let one = answer.api_keys.iter().find(|one| one.api_key == api.key())?;
        Some(format!("{api:?} {} to {}", one.min_version, one.max_version))
    };
    let ranges = [Api::Fetch, Api::Produce, Api::Metadata].into_iter().filter_map(range);
    ranges.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records must outlive how far a gateway may fall behind; where that has no bound, any retention may be too short.
    #[test]
    fn records_must_outlive_what_a_gateway_may_fall_behind() {
        let minute = Some(Duration::from_secs(60));
        let cases = [
            (60_001, minute, Verdict::Fine),
            (60_000, minute, Verdict::Error),
            (-1, minute, Verdict::Fine),
            (-1, None, Verdict::Fine),
            (3_600_000, None, Verdict::Warning),
        ];
        for (retention_ms, catchup_max, verdict) in cases {
            let said = retention("t", Some(retention_ms), catchup_max).expect("a line");
            assert_eq!(said.verdict, verdict, "{retention_ms} {catchup_max:?}: {said}");
        }
    }
}
