//! Step 5 of a push on its way out, when a stock job makes it: goim's `Comet` service, as jobs call it (goim §2.3).
//! Owns goim's argument rules with their error texts, what its messages mean as pushes, and what they weigh. A call is
//! answered when its push is in the shards' rings. So calls that a job makes one after another keep their order (goim's
//! defects C14, C16 and C17 end here). [`halley_service::serve::grpc`] lets in only callers who may push, and messages
//! that are whole. Next: `feed::intake`.

use std::sync::Arc;

use halley_protocol::field_scan::{Element, count};
use halley_protocol::goim::{check_batch, op};
use halley_protocol::proto::goim_comet::comet_server::{Comet, CometServer};
use halley_protocol::proto::goim_comet::{
    BroadcastReply, BroadcastReq, BroadcastRoomReply, BroadcastRoomReq, PushMsgReply, PushMsgReq, RoomsReply, RoomsReq,
};
use halley_protocol::proto::goim_protocol::Proto;
use halley_protocol::push::{Body, Delivery, Target};
use halley_service::access::Scope;
use halley_service::panics::Ours;
use halley_service::serve::answer::HeldByAnswer;
use halley_service::serve::budget::Share;
use halley_service::serve::grpc::{Method, share_of};
use hashbrown::HashSet;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use crate::feed::intake::{Intake, NoAnswer};

/// What a job does. goim's jobs show no token, so one is asked for only where one for jobs is configured.
pub const COMET: Scope = Scope { bit: 4, what: "calling Comet", setting: "comet_token", needs_this_machine: false };

/// Largest request and answer, as goim's clients set it for theirs, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Keys of one piece of a push to many: feed looks up one piece in one turn, and does other work between two.
const KEYS_PER_PIECE: usize = 10_000;
/// Bytes that a decoded key takes besides its text: once in its message, once in the piece it is in.
const KEY_BYTES: usize = 96;
/// Bytes that a room takes in an answer besides its name: in the message, and again on the wire.
const ROOM_BYTES: usize = 64;

/// Who knows the rooms with members.
#[tonic::async_trait]
pub trait Rooms: Send + Sync + 'static {
    /// All of them, each with its members' number, not older than the call; or why they are not known.
    async fn rooms(&self) -> Result<Arc<[(String, u32)]>, NoAnswer>;
}

/// The service, to be added to a server; `refusal` says why it takes no pushes, where it takes none.
pub fn service(intake: Intake, rooms: Arc<dyn Rooms>, refusal: Option<&'static str>) -> CometServer<CometService> {
    CometServer::new(CometService { intake, rooms, refusal })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .send_compressed(CompressionEncoding::Gzip)
}

/// What a server must know of its methods before it decodes a message; a push names `keys_max` keys at most.
pub fn methods(keys_max: usize) -> Vec<Method> {
    let method = |path, weigh| Method { path, scope: COMET, message_bytes_max: MESSAGE_BYTES_MAX, weigh };
    vec![
        method("/goim.comet.Comet/PushMsg", Arc::new(move |message: &[u8]| weigh_keys(message, keys_max))),
        method("/goim.comet.Comet/Broadcast", Arc::new(|_: &[u8]| Ok(0))),
        method("/goim.comet.Comet/BroadcastRoom", Arc::new(|_: &[u8]| Ok(0))),
        method("/goim.comet.Comet/Rooms", Arc::new(|_: &[u8]| Ok(0))),
    ]
}

/// What the keys of a push take once they are decoded.
fn weigh_keys(message: &[u8], keys_max: usize) -> Result<usize, Status> {
    match count(message, &[1], Element::Bytes, keys_max) {
        Ok(keys) if keys > keys_max => {
            let sentence = format!("a push to more than {keys_max} keys (ingress.push_keys_max): send it in parts");
            Err(Status::resource_exhausted(sentence))
        }
        Ok(keys) => Ok(keys * KEY_BYTES),
        Err(_) => Err(Status::invalid_argument("the message is no PushMsgReq")),
    }
}

/// The service's methods, each answered when its push is in the shards' rings.
#[derive(Clone)]
pub struct CometService {
    intake: Intake,
    rooms: Arc<dyn Rooms>,
    refusal: Option<&'static str>,
}

impl CometService {
    async fn push(&self, target: Target, op: i32, proto: Proto) -> Result<(), Status> {
        let push = Delivery { target, op, body: Some(body(proto)?), count: false, written_ms: 0 };
        self.deliver(vec![push]).await
    }

    /// A job sends all keys of a push in one message, whatever their number, so none is refused. The pieces are one
    /// request: nothing comes between them. A key named twice is still given the push once.
    async fn push_to_keys(&self, keys: Vec<String>, op: i32, proto: Proto) -> Result<(), Status> {
        if keys.len() <= KEYS_PER_PIECE {
            return self.push(Target::Keys(keys), op, proto).await;
        }
        let body = body(proto)?;
        let mut known = HashSet::with_capacity(keys.len());
        let mut pushes = Vec::new();
        for keys in keys.chunks(KEYS_PER_PIECE) {
            let piece = keys.iter().filter(|key| known.insert(key.as_str())).cloned().collect();
            pushes.push(Delivery {
                target: Target::Keys(piece),
                op,
                body: Some(body.clone()),
                count: false,
                written_ms: 0,
            });
            // Others have their calls here too.
            tokio::task::yield_now().await;
        }
        self.deliver(pushes).await
    }

    async fn deliver(&self, pushes: Vec<Delivery>) -> Result<(), Status> {
        if let Some(refusal) = self.refusal {
            return Err(Status::failed_precondition(refusal));
        }
        self.intake.deliver(pushes).await.map(drop).map_err(unavailable)
    }
}

/// Each method in [`Ours`]: the library that calls it is contained.
#[tonic::async_trait]
impl Comet for CometService {
    async fn push_msg(&self, request: Request<PushMsgReq>) -> Result<Response<PushMsgReply>, Status> {
        Ours::new(self.to_keys(request.into_inner())).await
    }

    async fn broadcast(&self, request: Request<BroadcastReq>) -> Result<Response<BroadcastReply>, Status> {
        Ours::new(self.to_all(request.into_inner())).await
    }

    async fn broadcast_room(&self, request: Request<BroadcastRoomReq>) -> Result<Response<BroadcastRoomReply>, Status> {
        Ours::new(self.to_room(request.into_inner())).await
    }

    async fn rooms(&self, request: Request<RoomsReq>) -> Result<Response<RoomsReply>, Status> {
        Ours::new(self.all_rooms(share_of(&request))).await
    }
}

impl CometService {
    /// To keys. Unknown keys are skipped, and a connection whose queue is full is no reason to skip others.
    async fn to_keys(&self, request: PushMsgReq) -> Result<Response<PushMsgReply>, Status> {
        match request {
            PushMsgReq { keys, proto: Some(proto), proto_op } if !keys.is_empty() => {
                self.push_to_keys(keys, proto_op, proto).await?;
                Ok(Response::new(PushMsgReply {}))
            }
            _ => Err(Status::unknown("rpc pushmsg arg error")),
        }
    }

    /// To everybody; pacing goes on in the shards after the answer.
    async fn to_all(&self, request: BroadcastReq) -> Result<Response<BroadcastReply>, Status> {
        let BroadcastReq { proto_op, proto, speed } = request;
        let Some(proto) = proto else { return Err(Status::unknown("rpc broadcast arg error")) };
        // goim paces by positive speeds only.
        let speed = u32::try_from(speed).unwrap_or(0);
        self.push(Target::All { speed }, proto_op, proto).await?;
        Ok(Response::new(BroadcastReply {}))
    }

    /// To a room; an unknown room is no error.
    async fn to_room(&self, request: BroadcastRoomReq) -> Result<Response<BroadcastRoomReply>, Status> {
        match request {
            BroadcastRoomReq { room_id, proto: Some(proto) } if !room_id.is_empty() => {
                let op = proto.op;
                self.push(Target::Room(room_id), op, proto).await?;
                Ok(Response::new(BroadcastRoomReply {}))
            }
            // The two blanks are goim's.
            _ => Err(Status::unknown("rpc broadcast  room arg error")),
        }
    }

    /// The rooms with members.
    async fn all_rooms(&self, share: Option<&Share>) -> Result<Response<RoomsReply>, Status> {
        let rooms = self.rooms.rooms().await.map_err(unavailable)?;
        let bytes = rooms.iter().map(|(room, _)| 2 * room.len() + ROOM_BYTES).sum();
        let held = match share {
            None => None,
            Some(share) => Some(share.for_strangers().try_hold(bytes).ok_or_else(|| {
                Status::resource_exhausted("too many long answers are being read, try again in a moment")
            })?),
        };
        let rooms = rooms.iter().map(|(room, _)| (room.clone(), true)).collect();
        let mut response = Response::new(RoomsReply { rooms });
        if let Some(held) = held {
            response.extensions_mut().insert(HeldByAnswer::from(held));
        }
        Ok(response)
    }
}

/// What a `Proto` is on the client wire (goim §1.9). Clients trust the lengths inside a raw body, so one that lies is
/// refused here; goim passes it on.
fn body(proto: Proto) -> Result<Body, Status> {
    let Proto { ver: version, op, seq, body } = proto;
    if op != op::RAW {
        return Ok(Body::Plain { version, op, seq, body });
    }
    if body.is_empty() {
        return Err(Status::invalid_argument("the body of a raw push (op 9) holds no frame"));
    }
    match check_batch(&body) {
        Ok(()) => Ok(Body::Raw(body)),
        Err(wrong) => {
            Err(Status::invalid_argument(format!("the body of a raw push (op 9) must be whole frames: {wrong}")))
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[cfg(test)]
mod tests;
