//! The delivery path allocates nothing: a whole shard on a real ring delivers to TCP and WebSocket clients over loopback, and a
//! counting allocator watches the shard's thread. The test plays feed and the clients.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use halley_gateway::io::uring::{UringConfig, UringIo};
use halley_gateway::limits::{SPARE_SLOTS, ShardSettings};
use halley_gateway::mesh::msg::{ConnRef, ControlToShard, FeedToShard, RoomRef, ShardPush, ShardTarget, ShardToFeed};
use halley_gateway::mesh::port::{self, Receiver, Sender};
use halley_gateway::mesh::wake::Doorbell;
use halley_gateway::shard::stats::ShardStats;
use halley_gateway::shard::{Application, Listener, Shard, ShardLinks, ShardParts, Transport};
use halley_protocol::payload::Payload;

/// Clients of each transport.
const CLIENTS: usize = 64;
/// Pushes of a round: half to the room, half to one connection after the other.
const PUSHES: usize = 512;
/// What one client gets of a round.
const EACH: usize = PUSHES / 2 + PUSHES / 2 / (2 * CLIENTS);
const PATIENCE: Duration = Duration::from_secs(20);

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count() {
    if WATCHED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes on to the system's allocator unchanged; counting touches no memory of its own.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised us.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Feed's end of the shard, and control's.
struct Rig {
    to_shard: Sender<FeedToShard>,
    from_shard: Receiver<ShardToFeed>,
    control: Sender<ControlToShard>,
    stats: Arc<ShardStats>,
    conns: Vec<ConnRef>,
    room: Option<RoomRef>,
    shard: Option<std::thread::JoinHandle<()>>,
}

impl Rig {
    fn start() -> (Rig, [SocketAddr; 2]) {
        let listeners =
            [Transport::Tcp, Transport::WebSocket].map(|transport| Listener { owner: 0, transport, tls: false });
        let sockets = listeners.map(|_| TcpListener::bind("127.0.0.1:0").expect("a listener"));
        let addresses = [0, 1].map(|index: usize| sockets[index].local_addr().expect("an address"));
        let bell = || Arc::new(Doorbell::new().expect("a doorbell"));
        let (doorbell, feed_bell) = (bell(), bell());
        let (to_shard, from_feed) = port::channel(4096, Arc::clone(&doorbell));
        let (to_feed, from_shard) = port::channel(4096, Arc::clone(&feed_bell));
        let (control, from_control) = port::channel(64, Arc::clone(&doorbell));
        let (to_control, _reports) = port::channel(64, feed_bell);
        let stats = Arc::new(ShardStats::default());
        let parts = ShardParts {
            index: 0,
            listeners: listeners.into(),
            capacity: 1024,
            settings: Arc::new(ShardSettings::default()),
            quota: Arc::default(),
            stats: Arc::clone(&stats),
            seed: [7; 32],
            application: Application::Goim,
        };
        let shard = std::thread::spawn(move || {
            let sockets = sockets.map(|socket| Arc::new(socket.into())).into();
            let io =
                UringIo::new(UringConfig::new(1024 + SPARE_SLOTS, sockets, Arc::clone(&doorbell))).expect("a ring");
            let links = ShardLinks { from_feed, to_feed, from_control, to_control, doorbell };
            let mut shard = Shard::new(io, links, parts);
            WATCHED.set(true);
            shard.run();
            WATCHED.set(false);
        });
        (Rig { to_shard, from_shard, control, stats, conns: Vec::new(), room: None, shard: Some(shard) }, addresses)
    }

    /// Answers the shard as feed does, until so many logins are known.
    fn answer_until(&mut self, logins: usize) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.conns.len() < logins {
            assert!(std::time::Instant::now() < deadline, "{} of {logins} logins came", self.conns.len());
            match self.from_shard.pop() {
                Some(ShardToFeed::Register { conn, .. }) => {
                    self.conns.push(conn);
                    self.send(FeedToShard::Registered { conn });
                }
                Some(ShardToFeed::Room { room, name: Some(_), .. }) => {
                    self.room = Some(room);
                    self.send(FeedToShard::Room { room, others: 0 });
                }
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn send(&mut self, message: FeedToShard) {
        assert!(self.to_shard.push(message).is_ok(), "the ring has room");
        self.to_shard.flush();
    }

    /// One round of pushes, each seen by the shard at once, or all of them in the same instant.
    fn push_round(&mut self, together: bool) {
        for number in 0..PUSHES {
            let room = self.room.expect("the room is known");
            let target = match number % 2 {
                0 => ShardTarget::Room(room),
                _ => ShardTarget::Conn(self.conns[number / 2 % self.conns.len()]),
            };
            let payload = Some(Arc::new(Payload::message(1000, b"{\"test\":1}")));
            let push = ShardPush { target, op: 1000, payload, receipt: 0 };
            assert!(self.to_shard.push(FeedToShard::Push(push)).is_ok(), "the ring has room");
            if !together || number == PUSHES - 1 {
                self.to_shard.flush();
            }
            while self.from_shard.pop().is_some() {}
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.control.push(ControlToShard::Stop).is_ok() {
            self.control.flush();
        }
        if let Some(shard) = self.shard.take() {
            let _ = shard.join();
        }
    }
}

/// A client that logs in; `websocket` upgrades first.
fn client(to: SocketAddr, websocket: bool, key: usize) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("the listener accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let token = format!(r#"{{"mid":1,"key":"{key}-{websocket}","room_id":"live://1","accepts":[1000]}}"#);
    let mut frame = u32::try_from(16 + token.len()).expect("short").to_be_bytes().to_vec();
    frame.extend([0, 16, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1]);
    frame.extend(token.as_bytes());
    if websocket {
        stream
            .write_all(
                b"GET /sub HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .expect("sent");
        let length = u8::try_from(frame.len()).expect("short");
        frame.splice(0..0, [0x82, 0x80 | length, 0, 0, 0, 0]);
    }
    stream.write_all(&frame).expect("sent");
    stream
}

/// Hundreds of thousands of deliveries over TCP and WebSocket, to a room and to single connections, allocate nothing. Two
/// first rounds come in one piece each, so that every queue has once been as long as it can get: queues keep their size.
/// What remains are the few tables of a turn (events, sends in flight), one each for the whole shard: they double when a turn
/// has more to do than any before it, a handful of times in the life of a shard, which scheduling decides.
#[test]
fn deliveries_allocate_nothing() {
    let (mut rig, [tcp, websocket]) = Rig::start();
    let mut clients: Vec<(TcpStream, bool)> = (0..2 * CLIENTS)
        .map(|number| {
            let is_websocket = number % 2 == 1;
            let to = if is_websocket { websocket } else { tcp };
            (client(to, is_websocket, number), is_websocket)
        })
        .collect();
    rig.answer_until(2 * CLIENTS);
    for (stream, is_websocket) in &mut clients {
        let head = if *is_websocket { 129 + 18 } else { 16 };
        stream.read_exact(&mut vec![0; head]).expect("the upgrade's answer and the auth reply");
    }
    let mut round = |rig: &mut Rig, together: bool| {
        rig.push_round(together);
        for (stream, is_websocket) in &mut clients {
            let bytes = if *is_websocket { 44 } else { 26 };
            stream.read_exact(&mut vec![0; bytes * EACH]).expect("the room's pushes and its own");
        }
    };
    for together in [true, true, false] {
        round(&mut rig, together);
    }
    let mut rounds = [0; 8];
    let before = rig.stats.read().deliveries;
    for allocations in &mut rounds {
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        round(&mut rig, false);
        *allocations = ALLOCATIONS.load(Ordering::SeqCst) - before;
    }
    let delivered = rig.stats.read().deliveries - before;
    assert_eq!(delivered, (8 * EACH * 2 * CLIENTS) as u64, "all of these deliveries were watched");
    assert!(
        rounds.contains(&0) && rounds.iter().sum::<u64>() <= 16,
        "allocations of {delivered} deliveries: {rounds:?}"
    );
}
