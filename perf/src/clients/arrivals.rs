//! Notes when numbered pushes arrive. Owns the clients' sockets and a thread that waits for all of them, takes the time
//! once for whatever a read brought, and keeps a number with its time; who was to get what is the scenario's matter. A
//! server that closes a connection, or sends what nobody pushed, ends it with an error.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::failure::{Doing, Failure, Result};
use crate::wire::{HEADER_BYTES, PUSH_OP, frame_header};

/// Longest sleep before looking whether it is over, in nanoseconds.
const LOOK_NS: i64 = 50_000_000;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// A numbered push that reached a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Which client, from 0.
    pub client: usize,
    /// The number in its body.
    pub number: u64,
    /// When its bytes were read.
    pub at: Instant,
}

/// Clients that wait for pushes.
pub(crate) struct Arrivals {
    enough: Arc<AtomicBool>,
    reader: JoinHandle<Result<Vec<Arrival>>>,
}

impl Arrivals {
    /// Of clients that talk TCP and are logged in.
    pub(crate) fn watch(streams: Vec<TcpStream>) -> Result<Arrivals> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).doing(|| "watch the clients")?;
        let mut clients = Vec::with_capacity(streams.len());
        for (index, stream) in (0..).zip(streams) {
            stream.set_nonblocking(true).doing(|| "read without waiting")?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(index), epoll::EventFlags::IN)
                .doing(|| "watch the clients")?;
            clients.push(Client { stream, partial: Vec::new() });
        }
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let reader = std::thread::Builder::new()
            .name("arrivals".to_owned())
            .spawn(move || read_all(&epoll, clients, &told))
            .doing(|| "watch the clients")?;
        Ok(Arrivals { enough, reader })
    }

    /// End it, and get what arrived in the order of reading.
    pub(crate) fn end(self) -> Result<Vec<Arrival>> {
        self.enough.store(true, Ordering::Release);
        self.reader.join().map_err(|_| Failure::new("the clients' thread broke off"))?
    }
}

struct Client {
    stream: TcpStream,
    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
}

fn read_all(epoll: &OwnedFd, mut clients: Vec<Client>, enough: &AtomicBool) -> Result<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    let mut events: Vec<epoll::Event> = Vec::with_capacity(clients.len());
    let mut buffer = vec![0; READ_BYTES];
    while !enough.load(Ordering::Acquire) {
        match epoll::wait(epoll, spare_capacity(&mut events), Some(&Timespec { tv_sec: 0, tv_nsec: LOOK_NS })) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).doing(|| "watch the clients"),
        }
        for event in events.drain(..) {
            let client = usize::try_from(event.data.u64()).expect("an index of ours");
            let bytes = match clients[client].stream.read(&mut buffer) {
                Ok(0) => return Err(Failure::new(format!("the server closed client {client}"))),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).doing(|| format!("read client {client}")),
            };
            let at = Instant::now();
            let partial = &mut clients[client].partial;
            partial.extend_from_slice(&buffer[..bytes]);
            let used = numbers(partial, |number| arrivals.push(Arrival { client, number, at }))?;
            partial.drain(..used);
        }
    }
    Ok(arrivals)
}

/// The numbers in the whole frames at the beginning of `bytes`; returns how many bytes these have.
fn numbers(bytes: &[u8], mut each: impl FnMut(u64)) -> Result<usize> {
    let mut used = 0;
    while let Some((op, length)) = frame_header(&bytes[used..]) {
        if length < HEADER_BYTES {
            return Err(Failure::new(format!("a client received a frame of {length} bytes")));
        }
        let Some(frame) = bytes.get(used..used + length) else { break };
        if op != PUSH_OP {
            return Err(Failure::new(format!("a client received a frame of op {op}, which nobody pushed")));
        }
        let number = std::str::from_utf8(&frame[HEADER_BYTES..]).ok().and_then(|text| text.parse().ok());
        each(number.ok_or_else(|| Failure::new("a client received a push without a number, which nobody pushed"))?);
        used += length;
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    /// Cut anywhere, the whole frames are taken and the rest is left.
    #[test]
    fn whole_frames_are_read_however_they_are_cut() {
        let bytes = [frame(PUSH_OP, 0, b"0000000007"), frame(PUSH_OP, 0, b"0000000012")].concat();
        for cut in 0..=bytes.len() {
            let mut found = Vec::new();
            let used = numbers(&bytes[..cut], |number| found.push(number)).expect("as pushed");
            assert_eq!(used, cut / 26 * 26);
            assert_eq!(found, [7, 12][..cut / 26]);
        }
    }

    #[test]
    fn what_nobody_pushed_is_an_error() {
        for bytes in [frame(PUSH_OP, 0, b"no number"), frame(3, 0, b"0000000001"), vec![0; HEADER_BYTES]] {
            assert!(numbers(&bytes, |_| {}).is_err(), "{bytes:?}");
        }
    }
}
