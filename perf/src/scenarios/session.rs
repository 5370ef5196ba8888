//! One server with its logged-in clients, and the loop that pushes rounds to them and counts. Owns the pacing and the
//! rule that a run counts only when every client received every byte and the server dropped nothing.
//!
//! Pacing is the same for every program: at most `window` rounds are released that not all clients have received, and
//! none before the one ahead of it has begun to arrive. So with a window of two the next round waits when one ends, a
//! server that merges what waits finds nothing to merge, and no socket can fill.

use std::time::{Duration, Instant};

use crate::clients::drain::{Drain, deliveries};
use crate::clients::fleet::{self, Plan, room_of};
use crate::failure::{Failure, Result};
use crate::server::metrics::Metrics;
use crate::server::usage::{CpuSpent, CpuTime};
use crate::server::{Program, Push, Server, Setup};
use crate::stats;
use crate::wire::{Round, Transport};

/// Rounds whose bytes are compared before anything is measured.
const COMPARED_ROUNDS: u64 = 3;
/// Rounds after that, uncompared, so that caches are as they will be.
const WARM_ROUNDS: u64 = 3;
/// Before each reading of CPU time: a server's last turn ends, and the kernel books a sleeping thread's time.
const SETTLE: Duration = Duration::from_millis(50);
/// Before each reading of metrics: shards publish at the end of a turn, and count an enter in the turn after it; an
/// idle shard makes one a tick.
const PUBLISHED: Duration = Duration::from_millis(600);
/// How long clients may wait for the next byte of a round, unless they are told to be more patient.
const SILENCE: Duration = Duration::from_secs(60);

/// What to do to a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How clients talk.
    pub transport: Transport,
    /// Clients, all in one room.
    pub clients: u32,
    /// What is pushed at once.
    pub round: Round,
    /// Rounds released and not yet received by all.
    pub window: u64,
}

/// A server at work.
pub(crate) struct Session {
    server: Server,
    push: Push,
    drain: Drain,
    load: Load,
    rounds: u64,
    silence: Duration,
}

/// What a number of rounds cost the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Frames received by clients.
    pub deliveries: u64,
    /// CPU time of the server's whole process.
    pub cpu: CpuSpent,
    /// Time by the clock.
    pub wall: Duration,
    /// Receive calls of the clients.
    pub receives: u64,
    /// What the ring did; `None` for a program without metrics.
    pub ring: Option<RingWork>,
}

/// The gateway's own account of what it asked the kernel for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RingWork {
    /// Sends.
    pub sends: f64,
    /// Submission entries, of sends and of anything else.
    pub submissions: f64,
    /// Calls of `io_uring_enter`.
    pub enters: f64,
    /// Turns of the shards.
    pub turns: f64,
}

impl Measured {
    /// Take in what further rounds of the same server cost.
    pub(crate) fn add(&mut self, more: Measured) {
        self.deliveries += more.deliveries;
        self.cpu.add(&more.cpu);
        self.wall += more.wall;
        self.receives += more.receives;
        if let Some(ring) = more.ring {
            let sum = self.ring.get_or_insert_default();
            sum.sends += ring.sends;
            sum.submissions += ring.submissions;
            sum.enters += ring.enters;
            sum.turns += ring.turns;
        }
    }

    /// Deliveries for each second of CPU time, the number that is compared.
    pub(crate) fn deliveries_per_cpu_second(&self) -> f64 {
        stats::ratio(stats::number(self.deliveries) * 1e9, stats::number(self.cpu.total_ns))
    }
}

impl Session {
    /// Start a server, connect the clients, and see that the first rounds arrive byte for byte.
    pub(crate) fn open(program: &Program, load: Load) -> Result<Session> {
        let setup =
            Setup { transport: load.transport, shards: 1, connections_max: load.clients + 16, settings: Vec::new() };
        let mut server = Server::start(program, &setup, load.round)?;
        let plan = Plan {
            address: server.address()?,
            transport: server.transport(),
            clients: load.clients,
            room_members: load.clients,
        };
        let streams = fleet::connect(&plan)?;
        let drain = Drain::new(streams, load.round.wire(load.transport))?;
        let push = server.push(load.round, &room_of(0, load.clients))?;
        let mut session = Session { server, push, drain, load, rounds: 0, silence: SILENCE };
        session.deliver(COMPARED_ROUNDS)?;
        session.drain.stop_comparing();
        session.deliver(WARM_ROUNDS)?;
        Ok(session)
    }

    /// The server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Let clients wait so long for their next byte.
    pub(crate) fn allow_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// Push `rounds` rounds and account for them.
    pub(crate) fn measure(&mut self, rounds: u64) -> Result<Measured> {
        let ring = self.ring_work()?;
        let receives = self.drain.calls();
        std::thread::sleep(SETTLE);
        let cpu = CpuTime::of(self.server.pid())?;
        let start = Instant::now();
        self.deliver(rounds)?;
        let wall = start.elapsed();
        std::thread::sleep(SETTLE);
        let cpu = CpuTime::of(self.server.pid())?.since(&cpu);
        let ring = self.ring_work()?.zip(ring).map(|(after, before)| after.since(&before));
        self.drain.verify(self.rounds)?;
        Ok(Measured {
            deliveries: deliveries(self.load.clients, rounds, self.load.round),
            cpu,
            wall,
            receives: self.drain.calls() - receives,
            ring,
        })
    }

    /// End the server, and check its last word.
    pub(crate) fn close(self) -> Result<()> {
        let Session { server, push, drain, .. } = self;
        // The push first: its end is the bare ring's end, which says how it went while its clients are still there.
        drop(push);
        if *server.program() == Program::BareRing {
            let totals = server.totals()?;
            if totals.short > 0 {
                return Err(Failure::new(format!("{} sends of the bare ring were not taken whole", totals.short)));
            }
        }
        drop(drain);
        Ok(())
    }

    /// Push and receive, paced by the window.
    pub(crate) fn deliver(&mut self, rounds: u64) -> Result<()> {
        let end = self.rounds + rounds;
        let (mut seen, mut seen_at) = (self.drain.calls(), Instant::now());
        while self.drain.rounds() < end {
            let waiting = self.rounds - self.drain.rounds();
            if self.rounds < end && waiting < self.load.window && (waiting == 0 || self.drain.has_begun(self.rounds)) {
                self.push.release()?;
                self.rounds += 1;
            }
            self.drain.sweep()?;
            if self.drain.calls() > seen {
                (seen, seen_at) = (self.drain.calls(), Instant::now());
            } else if seen_at.elapsed() > self.silence {
                self.push.check()?;
                self.server.check()?;
                return Err(Failure::new(format!(
                    "clients of the {} wait for pushes: {} of {end} rounds came",
                    self.server.program(),
                    self.drain.rounds()
                )));
            }
        }
        self.push.check()?;
        self.drain.verify(end)
    }

    /// The gateway's counters; an error when it dropped a push.
    fn ring_work(&self) -> Result<Option<RingWork>> {
        let Some(admin) = self.server.admin() else { return Ok(None) };
        std::thread::sleep(PUBLISHED);
        let metrics = Metrics::fetch(admin)?;
        let dropped = metrics.not_zero("halley_drops_total");
        if !dropped.is_empty() {
            return Err(Failure::new(format!("the gateway dropped pushes: {}", dropped.join(", "))));
        }
        Ok(Some(RingWork {
            sends: metrics.sum("halley_sends_total")?,
            submissions: metrics.sum("halley_ring_submissions_total")?,
            enters: metrics.sum("halley_ring_enters_total")?,
            turns: metrics.sum("halley_turns_total")?,
        }))
    }
}

impl RingWork {
    fn since(&self, earlier: &RingWork) -> RingWork {
        RingWork {
            sends: self.sends - earlier.sends,
            submissions: self.submissions - earlier.submissions,
            enters: self.enters - earlier.enters,
            turns: self.turns - earlier.turns,
        }
    }
}
