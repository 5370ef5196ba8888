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

/// The push as HTTP.
pub fn request(id: PushId) -> String {
    let target = match id.stream {
        Stream::Key(key) => serde_json::json!({ "key": key_name(key) }),
        Stream::Mid(mid) => serde_json::json!({ "mid": mid }),
        Stream::Room(room) => serde_json::json!({ "room": room_name(room) }),
    };
    let body = serde_json::json!({ "target": target, "op": OP, "text": id.text() }).to_string();
    format!(
        "POST /v1/push HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn post(door: SocketAddr, id: PushId) -> Answer {
    let request = request(id);
    // What was never connected was never sent.
    let Ok(mut connection) = TcpStream::connect(door).await else { return Answer::Refused };
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

/// Status and body of an answer; `None` where there is none.
pub async fn ask(door: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut connection = TcpStream::connect(door).await.ok()?;
    connection.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(ANSWER_WITHIN, connection.read_to_end(&mut answer)).await.ok()?;
    let (_, body) = std::str::from_utf8(&answer).ok()?.split_once("\r\n\r\n")?;
    Some((status(&answer)?, body.to_owned()))
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.get(..12)?).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// What a program says there, status and body; `None` where there is no answer.
pub async fn get(http: SocketAddr, path: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    tokio::time::timeout(Duration::from_secs(2), ask(http, &request)).await.ok().flatten()
}

/// Whether a program serves and says that it is ready.
pub async fn is_ready(http: SocketAddr) -> bool {
    get(http, "/readyz").await.is_some_and(|(status, _)| status == 200)
}

/// The sum of a metric of a program over all of its labels.
pub async fn metric(http: SocketAddr, name: &str) -> f64 {
    let (_, text) = get(http, "/metrics").await.expect("it serves");
    let of_it = |line: &str| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    };
    let values: Vec<f64> = text.lines().filter_map(of_it).collect();
    assert!(!values.is_empty(), "there is no metric {name}");
    values.iter().sum()
}

/// As the login's token and a push name it.
pub fn key_name(key: u32) -> String {
    format!("key-{key}")
}

/// As the login's token names it, type and number.
pub fn room_name(room: u32) -> String {
    format!("chaos://{room}")
}
