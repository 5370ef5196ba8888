//! Step 7 of a push on its way out: which shards and connections a push is for. Owns the look into the directory, and
//! the split of a broadcast's speed; writes to no ring. Next: `deliver`.

use halley_protocol::push::Target;

use crate::mesh::msg::{ConnRef, ShardTarget};

use super::directory::{Directory, Place};

/// Connections of one push whose memory is kept for the next.
const CONNS_KEPT_MAX: usize = 4096;

/// Reused memory of one push after the other.
#[derive(Debug, Default)]
pub(super) struct Route {
    conns: Vec<(u16, ConnRef)>,
    /// What each shard is to be given.
    targets: Vec<(u16, ShardTarget)>,
}

impl Route {
    /// The shards that have somebody for a target, each once. A connection named twice is given the push once
    /// (goim delivers it twice).
    pub(super) fn find(&mut self, target: &Target, directory: &Directory) -> Vec<(u16, ShardTarget)> {
        let mut targets = std::mem::take(&mut self.targets);
        let logins = &directory.logins;
        match target {
            Target::Keys(keys) => self.group(keys.iter().flat_map(|key| logins.of_key(key)), directory, &mut targets),
            Target::Mids(mids) => self.group(mids.iter().flat_map(|&mid| logins.of_mid(mid)), directory, &mut targets),
            Target::Room(room) => {
                targets.extend(directory.rooms.find(room).map(|at| (at.shard, ShardTarget::Room(at.room))));
            }
            Target::All { speed } => {
                let shards = share(*speed, logins.per_shard());
                targets.extend(shards.map(|(shard, per_second)| (shard, ShardTarget::All { per_second })));
            }
        }
        targets
    }

    /// Take back the memory of what [`Route::find`] gave, for the next push.
    pub(super) fn reuse(&mut self, mut targets: Vec<(u16, ShardTarget)>) {
        targets.clear();
        self.targets = targets;
    }

    fn group(
        &mut self,
        places: impl Iterator<Item = Place>,
        directory: &Directory,
        targets: &mut Vec<(u16, ShardTarget)>,
    ) {
        self.conns.clear();
        self.conns.extend(places.map(|place| directory.logins.conn(place)));
        if self.conns.len() > 1 {
            self.conns.sort_unstable_by_key(|&(shard, conn)| (shard, conn.slot));
            self.conns.dedup();
        }
        for group in self.conns.chunk_by(|(a, _), (b, _)| a == b) {
            let target = match group {
                [(_, conn)] => ShardTarget::Conn(*conn),
                _ => ShardTarget::Conns(group.iter().map(|&(_, conn)| conn).collect()),
            };
            targets.push((group[0].0, target));
        }
        self.conns.shrink_to(CONNS_KEPT_MAX);
    }
}

/// Split `speed` over the shards that have logins, by how many they have; 0 stays 0, no pacing. The shares sum up to
/// `speed` unless it is below the number of these shards: each gets at least 1, for 0 would mean no pacing at all.
fn share(speed: u32, logins: &[u32]) -> impl Iterator<Item = (u16, u32)> {
    let mut shares: Vec<(u16, u32, u64)> = Vec::new();
    let total: u64 = logins.iter().map(|&logins| u64::from(logins)).sum();
    for (shard, &logins) in (0u16..).zip(logins).filter(|(_, logins)| **logins > 0) {
        let exact = u64::from(speed) * u64::from(logins);
        let whole = u32::try_from(exact / total).unwrap_or(speed);
        shares.push((shard, if speed == 0 { 0 } else { whole.max(1) }, exact % total));
    }
    let sum = |shares: &[(u16, u32, u64)]| shares.iter().map(|&(_, share, _)| u64::from(share)).sum::<u64>();
    let wanted = u64::from(speed);
    // What rounding down left goes to the largest remainders, what raising to 1 took too much comes from the largest
    // shares.
    shares.sort_unstable_by_key(|&(shard, _, remainder)| (std::cmp::Reverse(remainder), shard));
    let missing = usize::try_from(wanted.saturating_sub(sum(&shares))).unwrap_or(usize::MAX);
    shares.iter_mut().take(missing).for_each(|(_, share, _)| *share += 1);
    let surplus = sum(&shares).saturating_sub(wanted);
    for _ in 0..surplus {
        match shares.iter_mut().max_by_key(|(_, share, _)| *share) {
            Some((_, share, _)) if *share > 1 => *share -= 1,
            _ => break,
        }
    }
    shares.sort_unstable_by_key(|&(shard, ..)| shard);
    shares.into_iter().map(|(shard, share, _)| (shard, share))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::share;

    fn shares(speed: u32, logins: &[u32]) -> Vec<(u16, u32)> {
        share(speed, logins).collect()
    }

    #[test]
    fn speed_is_split_by_logins() {
        assert_eq!(shares(0, &[5, 0, 7]), [(0, 0), (2, 0)], "not paced, and only where somebody is");
        assert_eq!(shares(100, &[300, 100]), [(0, 75), (1, 25)]);
        assert_eq!(shares(10, &[1, 999]), [(0, 1), (1, 9)], "no share may be 0");
        assert_eq!(shares(1, &[10, 10, 10]), [(0, 1), (1, 1), (2, 1)], "slow stays paced");
        assert_eq!(shares(u32::MAX, &[u32::MAX]), [(0, u32::MAX)]);
        assert_eq!(shares(5, &[0, 0]), []);
    }

    proptest! {
        #[test]
        fn shares_sum_up_and_none_is_zero(
            speed in 1u32..100_000,
            logins in proptest::collection::vec(0u32..5_000, 1..64),
        ) {
            let shares = shares(speed, &logins);
            let populated = logins.iter().filter(|&&logins| logins > 0).count();
            prop_assert_eq!(shares.len(), populated);
            prop_assert!(shares.iter().all(|&(shard, share)| share > 0 && logins[usize::from(shard)] > 0));
            if populated > 0 {
                let sum: u32 = shares.iter().map(|&(_, share)| share).sum();
                prop_assert_eq!(sum as usize, (speed as usize).max(populated));
            }
        }
    }
}
