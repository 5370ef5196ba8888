//! goim's `Comet` service, as jobs call it (goim §2.3). Owns goim's argument rules with their error texts, and what its
//! messages mean as pushes; a call is answered when its push is in the shards' rings, so calls that a job makes one after
//! another keep their order (goim's defects C14, C16 and C17 end here).

use halley_protocol::goim::{check_batch, op};
use halley_protocol::proto::goim_comet::comet_server::Comet;
use halley_protocol::proto::goim_comet::{
    BroadcastReply, BroadcastReq, BroadcastRoomReply, BroadcastRoomReq, PushMsgReply, PushMsgReq, RoomsReply, RoomsReq,
};
use halley_protocol::proto::goim_protocol::Proto;
use hashbrown::HashSet;
use tonic::{Request, Response, Status};

use crate::feed::intake::{self, Body, Intake, Push, Target};

/// Keys of one piece of a push to many: feed looks up one piece in one turn, and does other work between two.
const KEYS_PER_PIECE: usize = 10_000;

/// The service.
#[derive(Clone, Debug)]
pub struct CometService {
    intake: Intake,
}

impl CometService {
    /// Pushes go through this door.
    pub fn new(intake: Intake) -> CometService {
        CometService { intake }
    }

    async fn push(&self, target: Target, op: i32, proto: Proto) -> Result<(), Status> {
        let push = Push { target, op, body: Some(body(proto)?), count: false };
        self.deliver(vec![push]).await
    }

    /// A job sends all keys of a push in one message, whatever their number, so none is refused. The pieces are one request:
    /// nothing comes between them. A key named twice is still given the push once.
    async fn push_to_keys(&self, keys: Vec<String>, op: i32, proto: Proto) -> Result<(), Status> {
        if keys.len() <= KEYS_PER_PIECE {
            return self.push(Target::Keys(keys), op, proto).await;
        }
        let body = body(proto)?;
        let mut known = HashSet::with_capacity(keys.len());
        let mut pushes = Vec::new();
        for keys in keys.chunks(KEYS_PER_PIECE) {
            let piece = keys.iter().filter(|key| known.insert(key.as_str())).cloned().collect();
            pushes.push(Push { target: Target::Keys(piece), op, body: Some(body.clone()), count: false });
            // This is feed's thread too.
            tokio::task::yield_now().await;
        }
        self.deliver(pushes).await
    }

    async fn deliver(&self, pushes: Vec<Push>) -> Result<(), Status> {
        self.intake.deliver(pushes).await.map(drop).map_err(unavailable)
    }
}

#[tonic::async_trait]
impl Comet for CometService {
    /// To keys. Unknown keys are skipped, and a connection whose queue is full is no reason to skip others.
    async fn push_msg(&self, request: Request<PushMsgReq>) -> Result<Response<PushMsgReply>, Status> {
        match request.into_inner() {
            PushMsgReq { keys, proto: Some(proto), proto_op } if !keys.is_empty() => {
                self.push_to_keys(keys, proto_op, proto).await?;
                Ok(Response::new(PushMsgReply {}))
            }
            _ => Err(Status::unknown("rpc pushmsg arg error")),
        }
    }

    /// To everybody; pacing goes on in the shards after the answer.
    async fn broadcast(&self, request: Request<BroadcastReq>) -> Result<Response<BroadcastReply>, Status> {
        let BroadcastReq { proto_op, proto, speed } = request.into_inner();
        let Some(proto) = proto else { return Err(Status::unknown("rpc broadcast arg error")) };
        // goim paces by positive speeds only.
        let speed = u32::try_from(speed).unwrap_or(0);
        self.push(Target::All { speed }, proto_op, proto).await?;
        Ok(Response::new(BroadcastReply {}))
    }

    /// To a room; an unknown room is no error.
    async fn broadcast_room(&self, request: Request<BroadcastRoomReq>) -> Result<Response<BroadcastRoomReply>, Status> {
        match request.into_inner() {
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
    async fn rooms(&self, _request: Request<RoomsReq>) -> Result<Response<RoomsReply>, Status> {
        let rooms = self.intake.ask(|reply| intake::Request::Rooms { reply }).await.map_err(unavailable)?;
        Ok(Response::new(RoomsReply { rooms: rooms.iter().map(|(room, _)| (room.clone(), true)).collect() }))
    }
}

/// What a `Proto` is on the client wire (goim §1.9). Clients trust the lengths inside a raw body, so one that lies is refused
/// here; goim passes it on.
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
