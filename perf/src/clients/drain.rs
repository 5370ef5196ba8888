//! Reads what servers send, as cheaply as the kernel allows, and counts it for each client. While warming up it
//! compares every byte with what must come; while measuring it lets the kernel throw the bytes away (`MSG_TRUNC`) and
//! counts them.
//!
//! It sleeps a little between sweeps instead of inside `epoll_wait`: on loopback the wake-up of a waiting reader is
//! charged to the sender, so a waiting reader would add the same cost to both sides of a ratio and hide the difference.

use std::net::TcpStream;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::failure::{Doing, Failure, Result};
use crate::wire::Round;

/// The pause between two sweeps.
const NAP: Duration = Duration::from_micros(300);
/// Sockets looked at in one call.
const EVENTS: usize = 4096;
/// A round has begun to arrive when this part of its bytes has: more than one client's.
const BEGUN_SHARE: u64 = 50;
/// Bytes read, or thrown away, in one call.
const READ_BYTES: usize = 64 * 1024;

/// Clients that only read.
pub(crate) struct Drain {
    epoll: std::os::fd::OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    clients: Vec<Client>,
    /// What every client receives for one round.
    wire: Vec<u8>,
    total: u64,
    calls: u64,
    compare: bool,
}

struct Client {
    stream: TcpStream,
    bytes: u64,
}

impl Drain {
    /// Of clients that are logged in and will be sent rounds that look like `wire`.
    pub(crate) fn new(streams: Vec<TcpStream>, wire: Vec<u8>) -> Result<Drain> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).doing(|| "watch the clients")?;
        let mut clients = Vec::with_capacity(streams.len());
        for (index, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true).doing(|| "read without waiting")?;
            let data = epoll::EventData::new_u64(u64::try_from(index).expect("an index fits"));
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN | epoll::EventFlags::ET)
                .doing(|| "watch the clients")?;
            clients.push(Client { stream, bytes: 0 });
        }
        let events = Vec::with_capacity(EVENTS);
        Ok(Drain { epoll, events, buffer: vec![0; READ_BYTES], clients, wire, total: 0, calls: 0, compare: true })
    }

    /// From now on count bytes without looking at them.
    pub(crate) fn stop_comparing(&mut self) {
        self.compare = false;
    }

    /// Rounds that all clients together have received since the start, as far as the sum of their bytes tells.
    pub(crate) fn rounds(&self) -> u64 {
        self.total / self.round_bytes()
    }

    /// Whether the last of `rounds` rounds has begun to arrive, so that the server is at it.
    pub(crate) fn has_begun(&self, rounds: u64) -> bool {
        self.total > (rounds - 1) * self.round_bytes() + self.round_bytes() / BEGUN_SHARE
    }

    /// Receive calls made since the start.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// Nap, then read everything that has come.
    pub(crate) fn sweep(&mut self) -> Result<()> {
        std::thread::sleep(NAP);
        loop {
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&at_once)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).doing(|| "watch the clients"),
            }
            let full = self.events.len() == EVENTS;
            // Taken out for the loop and put back, so that its memory is never allocated again.
            let mut events = std::mem::take(&mut self.events);
            for event in events.drain(..) {
                self.read(usize::try_from(event.data.u64()).expect("an index of ours"))?;
            }
            self.events = events;
            if !full {
                return Ok(());
            }
        }
    }

    /// An error unless every single client has received exactly `rounds` rounds.
    pub(crate) fn verify(&self, rounds: u64) -> Result<()> {
        let expected = rounds * u64::try_from(self.wire.len()).expect("a length fits");
        match self.clients.iter().enumerate().find(|(_, client)| client.bytes != expected) {
            None => Ok(()),
            Some((index, client)) => Err(Failure::new(format!(
                "client {index} received {} bytes where {expected} were pushed to it: the run does not count",
                client.bytes
            ))),
        }
    }

    fn round_bytes(&self) -> u64 {
        u64::try_from(self.wire.len() * self.clients.len()).expect("a length fits").max(1)
    }

    /// Read one client empty, as an edge-triggered watch requires: a read that did not fill its buffer has done so.
    fn read(&mut self, index: usize) -> Result<()> {
        let flags = if self.compare { RecvFlags::DONTWAIT } else { RecvFlags::DONTWAIT | RecvFlags::TRUNC };
        let client = &mut self.clients[index];
        loop {
            self.calls += 1;
            let bytes = match recv(&client.stream, &mut self.buffer[..], flags) {
                Ok((_, 0)) => return Err(Failure::new(format!("the server closed client {index}"))),
                Ok((_, bytes)) => bytes,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error).doing(|| format!("read client {index}")),
            };
            if self.compare && !continues(&self.wire, client.bytes, &self.buffer[..bytes]) {
                return Err(Failure::new(format!("client {index} received bytes that nobody pushed")));
            }
            let count = u64::try_from(bytes).expect("a count fits");
            client.bytes += count;
            self.total += count;
            if bytes < READ_BYTES {
                return Ok(());
            }
        }
    }
}

/// Whether `bytes` continue an endless repetition of `wire` of which `seen` bytes have come.
fn continues(wire: &[u8], seen: u64, bytes: &[u8]) -> bool {
    let offset = usize::try_from(seen % u64::try_from(wire.len()).expect("a length fits")).expect("below a length");
    bytes.iter().zip(wire.iter().cycle().skip(offset)).all(|(came, expected)| came == expected)
}

/// Deliveries of `rounds` rounds to `clients` clients: every frame counts, whatever it shared a send with.
pub(crate) fn deliveries(clients: u32, rounds: u64, round: Round) -> u64 {
    u64::from(clients) * rounds * u64::from(round.frames())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    /// A drain of one client and the stream that feeds it.
    fn pair(wire: &[u8]) -> (Drain, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let (server, _) = listener.accept().expect("connected");
        (Drain::new(vec![client], wire.to_vec()).expect("watched"), server)
    }

    fn sweep_until(drain: &mut Drain, bytes: u64) -> Result<()> {
        while drain.total < bytes {
            drain.sweep()?;
        }
        Ok(())
    }

    #[test]
    fn bytes_are_compared_across_reads_and_then_only_counted() {
        let (mut drain, mut server) = pair(b"abc");
        server.write_all(b"ab").expect("open");
        sweep_until(&mut drain, 2).expect("as pushed");
        assert_eq!(drain.rounds(), 0);
        server.write_all(b"cabc").expect("open");
        sweep_until(&mut drain, 6).expect("as pushed");
        assert_eq!(drain.rounds(), 2);
        drain.stop_comparing();
        server.write_all(b"xyz").expect("open");
        sweep_until(&mut drain, 9).expect("not looked at");
        assert!(drain.verify(3).is_ok());
        assert!(drain.verify(2).is_err(), "one round too many must not pass");
    }

    #[test]
    fn a_wrong_byte_fails_the_run() {
        let (mut drain, mut server) = pair(b"abc");
        server.write_all(b"abd").expect("open");
        assert!(sweep_until(&mut drain, 3).is_err());
    }

    #[test]
    fn a_closed_client_fails_the_run() {
        let (mut drain, server) = pair(b"abc");
        drop(server);
        assert!(sweep_until(&mut drain, 1).is_err());
    }

    #[test]
    fn every_frame_of_a_round_is_a_delivery() {
        assert_eq!(deliveries(5_000, 2, Round { pushes: 1, frames_per_push: 8, body_bytes: 10 }), 80_000);
    }
}
