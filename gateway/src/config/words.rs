//! The settings that are words. Owns the closed lists that only the configuration knows, and the words of those that
//! the data plane and feed work by; each list stands once.

use halley_service::words;

use crate::feed::directory::LimitPolicy;
use crate::limits::SlowConsumer;

/// How logins are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// goim's unsigned JSON token.
    Open,
    /// A signed token.
    Jwt,
}

/// How strictly client WebSocket frames are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketProfile {
    /// As goim's clients need it.
    Goim,
    /// RFC 6455 to the letter.
    Strict,
}

/// A danger that must be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insecure {
    /// Anybody who reaches a client listener may log in as anybody.
    OpenAuth,
    /// Anybody who reaches the HTTP listener may push.
    OpenIngress,
    /// gRPC without TLS outside this machine.
    PlainGrpc,
    /// Tokens over HTTP without TLS outside this machine.
    PlainHttp,
}

/// Kinds of routes of the HTTP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpRoutes {
    /// Pushing.
    Push,
    /// Counts, metrics and traces.
    Read,
    /// Connections.
    Admin,
    /// The demo page.
    Demo,
}

words! {
    Auth { Open = "open", Jwt = "jwt" }
    WebSocketProfile { Goim = "goim", Strict = "strict" }
    LimitPolicy { CloseOldest = "close_oldest", RejectNew = "reject_new" }
    SlowConsumer { DropNewest = "drop_newest", DropOldest = "drop_oldest", Close = "close" }
    Insecure {
        OpenAuth = "open_auth",
        OpenIngress = "open_ingress",
        PlainGrpc = "plain_grpc",
        PlainHttp = "plain_http",
    }
    HttpRoutes { Push = "push", Read = "read", Admin = "admin", Demo = "demo" }
}
