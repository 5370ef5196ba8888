//! Source addresses of logins, each stored once with the number of logins from it (goim's `ip_count`). Owns the
//! addresses; ports stay with the logins.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use crate::table::index::Index;
use crate::table::slab::Slab;

/// Every address that a login comes from, with its number of logins.
#[derive(Debug)]
pub(super) struct Addresses {
    addresses: Slab<Address>,
    index: Index<u32>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Address {
    /// IPv4 as IPv4-mapped IPv6.
    octets: [u8; 16],
    logins: u32,
}

impl Addresses {
    /// Before the first login.
    pub(super) fn new() -> Addresses {
        Addresses { addresses: Slab::new(), index: Index::new(), hasher: RandomState::new() }
    }

    /// Distinct addresses.
    pub(super) fn len(&self) -> u64 {
        u64::from(self.addresses.len())
    }

    /// Memory held, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.addresses.heap_bytes() + self.index.heap_bytes()
    }

    /// Count one login from an address; returns the number to give back.
    pub(super) fn enter(&mut self, address: IpAddr) -> u32 {
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let (addresses, hasher) = (&mut self.addresses, &self.hasher);
        let hash = hasher.hash_one(octets);
        if let Some(known) = self.index.get(hash, |at| addresses[at].octets == octets) {
            addresses[known].logins += 1;
            return known;
        }
        let at = addresses.insert(Address { octets, logins: 1 });
        self.index.insert(hash, at, |at| hasher.hash_one(addresses[at].octets));
        at
    }

    /// One login from an address is gone.
    pub(super) fn leave(&mut self, at: u32) {
        let address = &mut self.addresses[at];
        address.logins -= 1;
        if address.logins == 0 {
            let hash = self.hasher.hash_one(address.octets);
            self.index.remove(hash, |other| other == at);
            self.addresses.remove(at);
        }
    }

    /// The address with a number that [`Addresses::enter`] gave, IPv4 as such.
    pub(super) fn address(&self, at: u32) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.addresses[at].octets)).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_until_its_last_login_leaves() {
        let mut addresses = Addresses::new();
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let (a, b, c) = (addresses.enter(v4), addresses.enter(v6), addresses.enter(v4));
        assert_eq!((a, addresses.len()), (c, 2));
        assert_eq!((addresses.address(a), addresses.address(b)), (v4, v6));
        addresses.leave(a);
        assert_eq!(addresses.len(), 2, "one login from it is left");
        addresses.leave(c);
        assert_eq!(addresses.len(), 1);
        addresses.enter(v4);
        assert_eq!(addresses.len(), 2, "a forgotten address can come back");
    }
}
