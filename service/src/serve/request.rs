//! A request as routes get it. Owns what must hold of every request before any route sees it (RFC 9112 §3.2), and following its
//! body: when the peer begins to send it, and whether it was read to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};

use super::progress::{Exchange, Turn};

/// Why no route may see a request; the text is for the peer.
pub(super) fn check(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("a request has one Host header, not several");
    }
    let Some(host) = host else {
        let needed = version == Version::HTTP_11;
        return if needed { Err("a request of HTTP/1.1 has a Host header") } else { Ok(()) };
    };
    let host = match host.as_bytes() {
        b"" => None,
        bytes => match Authority::try_from(bytes) {
            Ok(host) if !host.as_str().contains('@') => Some(host),
            _ => return Err("the Host header is no host"),
        },
    };
    match (uri.authority(), host) {
        (None, _) => Ok(()),
        (Some(target), Some(host)) if same_place(uri.scheme(), target, &host) => Ok(()),
        (Some(_), _) => Err("the Host header and the target of the request name different hosts"),
    }
}

fn same_place(scheme: Option<&Scheme>, target: &Authority, host: &Authority) -> bool {
    let usual = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(usual);
    let userless = !target.as_str().contains('@');
    userless && target.host().eq_ignore_ascii_case(host.host()) && port(target) == port(host)
}

/// A request's body, followed.
pub(super) struct Followed<B> {
    body: B,
    exchange: Arc<Exchange>,
    ended: bool,
}

impl<B: Body> Followed<B> {
    pub(super) fn new(body: B, exchange: Arc<Exchange>) -> Followed<B> {
        let ended = body.is_end_stream();
        Followed { body, exchange, ended }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Followed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let over = matches!(&polled, Poll::Ready(None | Some(Err(_))));
        if !self.ended && (over || self.body.is_end_stream()) {
            // An error is the end of the connection too.
            self.ended = true;
            self.exchange.turn(Turn::Ours);
        } else if polled.is_pending() && !self.ended {
            self.exchange.turn(Turn::Body);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Followed<B> {
    fn drop(&mut self) {
        if !self.ended {
            self.exchange.leave_unread();
            self.exchange.turn(Turn::Ours);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, target: &str, hosts: &[&str]) -> bool {
        let headers = hosts.iter().map(|host| (HOST, host.parse().expect("a value"))).collect();
        check(version, &target.parse().expect("a target"), &headers).is_ok()
    }

    #[test]
    fn a_request_names_one_host_and_means_it() {
        for (target, hosts, right) in [
            ("/", &["a.example"][..], true),
            ("/", &["a.example:3111"], true),
            ("/", &["[::1]:3111"], true),
            ("/", &["service_name:80"], true),
            ("/", &[""], true),
            ("/", &[], false),
            ("/", &["a.example", "a.example"], false),
            ("/", &["a.example", "b.example"], false),
            ("/", &["a.example/"], false),
            ("/", &["a.example b"], false),
            ("/", &["user@a.example"], false),
            ("http://a.example/", &["A.example"], true),
            ("http://a.example/", &["a.example:80"], true),
            ("https://a.example:443/", &["a.example"], true),
            ("http://a.example/", &["b.example"], false),
            ("http://a.example:8080/", &["a.example"], false),
            ("http://a.example/", &[""], false),
            ("http://user@a.example/", &["a.example"], false),
        ] {
            assert_eq!(checked(Version::HTTP_11, target, hosts), right, "{target} {hosts:?}");
        }
        assert!(checked(Version::HTTP_10, "/", &[]) && checked(Version::HTTP_2, "http://a.example/", &[]));
        assert!(!checked(Version::HTTP_10, "/", &["a", "b"]));
        assert!(!checked(Version::HTTP_2, "http://a.example/", &["b.example"]));
    }
}
