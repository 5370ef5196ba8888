//! The control loop. Owns control's end of every shard's rings: it reads what shards say, answers logins, and carries
//! commands and their answers. Decides no policy: drain and steering watch [`ShardState`] and send commands. Serves no
//! socket. It never waits on a ring: what does not fit stays in an outbox of its shard. From a shard whose outbox is
//! not empty nothing more is read, so no answer is ever lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::handle::{Command, ControlDoor, ControlError, ShardState};
use super::logins::{Decider, LoginQueue, LoginRules, Waiting};
use super::questions::{Question, Questions};
use super::stats::{ControlCounts, ControlStats};
use super::trace::{Report, TraceSink, TraceTable};
use crate::mesh::async_wake::AsyncDoorbell;
use crate::mesh::msg::{ConnRef, ControlToShard, ShardToControl};
use crate::mesh::port::{Receiver, Sender};
use crate::mesh::wake::Doorbell;

/// Messages taken from one shard in one turn.
pub const NEWS_PER_TURN: usize = 256;
/// Logins decided in one turn, over all shards.
pub const LOGINS_PER_TURN: usize = 16;
/// Commands taken in one turn.
pub const COMMANDS_PER_TURN: usize = 64;
/// Commands that may wait for the ring of one shard; more are refused as `Busy`.
pub const OUTBOX_COMMANDS_MAX: usize = 1024;
/// How soon a full ring is tried again, in milliseconds: its reader does not say when there is room.
const RETRY_MS: u64 = 1;
/// How often questions and listeners that nobody waits for are forgotten, in milliseconds.
const SWEEP_MS: u64 = 500;

/// Control's ring ends of one shard.
pub struct ShardPort {
    /// To the shard.
    pub to: Sender<ControlToShard>,
    /// From the shard.
    pub from: Receiver<ShardToControl>,
}

/// What the loop is made of.
pub struct ControlParts {
    /// Ring ends, by shard index.
    pub shards: Vec<ShardPort>,
    /// Rung by the shards.
    pub doorbell: Arc<Doorbell>,
    /// Where commands come in.
    pub door: ControlDoor,
    /// How signed logins are decided; `None` in open mode.
    pub jwt: Option<Arc<LoginRules>>,
    /// Seed of generated connection keys.
    pub seed: [u8; 32],
    /// Where the loop publishes its counters.
    pub stats: Arc<ControlStats>,
}

/// One shard as the loop sees it.
struct Shard {
    port: ShardPort,
    outbox: VecDeque<ControlToShard>,
    logins: LoginQueue,
}

impl Shard {
    /// Send, or keep for later in order.
    fn send(&mut self, message: ControlToShard) {
        if !self.outbox.is_empty() {
            self.outbox.push_back(message);
        } else if let Err(message) = self.port.to.push(message) {
            self.outbox.push_back(message);
        }
    }

    /// Whether a command may be taken: the rest of the outbox is for answers, of which there are never more than news.
    fn takes_commands(&self) -> bool {
        self.outbox.len() < OUTBOX_COMMANDS_MAX
    }

    /// Move what waited into the ring.
    fn pump(&mut self) {
        while let Some(message) = self.outbox.pop_front() {
            if let Err(message) = self.port.to.push(message) {
                self.outbox.push_front(message);
                break;
            }
        }
    }
}

/// The loop's state.
pub struct ControlNode {
    shards: Vec<Shard>,
    doorbell: Arc<Doorbell>,
    commands: mpsc::Receiver<Command>,
    states: watch::Sender<Vec<ShardState>>,
    decider: Decider,
    questions: Questions,
    traces: TraceTable,
    /// The shard whose logins come first in the next turn.
    first: usize,
    swept: Instant,
    counts: ControlCounts,
    stats: Arc<ControlStats>,
    stopping: bool,
}

impl ControlNode {
    /// A loop that has not begun.
    pub fn new(parts: ControlParts) -> ControlNode {
        let shard = |port| Shard { port, outbox: VecDeque::new(), logins: LoginQueue::default() };
        ControlNode {
            shards: parts.shards.into_iter().map(shard).collect(),
            doorbell: parts.doorbell,
            commands: parts.door.commands,
            states: parts.door.states,
            decider: Decider::new(parts.jwt, parts.seed),
            questions: Questions::default(),
            traces: TraceTable::default(),
            first: 0,
            swept: Instant::now(),
            counts: ControlCounts::default(),
            stats: parts.stats,
            stopping: false,
        }
    }

    /// Run until [`Command::Stop`], or until no handle is left. Fails only when the doorbell cannot be polled.
    pub async fn run(mut self) -> std::io::Result<()> {
        let bell = AsyncDoorbell::new(Arc::clone(&self.doorbell))?;
        while !self.stopping {
            if self.turn() {
                // Others on this thread go first: admin requests stay answered while logins pour in.
                tokio::task::yield_now().await;
                continue;
            }
            self.doorbell.sleepy();
            if self.has_news() {
                self.doorbell.awake();
                continue;
            }
            let pause = self.pause();
            tokio::select! {
                rung = bell.rung() => rung?,
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => self.stopping = true,
                },
                () = tokio::time::sleep(pause) => {}
            }
            self.doorbell.awake();
        }
        self.shards.iter_mut().for_each(|shard| {
            shard.pump();
            shard.port.to.flush();
        });
        Ok(())
    }

    /// Do what there is to do, within the budgets. Returns whether there may be more.
    fn turn(&mut self) -> bool {
        self.shards.iter_mut().for_each(Shard::pump);
        let mut busy = self.take_news();
        busy |= self.decide_logins();
        busy |= self.take_commands();
        if self.swept.elapsed() >= Duration::from_millis(SWEEP_MS) {
            self.sweep();
        }
        self.shards.iter_mut().for_each(|shard| shard.port.to.flush());
        self.publish();
        busy
    }

    fn publish(&mut self) {
        let counts = &mut self.counts;
        counts.logins_waiting = self.shards.iter().map(|shard| shard.logins.len() as u64).sum();
        counts.outbox_messages = self.shards.iter().map(|shard| shard.outbox.len() as u64).sum();
        counts.questions = self.questions.len() as u64;
        counts.traced = self.traces.len() as u64;
        counts.trace_events_lost = self.traces.lost();
        counts.logins_decided = self.decider.decided();
        counts.logins_unavailable = self.decider.unavailable();
        self.stats.publish(counts);
    }

    /// Whether a shard has said something that may be read now.
    fn has_news(&mut self) -> bool {
        self.shards.iter_mut().any(|shard| shard.outbox.is_empty() && !shard.port.from.is_empty())
    }

    /// How long to sleep when nothing happens.
    fn pause(&self) -> Duration {
        let waits_for_room = self.shards.iter().any(|shard| !shard.outbox.is_empty() || !shard.logins.is_empty());
        let waits_for_others = !self.questions.is_empty() || !self.traces.is_empty();
        Duration::from_millis(match (waits_for_room, waits_for_others) {
            (true, _) => RETRY_MS,
            (false, true) => SWEEP_MS,
            (false, false) => 3_600_000,
        })
    }

    fn take_news(&mut self) -> bool {
        let mut busy = false;
        for index in 0..self.shards.len() {
            for taken in 0..NEWS_PER_TURN {
                let shard = &mut self.shards[index];
                if !shard.outbox.is_empty() {
                    break;
                }
                let Some(news) = shard.port.from.pop() else { break };
                self.news(index, news);
                busy |= taken + 1 == NEWS_PER_TURN;
            }
        }
        busy
    }

    fn news(&mut self, index: usize, news: ShardToControl) {
        let number = shard_number(index);
        let shard = &mut self.shards[index];
        match news {
            ShardToControl::Authenticate { conn, token, refresh } => {
                let login = Waiting { conn, token, refresh, since: Instant::now() };
                if let Some(decision) = self.decider.admit(&mut shard.logins, login) {
                    shard.send(ControlToShard::Authenticated { conn: decision.conn, result: decision.result });
                }
            }
            ShardToControl::Described { request, info } => {
                // A failed answer means that nobody waits any more; so below.
                if let Some(Question::Describe(reply)) = self.questions.close(request) {
                    let _ = reply.send(Ok(info));
                }
            }
            ShardToControl::Members { request, conns } => {
                if let Some(Question::Members(reply)) = self.questions.close(request) {
                    let _ = reply.send(Ok(conns));
                }
            }
            ShardToControl::Traced { conn, event } => {
                self.counts.trace_events += 1;
                if self.traces.give(number, conn, &event) == Report::Off {
                    shard.send(ControlToShard::Trace { conn, on: false });
                }
            }
            ShardToControl::Full { full } => self.states.send_modify(|states| states[index].full = full),
            ShardToControl::Drained => self.states.send_modify(|states| states[index].drained = true),
        }
    }

    /// Decide on logins of the shards in turn, as far as their answers fit.
    fn decide_logins(&mut self) -> bool {
        let count = self.shards.len();
        let now = Instant::now();
        let mut left = LOGINS_PER_TURN;
        let mut idle = 0;
        while left > 0 && idle < count {
            let shard = &mut self.shards[self.first];
            self.first = (self.first + 1) % count;
            let decision =
                if shard.outbox.is_empty() { self.decider.decide_next(&mut shard.logins, now) } else { None };
            match decision {
                Some(decision) => {
                    shard.send(ControlToShard::Authenticated { conn: decision.conn, result: decision.result });
                    left -= 1;
                    idle = 0;
                }
                None => idle += 1,
            }
        }
        left == 0
    }

    fn take_commands(&mut self) -> bool {
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.commands.try_recv() else {
                return false;
            };
            self.command(command);
        }
        true
    }

    fn command(&mut self, command: Command) {
        self.counts.commands += 1;
        match command {
            Command::Send { shard, message, reply } => {
                let result = self.send_command(shard, message);
                let _ = reply.send(result);
            }
            Command::Describe { shard, conn, reply } => {
                let ask = |request| ControlToShard::Describe { request, conn };
                self.question(shard, Question::Describe(reply), ask);
            }
            Command::Members { shard, room, limit, reply } => {
                let ask = |request| ControlToShard::Members { request, room, limit };
                self.question(shard, Question::Members(reply), ask);
            }
            Command::Trace { shard, conn, sink, reply } => {
                let _ = reply.send(self.trace(shard, conn, sink));
            }
            Command::Stop => self.stopping = true,
        }
    }

    /// Listen to a connection. Its shard is told for each listener, for each hears from where on it misses nothing.
    fn trace(&mut self, shard: u16, conn: ConnRef, sink: TraceSink) -> Result<(), ControlError> {
        if !self.traces.add(shard, conn, sink) {
            return Err(ControlError::Busy);
        }
        self.send_command(shard, ControlToShard::Trace { conn, on: true })
            .inspect_err(|_| self.traces.withdraw(shard, conn))
    }

    fn send_command(&mut self, shard: u16, message: ControlToShard) -> Result<(), ControlError> {
        match self.shards.get_mut(usize::from(shard)) {
            Some(shard) if shard.takes_commands() => {
                shard.send(message);
                Ok(())
            }
            _ => {
                self.counts.commands_refused += 1;
                Err(ControlError::Busy)
            }
        }
    }

    /// Ask a shard by the message that `ask` makes of the question's number.
    fn question(&mut self, shard: u16, question: Question, ask: impl FnOnce(u64) -> ControlToShard) {
        let refused = match self.questions.open(question) {
            Ok(request) => match self.send_command(shard, ask(request)) {
                Ok(()) => return,
                Err(_) => self.questions.close(request),
            },
            Err(question) => {
                self.counts.commands_refused += 1;
                Some(question)
            }
        };
        match refused {
            Some(Question::Describe(reply)) => drop(reply.send(Err(ControlError::Busy))),
            Some(Question::Members(reply)) => drop(reply.send(Err(ControlError::Busy))),
            None => {}
        }
    }

    /// Forget what nobody waits for any more.
    fn sweep(&mut self) {
        self.swept = Instant::now();
        self.questions.forget_abandoned();
        for (shard, conn) in self.traces.drop_closed() {
            // A shard with a full outbox goes on reporting; the first report is answered with the same message.
            let _ = self.send_command(shard, ControlToShard::Trace { conn, on: false });
        }
    }
}

/// A shard's index as messages carry it.
fn shard_number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}
