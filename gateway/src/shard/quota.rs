//! Connections per source address over all shards. Owns the one table that shards share. It is touched at accept and at
//! the end of a connection, only while the limit is on, and never on the delivery path. Each of its parts is behind a
//! lock of its own, so that a shard waits for no other one's part to grow.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PARTS: usize = 64;

/// Addresses counted alike: an IPv4 address, or an IPv6 /64 (one customer usually has a whole one).
fn block(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) | 1 << 127 | 0xffff << 32,
        IpAddr::V6(v6) => u128::from(v6) & !u128::from(u64::MAX),
    }
}

/// Connections by source address: at most one entry per connection.
#[derive(Debug)]
pub struct AddressQuota {
    parts: [Mutex<HashMap<u128, u32>>; PARTS],
    hasher: RandomState,
}

impl AddressQuota {
    /// Count one connection more, unless `limit` is reached.
    pub fn take(&self, address: IpAddr, limit: u32) -> bool {
        let block = block(address);
        let mut held = self.part(block);
        let count = held.entry(block).or_default();
        if *count >= limit {
            return false;
        }
        *count += 1;
        true
    }

    /// Count one connection less.
    pub fn give_back(&self, address: IpAddr) {
        let block = block(address);
        let mut held = self.part(block);
        if let Some(count) = held.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                held.remove(&block);
            }
        }
    }

    fn part(&self, block: u128) -> MutexGuard<'_, HashMap<u128, u32>> {
        let part = usize::try_from(self.hasher.hash_one(block) % PARTS as u64).expect("smaller than PARTS");
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for AddressQuota {
    fn default() -> Self {
        AddressQuota { parts: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit holds per IPv4 address and per IPv6 /64, and comes back when a connection ends.
    #[test]
    fn counts_by_address_block() {
        let quota = AddressQuota::default();
        for (first, same, other) in
            [("127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"), ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")]
        {
            let [first, same, other] = [first, same, other].map(|text| text.parse::<IpAddr>().expect("an address"));
            assert!(quota.take(first, 2) && quota.take(same, 2) && !quota.take(first, 2));
            assert!(quota.take(other, 2));
            quota.give_back(same);
            assert!(quota.take(first, 2));
        }
    }
}
