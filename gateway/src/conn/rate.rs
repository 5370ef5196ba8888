//! Token buckets of one connection, as times. Owns three 4-byte clocks, since every connection has its own, idle ones
//! included. Decides nothing about what follows when one is exceeded: `shard::inbound` closes the connection. The
//! bucket of accepts (`shard::accept`) is another: there is one a shard, and it must tell when it will hold something
//! again.

use crate::limits::{Rate, ShardSettings};

/// Largest span a bucket may cover, so that wrapping 32-bit microseconds stay unambiguous.
pub const BUCKET_SPAN_MAX_US: u64 = 1 << 30;

/// How often the clocks of a silent client must be settled at least, in milliseconds.
pub const SETTLE_MS: u64 = 15 * 60 * 1000;

/// One bucket: the time at which it would be empty of debt, in wrapping microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket(u32);

impl Bucket {
    /// Bring a clock that is in the past to now. Must happen at least every 2³¹ µs (35 min), or the past is taken for
    /// the future: every frame does it, and the shard for clients that are silent.
    fn settle(&mut self, now_us: u32) {
        if now_us.wrapping_sub(self.0) < 1 << 31 {
            self.0 = now_us;
        }
    }

    /// Take `units`; false when the bucket does not hold them.
    fn take(&mut self, units: u32, rate: Rate, now_us: u32) -> bool {
        if rate.per_second == 0 {
            return true;
        }
        let per_second = u64::from(rate.per_second);
        let cost = (u64::from(units) * 1_000_000).div_ceil(per_second);
        let span = (u64::from(rate.burst.max(1)) * 1_000_000 / per_second).min(BUCKET_SPAN_MAX_US);
        let debt = u64::from(self.0.wrapping_sub(now_us));
        if debt + cost > span {
            return false;
        }
        self.0 = self.0.wrapping_add(u32::try_from(cost).unwrap_or(u32::MAX));
        true
    }
}

/// What a client exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// Frames a second.
    Frames,
    /// Bytes a second.
    Bytes,
    /// Room changes a second.
    RoomChanges,
}

/// The buckets of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    frames: Bucket,
    bytes: Bucket,
    room_changes: Bucket,
}

impl Buckets {
    /// Full buckets.
    pub fn full(now_us: u32) -> Buckets {
        Buckets { frames: Bucket(now_us), bytes: Bucket(now_us), room_changes: Bucket(now_us) }
    }

    /// Bring all clocks up to date; see [`SETTLE_MS`].
    pub fn settle(&mut self, now_us: u32) {
        self.frames.settle(now_us);
        self.bytes.settle(now_us);
        self.room_changes.settle(now_us);
    }

    /// Account for frames and bytes.
    pub fn take(&mut self, frames: u32, bytes: u32, settings: &ShardSettings, now_us: u32) -> Result<(), Exceeded> {
        self.settle(now_us);
        if !self.frames.take(frames, settings.frames, now_us) {
            return Err(Exceeded::Frames);
        }
        if !self.bytes.take(bytes, settings.bytes, now_us) {
            return Err(Exceeded::Bytes);
        }
        Ok(())
    }

    /// Account for one room change, after its frame.
    pub fn room_change(&mut self, settings: &ShardSettings, now_us: u32) -> Result<(), Exceeded> {
        if self.room_changes.take(1, settings.room_changes, now_us) { Ok(()) } else { Err(Exceeded::RoomChanges) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(per_second: u32, burst: u32) -> ShardSettings {
        ShardSettings { frames: Rate { per_second, burst }, ..ShardSettings::default() }
    }

    /// A burst passes whole, the next unit does not, and the average rate comes back with time, across the wrap.
    #[test]
    fn burst_then_average() {
        for start in [0, u32::MAX - 10_000_000, u32::MAX - 1, 1 << 31] {
            let settings = settings(100, 1000);
            let mut buckets = Buckets::full(start);
            for _ in 0..1000 {
                assert_eq!(buckets.take(1, 0, &settings, start), Ok(()));
            }
            assert_eq!(buckets.take(1, 0, &settings, start), Err(Exceeded::Frames));
            let later = start.wrapping_add(1_000_000);
            let passed = (0..200).filter(|_| buckets.take(1, 0, &settings, later).is_ok()).count();
            assert_eq!(passed, 100);
        }
    }

    /// A client that is silent for hours, its clocks settled in time, is as welcome as before.
    #[test]
    fn silence_costs_nothing() {
        let settings = settings(1, 2);
        let mut now = 5u32;
        let mut buckets = Buckets::full(now);
        for _ in 0..40 {
            assert_eq!(buckets.take(1, 0, &settings, now), Ok(()));
            for _ in 0..5 {
                now = now.wrapping_add(u32::try_from(SETTLE_MS * 1000).expect("below the wrap"));
                buckets.settle(now);
            }
        }
    }

    /// Rate 0 never refuses.
    #[test]
    fn zero_is_unlimited() {
        let settings = settings(0, 0);
        let mut buckets = Buckets::full(7);
        assert!((0..100_000).all(|_| {
            buckets
                .take(1, 16, &ShardSettings { bytes: Rate { per_second: 0, burst: 0 }, ..settings.clone() }, 7)
                .is_ok()
        }));
    }
}
