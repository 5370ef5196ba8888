//! What an answer to a batch means. Owns the closed list of the protocol's codes as far as producing goes (P1); how
//! long to wait and what to tell the caller is [`super::core`]'s.

/// What one answer says of its batch, and what to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The log holds it.
    Appended,
    /// Not appended, and too large: a smaller one may be taken.
    TooLarge,
    /// Not appended: the same may be taken later.
    Later,
    /// Not appended, and the same will not be taken before an operator has done something.
    Refused,
    /// Not appended if this is its first attempt: the broker does not know the id, or not up to this sequence.
    StaleIdentity,
    /// In doubt. Ask who leads, then send the same again.
    NotLeader,
    /// In doubt. Send the same again, a little later.
    Doubtful,
    /// In doubt, and sending it again is of no use.
    Fatal,
}

impl Verdict {
    /// The verdict of a code.
    pub fn of(code: i16) -> Verdict {
        match code {
            // DUPLICATE_SEQUENCE_NUMBER: it was appended before, and the broker forgot where. Today's brokers answer
            // the last five batches of an id with 0 and their offset instead.
            0 | 46 => Verdict::Appended,
            // MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE
            10 | 18 => Verdict::TooLarge,
            // NOT_ENOUGH_REPLICAS
            19 => Verdict::Later,
            // INVALID_TOPIC, TOPIC_AUTHORIZATION_FAILED, INVALID_TIMESTAMP, INVALID_RECORD
            17 | 29 | 32 | 87 => Verdict::Refused,
            // OUT_OF_ORDER_SEQUENCE_NUMBER, UNKNOWN_PRODUCER_ID
            45 | 59 => Verdict::StaleIdentity,
            // UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, REPLICA_NOT_AVAILABLE,
            // KAFKA_STORAGE_ERROR, LISTENER_NOT_FOUND, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, UNKNOWN_TOPIC_ID,
            // INCONSISTENT_TOPIC_ID
            3 | 5 | 6 | 9 | 56 | 72 | 74 | 75 | 100 | 103 => Verdict::NotLeader,
            // UNKNOWN_SERVER_ERROR, CORRUPT_MESSAGE, REQUEST_TIMED_OUT, NETWORK_EXCEPTION,
            // COORDINATOR_LOAD_IN_PROGRESS,
            // NOT_ENOUGH_REPLICAS_AFTER_APPEND, THROTTLING_QUOTA_EXCEEDED
            -1 | 2 | 7 | 13 | 14 | 20 | 89 => Verdict::Doubtful,
            _ => Verdict::Fatal,
        }
    }

    /// Whether the batch is not in the log for certain, as far as this attempt goes.
    pub fn is_definite(self) -> bool {
        matches!(self, Verdict::TooLarge | Verdict::Later | Verdict::Refused)
    }
}

/// What an operator reads of a code.
pub(super) fn sentence(code: i16) -> String {
    let what = match code {
        10 | 18 => "the broker takes no batch of this size, raise the topic's max.message.bytes",
        17 => "the broker says that the topic's name is wrong",
        19 => "too few replicas are in sync, at least min.insync.replicas must be",
        29 => "we may not write to the topic, grant WRITE on it",
        31 => "we may not write idempotently, grant IDEMPOTENT_WRITE on the cluster",
        32 => "the broker finds the record's time too far from its own, compare the clocks",
        87 => "the broker refuses the record, the topic's cleanup.policy must be delete",
        3 | 100 | 103 => "the broker does not know the topic",
        5 | 6 | 74 | 75 => "the leader is changing",
        7 | 20 => "too few replicas confirmed in time",
        56 => "the leader's disk failed",
        45 | 59 => "the broker has lost its memory of this producer",
        _ => return format!("the broker answered with error {code}"),
    };
    format!("{what} (error {code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P1: only seven codes say for certain that nothing was appended; every other one, known or not, leaves doubt.
    #[test]
    fn p1_seven_codes_are_definite() {
        let definite: Vec<i16> = (-300..300).filter(|code| Verdict::of(*code).is_definite()).collect();
        assert_eq!(definite, [10, 17, 18, 19, 29, 32, 87]);
        for code in (-300..300).filter(|code| ![0, 46].contains(code)) {
            assert_ne!(Verdict::of(code), Verdict::Appended, "{code}");
        }
    }

    /// A leader that loses its place may have appended what it refuses.
    #[test]
    fn p1_not_leader_is_in_doubt() {
        for code in [3, 6, 56, 7, 20, 100, -1] {
            assert!(!Verdict::of(code).is_definite(), "{code}");
        }
    }
}
