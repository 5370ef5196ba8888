//! Who counts as one stranger. Owns the rule by which peers are counted together; counts nobody itself.

use std::net::IpAddr;

/// Peers that share a bound: an IPv4 address, an IPv6 /64 (one customer usually has a whole one), or this machine's
/// sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressBlock {
    /// Whoever comes over a Unix-domain socket.
    Local,
    /// One IPv4 address, also when it comes mapped into IPv6 (RFC 4291 §2.5.5.2).
    V4(u32),
    /// The upper half of an IPv6 address.
    V6(u64),
}

impl From<IpAddr> for AddressBlock {
    fn from(address: IpAddr) -> AddressBlock {
        match address.to_canonical() {
            IpAddr::V4(v4) => AddressBlock::V4(v4.to_bits()),
            IpAddr::V6(v6) => AddressBlock::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_counted_once() {
        let block = |text: &str| AddressBlock::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(block("192.0.2.1"), block("::ffff:192.0.2.1"));
        assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
        assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(block("2001:db8::1"), block("2001:db8:0:1::1"));
    }
}
