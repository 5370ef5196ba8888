//! goim clients over both transports: plain sockets for TCP, tungstenite for WebSocket. A test that holds for both runs
//! over [`Transport::BOTH`].

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use super::gateway::Gateway;
use super::{Frame, PATIENCE, op, token};

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    WebSocket,
}

impl Transport {
    pub const BOTH: [Transport; 2] = [Transport::Tcp, Transport::WebSocket];

    pub fn connect(self, gateway: &Gateway) -> Client {
        match self {
            Transport::Tcp => Client::Tcp(TcpClient::connect(gateway.tcp())),
            Transport::WebSocket => Client::WebSocket(Box::new(WsClient::connect(gateway.ws()))),
        }
    }

    /// Connects and logs in.
    pub fn login(self, gateway: &Gateway, mid: i64, key: &str, room: &str, accepts: &[i32]) -> Client {
        let mut client = self.connect(gateway);
        client.login(&token(mid, key, room, accepts));
        client
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// EOF or reset without a WebSocket close frame.
    Socket,
    /// A close frame with this status (1005 = without one), then EOF.
    Frame(u16),
}

/// A client of either kind.
#[derive(Debug)]
pub enum Client {
    Tcp(TcpClient),
    WebSocket(Box<WsClient>),
}

impl Client {
    pub fn send(&mut self, frame: &Frame) {
        self.send_bytes(&frame.encode());
    }

    /// Bytes that stand for one frame: as they are on TCP, one binary message on WebSocket.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        match self {
            Client::Tcp(client) => client.send_bytes(bytes),
            Client::WebSocket(client) => client.send_message(bytes),
        }
    }

    /// The next frame; op 9 is unwrapped.
    pub fn receive(&mut self) -> Frame {
        self.next().unwrap_or_else(|end| panic!("the connection ended instead of a frame: {end:?}"))
    }

    /// The next frame, or how the connection ended.
    pub fn next(&mut self) -> Result<Frame, End> {
        match self {
            Client::Tcp(client) => client.next(),
            Client::WebSocket(client) => client.next(),
        }
    }

    /// Sends and returns the very next frame.
    pub fn ask(&mut self, op: i32, seq: i32, body: impl Into<Vec<u8>>) -> Frame {
        self.send(&Frame::new(op, seq, body));
        self.receive()
    }

    /// Logs in; the reply must be op 8.
    pub fn login(&mut self, token: &str) {
        let reply = self.ask(op::AUTH, 1, token);
        assert_eq!(reply, Frame::new(op::AUTH_REPLY, 1, ""), "the auth reply (goim §1.6)");
    }

    /// Changes the room; the reply must echo it.
    pub fn change_room(&mut self, room: &str) {
        let reply = self.ask(op::CHANGE_ROOM, 3, room);
        assert_eq!(reply, Frame::new(op::CHANGE_ROOM_REPLY, 3, room), "the reply of op 12 echoes (goim §1.8)");
    }

    /// Beats and returns the room's online count.
    pub fn heartbeat(&mut self) -> i32 {
        self.ask(op::HEARTBEAT, 9, "").online()
    }

    /// Reads until the connection ends; frames before it are thrown away.
    pub fn wait_end(&mut self) -> End {
        loop {
            if let Err(end) = self.next() {
                return end;
            }
        }
    }

    /// As [`Client::wait_end`], and nothing may come before it.
    pub fn expect_end(&mut self) -> End {
        match self.next() {
            Ok(frame) => panic!("{frame:?} came, the connection should have ended"),
            Err(end) => end,
        }
    }

    /// The end must be by close frame on WebSocket, and without any byte on TCP.
    pub fn expect_close(&mut self, code: u16) {
        let end = self.wait_end();
        match self {
            Client::Tcp(_) => assert_eq!(end, End::Socket),
            Client::WebSocket(_) => assert_eq!(end, End::Frame(code)),
        }
    }
}

/// goim over TCP.
#[derive(Debug)]
pub struct TcpClient {
    pub stream: TcpStream,
    bytes: Vec<u8>,
}

impl TcpClient {
    pub fn connect(to: SocketAddr) -> TcpClient {
        TcpClient::over(TcpStream::connect(to).expect("the TCP listener accepts"))
    }

    /// Connects from another loopback address.
    pub fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpClient {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into()).expect("a loopback address");
        socket.connect(&to.into()).expect("the TCP listener accepts");
        TcpClient::over(socket.into())
    }

    /// Connects with a receive buffer so small that a client which does not read is soon full.
    pub fn connect_narrow(to: SocketAddr) -> TcpClient {
        TcpClient::over(narrow(to))
    }

    pub fn over(stream: TcpStream) -> TcpClient {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream.set_write_timeout(Some(PATIENCE)).expect("a deadline");
        TcpClient { stream, bytes: Vec::new() }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection takes bytes");
    }

    pub fn next(&mut self) -> Result<Frame, End> {
        loop {
            if let Some((frame, used)) = Frame::decode(&self.bytes) {
                self.bytes.drain(..used);
                return Ok(frame);
            }
            let mut piece = [0; 65536];
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    assert!(self.bytes.is_empty(), "the stream ended inside a frame");
                    return Err(End::Socket);
                }
                Ok(got) => self.bytes.extend_from_slice(&piece[..got]),
                Err(error) if reset(&error) => return Err(End::Socket),
                Err(error) => panic!("no frame came: {error}"),
            }
        }
    }

    /// Exactly these many bytes as they come.
    pub fn exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let have = bytes.len().min(count);
        self.bytes = bytes.split_off(have);
        bytes.resize(count, 0);
        self.stream.read_exact(&mut bytes[have..]).expect("the bytes come");
        bytes
    }
}

/// goim over WebSocket.
#[derive(Debug)]
pub struct WsClient {
    pub socket: WebSocket<TcpStream>,
    frames: VecDeque<Frame>,
}

impl WsClient {
    pub fn connect(to: SocketAddr) -> WsClient {
        WsClient::request(to, "/sub", &[]).expect("the upgrade succeeds")
    }

    /// Upgrades a connected socket.
    pub fn over(stream: TcpStream, to: SocketAddr) -> WsClient {
        upgrade(stream, to, "/sub", &[]).unwrap_or_else(|why| panic!("the upgrade failed: {why:?}"))
    }

    /// Upgrades with further headers; on refusal the HTTP status.
    pub fn request(to: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Result<WsClient, u16> {
        let stream = TcpStream::connect(to).expect("the WebSocket listener accepts");
        upgrade(stream, to, path, headers).map_err(|why| why.expect("an answer to the upgrade"))
    }

    /// Connects to a gateway that may close the socket instead of answering.
    pub fn connect_or_end(to: SocketAddr) -> Option<WsClient> {
        upgrade(TcpStream::connect(to).ok()?, to, "/sub", &[]).ok()
    }

    pub fn send_message(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).expect("the connection takes a message");
    }

    /// The next message that is no control message.
    pub fn next_message(&mut self) -> Result<Vec<u8>, End> {
        loop {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => return Ok(bytes.to_vec()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(frame)) => {
                    let code = frame.map_or(CloseCode::Status, |frame| frame.code);
                    let _ = self.socket.flush();
                    return Err(End::Frame(code.into()));
                }
                Ok(other) => panic!("the server sent {other:?}"),
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Err(End::Socket),
                Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Err(End::Socket);
                }
                Err(Error::Io(error)) if reset(&error) => return Err(End::Socket),
                Err(error) => panic!("no message came: {error}"),
            }
        }
    }

    pub fn next(&mut self) -> Result<Frame, End> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            let message = self.next_message()?;
            let (outer, used) = Frame::decode(&message).expect("a message holds a whole frame");
            assert_eq!(used, message.len(), "a message holds one frame (goim §1.9)");
            if outer.op == op::RAW {
                self.frames.extend(Frame::decode_all(&outer.body));
                if outer.body.is_empty() {
                    self.frames.push_back(outer);
                }
            } else {
                self.frames.push_back(outer);
            }
        }
    }
}

/// A socket with a small receive buffer, connected.
pub fn narrow(to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&to.into()).expect("connects");
    socket.into()
}

/// The upgrade; on failure the HTTP status, if there was an answer at all.
fn upgrade(
    stream: TcpStream,
    to: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<WsClient, Option<u16>> {
    use tungstenite::client::IntoClientRequest as _;
    stream.set_nodelay(true).expect("no delay");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    stream.set_write_timeout(Some(PATIENCE)).expect("a deadline");
    let mut request = format!("ws://{to}{path}").into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header value"));
    }
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(WsClient { socket, frames: VecDeque::new() }),
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(Some(response.status().as_u16())),
        Err(_) => Err(None),
    }
}

/// Whether an error means that the other side ended the connection.
fn reset(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

/// A WebSocket upgraded by hand: the answer's bytes up to the blank line, and the socket behind it.
pub fn raw_upgrade(to: SocketAddr) -> (String, TcpClient) {
    let mut client = TcpClient::connect(to);
    client.send_bytes(
        b"GET /sub HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let answer = read_head(&mut client);
    (answer, client)
}

/// The head of an HTTP answer, up to and with the blank line.
pub fn read_head(client: &mut TcpClient) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exact(1));
    }
    String::from_utf8(head).expect("a head is text")
}

/// Everything that comes until the peer ends the stream or `within` has passed.
pub fn read_to_end(client: &mut TcpClient, within: Duration) -> Vec<u8> {
    let deadline = Instant::now() + within;
    let mut all = std::mem::take(&mut client.bytes);
    let mut piece = [0; 4096];
    while Instant::now() < deadline {
        match client.stream.read(&mut piece) {
            Ok(0) => return all,
            Ok(got) => all.extend_from_slice(&piece[..got]),
            Err(error) if reset(&error) => return all,
            Err(error) => panic!("the stream did not end: {error}"),
        }
    }
    panic!("the stream did not end within {within:?}");
}
