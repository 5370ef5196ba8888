//! The clients' ends: real sockets for the kernel, virtual ones for the fake.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use halley_gateway::io::sim::{ClientId, Faults, ServerEnd, SimIo};
use halley_gateway::io::uring::{UringConfig, UringIo};
use halley_gateway::io::{Io, Wait};
use halley_gateway::mesh::wake::Doorbell;
use socket2::SockRef;

/// Descriptors of either.
const SLOTS: u32 = 64;

/// What a client sees of the server's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    Closed,
    Reset,
}

/// Clients by number, in the order of their connecting.
pub trait Clients {
    fn io(&mut self) -> &mut dyn Io;
    fn connect(&mut self);
    /// Bytes that could be written; a client never waits.
    fn write(&mut self, client: usize, bytes: &[u8]) -> usize;
    fn read(&mut self, client: usize) -> (Vec<u8>, End);
    fn shutdown(&mut self, client: usize);
    fn reset(&mut self, client: usize);
    /// The client takes as much as comes, from now on.
    fn take_all(&mut self, client: usize);
    /// How long a turn may sleep while something must still come.
    fn patience(&self) -> Wait;
}

pub struct FakeClients {
    io: SimIo,
    clients: Vec<ClientId>,
}

impl FakeClients {
    pub fn new(seed: u64, faults: Faults) -> FakeClients {
        FakeClients { io: SimIo::new(seed, faults, SLOTS, 1), clients: Vec::new() }
    }
}

impl Clients for FakeClients {
    fn io(&mut self) -> &mut dyn Io {
        &mut self.io
    }

    fn connect(&mut self) {
        let window_bytes = [10, 300, 5_000][self.clients.len() % 3];
        self.clients.push(self.io.connect(0, window_bytes));
    }

    fn write(&mut self, client: usize, bytes: &[u8]) -> usize {
        self.io.write(self.clients[client], bytes);
        bytes.len()
    }

    fn read(&mut self, client: usize) -> (Vec<u8>, End) {
        let client = self.clients[client];
        let bytes = self.io.read(client);
        let end = match self.io.server_end(client) {
            ServerEnd::Open => End::Open,
            ServerEnd::Closed => End::Closed,
            ServerEnd::Reset => End::Reset,
        };
        (bytes, end)
    }

    fn shutdown(&mut self, client: usize) {
        self.io.shutdown(self.clients[client]);
    }

    fn reset(&mut self, client: usize) {
        self.io.reset(self.clients[client]);
    }

    fn take_all(&mut self, client: usize) {
        self.io.set_window(self.clients[client], 1 << 20);
    }

    fn patience(&self) -> Wait {
        Wait::No
    }
}

pub struct KernelClients {
    io: UringIo,
    address: SocketAddr,
    clients: Vec<Option<TcpStream>>,
}

impl KernelClients {
    pub fn new() -> KernelClients {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        // Small buffers, so that sockets fill up.
        SockRef::from(&listener).set_send_buffer_size(4096).unwrap();
        let address = listener.local_addr().unwrap();
        let bell = Arc::new(Doorbell::new().unwrap());
        let mut config = UringConfig::new(SLOTS, vec![Arc::new(OwnedFd::from(listener))], bell);
        config.receive_buffers = 4;
        config.receive_buffer_bytes = 512;
        let io = UringIo::new(config).unwrap_or_else(|error| panic!("{error}"));
        KernelClients { io, address, clients: Vec::new() }
    }
}

impl Clients for KernelClients {
    fn io(&mut self) -> &mut dyn Io {
        &mut self.io
    }

    fn connect(&mut self) {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_nonblocking(true).unwrap();
        client.set_nodelay(true).unwrap();
        self.clients.push(Some(client));
    }

    fn write(&mut self, client: usize, bytes: &[u8]) -> usize {
        let Some(client) = &mut self.clients[client] else { return 0 };
        client.write(bytes).unwrap_or(0)
    }

    fn read(&mut self, client: usize) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let Some(client) = &mut self.clients[client] else { return (bytes, End::Reset) };
        let end = match client.read_to_end(&mut bytes) {
            Ok(_) => End::Closed,
            Err(error) if error.kind() == ErrorKind::WouldBlock => End::Open,
            Err(_) => End::Reset,
        };
        (bytes, end)
    }

    fn shutdown(&mut self, client: usize) {
        if let Some(client) = &self.clients[client] {
            // Fails only when the server has reset the connection.
            let _ = client.shutdown(std::net::Shutdown::Write);
        }
    }

    fn reset(&mut self, client: usize) {
        if let Some(client) = self.clients[client].take() {
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }

    fn take_all(&mut self, _client: usize) {}

    fn patience(&self) -> Wait {
        Wait::AtMost(Duration::from_millis(5))
    }
}
