//! A gateway's feed and its end: items of the intake are worked off in order and answered late; a drain lets go of the
//! connections, or reads to the end of the log before it does. Owns when each happens, and what must have reached the
//! clients when reading has ended in order (rule S5).

use std::collections::BTreeSet;

use halley_dispatcher::consume::Why;

use crate::faults::Fault;
use crate::intake::{What, answer};
use crate::oracle::{Sent, Told};
use crate::world::{Event, World};

impl World {
    /// Feed takes the next item, if it has none.
    pub fn feed_starts(&mut self, gateway: usize) {
        let it = &mut self.gateways[gateway];
        if it.feed_is_busy || it.intake.is_empty() {
            return;
        }
        it.feed_is_busy = true;
        let life = it.life;
        let slow = !self.is_calm && self.chance.in_1000(30);
        let takes = self.chance.time(50, if slow { 2_000_000 } else { 3_000 });
        self.queue.after(takes, Event::FeedDone { gateway, life });
    }

    /// Feed has delivered the oldest item of the intake, and answers.
    pub fn feed_done(&mut self, gateway: usize) {
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) {
            let (until, life) = (it.hangs_until, it.life);
            self.queue.at(until, Event::FeedDone { gateway, life });
            return;
        }
        it.feed_is_busy = false;
        self.check_done(gateway);
        let it = &mut self.gateways[gateway];
        let item = it.intake.pop_front().expect("feed is busy with it");
        it.answers.push_back(item.answer);
        match item.what {
            What::Deliver(deliveries) => {
                for (number, names) in deliveries {
                    it.clients.iter_mut().for_each(|client| client.receive(number, &names));
                }
            }
            What::Gap(holes) => {
                let is_told = !holes.is_empty();
                for hole in holes {
                    it.memory.holes[hole].at = now;
                }
                if is_told {
                    self.shed(gateway);
                }
            }
        }
        let answers = self.chance.time(10, 2_000);
        let life = self.gateways[gateway].life;
        // Answers come in the order of handovers.
        let at = (now + answers).max(self.gateways[gateway].answered_at);
        self.gateways[gateway].answered_at = at;
        self.queue.at(at, Event::HandoverAnswered { gateway, life });
        self.feed_starts(gateway);
        self.turn(gateway);
    }

    pub fn handover_answered(&mut self, gateway: usize) {
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) {
            let (until, life) = (it.hangs_until, it.life);
            self.queue.at(until, Event::HandoverAnswered { gateway, life });
            return;
        }
        answer(it.answers.pop_front().expect("feed has worked it off"));
        self.turn(gateway);
    }

    /// Nothing is done with that waits.
    fn check_done(&self, gateway: usize) {
        let it = &self.gateways[gateway];
        let waiting = it.intake.iter().filter_map(|item| match &item.what {
            What::Deliver(deliveries) => Some(deliveries),
            What::Gap(_) => None,
        });
        for (number, _) in waiting.flatten().filter(|_| !self.oracle.is_unclean) {
            let sent = &self.oracle.sent[usize::try_from(*number).expect("ours")];
            let spot = sent.spots[0];
            let done = it.handing.reader.done(spot.partition).unwrap_or(0);
            let is_wrong = spot.topic == it.topic() && done > spot.offset;
            assert!(!is_wrong, "gateway {gateway} says that {done} is done with, and {spot:?} waits");
        }
    }

    /// A gateway is drained: its connections go one by one while reading goes on, or they stay until all is read.
    pub fn drain(&mut self, gateway: usize) {
        let now = self.queue.now;
        let it = &mut self.gateways[gateway];
        if !it.runs(now) || it.is_draining {
            return;
        }
        (it.is_draining, it.is_open) = (true, false);
        self.note(|| format!("gateway {gateway} drains"));
        if self.chance.in_1000(600) {
            self.read_to_the_end(gateway);
        } else {
            self.drain_on(gateway);
        }
    }

    /// The next connection goes, or reading ends.
    pub fn drain_on(&mut self, gateway: usize) {
        let it = &self.gateways[gateway];
        if it.clients.is_empty() {
            return self.read_to_the_end(gateway);
        }
        self.leave(gateway);
        let next = self.chance.time(1_000, 300_000);
        let life = self.gateways[gateway].life;
        self.queue.after(next, Event::DrainsOn { gateway, life });
    }

    fn read_to_the_end(&mut self, gateway: usize) {
        let within = self.chance.time(500_000, 6_000_000);
        let acked = (0_u64..).zip(&self.oracle.sent).filter(|(_, sent)| sent.told == Told::Acked);
        // An old leader that does not know yet names an end that was acked past by the new one.
        let is_named = |sent: &Sent| sent.spots.iter().all(|spot| self.cluster.has_no_zombie(spot.partition));
        let acked = acked.filter(|(_, sent)| is_named(sent));
        let acked: BTreeSet<u64> = acked.map(|(number, _)| number).collect();
        let it = &mut self.gateways[gateway];
        if it.handing.is_ending() {
            return;
        }
        it.owed_by_drain = acked;
        it.handing.drain(self.queue.now + within);
        self.note(|| format!("gateway {gateway} reads to the end"));
        if self.lacks(Fault::DrainsNothing) {
            return self.drained(gateway, &Why::Told);
        }
        self.turn(gateway);
    }

    /// Reading is over. If it was not for want of time, what was acked before the drain has reached everybody.
    pub fn drained(&mut self, gateway: usize, why: &Why) {
        self.note(|| format!("gateway {gateway} has read to the end: {why:?}"));
        match why {
            Why::Told => self.check_drained(gateway),
            Why::OutOfTime => {}
            other => panic!("gateway {gateway} ends reading: {other:?}"),
        }
        self.kill_gateway(gateway);
    }
}
