//! One client connection: its state, its flags and what it keeps while idle. Owns the layout of [`Conn`] and nothing of
//! the kernel; it never touches a ring, a room or another connection. `shard` stores connections by slot and drives
//! them; what goes out waits in `send_queue`.

pub mod partial;
pub mod payloads;
pub mod rate;
pub mod send_queue;
pub mod tls;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use halley_protocol::login::{Authority, Identity};

use crate::mesh::msg::{ConnRef, Login};

use partial::Partial;
use rate::Buckets;
use send_queue::SendQueue;
use tls::TlsSession;

/// Where a connection stands between accept and reuse of its slot.
///
/// ```text
/// Free ─accept─▶ Upgrade ─101─▶ WaitAuth ─op 7─▶ Deciding ─allowed─▶ Registering ─directory knows─▶ Online
///                (TCP starts in WaitAuth)                                                               │
/// Free ◀─Closed─ Gone ◀─EOF or deadline─ Lingering ◀─all sent, FIN─ Closing ◀────any of them, a reason──┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnState {
    /// The slot is not in use.
    Free,
    /// The HTTP upgrade request is not whole yet.
    Upgrade,
    /// Waiting for op 7; anything else is read and ignored (goim §1.3).
    WaitAuth,
    /// An authority looks at the token; bytes that follow wait.
    Deciding,
    /// The directory is being told; bytes that follow wait.
    Registering,
    /// Logged in.
    Online,
    /// Ending: what is queued goes out, what still comes is thrown away.
    Closing,
    /// FIN is sent; whatever the peer still sends is thrown away until it closes too.
    Lingering,
    /// The descriptor is being closed.
    Gone,
}

impl ConnState {
    /// Not yet logged in.
    pub fn is_handshake(self) -> bool {
        matches!(self, ConnState::Upgrade | ConnState::WaitAuth | ConnState::Deciding | ConnState::Registering)
    }

    /// Frames of the client still count.
    pub fn is_open(self) -> bool {
        self.is_handshake() || self == ConnState::Online
    }

    /// What `GET /v1/connections` calls it.
    pub fn label(self) -> &'static str {
        match self {
            ConnState::Free | ConnState::Gone => "closed",
            ConnState::Upgrade | ConnState::WaitAuth => "handshake",
            ConnState::Deciding | ConnState::Registering => "auth",
            ConnState::Online => "online",
            ConnState::Closing | ConnState::Lingering => "closing",
        }
    }
}

/// Yes-or-no facts of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Speaks WebSocket.
    pub const WEBSOCKET: Flags = Flags(1);
    /// In the list of connections to flush.
    pub const DIRTY: Flags = Flags(1 << 1);
    /// The kernel took less than it was given: nothing may be sent before it says writable.
    pub const STALLED: Flags = Flags(1 << 2);
    /// A receive is outstanding.
    pub const RECEIVING: Flags = Flags(1 << 3);
    /// The socket may hold unread bytes that no receive is outstanding for.
    pub const UNREAD: Flags = Flags(1 << 4);
    /// Received bytes wait because a request is being decided or replies pile up.
    pub const PAUSED: Flags = Flags(1 << 5);
    /// The peer will say no more. What still comes, behind a goodbye inside TLS, is nobody's.
    pub const PEER_CLOSED: Flags = Flags(1 << 6);
    /// Feed was told of this login.
    pub const REGISTERED: Flags = Flags(1 << 7);
    /// In the list of connections with news for feed.
    pub const NEWS: Flags = Flags(1 << 8);
    /// Reported to a trace.
    pub const TRACED: Flags = Flags(1 << 9);
    /// Counted against its source address.
    pub const ADDRESS_HELD: Flags = Flags(1 << 10);
    /// At least one byte came.
    pub const SPOKE: Flags = Flags(1 << 11);
    /// The end of the socket's stream was read: nothing unread can turn a close into a reset.
    pub const STREAM_ENDED: Flags = Flags(1 << 12);
    /// The peer's address is known or will stay unknown.
    pub const PEER_KNOWN: Flags = Flags(1 << 13);
    /// In the list of connections whose replies pile up.
    pub const THROTTLED: Flags = Flags(1 << 15);
    /// Closed for good as soon as feed knows.
    pub const CLOSE_NOW: Flags = Flags(1 << 14);

    /// Whether the fact holds.
    pub fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    /// The fact holds from now on.
    pub fn set(&mut self, flag: Flags) {
        self.0 |= flag.0;
    }

    /// The fact holds no longer.
    pub fn clear(&mut self, flag: Flags) {
        self.0 &= !flag.0;
    }

    /// Whether the fact held; it holds no longer.
    pub fn take(&mut self, flag: Flags) -> bool {
        let had = self.has(flag);
        self.clear(flag);
        had
    }
}

/// The index that names no room.
pub const NO_ROOM: u32 = u32::MAX;

/// What a login keeps until the auth reply is out.
#[derive(Debug)]
pub struct PendingLogin {
    /// Version of the op 7, echoed in its reply.
    pub version: i16,
    /// Sequence number of the op 7, echoed in its reply.
    pub seq: i32,
    /// Who logs in, once decided.
    pub identity: Identity,
    /// What feed has not been told yet.
    pub login: Option<Box<Login>>,
    /// Room to join, held open; [`NO_ROOM`] for none.
    pub room: u32,
}

/// What waits for feed or an authority on an online connection.
#[derive(Debug)]
pub enum PendingRequest {
    /// Op 12 into a room that feed does not know of yet.
    ChangeRoom {
        /// Version of the request, echoed in its reply.
        version: i16,
        /// Sequence number of the request, echoed in its reply.
        seq: i32,
        /// The room, held open.
        room: u32,
    },
    /// A second op 7 with a fresh token.
    Refresh {
        /// Version of the request, echoed in its reply.
        version: i16,
        /// Sequence number of the request, echoed in its reply.
        seq: i32,
    },
}

/// What only some connections have.
#[derive(Debug, Default)]
pub struct Extra {
    /// What ops 12 and 14 may reach; `None` = anything.
    pub authority: Option<Arc<Authority>>,
    /// When the token ends, in seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
    /// A request under way.
    pub request: Option<PendingRequest>,
}

/// One connection. Idle ones keep nothing outside this struct.
#[derive(Debug)]
pub struct Conn {
    /// What waits to be sent.
    pub queue: SendQueue,
    /// Received bytes that are no whole frame yet.
    pub partial: Option<Box<Partial>>,
    /// Encryption between the socket and everything else, on TLS listeners.
    pub tls: Option<Box<TlsSession>>,
    /// The login under way.
    pub login: Option<Box<PendingLogin>>,
    /// What only some connections have, made on demand.
    pub extra: Option<Box<Extra>>,
    /// Member id, 0 for none.
    pub mid: i64,
    address: [u8; 16],
    port: u16,
    /// Yes-or-no facts.
    pub flags: Flags,
    /// Where it stands between accept and reuse of its slot.
    pub state: ConnState,
    /// Number of times the slot was taken, wrapping: tells its owners apart.
    pub generation: u32,
    /// Index of the room, [`NO_ROOM`] for none.
    pub room: u32,
    /// Position in the room's member list.
    pub room_position: u32,
    /// Interned set of accepted ops.
    pub accepts: u32,
    /// Index of the send under way in this turn's flights.
    pub flight: u32,
    /// Pushes dropped since its accept because it read too slowly.
    pub drops: u32,
    /// Seconds since the Unix epoch at accept.
    pub accepted_unix_s: u32,
    /// Tick of the last heartbeat or login.
    pub heartbeat_tick: u32,
    /// Token buckets of frames, bytes and changes of room.
    pub buckets: Buckets,
}

impl Conn {
    /// A slot nobody uses.
    pub fn free() -> Conn {
        Conn {
            queue: SendQueue::new(),
            partial: None,
            tls: None,
            login: None,
            extra: None,
            mid: 0,
            address: [0; 16],
            port: 0,
            flags: Flags::default(),
            state: ConnState::Free,
            generation: 0,
            room: NO_ROOM,
            room_position: 0,
            accepts: 0,
            flight: 0,
            drops: 0,
            accepted_unix_s: 0,
            heartbeat_tick: 0,
            buckets: Buckets::default(),
        }
    }

    /// Give the slot to its next owner, or to nobody: everything but the generation is forgotten.
    pub fn reset(&mut self, generation: u32) {
        *self = Conn { generation, ..Conn::free() };
    }

    /// Speaks WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.flags.has(Flags::WEBSOCKET)
    }

    /// The identity of this connection in `slot`.
    pub fn reference(&self, slot: u32) -> ConnRef {
        ConnRef { slot, generation: self.generation }
    }

    /// Who is at the other end, if known.
    pub fn peer(&self) -> Option<SocketAddr> {
        if self.address == [0; 16] && self.port == 0 {
            return None;
        }
        Some(SocketAddr::new(Ipv6Addr::from(self.address).to_canonical(), self.port))
    }

    /// Remember who is at the other end.
    pub fn set_peer(&mut self, peer: SocketAddr) {
        self.address = match peer.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        self.port = peer.port();
    }

    /// The rarely used part, made on demand.
    pub fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// A request waits for feed or an authority.
    pub fn has_request(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.request.is_some())
    }
}

const _: () = assert!(size_of::<Conn>() <= 144, "an idle connection pays for every byte of Conn");
