//! Proves that delivering allocates nothing: a real shard on a real ring, TCP and WebSocket clients on loopback, pushes
//! to a key, a room and everybody; every allocation of the shard's thread is counted while they go from its inbox to
//! the sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use halley_gateway::io::uring::{UringConfig, UringIo};
use halley_gateway::limits::{SPARE_SLOTS, ShardSettings};
use halley_gateway::mesh::msg::{ConnRef, FeedToShard, RoomRef, ShardPush, ShardTarget, ShardToFeed};
use halley_gateway::mesh::port::{self, Receiver, Sender};
use halley_gateway::mesh::wake::Doorbell;
use halley_gateway::shard::application::Goim;
use halley_gateway::shard::stats::ShardStats;
use halley_gateway::shard::{Listener, Now, Shard, ShardLinks, ShardParts, Transport};
use halley_protocol::goim::{Frame, op};
use halley_protocol::payload::Payload;

const CLIENTS: usize = 100;
const PUSHES: usize = 60;
const WARM_PUSHES: usize = 60;
const OP: i32 = 1000;
/// Length of a push's body.
const BODY_DIGITS: usize = 10;
/// Nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    shard: Shard<UringIo>,
    to_shard: Sender<FeedToShard>,
    from_shard: Receiver<ShardToFeed>,
    now: Now,
    conns: Vec<ConnRef>,
    room: Option<RoomRef>,
}

impl Bench {
    fn new(listeners: Vec<TcpListener>) -> Bench {
        let doorbell = Arc::new(Doorbell::new().expect("an eventfd"));
        let (to_shard, from_feed) = port::channel(1024, doorbell.clone());
        let (to_feed, from_shard) = port::channel(1024, doorbell.clone());
        let (_, from_control) = port::channel(64, doorbell.clone());
        let (to_control, _) = port::channel(64, doorbell.clone());
        let capacity = 256;
        let parts = ShardParts {
            index: 0,
            listeners: [Transport::Tcp, Transport::WebSocket]
                .map(|transport| Listener { owner: 0, transport, tls: false })
                .to_vec(),
            open: true,
            capacity,
            settings: Arc::new(ShardSettings::default()),
            quota: Arc::default(),
            stats: Arc::new(ShardStats::default()),
            seed: [1; 32],
            application: Goim,
        };
        let sockets = listeners.into_iter().map(|listener| Arc::new(listener.into())).collect();
        let config = UringConfig::new(capacity + SPARE_SLOTS, sockets, doorbell.clone());
        let io = UringIo::new(config).unwrap_or_else(|error| panic!("{error}"));
        let links = ShardLinks { from_feed, to_feed, from_control, to_control, doorbell };
        let shard = Shard::new(io, links, parts);
        Bench { shard, to_shard, from_shard, now: Now::default(), conns: Vec::new(), room: None }
    }

    fn turn(&mut self) {
        self.now.ms += 1;
        self.shard.turn(self.now);
    }

    /// Play the directory until every client is logged in.
    fn log_in(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.turn();
            while let Some(news) = self.from_shard.pop() {
                let answer = match news {
                    ShardToFeed::Register { conn, .. } => {
                        self.conns.push(conn);
                        FeedToShard::Registered { conn }
                    }
                    ShardToFeed::Room { room, name: Some(_), .. } => {
                        self.room = Some(room);
                        FeedToShard::Room { room, others: 0 }
                    }
                    _ => continue,
                };
                self.to_shard.push(answer).expect("room in the ring");
            }
            self.to_shard.flush();
            if self.shard.counts().authenticated == CLIENTS as u64 {
                return;
            }
        }
        panic!("{} of {CLIENTS} clients are logged in", self.shard.counts().authenticated);
    }

    /// Deliver a prepared push and let it leave.
    fn deliver(&mut self, push: ShardPush) {
        self.to_shard.push(FeedToShard::Push(push)).expect("room in the ring");
        self.to_shard.flush();
        for _ in 0..3 {
            self.turn();
        }
    }

    fn pushes(&self, count: usize) -> Vec<ShardPush> {
        let payload = |index: usize| Some(Arc::new(Payload::message(OP, format!("{index:0BODY_DIGITS$}").as_bytes())));
        let target = |index: usize| match index % 4 {
            0 => ShardTarget::Conn(self.conns[index % CLIENTS]),
            1 => ShardTarget::Conns(self.conns.clone().into()),
            2 => ShardTarget::Room(self.room.expect("a room")),
            _ => ShardTarget::All { per_second: 0 },
        };
        (0..count)
            .map(|index| ShardPush {
                target: target(index),
                op: OP,
                payload: payload(index),
                receipt: 0,
                written_ms: 1,
            })
            .collect()
    }
}

fn client(address: SocketAddr, websocket: bool, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the listener queues us");
    let token =
        format!("{{\"mid\":{},\"key\":\"key{number}\",\"room_id\":\"live://1\",\"accepts\":[{OP}]}}", number + 1);
    let mut frame = Vec::new();
    Frame { version: 1, op: op::AUTH, seq: 1, body: token.as_bytes() }.encode(&mut frame);
    if websocket {
        let upgrade = "GET /sub HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).expect("room in the socket");
        let length = u8::try_from(frame.len()).expect("a short token");
        assert!(length < 126);
        stream.write_all(&[0x82, 0x80 | length, 0, 0, 0, 0]).expect("room in the socket");
    }
    stream.write_all(&frame).expect("room in the socket");
    stream.set_nonblocking(true).expect("a socket");
    stream
}

/// Reads until so many pushes have come to all clients together, and returns what came to each. The shard goes on
/// meanwhile: what did not fit a socket leaves when there is room.
fn read_pushes(bench: &mut Bench, clients: &mut [TcpStream], pushes: u64) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = vec![0; 65_536];
    let mut came = vec![Vec::new(); clients.len()];
    loop {
        for (client, came) in clients.iter_mut().zip(&mut came) {
            match client.read(&mut buffer) {
                Ok(0) => panic!("the shard keeps its clients"),
                Ok(bytes) => came.extend_from_slice(&buffer[..bytes]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        let count = came.iter().map(|bytes| pushes_in(bytes)).sum::<u64>();
        assert!(count <= pushes, "{count} pushes of {pushes}");
        if count == pushes {
            return came;
        }
        assert!(Instant::now() < deadline, "{count} of {pushes} pushes came");
        bench.turn();
    }
}

/// Bodies of pushes are ten digits, which nothing else is: headers are binary, an upgrade's answer has no so long a
/// number.
fn pushes_in(bytes: &[u8]) -> u64 {
    let digits = bytes.split(|byte| !byte.is_ascii_digit()).map(|run| run.len() / BODY_DIGITS).sum::<usize>();
    digits as u64
}

/// From the inbox to the socket of every client: no allocation, and every byte arrives.
#[test]
fn deliveries_allocate_nothing() {
    let listeners =
        [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback")).into_iter().collect::<Vec<_>>();
    let addresses: Vec<SocketAddr> = listeners.iter().map(|it| it.local_addr().expect("bound")).collect();
    let mut bench = Bench::new(listeners);
    let mut clients: Vec<TcpStream> =
        (0..CLIENTS).map(|number| client(addresses[number % 2], number % 2 == 1, number)).collect();
    bench.log_in();
    for push in bench.pushes(WARM_PUSHES) {
        bench.deliver(push);
    }
    let warm = bench.shard.counts().deliveries;
    read_pushes(&mut bench, &mut clients, warm);
    let mut pushes = bench.pushes(PUSHES).into_iter().collect::<Vec<_>>();
    let before = bench.shard.counts().deliveries;
    let allocated = allocation_counter::measure(|| {
        while let Some(push) = pushes.pop() {
            bench.deliver(push);
        }
    });
    let delivered = bench.shard.counts().deliveries - before;
    assert_eq!(delivered, (PUSHES / 4 * (1 + 3 * CLIENTS)) as u64);
    // A TCP client gets 26 bytes a push, a WebSocket client 44.
    for (number, came) in read_pushes(&mut bench, &mut clients, delivered).iter().enumerate() {
        let push_bytes = if number % 2 == 1 { 44 } else { 26 };
        assert_eq!(came.len() as u64, pushes_in(came) * push_bytes, "client {number}");
    }
    assert_eq!(allocated.count_total, 0, "allocations during {delivered} deliveries");
}
