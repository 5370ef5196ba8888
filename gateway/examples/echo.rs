//! A WebSocket echo server for conformance tests, in the strict profile, over the gateway's own shard, connection and
//! ring code. Owns one shard, its loopback listener, and what it does with a message; it has no feed, no control and no
//! login, and is never installed. It serves until it is killed or its standard input ends; `gateway/tests/autobahn.py`
//! starts it.

use std::io::Read;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use halley_gateway::io::uring::{UringConfig, UringIo};
use halley_gateway::limits::{Rate, ShardSettings, WebSocketProfile};
use halley_gateway::mesh::msg::ControlToShard;
use halley_gateway::mesh::port;
use halley_gateway::mesh::wake::Doorbell;
use halley_gateway::shard::application::{Application, Message};
use halley_gateway::shard::stats::ShardStats;
use halley_gateway::shard::{Listener, Shard, ShardLinks, ShardParts, Transport};
use halley_service::panics;

/// Longest message echoed: conformance suites send 16 MiB.
const MESSAGE_BYTES_MAX: u32 = 64 * 1024 * 1024;
const CAPACITY: u32 = 256;

/// Every message comes back.
struct Echo;

impl Application for Echo {
    const LOGIN: bool = false;

    fn read<'m>(&self, message: &'m [u8], text: bool) -> Message<'m> {
        Message::Answered { text, answer: message }
    }
}

fn main() -> ExitCode {
    panics::end_process("echo", 1, || {});
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ws://{}/sub", listener.local_addr()?);
    let doorbell = Arc::new(Doorbell::new()?);
    let (mut stop, from_control) = port::channel(64, doorbell.clone());
    let (_feed, from_feed) = port::channel(64, doorbell.clone());
    let (to_feed, _from_shard) = port::channel(64, doorbell.clone());
    let (to_control, _reports) = port::channel(64, doorbell.clone());
    let links = ShardLinks { from_feed, to_feed, from_control, to_control, doorbell: doorbell.clone() };
    let unlimited = Rate { per_second: 0, burst: 0 };
    let settings = ShardSettings {
        websocket_profile: WebSocketProfile::Strict,
        message_bytes_max: MESSAGE_BYTES_MAX,
        frames: unlimited,
        bytes: unlimited,
        ..ShardSettings::default()
    };
    let parts = ShardParts {
        index: 0,
        listeners: vec![Listener { owner: 0, transport: Transport::WebSocket, tls: false }],
        open: true,
        capacity: CAPACITY,
        settings: Arc::new(settings),
        quota: Arc::default(),
        stats: Arc::new(ShardStats::default()),
        seed: [0; 32],
        application: Echo,
    };
    std::thread::spawn(move || {
        // Ends with the process that started it, which holds the other end of the pipe.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        if stop.push(ControlToShard::Stop).is_ok() {
            stop.flush();
        }
    });
    let slots = CAPACITY + halley_gateway::limits::SPARE_SLOTS;
    let io = UringIo::new(UringConfig::new(slots, vec![Arc::new(listener.into())], doorbell))?;
    Shard::new(io, links, parts).run();
    Ok(())
}
