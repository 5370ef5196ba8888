//! Pushes as strangers send them: each on a connection of its own, at its time, whatever became of the others, and
//! never twice. Owns the words of HTTP that this takes, and what an answer means for what may appear.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::ledger::{Answer, Ledger, PushId, Stream};

/// Longer than any answer of ours may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);
/// The operation of every push.
pub const OP: i32 = 1000;

/// Sends the next push of a stream through this door, and notes what it is answered.
pub async fn push(ledger: Arc<Ledger>, door: SocketAddr, stream: Stream) {
    let id = ledger.sent(stream, Instant::now());
    let answer = tokio::time::timeout(ANSWER_WITHIN, post(door, id)).await.unwrap_or(Answer::Unknown);
    ledger.answered(id, answer, Instant::now());
}

async fn post(door: SocketAddr, id: PushId) -> Answer {
    let target = match id.stream {
        Stream::Key(key) => serde_json::json!({ "key": key_name(key) }),
        Stream::Mid(mid) => serde_json::json!({ "mid": mid }),
        Stream::Room(room) => serde_json::json!({ "room": room_name(room) }),
    };
    let body = serde_json::json!({ "target": target, "op": OP, "text": id.text() }).to_string();
    // What was never connected was never sent.
    let Ok(mut connection) = TcpStream::connect(door).await else { return Answer::Refused };
    let request = format!(
        "POST /v1/push HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    if connection.write_all(request.as_bytes()).await.is_err() {
        return Answer::Unknown;
    }
    let mut answer = Vec::new();
    // An answer that came stands, however the connection ended after it.
    let _ = connection.read_to_end(&mut answer).await;
    match status(&answer) {
        Some(200) => Answer::Accepted,
        Some(429 | 503) => Answer::Refused,
        Some(504) | None => Answer::Unknown,
        Some(other) => panic!("{id:?} was answered with {other}: {}", String::from_utf8_lossy(&answer)),
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.get(..12)?).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// Whether a program serves and says that it is ready.
pub async fn is_ready(http: SocketAddr) -> bool {
    get(http, "/readyz").await.is_some_and(|answer| status(&answer) == Some(200))
}

/// The sum of a metric of a program over all of its labels.
pub async fn metric(http: SocketAddr, name: &str) -> f64 {
    let answer = get(http, "/metrics").await.expect("it serves");
    let text = String::from_utf8_lossy(&answer);
    let of_it = |line: &str| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    };
    let values: Vec<f64> = text.lines().filter_map(of_it).collect();
    assert!(!values.is_empty(), "there is no metric {name}");
    values.iter().sum()
}

async fn get(http: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let asked = async {
        let mut connection = TcpStream::connect(http).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(Duration::from_secs(2), asked).await.ok().flatten()
}

/// As the login's token and a push name it.
pub fn key_name(key: u32) -> String {
    format!("key-{key}")
}

/// As the login's token names it, type and number.
pub fn room_name(room: u32) -> String {
    format!("chaos://{room}")
}
