//! Step 1 of a push on its way out, as of every request: who may ask for what. Owns that one decision for every
//! listener and transport: it reads the headers that tell who asks, and answers nothing itself; transports turn a
//! [`Denied`] into their own words.
//!
//! A program names what may be asked for ([`Scope`]) and which tokens allow it ([`Token`]).
//! - A Unix-domain socket is free: its file says who may open it.
//! - As soon as any token is configured, nobody over TCP is believed to be "this machine", loopback included: a proxy
//!   on this machine looks just the same. Whoever asks shows a token that allows what he asks for.
//! - Without any token, what needs one is for this machine: the peer is 127.0.0.1 or ::1, the request bears no mark of
//!   a proxy, the name in `Host` is ours, and no web page of others is behind it.
//!
//! Any mark of a proxy counts, known or not: a request may carry only headers that programs and browsers send by
//! themselves, and speaks HTTP/1.1 at least ([`from_here`]). A proxy that leaves no mark at all cannot be told from a
//! program on this machine (RFC 9110 §7.6.3 asks every proxy for `Via`, few leave it); only tokens help against that.

pub mod failures;
pub mod from_here;
pub mod rules;
pub mod settings;
pub mod tokens;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{Extensions, HeaderMap, Request, StatusCode, Uri, Version};

use crate::address::AddressBlock;
use failures::Failures;
use from_here::NotFromHere;
use tokens::{Token, bearer};

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP, from this address.
    Tcp(SocketAddr),
    /// Over a Unix-domain socket, so from this machine.
    Unix,
    /// Nobody said; never trusted.
    Unknown,
}

impl Peer {
    /// With whom it is counted.
    pub fn block(self) -> AddressBlock {
        match self {
            Peer::Tcp(address) => address.ip().into(),
            Peer::Unix | Peer::Unknown => AddressBlock::Local,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix socket"),
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}

/// Something that may be asked for. A program has at most 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Its bit in [`Token::scopes`].
    pub bit: u8,
    /// What is asked for, as the beginning of a sentence: "pushing".
    pub what: &'static str,
    /// The setting of the token that allows this and little else: "push_token".
    pub setting: &'static str,
    /// Without a token: for this machine only. `false`: for everybody who names us rightly, and is no page of others.
    pub needs_this_machine: bool,
}

/// What a transport knows about who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Where from.
    pub peer: Peer,
    /// The headers of the request.
    pub headers: &'a HeaderMap,
    /// The authority of the request's target (`:authority` in HTTP/2), if it has one.
    pub authority: Option<&'a str>,
    /// Of HTTP, as the peer speaks it.
    pub version: Version,
}

impl<'a> Caller<'a> {
    /// Who sends this request, whose extensions hold its [`Peer`].
    pub fn of<B>(request: &'a Request<B>) -> Caller<'a> {
        Caller::new(request.headers(), request.uri(), request.version(), request.extensions())
    }

    /// As [`Caller::of`].
    pub fn of_parts(parts: &'a Parts) -> Caller<'a> {
        Caller::new(&parts.headers, &parts.uri, parts.version, &parts.extensions)
    }

    fn new(headers: &'a HeaderMap, uri: &'a Uri, version: Version, extensions: &Extensions) -> Caller<'a> {
        let peer = extensions.get::<Peer>().copied().unwrap_or(Peer::Unknown);
        Caller { peer, headers, authority: uri.authority().map(http::uri::Authority::as_str), version }
    }

    /// The name that the caller has for us; empty when there is none or it is no text.
    pub fn host(&self) -> &'a str {
        let header = self.headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
        header.or(self.authority).unwrap_or_default()
    }
}

/// By what right somebody may, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// By a token: the setting that holds it.
    Token(&'static str),
    /// By a Unix-domain socket.
    Socket,
    /// By being on this machine, since no token is configured.
    ThisMachine,
    /// Everybody may.
    Anybody,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Token(setting) => setting,
            Role::Socket => "unix socket",
            Role::ThisMachine => "this machine",
            Role::Anybody => "anybody",
        })
    }
}

/// Why somebody may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A token is needed and none came.
    NoToken,
    /// It is none of the tokens.
    WrongToken,
    /// It is a token, for other things.
    NotAllowed,
    /// Too many wrong tokens came lately.
    TooManyFailures,
    /// The request is not from this machine, and no token is configured.
    NotFromHere(NotFromHere),
}

/// Why somebody may not, and what he asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: Reason,
    /// What was asked for.
    pub scope: Scope,
}

/// What a denial is in the words of HTTP and gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Another `Authorization` could help: 401, UNAUTHENTICATED.
    Unauthenticated,
    /// Nothing the caller sends could help: 403, PERMISSION_DENIED.
    Forbidden,
    /// Waiting could help: 429, RESOURCE_EXHAUSTED.
    TooMany,
}

impl Kind {
    /// The status of an answer over HTTP.
    pub const fn status(self) -> StatusCode {
        match self {
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

impl Denied {
    /// In the words of transports.
    pub fn kind(&self) -> Kind {
        match self.reason {
            Reason::NoToken | Reason::WrongToken => Kind::Unauthenticated,
            Reason::NotAllowed | Reason::NotFromHere(_) => Kind::Forbidden,
            Reason::TooManyFailures => Kind::TooMany,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope { what, setting, .. } = self.scope;
        match &self.reason {
            Reason::NoToken => write!(f, "{what} needs a token: send 'Authorization: Bearer <{setting}>'"),
            Reason::WrongToken => write!(f, "this is no token that is configured here; {what} needs the {setting}"),
            Reason::NotAllowed => write!(f, "this token does not allow {what}: that needs the {setting}"),
            Reason::TooManyFailures => f.write_str("too many wrong tokens came: try again in a while"),
            Reason::NotFromHere(why) => {
                let whose = if self.scope.needs_this_machine { "programs on" } else { "who knows the name of" };
                write!(f, "{what} without a token is for {whose} this machine, and {why}: set {setting}, and send it")
            }
        }
    }
}

impl std::error::Error for Denied {}

/// The rules of a moment.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Vec<Token>,
    /// Bits of the scopes that everybody has, wherever from.
    open: u8,
    /// Bits of the scopes that need a token only if one that is made for them is configured.
    lenient: u8,
    /// Bits of the scopes for which alone a token is configured.
    own: u8,
    hosts: Vec<String>,
    failures: Arc<Failures>,
}

impl Access {
    /// These tokens. One that stands in several settings allows what each of them does.
    pub fn new(tokens: Vec<Token>) -> Access {
        let alone = |token: &&Token| token.scopes.is_power_of_two();
        let own = tokens.iter().filter(alone).fold(0, |bits, token| bits | token.scopes);
        Access { tokens: Token::merged(tokens), own, ..Access::default() }
    }

    /// Whether these are the same tokens, allowing the same.
    pub fn has_tokens_of(&self, other: &Access) -> bool {
        self.tokens == other.tokens
    }

    /// Let everybody have this without a token, but no web page of others: a browser inside the network must not be
    /// made to.
    #[must_use]
    pub fn open_to_all(mut self, scope: Scope) -> Access {
        self.open |= 1 << scope.bit;
        self
    }

    /// Ask for a token for this only if one that allows nothing else is configured: those who need it cannot all show
    /// one.
    #[must_use]
    pub fn lenient_for(mut self, scope: Scope) -> Access {
        self.lenient |= 1 << scope.bit;
        self
    }

    /// Names under which we are known besides IP addresses and `localhost`; without a port.
    #[must_use]
    pub fn with_hosts(self, hosts: Vec<String>) -> Access {
        Access { hosts, ..self }
    }

    /// Count failures where the rules before these did.
    #[must_use]
    pub fn counting_with(self, failures: Arc<Failures>) -> Access {
        Access { failures, ..self }
    }

    /// Where failures are counted.
    pub fn failures(&self) -> &Arc<Failures> {
        &self.failures
    }

    /// Whether a caller over TCP needs a token for this.
    pub fn needs_token(&self, scope: Scope) -> bool {
        let bit = 1 << scope.bit;
        if self.lenient & bit != 0 {
            return self.own & bit != 0;
        }
        self.open & bit == 0 && !self.tokens.is_empty()
    }

    /// Whether this caller may. Wrong tokens are counted here; making whoever shows them wait is
    /// [`Failures::slow_down`]'s.
    pub fn check(&self, caller: &Caller<'_>, scope: Scope) -> Result<Role, Denied> {
        let denied = |reason| Err(Denied { reason, scope });
        if caller.peer == Peer::Unix {
            return Ok(Role::Socket);
        }
        if self.needs_token(scope) {
            let Some(given) = caller.headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())) else {
                return denied(Reason::NoToken);
            };
            return match Token::find(&self.tokens, given) {
                Some(token) if token.allows(scope) => Ok(Role::Token(token.setting)),
                Some(_) => denied(Reason::NotAllowed),
                None => denied(self.failures.failed(caller.peer)),
            };
        }
        let bit = 1 << scope.bit;
        let (role, result) = if (self.lenient | self.open) & bit != 0 {
            (Role::Anybody, from_here::no_foreign_page(caller, &self.hosts))
        } else if scope.needs_this_machine {
            (Role::ThisMachine, from_here::this_machine(caller, &self.hosts))
        } else {
            (Role::Anybody, from_here::own_host(caller, &self.hosts))
        };
        result.map(|()| role).or_else(|why| denied(Reason::NotFromHere(why)))
    }
}

#[cfg(test)]
mod tests;
