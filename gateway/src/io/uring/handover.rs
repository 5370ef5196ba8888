//! Handing over: what is queued goes to the kernel, what has completed comes back. Owns the loop around the enter, the
//! requests that earlier completions made necessary, and the moment at which a close has happened; `completions` says
//! what each answer means.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use io_uring::types::Fd;

use super::ring::{Entered, Mode};
use super::slots::Facts;
use super::{Event, UringIo, ops};

/// How long to let the kernel recover when it has no memory for a request.
const CONGESTION_PAUSE: Duration = Duration::from_millis(1);

impl UringIo {
    /// Hands over everything queued, and reads what has completed.
    pub(super) fn enter(&mut self, mode: Mode) {
        self.buffers.publish();
        let mut mode = mode;
        let mut overflowed = false;
        loop {
            let entered = self.ring.enter(mode);
            self.settle_closes();
            let found = self.collect();
            if overflowed {
                self.counters.completion_overflows += found as u64;
            }
            overflowed = self.ring.is_overflowed();
            if entered == Entered::Lost {
                tracing::error!("the kernel lost completions because it had no memory: some connections may hang");
            }
            if entered == Entered::Congested && found == 0 {
                std::thread::sleep(CONGESTION_PAUSE);
            }
            if self.ring.queued() == 0 && !overflowed {
                break;
            }
            // The rest must not sleep; and what the kernel holds back must be asked for.
            if mode != Mode::Submit || overflowed || entered == Entered::Congested {
                mode = Mode::Reap;
            }
        }
        self.outgoing.release();
    }

    /// A close runs inside the enter that takes it: what the kernel has taken is closed. Told before anything that this
    /// enter completed, because that may be an accept into the same slot.
    fn settle_closes(&mut self) {
        if self.closes.is_empty() {
            return;
        }
        let taken = self.pushed - self.ring.queued() as u64;
        while let Some(&(position, conn)) = self.closes.front()
            && position <= taken
        {
            self.closes.pop_front();
            self.ready.push(Event::Closed { conn });
        }
    }

    /// Reads every completion there is; says how many.
    fn collect(&mut self) -> usize {
        let mut batch = std::mem::take(&mut self.batch);
        self.ring.take(&mut batch);
        let found = batch.len();
        for completion in batch.drain(..) {
            self.complete(completion);
        }
        self.batch = batch;
        found
    }

    /// Queues what earlier completions made necessary.
    pub(super) fn follow_up(&mut self) {
        if !self.doorbell_armed {
            self.doorbell_armed = true;
            let fd = Fd(self.doorbell.event().as_fd().as_raw_fd());
            self.push(&ops::poll_doorbell(fd));
        }
        while let Some(conn) = self.watches.pop() {
            let facts = &mut self.slots.at(conn.slot).facts;
            if !facts.has(Facts::CLOSING) {
                facts.set(Facts::POLL_WRITABLE);
                self.push(&ops::watch_writable(conn));
            }
        }
        let mut joined = std::mem::take(&mut self.joined);
        for conn in joined.drain(..) {
            self.push(&ops::close(conn));
            self.closes.push_back((self.pushed, conn));
        }
        joined.append(&mut self.joined);
        self.joined = joined;
    }
}
