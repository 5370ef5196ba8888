//! The error codes of brokers, one table. Owns for each its name, what is done about it, and whether records that were
//! answered with it are surely not in the log (rule P1 of the log). A code that is not here is fatal for the call and
//! tried again slowly by whoever made it.

use std::fmt;

/// What to do about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is no error.
    Go,
    /// Ask the same broker again after a pause.
    Retry,
    /// Ask who leads, then ask again.
    Refresh,
    /// Read it once more: the broker found its own records damaged.
    Reread,
    /// The position is not within the log.
    Position,
    /// Get a new producer id.
    NewProducer,
    /// Forget the brokers and begin with those of the configuration.
    Rebootstrap,
    /// An operator has to change something; until then it is only asked slowly.
    Tell,
}

/// One code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub code: i16,
    /// Its name in Kafka.
    pub name: &'static str,
    /// What to do.
    pub action: Action,
}

const fn known(code: i16, name: &'static str, action: Action) -> Known {
    Known { code, name, action }
}

/// No error.
pub const NONE: i16 = 0;
/// The broker does not know what went wrong.
pub const UNKNOWN_SERVER_ERROR: i16 = -1;
/// The offset is not within the log.
pub const OFFSET_OUT_OF_RANGE: i16 = 1;
/// The broker found its own records damaged, or those that were sent.
pub const CORRUPT_MESSAGE: i16 = 2;
/// There is no topic of this name, or the partition is not known here.
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// Nobody leads the partition.
pub const LEADER_NOT_AVAILABLE: i16 = 5;
/// Another broker leads the partition.
pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
/// A batch is longer than the topic or the broker takes.
pub const MESSAGE_TOO_LARGE: i16 = 10;
/// The topic's name is none.
pub const INVALID_TOPIC: i16 = 17;
/// A batch is longer than a segment.
pub const RECORD_LIST_TOO_LARGE: i16 = 18;
/// Fewer replicas are in sync than `min.insync.replicas`; nothing was appended.
pub const NOT_ENOUGH_REPLICAS: i16 = 19;
/// The user may not use the topic.
pub const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
/// The user may not use the cluster.
pub const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
/// A record's time is not one that the topic takes.
pub const INVALID_TIMESTAMP: i16 = 32;
/// The log-in mechanism is not enabled.
pub const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
/// The version of a request is unknown.
pub const UNSUPPORTED_VERSION: i16 = 35;
/// The sequence number is not the next.
pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
/// The batch is in the log already.
pub const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
/// The broker cannot write to its disk.
pub const KAFKA_STORAGE_ERROR: i16 = 56;
/// User and password do not fit.
pub const SASL_AUTHENTICATION_FAILED: i16 = 58;
/// The broker has forgotten the producer.
pub const UNKNOWN_PRODUCER_ID: i16 = 59;
/// The broker leads in a newer epoch.
pub const FENCED_LEADER_EPOCH: i16 = 74;
/// The broker does not know the epoch yet.
pub const UNKNOWN_LEADER_EPOCH: i16 = 75;
/// The leader is new and does not know the end yet.
pub const OFFSET_NOT_AVAILABLE: i16 = 78;
/// A record is not one that the topic takes.
pub const INVALID_RECORD: i16 = 87;
/// There is no topic of this id here.
pub const UNKNOWN_TOPIC_ID: i16 = 100;
/// The topic of this name has another id.
pub const INCONSISTENT_TOPIC_ID: i16 = 103;
/// The cluster is another one: begin anew (KIP-1102).
pub const REBOOTSTRAP_REQUIRED: i16 = 129;

/// Every code that our requests are answered with, ascending.
pub const CODES: &[Known] = &[
    known(UNKNOWN_SERVER_ERROR, "UNKNOWN_SERVER_ERROR", Action::Retry),
    known(NONE, "NONE", Action::Go),
    known(OFFSET_OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE", Action::Position),
    known(CORRUPT_MESSAGE, "CORRUPT_MESSAGE", Action::Reread),
    known(UNKNOWN_TOPIC_OR_PARTITION, "UNKNOWN_TOPIC_OR_PARTITION", Action::Refresh),
    known(LEADER_NOT_AVAILABLE, "LEADER_NOT_AVAILABLE", Action::Refresh),
    known(NOT_LEADER_OR_FOLLOWER, "NOT_LEADER_OR_FOLLOWER", Action::Refresh),
    known(7, "REQUEST_TIMED_OUT", Action::Retry),
    known(8, "BROKER_NOT_AVAILABLE", Action::Refresh),
    known(9, "REPLICA_NOT_AVAILABLE", Action::Refresh),
    known(MESSAGE_TOO_LARGE, "MESSAGE_TOO_LARGE", Action::Tell),
    known(13, "NETWORK_EXCEPTION", Action::Retry),
    known(14, "COORDINATOR_LOAD_IN_PROGRESS", Action::Retry),
    known(15, "COORDINATOR_NOT_AVAILABLE", Action::Retry),
    known(INVALID_TOPIC, "INVALID_TOPIC_EXCEPTION", Action::Tell),
    known(RECORD_LIST_TOO_LARGE, "RECORD_LIST_TOO_LARGE", Action::Tell),
    known(NOT_ENOUGH_REPLICAS, "NOT_ENOUGH_REPLICAS", Action::Retry),
    known(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Action::Retry),
    known(21, "INVALID_REQUIRED_ACKS", Action::Tell),
    known(TOPIC_AUTHORIZATION_FAILED, "TOPIC_AUTHORIZATION_FAILED", Action::Tell),
    known(30, "GROUP_AUTHORIZATION_FAILED", Action::Tell),
    known(CLUSTER_AUTHORIZATION_FAILED, "CLUSTER_AUTHORIZATION_FAILED", Action::Tell),
    known(INVALID_TIMESTAMP, "INVALID_TIMESTAMP", Action::Tell),
    known(UNSUPPORTED_SASL_MECHANISM, "UNSUPPORTED_SASL_MECHANISM", Action::Tell),
    known(34, "ILLEGAL_SASL_STATE", Action::Tell),
    known(UNSUPPORTED_VERSION, "UNSUPPORTED_VERSION", Action::Tell),
    known(41, "NOT_CONTROLLER", Action::Refresh),
    known(42, "INVALID_REQUEST", Action::Tell),
    known(43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Action::Tell),
    known(44, "POLICY_VIOLATION", Action::Tell),
    known(OUT_OF_ORDER_SEQUENCE_NUMBER, "OUT_OF_ORDER_SEQUENCE_NUMBER", Action::NewProducer),
    known(DUPLICATE_SEQUENCE_NUMBER, "DUPLICATE_SEQUENCE_NUMBER", Action::Go),
    known(47, "INVALID_PRODUCER_EPOCH", Action::NewProducer),
    known(53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Action::Tell),
    known(54, "SECURITY_DISABLED", Action::Tell),
    known(KAFKA_STORAGE_ERROR, "KAFKA_STORAGE_ERROR", Action::Refresh),
    known(SASL_AUTHENTICATION_FAILED, "SASL_AUTHENTICATION_FAILED", Action::Tell),
    known(UNKNOWN_PRODUCER_ID, "UNKNOWN_PRODUCER_ID", Action::NewProducer),
    known(70, "FETCH_SESSION_ID_NOT_FOUND", Action::Retry),
    known(71, "INVALID_FETCH_SESSION_EPOCH", Action::Retry),
    known(72, "LISTENER_NOT_FOUND", Action::Refresh),
    known(FENCED_LEADER_EPOCH, "FENCED_LEADER_EPOCH", Action::Refresh),
    known(UNKNOWN_LEADER_EPOCH, "UNKNOWN_LEADER_EPOCH", Action::Refresh),
    known(76, "UNSUPPORTED_COMPRESSION_TYPE", Action::Tell),
    known(77, "STALE_BROKER_EPOCH", Action::Refresh),
    known(OFFSET_NOT_AVAILABLE, "OFFSET_NOT_AVAILABLE", Action::Retry),
    known(80, "PREFERRED_LEADER_NOT_AVAILABLE", Action::Refresh),
    known(83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", Action::Refresh),
    known(INVALID_RECORD, "INVALID_RECORD", Action::Tell),
    known(89, "THROTTLING_QUOTA_EXCEEDED", Action::Retry),
    known(90, "PRODUCER_FENCED", Action::NewProducer),
    known(UNKNOWN_TOPIC_ID, "UNKNOWN_TOPIC_ID", Action::Refresh),
    known(INCONSISTENT_TOPIC_ID, "INCONSISTENT_TOPIC_ID", Action::Refresh),
    known(106, "FETCH_SESSION_TOPIC_ID_ERROR", Action::Retry),
    known(REBOOTSTRAP_REQUIRED, "REBOOTSTRAP_REQUIRED", Action::Rebootstrap),
];

/// Codes of a produce answer that mean that the batch is not in the log, nor will be (rule P1).
const NOT_APPENDED: [i16; 7] = [
    MESSAGE_TOO_LARGE,
    INVALID_TOPIC,
    RECORD_LIST_TOO_LARGE,
    NOT_ENOUGH_REPLICAS,
    TOPIC_AUTHORIZATION_FAILED,
    INVALID_TIMESTAMP,
    INVALID_RECORD,
];

fn find(code: i16) -> Option<&'static Known> {
    CODES.binary_search_by_key(&code, |known| known.code).ok().and_then(|at| CODES.get(at))
}

/// What to do about this code.
pub fn action(code: i16) -> Action {
    find(code).map_or(Action::Tell, |known| known.action)
}

/// Whether a batch that was answered with this code is surely not in the log (rule P1). Everything else is in doubt.
pub fn is_not_appended(code: i16) -> bool {
    NOT_APPENDED.contains(&code)
}

/// A code as people are told it: its name and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match find(self.0) {
            Some(known) => write!(f, "{} ({})", known.name, self.0),
            None => write!(f, "error code {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;

    use super::*;

    /// The table is in order, so that it is found what is in it, and each code has the name that Kafka gives it.
    #[test]
    fn codes_are_those_of_kafka() {
        assert!(CODES.is_sorted_by_key(|known| known.code));
        for known in CODES {
            assert_eq!(find(known.code), Some(known));
            let Some(theirs) = ResponseError::try_from_code(known.code) else { continue };
            let ours = known.name.replace('_', "").to_lowercase();
            let theirs = format!("{theirs:?}").to_lowercase();
            assert!(ours.trim_end_matches("exception") == theirs.trim_end_matches("exception"), "{ours} is {theirs}");
        }
        assert_eq!(Code(6).to_string(), "NOT_LEADER_OR_FOLLOWER (6)");
    }

    /// What is not in the table is for an operator, and leaves records in doubt.
    #[test]
    fn unknown_codes_are_fatal_and_in_doubt() {
        for code in [i16::MIN, -2, 1000, i16::MAX] {
            assert_eq!(action(code), Action::Tell);
            assert!(!is_not_appended(code));
            assert_eq!(Code(code).to_string(), format!("error code {code}"));
        }
    }

    /// Rule P1: only a definite code says that nothing was appended; a leader that lost its place may have appended.
    #[test]
    fn only_definite_codes_refuse() {
        let definite: Vec<i16> = (i16::MIN..=i16::MAX).filter(|&code| is_not_appended(code)).collect();
        assert_eq!(definite, [10, 17, 18, 19, 29, 32, 87]);
    }
}
