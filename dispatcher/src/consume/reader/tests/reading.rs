//! Rules R1 to R9 and R11: what counts, where it goes on, what is dropped, how much is asked.

use super::*;
use crate::bus::log::NO_EPOCH;
use crate::consume::reader::Event;
use crate::gateways::GapReason;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// R1: reading goes on from the cursor, `next` moves when a record is advanced over, `done` when the gateway answers,
/// in the order of handovers; what concerned nobody is done with the handover before it.
#[test]
fn r1_two_positions_move_one_after_the_other() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, slice(batches(&[batch(100, 2, 1), batch(102, 2, 1), batch(104, 1, 1)]), 105))]);
    let view = |rig: &Rig| rig.reader.partitions(rig.now).map(|of| (of.next, of.done)).next().unwrap();
    assert_eq!(view(&rig), (100, 100));
    for until in [102, 104] {
        let taken = rig.reader.take_batch().unwrap();
        assert!(rig.reader.advance(0, taken.generation, taken.until));
        rig.reader.admitted(20);
        assert_eq!(view(&rig), (until, 100));
    }
    let taken = rig.reader.take_batch().unwrap();
    rig.reader.advance(0, taken.generation, taken.until);
    rig.reader.nothing_admitted();
    rig.reader.answered();
    assert_eq!(view(&rig), (105, 102));
    rig.reader.answered();
    assert_eq!(view(&rig), (105, 105), "the filtered one is done with the one before it");
}

/// R1: what the gateway had when the log was cut off counts when it answers, up to where the log was cut off each time:
/// on a quiet partition nothing else would ever say that all is done.
#[test]
fn r1_an_answer_counts_up_to_where_the_log_was_cut_off() {
    let mut rig = Rig::started(1, Settings::default());
    let hand_over = |rig: &mut Rig| {
        let taken = rig.reader.take_batch().unwrap();
        assert!(rig.reader.advance(0, taken.generation, taken.until));
        rig.reader.admitted(1);
    };
    let cut_off = |rig: &mut Rig, offset| {
        rig.pass(2_000);
        rig.read(vec![(0, Err(Refusal::Diverging { end: Place { offset, epoch: 1 } }))]);
    };
    rig.read(vec![(0, slice(batch(100, 5, 1), 105))]);
    hand_over(&mut rig);
    cut_off(&mut rig, 102);
    rig.pass(2_000);
    rig.read(vec![(0, slice(batch(102, 8, 2), 110))]);
    hand_over(&mut rig);
    cut_off(&mut rig, 108);
    rig.reader.answered();
    assert_eq!(rig.reader.done(0), Some(102), "of the first log only what is below counts");
    rig.reader.answered();
    assert_eq!((rig.reader.done(0), rig.reader.age(rig.now)), (Some(108), Duration::ZERO));
}

/// R1: what was handed over of a topic that is gone says nothing of the new one.
#[test]
fn r1_an_answer_for_another_topic_does_not_count() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, slice(batch(100, 5, 1), 105))]);
    let taken = rig.reader.take_batch().unwrap();
    rig.reader.advance(0, taken.generation, taken.until);
    rig.reader.admitted(1);
    rig.pass(10_001);
    rig.topology(TopicId([8; 16]), &[leader(1, 0)]);
    rig.edges(Edge::Start, |_| Ok(Place { offset: 0, epoch: 0 }));
    rig.reader.answered();
    assert_eq!(rig.reader.done(0), Some(0));
}

/// R1: a batch that is read in two handovers moves the position in its middle, and both count.
#[test]
fn r1_a_batch_may_be_handed_over_in_parts() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, slice(batch(100, 10, 1), 110))]);
    let taken = rig.reader.take_batch().unwrap();
    assert!(rig.reader.advance(0, taken.generation, 104));
    rig.reader.admitted(1);
    assert!(rig.reader.has_work(), "the rest of it");
    assert_eq!(rig.reader.lag(), 6);
    assert!(rig.reader.advance(0, taken.generation, 110));
    rig.reader.admitted(1);
    assert!(!rig.reader.has_work());
    assert_eq!(rig.reader.lag(), 0);
}

/// R2: two questions from the same cursor, to the old leader and to the new one, are answered with the same records:
/// they count once.
#[test]
fn r2_late_answers_do_not_count() {
    let mut rig = Rig::started(1, Settings::default());
    let (old, _) = rig.reading().unwrap();
    rig.pass(10_001);
    rig.topology(TOPIC, &[leader(2, 2)]);
    rig.poll();
    let new = rig.asked.iter().map(|(id, _)| *id).find(|id| *id != old).unwrap();
    let answer = || Answer::Read { throttle: Duration::ZERO, slices: vec![(0, slice(batch(100, 3, 1), 103))] };
    rig.answer(new, answer());
    rig.answer(old, answer());
    rig.answer(new, answer());
    assert_eq!(rig.records(), [100, 101, 102]);
    assert_eq!(rig.reader.counts().late, 2);
}

/// R2: after the position moved nothing counts that was asked or taken before, be the offset the same.
#[test]
fn r2_what_was_fetched_before_a_truncation_is_dropped() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, slice(batches(&[batch(100, 1, 1), batch(101, 2, 1)]), 103))]);
    let taken = rig.reader.take_batch().unwrap();
    assert!(rig.reader.advance(0, taken.generation, taken.until));
    rig.reader.admitted(10);
    let open = rig.reader.take_batch().unwrap();
    let end = Place { offset: 101, epoch: 1 };
    rig.read(vec![(0, Err(Refusal::Diverging { end }))]);
    assert!(!rig.reader.is_current(0, open.generation));
    assert!(!rig.reader.advance(0, open.generation, open.until));
    rig.read(vec![(0, slice(batch(101, 1, 2), 102))]);
    assert_eq!(rig.records(), [101]);
}

/// R3: the epoch of the last batch goes with every question, the one of the position at first; and the epoch in which
/// the leader is believed to lead.
#[test]
fn r3_a_position_has_an_epoch() {
    let mut rig = Rig::started(1, Settings::default());
    let (_, from) = rig.reading().unwrap();
    assert_eq!(from[0].place, Place { offset: 100, epoch: 1 });
    rig.read(vec![(0, slice(batches(&[batch(100, 1, 3), batch(101, 1, 4)]), 102))]);
    let (_, from) = rig.reading().unwrap();
    assert_eq!(from[0].place, Place { offset: 102, epoch: 4 });
    assert_eq!(from[0].leader_epoch, 1);
}

/// R3: a high watermark below the position is a new leader that learns it late: nothing moves, nothing is left out.
#[test]
fn r3_a_high_watermark_below_the_position_is_normal() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, slice(batch(100, 5, 1), 105))]);
    rig.read(vec![(0, slice(Bytes::new(), 90))]);
    rig.read(vec![(0, slice(batch(105, 1, 2), 106))]);
    assert_eq!(rig.records(), [100, 101, 102, 103, 104, 105]);
}

/// R3: who does not lead any more says out of range: the leader is found, asked for its ends, and read on.
#[test]
fn r3_out_of_range_from_anybody_is_a_question_to_the_leader() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, Err(Refusal::OutOfRange))]);
    rig.topology(TOPIC, &[leader(2, 2)]);
    rig.pass(200);
    rig.edges(Edge::Start, |_| Ok(Place { offset: 0, epoch: 0 }));
    rig.edges(Edge::End, |_| Ok(Place { offset: 90, epoch: 2 }));
    rig.pass(2_000);
    let (_, from) = rig.reading().unwrap();
    assert_eq!(from[0].place, Place { offset: 100, epoch: 1 });
    rig.read(vec![(0, slice(batch(100, 1, 2), 101))]);
    assert_eq!(rig.records(), [100]);
}

/// R3: a broker that still names an older leader is not believed.
#[test]
fn r3_an_older_leader_is_not_believed() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, Err(Refusal::NotLeader { now: leader(2, 5) }))]);
    rig.pass(10_001);
    rig.topology(TOPIC, &[leader(1, 1)]);
    rig.poll();
    let sources: Vec<i32> = rig
        .asked
        .iter()
        .filter_map(|(_, ask)| match ask {
            Ask::Read { source, .. } => Some(*source),
            _ => None,
        })
        .collect();
    assert_eq!(sources, [2]);
}

/// R4: the position goes back to where the logs part; counted, said, and no gap: what comes there is new.
#[test]
fn r4_a_diverging_epoch_goes_back() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, slice(batch(100, 5, 1), 105))]);
    assert_eq!(rig.records().len(), 5);
    rig.read(vec![(0, Err(Refusal::Diverging { end: Place { offset: 102, epoch: 1 } }))]);
    let (_, from) = rig.reading().unwrap();
    assert_eq!(from[0].place, Place { offset: 102, epoch: 1 });
    assert_eq!(rig.reader.take_event(), Some(Event::Truncated { partition: 0, from: 105, to: 102 }));
    rig.read(vec![(0, slice(batch(102, 1, 2), 103))]);
    assert_eq!(rig.records(), [102]);
    assert_eq!((rig.reader.counts().truncated, rig.reader.counts().gaps), (1, 0));
}

/// R4: logs that part above what was handed over lose nothing: what was fetched and dropped is read again.
#[test]
fn r4_a_divergence_above_the_position_reads_the_rest_again() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, slice(batches(&[batch(100, 2, 1), batch(102, 3, 2)]), 105))]);
    rig.read(vec![(0, Err(Refusal::Diverging { end: Place { offset: 102, epoch: 1 } }))]);
    let (_, from) = rig.reading().unwrap();
    assert_eq!(from[0].place, Place { offset: 100, epoch: 1 });
    rig.read(vec![(0, slice(batches(&[batch(100, 2, 1), batch(102, 1, 3)]), 103))]);
    assert_eq!(rig.records(), [100, 101, 102]);
}

/// R4: the leader in whose time nothing was written is unknown to the next one: only the epoch is corrected.
#[test]
fn r4_an_epoch_without_records_is_corrected_in_place() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, Err(Refusal::Diverging { end: Place { offset: 100, epoch: 0 } }))]);
    let (_, from) = rig.reading().unwrap();
    assert_eq!(from[0].place, Place { offset: 100, epoch: 0 });
    assert_eq!(rig.reader.counts().truncated, 0);
}

/// R4: below the log's start there is a gap up to it.
#[test]
fn r4_retention_is_a_gap() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, Err(Refusal::OutOfRange))]);
    rig.topology(TOPIC, &[leader(1, 1)]);
    rig.pass(200);
    rig.edges(Edge::Start, |_| Ok(Place { offset: 140, epoch: 1 }));
    rig.edges(Edge::End, |_| Ok(Place { offset: 150, epoch: 1 }));
    let (records, gaps) = rig.take();
    assert_eq!(records, []);
    assert_eq!(gaps, [Gap { partitions: vec![(0, 100..140)], why: GapReason::Retention }]);
    rig.pass(2_000);
    rig.read(vec![(0, slice(batch(140, 10, 1), 150))]);
    assert_eq!(rig.records().len(), 10);
}

/// R4: above the leader's end the epoch decides as long as there is one; without one the reader goes to the end, in a
/// gap.
#[test]
fn r4_above_the_end_without_an_epoch_is_a_gap() {
    let mut rig = Rig::started(1, Settings::default());
    for round in 0..2 {
        rig.pass(2_000);
        let (_, from) = rig.reading().unwrap();
        assert_eq!(from[0].place.epoch, if round == 0 { 1 } else { NO_EPOCH });
        rig.read(vec![(0, Err(Refusal::OutOfRange))]);
        rig.topology(TOPIC, &[leader(1, 1)]);
        rig.pass(2_000);
        rig.edges(Edge::Start, |_| Ok(Place { offset: 0, epoch: 0 }));
        rig.edges(Edge::End, |_| Ok(Place { offset: 60, epoch: 3 }));
    }
    let (_, gaps) = rig.take();
    assert_eq!(gaps, [Gap { partitions: vec![(0, 60..60)], why: GapReason::LostTail }]);
    rig.pass(2_000);
    assert_eq!(rig.reading().unwrap().1[0].place, Place { offset: 60, epoch: 3 });
}

/// R5: the next offset is the header's, whatever was taken out of the batch or before it; counted, said once, no gap.
#[test]
fn r5_missing_offsets_are_counted_and_close_nobody() {
    let mut rig = Rig::started(1, Settings::default());
    let mut thinned = batch(105, 2, 1).to_vec();
    thinned[23..27].copy_from_slice(&9_i32.to_be_bytes());
    crate::bus::batch::header::set_checksum(&mut thinned);
    rig.read(vec![(0, slice(thinned.into(), 115))]);
    assert_eq!(rig.reading().unwrap().1[0].place.offset, 115);
    assert_eq!(rig.records(), [105, 106]);
    assert_eq!(rig.reader.counts().missing, 5 + 8);
    assert_eq!(rig.reader.take_event(), Some(Event::Missing { partition: 0, below: 115, offsets: 13 }));
    rig.read(vec![(0, slice(batch(120, 1, 1), 121))]);
    assert_eq!(rig.records(), [120]);
    assert_eq!((rig.reader.counts().missing, rig.reader.take_event()), (18, None));
    assert_eq!(rig.reader.counts().gaps, 0);
}

/// R5: a control batch is skipped, and the position goes past it; a batch without records too.
#[test]
fn r5_control_and_empty_batches_are_passed() {
    let mut rig = Rig::started(1, Settings::default());
    let mut control = batch(100, 1, 1).to_vec();
    control[22] |= 1 << 5;
    crate::bus::batch::header::set_checksum(&mut control);
    let mut empty = batch(101, 4, 1)[..61].to_vec();
    empty[8..12].copy_from_slice(&49_i32.to_be_bytes());
    empty[57..61].copy_from_slice(&0_i32.to_be_bytes());
    crate::bus::batch::header::set_checksum(&mut empty);
    rig.read(vec![(0, slice(batches(&[control.into(), empty.into(), batch(105, 1, 1)]), 106))]);
    assert_eq!(rig.records(), [105]);
    assert_eq!((rig.reader.counts().control, rig.reader.lag()), (1, 0));
    assert_eq!(rig.reader.done(0), Some(106));
}

/// R5: a batch that begins before the cursor is handed out from there on; one that is cut off is asked for again.
#[test]
fn r5_the_first_batch_may_begin_before_and_the_last_be_cut_off() {
    let mut rig = Rig::started(1, Settings::default());
    let tail = batch(102, 5, 1);
    rig.read(vec![(0, slice(batches(&[batch(95, 7, 1), tail.slice(..tail.len() - 1)]), 107))]);
    assert_eq!(rig.records(), [100, 101]);
    assert_eq!(rig.reading().unwrap().1[0].place.offset, 102);
}

/// R6: a damaged batch is read once more, and good records before it are not read twice. When it is damaged again it
/// is skipped, up to the batch behind it, with both offsets; it stops nothing.
#[test]
fn r6_a_damaged_batch_is_read_once_more_and_skipped() {
    let mut rig = Rig::started(1, Settings::default());
    let mut bad = batch(101, 3, 1).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let parts = [batch(100, 1, 1), bad.clone().into(), batch(104, 1, 1)];
    rig.read(vec![(0, slice(batches(&parts), 105))]);
    assert_eq!(rig.records(), [100]);
    assert!(rig.reading().is_none(), "not at once");
    rig.pass(200);
    assert_eq!(rig.reading().unwrap().1[0].place.offset, 101);
    rig.read(vec![(0, slice(batches(&parts[1..]), 105))]);
    assert_eq!(rig.records(), [104]);
    assert_eq!(rig.reader.counts().unreadable, 1);
    let Some(Event::Unreadable { partition: 0, from: 101, to: 104, .. }) = rig.reader.take_event() else {
        panic!("both offsets are named");
    };
}

/// R6: what is skipped may be the first of its epoch, so what follows is asked for without one: with the epoch before
/// it the leader would send the reader back to it for ever.
#[test]
fn r6_what_follows_a_skipped_batch_is_asked_for_without_its_epoch() {
    let mut rig = Rig::started(1, Settings::default());
    let mut bad = batch(100, 3, 2).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    for _ in 0..2 {
        rig.read(vec![(0, slice(bad.clone().into(), 103))]);
        rig.pass(200);
    }
    assert_eq!(rig.reading().unwrap().1[0].place, Place { offset: 103, epoch: NO_EPOCH });
}

/// R6: a batch that cannot be read is skipped though the one behind it is damaged, and the other way round.
#[test]
fn r6_two_bad_batches_behind_each_other_are_both_skipped() {
    let mut rig = Rig::started(1, Settings::default());
    let mut bad = batch(103, 1, 1).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let parts = [batch(100, 3, 1), bad.into(), batch(104, 1, 1)];
    for _ in 0..6 {
        let Some((_, from)) = rig.reading().filter(|(_, from)| from[0].place.offset < 105) else { break };
        let first = usize::from(from[0].place.offset > 100);
        rig.read(vec![(0, slice(batches(&parts[first..]), 105))]);
        while let Some(taken) = rig.reader.take_batch() {
            if taken.from == 100 {
                rig.reader.unreadable(rig.now, &taken, crate::bus::batch::Unreadable::UnknownCodec(7));
            } else {
                rig.reader.advance(0, taken.generation, taken.until);
            }
        }
        rig.reader.nothing_admitted();
        rig.pass(2_000);
    }
    assert_eq!((rig.reader.counts().unreadable, rig.reader.done(0)), (2, Some(105)));
}

/// R6: the second look may be a good one.
#[test]
fn r6_a_batch_that_is_whole_at_the_second_look_is_read() {
    let mut rig = Rig::started(1, Settings::default());
    let mut bad = batch(100, 3, 1).to_vec();
    bad[30] ^= 1;
    rig.read(vec![(0, slice(bad.into(), 103))]);
    rig.pass(200);
    rig.read(vec![(0, slice(batch(100, 3, 1), 103))]);
    assert_eq!(rig.records(), [100, 101, 102]);
    assert_eq!(rig.reader.counts().unreadable, 0);
}

/// R6: what a damaged batch says of its end is believed only if it agrees with its number of records and with the
/// log's end; else it is left by one offset, so that nothing behind it is lost.
#[test]
fn r6_a_damaged_length_loses_nothing_behind_it() {
    let mut rig = Rig::started(1, Settings::default());
    let mut bad = batch(100, 3, 1).to_vec();
    bad[26] = 90;
    for _ in 0..2 {
        rig.read(vec![(0, slice(bad.clone().into(), 500))]);
        rig.pass(200);
    }
    assert_eq!(rig.reading().unwrap().1[0].place.offset, 101);
}

/// R6: a batch whose records cannot be read though its checksum is right goes the same way; what was handed over of
/// it stays handed over.
#[test]
fn r6_unreadable_records_are_read_once_more_and_skipped() {
    let mut rig = Rig::started(1, Settings::default());
    let why = crate::bus::batch::Unreadable::UnknownCodec(7);
    for round in 0..2 {
        rig.read(vec![(0, slice(batches(&[batch(100, 3, 1), batch(103, 1, 1)]), 104))]);
        let taken = rig.reader.take_batch().unwrap();
        assert_eq!(taken.from, if round == 0 { 100 } else { 101 });
        if round == 0 {
            rig.reader.advance(0, taken.generation, 101);
        }
        rig.reader.unreadable(rig.now, &taken, why);
        rig.reader.nothing_admitted();
        rig.pass(200);
    }
    assert_eq!(rig.records(), [103]);
    assert_eq!(rig.reader.take_event(), Some(Event::Unreadable { partition: 0, from: 101, to: 103, why }));
    assert_eq!(rig.reader.counts().unreadable, 1);
}

/// R7: another topic of the name is read from its beginning; what was not read of the old one is one gap, whatever was
/// fetched or asked of it; and whoever still names the old one is not believed.
#[test]
fn r7_another_topic_id_voids_positions() {
    let mut rig = Rig::started(2, Settings::default());
    rig.read(vec![(0, slice(batch(100, 5, 1), 105)), (1, slice(Bytes::new(), 100))]);
    let (old, _) = rig.reading().unwrap();
    rig.pass(10_001);
    rig.topology(TopicId([8; 16]), &[leader(1, 0), leader(1, 0), leader(1, 0)]);
    rig.answer(old, Answer::Read { throttle: Duration::ZERO, slices: vec![(0, slice(batch(105, 1, 1), 106))] });
    let (records, gaps) = rig.take();
    assert_eq!(records, []);
    assert_eq!(gaps, [Gap { partitions: vec![(0, 100..105), (1, 100..100)], why: GapReason::NewTopic }]);
    rig.edges(Edge::Start, |_| Ok(Place { offset: 0, epoch: 0 }));
    let (_, from) = rig.reading().unwrap();
    assert_eq!(from.iter().map(|from| from.place.offset).collect::<Vec<_>>(), [0, 0, 0]);
    rig.pass(10_001);
    rig.topology(TOPIC, &[leader(1, 9), leader(1, 9)]);
    rig.pass(2_000);
    rig.topology(TopicId([8; 16]), &[leader(1, 0), leader(1, 0), leader(1, 0)]);
    assert_eq!(rig.reader.partitions(rig.now).count(), 3);
    assert_eq!(rig.reader.counts().gaps, 1);
}

/// R7: under one id partitions never become fewer.
#[test]
fn r7_partitions_never_become_fewer() {
    let mut rig = Rig::started(3, Settings::default());
    rig.pass(10_001);
    rig.topology(TOPIC, &[leader(1, 1)]);
    assert_eq!(rig.reading().unwrap().1.len(), 3);
}

/// R8: a new partition is read from its start, and that it came is said.
#[test]
fn r8_a_new_partition_is_read_from_its_start() {
    let mut rig = Rig::started(1, Settings::default());
    rig.pass(10_001);
    rig.topology(TOPIC, &[leader(1, 1), leader(2, 1)]);
    assert_eq!(rig.reader.take_event(), Some(Event::Grown { from: 1, to: 2 }));
    rig.edges(Edge::Start, |partition| {
        assert_eq!(partition, 1);
        Ok(Place { offset: 0, epoch: 1 })
    });
    let found = rig.find(|ask| match ask {
        Ask::Read { source: 2, from, .. } => Some(from[0].place.offset),
        _ => None,
    });
    assert_eq!(found.unwrap().1, 0);
    assert_eq!(rig.reader.counts().gaps, 0);
}

/// R9: at the bound nothing is read, however much there is; what the gateway answers for makes room.
#[test]
fn r9_memory_is_bounded_over_asks_batches_and_the_intake() {
    let settings = Settings { memory_bytes: 256 * 1024, ..Settings::default() };
    let mut rig = Rig::started(1, settings);
    let mut offset = 100;
    let mut reads = 0;
    while let Some((id, from)) = rig.reading() {
        let Some((_, Ask::Read { bytes_max, .. })) = rig.asked.iter().find(|(asked, _)| *asked == id) else { panic!() };
        let count = i64::from(*bytes_max) / i64::try_from(batch(0, 1, 1).len()).unwrap();
        assert_eq!(from[0].place.offset, offset);
        let parts: Vec<Bytes> = (0..count).map(|step| batch(offset + step, 1, 1)).collect();
        offset += count;
        rig.read(vec![(0, slice(batches(&parts), offset + 1))]);
        reads += 1;
        assert!(rig.reader.memory_used() <= 256 * 1024);
        assert!(reads < 100, "no bound");
    }
    assert!(rig.reader.wake_at(rig.now).is_some(), "the topic is looked at all the same");
    let mut handed = 0;
    while let Some(taken) = rig.reader.take_batch() {
        handed += taken.batch.batch().bytes.len();
        rig.reader.advance(0, taken.generation, taken.until);
    }
    rig.reader.admitted(handed);
    assert!(rig.reading().is_none(), "the gateway has it all");
    rig.reader.answered();
    assert_eq!(rig.reader.memory_used(), 0);
    assert!(rig.reading().is_some());
}

/// R9: the gateway is not given more than the bound, or more handovers than it may have.
#[test]
fn r9_handovers_are_bounded() {
    let mut rig = Rig::started(1, Settings { handovers_max: 2, ..Settings::default() });
    rig.read(vec![(0, slice(batches(&[batch(100, 1, 1), batch(101, 1, 1), batch(102, 1, 1)]), 103))]);
    for _ in 0..2 {
        assert!(rig.reader.has_work());
        let taken = rig.reader.take_batch().unwrap();
        rig.reader.advance(0, taken.generation, taken.until);
        rig.reader.admitted(1);
    }
    assert!(!rig.reader.has_work());
    rig.reader.answered();
    assert!(rig.reader.has_work());
}

/// R11: the distance between two reads of a source is kept.
#[test]
fn r11_reads_keep_their_distance() {
    let mut rig = Rig::started(1, Settings { fetch_interval: ms(5), ..Settings::default() });
    rig.read(vec![(0, slice(batch(100, 1, 1), 101))]);
    assert!(rig.reading().is_none());
    assert_eq!(rig.reader.wake_at(rig.now), Some(rig.now + ms(5)));
    rig.pass(5);
    assert!(rig.reading().is_some());
}

/// R11: a source that throttles is not asked before.
#[test]
fn r11_throttling_is_honoured() {
    let mut rig = Rig::started(1, Settings::default());
    let (id, _) = rig.reading().unwrap();
    rig.answer(id, Answer::Read { throttle: ms(300), slices: vec![(0, slice(batch(100, 1, 1), 101))] });
    rig.pass(299);
    assert!(rig.reading().is_none());
    rig.pass(1);
    assert!(rig.reading().is_some());
}

/// R11: a partition that is behind is read only so fast, and does not hold back one that is not.
#[test]
fn r11_catching_up_is_bounded() {
    let batch_bytes = u64::try_from(batch(0, 1, 1).len()).unwrap();
    let mut rig = Rig::started(2, Settings { catchup_bytes_per_second: batch_bytes, ..Settings::default() });
    rig.read(vec![(0, slice(batch(100, 1, 1), 500)), (1, slice(batch(100, 1, 1), 101))]);
    let (_, from) = rig.reading().unwrap();
    assert_eq!(from.iter().map(|from| from.partition).collect::<Vec<_>>(), [1]);
    rig.read(vec![(1, slice(Bytes::new(), 101))]);
    rig.pass(1_000);
    let (_, from) = rig.reading().unwrap();
    assert_eq!(from.len(), 2);
}

/// Partitions take turns, in what is asked first and in what is handed over.
#[test]
fn partitions_take_turns() {
    let mut rig = Rig::started(2, Settings::default());
    let both = |base| batches(&[batch(base, 1, 1), batch(base + 1, 1, 1)]);
    assert_eq!(rig.reading().unwrap().1[0].partition, 0);
    rig.read(vec![(0, slice(both(100), 102)), (1, slice(both(100), 102))]);
    assert_eq!(rig.reading().unwrap().1[0].partition, 1);
    assert_eq!(rig.take().0, [(0, 100), (1, 100), (0, 101), (1, 101)]);
}
