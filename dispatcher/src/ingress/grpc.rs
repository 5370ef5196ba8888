//! The ingress over gRPC: `halley.push.v1.Push`, which is to services what `POST /v1/push` is to scripts. Owns the
//! translation, the status codes, and what its messages weigh. Opens no listener. [`halley_service::serve::grpc`] lets
//! in only callers who may push, and messages that are whole.

use std::sync::Arc;

use halley_protocol::field_scan::{Element, count};
use halley_protocol::proto::push::push_request::Target as RequestTarget;
use halley_protocol::proto::push::push_server::{Push as PushMethods, PushServer};
use halley_protocol::proto::push::{CountScope as RequestScope, PushReply, PushRequest};
use halley_protocol::push::{Push, Target};
use halley_service::panics::Ours;
use halley_service::serve::grpc::Method;
use tonic::{Code, Request, Response, Status};

use super::access::PUSH;
use super::admit::{Invalid, Limits};
use super::{CountScope, Ingress, PushError, Pushed};

/// What a request may be longer than its message: names and framing.
const REQUEST_OVERHEAD_BYTES: usize = 12 * 1024 * 1024;
/// Bytes that a decoded key takes besides its text, and a decoded mid.
const KEY_BYTES: usize = 48;
const MID_BYTES: usize = 8;

/// The service, to be added to a server.
pub fn service(ingress: Arc<Ingress>) -> PushServer<PushService> {
    let bytes_max = request_bytes_max(ingress.limits());
    PushServer::new(PushService { ingress }).max_decoding_message_size(bytes_max)
}

/// What a server must know of its methods before it decodes a message.
pub fn methods(limits: Limits) -> Vec<Method> {
    vec![Method {
        path: "/halley.push.v1.Push/Push",
        scope: PUSH,
        message_bytes_max: request_bytes_max(&limits),
        weigh: Arc::new(move |message| weigh(message, limits.targets_max)),
    }]
}

fn request_bytes_max(limits: &Limits) -> usize {
    limits.body_bytes_max.saturating_add(REQUEST_OVERHEAD_BYTES)
}

/// What the targets of a push take once they are decoded; no more are decoded than a push may have.
fn weigh(message: &[u8], targets_max: usize) -> Result<usize, Status> {
    let malformed = |_| Status::invalid_argument("the message is no PushRequest");
    let keys = count(message, &[1, 1], Element::Bytes, targets_max).map_err(malformed)?;
    let mids = count(message, &[2, 1], Element::Varint, targets_max).map_err(malformed)?;
    if keys > targets_max || mids > targets_max {
        return Err(Status::invalid_argument(Invalid::TooManyTargets { count_max: targets_max }.to_string()));
    }
    Ok(keys * KEY_BYTES + mids * MID_BYTES)
}

/// The methods of `halley.push.v1.Push`.
pub struct PushService {
    ingress: Arc<Ingress>,
}

/// In [`Ours`]: the library that calls it is contained.
#[tonic::async_trait]
impl PushMethods for PushService {
    async fn push(&self, request: Request<PushRequest>) -> Result<Response<PushReply>, Status> {
        Ours::new(self.take(request.into_inner())).await
    }
}

impl PushService {
    async fn take(&self, request: PushRequest) -> Result<Response<PushReply>, Status> {
        let PushRequest { target, op, body, dry_run, scope } = request;
        let asked = scope;
        let scope = match RequestScope::try_from(asked) {
            Ok(RequestScope::Cluster) => CountScope::Cluster,
            Ok(RequestScope::Gateway) => CountScope::Gateway,
            Err(_) => return Err(Status::invalid_argument("the scope is none that there is")),
        };
        let target = target_of(target)?;
        Limits::check_own(&target, op).map_err(|invalid| status(&invalid.into()))?;
        let push = Push { target, op, body };
        let reply = if dry_run {
            let matched = self.ingress.dry_run(push, scope).await.map_err(|error| status(&error))?;
            PushReply { id: String::new(), matched, scope: asked }
        } else {
            let Pushed { id, matched } = self.ingress.push_counted(push).await.map_err(|error| status(&error))?;
            PushReply { id: id.to_string(), matched, scope: RequestScope::Cluster.into() }
        };
        Ok(Response::new(reply))
    }
}

/// What is wrong with the form of a target; its bounds are [`super::admit`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WrongTarget {
    /// None is named.
    Missing,
    /// A room is named by nothing, by half of what names it, or in two ways.
    Room,
}

impl From<WrongTarget> for Status {
    fn from(wrong: WrongTarget) -> Status {
        Status::invalid_argument(match wrong {
            WrongTarget::Missing => "name a target: keys, mids, room or all",
            WrongTarget::Room => "name the room by its key, or by its type and id",
        })
    }
}

fn target_of(target: Option<RequestTarget>) -> Result<Target, WrongTarget> {
    Ok(match target.ok_or(WrongTarget::Missing)? {
        RequestTarget::Keys(keys) => Target::Keys(keys.keys),
        RequestTarget::Mids(mids) => Target::Mids(mids.mids),
        RequestTarget::All(all) => Target::All { speed: all.speed },
        RequestTarget::Room(room) => match (room.key.is_empty(), room.r#type.is_empty() && room.id.is_empty()) {
            (false, true) => Target::Room(room.key),
            (true, false) if !room.r#type.is_empty() && !room.id.is_empty() => {
                Target::Room(format!("{}://{}", room.r#type, room.id))
            }
            _ => return Err(WrongTarget::Room),
        },
    })
}

fn status(error: &PushError) -> Status {
    let code = match error {
        PushError::Invalid(_) | PushError::TooLarge { .. } => Code::InvalidArgument,
        PushError::Full => Code::ResourceExhausted,
        PushError::Unavailable(_) | PushError::Stopping => Code::Unavailable,
        PushError::Unknown(_) => Code::DeadlineExceeded,
        PushError::OnlyHere => Code::Unimplemented,
    };
    Status::new(code, error.to_string())
}
