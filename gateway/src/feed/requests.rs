//! Step 6 of a push on its way out: what others ask of feed. Owns the request under way: one that goes no further
//! because a ring is full is kept, and no further one is read, so requests take effect in the order in which they came.

use halley_protocol::push::{Delivery, Target};
use tokio::sync::{mpsc, oneshot};

use crate::mesh::msg::FeedToShard;

use super::intake::{Request, Totals};
use super::state::{Feed, Job};

/// Pushes and their recipients by name handled in one turn; a push beyond it waits for the next turn.
const COST_PER_TURN: usize = 4096;

impl Feed {
    /// Go on with the request under way, then take further ones.
    pub(super) fn serve(&mut self, requests: &mut mpsc::Receiver<Request>) {
        let mut budget = COST_PER_TURN;
        loop {
            if let Some(job) = self.job.take() {
                self.job = self.advance(job, &mut budget);
                if self.job.is_some() {
                    return;
                }
            }
            if budget == 0 {
                self.more = true;
                return;
            }
            let Some(request) = self.next_request.take().or_else(|| requests.try_recv().ok()) else { return };
            budget -= 1;
            self.job = self.begin(request);
        }
    }

    /// Go on with the lists of rooms.
    pub(super) fn list_rooms(&mut self) {
        self.listings.go_on(&self.directory.rooms);
        self.more |= self.listings.len() > 0;
    }

    /// Returns what cannot be answered on the spot.
    fn begin(&mut self, request: Request) -> Option<Job> {
        let logins = &self.directory.logins;
        match request {
            Request::Deliver { deliveries, reply } => {
                let accepted = Vec::with_capacity(deliveries.len());
                return Some(Job::Deliver { deliveries: deliveries.into(), accepted, reply });
            }
            Request::Shed { order, reply } => return Some(Job::Shed { order, reply }),
            Request::Rooms { reply } => return Some(Job::List { reply }),
            Request::Close { select, reason, reply } => {
                let conns = logins.select(&select).map(|place| logins.conn(place)).collect();
                return Some(Job::Close { conns, reason, closed: 0, reply });
            }
            Request::Totals { reply } => answer(
                reply,
                Totals {
                    connections: logins.count(),
                    addresses: logins.addresses(),
                    rooms: self.directory.rooms.peopled(),
                },
            ),
            Request::Find { select, reply } => {
                answer(reply, logins.select(&select).map(|place| logins.describe(place)).collect());
            }
            Request::Name { conns, reply } => {
                let known = conns.into_iter().filter_map(|(shard, conn)| logins.find(shard, conn));
                answer(reply, known.map(|place| logins.describe(place)).collect());
            }
            Request::FindRoom { room, reply } => {
                let places = self.directory.rooms.find(&room);
                answer(reply, places.map(|at| (at.shard, at.room, at.members)).collect());
            }
            Request::RoomCounts { rooms, reply } => {
                let count = |room: &String| self.directory.rooms.find(room).map(|at| at.members).sum();
                answer(reply, rooms.iter().map(count).collect());
            }
            Request::Watch { select, news } => self.watches.add(select, news, logins),
            Request::SetLimits { limits } => self.directory.limits = limits,
        }
        None
    }

    /// Returns the job unless it is done.
    fn advance(&mut self, job: Job, budget: &mut usize) -> Option<Job> {
        match job {
            Job::Deliver { mut deliveries, mut accepted, reply } => {
                while let Some(push) = deliveries.front() {
                    if *budget == 0 {
                        self.more = true;
                        return Some(Job::Deliver { deliveries, accepted, reply });
                    }
                    let Some(done) = self.deliver(push) else {
                        self.defer();
                        return Some(Job::Deliver { deliveries, accepted, reply });
                    };
                    *budget = budget.saturating_sub(cost(push));
                    accepted.push(done);
                    deliveries.pop_front();
                }
                // Whoever hears it may tell a shard something behind them: they must be there to see first.
                self.delivered.push((reply, accepted));
            }
            Job::Close { mut conns, reason, mut closed, reply } => {
                while let Some(&(shard, conn)) = conns.last() {
                    if let Some(place) = self.directory.logins.find(shard, conn) {
                        if !self.evict(place, reason) {
                            self.defer();
                            return Some(Job::Close { conns, reason, closed, reply });
                        }
                        self.counts.closed += 1;
                        closed += 1;
                    }
                    conns.pop();
                }
                answer(reply, closed);
            }
            Job::Shed { order, reply } => {
                if self.links.shards().any(|shard| self.links.free(shard) == 0) {
                    self.defer();
                    return Some(Job::Shed { order, reply });
                }
                for shard in self.links.shards() {
                    self.links.push(shard, FeedToShard::Shed(order));
                }
                self.counts.sheds += 1;
                self.delivered.push((reply, Vec::new()));
            }
            Job::List { reply } => {
                if let Err(reply) = self.listings.add(reply) {
                    return Some(Job::List { reply });
                }
                self.more = true;
            }
        }
        None
    }

    fn defer(&mut self) {
        self.counts.requests_deferred += 1;
        self.stalled = true;
    }
}

/// What a push costs of the budget.
fn cost(push: &Delivery) -> usize {
    match &push.target {
        Target::Keys(keys) => keys.len(),
        Target::Mids(mids) => mids.len(),
        Target::Room(_) | Target::All { .. } => 1,
    }
}

/// Whoever asked may have stopped waiting.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _ = reply.send(value);
}
