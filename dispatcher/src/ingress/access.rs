//! Who may push. Owns that one decision for every transport; reads no header itself and answers nothing: the transports
//! hand in a [`Caller`] and turn [`Denied`] into their own words.
//!
//! With a push token, whoever presents it may push, from anywhere. Without one:
//! - only peers on this machine may (loopback or a Unix socket), unless the operator opened the ingress by name;
//! - a request that a proxy passed on is not from this machine, wherever the proxy runs;
//! - a page in a browser on this machine may push only if this very listener served it. Its `Origin` must be the address in
//!   `Host`, and that must be an IP address, `localhost` or a host that the operator named: a name that its owner can
//!   point to 127.0.0.1 (DNS rebinding) is none of these.

use std::fmt;
use std::net::SocketAddr;

use halley_protocol::caller::{bearer, is_own_host, same_bytes};

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
    /// Whether the request comes from this machine.
    pub fn is_local(self) -> bool {
        match self {
            Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Peer::Unix => true,
            Peer::Unknown => false,
        }
    }
}

/// What a transport knows about who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Where from.
    pub peer: Peer,
    /// `Authorization`, whole.
    pub authorization: Option<&'a [u8]>,
    /// `Origin`: sent by browsers with every push.
    pub origin: Option<&'a [u8]>,
    /// `Host`.
    pub host: Option<&'a [u8]>,
    /// `Forwarded` or `X-Forwarded-For` is present.
    pub forwarded: bool,
}

/// Why a caller may not push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A token is needed and none came.
    NoToken,
    /// It is not the token.
    WrongToken,
    /// Not from this machine, and no token is configured.
    NotLocal,
    /// Through a proxy, and no token is configured.
    Forwarded,
    /// A page of another site, and no token is configured.
    ForeignPage,
}

impl Denied {
    /// Whether another `Authorization` could help.
    pub fn is_unauthenticated(self) -> bool {
        matches!(self, Denied::NoToken | Denied::WrongToken)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::NoToken => "pushing needs the push token: send 'Authorization: Bearer <token>'",
            Denied::WrongToken => "this is not the push token",
            Denied::NotLocal => "only this machine may push until push_token is configured",
            Denied::Forwarded => "requests through a proxy may push only when push_token is configured",
            Denied::ForeignPage => "pages of other sites may push only when push_token is configured",
        })
    }
}

impl std::error::Error for Denied {}

/// Who may push.
#[derive(Clone, Default)]
pub struct Access {
    token: Option<Box<[u8]>>,
    open: bool,
    hosts: Vec<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Access { token, open, hosts } = self;
        f.debug_struct("Access").field("token", &token.is_some()).field("open", open).field("hosts", hosts).finish()
    }
}

impl Access {
    /// This machine only.
    pub fn local() -> Access {
        Access::default()
    }

    /// Whoever presents this token, which must not be empty.
    pub fn token(token: &str) -> Access {
        assert!(!token.is_empty(), "an empty push token would let everybody in");
        Access { token: Some(token.as_bytes().into()), ..Access::default() }
    }

    /// Everybody; to be asked for by name. Foreign pages stay out: a browser inside the network must not be made to push.
    pub fn open() -> Access {
        Access { open: true, ..Access::default() }
    }

    /// Names under which our own page may be opened and push without a token, besides IP addresses and `localhost`;
    /// without a port.
    pub fn with_hosts(self, hosts: Vec<String>) -> Access {
        Access { hosts, ..self }
    }

    /// Whether a token is needed.
    pub fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether this caller may push.
    pub fn check_push(&self, caller: &Caller<'_>) -> Result<(), Denied> {
        if let Some(token) = &self.token {
            let given = caller.authorization.and_then(bearer).ok_or(Denied::NoToken)?;
            return if same_bytes(token, given) { Ok(()) } else { Err(Denied::WrongToken) };
        }
        if !self.open {
            if !caller.peer.is_local() {
                return Err(Denied::NotLocal);
            }
            if caller.forwarded {
                return Err(Denied::Forwarded);
            }
        }
        match caller.origin {
            Some(origin) if !self.is_own_page(origin, caller.host) => Err(Denied::ForeignPage),
            _ => Ok(()),
        }
    }

    fn is_own_page(&self, origin: &[u8], host: Option<&[u8]>) -> bool {
        let (Ok(origin), Some(Ok(host))) = (str::from_utf8(origin), host.map(str::from_utf8)) else {
            return false;
        };
        let Some(("http" | "https", authority)) = origin.split_once("://") else {
            return false;
        };
        authority.eq_ignore_ascii_case(host) && is_own_host(host, &self.hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str) -> Caller<'static> {
        let peer = Peer::Tcp(peer.parse().unwrap());
        Caller { peer, authorization: None, origin: None, host: Some(b"127.0.0.1:3111"), forwarded: false }
    }

    fn page(origin: &'static str, host: &'static str) -> Caller<'static> {
        Caller { origin: Some(origin.as_bytes()), host: Some(host.as_bytes()), ..from("127.0.0.1:5") }
    }

    #[test]
    fn without_a_token_only_this_machine_may_push() {
        let access = Access::local();
        for local in ["127.0.0.1:5", "127.8.9.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            assert_eq!(access.check_push(&from(local)), Ok(()), "{local}");
        }
        assert_eq!(access.check_push(&Caller { peer: Peer::Unix, ..from("127.0.0.1:5") }), Ok(()));
        for remote in ["192.0.2.1:5", "[2001:db8::1]:5", "[::ffff:192.0.2.1]:5"] {
            assert_eq!(access.check_push(&from(remote)), Err(Denied::NotLocal), "{remote}");
        }
        assert_eq!(access.check_push(&Caller { peer: Peer::Unknown, ..from("127.0.0.1:5") }), Err(Denied::NotLocal));
        assert_eq!(access.check_push(&Caller { forwarded: true, ..from("127.0.0.1:5") }), Err(Denied::Forwarded));
    }

    #[test]
    fn an_open_ingress_takes_remote_peers_but_no_foreign_pages() {
        let access = Access::open();
        assert_eq!(access.check_push(&from("192.0.2.1:5")), Ok(()));
        assert_eq!(access.check_push(&Caller { forwarded: true, ..from("192.0.2.1:5") }), Ok(()));
        assert_eq!(access.check_push(&page("http://evil.example", "10.0.0.1")), Err(Denied::ForeignPage));
    }

    #[test]
    fn the_token_is_needed_whole_and_then_enough() {
        let access = Access::token("s3cret");
        let with = |authorization: &'static str| {
            let authorization = Some(authorization.as_bytes());
            Caller { authorization, origin: Some(b"http://evil.example"), ..from("192.0.2.1:5") }
        };
        assert_eq!(access.check_push(&with("Bearer s3cret")), Ok(()));
        assert_eq!(access.check_push(&with("bearer  s3cret ")), Ok(()));
        for wrong in ["Bearer s3cre", "Bearer s3cretx", "Bearer S3cret", "Bearer "] {
            assert_eq!(access.check_push(&with(wrong)), Err(Denied::WrongToken), "{wrong}");
        }
        for none in ["", "Bearer", "Basic s3cret", "s3cret"] {
            assert_eq!(access.check_push(&with(none)), Err(Denied::NoToken), "{none}");
        }
        assert_eq!(access.check_push(&from("127.0.0.1:5")), Err(Denied::NoToken), "also on this machine");
    }

    /// A site that a browser on this machine visits must not push, by whatever name it reaches the listener.
    #[test]
    fn pages_of_other_sites_may_not_push() {
        let access = Access::local().with_hosts(vec!["Push.internal".into()]);
        for (origin, host) in [
            ("http://127.0.0.1:3111", "127.0.0.1:3111"),
            ("http://localhost:3111", "LocalHost:3111"),
            ("http://[::1]:3111", "[::1]:3111"),
            ("https://push.internal", "push.internal"),
        ] {
            assert_eq!(access.check_push(&page(origin, host)), Ok(()), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "127.0.0.1:3111"),
            ("http://127.0.0.1:8080", "127.0.0.1:3111"),
            ("http://evil.example:3111", "evil.example:3111"),
            ("http://localhost.evil.example", "localhost.evil.example"),
            ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example"),
            ("null", "127.0.0.1:3111"),
            ("file://", ""),
            ("chrome-extension://127.0.0.1:3111", "127.0.0.1:3111"),
        ] {
            assert_eq!(access.check_push(&page(origin, host)), Err(Denied::ForeignPage), "{origin} {host}");
        }
        let no_host = Caller { host: None, ..page("http://127.0.0.1:3111", "") };
        assert_eq!(access.check_push(&no_host), Err(Denied::ForeignPage));
    }
}
