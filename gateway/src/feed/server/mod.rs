//! Step 4 of the way out: the gRPC listener. Owns the transport and its numbers (goim §2.1) and puts the services on it:
//! `comet` for jobs, and the push API if the process has one. Decides nothing about pushes. Next: `feed::intake`.

mod comet;
mod incoming;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use halley_protocol::proto::goim_comet::comet_server::CometServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::Server;

use super::intake::Intake;
use super::stats::FeedStats;
use comet::CometService;
use incoming::{Places, incoming};

/// Largest request and answer, as goim's clients set it for theirs, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// HTTP/2 window of a stream and of a connection, in bytes.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Calls under way on one connection; a client waits with further ones.
const STREAMS_MAX: u32 = 1024;
/// Connections to all listeners together; beyond it they wait in the kernel to be accepted.
pub const CONNECTIONS_MAX: usize = 1024;
/// Silence after which the server pings, and how long it then waits.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection of this age is asked to go (GOAWAY), so that clients spread over new servers; it has the grace to finish its calls.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(2 * 60 * 60);
const CONNECTION_GRACE: Duration = Duration::from_secs(20);
/// How long calls may take to finish when the gateway stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Serve goim's `Comet` and whatever `push` holds on every listener until `stop` resolves; then finish what is under
/// way, for at most five seconds. HTTP/2 with prior knowledge, without TLS. Pings of clients are answered at any rate: goim's
/// come every ten seconds, also without a call. Who does not begin to speak HTTP/2 within ten seconds is closed. An error is one of the transport's own and ends only that listener.
pub async fn serve(
    listeners: Vec<TcpListener>,
    intake: Intake,
    push: Option<Routes>,
    stats: Arc<FeedStats>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let comet = CometServer::new(CometService::new(intake))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let routes = push.unwrap_or_default().add_service(comet);
    let places = Places::new(CONNECTIONS_MAX, stats);
    let (stopping, stopped) = watch::channel(false);
    let mut serving = JoinSet::new();
    for listener in listeners {
        let mut stopped = stopped.clone();
        let incoming = incoming(listener, places.clone());
        let server = transport().add_routes(routes.clone());
        serving.spawn(server.serve_with_incoming_shutdown(incoming, async move {
            // An error means that `serve` itself was dropped, which stops as well.
            let _ = stopped.wait_for(|stopping| *stopping).await;
        }));
    }
    let mut stop = pin!(stop);
    let mut failed = None;
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = serving.join_next() => failed = failed.or(ended.ok().and_then(Result::err)),
        }
    }
    stopping.send_replace(true);
    let _ = tokio::time::timeout(STOP_GRACE, async { while serving.join_next().await.is_some() {} }).await;
    failed.map_or(Ok(()), Err)
}

fn transport() -> Server {
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_connection_age(CONNECTION_AGE_MAX)
        .max_connection_age_grace(CONNECTION_GRACE)
}

#[cfg(test)]
mod tests;
