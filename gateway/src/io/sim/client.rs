//! The clients of the fake kernel, as a test drives them: connect, write, read, close, vanish. Owns their ends of the
//! virtual sockets; what the server notices of it is queued as events on its side, in `mod`.

use std::collections::VecDeque;

use super::SimIo;

/// Names a client end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub usize);

/// What a client sees of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEnd {
    /// Nothing was closed.
    Open,
    /// FIN came after the bytes.
    Closed,
    /// RST came.
    Reset,
}

/// A client's end of a connection.
#[derive(Debug)]
pub(super) struct Client {
    /// Bytes from the server that the client has not read.
    pub(super) inbox: VecDeque<u8>,
    pub(super) window_bytes: usize,
    /// Bytes to the server, written before it accepted.
    pub(super) early: Vec<u8>,
    pub(super) fin_early: bool,
    pub(super) server: ServerEnd,
    pub(super) slot: Option<u32>,
    pub(super) gone: bool,
}

impl SimIo {
    /// Client: connect to a listener; the server may accept much later.
    pub fn connect(&mut self, listener: usize, window_bytes: usize) -> ClientId {
        self.doors[listener].looking = true;
        self.connect_unheard(listener, window_bytes)
    }

    /// Client: connect to a listener on which a neighbour's accept is just being cancelled. Of the accepts that wait on
    /// one listener the kernel has woken that one: the client waits in the backlog until an accept looks there.
    pub fn connect_unheard(&mut self, listener: usize, window_bytes: usize) -> ClientId {
        let id = ClientId(self.clients.len());
        self.clients.push(Client {
            inbox: VecDeque::new(),
            window_bytes,
            early: Vec::new(),
            fin_early: false,
            server: ServerEnd::Open,
            slot: None,
            gone: false,
        });
        self.doors[listener].backlog.push_back(id);
        id
    }

    /// Client: send bytes.
    pub fn write(&mut self, client: ClientId, bytes: &[u8]) {
        match self.socket_of(client) {
            Some(slot) => {
                if let Some(socket) = self.sockets[slot as usize].as_mut() {
                    socket.inbox.extend(bytes);
                }
                self.announce(slot);
            }
            None => self.clients[client.0].early.extend_from_slice(bytes),
        }
    }

    /// Client: take everything that has arrived.
    pub fn read(&mut self, client: ClientId) -> Vec<u8> {
        let bytes = self.clients[client.0].inbox.drain(..).collect();
        if let Some(slot) = self.socket_of(client) {
            self.tell_writable(slot);
        }
        bytes
    }

    /// Client: take this many bytes at most without being read, from now on. What has arrived stays.
    pub fn set_window(&mut self, client: ClientId, window_bytes: usize) {
        self.clients[client.0].window_bytes = window_bytes;
        if let Some(slot) = self.socket_of(client) {
            self.tell_writable(slot);
        }
    }

    /// Client: send FIN, keep reading.
    pub fn shutdown(&mut self, client: ClientId) {
        match self.socket_of(client) {
            Some(slot) => {
                if let Some(socket) = self.sockets[slot as usize].as_mut() {
                    socket.fin = true;
                }
                self.announce(slot);
            }
            None => self.clients[client.0].fin_early = true,
        }
    }

    /// Client: vanish with RST.
    pub fn reset(&mut self, client: ClientId) {
        self.clients[client.0].gone = true;
        self.clients[client.0].inbox.clear();
        let readable = self.chance(self.faults.data_before_reset);
        if let Some(slot) = self.socket_of(client) {
            if let Some(socket) = self.sockets[slot as usize].as_mut() {
                socket.reset = true;
                if !readable {
                    socket.inbox.clear();
                }
            }
            self.announce(slot);
            self.tell_writable(slot);
        }
    }

    /// What the client sees of the server's end (after reading all bytes, for `Closed`).
    pub fn server_end(&self, client: ClientId) -> ServerEnd {
        self.clients[client.0].server
    }

    /// Connections the server holds.
    pub fn open_sockets(&self) -> usize {
        self.sockets.iter().flatten().count()
    }

    /// Whether anything is still to be told to the server.
    pub fn has_events(&self) -> bool {
        self.sockets.iter().flatten().any(|socket| !socket.events.is_empty())
            || self.doors.iter().any(|door| !door.events.is_empty())
    }
}
