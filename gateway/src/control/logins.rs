//! Step 7 of a frame on its way in, for signed logins, which wait here for a decision. Owns two bounded queues for each
//! shard, and the decision itself. Who is not in yet goes first, since a connection that refreshes its login has time
//! until its old token ends. Some decisions are kept for refreshes, or a crowd at the door would end those inside.
//! Touches no ring: `control::node` puts in what shards ask, and carries the answers back. A turn decides a few, since
//! a signature takes up to a hundred microseconds and the admin side runs on the same thread.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use halley_protocol::login::jwt::JwtRules;
use halley_protocol::login::{AuthRefusal, Identity, uuid_v4};
use halley_service::panics::contain;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::mesh::msg::ConnRef;

/// First logins of one shard that may wait; beyond it they are refused as `Unavailable`. As many as may be in handshake
/// by default, so it is reached only by who raised that.
pub const LOGINS_WAITING_MAX: usize = 16_384;
/// Refreshes of one shard that may wait, at most one of each connection; beyond it they are refused as `Unavailable`.
pub const REFRESHES_WAITING_MAX: usize = 16_384;
/// Age at which a waiting first login is refused undecided, in milliseconds: soon the handshake timeout would end it
/// anyway, and the time is better spent on those that can still succeed.
pub const LOGIN_WAIT_MS_MAX: u64 = 5_000;

/// Of so many decisions one is a refresh's, when any waits.
pub const REFRESH_SHARE: u64 = 4;

/// The rules of signed logins. Shared: a reload replaces them while decisions go on by the old ones.
#[derive(Debug)]
pub struct LoginRules(ArcSwap<JwtRules>);

impl LoginRules {
    /// Decide by `rules` until they are replaced.
    pub fn new(rules: JwtRules) -> LoginRules {
        LoginRules(ArcSwap::from_pointee(rules))
    }

    /// Decide by these rules from now on.
    pub fn replace(&self, rules: JwtRules) {
        self.0.store(Arc::new(rules));
    }
}

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
    /// Who the client is, or why it is refused.
    pub result: Result<Box<Identity>, AuthRefusal>,
}

/// The logins of one shard that wait.
#[derive(Debug, Default)]
pub struct LoginQueue {
    first: VecDeque<Waiting>,
    refreshes: VecDeque<Waiting>,
    /// Whose refreshes wait.
    refreshing: HashSet<ConnRef>,
    popped: u64,
}

impl LoginQueue {
    /// First logins and refreshes that wait, at most [`LOGINS_WAITING_MAX`] and [`REFRESHES_WAITING_MAX`].
    pub fn len(&self) -> usize {
        self.first.len() + self.refreshes.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.refreshes.is_empty()
    }

    /// Gives the login back when there is no room for it, or one of this connection waits already.
    fn push(&mut self, login: Waiting) -> Result<(), Waiting> {
        let (queue, waiting_max) = match login.refresh {
            None => (&mut self.first, LOGINS_WAITING_MAX),
            Some(_) => (&mut self.refreshes, REFRESHES_WAITING_MAX),
        };
        if queue.len() >= waiting_max || (login.refresh.is_some() && !self.refreshing.insert(login.conn)) {
            return Err(login);
        }
        queue.push_back(login);
        Ok(())
    }

    fn pop(&mut self) -> Option<Waiting> {
        self.popped = self.popped.wrapping_add(1);
        if self.popped.is_multiple_of(REFRESH_SHARE) {
            return self.pop_refresh().or_else(|| self.first.pop_front());
        }
        self.first.pop_front().or_else(|| self.pop_refresh())
    }

    fn pop_refresh(&mut self) -> Option<Waiting> {
        let login = self.refreshes.pop_front()?;
        self.refreshing.remove(&login.conn);
        Some(login)
    }
}

/// Decides on logins: first ones before refreshes, the oldest of each first.
#[derive(Debug)]
pub struct Decider {
    rules: Option<Arc<LoginRules>>,
    random: StdRng,
    decided: u64,
    unavailable: u64,
}

impl Decider {
    /// Decide by these rules. Without them (the shards decide themselves) every login that comes here nevertheless is
    /// refused as `Unavailable`.
    pub fn new(rules: Option<Arc<LoginRules>>, seed: [u8; 32]) -> Decider {
        Decider { rules, random: StdRng::from_seed(seed), decided: 0, unavailable: 0 }
    }

    /// Logins decided so far, either way.
    pub fn decided(&self) -> u64 {
        self.decided
    }

    /// Logins refused undecided so far.
    pub fn unavailable(&self) -> u64 {
        self.unavailable
    }

    /// Take a login into its shard's queue; one that finds no room is answered at once.
    pub fn admit(&mut self, queue: &mut LoginQueue, login: Waiting) -> Option<Decision> {
        queue.push(login).err().map(|login| self.refuse(login.conn))
    }

    /// Decide on the next login of a queue.
    pub fn decide_next(&mut self, queue: &mut LoginQueue, now: Instant) -> Option<Decision> {
        self.decide_next_by(queue, now, |rules, login, unix_s, random| {
            rules.decide(&login.token, login.refresh, unix_s, || uuid_v4(random.random()))
        })
    }

    /// As [`Decider::decide_next`], by the given rule. Libraries read the token; what one of them panics on is refused.
    fn decide_next_by(
        &mut self,
        queue: &mut LoginQueue,
        now: Instant,
        rule: impl FnOnce(&JwtRules, &Waiting, u64, &mut StdRng) -> Result<Identity, AuthRefusal>,
    ) -> Option<Decision> {
        let login = queue.pop()?;
        let (conn, since) = (login.conn, login.since);
        let in_time = login.refresh.is_some() || now.duration_since(since) < Duration::from_millis(LOGIN_WAIT_MS_MAX);
        let Some(rules) = self.rules.as_ref().filter(|_| in_time) else {
            return Some(self.refuse(conn));
        };
        self.decided += 1;
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let result = contain("jsonwebtoken", || rule(&rules.0.load(), &login, unix_s, &mut self.random));
        Some(Decision { conn, result: result.unwrap_or(Err(AuthRefusal::Internal)).map(Box::new) })
    }

    fn refuse(&mut self, conn: ConnRef) -> Decision {
        self.unavailable += 1;
        Decision { conn, result: Err(AuthRefusal::Unavailable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(slot: u32, since: Instant) -> Waiting {
        Waiting { conn: ConnRef { slot, generation: 1 }, token: Box::default(), refresh: None, since }
    }

    #[test]
    fn a_full_queue_refuses_the_newest_at_once() {
        let mut decider = Decider::new(None, [1; 32]);
        let mut queue = LoginQueue::default();
        let now = Instant::now();
        for slot in 0..u32::try_from(LOGINS_WAITING_MAX).expect("small") {
            assert!(decider.admit(&mut queue, login(slot, now)).is_none());
        }
        let refused = decider.admit(&mut queue, login(9, now)).expect("an answer");
        assert_eq!((refused.conn.slot, refused.result), (9, Err(AuthRefusal::Unavailable)));
        assert_eq!((queue.len(), decider.unavailable()), (LOGINS_WAITING_MAX, 1));
    }

    #[test]
    fn a_crowd_of_first_logins_leaves_refreshes_their_share() {
        let mut decider = Decider::new(Some(Arc::new(LoginRules::new(JwtRules::default()))), [1; 32]);
        let mut queue = LoginQueue::default();
        let now = Instant::now();
        for slot in 0..8 {
            assert!(decider.admit(&mut queue, login(slot, now)).is_none());
            assert!(decider.admit(&mut queue, Waiting { refresh: Some(7), ..login(100 + slot, now) }).is_none());
        }
        let decided: Vec<u32> =
            (0..8).filter_map(|_| decider.decide_next(&mut queue, now)).map(|decision| decision.conn.slot).collect();
        assert_eq!(decided, [0, 1, 2, 100, 3, 4, 5, 101]);
    }

    #[test]
    fn first_logins_go_before_refreshes_of_which_each_connection_has_one() {
        let mut decider = Decider::new(Some(Arc::new(LoginRules::new(JwtRules::default()))), [1; 32]);
        let mut queue = LoginQueue::default();
        let now = Instant::now();
        let refresh = |slot| Waiting { refresh: Some(7), ..login(slot, now) };
        assert!(decider.admit(&mut queue, refresh(0)).is_none());
        let second = decider.admit(&mut queue, refresh(0)).expect("an answer");
        assert_eq!((second.conn.slot, second.result), (0, Err(AuthRefusal::Unavailable)));
        for slot in 1..u32::try_from(REFRESHES_WAITING_MAX).expect("small") {
            assert!(decider.admit(&mut queue, refresh(slot)).is_none());
        }
        assert!(decider.admit(&mut queue, refresh(99_999)).is_some(), "no room among the refreshes");
        assert!(
            decider.admit(&mut queue, login(100_000, now)).is_none(),
            "their crowd takes no room from first logins"
        );
        let mut next = || decider.decide_next(&mut queue, now).map(|decision| decision.conn.slot);
        assert_eq!([next(), next(), next()], [Some(100_000), Some(0), Some(1)]);
        assert!(decider.admit(&mut queue, refresh(0)).is_none(), "decided, so it may come again");
    }

    #[test]
    fn a_panic_of_a_library_refuses_its_login_only() {
        let mut decider = Decider::new(Some(Arc::new(LoginRules::new(JwtRules::default()))), [1; 32]);
        let mut queue = LoginQueue::default();
        let now = Instant::now();
        decider.admit(&mut queue, login(1, now));
        decider.admit(&mut queue, login(2, now));
        let contained = halley_service::panics::contained_total();
        let first = decider.decide_next_by(&mut queue, now, |_, _, _, _| panic!("planted in the library"));
        assert_eq!(first.map(|decision| decision.result), Some(Err(AuthRefusal::Internal)));
        assert!(halley_service::panics::contained_total() > contained);
        let next = decider.decide_next(&mut queue, now);
        assert_eq!(next.map(|decision| decision.result), Some(Err(AuthRefusal::Malformed)));
    }

    #[test]
    fn a_login_that_waited_too_long_is_not_decided() {
        let mut decider = Decider::new(Some(Arc::new(LoginRules::new(JwtRules::default()))), [1; 32]);
        let mut queue = LoginQueue::default();
        let since = Instant::now();
        decider.admit(&mut queue, login(1, since));
        decider.admit(&mut queue, login(2, since));
        let in_time = decider.decide_next(&mut queue, since + Duration::from_millis(LOGIN_WAIT_MS_MAX - 1));
        assert_eq!(in_time.map(|decision| decision.result), Some(Err(AuthRefusal::Malformed)));
        let too_late = decider.decide_next(&mut queue, since + Duration::from_millis(LOGIN_WAIT_MS_MAX));
        assert_eq!(too_late.map(|decision| decision.result), Some(Err(AuthRefusal::Unavailable)));
        assert_eq!((decider.decided(), decider.unavailable()), (1, 1));
        assert!(queue.is_empty() && decider.decide_next(&mut queue, since).is_none());
    }
}
