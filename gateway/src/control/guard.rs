//! Who may use the admin routes. Owns that one decision; answers nothing itself. This machine may: a Unix socket's
//! permissions decide, and over TCP
//! - the peer is a loopback address,
//! - no proxy passed the request on (it would make every stranger a loopback peer),
//! - `Host` is an IP address or `localhost`, so that no web page can reach in under a name that its owner points to
//!   127.0.0.1 (DNS rebinding), or one that the operator named in `page_hosts`, and `Origin`, if there is one, is that same
//!   place. It is the rule of pushes, which need no `Host` without `Origin`: browsers send one with every push.
//!
//! Everybody else needs the admin token. Without one configured nobody else may.

use std::fmt;
use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, FORWARDED, HOST, ORIGIN};
use axum::http::{Extensions, HeaderMap};
use halley_protocol::caller::{bearer, is_own_host, same_bytes};

/// Put into a request's extensions by a listener on a Unix socket. Over TCP it is `ConnectInfo<SocketAddr>`; a request
/// with neither comes from nowhere known and is not local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixPeer;

/// Why a caller may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A token is needed and none came.
    NoToken,
    /// It is not the token.
    WrongToken,
    /// Not from this machine, and no token is configured.
    NotLocal,
    /// From a web page of somebody else, and no token is configured.
    ForeignPage,
    /// Asked for under a host name that nobody named as ours, and no token is configured.
    ForeignHost,
}

impl Denied {
    /// Whether a token could help (401), or nothing the caller sends (403).
    pub const fn is_unauthenticated(self) -> bool {
        matches!(self, Denied::NoToken | Denied::WrongToken)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::NoToken => "this needs the admin token: send 'Authorization: Bearer <admin_token>'",
            Denied::WrongToken => "that is not the admin token",
            Denied::NotLocal => "only this machine may use the admin routes: configure admin_token to allow others",
            Denied::ForeignPage => "web pages of other sites may not use the admin routes without the admin token",
            Denied::ForeignHost => {
                "the host name of this request is not among ingress.page_hosts: name it there, ask by IP address or as \
                 localhost, or configure admin_token and send it"
            }
        })
    }
}

impl std::error::Error for Denied {}

/// The rule of a moment.
#[derive(Clone, Default)]
pub struct Guard {
    token: Option<Box<[u8]>>,
    hosts: Vec<String>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("token", &self.token.is_some()).field("hosts", &self.hosts).finish()
    }
}

impl Guard {
    /// Only this machine.
    pub fn local() -> Guard {
        Guard::default()
    }

    /// This machine, and whoever presents this token, which must not be empty.
    pub fn token(token: &str) -> Guard {
        assert!(!token.is_empty(), "an empty admin token would let everybody in");
        Guard { token: Some(token.as_bytes().into()), ..Guard::default() }
    }

    /// Names, without a port, that are ours besides IP addresses and `localhost`.
    pub fn with_hosts(self, hosts: Vec<String>) -> Guard {
        Guard { hosts, ..self }
    }

    /// Whether this request may use the admin routes.
    pub fn check(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<(), Denied> {
        let Err(not_local) = self.is_from_here(headers, extensions) else { return Ok(()) };
        let token = self.token.as_ref().ok_or(not_local)?;
        let given = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())).ok_or(Denied::NoToken)?;
        if same_bytes(token, given) { Ok(()) } else { Err(Denied::WrongToken) }
    }

    /// Whether a request comes from this machine, and from no web page of others.
    fn is_from_here(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<(), Denied> {
        if extensions.get::<UnixPeer>().is_some() {
            return Ok(());
        }
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical());
        let passed_on = headers.contains_key(FORWARDED) || headers.contains_key("x-forwarded-for");
        if !peer.is_some_and(|address| address.is_loopback()) || passed_on {
            return Err(Denied::NotLocal);
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let same_place = match headers.get(ORIGIN).map(|origin| origin.to_str()) {
            None => true,
            Some(Ok(origin)) => {
                matches!(origin.split_once("://"), Some(("http" | "https", place)) if place.eq_ignore_ascii_case(host))
            }
            Some(Err(_)) => false,
        };
        match (same_place, is_own_host(host, &self.hosts)) {
            (true, true) => Ok(()),
            (true, false) => Err(Denied::ForeignHost),
            (false, _) => Err(Denied::ForeignPage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(peer: Option<&str>, headers: &[(&'static str, &str)]) -> (HeaderMap, Extensions) {
        let mut extensions = Extensions::new();
        if let Some(peer) = peer {
            extensions.insert(ConnectInfo::<SocketAddr>(peer.parse().expect("an address")));
        }
        let headers =
            headers.iter().map(|&(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        (headers.collect(), extensions)
    }

    #[test]
    fn without_a_token_only_this_machine_may() {
        let guard = Guard::local();
        let (local, remote) = (Some("127.0.0.1:1"), Some("192.0.2.1:1"));
        let host = ("host", "127.0.0.1:3108");
        for (peer, headers, expected) in [
            (local, &[host][..], Ok(())),
            (Some("[::1]:1"), &[("host", "[::1]:3108")], Ok(())),
            (Some("[::ffff:127.0.0.1]:1"), &[("host", "LocalHost")], Ok(())),
            (local, &[host, ("origin", "http://127.0.0.1:3108")], Ok(())),
            (remote, &[host], Err(Denied::NotLocal)),
            (Some("[::ffff:192.0.2.1]:1"), &[host], Err(Denied::NotLocal)),
            (None, &[host], Err(Denied::NotLocal)),
            (local, &[host, ("x-forwarded-for", "192.0.2.1")], Err(Denied::NotLocal)),
            (local, &[host, ("forwarded", "for=192.0.2.1")], Err(Denied::NotLocal)),
            (local, &[("host", "evil.example")], Err(Denied::ForeignHost)),
            (local, &[("host", "127.0.0.1.evil.example")], Err(Denied::ForeignHost)),
            (local, &[], Err(Denied::ForeignHost)),
            (local, &[host, ("origin", "http://evil.example")], Err(Denied::ForeignPage)),
            (local, &[("host", "evil.example"), ("origin", "http://evil.example")], Err(Denied::ForeignHost)),
            (local, &[host, ("origin", "null")], Err(Denied::ForeignPage)),
            (local, &[host, ("origin", "http://127.0.0.1:8080")], Err(Denied::ForeignPage)),
        ] {
            let (map, extensions) = request(peer, headers);
            assert_eq!(guard.check(&map, &extensions), expected, "{peer:?} {headers:?}");
        }
        let (headers, mut extensions) = request(None, &[]);
        extensions.insert(UnixPeer);
        assert_eq!(guard.check(&headers, &extensions), Ok(()));
    }

    /// The same pages as may push.
    #[test]
    fn named_hosts_are_this_machine() {
        let guard = Guard::local().with_hosts(vec!["Push.internal".into()]);
        for (headers, expected) in [
            (&[("host", "push.internal:3111")][..], Ok(())),
            (&[("host", "push.internal"), ("origin", "https://push.internal")], Ok(())),
            (&[("host", "push.internal"), ("origin", "https://evil.example")], Err(Denied::ForeignPage)),
            (&[("host", "push.internal"), ("origin", "ftp://push.internal")], Err(Denied::ForeignPage)),
            (&[("host", "other.internal")], Err(Denied::ForeignHost)),
        ] {
            let (map, extensions) = request(Some("127.0.0.1:1"), headers);
            assert_eq!(guard.check(&map, &extensions), expected, "{headers:?}");
        }
    }

    #[test]
    fn with_a_token_others_need_it_and_this_machine_does_not() {
        let guard = Guard::token("s3cret");
        let check = |peer, value: Option<&str>| {
            let mut headers = vec![("host", "127.0.0.1:3108")];
            headers.extend(value.map(|value| ("authorization", value)));
            let (headers, extensions) = request(Some(peer), &headers);
            guard.check(&headers, &extensions)
        };
        assert_eq!(check("192.0.2.1:1", Some("Bearer s3cret")), Ok(()));
        assert_eq!(check("192.0.2.1:1", Some("bearer  s3cret ")), Ok(()));
        assert_eq!(check("127.0.0.1:1", None), Ok(()));
        assert_eq!(check("127.0.0.1:1", Some("Bearer wrong")), Ok(()));
        assert_eq!(check("192.0.2.1:1", None), Err(Denied::NoToken));
        assert_eq!(check("192.0.2.1:1", Some("Basic s3cret")), Err(Denied::NoToken));
        for wrong in ["Bearer s3cre", "Bearer s3cretx", "Bearer S3cret", "Bearer "] {
            assert_eq!(check("192.0.2.1:1", Some(wrong)), Err(Denied::WrongToken), "{wrong}");
        }
        // Who comes through a proxy, or from a web page of others, is not this machine.
        for stranger in [("x-forwarded-for", "192.0.2.1"), ("origin", "http://evil.example")] {
            let (headers, extensions) = request(Some("127.0.0.1:1"), &[("host", "127.0.0.1"), stranger]);
            assert_eq!(guard.check(&headers, &extensions), Err(Denied::NoToken), "{stranger:?}");
        }
        let (headers, mut extensions) = request(None, &[]);
        extensions.insert(UnixPeer);
        assert_eq!(guard.check(&headers, &extensions), Ok(()));
    }
}
