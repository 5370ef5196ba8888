//! Rules S1 to S3 and the stop: where reading begins, how far behind it may be, when it has ended.

use super::*;
use crate::bus::log::Trouble;
use crate::gateways::GapReason;

/// S1: the position is the leader's high watermark with its epoch, for every partition, before anything has started;
/// what is missing is named.
#[test]
fn s1_started_when_every_partition_has_a_position() {
    let mut rig = Rig::new(Settings::default());
    assert!(rig.reader.not_ready(rig.now).unwrap().contains("named the partitions"));
    rig.topology(TOPIC, &[leader(1, 4), None]);
    rig.edges(Edge::End, |_| Ok(Place { offset: 7, epoch: 3 }));
    assert!(!rig.reader.is_started());
    assert_eq!(rig.reader.not_ready(rig.now).unwrap(), "partition 1 of the log has no position yet: it has no leader");
    rig.pass(2_000);
    rig.topology(TOPIC, &[leader(1, 4), leader(2, 9)]);
    rig.edges(Edge::End, |_| Err(Refusal::NotYet));
    assert!(rig.reader.not_ready(rig.now).unwrap().contains("partition 1 of the log has no position yet (broker 2)"));
    rig.pass(2_000);
    rig.edges(Edge::End, |_| Ok(Place { offset: 50, epoch: 9 }));
    assert!(rig.reader.is_started());
    assert_eq!(rig.reader.not_ready(rig.now), None);
    rig.poll();
    let reads = rig.asked.iter().filter_map(|(_, ask)| match ask {
        Ask::Read { from, .. } => Some((from[0].partition, from[0].place)),
        _ => None,
    });
    let expected = [(0, Place { offset: 7, epoch: 3 }), (1, Place { offset: 50, epoch: 9 })];
    assert_eq!(reads.collect::<Vec<_>>(), expected);
}

/// S1: an edge that somebody named who leads no longer is no position.
#[test]
fn s1_only_the_leader_names_a_position() {
    let mut rig = Rig::new(Settings::default());
    rig.topology(TOPIC, &[leader(1, 1)]);
    rig.poll();
    let (old, _) = rig.asked[0].clone();
    rig.pass(10_001);
    rig.topology(TOPIC, &[leader(2, 2)]);
    rig.answer(old, Answer::Edges(vec![(0, Ok(Place { offset: 7, epoch: 1 }))]));
    assert!(!rig.reader.is_started());
    rig.edges(Edge::End, |_| Ok(Place { offset: 9, epoch: 2 }));
    assert!(rig.reader.is_started());
}

/// S1: who begins without a position has a gap there when it comes, also when nobody has named the partitions.
#[test]
fn s1_beginning_without_a_position_is_a_gap() {
    for topology_first in [true, false] {
        let mut rig = Rig::new(Settings::default());
        if topology_first {
            rig.topology(TOPIC, &[leader(1, 1)]);
            rig.poll();
        }
        rig.reader.start_without();
        assert!(rig.reader.is_started());
        if !topology_first {
            rig.topology(TOPIC, &[leader(1, 1)]);
        }
        rig.edges(Edge::End, |_| Ok(Place { offset: 30, epoch: 1 }));
        let (_, gaps) = rig.take();
        assert_eq!(gaps, [Gap { partitions: vec![(0, 30..30)], why: GapReason::StartedWithout }]);
    }
}

/// S2: the age is the time since the oldest end that was named and not reached; answering brings it back to zero. Time
/// in which the reader did not run counts, from the question that was under way.
#[test]
fn s2_age_is_our_own() {
    let mut rig = Rig::started(1, Settings::default());
    rig.reading().unwrap();
    rig.pass(7_000);
    rig.read(vec![(0, slice(batch(100, 1, 1), 101))]);
    assert_eq!(rig.reader.age(rig.now), Duration::from_secs(7));
    assert!(rig.reader.not_ready(rig.now).unwrap().contains("7 s behind"));
    let taken = rig.reader.take_batch().unwrap();
    rig.reader.advance(0, taken.generation, taken.until);
    rig.reader.admitted(1);
    assert_eq!(rig.reader.age(rig.now), Duration::from_secs(7), "the gateway has not answered");
    rig.reader.answered();
    assert_eq!(rig.reader.age(rig.now), Duration::ZERO);
    assert_eq!(rig.reader.not_ready(rig.now), None);
}

/// S3: too far behind in records, every partition that is behind goes to the end that its leader names, with its
/// epoch, in one gap.
#[test]
fn s3_too_many_records_behind_is_one_gap() {
    let mut rig = Rig::started(3, Settings { catchup_records_max: 1_000, ..Settings::default() });
    rig.read(vec![
        (0, slice(batch(100, 1, 1), 1_200)),
        (1, slice(batch(100, 1, 1), 150)),
        (2, slice(Bytes::new(), 100)),
    ]);
    rig.edges(Edge::End, |partition| Ok(Place { offset: [1_300, 160, 100][partition as usize], epoch: 6 }));
    rig.poll();
    let (records, gaps) = rig.take();
    assert_eq!(records, []);
    assert_eq!(gaps, [Gap { partitions: vec![(0, 100..1_300), (1, 100..160)], why: GapReason::TooFarBehind }]);
    let (_, from) = rig.reading().unwrap();
    let places: Vec<Place> = from.iter().map(|from| from.place).collect();
    assert!(places.contains(&Place { offset: 1_300, epoch: 6 }), "{places:?}");
    assert!(places.contains(&Place { offset: 160, epoch: 6 }) && places.contains(&Place { offset: 100, epoch: 1 }));
    assert_eq!((rig.reader.counts().gaps, rig.reader.lag()), (1, 0));
}

/// S3: too old is too far behind as well, with few records; what comes after the step is delivered.
#[test]
fn s3_too_old_is_a_gap() {
    let mut rig = Rig::started(1, Settings { catchup_max: Duration::from_secs(30), ..Settings::default() });
    rig.reading().unwrap();
    rig.pass(31_000);
    rig.read(vec![(0, slice(batch(100, 1, 1), 101))]);
    rig.edges(Edge::End, |_| Ok(Place { offset: 120, epoch: 1 }));
    rig.poll();
    assert_eq!(rig.take().1.len(), 1);
    rig.read(vec![(0, slice(batch(120, 1, 1), 121))]);
    assert_eq!(rig.records(), [120]);
}

/// S2 and S3: a process that stood still could not see the log grow, so that what it finds then may be as old as that.
/// It is left out, although it could be read at once; what an answer from before brings is handed over.
#[test]
fn s3_what_came_while_the_process_stood_still_is_too_old() {
    let mut rig = Rig::started(1, Settings { catchup_max: Duration::from_secs(30), ..Settings::default() });
    rig.reading().unwrap();
    rig.pass(31_000);
    rig.read(vec![(0, slice(batch(100, 1, 1), 101))]);
    assert_eq!(rig.records(), [100], "asked before, answered before");
    rig.read(vec![(0, slice(batch(101, 9, 1), 110))]);
    rig.poll();
    assert!(!rig.reader.has_work(), "nothing of it is handed over while its end is asked for");
    assert!(rig.reader.take_batch().is_none());
    rig.edges(Edge::End, |_| Ok(Place { offset: 120, epoch: 1 }));
    rig.poll();
    assert_eq!(rig.take().1, [Gap { partitions: vec![(0, 101..120)], why: GapReason::TooFarBehind }]);
    rig.read(vec![(0, slice(batch(120, 1, 1), 121))]);
    assert_eq!(rig.records(), [120]);
    rig.read(vec![(0, slice(batch(121, 1, 1), 122))]);
    assert_eq!(rig.records(), [121], "said once");
}

/// S2: a short stand makes what is found older by as much, and no gap; a reader wants to be asked often enough to see
/// one.
#[test]
fn s2_a_short_stand_makes_older_and_no_gap() {
    let mut rig = Rig::started(1, Settings { catchup_max: Duration::from_secs(30), ..Settings::default() });
    rig.read(vec![(0, slice(Bytes::new(), 100))]);
    rig.reading().unwrap();
    assert!(rig.reader.wake_at(rig.now).unwrap() <= rig.now + Duration::from_secs(1));
    rig.pass(10_000);
    rig.read(vec![(0, slice(Bytes::new(), 100))]);
    rig.read(vec![(0, slice(batch(100, 1, 1), 101))]);
    assert!(rig.reader.age(rig.now) >= Duration::from_secs(10));
    assert_eq!(rig.records(), [100]);
    assert_eq!(rig.reader.counts().gaps, 0);
}

/// S3: a leader that does not name its end holds nobody else back.
#[test]
fn s3_a_silent_leader_is_left_for_later() {
    let mut rig = Rig::started(2, Settings { catchup_records_max: 1_000, ..Settings::default() });
    rig.read(vec![(0, slice(batch(100, 1, 1), 2_000)), (1, slice(batch(100, 1, 1), 2_000))]);
    rig.edges(Edge::End, |partition| match partition {
        0 => Ok(Place { offset: 2_000, epoch: 1 }),
        _ => Err(Refusal::NotYet),
    });
    rig.pass(2_001);
    rig.poll();
    let (_, gaps) = rig.take();
    assert_eq!(gaps, [Gap { partitions: vec![(0, 100..2_000)], why: GapReason::TooFarBehind }]);
}

/// A gap that is not handed over yet takes further ones in, and is always before what was read after it.
#[test]
fn gaps_come_first_and_become_one() {
    let mut rig = Rig::started(1, Settings { catchup_records_max: 10, ..Settings::default() });
    for (hw, end) in [(200, 200), (300, 300)] {
        rig.read(vec![(0, slice(Bytes::new(), hw))]);
        rig.edges(Edge::End, |_| Ok(Place { offset: end, epoch: 1 }));
        rig.poll();
        rig.pass(1_001);
    }
    rig.read(vec![(0, slice(batch(300, 1, 1), 301))]);
    assert!(rig.reader.take_batch().is_none(), "the gap is first");
    let (records, gaps) = rig.take();
    assert_eq!(gaps, [Gap { partitions: vec![(0, 100..300)], why: GapReason::TooFarBehind }]);
    assert_eq!(records, [(0, 300)]);
}

/// A partition that nobody could read for a while is not ready, and the reason is the source's.
#[test]
fn a_source_that_does_not_answer_is_named() {
    let mut rig = Rig::started(1, Settings::default());
    for _ in 0..12 {
        if let Some((id, _)) = rig.reading() {
            rig.answer(id, Answer::Failed(Trouble::Unreachable("192.0.2.7:9092 refuses connections".into())));
        }
        rig.pass(1_000);
    }
    let said = rig.reader.not_ready(rig.now).unwrap();
    assert!(said.contains("partition 0") && said.ends_with("broker 1: 192.0.2.7:9092 refuses connections"), "{said}");
}

/// Drained is: up to the ends of now, handed over and answered; what comes later is not waited for.
#[test]
fn drained_when_all_up_to_the_end_is_answered_for() {
    let mut rig = Rig::started(1, Settings::default());
    rig.reader.drain();
    rig.edges(Edge::End, |_| Ok(Place { offset: 102, epoch: 1 }));
    rig.read(vec![(0, slice(batch(100, 2, 1), 102))]);
    assert!(!rig.reader.is_drained());
    let taken = rig.reader.take_batch().unwrap();
    rig.reader.advance(0, taken.generation, taken.until);
    rig.reader.admitted(1);
    assert!(!rig.reader.is_drained(), "not answered for");
    rig.reader.answered();
    assert!(rig.reader.is_drained());
}

/// A drain before anybody has named the partitions is not over, though clients were let in without.
#[test]
fn a_drain_waits_for_the_partitions() {
    let mut rig = Rig::new(Settings::default());
    rig.reader.start_without();
    rig.reader.drain();
    rig.poll();
    assert!(!rig.reader.is_drained());
    rig.topology(TOPIC, &[leader(0, 0)]);
    rig.poll();
    assert!(!rig.reader.is_drained());
}

/// A drain before the first position is not over before there is one.
#[test]
fn a_drain_waits_for_the_start() {
    let mut rig = Rig::new(Settings::embedded());
    rig.reader.drain();
    rig.topology(TOPIC, &[leader(0, 0)]);
    assert!(!rig.reader.is_drained());
    rig.edges(Edge::Start, |_| Ok(Place { offset: 5, epoch: 0 }));
    rig.edges(Edge::End, |_| Ok(Place { offset: 6, epoch: 0 }));
    assert!(!rig.reader.is_drained());
    rig.read(vec![(0, slice(batch(5, 1, 0), 6))]);
    assert_eq!(rig.records(), [5]);
    assert!(rig.reader.is_drained());
}

/// After the stop nothing is asked; what was read is still handed over.
#[test]
fn a_stopped_reader_asks_nothing() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, slice(batch(100, 1, 1), 101))]);
    rig.reader.stop();
    rig.pass(60_000);
    assert_eq!((rig.poll(), rig.reader.wake_at(rig.now)), (0, None));
    assert_eq!(rig.records(), [100]);
}

/// S1, R7: who began without positions and never had one when the topic was made again has missed something all the
/// same.
#[test]
fn r7_a_topic_made_again_before_the_first_position_is_a_gap() {
    let mut rig = Rig::new(Settings::default());
    rig.topology(TOPIC, &[leader(1, 1)]);
    rig.reader.start_without();
    rig.pass(10_001);
    rig.topology(TopicId([8; 16]), &[leader(1, 0)]);
    assert_eq!(rig.take().1, [Gap { partitions: vec![(0, 0..0)], why: GapReason::NewTopic }]);
}
