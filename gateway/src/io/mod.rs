//! The seam between a shard and the kernel: what a shard asks for, and what comes back. Owns the `Io` trait, the
//! identity of operations and the events; holds no connection state and takes no decision. `uring` is the kernel,
//! `sim` a seeded fake of it for tests; `shard::turn` is the only caller of [`Io::turn`].

use std::net::SocketAddr;
use std::time::Duration;

use crate::mesh::msg::{ConnRef, SharedPayload};

pub mod sim;
pub mod uring;

/// Names one provided receive buffer that holds data and must be given back with [`Io::recycle`] in the same turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(pub u16);

/// Index of a listener known to this `Io`. A shard's own listeners come first; those of its neighbours follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerId(pub u16);

/// Errno of a failed operation, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What came back from the kernel, in order of completion. Sends that took every byte come back as nothing at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A connection was accepted into direct descriptor `slot`.
    Accepted {
        /// Where it came in.
        listener: ListenerId,
        /// Its slot; the shard gives it a generation.
        slot: u32,
    },
    /// The accept on this listener (multishot or single) ended and is not armed any more. An `errno` is never fatal:
    /// the shard re-arms it later. `EOVERFLOW` says that a burst of accepts filled the completion queue; none of them
    /// is lost.
    AcceptEnded {
        /// Which listener.
        listener: ListenerId,
        /// `None` when it was cancelled or was a single accept that succeeded.
        error: Option<Errno>,
    },
    /// The answer to [`Io::peer_name`].
    PeerName {
        /// The connection.
        conn: ConnRef,
        /// `None` when the kernel would not tell (Unix socket, already reset).
        address: Option<SocketAddr>,
    },
    /// There is something to read (edge-triggered: receive until `ReceiveEmpty` or until `Received` says `more:
    /// false`).
    Readable {
        /// The connection.
        conn: ConnRef,
        /// The multishot poll goes on; when false it must be armed again.
        armed: bool,
    },
    /// Data in a provided buffer.
    Received {
        /// The connection.
        conn: ConnRef,
        /// Where the bytes are, see [`Io::buffer`].
        buffer: BufferId,
        /// Number of valid bytes, at least 1.
        bytes: u32,
        /// The socket holds, or may hold, more bytes or its end: receive again.
        more: bool,
    },
    /// Nothing to read now (EAGAIN).
    ReceiveEmpty {
        /// The connection.
        conn: ConnRef,
    },
    /// No provided buffer was free: receive again next turn, after buffers went back.
    ReceiveNoBuffer {
        /// The connection.
        conn: ConnRef,
    },
    /// The peer closed its sending side.
    EndOfStream {
        /// The connection.
        conn: ConnRef,
    },
    /// A receive or the readiness poll failed for good.
    ReceiveFailed {
        /// The connection.
        conn: ConnRef,
        /// Why.
        error: Errno,
    },
    /// A send took only `sent` bytes (0 = the socket is full). The rest is the caller's to keep: it may not send
    /// again before [`Event::Writable`].
    SendShort {
        /// The connection.
        conn: ConnRef,
        /// Bytes of that send that the kernel took.
        sent: u32,
    },
    /// A send failed for good.
    SendFailed {
        /// The connection.
        conn: ConnRef,
        /// Why.
        error: Errno,
    },
    /// The answer to [`Io::poll_writable`]; also given when the poll was cancelled or failed.
    Writable {
        /// The connection.
        conn: ConnRef,
    },
    /// Every armed operation of the connection that [`Io::close`] found has ended and its descriptor is closed: the
    /// slot may be accepted into again (and may already have been, by an `Accepted` further on).
    Closed {
        /// The connection.
        conn: ConnRef,
    },
    /// Another thread rang the doorbell: look at the inbox.
    Woken,
}

/// How long a turn may sleep when nothing has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Collect what is there and return.
    No,
    /// Sleep until something completes, but at most this long.
    AtMost(Duration),
}

/// The kernel as one shard sees it. Requests are queued and reach the kernel in batches, at the latest in
/// [`Io::turn`]. At most one send per connection may be queued between two turns, and none while a short send waits
/// for [`Event::Writable`]: the caller keeps that rule, implementations assert it in debug builds.
pub trait Io {
    /// Number of direct descriptors, the bound on `slot`.
    fn slots(&self) -> u32;

    /// Accept connections on a listener until cancelled.
    fn accept_many(&mut self, listener: ListenerId);

    /// Accept one connection; ends with `AcceptEnded` after its `Accepted`.
    fn accept_one(&mut self, listener: ListenerId);

    /// End the accepts on a listener; `AcceptEnded` follows (a connection may still arrive before it).
    fn cancel_accept(&mut self, listener: ListenerId);

    /// Ask who is at the other end; answered by [`Event::PeerName`].
    fn peer_name(&mut self, conn: ConnRef);

    /// Arm the edge-triggered multishot readiness poll.
    fn poll_readable(&mut self, conn: ConnRef);

    /// Receive once into a provided buffer. At most one may be outstanding per connection.
    fn receive(&mut self, conn: ConnRef);

    /// The bytes of a received buffer.
    fn buffer(&mut self, buffer: BufferId, bytes: u32) -> &mut [u8];

    /// Give a received buffer back.
    fn recycle(&mut self, buffer: BufferId);

    /// Send `payload` from byte `from` of its TCP or WebSocket form to the end, without copying. The payload is kept
    /// alive until the kernel has taken or refused it.
    fn send_payload(&mut self, conn: ConnRef, payload: &SharedPayload, websocket: bool, from: u32);

    /// Copy the parts one after another into scratch memory of the turn and send them as one. Returns the bytes queued
    /// for sending: parts that do not fit in [`SEND_COPY_BYTES_MAX`] are left out, possibly in their middle.
    fn send_copy(&mut self, conn: ConnRef, parts: &mut dyn Iterator<Item = &[u8]>) -> u32;

    /// Ask once for room in the socket; answered by [`Event::Writable`]. At most one may be outstanding per connection.
    fn poll_writable(&mut self, conn: ConnRef);

    /// Send FIN, keep receiving. No event follows.
    fn shutdown_write(&mut self, conn: ConnRef);

    /// Cancel everything of this connection and close its descriptor. Events of what was outstanding may still come, or
    /// be swallowed with their buffers given back; [`Event::Closed`] always comes, as the last one of this connection.
    /// Sends queued before are handed over first, as far as the socket takes them.
    fn close(&mut self, conn: ConnRef);

    /// Hand everything queued to the kernel, sleep as `wait` allows, and append what completed to `events`: first
    /// every `SendShort` and `SendFailed`, then the others in order of completion.
    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>);

    /// Running totals for metrics.
    fn counters(&self) -> IoCounters;
}

/// Largest coalesced send, in bytes.
pub const SEND_COPY_BYTES_MAX: usize = 64 * 1024;

/// Running totals of one `Io`, all counted since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Submission entries handed to the kernel.
    pub submissions: u64,
    /// Sends among them.
    pub sends: u64,
    /// Completions that came through the kernel's overflow list.
    pub completion_overflows: u64,
    /// Receives that found no provided buffer.
    pub no_buffers: u64,
}
