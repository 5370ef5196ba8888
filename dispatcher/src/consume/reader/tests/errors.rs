//! No error, however long it lasts, makes a reader ask without a pause.

use super::*;
use crate::bus::log::Trouble;

/// How a permanent error is answered.
type Wrong = fn(&Ask) -> Option<Answer>;

fn slices(ask: &Ask, slice: impl Fn() -> Result<Slice, Refusal>) -> Option<Answer> {
    let Ask::Read { from, .. } = ask else { return None };
    let slices = from.iter().map(|from| (from.partition, slice())).collect();
    Some(Answer::Read { throttle: Duration::ZERO, slices })
}

fn edges(ask: &Ask, edge: impl Fn() -> Result<Place, Refusal>) -> Option<Answer> {
    let Ask::Edges { partitions, .. } = ask else { return None };
    Some(Answer::Edges(partitions.iter().map(|of| (of.partition, edge())).collect()))
}

fn failed(trouble: fn(std::sync::Arc<str>) -> Trouble) -> Option<Answer> {
    Some(Answer::Failed(trouble("no".into())))
}

/// What a healthy log of nothing answers.
fn right(ask: &Ask) -> Answer {
    match ask {
        Ask::Topology => Answer::Topology(Topology { topic: TOPIC, leaders: vec![leader(1, 1), leader(2, 1)] }),
        Ask::Edges { partitions, .. } => {
            let place = Place { offset: 100, epoch: 1 };
            Answer::Edges(partitions.iter().map(|of| (of.partition, Ok(place))).collect())
        }
        Ask::Read { .. } => slices(ask, || slice(Bytes::new(), 100)).unwrap(),
    }
}

/// Questions in a minute of which each is answered at once, wrongly if `wrong` says so.
fn asks_in_a_minute(mut rig: Rig, wrong: Wrong) -> usize {
    let end = rig.now + Duration::from_secs(60);
    let mut asks = 0;
    loop {
        rig.poll();
        while let Some((id, ask)) = rig.asked.first().cloned() {
            asks += 1;
            assert!(asks < 100_000, "a hot loop: {ask:?}");
            rig.answer(id, wrong(&ask).unwrap_or_else(|| right(&ask)));
            rig.poll();
        }
        let wake = rig.reader.wake_at(rig.now).expect("it tries again");
        assert!(wake > rig.now);
        if wake > end {
            return asks;
        }
        rig.now = wake;
    }
}

/// Under a permanent error of any kind two partitions and two sources are asked a few times a second, all questions
/// together; and never not at all.
#[test]
fn no_permanent_error_makes_a_hot_loop() {
    let reads: [(&str, Wrong); 20] = [
        ("all unreachable", |_| failed(Trouble::Unreachable)),
        ("all time out", |_| failed(Trouble::TimedOut)),
        ("no topic", |ask| matches!(ask, Ask::Topology).then(|| failed(Trouble::NoTopic)).flatten()),
        ("denied", |_| failed(Trouble::Denied)),
        ("refused", |_| failed(Trouble::Refused)),
        ("reads fail", |ask| matches!(ask, Ask::Read { .. }).then(|| failed(Trouble::Unreachable)).flatten()),
        ("answers to something else", |_| Some(Answer::Edges(Vec::new()))),
        ("nothing is answered for", |ask| match ask {
            Ask::Read { .. } => Some(Answer::Read { throttle: Duration::ZERO, slices: Vec::new() }),
            _ => None,
        }),
        ("diverging", |ask| slices(ask, || Err(Refusal::Diverging { end: Place { offset: 100, epoch: 1 } }))),
        ("out of range", |ask| slices(ask, || Err(Refusal::OutOfRange))),
        ("not leader", |ask| slices(ask, || Err(Refusal::NotLeader { now: None }))),
        ("another leader", |ask| slices(ask, || Err(Refusal::NotLeader { now: leader(1, 2) }))),
        ("fenced epoch", |ask| slices(ask, || Err(Refusal::FencedEpoch))),
        ("unknown epoch", |ask| slices(ask, || Err(Refusal::UnknownEpoch))),
        ("unknown topic", |ask| slices(ask, || Err(Refusal::UnknownTopic))),
        ("not yet", |ask| slices(ask, || Err(Refusal::NotYet))),
        ("corrupt", |ask| slices(ask, || Err(Refusal::Corrupt))),
        ("denied partition", |ask| slices(ask, || Err(Refusal::Denied))),
        ("a code", |ask| slices(ask, || Err(Refusal::Code(-1)))),
        ("empty at once", |ask| slices(ask, || slice(Bytes::new(), 100))),
    ];
    for (name, wrong) in reads {
        for rig in [Rig::started(2, Settings::default()), Rig::new(Settings::default())] {
            let asks = asks_in_a_minute(rig, wrong);
            assert!((4..60 * 12).contains(&asks), "{name}: {asks} questions in a minute");
        }
    }
}

/// What only an operator can mend is asked for slowly: each attempt may count against an account.
#[test]
fn what_an_operator_must_mend_is_asked_for_slowly() {
    let wrongs: [(&str, Wrong); 2] =
        [("no topic", |_| failed(Trouble::NoTopic)), ("denied", |_| failed(Trouble::Denied))];
    for (name, wrong) in wrongs {
        let asks = asks_in_a_minute(Rig::new(Settings::default()), wrong);
        assert!((4..=9).contains(&asks), "{name}: {asks} questions in a minute");
    }
}

/// The same for what is found in answers, and for edges.
#[test]
fn no_damage_makes_a_hot_loop() {
    let wrongs: [(&str, Wrong); 6] = [
        ("cut off", |ask| slices(ask, || slice(batch(100, 1, 1).slice(..70), 200))),
        ("garbage", |ask| slices(ask, || slice(Bytes::from_static(&[0xff; 200]), 200))),
        ("old batches", |ask| slices(ask, || slice(batch(10, 5, 1), 200))),
        ("edges refused", |ask| edges(ask, || Err(Refusal::NotYet))),
        ("edges diverge", |ask| edges(ask, || Err(Refusal::OutOfRange))),
        ("edges below zero", |ask| edges(ask, || Ok(Place { offset: -1, epoch: -1 }))),
    ];
    for (name, wrong) in wrongs {
        let asks = asks_in_a_minute(Rig::new(Settings::default()), wrong);
        assert!((6..60 * 12).contains(&asks), "{name}: {asks} questions in a minute");
    }
}

/// R11: a source that wants not to be asked is not, though it led nothing for a while in between.
#[test]
fn r11_a_throttle_outlasts_a_change_of_leaders() {
    let mut rig = Rig::started(1, Settings::default());
    let (id, _) = rig.reading().unwrap();
    let slices = vec![(0, Err(Refusal::FencedEpoch))];
    rig.answer(id, Answer::Read { throttle: Duration::from_secs(30), slices });
    for (source, epoch) in [(2, 2), (1, 3)] {
        rig.pass(10_001);
        rig.topology(TOPIC, &[leader(source, epoch)]);
    }
    rig.pass(1_000);
    assert!(rig.reading().is_none_or(|_| rig.asked.iter().all(|(_, ask)| !matches!(ask, Ask::Read { source: 1, .. }))));
    rig.pass(10_000);
    rig.poll();
    assert!(rig.asked.iter().any(|(_, ask)| matches!(ask, Ask::Read { source: 1, .. })));
}
