//! The rules of producing, each by its number, against a hand-driven machine. Owns the driver that hands it time and
//! answers; what random runs find is the simulation's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::act::{Action, Answer, PushId, Request, RequestId};
use super::batch::{Identity, record_bytes};
use super::core::Produce;
use super::settings::Settings;
use crate::bus::log::{Leader, TopicId, Topology, Trouble};
use crate::bus::{Position, PublishError, Record};

type Outcome = Result<Vec<Position>, PublishError>;

/// A machine with the actions that nobody has looked at yet.
struct Bench {
    produce: Produce,
    now: Duration,
    next_identity: i64,
    sent: Vec<Request>,
    done: BTreeMap<PushId, Outcome>,
    identities: Vec<i32>,
    topologies: usize,
}

fn leader(source: i32, epoch: i32) -> Option<Leader> {
    Some(Leader { source, epoch })
}

fn topology(topic: u8, leaders: &[Option<Leader>]) -> Topology {
    Topology { topic: TopicId([topic; 16]), leaders: leaders.to_vec() }
}

fn record(text: &str) -> Record {
    Record { key: Bytes::from_static(b"key"), value: Bytes::copy_from_slice(text.as_bytes()) }
}

fn answer(code: i16) -> Answer {
    Answer { code, base_offset: if code == 0 { 100 } else { -1 }, leader: None }
}

/// What a request carries of a partition: its first sequence number, its id, and the texts of its records.
fn carried(request: &Request, partition: i32) -> (i32, i64, Vec<String>) {
    let (_, batch) = request.batches.iter().find(|(number, _)| *number == partition).expect("its batch");
    let texts = batch.records.iter().map(|it| String::from_utf8(it.record.value.to_vec()).unwrap()).collect();
    (batch.sequence, batch.identity.id, texts)
}

fn texts(some: &[&str]) -> Vec<String> {
    some.iter().map(|text| (*text).to_owned()).collect()
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        let produce = Produce::new(settings, SmallRng::seed_from_u64(7));
        let (sent, done, identities) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut bench = Bench { produce, now: Duration::ZERO, next_identity: 0, sent, done, identities, topologies: 0 };
        bench.pass(Duration::ZERO);
        bench
    }

    /// One partition, led by broker 1.
    fn single() -> Bench {
        let mut bench = Bench::new(Settings::default());
        bench.lead(&[leader(1, 0)]);
        bench
    }

    fn lead(&mut self, leaders: &[Option<Leader>]) {
        self.produce.topology(self.now, &topology(1, leaders));
        self.collect();
    }

    /// Take the actions; ids are granted at once, everything else is noted.
    fn collect(&mut self) {
        while let Some(action) = self.produce.action() {
            match action {
                Action::AskTopology => self.topologies += 1,
                Action::AskIdentity { partition } => {
                    self.identities.push(partition);
                    self.next_identity += 1;
                    let identity = Identity { id: self.next_identity, epoch: 0 };
                    self.produce.identity(self.now, partition, Ok(identity));
                }
                Action::Send(request) => self.sent.push(request),
                Action::Done { push, outcome } => {
                    assert!(self.done.insert(push, outcome).is_none(), "a push has one result");
                }
            }
        }
        if let Some(next) = self.produce.next_deadline() {
            assert!(next > self.now, "what is due was done: no hot loop");
        }
    }

    fn push(&mut self, text: &str) -> PushId {
        self.push_to(&[(0, text)]).expect("admitted")
    }

    fn push_to(&mut self, groups: &[(i32, &str)]) -> Result<PushId, PublishError> {
        let records = groups.iter().map(|(partition, text)| (*partition, record(text))).collect();
        let admitted = self.produce.admit(self.now, 0, records);
        self.produce.tick(self.now);
        self.collect();
        admitted
    }

    /// The request that was sent last and not looked at.
    fn take(&mut self) -> Request {
        assert_eq!(self.sent.len(), 1, "one request");
        self.sent.remove(0)
    }

    fn reply(&mut self, request: &Request, code: i16) {
        let answers: Vec<(i32, Answer)> =
            request.batches.iter().map(|(partition, _)| (*partition, answer(code))).collect();
        self.reply_each(request.id, &answers);
    }

    fn reply_each(&mut self, request: RequestId, answers: &[(i32, Answer)]) {
        self.produce.answered(self.now, request, answers, Duration::ZERO);
        self.collect();
    }

    fn lose(&mut self, request: &Request, written: bool) {
        self.produce.lost(self.now, request.id, written, &Arc::from("the connection to broker 1 broke"));
        self.collect();
    }

    /// Let time pass, waking the machine whenever it wants to be.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.produce.next_deadline().filter(|next| *next <= end) {
            self.now = next;
            self.produce.tick(self.now);
            self.collect();
        }
        self.now = end;
        self.produce.tick(self.now);
        self.collect();
    }

    /// Until the next request is sent.
    fn next_request(&mut self) -> Request {
        for _ in 0..100 {
            if !self.sent.is_empty() {
                return self.take();
            }
            self.pass(Duration::from_millis(50));
        }
        panic!("nothing was sent");
    }

    fn outcome(&self, push: PushId) -> &Outcome {
        self.done.get(&push).expect("a result")
    }

    fn is_unknown(&self, push: PushId) -> bool {
        matches!(self.outcome(push), Err(PublishError::Unknown(_)))
    }

    fn is_unavailable(&self, push: PushId) -> bool {
        matches!(self.outcome(push), Err(PublishError::Unavailable(_)))
    }
}

const LONG: Duration = Duration::from_secs(20);

/// P1: an attempt that was written and ended in doubt makes the push unknown, whatever later attempts are answered.
#[test]
fn p1_a_definite_answer_does_not_undo_an_earlier_doubt() {
    for (doubtful, definite) in [(6, 19), (6, 29), (7, 10), (56, 87), (-1, 17), (20, 32), (3, 18), (100, 19)] {
        let mut bench = Bench::single();
        let push = bench.push("a");
        let first = bench.take();
        bench.reply(&first, doubtful);
        let second = bench.next_request();
        bench.reply(&second, definite);
        bench.pass(LONG);
        assert!(bench.is_unknown(push), "{doubtful} then {definite}: {:?}", bench.outcome(push));
    }
}

/// P1: every attempt answered with a definite code: refused.
#[test]
fn p1_only_definite_answers_refuse() {
    for code in [17, 19, 29, 32, 87] {
        let mut bench = Bench::single();
        let push = bench.push("a");
        let mut attempts = 0;
        for _ in 0..400 {
            if let Some(request) = bench.sent.pop() {
                attempts += 1;
                bench.reply(&request, code);
            }
            bench.pass(Duration::from_millis(50));
        }
        assert!(bench.is_unavailable(push), "{code}: {:?}", bench.outcome(push));
        assert!(attempts <= 30, "{code}: {attempts} requests");
    }
}

/// P1: a request of which nothing was written leaves no doubt; one that may have been written does.
#[test]
fn p1_unwritten_attempts_refuse_and_written_ones_do_not() {
    for (written, refused) in [(false, true), (true, false)] {
        let mut bench = Bench::single();
        let push = bench.push("a");
        for _ in 0..400 {
            if let Some(request) = bench.sent.pop() {
                bench.lose(&request, written);
            }
            bench.pass(Duration::from_millis(50));
        }
        assert_eq!((bench.is_unavailable(push), bench.is_unknown(push)), (refused, !refused), "written {written}");
    }
}

/// P1: an answer that leaves a partition out says nothing of it, and codes that nobody knows say nothing either.
#[test]
fn p1_silence_and_unknown_codes_are_in_doubt() {
    let mut bench = Bench::single();
    let push = bench.push("a");
    let request = bench.take();
    bench.reply_each(request.id, &[]);
    bench.pass(LONG);
    assert!(bench.is_unknown(push));
    for code in [47, 31, 35, 43, 76, 90, 999] {
        let mut bench = Bench::single();
        let push = bench.push("a");
        let request = bench.take();
        bench.reply(&request, code);
        assert!(bench.is_unknown(push), "{code} ends it at once");
    }
}

/// P1: a batch whose time ends while it travels is unknown, and a late answer changes nothing.
#[test]
fn p1_out_of_time_while_travelling_is_unknown() {
    let mut bench = Bench::single();
    let push = bench.push("a");
    let request = bench.take();
    bench.pass(LONG);
    assert!(bench.is_unknown(push));
    bench.reply(&request, 0);
    assert_eq!(bench.done.len(), 1);
}

/// P2: after a definite refusal the sequence stands, and the next records get it under the same id.
#[test]
fn p2_after_a_definite_refusal_the_sequence_stands() {
    let mut bench = Bench::single();
    bench.push("a");
    let first = bench.take();
    assert_eq!(carried(&first, 0), (0, 1, texts(&["a"])));
    bench.reply(&first, 0);
    let refused = bench.push("b");
    let second = bench.take();
    assert_eq!(carried(&second, 0), (1, 1, texts(&["b"])));
    bench.reply(&second, 29);
    assert!(bench.is_unavailable(refused));
    bench.push("c");
    let third = bench.next_request();
    assert_eq!(carried(&third, 0), (1, 1, texts(&["c"])));
    assert_eq!(bench.identities, [0]);
}

/// P2: after a doubtful end the partition gets a new id, from sequence 0 on, and no other partition does.
#[test]
fn p2_p3_after_unknown_this_partition_alone_gets_a_new_id() {
    let mut bench = Bench::new(Settings::default());
    bench.lead(&[leader(1, 0), leader(2, 0)]);
    bench.push_to(&[(0, "a")]).unwrap();
    let first = bench.take();
    bench.push_to(&[(1, "x")]).unwrap();
    let other = bench.take();
    bench.reply(&other, 0);
    bench.pass(LONG);
    bench.lose(&first, true);
    bench.push_to(&[(0, "b")]).unwrap();
    let next = bench.next_request();
    assert_eq!(carried(&next, 0), (0, 3, texts(&["b"])), "ids 1 and 2 were given before");
    bench.push_to(&[(1, "y")]).unwrap();
    let other = bench.next_request();
    assert_eq!(carried(&other, 1), (1, 2, texts(&["y"])));
    assert_eq!(bench.identities, [0, 1, 0]);
}

/// P3: a batch that was sent is sent again as it was: same id, sequence, records, bytes.
#[test]
fn p3_a_retry_is_the_same_batch() {
    let mut bench = Bench::single();
    let push = bench.push("a");
    let first = bench.take();
    bench.push("b");
    bench.lose(&first, true);
    bench.produce.topology(bench.now, &topology(1, &[leader(2, 1)]));
    bench.collect();
    let second = bench.next_request();
    assert_eq!(second.source, 2);
    assert!(Arc::ptr_eq(&first.batches[0].1, &second.batches[0].1));
    bench.reply(&second, 0);
    assert_eq!(bench.outcome(push).as_ref().unwrap()[0].offset, 100);
    assert_eq!(carried(&bench.take(), 0), (1, 1, texts(&["b"])));
}

/// P3: 45 and 59 on a first attempt mean "not appended": once more under a new id, and no further.
#[test]
fn p3_a_stale_id_is_renewed_once() {
    for code in [45, 59] {
        let mut bench = Bench::single();
        let push = bench.push("a");
        let first = bench.take();
        assert_eq!(carried(&first, 0), (0, 1, texts(&["a"])));
        bench.reply(&first, code);
        let second = bench.next_request();
        assert_eq!(carried(&second, 0), (0, 2, texts(&["a"])));
        bench.reply(&second, 0);
        assert!(bench.outcome(push).is_ok());

        let push = bench.push("b");
        for _ in 0..2 {
            let request = bench.next_request();
            bench.reply(&request, code);
        }
        assert!(bench.is_unknown(push), "{code} twice");
    }
}

/// P3: 45 after an attempt in doubt is no reason to send the records under another id.
#[test]
fn p3_a_stale_id_after_a_doubt_is_unknown() {
    let mut bench = Bench::single();
    let push = bench.push("a");
    let first = bench.take();
    bench.reply(&first, 6);
    let second = bench.next_request();
    bench.reply(&second, 45);
    assert!(bench.is_unknown(push));
    bench.pass(LONG);
    assert!(bench.sent.is_empty());
}

/// P3: at most one id a second and partition, also where every one of them is stale.
#[test]
fn p3_ids_are_asked_for_once_a_second_at_most() {
    let mut bench = Bench::single();
    for _ in 0..1000 {
        if let Some(request) = bench.sent.pop() {
            bench.reply(&request, 45);
        }
        bench.push("a");
        bench.pass(Duration::from_millis(10));
    }
    assert!((5..=11).contains(&bench.identities.len()), "{} ids in 10 s", bench.identities.len());
}

/// P3: a refused producer id is asked for again with a pause; what waits for it is refused in the end.
#[test]
fn p3_without_an_id_nothing_is_sent() {
    let mut produce = Produce::new(Settings::default(), SmallRng::seed_from_u64(1));
    produce.topology(Duration::ZERO, &topology(1, &[leader(1, 0)]));
    produce.admit(Duration::ZERO, 0, vec![(0, record("a"))]).unwrap();
    produce.tick(Duration::ZERO);
    let (mut now, mut asked, mut outcome) = (Duration::ZERO, 0, None);
    while outcome.is_none() {
        while let Some(action) = produce.action() {
            match action {
                Action::AskIdentity { partition } => {
                    asked += 1;
                    produce.identity(now, partition, Err("no coordinator is ready".into()));
                }
                Action::Send(request) => panic!("{request:?}"),
                Action::Done { outcome: ended, .. } => outcome = Some(ended),
                Action::AskTopology => {}
            }
        }
        now = produce.next_deadline().unwrap_or(now);
        produce.tick(now);
    }
    let Some(Err(PublishError::Unavailable(why))) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("no coordinator is ready"), "{why}");
    assert!((2..=16).contains(&asked), "{asked} questions in 15 s");
}

/// P4: size, room and leaders of every group are looked at before the first is queued.
#[test]
fn p4_all_groups_are_checked_before_the_first_is_queued() {
    let settings = Settings { partition_bytes_max: 400, request_bytes_max: 300, ..Settings::default() };
    let mut bench = Bench::new(settings);
    assert!(matches!(bench.push_to(&[(0, "a")]), Err(PublishError::Unavailable(_))), "no topology yet");
    bench.lead(&[leader(1, 0), None, leader(1, 0)]);
    let long = "x".repeat(250);
    let bytes = record_bytes(&record(&long));
    let too_large = bench.push_to(&[(0, "a"), (2, &long)]);
    assert_eq!(too_large, Err(PublishError::TooLarge { bytes, bytes_max: Some(239) }));
    assert!(matches!(bench.push_to(&[(0, "a"), (1, "b")]), Err(PublishError::Unavailable(_))));
    assert!(matches!(bench.push_to(&[(0, "a"), (7, "b")]), Err(PublishError::Unavailable(_))));
    let half = "x".repeat(180);
    let full = bench.push_to(&[(0, "a"), (2, &half), (2, &half)]);
    assert_eq!(full, Err(PublishError::Full));
    assert_eq!((bench.sent.len(), bench.produce.depth().records, bench.produce.is_idle()), (0, 0, true));
}

/// P4: the groups of a push travel apart and come to one result.
#[test]
fn p4_groups_of_one_push_come_together() {
    let settle = |code: i16| {
        let mut bench = Bench::new(Settings::default());
        bench.lead(&[leader(1, 0), leader(1, 0)]);
        let push = bench.push_to(&[(1, "b"), (0, "a")]).unwrap();
        let mut answered = 0;
        while answered < 2 {
            let request = bench.next_request();
            let answers: Vec<(i32, Answer)> = request
                .batches
                .iter()
                .map(|(partition, _)| (*partition, answer(if *partition == 0 { 0 } else { code })))
                .collect();
            answered += answers.len();
            bench.reply_each(request.id, &answers);
        }
        bench.outcome(push).clone()
    };
    let at = |partition| Position { partition, offset: 100 };
    assert_eq!(settle(0), Ok(vec![at(1), at(0)]), "in the order of the push");
    for code in [29, 31] {
        let Err(PublishError::Unknown(why)) = settle(code) else { panic!("{code}") };
        assert!(why.starts_with("part of it may appear"), "{why}");
    }
}

/// P5: one batch under way a partition and one request a broker; what waits meanwhile goes as one batch, in order.
#[test]
fn p5_what_waits_goes_as_one_batch() {
    let mut bench = Bench::new(Settings::default());
    bench.lead(&[leader(1, 0), leader(1, 0), leader(2, 0)]);
    bench.push("a");
    let first = bench.take();
    for text in ["b", "c", "d"] {
        bench.push(text);
    }
    bench.push_to(&[(1, "x")]).unwrap();
    assert!(bench.sent.is_empty(), "the broker has a request");
    bench.push_to(&[(2, "y")]).unwrap();
    assert_eq!(bench.take().source, 2, "another broker has none");
    bench.reply(&first, 0);
    let second = bench.take();
    assert_eq!(carried(&second, 0), (1, 1, texts(&["b", "c", "d"])));
    assert_eq!(carried(&second, 1).2, texts(&["x"]));
    bench.reply(&second, 0);
    let offsets: Vec<i64> = (1..4).map(|push| bench.outcome(PushId(push)).as_ref().unwrap()[0].offset).collect();
    assert_eq!(offsets, [100, 101, 102]);
    assert_eq!(bench.produce.counts().batches, 3);
}

/// P5: a batch and a request keep within their bytes, and no partition is always last.
#[test]
fn p5_requests_are_bounded_and_fair() {
    let mut bench = Bench::new(Settings { request_bytes_max: 400, ..Settings::default() });
    bench.lead(&[leader(1, 0), leader(1, 0), leader(1, 0)]);
    let text = "x".repeat(100);
    for _ in 0..20 {
        for partition in 0..3 {
            bench.push_to(&[(partition, &text)]).unwrap();
        }
    }
    let mut served = BTreeMap::new();
    while !bench.sent.is_empty() {
        let request = bench.take();
        let bytes: usize = request
            .batches
            .iter()
            .map(|(_, batch)| 61 + batch.records.iter().map(|it| record_bytes(&it.record)).sum::<usize>())
            .sum();
        assert!(bytes <= 400, "{bytes}");
        for (partition, _) in &request.batches {
            *served.entry(*partition).or_insert(0) += 1;
        }
        if bench.done.len() < 30 {
            let (least, most) = (served.values().min().unwrap(), served.values().max().unwrap());
            assert!(served.len() < 3 || most - least <= 2, "{served:?}");
        }
        bench.reply(&request, 0);
    }
    assert_eq!(bench.done.len(), 60);
}

/// P5: after its time nothing of a push is sent; what was only queued is refused, and what came later goes on.
#[test]
fn p5_nothing_is_sent_after_the_publish_timeout() {
    let mut bench = Bench::single();
    let travelling = bench.push("a");
    let request = bench.take();
    let queued = bench.push("b");
    bench.pass(Duration::from_secs(10));
    let later = bench.push("c");
    bench.pass(Duration::from_secs(6));
    assert!(bench.is_unknown(travelling));
    assert!(bench.is_unavailable(queued));
    bench.lose(&request, true);
    let next = bench.next_request();
    assert_eq!(carried(&next, 0).2, texts(&["c"]));
    assert_eq!(next.write_by, Duration::from_secs(25));
    bench.reply(&next, 0);
    assert!(bench.outcome(later).is_ok());
}

/// P5: of a batch that was only ever refused, the records whose time is not over go on under the same sequence.
#[test]
fn p5_a_refused_batch_is_taken_apart_when_its_first_record_is_out_of_time() {
    let mut bench = Bench::single();
    bench.push("z");
    let busy = bench.take();
    let early = bench.push("a");
    bench.pass(Duration::from_secs(4));
    let late = bench.push("b");
    bench.reply(&busy, 0);
    while bench.now < Duration::from_secs(16) {
        if let Some(request) = bench.sent.pop() {
            bench.reply(&request, 19);
        }
        bench.pass(Duration::from_millis(50));
    }
    assert!(bench.is_unavailable(early));
    let request = bench.next_request();
    assert_eq!(carried(&request, 0), (1, 1, texts(&["b"])));
    bench.reply(&request, 0);
    assert!(bench.outcome(late).is_ok());
}

/// A broker that takes smaller batches than ours gets smaller ones; a record that it does not take alone is too large.
#[test]
fn batches_shrink_to_what_the_broker_takes() {
    let mut bench = Bench::single();
    bench.push("first");
    let busy = bench.take();
    let pushes: Vec<PushId> = (0..8).map(|_| bench.push(&"x".repeat(100))).collect();
    bench.reply(&busy, 0);
    let mut largest = 0;
    while !bench.produce.is_idle() {
        let request = bench.next_request();
        let records = request.batches[0].1.records.len();
        bench.reply(&request, if records > 4 { 10 } else { 0 });
        largest = largest.max(if records > 4 { 0 } else { records });
    }
    assert!((2..=4).contains(&largest), "{largest}");
    assert!(pushes.iter().all(|push| bench.outcome(*push).is_ok()));
    let push = bench.push("y");
    let request = bench.next_request();
    bench.reply(&request, 10);
    assert!(matches!(bench.outcome(push), Err(PublishError::TooLarge { bytes_max: None, .. })));
}

/// A topic that is given more room while we run gets long batches again, without a push being refused for it.
#[test]
fn batches_grow_again_with_what_the_broker_takes() {
    let mut bench = Bench::single();
    let mut records_max = 2;
    let mut largest = 0;
    for round in 0..2_000 {
        if round == 100 {
            records_max = 8;
            largest = 0;
        }
        let pushes: Vec<PushId> = (0..8).map(|_| bench.push(&"x".repeat(100))).collect();
        while !bench.produce.is_idle() {
            let request = bench.next_request();
            let records = request.batches[0].1.records.len();
            bench.reply(&request, if records > records_max { 10 } else { 0 });
            largest = largest.max(if records > records_max { 0 } else { records });
        }
        assert!(pushes.iter().all(|push| bench.outcome(*push).is_ok()), "round {round}");
        assert!(round >= 100 || largest <= 2);
    }
    assert!(largest > 4, "{largest}");
}

/// A duplicate is a success without an offset.
#[test]
fn a_duplicate_is_in_the_log() {
    let mut bench = Bench::single();
    let push = bench.push("a");
    let first = bench.take();
    bench.reply(&first, 7);
    let second = bench.next_request();
    bench.reply(&second, 46);
    assert_eq!(bench.outcome(push).as_ref().unwrap()[0].to_string(), "0-unknown");
}

/// A topic that was deleted and made again: what may be in the old one is unknown, what waits goes to the new one.
#[test]
fn a_new_topic_gets_nothing_that_may_be_in_the_old_one() {
    let mut bench = Bench::single();
    let doubtful = bench.push("a");
    let first = bench.take();
    let queued = bench.push("b");
    bench.reply(&first, 100);
    bench.produce.topology(bench.now, &topology(2, &[leader(1, 0)]));
    bench.collect();
    assert!(bench.is_unknown(doubtful));
    let next = bench.next_request();
    assert_eq!((next.topic, carried(&next, 0)), (TopicId([2; 16]), (0, 2, texts(&["b"]))));
    bench.reply(&next, 0);
    assert!(bench.outcome(queued).is_ok());
}

/// News of a leader that is older than what is known is not believed; newer news ends a pause.
#[test]
fn leaders_never_go_back() {
    let mut bench = Bench::single();
    bench.lead(&[leader(2, 5)]);
    bench.lead(&[leader(1, 4)]);
    bench.push("a");
    let first = bench.take();
    assert_eq!(first.source, 2);
    let moved = Answer { code: 6, base_offset: -1, leader: leader(3, 6) };
    bench.reply_each(first.id, &[(0, moved)]);
    assert_eq!(bench.take().source, 3, "at once");
}

/// Under permanent errors requests and questions keep to the longest pause, however many pushes come.
#[test]
fn requests_are_bounded_under_permanent_errors() {
    for code in [3, 6, 7, 19, 29, 45, 999] {
        let mut bench = Bench::new(Settings::default());
        bench.lead(&[leader(1, 0); 12]);
        let (mut requests, mut epoch) = (0, 0);
        for step in 0..2000 {
            while let Some(request) = bench.sent.pop() {
                requests += 1;
                bench.reply(&request, code);
            }
            if bench.topologies > 0 {
                epoch += 1;
                bench.lead(&[leader(1, epoch); 12]);
                bench.topologies -= 1;
            }
            let _ = bench.push_to(&[(step % 12, "a")]);
            bench.pass(Duration::from_millis(10));
        }
        let topologies = bench.produce.counts().topologies;
        // 20 s, 12 partitions that pause apart from each other, a second at most and a few hurries for each batch.
        assert!(requests <= 20 * 12 * 3, "{code}: {requests} requests");
        assert!(topologies <= 60, "{code}: {topologies} questions about the topic");
        assert!(bench.identities.len() <= 21 * 12, "{code}: {} ids", bench.identities.len());
    }
}

/// A broker that cannot be reached is tried with one request a pause, not one for each partition.
#[test]
fn an_unreachable_broker_is_tried_once_a_pause() {
    let mut bench = Bench::new(Settings::default());
    bench.lead(&[leader(1, 0); 48]);
    let mut requests = 0;
    for step in 0..1000 {
        while let Some(request) = bench.sent.pop() {
            requests += 1;
            bench.lose(&request, false);
        }
        let _ = bench.push_to(&[(step % 48, "a")]);
        bench.pass(Duration::from_millis(10));
    }
    assert!((8..=25).contains(&requests), "{requests} requests in 10 s");
}

/// A broker that wants to be left alone is, and is asked again afterwards.
#[test]
fn throttling_is_honoured() {
    let mut bench = Bench::single();
    bench.push("a");
    let first = bench.take();
    bench.push("b");
    bench.produce.answered(bench.now, first.id, &[(0, answer(0))], Duration::from_secs(3));
    bench.collect();
    bench.pass(Duration::from_millis(2999));
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.sent.len(), 1);
}

/// Records that wait while every attempt fails are told of after five seconds, until one is appended: whoever is to be
/// ready for pushes is not.
#[test]
fn records_that_do_not_get_on_are_told_of() {
    let mut bench = Bench::single();
    bench.push("a");
    let mut said = Vec::new();
    for second in 1..=8 {
        while let Some(request) = bench.sent.pop() {
            bench.reply(&request, 19);
        }
        bench.pass(Duration::from_secs(1));
        said.extend(bench.produce.stuck(bench.now).map(|why| (second, why)));
    }
    let (first, why) = said.first().expect("it is told");
    assert!(*first >= 5 && said.len() >= 2, "{said:?}");
    assert!(why.starts_with("partition 0 takes no pushes: "), "{why}");
    bench.pass(Duration::from_secs(2));
    let request = bench.sent.pop().expect("it is tried again");
    bench.reply(&request, 0);
    bench.pass(Duration::from_secs(1));
    assert!(bench.produce.stuck(bench.now).is_none() && bench.produce.is_well());
}

/// A topic that is missing or not allowed is asked for slowly, since each attempt may count against an account; brokers
/// that are away are asked about once a second.
#[test]
fn what_an_operator_must_mend_is_asked_for_slowly() {
    let cases = [
        (Trouble::NoTopic("no".into()), 5..=9),
        (Trouble::Denied("no".into()), 5..=9),
        (Trouble::Unreachable("no".into()), 45..=90),
    ];
    for (trouble, expected) in cases {
        let mut produce = Produce::new(Settings::default(), SmallRng::seed_from_u64(1));
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(60) {
            produce.tick(now);
            while let Some(action) = produce.action() {
                assert!(matches!(action, Action::AskTopology), "{action:?}");
                produce.topology_failed(now, trouble.clone());
            }
            now = produce.next_deadline().expect("it asks again");
        }
        let asked = produce.counts().topologies;
        assert!(expected.contains(&asked), "{trouble}: {asked} questions in a minute");
    }
}
