//! A push as the bus carries it. Owns the mapping between a push and goim's `PushMsg` with its Kafka key (goim §3); knows
//! nothing of HTTP, buses or gateways. Written by the ingress, read by [`crate::consume`]; next step: [`crate::route`].
//!
//! The value is goim's message byte for byte. What goim has no field for follows it in fields from 100 on, which stock
//! jobs skip as unknown: `mids` (100) names users whose keys the gateway's directory knows (goim looks them up before it
//! publishes), `receipt` (101) is the id under which a waiting request hears how many connections matched. A record
//! with `mids` has neither `server` nor `keys`, so a stock job, which has no comet named "", drops it silently.

use std::fmt;

use bytes::{Bytes, BytesMut};
use halley_protocol::proto::goim_logic::{PushMsg, push_msg::Type};
use prost::Message as _;

use crate::bus::Record;
use crate::gateways::{Delivery, Target};

/// One push with everything that travels with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Whom it is for.
    pub target: Target,
    /// Operation that clients see and accept.
    pub op: i32,
    /// Message body.
    pub body: Bytes,
    /// Server id of the gateway that holds the keys, for stock jobs; used with [`Target::Keys`] only.
    pub server: String,
    /// Who wants to know what it matched; 0 = nobody.
    pub receipt: u64,
}

/// Fields that goim's message does not have.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Extension {
    #[prost(int64, repeated, tag = "100")]
    mids: Vec<i64>,
    #[prost(fixed64, tag = "101")]
    receipt: u64,
}

/// A record that is no push. The fault of whoever produced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Not the protobuf message.
    Malformed(String),
    /// A type that goim does not have.
    UnknownType(i32),
    /// A push to a room without a room.
    NoRoom,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Malformed(why) => write!(f, "the record is no PushMsg: {why}"),
            CommandError::UnknownType(number) => write!(f, "the record has the unknown push type {number}"),
            CommandError::NoRoom => f.write_str("the record is a push to a room but names none"),
        }
    }
}

impl std::error::Error for CommandError {}

impl Command {
    /// The record: key and value as goim's producer would write them.
    pub fn to_record(&self) -> Record {
        let mut message = PushMsg { operation: self.op, msg: self.body.clone(), ..PushMsg::default() };
        let mut extension = Extension { mids: Vec::new(), receipt: self.receipt };
        let key = match &self.target {
            Target::Keys(keys) => {
                message.set_type(Type::Push);
                message.server.clone_from(&self.server);
                message.keys.clone_from(keys);
                keys.first().cloned().unwrap_or_default()
            }
            Target::Mids(mids) => {
                message.set_type(Type::Push);
                extension.mids.clone_from(mids);
                mids.first().map(i64::to_string).unwrap_or_default()
            }
            Target::Room(room) => {
                message.set_type(Type::Room);
                message.room.clone_from(room);
                room.clone()
            }
            Target::All { speed } => {
                message.set_type(Type::Broadcast);
                message.speed = i32::try_from(*speed).unwrap_or(i32::MAX);
                self.op.to_string()
            }
        };
        let mut value = BytesMut::with_capacity(message.encoded_len() + extension.encoded_len());
        message.encode(&mut value).expect("the buffer grows");
        extension.encode(&mut value).expect("the buffer grows");
        Record { key: key.into(), value: value.freeze() }
    }

    /// Reads a record's value; the body shares its memory.
    pub fn from_value(value: &Bytes) -> Result<Command, CommandError> {
        let malformed = |error: prost::DecodeError| CommandError::Malformed(error.to_string());
        let message = PushMsg::decode(value.clone()).map_err(malformed)?;
        let extension = Extension::decode(value.clone()).map_err(malformed)?;
        let kind = Type::try_from(message.r#type).map_err(|_| CommandError::UnknownType(message.r#type))?;
        let target = match kind {
            Type::Push if extension.mids.is_empty() => Target::Keys(message.keys),
            Type::Push => Target::Mids(extension.mids),
            Type::Room if message.room.is_empty() => return Err(CommandError::NoRoom),
            Type::Room => Target::Room(message.room),
            // goim paces only when the speed is above 0.
            Type::Broadcast => Target::All { speed: u32::try_from(message.speed).unwrap_or(0) },
        };
        Ok(Command {
            target,
            op: message.operation,
            body: message.msg,
            server: message.server,
            receipt: extension.receipt,
        })
    }

    /// What the gateways get.
    pub fn into_delivery(self, count: bool) -> Delivery {
        Delivery { target: self.target, op: self.op, body: Some(self.body), count }
    }
}
