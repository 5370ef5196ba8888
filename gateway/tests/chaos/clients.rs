//! Clients of goim's protocol over TCP, written apart from the gateway's decoder. Owns their connections; what comes in
//! goes to the ledger, with the session that it came to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::ledger::{Ledger, PushId, Who};
use crate::pushes::{OP, key_name, room_name};

const AUTH: i32 = 7;
const AUTH_REPLY: i32 = 8;
const RAW: i32 = 9;
const HEADER_BYTES: usize = 16;
/// How long a login may take before it counts as failed.
const LOGIN_WITHIN: Duration = Duration::from_secs(10);

/// One client of one gateway, which logs in again when its connection ends, as apps do.
pub fn stay(ledger: Arc<Ledger>, gateway: SocketAddr, who: Who) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if let Ok(Ok(connection)) = tokio::time::timeout(LOGIN_WITHIN, login(gateway, &who)).await {
                let session = ledger.opened(who.clone(), Instant::now());
                let _ = read(connection, |id| ledger.received(session, id)).await;
                ledger.closed(session, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

/// One that logs in and leaves, again and again, so many a second over all gateways.
pub fn storm(gateways: Vec<SocketAddr>, per_second: u32) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for number in 0_u32.. {
            tick.tick().await;
            let gateway = gateways[number as usize % gateways.len()];
            let who = Who { gateway: 0, key: 1_000_000 + number, mid: 1_000_000 + number, room: 1_000_000 };
            tokio::spawn(tokio::time::timeout(LOGIN_WITHIN, async move { login(gateway, &who).await.map(drop) }));
        }
    })
}

/// Logs in.
pub async fn login(gateway: SocketAddr, who: &Who) -> io::Result<TcpStream> {
    let mut connection = TcpStream::connect(gateway).await?;
    connection.set_nodelay(true)?;
    let token = serde_json::json!({
        "mid": who.mid, "key": key_name(who.key), "room_id": room_name(who.room), "platform": "test", "accepts": [OP],
    });
    let body = token.to_string();
    let mut frame = Vec::new();
    frame.extend_from_slice(&i32::try_from(HEADER_BYTES + body.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(&[0, 16, 0, 1]);
    frame.extend_from_slice(&AUTH.to_be_bytes());
    frame.extend_from_slice(&1_i32.to_be_bytes());
    frame.extend_from_slice(body.as_bytes());
    connection.write_all(&frame).await?;
    let mut header = [0; HEADER_BYTES];
    connection.read_exact(&mut header).await?;
    if int(&header, 8) != AUTH_REPLY || int(&header, 0) != 16 {
        return Err(io::Error::other("the login was refused"));
    }
    Ok(connection)
}

/// Reads until the connection ends.
pub async fn read(mut connection: TcpStream, mut received: impl FnMut(PushId)) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        if connection.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let used = frames(&bytes, &mut |op, body| {
            assert_eq!(op, OP, "nobody pushes anything else");
            received(PushId::parse(body));
        });
        bytes.drain(..used);
    }
}

/// Every whole frame, those within a batch one by one; how many bytes they took.
fn frames(bytes: &[u8], found: &mut impl FnMut(i32, &[u8])) -> usize {
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER_BYTES) {
        let length = usize::try_from(int(header, 0)).expect("a length");
        let Some(body) = bytes.get(at + HEADER_BYTES..at + length) else { break };
        match int(header, 8) {
            RAW => assert_eq!(frames(body, found), body.len(), "a batch holds whole frames"),
            op => found(op, body),
        }
        at += length;
    }
    at
}

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
