//! Step 2 of a frame on its way in: the turn. Owns the order of its phases: reap → inbox → timers → paced broadcasts →
//! shed → drain → accepting → goodbyes → TLS handshakes → orders → flush → news → orders → submit and wait. Those that
//! could take long have a budget. It carries out what the core has ordered, and is the only place that enters the
//! kernel. Decides nothing about connections itself.
//!
//! What a phase does for one completion or one connection is a call of its own (`inline(never)`): all of it in one
//! function costs a delivery some thirty instructions for want of registers (`halley-perf instructions`).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::io::{Event, Io, Wait};
use crate::limits::TICK_MS;

use super::{Application, Core, Now, Order, Shard};

/// How soon to look again while a ring was full or a broadcast is paced.
const SOON: Duration = Duration::from_millis(1);

impl<I: Io, A: Application> Shard<I, A> {
    /// Run until control says stop.
    pub fn run(&mut self) {
        let start = Instant::now();
        while !self.stopping {
            let begin = Instant::now();
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let elapsed = begin.duration_since(start);
            let now = Now {
                ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                us: u32::try_from(elapsed.as_micros() & u128::from(u32::MAX)).unwrap_or_default(),
                unix_s: wall.as_secs(),
            };
            self.core.latencies.turn_begins(wall, Some(begin));
            let wait = self.work(now);
            let spent = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.core.counts.turn_ns += spent;
            self.core.counts.turn_ns_max = self.core.counts.turn_ns_max.max(spent);
            self.sleep(wait);
        }
        self.core.publish(&self.io, &self.stats);
    }

    /// One whole turn at a time of the caller's choosing, for tests. Returns how long the shard would have slept.
    pub fn turn(&mut self, now: Now) -> Wait {
        self.core.latencies.turn_begins(Duration::from_secs(now.unix_s), None);
        let wait = self.work(now);
        self.sleep(Wait::No);
        wait
    }

    /// Whether control has told the shard to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Every phase but the last; says how long the last may sleep.
    fn work(&mut self, now: Now) -> Wait {
        self.core.now = now;
        self.core.counts.turns += 1;
        self.reap();
        self.inbox();
        self.core.timers();
        self.core.broadcast_paced();
        self.core.shed_some();
        self.core.drain_some();
        self.core.accept_as_needed(&mut self.io);
        self.core.say_goodbye();
        self.core.shake_hands();
        self.obey();
        self.core.flush(&mut self.io);
        let told = self.core.tell(&mut self.links);
        self.obey();
        self.core.measure_pushes();
        // Counters first: whoever hears what became of a push finds its drops counted.
        self.core.publish(&self.io, &self.stats);
        self.links.to_feed.flush();
        self.links.to_control.flush();
        self.core.wait(told)
    }

    /// Events of the last enter: failures of sends are settled first, so that nothing overtakes an unsent tail.
    fn reap(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.core.settle(&events);
        for event in events.drain(..) {
            match event {
                Event::Received { conn, buffer, bytes, more } => {
                    self.core.received(conn, self.io.buffer(buffer, bytes), more);
                    self.io.recycle(buffer);
                }
                Event::SendShort { .. } | Event::SendFailed { .. } | Event::Woken => {}
                Event::Accepted { listener, slot } => self.core.accepted(listener, slot),
                Event::AcceptEnded { listener, error } => self.core.accept_ended(listener, error),
                Event::PeerName { conn, address } => self.core.peer_named(conn, address),
                Event::Readable { conn, armed } => self.core.readable(conn, armed),
                Event::ReceiveEmpty { conn } => self.core.receive_empty(conn),
                Event::ReceiveNoBuffer { conn } => self.core.hungry.push(conn),
                Event::EndOfStream { conn } => self.core.end_of_stream(conn),
                Event::ReceiveFailed { conn, error } => self.core.receive_failed(conn, error),
                Event::Writable { conn } => self.core.writable(conn),
                Event::Closed { conn } => self.core.closed(conn),
            }
        }
        self.events = events;
        self.core.resume_throttled();
    }

    /// Carry out what the core asked for.
    fn obey(&mut self) {
        let mut orders = std::mem::take(&mut self.core.orders);
        for order in orders.drain(..) {
            match order {
                Order::PollReadable(conn) => self.io.poll_readable(conn),
                Order::Receive(conn) => self.io.receive(conn),
                Order::PollWritable(conn) => self.io.poll_writable(conn),
                Order::PeerName(conn) => self.io.peer_name(conn),
                Order::ShutdownWrite(conn) => self.io.shutdown_write(conn),
                Order::Close(conn) => self.io.close(conn),
            }
        }
        self.core.orders = orders;
    }

    /// Enter the kernel. Before sleeping, announce it and look at the rings once more: a writer that saw us awake rang
    /// no bell.
    fn sleep(&mut self, wait: Wait) {
        let asleep = matches!(wait, Wait::AtMost(_));
        let mut wait = wait;
        if asleep {
            self.links.doorbell.sleepy();
            if !self.links.from_feed.is_empty() || !self.links.from_control.is_empty() {
                wait = Wait::No;
            }
        }
        self.io.turn(wait, &mut self.events);
        if asleep {
            self.links.doorbell.awake();
        }
    }

    fn inbox(&mut self) {
        self.stopping |= self.core.inbox(&mut self.links);
        let mut hungry = std::mem::take(&mut self.core.hungry);
        // Buffers went back while the events were handled; those who found none try again.
        for conn in hungry.drain(..) {
            self.core.receive_again(conn);
        }
        self.core.hungry = hungry;
    }
}

impl<A: Application> Core<A> {
    /// How long nothing needs doing.
    fn wait(&self, told: bool) -> Wait {
        // Sends succeed in silence, so nothing would wake us for those who wait for one to be out.
        let waits_for_send = self.goodbyes.iter().chain(&self.throttled).any(|conn| self.is_in_flight(conn.slot));
        if !self.dirty.is_empty()
            || !self.handshakes.is_empty()
            || !self.orders.is_empty()
            || self.pressure
            || self.sheds.is_due(self.now.ms)
            || self.swept_tick != self.now.tick()
            || waits_for_send
        {
            return Wait::No;
        }
        if !told || self.broadcasts.is_pacing() || self.drain.is_some() || self.drain_order.is_some() {
            return Wait::AtMost(SOON);
        }
        let tick = self.sheds.next_ms(self.now.ms).min(TICK_MS - self.now.ms % TICK_MS);
        let accept = self.acceptor.wait_ms(self.settings.accepts, self.now.ms);
        Wait::AtMost(Duration::from_millis(accept.map_or(tick, |ms| ms.clamp(1, tick))))
    }

    fn publish<I: Io>(&mut self, io: &I, stats: &super::stats::ShardStats) {
        let kernel = io.counters();
        self.counts.ring_enters = kernel.enters;
        self.counts.ring_submissions = kernel.submissions;
        self.counts.ring_overflows = kernel.completion_overflows;
        self.counts.ring_no_buffers = kernel.no_buffers;
        self.counts.reports_waiting = self.reports.len() as u64;
        self.counts.rooms = u64::from(self.rooms.len());
        stats.publish(&self.counts);
    }
}
