//! Pushes over HTTP at a steady rate, whether or not the server keeps up (open loop): each push has a time at which it
//! is meant to be sent, and what comes of it is counted from then, so a slow answer cannot hide the pushes that had to
//! wait behind it. Owns the connections, one a thread, and goim's routes (goim §7), which every goim-compatible server
//! has. A push that is not answered with success is an error.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::failure::{Doing, Failure, Result};
use crate::wire::{PUSH_OP, key_of};

/// Connections at most, and so pushes under way at once.
const CONNECTIONS_MAX: u64 = 64;
/// Pushes a second that one connection is given: answers of up to 100 ms delay no push behind them.
const RATE_PER_CONNECTION: u64 = 10;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes of the longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Whom pushes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// One client after the other, by key.
    Keys {
        /// How many clients there are.
        clients: u32,
    },
    /// The room that all clients are in.
    Room,
}

/// What to push, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Where goim's push routes are.
    pub http: SocketAddr,
    /// Whom it is for.
    pub aim: Aim,
    /// Pushes a second.
    pub rate: u64,
    /// Pushes in all, numbered from 0.
    pub pushes: u64,
    /// When the first is meant to be sent.
    pub start: Instant,
}

impl Schedule {
    /// When a push is meant to be sent.
    pub(crate) fn meant_at(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos(number.saturating_mul(1_000_000_000) / self.rate.max(1))
    }

    /// Push all of it; returns how late each was sent.
    pub(crate) fn run(&self) -> Result<Vec<Duration>> {
        let connections = (self.rate / RATE_PER_CONNECTION).clamp(1, CONNECTIONS_MAX);
        let step = usize::try_from(connections).expect("a small number");
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|first| scope.spawn(move || self.push_some((first..self.pushes).step_by(step))))
                .collect();
            let mut late = Vec::new();
            for thread in threads {
                late.extend(thread.join().map_err(|_| Failure::new("a pushing thread broke off"))??);
            }
            Ok(late)
        })
    }

    fn push_some(&self, numbers: impl Iterator<Item = u64>) -> Result<Vec<Duration>> {
        let stream = TcpStream::connect(self.http).doing(|| format!("connect to {}", self.http))?;
        stream.set_nodelay(true).doing(|| "send at once")?;
        stream.set_read_timeout(Some(ANSWER)).doing(|| "bound the wait for an answer")?;
        let mut stream = BufReader::new(stream);
        let mut late = Vec::new();
        for number in numbers {
            let meant = self.meant_at(number);
            std::thread::sleep(meant.saturating_duration_since(Instant::now()));
            late.push(meant.elapsed());
            stream.get_mut().write_all(self.request(number).as_bytes()).doing(|| format!("send push {number}"))?;
            answered(&mut stream).doing(|| format!("push number {number}"))?;
        }
        Ok(late)
    }

    fn request(&self, number: u64) -> String {
        let target = match self.aim {
            Aim::Keys { clients } => {
                let client = u32::try_from(number % u64::from(clients.max(1))).expect("below a u32");
                format!("keys?operation={PUSH_OP}&keys={}", key_of(client))
            }
            Aim::Room => format!("room?operation={PUSH_OP}&type=perf&room=0"),
        };
        let head = format!("POST /goim/push/{target} HTTP/1.1\r\nHost: {}\r\nContent-Length: 10\r\n\r\n", self.http);
        format!("{head}{number:010}")
    }
}

/// Read one answer and see that it says success.
fn answered(stream: &mut BufReader<TcpStream>) -> Result<()> {
    let (mut status, mut length) = (String::new(), None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).doing(|| "read the answer")? == 0 {
            return Err(Failure::new("the server closed the connection"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok(),
            None if status.is_empty() => line.clone_into(&mut status),
            _ => {}
        }
    }
    let length: usize = length.ok_or_else(|| Failure::new(format!("an answer without a length: {status}")))?;
    if length > ANSWER_BYTES_MAX {
        return Err(Failure::new(format!("an answer of {length} bytes")));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).doing(|| "read the answer")?;
    let code = serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|answer| answer.get("code")?.as_i64());
    if status.contains(" 200 ") && code == Some(0) {
        return Ok(());
    }
    Err(Failure::new(format!("{status}: {}", String::from_utf8_lossy(&body))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times stand however late a push is: they follow from the start and the number alone.
    #[test]
    fn pushes_are_meant_at_even_distances_from_the_start() {
        let start = Instant::now();
        let http = SocketAddr::from(([127, 0, 0, 1], 1));
        let schedule = Schedule { http, aim: Aim::Room, rate: 500, pushes: 10, start };
        assert_eq!(schedule.meant_at(0), start);
        assert_eq!(schedule.meant_at(5), start + Duration::from_millis(10));
    }

    #[test]
    fn keys_go_round_and_bodies_are_numbers_of_ten_digits() {
        let http = SocketAddr::from(([127, 0, 0, 1], 1));
        let aim = Aim::Keys { clients: 3 };
        let schedule = Schedule { http, aim, rate: 1, pushes: 9, start: Instant::now() };
        let (third, sixth) = (schedule.request(2), schedule.request(5));
        assert!(third.contains(&format!("keys={} ", key_of(2))) && third.ends_with("\r\n\r\n0000000002"));
        assert!(sixth.contains(&format!("keys={} ", key_of(2))) && sixth.ends_with("\r\n\r\n0000000005"));
    }
}
