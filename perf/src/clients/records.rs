//! Records as a topic of pushes has them, with values of one size. Owns their bodies, whose words
//! compress as text does.

use bytes::Bytes;
use halley_protocol::push::{Push, PushRecord, Target};

/// Bytes of a record's value.
pub(crate) const VALUE_BYTES: usize = 300;

/// Digits that do not repeat, so that compression has something to do.
#[derive(Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    /// The same ones every time.
    pub(crate) fn new() -> Noise {
        Noise(1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 44
    }
}

/// A push to whoever it is, with a body that makes its value [`VALUE_BYTES`] long.
pub(crate) fn record(target: Target, op: i32, noise: &mut Noise) -> PushRecord {
    let mut body = String::from("{\"text\":\"");
    while body.len() < VALUE_BYTES {
        body.push_str(&format!("{:06} words ", noise.next()));
    }
    let push = Push { target, op, body: Bytes::new() };
    let mut record = PushRecord { push, server: String::new(), receipt: 0 };
    // With its tag and length, a body of this size takes three bytes more.
    let rest = VALUE_BYTES - record.encode().len() - 3;
    record.push.body = Bytes::from(body).slice(..rest);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_one_size() {
        let targets = [Target::Keys(vec!["a".repeat(36)]), Target::Mids(vec![7]), Target::Room("live://7".to_owned())];
        for target in targets {
            assert_eq!(record(target, 1000, &mut Noise::new()).encode().len(), VALUE_BYTES);
        }
    }
}
