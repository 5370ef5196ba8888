//! Rule R6 where much is damaged, or where the damage is in what no checksum counts.

use super::*;
use crate::bus::batch::Unreadable;
use crate::bus::batch::header::set_place;
use crate::consume::reader::Event;

/// Never far behind: what is measured is the way through.
fn patient() -> Settings {
    Settings { catchup_max: Duration::MAX, ..Settings::default() }
}

/// What it takes to read a log of batches of one record from offset 100 on, so many in an answer: time and reads. With
/// `cannot_be_read` each of them is whole, but none can be read.
fn catch_up(log: &[Bytes], in_an_answer: usize, cannot_be_read: bool) -> (Rig, Duration, usize) {
    let mut rig = Rig::started(1, patient());
    let (began, mut reads) = (rig.now, 0);
    let end = 100 + i64::try_from(log.len()).unwrap();
    for _ in 0..10_000 {
        if rig.reader.done(0) == Some(end) {
            let took = rig.now - began;
            return (rig, took, reads);
        }
        match rig.reading() {
            None => rig.now = rig.reader.wake_at(rig.now).expect("it goes on"),
            Some((_, from)) => {
                let first = usize::try_from(from[0].place.offset - 100).unwrap();
                let parts = &log[first..log.len().min(first + in_an_answer)];
                rig.read(vec![(0, slice(batches(parts), end))]);
                reads += 1;
            }
        }
        while let Some(taken) = rig.reader.take_batch() {
            match cannot_be_read {
                true => rig.reader.unreadable(rig.now, &taken, Unreadable::UnknownCodec(7)),
                false => assert!(rig.reader.advance(0, taken.generation, taken.until)),
            }
        }
        rig.reader.nothing_admitted();
    }
    panic!("it does not go on at {:?}", rig.reader.done(0));
}

fn damaged(base: i64) -> Bytes {
    let mut bad = batch(base, 1, 1).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    bad.into()
}

/// R6: a hundred damaged batches in one answer are looked at twice together, good ones among them are read.
#[test]
fn r6_damaged_batches_of_one_answer_are_looked_at_twice_together() {
    let log: Vec<Bytes> =
        (100..300).map(|base| if base % 2 == 0 { damaged(base) } else { batch(base, 1, 1) }).collect();
    let (rig, took, reads) = catch_up(&log, usize::MAX / 2, false);
    assert_eq!((rig.reader.counts().unreadable, rig.reader.counts().batches, reads), (100, 100, 2));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// R6: a hundred damaged batches in answers of their own are passed with a hundred shortest pauses: none is the worse
/// for the one before.
#[test]
fn r6_pauses_do_not_grow_from_one_damaged_batch_to_the_next() {
    let log: Vec<Bytes> = (100..200).map(damaged).collect();
    let (rig, took, reads) = catch_up(&log, 1, false);
    assert_eq!((rig.reader.counts().unreadable, reads), (100, 200));
    assert!(took < Duration::from_secs(15), "{took:?}");
}

/// R6: the same for batches that are whole and cannot be read.
#[test]
fn r6_pauses_do_not_grow_from_one_unreadable_batch_to_the_next() {
    let log: Vec<Bytes> = (100..200).map(|base| batch(base, 1, 1)).collect();
    let (rig, took, reads) = catch_up(&log, usize::MAX / 2, true);
    assert_eq!(rig.reader.counts().unreadable, 100);
    assert!(reads <= 200 && took < Duration::from_secs(15), "{reads} reads in {took:?}");
}

/// R6: an offset that cannot be, in a batch with a right checksum, is damage: the batch is read again and skipped, the
/// position stays within the log, what follows is read, and nothing overflows.
#[test]
fn r6_a_batch_at_an_impossible_place_is_damaged() {
    for wild in [i64::MIN, -1, 1 << 40, i64::MAX - 1, i64::MAX] {
        let mut bad = batch(0, 3, 1).to_vec();
        set_place(&mut bad, wild, 1);
        let parts = [bad.into(), batch(103, 1, 1)];
        let mut rig = Rig::started(1, patient());
        for _ in 0..2 {
            assert_eq!(rig.reading().unwrap().1[0].place.offset, 100, "{wild}");
            rig.read(vec![(0, slice(batches(&parts), 104))]);
            rig.pass(200);
        }
        assert_eq!(rig.records(), [103], "{wild}");
        let why = Unreadable::Misplaced(wild);
        assert_eq!(rig.reader.take_event(), Some(Event::Unreadable { partition: 0, from: 100, to: 103, why }));
        assert_eq!((rig.reader.counts().missing, rig.reader.lag(), rig.reader.done(0)), (0, 0, Some(104)), "{wild}");
    }
}

/// R6: nor is such a place believed where it would say how far a damaged batch goes.
#[test]
fn r6_a_batch_at_an_impossible_place_does_not_say_where_another_ends() {
    let mut wild = batch(0, 1, 1).to_vec();
    set_place(&mut wild, 1 << 40, 1);
    let mut rig = Rig::started(1, patient());
    for _ in 0..2 {
        rig.read(vec![(0, slice(batches(&[damaged(100), wild.clone().into()]), 500))]);
        rig.pass(200);
    }
    assert!(rig.reading().unwrap().1[0].place.offset <= 102);
}

/// R3: a broker looks where its log ends before it reads: what was written in between goes on at the cursor and is
/// read, without a second look.
#[test]
fn r3_a_batch_that_goes_on_may_lie_above_the_end_that_was_named() {
    let mut rig = Rig::started(1, Settings::default());
    rig.read(vec![(0, slice(batches(&[batch(100, 2, 1), batch(102, 1, 1)]), 101))]);
    assert_eq!(rig.records(), [100, 101, 102]);
    assert_eq!(rig.reading().unwrap().1[0].place.offset, 103);
}

/// No sum overflows at the last offsets that there are.
#[test]
fn the_last_offsets_overflow_nothing() {
    let last = i64::MAX - 2;
    let mut rig = Rig::new(patient());
    rig.topology(TOPIC, &[leader(1, 1)]);
    rig.edges(Edge::End, |_| Ok(Place { offset: last, epoch: 1 }));
    rig.read(vec![(0, slice(batch(last, 2, 1), i64::MAX))]);
    assert_eq!(rig.records(), [last, last + 1]);
    for _ in 0..3 {
        rig.read(vec![(0, slice(damaged(i64::MAX), i64::MAX))]);
        rig.pass(5_000);
    }
    assert_eq!(rig.reader.done(0), Some(i64::MAX));
}
