//! gRPC calls with one message each (unary), before anything decodes them. Owns the order in which a call is looked at.
//! Is there such a method? May the caller use it, by its headers, before a byte of its body is read? How large is its
//! message, on the wire and unpacked? What would it hold once decoded? Owns the deadline of all that too. Messages take
//! from the same budget as the bodies of HTTP. The services below know what the methods mean.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Request, Response};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service as _;

use super::answers;
use super::asked::hold_back;
use super::body::{BodyError, BodyReader};
use super::budget::{Held, Share};
use crate::access::rules::AccessRules;
use crate::access::{Caller, Denied, Kind, Peer, Scope};
use crate::panics::{ContainedFuture, contain};

/// Bytes before each message (gRPC over HTTP/2, "Length-Prefixed-Message"): whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Bytes unpacked between two looks at the budget and at others on the thread.
const UNPACK_BYTES: usize = 64 * 1024;

/// Tells from a message's bytes how many more it would hold once decoded, or why it must not be. It is our code, unlike
/// what decodes: its panics end the process.
pub type Weigh = dyn Fn(&[u8]) -> Result<usize, Status> + Send + Sync;

/// One method.
#[derive(Clone)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// What a caller must be allowed.
    pub scope: Scope,
    /// Bytes of a message, on the wire and unpacked.
    pub message_bytes_max: usize,
    /// See [`Weigh`].
    pub weigh: Arc<Weigh>,
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.path).finish()
    }
}

/// The methods of a listener; cheap to clone.
#[derive(Clone, Debug)]
pub struct Grpc {
    methods: Arc<[Method]>,
    services: Router,
    access: AccessRules,
    call_time: Duration,
}

impl Grpc {
    /// These services, of whose methods only the listed ones are there; each of them runs in [`crate::panics::Ours`]. A
    /// call takes `call_time` at most.
    pub fn new(services: Routes, methods: Vec<Method>, access: AccessRules, call_time: Duration) -> Grpc {
        Grpc { methods: methods.into(), services: services.prepare().into_axum_router(), access, call_time }
    }

    /// Answer one call. Its extensions hold its [`Peer`] and its [`Share`].
    pub async fn call<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let asked = timeout(request.headers()).unwrap_or(self.call_time).min(self.call_time);
        let answered = tokio::time::timeout(asked, self.answer(request)).await;
        answered.unwrap_or_else(|_| refuse(&Status::deadline_exceeded("the call took too long")))
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        if !is_grpc(request.headers()) {
            let message = "this is a listener for gRPC: send application/grpc";
            return answers::error(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message);
        }
        let (mut head, body) = request.into_parts();
        let Some(method) = self.methods.iter().find(|method| method.path == head.uri.path()) else {
            return refuse(&Status::unimplemented("there is no such method"));
        };
        let caller = Caller::of_parts(&head);
        if let Err(denied) = self.access.check(&caller, method.scope) {
            let denied = hold_back(&self.access, &head.extensions, caller.peer, denied).await;
            return refuse(&status_of(&denied));
        }
        let Some(share) = head.extensions.get::<Share>().cloned() else {
            return refuse(&Status::internal("the listener has no budget"));
        };
        let (message, _held) = match read(&mut head.headers, body, method, &share).await {
            Ok(message) => message,
            Err(status) => return refuse(&status),
        };
        let mut services = self.services.clone();
        // The library decodes the message in there. What the methods do is ours again.
        match ContainedFuture::new("prost", services.call(Request::from_parts(head, Body::from(message)))).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => refuse(&Status::internal("the message cannot be read")),
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a call for whose header there is no memory now.
pub(super) fn no_room() -> Response<Body> {
    refuse(&busy())
}

/// An answer without a message.
fn refuse(status: &Status) -> Response<Body> {
    status.clone().into_http()
}

fn status_of(denied: &Denied) -> Status {
    let code = match denied.kind() {
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::TooMany => Code::ResourceExhausted,
    };
    Status::new(code, denied.to_string())
}

/// The time that a caller gives a call (gRPC over HTTP/2, "Timeout").
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Read the one message of a call, unpacked, with its prefix; and what it holds of the budget until it is dealt with.
async fn read<B>(headers: &mut HeaderMap, body: B, method: &Method, share: &Share) -> Result<(Bytes, Held), Status>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let bytes_max = method.message_bytes_max;
    let mut reader = BodyReader::new(body, share);
    while reader.more(PREFIX_BYTES + bytes_max).await.map_err(|error| broken(error, bytes_max))? {
        let Some((_, length)) = prefix(reader.bytes()) else { continue };
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        if reader.bytes().len() > PREFIX_BYTES + length {
            return Err(Status::invalid_argument("a call of this method has one message"));
        }
    }
    let whole = reader.finish();
    let (mut message, mut held) = (whole.bytes, whole.held);
    let packed = match prefix(&message) {
        Some((packed, length)) if message.len() == PREFIX_BYTES + length => packed,
        _ => return Err(Status::invalid_argument("the message of the call did not arrive whole")),
    };
    // It is what a message is packed with if its flag says that it is: the service below gets it unpacked in any case.
    let encoding = headers.remove("grpc-encoding");
    if packed {
        if encoding.is_none_or(|encoding| encoding != "gzip") {
            return Err(Status::unimplemented("messages are compressed with gzip or not at all"));
        }
        message = unpack(&message[PREFIX_BYTES..], bytes_max, &mut held).await?;
    }
    headers.remove(CONTENT_LENGTH);
    let more = (method.weigh)(&message[PREFIX_BYTES..])?;
    if !held.grow_now(message.len() + more) && !held.grow_to(message.len() + more, Duration::from_secs(1)).await {
        return Err(busy());
    }
    Ok((message, held))
}

/// Whether a message is compressed, and its length; `None` before both are there.
fn prefix(bytes: &[u8]) -> Option<(bool, usize)> {
    let (&[flag, a, b, c, d], _) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
    Some((flag != 0, u32::from_be_bytes([a, b, c, d]) as usize))
}

/// Decompress, and put an uncompressed message's prefix before the result.
async fn unpack(packed: &[u8], bytes_max: usize, held: &mut Held) -> Result<Bytes, Status> {
    let mut message = vec![0; PREFIX_BYTES];
    let mut unpacker = GzDecoder::new(packed);
    let mut piece = vec![0; UNPACK_BYTES];
    loop {
        let read = contain("flate2", || unpacker.read(&mut piece));
        let bytes = match read {
            Ok(Ok(bytes)) => bytes,
            _ => return Err(Status::invalid_argument("the message of the call is no gzip")),
        };
        if bytes == 0 {
            break;
        }
        let length = message.len() + bytes;
        if length > PREFIX_BYTES + bytes_max {
            return Err(too_large(bytes_max));
        }
        if length > message.capacity() {
            let room = (2 * message.capacity()).clamp(length, PREFIX_BYTES + bytes_max);
            let (ample, needed) = (packed.len() + room, packed.len() + length);
            let room = if held.grow_now(ample) {
                room
            } else if held.grow_to(needed, Duration::from_secs(1)).await {
                length
            } else {
                return Err(busy());
            };
            message.reserve_exact(room - message.len());
        }
        message.extend_from_slice(&piece[..bytes]);
        tokio::task::yield_now().await;
    }
    let length = u32::try_from(message.len() - PREFIX_BYTES).map_err(|_| too_large(bytes_max))?;
    message[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(message.into())
}

fn broken(error: BodyError, bytes_max: usize) -> Status {
    match error {
        BodyError::TooLarge { .. } => too_large(bytes_max),
        BodyError::Broken => Status::invalid_argument("the message of the call did not arrive whole"),
        BodyError::Busy => busy(),
    }
}

fn too_large(bytes_max: usize) -> Status {
    Status::out_of_range(format!("the message of the call is too long, at most {bytes_max} bytes are allowed"))
}

fn busy() -> Status {
    Status::resource_exhausted("too many messages are being read, try again in a moment")
}

/// Who sends this call, for services that answer with what an address may hold.
pub fn share_of<T>(request: &tonic::Request<T>) -> Option<&Share> {
    request.extensions().get::<Share>()
}

/// Where this call comes from.
pub fn peer_of<T>(request: &tonic::Request<T>) -> Peer {
    request.extensions().get::<Peer>().copied().unwrap_or(Peer::Unknown)
}

#[cfg(test)]
mod tests;
