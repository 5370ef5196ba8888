//! Which partition a key's records go to. Owns goim's function, which is Sarama's hash partitioner (goim §3): producers
//! of both kinds keep a key in one partition, and so in order. Knows no log.

/// FNV-1a, 32 bits.
const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// The partition of a key among `partitions`; 0 where there are none. The remainder is taken of a signed number first
/// and made positive then, as Sarama does: another order gives another partition.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let hash = key.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(FNV_PRIME));
    if partitions <= 0 { 0 } else { (hash.cast_signed() % partitions).abs() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of goim §9, and keys whose hash is negative, reckoned by hand.
    #[test]
    fn keys_go_where_goims_producer_sends_them() {
        for (key, of_3, of_8) in [("live://1000", 2, 4), ("1000", 1, 4)] {
            assert_eq!((partition_of(key.as_bytes(), 3), partition_of(key.as_bytes(), 8)), (of_3, of_8), "{key}");
        }
        // 0x811c9dc5 is -2,128,831,035; 0xe40c292c, of "a", is -468,965,076.
        assert_eq!((partition_of(b"", 8), partition_of(b"", 1_000)), (3, 35));
        assert_eq!((partition_of(b"a", 8), partition_of(b"a", 1_000)), (4, 76));
    }

    /// No key goes to a partition that is not there, whatever its hash.
    #[test]
    fn every_key_has_a_partition_that_exists() {
        for partitions in [1, 2, 7, 48, i32::MAX] {
            for number in 0..20_000_u32 {
                assert!((0..partitions).contains(&partition_of(&number.to_le_bytes(), partitions)));
            }
        }
        assert_eq!(partition_of(b"key", 0), 0);
    }
}
