//! A ring with one TCP listener, and the ways of tests to drive it.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use halley_gateway::io::uring::{UringConfig, UringIo};
use halley_gateway::io::{Event, Io, ListenerId, Wait};
use halley_gateway::mesh::msg::ConnRef;
use halley_gateway::mesh::wake::Doorbell;
use socket2::{Domain, Socket, Type};

/// The only listener of a rig.
pub const LISTENER: ListenerId = ListenerId(0);
/// After this a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Rig {
    pub io: UringIo,
    pub bell: Arc<Doorbell>,
    pub address: SocketAddr,
    /// Events not picked yet, oldest first.
    pub seen: Vec<Event>,
    generation: u32,
}

/// A listening socket on loopback; `send_buffer_bytes` is inherited by what it accepts.
pub fn listen(on: SocketAddr, send_buffer_bytes: Option<usize>) -> (Arc<OwnedFd>, SocketAddr) {
    let socket = Socket::new(Domain::for_address(on), Type::STREAM, None).unwrap();
    if let Some(bytes) = send_buffer_bytes {
        socket.set_send_buffer_size(bytes).unwrap();
    }
    if on.is_ipv6() {
        socket.set_only_v6(false).unwrap();
    }
    socket.bind(&on.into()).unwrap();
    socket.listen(4096).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (Arc::new(OwnedFd::from(socket)), address)
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Rig {
    /// A ring of the usual sizes.
    pub fn new(slots: u32) -> Rig {
        Rig::with(slots, None, |_| {})
    }

    pub fn with(slots: u32, send_buffer_bytes: Option<usize>, adjust: impl FnOnce(&mut UringConfig)) -> Rig {
        let (listener, address) = listen(loopback(), send_buffer_bytes);
        let bell = Arc::new(Doorbell::new().unwrap());
        let mut config = UringConfig::new(slots, vec![listener], Arc::clone(&bell));
        adjust(&mut config);
        let io = UringIo::new(config).unwrap_or_else(|error| panic!("{error}"));
        Rig { io, bell, address, seen: Vec::new(), generation: 0x00ff_fff0 }
    }

    /// One turn; what came is appended to `seen`.
    pub fn turn(&mut self) {
        self.io.turn(Wait::AtMost(Duration::from_millis(20)), &mut self.seen);
    }

    /// Takes the first event that `pick` likes, turning until there is one.
    pub fn until<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for index in 0..self.seen.len() {
                if let Some(found) = pick(&self.seen[index]) {
                    self.seen.remove(index);
                    return found;
                }
            }
            assert!(Instant::now() < deadline, "no {what} among {:?}", self.seen);
            self.turn();
        }
    }

    /// A new client, and its connection as the shard would name it. Generations cross a multiple of 2^24, where the
    /// part that does not travel through the kernel changes.
    pub fn accept(&mut self) -> (ConnRef, TcpStream) {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_nodelay(true).unwrap();
        let slot = self.until("Accepted", |event| match event {
            Event::Accepted { slot, .. } => Some(*slot),
            _ => None,
        });
        (self.own(slot), client)
    }

    /// Gives an accepted slot its generation.
    pub fn own(&mut self, slot: u32) -> ConnRef {
        self.generation += 1;
        ConnRef { slot, generation: self.generation }
    }

    /// As [`Rig::accept`], with the accept armed for this one alone.
    pub fn accept_single(&mut self) -> (ConnRef, TcpStream) {
        self.io.accept_one(LISTENER);
        let accepted = self.accept();
        self.until("AcceptEnded", |event| matches!(event, Event::AcceptEnded { error: None, .. }).then_some(()));
        accepted
    }

    pub fn closed(&mut self, conn: ConnRef) {
        self.until("Closed", |event| (*event == Event::Closed { conn }).then_some(()));
    }

    /// Receives until the socket is empty or ended, as the edge-triggered poll requires. Returns what came and whether
    /// it was the end.
    pub fn drain(&mut self, conn: ConnRef) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        loop {
            self.io.receive(conn);
            let event = self.until("result of a receive", |event| match event {
                Event::Received { conn: of, .. }
                | Event::ReceiveEmpty { conn: of }
                | Event::ReceiveNoBuffer { conn: of }
                | Event::EndOfStream { conn: of }
                | Event::ReceiveFailed { conn: of, .. } => (*of == conn).then_some(*event),
                _ => None,
            });
            match event {
                Event::Received { buffer, bytes: count, more, .. } => {
                    bytes.extend_from_slice(self.io.buffer(buffer, count));
                    self.io.recycle(buffer);
                    if !more {
                        return (bytes, false);
                    }
                }
                Event::ReceiveEmpty { .. } => return (bytes, false),
                Event::ReceiveNoBuffer { .. } => {}
                Event::EndOfStream { .. } => return (bytes, true),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Reads exactly this many bytes.
pub fn read(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// Bytes in which every position can be told from its neighbours.
pub fn pattern(count: usize, seed: u8) -> Vec<u8> {
    (0..count).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ usize::from(seed)).to_le_bytes()[0]).collect()
}
