//! Signed logins that wait for a decision. Owns one bounded queue for each shard and the decision itself; touches no
//! ring: `control::node` puts in what shards ask and carries the answers back, a few in each turn, since a signature
//! takes up to a hundred microseconds and the admin side runs on the same thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::mesh::msg::ConnRef;
use crate::session::auth::jwt::JwtAuth;
use crate::session::auth::uuid_v4;
use crate::session::{AuthRefusal, Identity};

/// Logins of one shard that may wait; beyond it they are refused as `Unavailable`. As many as may be in handshake by
/// default, so it is reached only by who raised that.
pub const LOGINS_WAITING_MAX: usize = 16_384;
/// Age at which a waiting login is refused undecided, in milliseconds: soon the handshake timeout would end it anyway,
/// and the time is better spent on those that can still succeed.
pub const LOGIN_WAIT_MS_MAX: u64 = 5_000;

/// One login that waits.
#[derive(Debug)]
pub struct Waiting {
    /// Who asks.
    pub conn: ConnRef,
    /// Body of op 7.
    pub token: Box<[u8]>,
    /// Member id of a connection that refreshes its login.
    pub refresh: Option<i64>,
    /// When it came.
    pub since: Instant,
}

/// The answer to one login.
#[derive(Debug)]
pub struct Decision {
    /// Who asked.
    pub conn: ConnRef,
    /// The answer.
    pub result: Result<Box<Identity>, AuthRefusal>,
}

/// The logins of one shard that wait.
#[derive(Debug, Default)]
pub struct LoginQueue {
    waiting: VecDeque<Waiting>,
}

impl LoginQueue {
    /// Take one in; a full queue answers it at once.
    pub fn push(&mut self, login: Waiting) -> Option<Decision> {
        if self.waiting.len() >= LOGINS_WAITING_MAX {
            return Some(Decision { conn: login.conn, result: Err(AuthRefusal::Unavailable) });
        }
        self.waiting.push_back(login);
        None
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Decides on logins, oldest first.
#[derive(Debug)]
pub struct Decider {
    jwt: Option<Arc<JwtAuth>>,
    random: StdRng,
}

impl Decider {
    /// Decide by these rules. Without them (the shards decide themselves) every login that comes here nevertheless is
    /// refused as `Unavailable`.
    pub fn new(jwt: Option<Arc<JwtAuth>>, seed: [u8; 32]) -> Decider {
        Decider { jwt, random: StdRng::from_seed(seed) }
    }

    /// Decide on the oldest login of a queue.
    pub fn decide_next(&mut self, queue: &mut LoginQueue, now: Instant) -> Option<Decision> {
        let Waiting { conn, token, refresh, since } = queue.waiting.pop_front()?;
        let result = match &self.jwt {
            Some(jwt) if now.duration_since(since) < Duration::from_millis(LOGIN_WAIT_MS_MAX) => {
                let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                let random = &mut self.random;
                jwt.decide(&token, refresh, unix_s, || uuid_v4(random.random())).map(Box::new)
            }
            _ => Err(AuthRefusal::Unavailable),
        };
        Some(Decision { conn, result })
    }
}
