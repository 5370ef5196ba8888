//! Connects clients and logs them in, goim's way (goim §1.3), over TCP or WebSocket. Owns the sockets until they are
//! read from (`drain`); a login that is not answered as it must be is an error, never a client less.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::failure::{Doing, Failure, Result};
use crate::wire::{self, AUTH_REPLY_OP, LOGIN_REPLY_BYTES, Transport};

/// Clients that log in at once: few enough for every listener's backlog.
const BATCH: u32 = 512;
/// Clients for each source address: an address has some 28,000 ports to go out from.
const CLIENTS_PER_ADDRESS: u32 = 10_000;
/// How long a login may take.
const LOGIN: Duration = Duration::from_secs(30);
/// Descriptors this process needs beside its clients.
const SPARE_DESCRIPTORS: u64 = 256;
/// Bytes of the longest answer to an upgrade together with a login reply.
const ANSWER_BYTES_MAX: usize = 512;

/// Whom to connect to and as what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The server.
    pub address: SocketAddr,
    /// How to talk.
    pub transport: Transport,
    /// How many clients.
    pub clients: u32,
    /// Clients in each room; the first room is [`room_of`] client 0.
    pub room_members: u32,
}

/// The room of a client.
pub(crate) fn room_of(client: u32, room_members: u32) -> String {
    format!("perf://{}", client / room_members.max(1))
}

/// Connect all of them. The returned streams block.
pub(crate) fn connect(plan: &Plan) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(usize::try_from(plan.clients).doing(|| "hold that many clients")?);
    let mut first = 0;
    while first < plan.clients {
        let batch = first..plan.clients.min(first + BATCH);
        for client in batch.clone() {
            let mut stream = open(plan, client).doing(|| format!("connect client {client} to {}", plan.address))?;
            stream.write_all(&greeting(plan, client)).doing(|| format!("log client {client} in"))?;
            streams.push(stream);
        }
        for (client, stream) in batch.clone().zip(streams.iter_mut().skip(usize::try_from(first).unwrap_or(usize::MAX)))
        {
            answered(stream, plan.transport).doing(|| format!("log client {client} in"))?;
        }
        first = batch.end;
    }
    Ok(streams)
}

fn open(plan: &Plan, client: u32) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    // A reset at the end: thousands of sockets in TIME_WAIT would slow down the next run.
    socket.set_linger(Some(Duration::ZERO))?;
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + client / CLIENTS_PER_ADDRESS).unwrap_or(u8::MAX));
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&plan.address.into(), LOGIN)?;
    socket.set_read_timeout(Some(LOGIN))?;
    Ok(socket.into())
}

fn greeting(plan: &Plan, client: u32) -> Vec<u8> {
    let login = wire::login(client, &room_of(client, plan.room_members));
    match plan.transport {
        Transport::Tcp => login,
        Transport::Websocket => [wire::UPGRADE.as_bytes(), &wire::client_message(&login)].concat(),
    }
}

/// Read the answer to a login and not one byte more.
fn answered(stream: &mut TcpStream, transport: Transport) -> Result<()> {
    if transport == Transport::Websocket {
        upgraded(stream)?;
        let mut header = [0; 2];
        stream.read_exact(&mut header).doing(|| "read the login's answer")?;
        if header != [0x82, u8::try_from(LOGIN_REPLY_BYTES).expect("small")] {
            return Err(Failure::new(format!("the login was answered by a message that begins with {header:02x?}")));
        }
    }
    let mut reply = [0; LOGIN_REPLY_BYTES];
    stream.read_exact(&mut reply).doing(|| "read the login's answer")?;
    match wire::frame_header(&reply) {
        Some((AUTH_REPLY_OP, LOGIN_REPLY_BYTES)) => Ok(()),
        other => Err(Failure::new(format!("the login was answered by {other:?}"))),
    }
}

/// Read the 101 of an upgrade, byte by byte: what follows belongs to somebody else.
fn upgraded(stream: &mut TcpStream) -> Result<()> {
    let mut head = Vec::with_capacity(ANSWER_BYTES_MAX);
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).doing(|| "read the upgrade's answer")?;
        head.extend(byte);
        if head.len() > ANSWER_BYTES_MAX {
            return Err(Failure::new("the upgrade's answer does not end"));
        }
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        let answer = String::from_utf8_lossy(&head);
        return Err(Failure::new(format!("the upgrade was refused: {}", answer.lines().next().unwrap_or_default())));
    }
    Ok(())
}

/// Raise this process's limit of descriptors, and say what to set when that is not enough for `clients`.
pub(crate) fn make_room_for(clients: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .doing(|| "raise the limit of descriptors")?;
    let needed = clients + SPARE_DESCRIPTORS;
    match limit.maximum {
        Some(most) if most < needed => Err(Failure::new(format!(
            "{clients} clients need {needed} descriptors and `ulimit -Hn` is {most}: raise it, or ask for fewer"
        ))),
        _ => Ok(()),
    }
}
