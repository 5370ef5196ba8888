//! Clients that read too slowly: the three policies, their counters, and that nobody else waits (goim C15).

use crate::support::client::{End, narrow};
use crate::support::gateway::Start;
use crate::support::*;

/// Bytes of one push of these tests: a few of them fill the sockets and the queue.
const BODY: usize = 20_000;
/// Queue bound of one connection.
const QUEUE: &str = "[sockets]\nsend_buffer_bytes = 4096\n[queues]\nqueue_bytes_max = 65536\n";

fn start(policy: &str) -> Gateway {
    Start::new().config(&format!("{QUEUE}slow_consumer = \"{policy}\"")).run()
}

/// A client with a small receive buffer that reads nothing yet.
fn slow_reader(gateway: &Gateway, transport: Transport, key: &str) -> Client {
    let mut client = match transport {
        Transport::Tcp => Client::Tcp(TcpClient::connect_narrow(gateway.tcp())),
        Transport::WebSocket => Client::WebSocket(Box::new(WsClient::over(narrow(gateway.ws()), gateway.ws()))),
    };
    client.login(&token(0, key, "test://slow", &[1000]));
    client
}

/// Pushes numbered bodies to a key until `until` says stop; how many were pushed.
fn push_until(gateway: &Gateway, key: &str, until: impl Fn(&metrics::Metrics) -> bool) -> usize {
    for number in 0..2000 {
        gateway.push_key(key, 1000, &body(number));
        if until(&gateway.metrics()) {
            return number + 1;
        }
    }
    panic!("2,000 pushes filled no queue");
}

fn body(number: usize) -> String {
    format!("{number:06}{}", "x".repeat(BODY))
}

fn number(frame: &Frame) -> usize {
    assert_eq!(frame.body.len(), BODY + 6, "a push is whole");
    frame.text()[..6].parse().expect("a number")
}

fn dropped(cause: &str) -> impl Fn(&metrics::Metrics) -> f64 {
    let cause = cause.to_owned();
    move |metrics| metrics.sum("halley_drops_total", &[("cause", &cause)])
}

/// Proves defect C15 is not there: `drop_newest` keeps the first pushes in order, drops what does not fit, counts every
/// drop by its cause, and goes on when the client reads again.
#[test]
fn c15_drop_newest_keeps_the_oldest_and_counts_the_rest() {
    for transport in Transport::BOTH {
        let gateway = start("drop_newest");
        let mut client = slow_reader(&gateway, transport, "slow");
        let pushed = push_until(&gateway, "slow", |metrics| dropped("queue_full")(metrics) >= 5.0);
        let delivered = eventually("every push is counted as queued or dropped", || {
            let metrics = gateway.metrics();
            let drops = dropped("queue_full")(&metrics);
            let queued = (0..=pushed).find(|queued| *queued as f64 == metrics.sum("halley_deliveries_total", &[]));
            queued.filter(|queued| *queued as f64 + drops == pushed as f64)
        });
        // While the client does not read, the kernel may still take some: a push behind a dropped one may find room.
        let seen: Vec<usize> = (0..delivered).map(|_| number(&client.receive())).collect();
        assert_eq!(seen[0], 0, "{transport:?}: the oldest is kept");
        assert!(seen.is_sorted_by(|a, b| a < b), "{transport:?}: what was kept is in order: {seen:?}");
        gateway.push_key("slow", 1000, &body(999_999));
        assert_eq!(number(&client.receive()), 999_999, "{transport:?}: reading again gets new pushes");
    }
}

/// `drop_oldest` makes room for the newest: what arrives is in order, and the last push is among it.
#[test]
fn drop_oldest_keeps_the_newest() {
    for transport in Transport::BOTH {
        let gateway = start("drop_oldest");
        let mut client = slow_reader(&gateway, transport, "slow");
        let pushed = push_until(&gateway, "slow", |metrics| dropped("oldest")(metrics) >= 5.0);
        let mut seen = vec![number(&client.receive())];
        while seen.last() != Some(&(pushed - 1)) {
            seen.push(number(&client.receive()));
        }
        assert!(seen.is_sorted_by(|a, b| a < b), "{transport:?}: {seen:?}");
        gateway.wait_metric("halley_drops_total", &[("cause", "oldest")], (pushed - seen.len()) as f64);
    }
}

/// `close` ends the connection with its own reason and code, after what the kernel had taken.
#[test]
fn close_ends_the_slow_connection() {
    for transport in Transport::BOTH {
        let gateway = start("close");
        let mut client = slow_reader(&gateway, transport, "slow");
        let closes = |metrics: &metrics::Metrics| metrics.sum("halley_closes_total", &[("reason", "slow_consumer")]);
        push_until(&gateway, "slow", |metrics| {
            closes(metrics) > 0.0
                || metrics.sum("halley_queued_bytes", &[]) == 0.0 && metrics.sum("halley_deliveries_total", &[]) > 20.0
        });
        let end = client.wait_end();
        assert!(end == End::Socket || end == End::Frame(4004), "{transport:?}: {end:?}");
        gateway.wait_closes("slow_consumer", 1);
    }
}

/// One full queue never stops another: members of the slow one's room get everything, in order, as it comes, and
/// heartbeats are answered.
#[test]
fn a_slow_member_never_delays_its_room() {
    let gateway = start("drop_newest");
    let _slow = slow_reader(&gateway, Transport::Tcp, "slow");
    let mut fast: Vec<Client> =
        (0..4).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, &format!("fast{n}"), "test://slow", &[])).collect();
    for round in 0..100 {
        gateway.push_room("test://slow", 1000, &body(round));
        for client in &mut fast {
            assert_eq!(number(&client.receive()), round);
        }
    }
    assert!(dropped("queue_full")(&gateway.metrics()) > 0.0, "the slow one missed some");
    assert_eq!(fast[0].heartbeat(), 5);
}

/// Replies are never dropped: a client that asks without reading is read no further, and gets every answer in the end.
#[test]
fn replies_are_never_dropped() {
    let gateway = Start::new()
        .config(
            "[sockets]\nsend_buffer_bytes = 4096\n[limits]\nframes_per_second = 0\n\
             bytes_per_second = 0\nroom_changes_per_second = 0",
        )
        .run();
    let client = slow_reader(&gateway, Transport::Tcp, "asks");
    let Client::Tcp(mut client) = client else { unreachable!("built that way") };
    let mut writer = client.stream.try_clone().expect("a second handle");
    const ASKED: i32 = 3000;
    let asking = std::thread::spawn(move || {
        use std::io::Write as _;
        for seq in 0..ASKED {
            let ask = Frame::new(op::SUBSCRIBE, seq, vec![b'1'; 1000]);
            writer.write_all(&ask.encode()).expect("all is taken in the end");
        }
    });
    gateway.wait_metric("halley_connections_authenticated", &[], 1.0);
    for seq in 0..ASKED {
        let reply = client.next().expect("every request is answered");
        assert_eq!((reply.op, reply.seq, reply.body.len()), (op::SUBSCRIBE_REPLY, seq, 1000));
    }
    asking.join().expect("the writer ends");
}
