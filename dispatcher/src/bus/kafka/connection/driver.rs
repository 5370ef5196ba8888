//! The socket of one connection. Owns making it (name, address, TLS) and carrying bytes between it and
//! [`super::core`], which decides everything. Next step on the way in: [`crate::bus::kafka::cluster`].

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::core::{Connection, Profile};
use super::tls;
use crate::bus::kafka::error::RequestError;
use crate::bus::kafka::settings::{Tls, host_and_port};
use crate::bus::kafka::wire::answer::Response;
use crate::bus::kafka::wire::request::Request;

/// A silent peer is asked after this long whether it is still there, and again in steps of a third.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Whoever waits for an answer.
pub type Asker = oneshot::Sender<Result<Response, RequestError>>;

/// A request on its way to a connection.
#[derive(Debug)]
pub struct Command {
    /// What is asked.
    pub request: Request,
    /// Until when an answer is of use.
    pub deadline: Instant,
    /// Whom to tell.
    pub asker: Asker,
}

/// Either kind of connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connect to `host:port`: every address of the name in turn, then TLS, all of it until `deadline`. An error is the end
/// of a sentence about the broker.
pub async fn connect(address: &str, tls: Option<&Tls>, deadline: Instant) -> Result<Box<dyn Stream>, String> {
    let (host, port) = host_and_port(address).ok_or("has an address that is no host:port")?;
    let found = timeout_at(deadline, lookup_host((host, port))).await;
    let found = found.map_err(|_| "has a name that is not looked up in time".to_owned())?;
    let addresses: Vec<SocketAddr> =
        found.map_err(|error| format!("has a name that cannot be looked up: {error}"))?.collect();
    let mut last = "has a name without addresses".to_owned();
    for (at, one) in addresses.iter().enumerate() {
        let within = share(deadline.saturating_duration_since(Instant::now()), addresses.len() - at);
        match timeout(within, TcpStream::connect(one)).await {
            Ok(Ok(socket)) => {
                set_options(&socket).map_err(|error| format!("gave a socket that cannot be set up: {error}"))?;
                return match tls {
                    Some(tls) => encrypt(socket, tls.clone(), host, deadline).await,
                    None => Ok(Box::new(socket)),
                };
            }
            Ok(Err(error)) => last = format!("cannot be reached at {one}: {error}"),
            Err(_) => last = format!("cannot be reached at {one}: nothing answers within {} s", within.as_secs_f32()),
        }
    }
    Err(last)
}

/// What one address gets of the time that is left for so many: one that is silent leaves the others theirs.
fn share(left: Duration, addresses: usize) -> Duration {
    left / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX)
}

fn set_options(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

async fn encrypt(socket: TcpStream, tls: Tls, host: &str, deadline: Instant) -> Result<Box<dyn Stream>, String> {
    let read = timeout_at(deadline, tokio::task::spawn_blocking(move || tls::client(&tls))).await;
    let read = read.map_err(|_| "is not asked: reading TLS files takes too long".to_owned())?;
    let config: Arc<ClientConfig> = read.map_err(|_| "is not asked: reading TLS files failed".to_owned())??;
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| format!("has a name that no certificate has: {host}"))?;
    match timeout_at(deadline, TlsConnector::from(config).connect(name, socket)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(format!("is reached, but TLS does not come about: {error}")),
        Err(_) => Err("is reached, but TLS does not come about in time: is this its TLS listener?".to_owned()),
    }
}

/// Carry a connection until it is over, or nobody can ask it any more. Requests are those that are held and what comes
/// through `commands`; `opened` is called once, when the broker has let us in. Answers why it is over, `None` when
/// nobody can ask and what was asked is answered.
pub async fn run(
    stream: Box<dyn Stream>,
    profile: Profile,
    held: VecDeque<Command>,
    commands: &mut mpsc::Receiver<Command>,
    opened: impl FnOnce(),
) -> Option<RequestError> {
    let start = Instant::now();
    let mut opened = Some(opened);
    let mut connection = Connection::open(profile, StdRng::from_os_rng(), Duration::ZERO);
    let ask = |connection: &mut Connection<Asker>, command: Command| {
        connection.ask(command.asker, command.request, command.deadline.saturating_duration_since(start));
    };
    held.into_iter().for_each(|command| ask(&mut connection, command));
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut received = BytesMut::new();
    let mut output = Bytes::new();
    let mut unflushed = false;
    let mut closing = false;
    loop {
        let now = start.elapsed();
        if output.is_empty() {
            output = connection.output(now).unwrap_or_default();
        }
        while let Some((asker, answer)) = connection.next_done() {
            // Whoever asked may have gone.
            let _ = asker.send(answer);
        }
        if let Some(closed) = connection.closed() {
            return Some(closed.clone());
        }
        if closing && connection.waiting() == 0 {
            return None;
        }
        if connection.is_ready()
            && let Some(opened) = opened.take()
        {
            opened();
        }
        let wake_at = connection.wake_at(now).map(|at| start + at);
        received.reserve(connection.room_wanted(&received));
        tokio::select! {
            biased;
            read = reader.read_buf(&mut received) => match read {
                Ok(0) => connection.lost("closed the connection"),
                Ok(_) => connection.received(start.elapsed(), &mut received),
                Err(error) => connection.lost(&format!("broke the connection: {error}")),
            },
            written = write_or_flush(&mut writer, &output), if !output.is_empty() || unflushed => match written {
                Ok(bytes) => {
                    unflushed = !output.is_empty();
                    output.advance(bytes);
                }
                Err(error) => connection.lost(&format!("broke the connection: {error}")),
            },
            command = commands.recv(), if !closing => match command {
                Some(command) => ask(&mut connection, command),
                None => closing = true,
            },
            () = sleep_until(wake_at.unwrap_or(start)), if wake_at.is_some() => connection.tick(start.elapsed()),
        }
    }
}

/// One step of writing: some bytes, or the flush when there are none left.
async fn write_or_flush(writer: &mut (impl AsyncWrite + Unpin), output: &[u8]) -> io::Result<usize> {
    if output.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(output).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many addresses a name has, and however silent they are, together they get the time that one has.
    #[test]
    fn addresses_share_the_time() {
        let whole = Duration::from_secs(10);
        for addresses in 1..=20 {
            let mut left = whole;
            for at in 0..addresses {
                let one = share(left, addresses - at);
                assert!(!one.is_zero() && one <= left, "{addresses} addresses");
                left -= one;
            }
            assert!(left.is_zero());
        }
        assert_eq!(share(whole, 0), whole);
    }
}
