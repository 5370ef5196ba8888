//! Step 4 of a push on its way out: what is read there, a push without its way. Owns whom it is for and what it says,
//! the record by which a log carries it, and the form in which a gateway takes it. The record is goim's `PushMsg` with
//! its Kafka key (goim §3). Bounds nothing, sends nothing, and knows no log. The dispatcher makes records of pushes and
//! deliveries of records; the gateway's feed turns a delivery into a [`Payload`]. Whether a
//! record concerns a gateway at all is seen by [`look`] and [`interest`] before it is decoded.
//!
//! The record's value is goim's message byte for byte. What goim has no field for follows it in fields from 100 on,
//! which stock jobs skip as unknown: `mids` (100) names users whose keys the gateway's directory knows (goim looks them
//! up before it publishes), `receipt` (101) is the id under which a waiting request hears how many connections matched.
//! A record with `mids` has neither `server` nor `keys`, so a stock job, which has no comet named "", drops it
//! silently.

pub mod interest;
pub mod look;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message as _;

use crate::payload::Payload;
use crate::proto::goim_logic::{PushMsg, push_msg::Type};

/// Whom a push is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every connection of these keys.
    Keys(Vec<String>),
    /// Every connection of these users.
    Mids(Vec<i64>),
    /// Every member of this room (full room key).
    Room(String),
    /// Everybody who accepts the op.
    All {
        /// Deliveries a second over all who get this push together, 0 = at once.
        speed: u32,
    },
}

/// A push as its sender means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Whom it is for.
    pub target: Target,
    /// Operation that clients see and accept.
    pub op: i32,
    /// Message body, verbatim.
    pub body: Bytes,
}

/// A push with everything that travels with it in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRecord {
    /// The push.
    pub push: Push,
    /// Server id of the gateway that holds the keys, for stock jobs; written with [`Target::Keys`] only.
    pub server: String,
    /// Who wants to know what it matched; 0 = nobody.
    pub receipt: u64,
}

/// What clients get of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// One message, not framed yet: ver 1, the delivery's op, seq 0.
    Message(Bytes),
    /// One or more complete frames, as stock jobs send them (goim §1.9).
    Raw(Bytes),
    /// A frame sent plainly on both transports, as goim does with a `Proto` of another op than 9.
    Plain {
        /// Header field, of which the wire keeps the low 16 bits.
        version: i32,
        /// Header field.
        op: i32,
        /// Header field.
        seq: i32,
        /// What follows the header.
        body: Bytes,
    },
    /// Framed already, by whoever read it from a log.
    Framed(Arc<Payload>),
}

/// A push as a gateway takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whom it is for.
    pub target: Target,
    /// The op that connections must accept; rooms do not ask for it.
    pub op: i32,
    /// What to send; `None` only counts (dry run).
    pub body: Option<Body>,
    /// Report the number of matched connections.
    pub count: bool,
    /// When its record was written, in milliseconds since the Unix epoch; 0 where nobody said.
    pub written_ms: u64,
}

/// A record that is no push. The fault of whoever produced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Not the protobuf message.
    Malformed(prost::DecodeError),
    /// A type that goim does not have.
    UnknownType(i32),
    /// A push to a room without a room.
    NoRoom,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Malformed(why) => write!(f, "the record is no PushMsg: {why}"),
            RecordError::UnknownType(number) => write!(f, "the record has the unknown push type {number}"),
            RecordError::NoRoom => f.write_str("the record is a push to a room but names none"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Fields that goim's message does not have.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Extension {
    #[prost(int64, repeated, tag = "100")]
    mids: Vec<i64>,
    #[prost(fixed64, tag = "101")]
    receipt: u64,
}

impl Push {
    /// What gateways get, one message that nobody has framed.
    pub fn into_delivery(self, count: bool) -> Delivery {
        Delivery { target: self.target, op: self.op, body: Some(Body::Message(self.body)), count, written_ms: 0 }
    }
}

impl PushRecord {
    /// The record's key, as goim's producer would write it; records of one key keep their order.
    pub fn key(&self) -> String {
        match &self.push.target {
            Target::Keys(keys) => keys.first().cloned().unwrap_or_default(),
            Target::Mids(mids) => mids.first().map(i64::to_string).unwrap_or_default(),
            Target::Room(room) => room.clone(),
            Target::All { .. } => self.push.op.to_string(),
        }
    }

    /// The record's value, as goim's producer would write it. A speed beyond goim's int32 becomes its largest.
    pub fn encode(&self) -> Bytes {
        let Push { target, op, body } = &self.push;
        let mut message = PushMsg { operation: *op, msg: body.clone(), ..PushMsg::default() };
        let mut extension = Extension { mids: Vec::new(), receipt: self.receipt };
        match target {
            Target::Keys(keys) => {
                message.set_type(Type::Push);
                message.server.clone_from(&self.server);
                message.keys.clone_from(keys);
            }
            Target::Mids(mids) => {
                message.set_type(Type::Push);
                extension.mids.clone_from(mids);
            }
            Target::Room(room) => {
                message.set_type(Type::Room);
                message.room.clone_from(room);
            }
            Target::All { speed } => {
                message.set_type(Type::Broadcast);
                message.speed = i32::try_from(*speed).unwrap_or(i32::MAX);
            }
        }
        let mut value = BytesMut::with_capacity(message.encoded_len() + extension.encoded_len());
        message.encode(&mut value).expect("the buffer grows");
        extension.encode(&mut value).expect("the buffer grows");
        value.freeze()
    }

    /// Reads a record's value; the body shares its memory.
    ///
    /// # Errors
    /// What makes it no push; records behind it may be right.
    pub fn decode(value: &Bytes) -> Result<PushRecord, RecordError> {
        let message = PushMsg::decode(value.clone()).map_err(RecordError::Malformed)?;
        let extension = Extension::decode(value.clone()).map_err(RecordError::Malformed)?;
        let kind = Type::try_from(message.r#type).map_err(|_| RecordError::UnknownType(message.r#type))?;
        let target = match kind {
            Type::Push if extension.mids.is_empty() => Target::Keys(message.keys),
            Type::Push => Target::Mids(extension.mids),
            Type::Room if message.room.is_empty() => return Err(RecordError::NoRoom),
            Type::Room => Target::Room(message.room),
            // goim paces only when the speed is above 0.
            Type::Broadcast => Target::All { speed: u32::try_from(message.speed).unwrap_or(0) },
        };
        let push = Push { target, op: message.operation, body: message.msg };
        Ok(PushRecord { push, server: message.server, receipt: extension.receipt })
    }
}
