//! What connections are accepted from. Owns the accept itself, which no error ends. Without a descriptor to spare, a
//! connection that can be spared is made to leave, and the accept is tried again shortly.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::places::Places;
use super::stats::ListenerStats;
use crate::access::Peer;

/// Wait after an accept that failed, for want of descriptors for one: it would fail again at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listening socket, of TCP or of a socket file.
pub trait Listener: Send + Sync + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection and where it comes from.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Peer)>>;
}

impl Listener for TcpListener {
    type Io = TcpStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, Peer)>> {
        TcpListener::poll_accept(self, cx).map_ok(|(stream, address)| {
            // Without it answers are late, not wrong.
            let _ = stream.set_nodelay(true);
            (stream, Peer::Tcp(address))
        })
    }
}

impl Listener for UnixListener {
    type Io = UnixStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, Peer)>> {
        UnixListener::poll_accept(self, cx).map_ok(|(stream, _)| (stream, Peer::Unix))
    }
}

/// The next connection, however often accepting fails before. That it fails is said once, until one was accepted again.
pub(super) async fn accept<L: Listener>(listener: &L, places: &Places, stats: &ListenerStats) -> (L::Io, Peer) {
    let mut failing = false;
    loop {
        match poll_fn(|cx| listener.poll_accept(cx)).await {
            Ok(accepted) => return accepted,
            Err(error) => {
                stats.accept_failed();
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(listener = stats.name(), %error, "cannot accept connections, trying again");
                }
                if is_for_want_of_descriptors(&error) {
                    places.make_room();
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn is_for_want_of_descriptors(error: &io::Error) -> bool {
    // EMFILE and ENFILE.
    matches!(error.raw_os_error(), Some(24 | 23))
}
