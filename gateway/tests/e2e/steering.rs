//! Full shards: no client is refused while any shard has room (architecture: accept).

use crate::support::client::End;
use crate::support::gateway::Start;
use crate::support::*;

/// With two shards of 10 places every one of the 20 is used, wherever the kernel's hash sends the connections; the 21st
/// is refused, and a place that gets free is used again.
#[test]
fn every_slot_of_every_shard_is_usable() {
    let gateway = Start::new().shards(2).config("max_connections = 20").run();
    for round in 0..3 {
        let mut clients: Vec<Client> =
            (0..20).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, &format!("k{n}"), "", &[1000])).collect();
        let metrics = gateway.metrics();
        for shard in ["0", "1"] {
            let there = metrics.sum("halley_connections_authenticated", &[("shard", shard)]);
            assert_eq!(there, 10.0, "round {round}: shard {shard} is full");
        }
        eventually("a client too many is refused", || match WsClient::connect_or_end(gateway.ws()) {
            Some(mut client) => (client.next() == Err(End::Frame(1013))).then_some(()),
            None => Some(()),
        });
        assert_eq!(gateway.push_all(1000, "all"), 20);
        for client in &mut clients {
            assert_eq!(client.receive().text(), "all");
        }
        // A place that gets free is taken by the next one.
        drop(clients.swap_remove(7));
        gateway.wait_metric("halley_connections_authenticated", &[], 19.0);
        clients.push(eventually("the free place is used", || {
            let mut client = Client::Tcp(TcpClient::connect(gateway.tcp()));
            client.send(&Frame::new(op::AUTH, 1, "{}"));
            client.next().ok().map(|_| client)
        }));
        drop(clients);
        gateway.wait_metric("halley_connections", &[], 0.0);
    }
}
