//! The bare ring: the least that a push server on io_uring must do. It accepts, answers logins, and for every byte on
//! its standard input sends one payload to every logged-in connection. No rooms, queues, timers, inbox or metrics: what
//! the gateway costs above this is the gateway. Runs as a process of its own, so that both are measured from outside
//! alike.
//!
//! It never waits for a slow receiver: a send that the kernel does not take whole is counted and ends the run's
//! validity.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::kernel::{Event, Kernel, RECEIVE_BYTES};
use crate::failure::{Doing, Failure, Result};
use crate::wire;

/// The listener's backlog: logins come in batches smaller than this.
const BACKLOG: i32 = 4096;

/// How to run it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections it can hold; bounded by `ulimit -n`.
    #[arg(long, default_value_t = 19_000)]
    pub slots: u32,
    /// What each round sends to each connection, in hexadecimal.
    #[arg(long)]
    pub payload: String,
    /// The CPU it runs on.
    #[arg(long, default_value_t = 0)]
    pub cpu: usize,
    /// Where to write the bound address as JSON once it accepts.
    #[arg(long)]
    pub ready_file: PathBuf,
}

/// What it did, written to standard output when standard input ends. Logins are left out.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Rounds sent.
    pub rounds: u64,
    /// Sends of the fan-outs.
    pub sends: u64,
    /// Submission entries handed over during fan-outs.
    pub submissions: u64,
    /// Calls of `io_uring_enter` during fan-outs.
    pub enters: u64,
    /// Sends that the kernel did not take whole: the receiver did not keep up, or went away.
    pub short: u64,
}

/// Serve until standard input ends.
pub(crate) fn run(options: &Options) -> Result<()> {
    // Whoever measures may be killed; the baseline must not stay behind on its core.
    set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "ask to end with the parent")?;
    crate::server::usage::pin_to_cpu(options.cpu)?;
    let listener = listen().doing(|| "listen on loopback")?;
    let address = listener.local_addr().doing(|| "read the bound address")?;
    let payload = bytes_of_hex(&options.payload)?;
    let kernel = Kernel::new(listener, options.slots, payload).map_err(|error| {
        Failure::new(format!(
            "cannot set up io_uring: {error}. It needs Linux 6.6, kernel.io_uring_disabled = 0, no seccomp profile \
             that forbids it, and `ulimit -n` of at least --slots"
        ))
    })?;
    let ready = serde_json::json!({ "tcp": [address.to_string()] });
    std::fs::write(&options.ready_file, ready.to_string()).doing(|| "write the ready file")?;

    let slots = usize::try_from(options.slots).doing(|| "use that many slots")?;
    let mut server =
        BareRing { kernel, received: vec![0; slots], members: Vec::with_capacity(slots), due: 0, open: true };
    let totals = server.serve().doing(|| "go on serving")?;
    let json = serde_json::to_string(&totals).doing(|| "write the totals")?;
    writeln!(std::io::stdout(), "{json}").doing(|| "write the totals")
}

struct BareRing {
    kernel: Kernel,
    /// Bytes of each slot's login so far.
    received: Vec<u16>,
    /// Slots that are logged in.
    members: Vec<u32>,
    /// Rounds asked for and not yet sent.
    due: u32,
    /// Standard input has not ended.
    open: bool,
}

impl BareRing {
    fn serve(&mut self) -> std::io::Result<Totals> {
        let reply: &'static [u8] = wire::frame(wire::AUTH_REPLY_OP, 1, &[]).leak();
        let mut totals = Totals::default();
        let mut events = Vec::with_capacity(4096);
        self.kernel.accept_many();
        self.kernel.read_commands();
        while self.open || self.due > 0 {
            self.kernel.enter(usize::from(self.due == 0))?;
            self.kernel.reap(&mut events);
            for event in events.drain(..) {
                self.handle(event, reply, &mut totals);
            }
            if self.due > 0 {
                self.due -= 1;
                self.fan_out(&mut totals)?;
            }
        }
        Ok(totals)
    }

    fn fan_out(&mut self, totals: &mut Totals) -> std::io::Result<()> {
        let before = self.kernel.counters();
        self.kernel.fan_out(&self.members)?;
        let after = self.kernel.counters();
        totals.rounds += 1;
        totals.sends += u64::try_from(self.members.len()).expect("a count fits");
        totals.submissions += after.submissions - before.submissions;
        totals.enters += after.enters - before.enters;
        Ok(())
    }

    fn handle(&mut self, event: Event, reply: &'static [u8], totals: &mut Totals) {
        match event {
            Event::Accepted { slot, armed } => {
                if let Some(slot) = slot {
                    self.received[index(slot)] = 0;
                    self.kernel.receive(slot, 0);
                }
                if !armed {
                    self.kernel.accept_many();
                }
            }
            Event::Received(slot, result) => self.login(slot, result, reply),
            Event::SendShort(..) => totals.short += 1,
            Event::Commands(count) => match u32::try_from(count) {
                Ok(rounds @ 1..) => {
                    self.due += rounds;
                    self.kernel.read_commands();
                }
                _ => self.open = false,
            },
            Event::Readable => {}
        }
    }

    /// Takes further bytes of a login. A connection that ends or talks at length instead is left alone: it never
    /// becomes a member, which the client notices by its missing reply.
    fn login(&mut self, slot: u32, result: i32, reply: &'static [u8]) {
        let Ok(taken @ 1..) = usize::try_from(result) else { return };
        let received = usize::from(self.received[index(slot)]) + taken;
        self.received[index(slot)] = u16::try_from(received).expect("an area is small");
        match wire::frame_header(self.kernel.received(slot, received)) {
            Some((wire::AUTH_OP, whole)) if received == whole => {
                self.kernel.send_reply(slot, reply);
                self.kernel.poll_readable(slot);
                self.members.push(slot);
            }
            _ if received < RECEIVE_BYTES => self.kernel.receive(slot, received),
            _ => {}
        }
    }
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).expect("a slot fits")
}

fn listen() -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Bytes as pairs of hexadecimal digits.
pub(crate) fn hex_of_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of_hex(text: &str) -> Result<Vec<u8>> {
    let bad = || Failure::new("--payload takes pairs of hexadecimal digits, as in 0000001a0010");
    if !text.is_ascii() || !text.len().is_multiple_of(2) || text.is_empty() {
        return Err(bad());
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_survives_the_command_line() {
        let payload = wire::frame(wire::PUSH_OP, 0, b"0123456789");
        assert_eq!(bytes_of_hex(&hex_of_bytes(&payload)).expect("our own form"), payload);
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        for text in ["", "0", "zz", "0é"] {
            assert!(bytes_of_hex(text).is_err(), "{text:?}");
        }
    }
}
