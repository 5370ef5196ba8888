//! The loop over the shards' rings: nothing lost when they are full, everything answered, nobody kept waiting for ever.

use std::sync::Arc;

use halley_gateway::close::CloseReason;
use halley_gateway::control::handle::ControlError;
use halley_gateway::control::logins::LoginRules;
use halley_gateway::control::node::OUTBOX_COMMANDS_MAX;
use halley_gateway::control::trace::{TRACE_EVENTS_MAX, TraceSink};
use halley_gateway::mesh::msg::{ControlToShard, RoomRef, ShardToControl, TraceEvent};
use halley_protocol::login::AuthRefusal;
use halley_protocol::login::jwt::{JwtRules, JwtSettings};
use halley_protocol::login::keys::{KeySet, KeySource, Text};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::support::{conn, hear, info, say, start, within};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn jwt() -> Arc<LoginRules> {
    let keys = KeySet::load(&[KeySource::Secret(Text(SECRET.into()))]).expect("a secret");
    let settings = JwtSettings { required: Vec::new(), ..JwtSettings::default() };
    Arc::new(LoginRules::new(JwtRules { settings, keys }))
}

fn token(mid: u32) -> Box<[u8]> {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &json!({ "mid": mid }), &key).expect("signed");
    token.into_bytes().into()
}

fn ask(slot: u32, token: Box<[u8]>) -> ShardToControl {
    ShardToControl::Authenticate { conn: conn(slot), token, refresh: None }
}

#[tokio::test]
async fn logins_are_decided_and_answered() {
    let (_control, mut shards) = start(1, 16, Some(jwt()));
    let shard = &mut shards[0];
    shard.say(ask(1, token(42))).await;
    let ControlToShard::Authenticated { conn: to, result: Ok(identity) } = shard.hear().await else {
        panic!("refused");
    };
    assert_eq!((to, identity.mid, identity.key.len()), (conn(1), 42, 36));
    shard.say(ask(2, b"{}".as_slice().into())).await;
    let answer = shard.hear().await;
    assert!(matches!(answer, ControlToShard::Authenticated { result: Err(AuthRefusal::Malformed), .. }), "{answer:?}");
}

#[tokio::test]
async fn without_rules_signed_logins_are_unavailable() {
    let (_control, mut shards) = start(1, 16, None);
    shards[0].say(ask(1, token(1))).await;
    let answer = shards[0].hear().await;
    assert!(matches!(answer, ControlToShard::Authenticated { result: Err(AuthRefusal::Unavailable), .. }));
}

/// A shard that asks a lot and hears nothing for a while gets every answer, in order, and its neighbour is not kept
/// waiting meanwhile.
#[tokio::test]
async fn a_full_ring_loses_no_answer_and_stops_nobody_else() {
    let (control, mut shards) = start(2, 4, Some(jwt()));
    let mut other = shards.pop().expect("two shards");
    let mut deaf = shards.pop().expect("two shards");
    let mut says = deaf.to;
    tokio::spawn(async move {
        for slot in 0..500 {
            say(&mut says, ask(slot, token(slot))).await;
        }
    });
    let asked = tokio::spawn({
        let control = control.clone();
        async move { control.describe(1, conn(9)).await }
    });
    let ControlToShard::Describe { request, conn: whom } = other.hear().await else { panic!("another message") };
    other.say(ShardToControl::Described { request, info: Some(Box::new(info(whom))) }).await;
    assert_eq!(asked.await.expect("asked").expect("answered").expect("there").conn, conn(9));
    for slot in 0..500 {
        let ControlToShard::Authenticated { conn: to, result } = hear(&mut deaf.from).await else {
            panic!("another message")
        };
        assert_eq!((to, result.map(|identity| identity.mid)), (conn(slot), Ok(i64::from(slot))));
    }
}

#[tokio::test]
async fn commands_to_a_deaf_shard_are_bounded_and_come_in_order() {
    let (control, mut shards) = start(1, 4, None);
    let mut sent = 0;
    let refused = loop {
        let close = ControlToShard::Close { conn: conn(sent), reason: CloseReason::ClosedByOperator };
        match control.send(0, close).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((refused, sent as usize), (ControlError::Busy, 4 + OUTBOX_COMMANDS_MAX));
    for slot in 0..sent {
        let message = shards[0].hear().await;
        assert!(matches!(message, ControlToShard::Close { conn: to, .. } if to == conn(slot)), "{message:?}");
    }
    assert_eq!(control.send(0, ControlToShard::Stop).await, Ok(()));
    assert!(matches!(shards[0].hear().await, ControlToShard::Stop));
}

#[tokio::test]
async fn a_silent_shard_costs_the_caller_a_bounded_wait() {
    let (control, mut shards) = start(1, 16, None);
    assert_eq!(control.describe(0, conn(1)).await.err(), Some(ControlError::TimedOut));
    assert!(!control.is_turning(0).await);
    // The answer that comes too late finds nobody and harms nobody.
    let ControlToShard::Describe { request, .. } = shards[0].hear().await else { panic!("another message") };
    shards[0].say(ShardToControl::Described { request, info: None }).await;
    let late = shards[0].hear().await;
    assert!(matches!(late, ControlToShard::Describe { request: next, .. } if next != request), "{late:?}");
}

#[tokio::test]
async fn questions_are_answered_by_number() {
    let (control, mut shards) = start(1, 16, None);
    let room = RoomRef { slot: 3, generation: 1 };
    let members = control.members(0, room, 10);
    let described = control.describe(0, conn(5));
    let answers = async {
        let mut questions = [shards[0].hear().await, shards[0].hear().await];
        questions.reverse();
        for question in questions {
            let answer = match question {
                ControlToShard::Members { request, limit: 10, .. } => {
                    ShardToControl::Members { request, conns: [conn(1), conn(2)].into() }
                }
                ControlToShard::Describe { request, .. } => ShardToControl::Described { request, info: None },
                other => panic!("{other:?}"),
            };
            shards[0].say(answer).await;
        }
    };
    let (members, described, ()) = tokio::join!(members, described, answers);
    assert_eq!(members.as_deref(), Ok(&[conn(1), conn(2)][..]));
    assert!(described.expect("answered").is_none());
}

#[tokio::test]
async fn what_shards_say_of_themselves_is_watched() {
    let (control, mut shards) = start(2, 16, None);
    let mut states = control.states();
    shards[1].say(ShardToControl::Full { full: true }).await;
    within(states.wait_for(|states| states[1].full && !states[0].full)).await.expect("seen");
    shards[1].say(ShardToControl::Full { full: false }).await;
    shards[0].say(ShardToControl::Drained).await;
    within(states.wait_for(|states| !states[1].full && states[0].drained && !states[1].drained)).await.expect("seen");
}

fn received(op: i32) -> TraceEvent {
    TraceEvent::Received { op, body_bytes: 0 }
}

#[tokio::test]
async fn a_trace_runs_while_somebody_listens() {
    let (control, mut shards) = start(1, 16, None);
    let shard = &mut shards[0];
    let (first_sink, mut first) = TraceSink::new();
    let (second_sink, mut second) = TraceSink::new();
    control.trace(0, conn(1), first_sink).await.expect("traced");
    control.trace(0, conn(1), second_sink).await.expect("traced");
    for _ in 0..2 {
        assert!(matches!(shard.hear().await, ControlToShard::Trace { on: true, .. }));
    }
    shard.say(ShardToControl::Traced { conn: conn(1), event: received(2) }).await;
    for source in [&mut first, &mut second] {
        let record = within(source.records.recv()).await.expect("an event");
        assert!(matches!(record.event, TraceEvent::Received { op: 2, .. }));
    }
    drop(first);
    shard.say(ShardToControl::Traced { conn: conn(1), event: received(3) }).await;
    assert!(matches!(within(second.records.recv()).await.expect("an event").event, TraceEvent::Received { op: 3, .. }));
    drop(second);
    assert!(matches!(shard.hear().await, ControlToShard::Trace { on: false, .. }));
}

#[tokio::test]
async fn the_end_of_a_connection_ends_its_trace() {
    let (control, mut shards) = start(1, 16, None);
    let (sink, mut source) = TraceSink::new();
    control.trace(0, conn(1), sink).await.expect("traced");
    assert!(matches!(shards[0].hear().await, ControlToShard::Trace { on: true, .. }));
    let event = TraceEvent::Closed { reason: CloseReason::PeerClosed };
    shards[0].say(ShardToControl::Traced { conn: conn(1), event }).await;
    assert!(matches!(within(source.records.recv()).await.expect("an event").event, TraceEvent::Closed { .. }));
    assert!(within(source.records.recv()).await.is_none(), "the sink was forgotten");
}

#[tokio::test]
async fn a_slow_listener_loses_events_and_learns_how_many() {
    let (control, mut shards) = start(1, 16, None);
    let (sink, source) = TraceSink::new();
    control.trace(0, conn(1), sink).await.expect("traced");
    let sent = TRACE_EVENTS_MAX + 100;
    for op in 0..i32::try_from(sent).expect("small") {
        shards[0].say(ShardToControl::Traced { conn: conn(1), event: received(op) }).await;
    }
    // An answer behind all of them says that all were handled.
    let (described, ()) = tokio::join!(control.describe(0, conn(1)), async {
        assert!(matches!(shards[0].hear().await, ControlToShard::Trace { on: true, .. }));
        let ControlToShard::Describe { request, .. } = shards[0].hear().await else { panic!("another message") };
        shards[0].say(ShardToControl::Described { request, info: None }).await;
    });
    assert!(described.is_ok());
    assert_eq!((source.records.len(), source.take_lost(), source.take_lost()), (TRACE_EVENTS_MAX, 100, 0));
}

#[tokio::test]
async fn the_loop_ends_when_told_and_then_says_so() {
    let (control, mut shards) = start(1, 16, None);
    control.send_all(ControlToShard::Stop).await.expect("sent");
    control.stop().await;
    assert!(matches!(shards[0].hear().await, ControlToShard::Stop));
    assert_eq!(control.describe(0, conn(1)).await.err(), Some(ControlError::Stopping));
}
