//! Where everybody is: connection keys, users and rooms to shards and connections. Owns the tables and the limits on
//! logins. Decides what a login or a departure means. It leaves telling the shards to `feed::news`, which alone sees
//! how full their rings are. `feed::route` reads it for every push.
//!
//! A login is named by shard, slot and generation in all removals, so a late departure never erases the login that
//! came after it (goim's defect C3).

mod addresses;
mod entry;
mod logins;
mod names;
mod rooms;
mod slots;

#[cfg(test)]
mod tests;

pub use entry::{DirectoryEntry, Select};
pub use logins::{Chain, Logins};
pub use rooms::{RoomAt, Rooms, StaleCount};
pub use slots::Place;

use std::sync::Arc;

use halley_protocol::push::interest::Interest;

use crate::close::CloseReason;
use crate::mesh::msg::Login;

/// What happens to a login beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitPolicy {
    /// The oldest connection is closed until the new one fits.
    CloseOldest,
    /// The new connection is closed.
    RejectNew,
}

/// How many connections a key and a user may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// Connections of one key, at least 1; a push to the key reaches all of them.
    pub per_key_max: u32,
    /// What happens to a login beyond `per_key_max`.
    pub per_key_policy: LimitPolicy,
    /// Connections of one mid above 0; 0 = no limit.
    pub per_mid_max: u32,
    /// What happens to a login beyond `per_mid_max`.
    pub per_mid_policy: LimitPolicy,
}

impl Default for DirectoryLimits {
    /// goim 2's behaviour: a key logs in again and replaces its old connection, a user has any number of keys.
    fn default() -> Self {
        DirectoryLimits {
            per_key_max: 1,
            per_key_policy: LimitPolicy::CloseOldest,
            per_mid_max: 0,
            per_mid_policy: LimitPolicy::CloseOldest,
        }
    }
}

/// What has to happen before a login can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It can be stored as things are.
    Admit,
    /// This one must go first; ask again afterwards.
    Evict(Place, CloseReason),
    /// It will not be stored; its connection is to be closed for this reason.
    Refuse(CloseReason),
}

/// Logins and rooms of all shards, and the limits on logins.
#[derive(Debug)]
pub struct Directory {
    /// Who is logged in where.
    pub logins: Logins,
    /// Which shards have which rooms.
    pub rooms: Rooms,
    /// Limits on logins to come; those that are already stored are held to them when one of the same key or user
    /// follows.
    pub limits: DirectoryLimits,
}

impl Directory {
    /// An empty directory of this many shards.
    pub fn new(shards: u16, limits: DirectoryLimits) -> Directory {
        Directory { logins: Logins::new(shards), rooms: Rooms::new(shards), limits }
    }

    /// From now on keep a table of who is here for those who read pushes: a name is in it before any shard hears that
    /// it is known here, until the last one of it is gone (rule R10 of the log). To be called while nobody is here.
    pub fn tell(&mut self, interest: &Arc<Interest>) {
        self.logins.interest = Some(Arc::clone(interest));
        self.rooms.interest = Some(Arc::clone(interest));
    }

    /// Memory held, in bytes. Looks at some 2,000 tables, so not for every turn.
    pub fn heap_bytes(&self) -> usize {
        self.logins.heap_bytes() + self.rooms.heap_bytes()
    }

    /// Whether a login fits the limits. Looks at no more logins of its key and user than the limits allow.
    pub fn admission(&self, login: &Login) -> Admission {
        let limits = &self.limits;
        let of_key = check(self.logins.of_key(&login.key), limits.per_key_max.max(1));
        let of_mid = match limits.per_mid_max {
            0 => None,
            max => check(self.logins.of_mid(login.mid), max),
        };
        // A refusal by either goes before an eviction by the other: nobody should be closed for a login that does not
        // come.
        match (of_key, of_mid, limits.per_key_policy, limits.per_mid_policy) {
            (Some(_), _, LimitPolicy::RejectNew, _) => Admission::Refuse(CloseReason::KeyLimit),
            (None, Some(_), _, LimitPolicy::RejectNew) => Admission::Refuse(CloseReason::UserLimit),
            // A new connection of the same user may fit once the old one of its key is gone.
            (Some(place), Some(_), LimitPolicy::CloseOldest, LimitPolicy::RejectNew)
                if self.logins.mid(place) != login.mid =>
            {
                Admission::Refuse(CloseReason::UserLimit)
            }
            (Some(place), _, LimitPolicy::CloseOldest, _) => Admission::Evict(place, CloseReason::KeyReplaced),
            (None, Some(place), _, LimitPolicy::CloseOldest) => Admission::Evict(place, CloseReason::UserLimit),
            (None, None, ..) => Admission::Admit,
        }
    }
}

/// The oldest login of a chain that holds `max` or more.
fn check(mut chain: Chain<'_>, max: u32) -> Option<Place> {
    let oldest = chain.clone().next()?;
    chain.nth(max as usize - 1).map(|_| oldest)
}
