//! A request as routes get it. Owns what must hold of every request before any route sees it (RFC 9112 §3.2). Follows
//! its body: when the peer begins to send it, and whether it was read to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};

use super::progress::{Exchange, Turn};
use crate::panics::contain;

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

/// A request's body, followed. Reading and dropping it is the library's work on a peer's bytes, though a route asks for
/// it.
pub(super) struct Followed<B> {
    /// `None` once the library has panicked.
    body: Option<B>,
    exchange: Arc<Exchange>,
    ended: bool,
}

impl<B: Body> Followed<B> {
    pub(super) fn new(body: B, exchange: Arc<Exchange>) -> Followed<B> {
        let ended = body.is_end_stream();
        if ended {
            exchange.has_no_body();
        }
        Followed { body: Some(body), exchange, ended }
    }
}

impl<B> Body for Followed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let polled = match contain(LIBRARY, || (Pin::new(&mut *body).poll_frame(cx), body.is_end_stream())) {
            Ok((polled, at_end)) => {
                let over = at_end || matches!(&polled, Poll::Ready(None | Some(Err(_))));
                if !self.ended && over {
                    // An error is the end of the connection too.
                    self.ended = true;
                    self.exchange.body_turn(Turn::Ours);
                } else if !self.ended {
                    // However much comes: it is the peer who has not sent all of it.
                    self.exchange.body_turn(Turn::Body);
                }
                polled
            }
            Err(contained) => {
                forget(self.body.take());
                return Poll::Ready(Some(Err(contained.into())));
            }
        };
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| contain(LIBRARY, || body.is_end_stream()).unwrap_or(true))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().and_then(|body| contain(LIBRARY, || body.size_hint()).ok()).unwrap_or_default()
    }
}

/// Whose panics are contained here.
const LIBRARY: &str = "hyper";

fn forget<B>(body: Option<B>) {
    // What a panic left behind may panic again.
    let _ = contain(LIBRARY, || drop(body));
}

impl<B> Drop for Followed<B> {
    fn drop(&mut self) {
        if !self.ended {
            self.exchange.leave_unread();
            self.exchange.body_turn(Turn::Ours);
        }
        forget(self.body.take());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::super::budget::Budget;
    use super::super::places::{Admission, PlaceLimits, Places};
    use super::super::progress::{Progress, Speech};
    use super::*;
    use crate::address::AddressBlock;
    use crate::panics::contained_total;

    /// A body that panics when it is read, and again when it is dropped, as h2's does below a lock that a panic has
    /// poisoned.
    struct Broken;

    impl Body for Broken {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            panic!("planted")
        }
    }

    impl Drop for Broken {
        fn drop(&mut self) {
            panic!("planted again");
        }
    }

    /// What a library does with a body ends its connection, and not the process, whoever has asked for the body.
    #[tokio::test]
    async fn a_panic_below_a_body_is_an_error_of_it() {
        use http_body_util::BodyExt as _;

        let places = Places::new(PlaceLimits { places_max: 1, per_address_max: 1, kept: 0 });
        let Admission::Admitted(place) = places.admit(AddressBlock::Local, Instant::now()) else {
            panic!("it is free")
        };
        let progress = Progress::new(place, Budget::new(1 << 20).share(AddressBlock::Local), Speech::Http1);
        let before = contained_total();
        let mut body = Followed::new(Broken, progress.request_begun().0);
        assert!(body.frame().await.is_some_and(|frame| frame.is_err()));
        assert!(body.frame().await.is_none() && body.is_end_stream());
        drop(body);
        drop(Followed::new(Broken, progress.request_begun().0));
        assert!(contained_total() >= before + 3);
    }

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
