//! The ingress over gRPC: `halley.push.v1.Push`, the same as `POST /v1/push` for services. Owns the translation and the
//! status codes; opens no listener: the service is mounted on the gateway's.

use std::sync::Arc;

use halley_protocol::proto::push::push_request::Target as RequestTarget;
use halley_protocol::proto::push::push_server::{Push as PushMethods, PushServer};
use halley_protocol::proto::push::{PushReply, PushRequest};
use tonic::{Code, Request, Response, Status};

use super::access::{Caller, Denied, Peer};
use super::admit::Limits;
use super::{Ingress, Push, PushError, Pushed};
use crate::feed::Target;

/// What a request may be longer than its message: names and framing.
const REQUEST_OVERHEAD_BYTES: usize = 12 * 1024 * 1024;

/// The service, to be added to a server.
pub fn service(ingress: Arc<Ingress>) -> PushServer<PushService> {
    let bytes_max = ingress.limits().body_bytes_max.saturating_add(REQUEST_OVERHEAD_BYTES);
    PushServer::new(PushService { ingress }).max_decoding_message_size(bytes_max)
}

/// The methods of `halley.push.v1.Push`.
pub struct PushService {
    ingress: Arc<Ingress>,
}

#[tonic::async_trait]
impl PushMethods for PushService {
    async fn push(&self, request: Request<PushRequest>) -> Result<Response<PushReply>, Status> {
        self.check_access(&request)?;
        let PushRequest { target, op, body, dry_run } = request.into_inner();
        let target = target.ok_or_else(|| Status::invalid_argument("name a target: keys, mids, room or all"))?;
        let target = target_of(target)?;
        Limits::check_own(&target, op).map_err(|invalid| status(&invalid.into()))?;
        let push = Push { target, op, body };
        let reply = if dry_run {
            let matched = self.ingress.dry_run(push).await.map_err(|error| status(&error))?;
            PushReply { id: String::new(), matched }
        } else {
            let Pushed { id, matched } = self.ingress.push_counted(push).await.map_err(|error| status(&error))?;
            PushReply { id: id.to_string(), matched }
        };
        Ok(Response::new(reply))
    }
}

impl PushService {
    fn check_access(&self, request: &Request<PushRequest>) -> Result<(), Status> {
        let value = |name| request.metadata().get(name).map(|value| value.as_bytes());
        let caller = Caller {
            peer: request.remote_addr().map_or(Peer::Unknown, Peer::Tcp),
            authorization: value("authorization"),
            origin: value("origin"),
            host: value("host"),
            forwarded: value("forwarded").is_some() || value("x-forwarded-for").is_some(),
        };
        self.ingress.check_access(&caller).map_err(|denied: Denied| {
            let code = if denied.is_unauthenticated() { Code::Unauthenticated } else { Code::PermissionDenied };
            Status::new(code, denied.to_string())
        })
    }
}

fn target_of(target: RequestTarget) -> Result<Target, Status> {
    Ok(match target {
        RequestTarget::Keys(keys) => Target::Keys(keys.keys),
        RequestTarget::Mids(mids) => Target::Mids(mids.mids),
        RequestTarget::All(all) => Target::All { speed: all.speed },
        RequestTarget::Room(room) => match (room.key.is_empty(), room.r#type.is_empty() && room.id.is_empty()) {
            (false, true) => Target::Room(room.key),
            (true, false) if !room.r#type.is_empty() && !room.id.is_empty() => {
                Target::Room(format!("{}://{}", room.r#type, room.id))
            }
            _ => return Err(Status::invalid_argument("name the room by its key, or by its type and id")),
        },
    })
}

fn status(error: &PushError) -> Status {
    let code = match error {
        PushError::Invalid(_) => Code::InvalidArgument,
        PushError::Full => Code::ResourceExhausted,
        PushError::Stopping => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}
