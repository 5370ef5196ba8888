//! One HTTP/1 connection. Owns the way of a request from the library to the routes, and of the answer back. It answers
//! itself what no route may see. It ends the connection behind an answer where that must be. A panic of the library
//! ends this connection and no more. `stream` keeps the socket's clocks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower::Service as _;

use super::answer::{Answer, HeldByAnswer, HeldByExchange};
use super::answers;
use super::asked::Asked;
use super::connection::Connection;
use super::progress::{Progress, Speech};
use super::request::{self, Followed};
use super::stream::Stream;
use crate::access::Peer;
use crate::panics::{ContainedFuture, Ours};

/// Bytes of one request's header. A target takes 64 KiB of it at most, which is the library's own bound.
pub const HEAD_BYTES_MAX: usize = 128 * 1024;
/// How long a connection that must make room has for its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serve `router` on one connection to its end.
pub(super) async fn run<S>(io: S, mut connection: Connection, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let progress = Progress::new(connection.place, connection.share, Speech::Http1);
    let stream = Stream::new(io, connection.clocks, Arc::clone(&progress));
    let (peer, closing, stats) = (connection.peer, connection.closing.clone(), connection.stats);
    let service = service_fn({
        let progress = Arc::clone(&progress);
        move |request: Request<Incoming>| {
            let (began, stats) = (Instant::now(), Arc::clone(&stats));
            let route = stats.requests().place(request.uri().path());
            let answer = respond(router.clone(), peer, Arc::clone(&progress), closing.clone(), request);
            Ours::new(async move {
                let answer = answer.await?;
                stats.requests().answered(route, answer.status(), began.elapsed());
                Ok::<_, Infallible>(answer)
            })
        }
    });
    let http = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).serve_connection(TokioIo::new(stream), service);
    let mut http = ContainedFuture::new("hyper", http);
    loop {
        tokio::select! {
            // What went wrong on one connection is its peer's business; the peer sees it closed.
            _ = &mut http => return,
            () = progress.place().evicted() => break,
            () = progress.idle() => {}
            () = connection.stopping.wait() => {
                if let Some(http) = http.as_mut() {
                    http.graceful_shutdown();
                }
            }
        }
    }
    if progress.refuse(answers::NO_PLACE) && progress.place().may_have_last_words() {
        let _ = tokio::time::timeout(LAST_WORDS, http).await;
    }
}

/// Paths that are answered on a kept place too.
fn asks_how_we_are(path: &str) -> bool {
    path == "/healthz" || path == "/readyz"
}

async fn respond(
    mut router: Router,
    peer: Peer,
    progress: Arc<Progress>,
    closing: watch::Receiver<bool>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let (exchange, head_held) = progress.request_begun();
    if progress.is_behind_another() {
        tokio::task::yield_now().await;
    }
    let checked = request::check(request.version(), request.uri(), request.headers());
    let kept = progress.place().is_kept();
    let refused = match checked {
        Err(why) => Some(answers::error(StatusCode::BAD_REQUEST, "bad_request", why)),
        Ok(()) if kept && !asks_how_we_are(request.uri().path()) => {
            let message = "too many connections are open: close idle ones, or try again in a moment";
            Some(answers::try_later(StatusCode::SERVICE_UNAVAILABLE, "busy", message))
        }
        Ok(()) => None,
    };
    let wrong = refused.is_some();
    let mut request = request.map(|body| Followed::new(body, Arc::clone(&exchange)));
    let mut response = match refused {
        Some(response) => {
            drop(request);
            response
        }
        None => {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(Asked(Arc::clone(&exchange)));
            request.extensions_mut().insert(progress.share().clone());
            if let Peer::Tcp(address) = peer {
                request.extensions_mut().insert(ConnectInfo(address));
            }
            router.call(request.map(Body::new)).await?
        }
    };
    if *closing.borrow() || progress.is_ending() || kept || wrong || progress.is_unread() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let held = HeldByExchange(head_held, response.extensions_mut().remove::<HeldByAnswer>());
    Ok(response.map(|body| Answer::new(body, held, Some(exchange))))
}
