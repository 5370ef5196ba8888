//! What is written is read back, for well-formed input of every shape: the oracles start from any bytes and seldom get
//! as far as a fragmented text in three frames with a ping between.

use halley_protocol::goim::{Decoded, Frame, decode_batch, decode_stream};
use halley_protocol::proto::goim_logic::PushMsg;
use halley_protocol::proto::push::{PushRequest, Room, push_request};
use halley_protocol::websocket::{CloseCode, Profile, frame::close_frame};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::frames::client_frame;
use crate::oracles::Cuts;
use crate::oracles::websocket::{End, Event, Outcome, read, reference};

/// One frame of a message, or a control frame between two of them.
#[derive(Clone, Debug)]
enum Step {
    Message { text: bool, pieces: Vec<Vec<u8>> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let text = vec(".{0,40}", 1..4)
        .prop_map(|pieces| Step::Message { text: true, pieces: pieces.into_iter().map(String::into_bytes).collect() });
    let binary = vec(vec(any::<u8>(), 0..200), 1..4).prop_map(|pieces| Step::Message { text: false, pieces });
    let ping = vec(any::<u8>(), 0..=125).prop_map(Step::Ping);
    let pong = vec(any::<u8>(), 0..=125).prop_map(Step::Pong);
    vec(prop_oneof![text, binary, ping, pong], 0..6)
}

/// The frames of the steps, each message's text cut where its bytes happen to be, a ping between every two fragments.
fn write(steps: &[Step], key: [u8; 4]) -> (Vec<u8>, Vec<Event>) {
    let mut stream = Vec::new();
    let mut events = Vec::new();
    for step in steps {
        match step {
            Step::Ping(payload) => {
                stream.extend(client_frame(0x89, Some(key), payload));
                events.push(Event::Ping(payload.clone()));
            }
            Step::Pong(payload) => {
                stream.extend(client_frame(0x8a, Some(key), payload));
                events.push(Event::Pong);
            }
            Step::Message { text, pieces } => {
                let bytes = pieces.concat();
                let fragments: Vec<&[u8]> = if bytes.is_empty() {
                    vec![&[]]
                } else {
                    bytes.chunks(bytes.len().div_ceil(pieces.len())).collect()
                };
                for (at, fragment) in fragments.iter().enumerate() {
                    let opcode = if at > 0 { 0 } else { 2 - u8::from(*text) };
                    let last = at + 1 == fragments.len();
                    stream.extend(client_frame(opcode | u8::from(last) << 7, Some(key), fragment));
                    if !last {
                        stream.extend(client_frame(0x89, Some(key), b"between"));
                        events.push(Event::Ping(b"between".to_vec()));
                    }
                }
                events.push(Event::Message { text: *text, bytes });
            }
        }
    }
    (stream, events)
}

proptest! {
    #[test]
    fn client_messages(steps in steps(), key: [u8; 4], seed: u8) {
        let (stream, events) = write(&steps, key);
        let expected = Outcome { events, end: End::Open { partial: None, left_over: 0 } };
        for profile in [Profile::Goim, Profile::Strict] {
            prop_assert_eq!(&reference(&stream, profile, 10_000), &expected);
            prop_assert_eq!(&read(&Cuts::new(seed).pieces(&stream), profile, 10_000), &expected);
        }
    }

    #[test]
    fn close_frames(code in prop_oneof![1000..=1003_u16, 1007..=1014_u16, 3000..=4999_u16], reason in ".{0,80}") {
        let mut frame = Vec::new();
        close_frame(CloseCode::new(code), &reason, &mut frame);
        prop_assert!(frame.len() <= 2 + 125);
        let outcome = read(&[&frame], Profile::Goim, 0);
        prop_assert_eq!(outcome, Outcome { events: vec![Event::Close(Some(CloseCode::new(code)))], end: End::Closed });
        prop_assert!(reason.as_bytes().starts_with(&frame[4..]));
    }

    #[test]
    fn goim_frames(frames in vec((any::<i16>(), any::<i32>(), any::<i32>(), vec(any::<u8>(), 0..300)), 0..8)) {
        let frames: Vec<Frame<'_>> =
            frames.iter().map(|&(version, op, seq, ref body)| Frame { version, op, seq, body }).collect();
        let mut batch = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut batch));
        let read: Result<Vec<Frame<'_>>, _> = decode_batch(&batch).collect();
        prop_assert_eq!(read.as_ref(), Ok(&frames));
        if let Some(&first) = frames.first() {
            let expected = Decoded::Frame { frame: first, consumed: first.encoded_bytes() };
            prop_assert_eq!(decode_stream(&batch), Ok(expected));
        }
    }

    #[test]
    fn push_messages(op: i32, speed: i32, keys in vec(".{0,40}", 0..4), body in vec(any::<u8>(), 0..300)) {
        let (keys_of_record, msg) = (keys.clone(), body.clone().into());
        let record = PushMsg { operation: op, speed, keys: keys_of_record, msg, ..PushMsg::default() };
        prop_assert_eq!(PushMsg::decode(&record.encode_to_vec()[..]), Ok(record));

        let room = Room { key: keys.concat(), ..Room::default() };
        let target = Some(push_request::Target::Room(room));
        let request = PushRequest { op, body: body.into(), dry_run: speed > 0, scope: i32::from(speed > 1), target };
        prop_assert_eq!(PushRequest::decode(&request.encode_to_vec()[..]), Ok(request));
    }
}
