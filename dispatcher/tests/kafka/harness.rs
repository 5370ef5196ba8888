//! That the brokers which the other tests stand on are real: they serve, keep what they are told, die and come back.

use serde_json::json;

use crate::brokers::{Record, Setup, VERSIONS};

/// Three brokers of each version keep records through the death of a leader and its return.
#[test]
fn a_cluster_keeps_records_when_a_leader_dies_and_comes_back() {
    for version in VERSIONS {
        let brokers = Setup::new(3).version(version).start();
        brokers.create_topic("kept", 3, &json!({}));
        let written = [Record::new("a", "1"), Record { timestamp: 1_700_000_000_123, ..Record::new("b", "2") }];
        assert_eq!(brokers.produce("kept", 1, &written, &json!({}), None), [0, 1]);
        let leader = brokers.leader("kept", 1).expect("it was waited for");
        brokers.kill(leader);
        let read = brokers.consume("kept", 1, 0, Some(2));
        assert_eq!(
            read.iter().map(|record| record.value.as_deref()).collect::<Vec<_>>(),
            [Some(&b"1"[..]), Some(b"2")]
        );
        assert_eq!(
            (read[1].timestamp, read[1].offset, read[1].key.as_deref()),
            (1_700_000_000_123, 1, Some(&b"b"[..]))
        );
        brokers.run(leader);
        brokers.wait_ready();
        assert_eq!(brokers.edges("kept", 1), (0, 2), "{version}");
    }
}
