//! Which records a push makes. Owns the grouping of its names by partition: a record's key is its first name, and names
//! of other partitions would be out of order with pushes to them alone. Decides nothing else and sends nothing. Next:
//! [`crate::bus`].

use halley_protocol::push::{Push, PushRecord, Target};

use crate::bus::{Producer, PublishError, Record};

/// The records of a push, the one with its first name first: one for each partition that its keys or mids are in, each
/// with the names that are there in their order; one for a room or for all. `receipt` goes with a single one only: no
/// more can be told of several.
///
/// # Errors
/// Nobody has said yet how many partitions there are.
pub(super) fn records(bus: &dyn Producer, push: Push, server: &str, receipt: u64) -> Result<Vec<Record>, PublishError> {
    let Push { target, op, body } = push;
    let targets: Vec<Target> = match target {
        Target::Keys(keys) => {
            let groups = grouped(keys, |key| bus.partition_of(key.as_bytes()))?;
            groups.into_iter().map(Target::Keys).collect()
        }
        Target::Mids(mids) => {
            let groups = grouped(mids, |mid| bus.partition_of(mid.to_string().as_bytes()))?;
            groups.into_iter().map(Target::Mids).collect()
        }
        whole @ (Target::Room(_) | Target::All { .. }) => vec![whole],
    };
    let receipt = if targets.len() == 1 { receipt } else { 0 };
    let record = |target| {
        let push = Push { target, op, body: body.clone() };
        let record = PushRecord { push, server: server.to_owned(), receipt };
        Record { key: record.key().into(), value: record.encode() }
    };
    Ok(targets.into_iter().map(record).collect())
}

/// Names by their partition, partitions in the order of their first name.
fn grouped<N>(
    names: Vec<N>,
    partition_of: impl Fn(&N) -> Result<i32, PublishError>,
) -> Result<Vec<Vec<N>>, PublishError> {
    let mut groups: Vec<(i32, Vec<N>)> = Vec::new();
    for name in names {
        let partition = partition_of(&name)?;
        match groups.iter_mut().find(|(known, _)| *known == partition) {
            Some((_, group)) => group.push(name),
            None => groups.push((partition, vec![name])),
        }
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::bus::partition::partition_of;
    use crate::bus::{Depth, Position};

    /// A log of this many partitions, of which only the places of keys are asked.
    struct Partitions(i32);

    #[async_trait::async_trait]
    impl Producer for Partitions {
        fn partition_of(&self, key: &[u8]) -> Result<i32, PublishError> {
            if self.0 == 0 { Err(PublishError::Unavailable("no topic".into())) } else { Ok(partition_of(key, self.0)) }
        }
        async fn publish(&self, _records: Vec<Record>) -> Result<Vec<Position>, PublishError> {
            Err(PublishError::Closed)
        }
        fn is_shared(&self) -> bool {
            true
        }
        fn depth(&self) -> Depth {
            Depth::default()
        }
        fn close(&self) {
            // It holds nothing back.
        }
    }

    fn push(target: Target) -> Push {
        Push { target, op: 1000, body: Bytes::from_static(b"body") }
    }

    fn made(partitions: i32, target: Target) -> Vec<(Record, PushRecord)> {
        let records = records(&Partitions(partitions), push(target), "comet1", 77).unwrap();
        let read = |record: Record| (record.clone(), PushRecord::decode(&record.value).unwrap());
        records.into_iter().map(read).collect()
    }

    /// P4: each name goes where pushes to it alone go, once, in the order of the push; the first record has the first
    /// name; a record's key is its first name.
    #[test]
    fn p4_names_are_grouped_by_their_partition() {
        let keys: Vec<String> = (0..40).map(|number| format!("key-{number}")).collect();
        let made = made(7, Target::Keys(keys.clone()));
        assert_eq!(made.len(), 7);
        let mut found = Vec::new();
        for (record, read) in &made {
            let Target::Keys(names) = &read.push.target else { panic!("{read:?}") };
            assert_eq!(record.key, names[0]);
            assert!(names.is_sorted_by_key(|name| keys.iter().position(|key| key == name)));
            let partition = partition_of(&record.key, 7);
            assert!(names.iter().all(|name| partition_of(name.as_bytes(), 7) == partition));
            assert_eq!((&*read.server, read.receipt, &read.push.body[..]), ("comet1", 0, &b"body"[..]));
            found.extend(names.clone());
        }
        assert_eq!(found[0], keys[0]);
        found.sort();
        let mut expected = keys;
        expected.sort();
        assert_eq!(found, expected);
    }

    /// Users are grouped by their ids as they stand in the record's key; one partition makes one record, with receipt.
    #[test]
    fn p4_users_are_grouped_too_and_one_record_keeps_the_receipt() {
        let mids: Vec<i64> = (1..30).collect();
        for (record, read) in made(5, Target::Mids(mids.clone())) {
            let Target::Mids(names) = read.push.target else { panic!() };
            let partition = partition_of(&record.key, 5);
            assert!(names.iter().all(|mid| partition_of(mid.to_string().as_bytes(), 5) == partition));
        }
        let single = made(1, Target::Mids(mids.clone()));
        assert_eq!(single.len(), 1);
        assert_eq!((&single[0].1.push.target, single[0].1.receipt), (&Target::Mids(mids), 77));
    }

    /// Rooms and broadcasts are one record, and need no partitions to be known.
    #[test]
    fn rooms_and_broadcasts_are_one_record() {
        assert_eq!(made(0, Target::Room("live://1".into()))[0].0.key, "live://1");
        assert_eq!(made(0, Target::All { speed: 0 })[0].0.key, "1000");
        let keys = push(Target::Keys(vec!["a".into()]));
        let unknown = records(&Partitions(0), keys, "", 0);
        assert_eq!(unknown, Err(PublishError::Unavailable(Arc::from("no topic"))));
    }
}
