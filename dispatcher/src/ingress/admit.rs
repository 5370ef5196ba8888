//! What a push may be. Owns the bounds on one push, whatever transport it comes by, and the sentence that tells a
//! caller which one he met; who may push is [`super::access`]'s business.

use std::fmt;

use halley_protocol::goim::{FrameError, check_batch, op};
use halley_protocol::push::Target;

/// Bounds on one push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the message. goim's producer takes records up to 1,000,000 bytes.
    pub body_bytes_max: usize,
    /// Keys or mids in one push, repeated ones included.
    pub targets_max: usize,
    /// Bytes of one key or of a full room key.
    pub name_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { body_bytes_max: 1_000_000, targets_max: 10_000, name_bytes_max: 1024 }
    }
}

/// What is wrong with a push; the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The message is longer than allowed.
    BodyTooLarge {
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that are allowed.
        bytes_max: usize,
    },
    /// No key or no mid is named.
    NoTarget,
    /// More keys or mids than allowed.
    TooManyTargets {
        /// Keys or mids that are allowed.
        count_max: usize,
    },
    /// A key or the room is empty.
    EmptyName,
    /// A key or the room is longer than allowed.
    NameTooLong {
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that are allowed.
        bytes_max: usize,
    },
    /// The speed does not fit goim's int32.
    SpeedTooHigh,
    /// The op is 0, which goim's own routes take for a forgotten parameter.
    ZeroOp,
    /// A mid is not above 0, which no user's is.
    MidNotPositive,
    /// The message of a push with op 9, in which clients look for frames, is not one frame or more, each whole.
    NoBatch(FrameError),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::BodyTooLarge { bytes, bytes_max } => {
                write!(f, "the message has {bytes} bytes, at most {bytes_max} are allowed")
            }
            Invalid::NoTarget => f.write_str("name at least one key or mid to push to"),
            Invalid::TooManyTargets { count_max } => {
                write!(f, "too many keys or mids in one push, at most {count_max} are allowed")
            }
            Invalid::EmptyName => f.write_str("a key or room must not be empty"),
            Invalid::NameTooLong { bytes, bytes_max } => {
                write!(f, "a key or room of {bytes} bytes, at most {bytes_max} are allowed")
            }
            Invalid::SpeedTooHigh => write!(f, "speed is at most {}", i32::MAX),
            Invalid::ZeroOp => f.write_str("op must not be 0"),
            Invalid::MidNotPositive => f.write_str("a mid must be above 0"),
            Invalid::NoBatch(wrong) => {
                write!(f, "op 9 is goim's raw op, whose message must be whole goim frames: {wrong}; use another op")
            }
        }
    }
}

impl std::error::Error for Invalid {}

impl Limits {
    /// Whether a push keeps within the bounds.
    pub fn check(&self, target: &Target, body_bytes: usize) -> Result<(), Invalid> {
        if body_bytes > self.body_bytes_max {
            return Err(Invalid::BodyTooLarge { bytes: body_bytes, bytes_max: self.body_bytes_max });
        }
        match target {
            Target::Keys(keys) => {
                self.check_count(keys.len())?;
                keys.iter().try_for_each(|key| self.check_name(key))
            }
            Target::Mids(mids) => self.check_count(mids.len()),
            Target::Room(room) => self.check_name(room),
            Target::All { speed } if i32::try_from(*speed).is_err() => Err(Invalid::SpeedTooHigh),
            Target::All { .. } => Ok(()),
        }
    }

    /// Whether clients can read a message of this op. They take op 9 for a batch, whose inner lengths they trust (goim
    /// §1.9).
    pub fn check_message(op: i32, body: &[u8]) -> Result<(), Invalid> {
        if op == op::RAW { check_batch(body).map_err(Invalid::NoBatch) } else { Ok(()) }
    }

    /// What our own interfaces ask for on top: mistakes that goim's routes let pass without effect are named.
    pub fn check_own(target: &Target, op: i32) -> Result<(), Invalid> {
        match target {
            _ if op == 0 => Err(Invalid::ZeroOp),
            Target::Mids(mids) if mids.iter().any(|mid| *mid <= 0) => Err(Invalid::MidNotPositive),
            _ => Ok(()),
        }
    }

    fn check_count(&self, count: usize) -> Result<(), Invalid> {
        match count {
            0 => Err(Invalid::NoTarget),
            count if count > self.targets_max => Err(Invalid::TooManyTargets { count_max: self.targets_max }),
            _ => Ok(()),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Invalid> {
        match name.len() {
            0 => Err(Invalid::EmptyName),
            bytes if bytes > self.name_bytes_max => Err(Invalid::NameTooLong { bytes, bytes_max: self.name_bytes_max }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each bound takes its own value and refuses one more.
    #[test]
    fn bounds_are_inclusive() {
        let limits = Limits { body_bytes_max: 4, targets_max: 2, name_bytes_max: 3 };
        let keys = |keys: &[&str]| Target::Keys(keys.iter().map(|key| (*key).into()).collect());
        let room = |room: &str| Target::Room(room.into());
        let speed_max = u32::try_from(i32::MAX).unwrap();
        assert_eq!(limits.check(&room("abc"), 4), Ok(()));
        assert_eq!(limits.check(&room("abc"), 5), Err(Invalid::BodyTooLarge { bytes: 5, bytes_max: 4 }));
        assert_eq!(limits.check(&room("abcd"), 0), Err(Invalid::NameTooLong { bytes: 4, bytes_max: 3 }));
        assert_eq!(limits.check(&room(""), 0), Err(Invalid::EmptyName));
        assert_eq!(limits.check(&keys(&["a", "abc"]), 0), Ok(()));
        assert_eq!(limits.check(&keys(&["a", "abcd"]), 0), Err(Invalid::NameTooLong { bytes: 4, bytes_max: 3 }));
        assert_eq!(limits.check(&keys(&["a", ""]), 0), Err(Invalid::EmptyName));
        assert_eq!(limits.check(&keys(&[]), 0), Err(Invalid::NoTarget));
        assert_eq!(limits.check(&Target::Mids(vec![1, 2]), 0), Ok(()));
        let three = Err(Invalid::TooManyTargets { count_max: 2 });
        assert_eq!(limits.check(&Target::Mids(vec![1, 2, 3]), 0), three);
        assert_eq!(limits.check(&Target::All { speed: speed_max }, 0), Ok(()));
        assert_eq!(limits.check(&Target::All { speed: speed_max + 1 }, 0), Err(Invalid::SpeedTooHigh));
    }

    /// Each cut of a batch of two frames, and lengths that lie.
    #[test]
    fn a_raw_message_is_whole_frames() {
        let frame = b"\0\0\0\x12\0\x10\0\x01\0\0\x03\xe8\0\0\0\0hi";
        let batch = [&frame[..], frame].concat();
        for end in 0..=batch.len() {
            let cut = Limits::check_message(op::RAW, &batch[..end]);
            assert_eq!(cut.is_ok(), end == frame.len() || end == batch.len(), "{end}: {cut:?}");
            assert_eq!(Limits::check_message(1000, &batch[..end]), Ok(()));
        }
        let mut short = frame.to_vec();
        short[3] = 15;
        assert_eq!(Limits::check_message(op::RAW, &short), Err(Invalid::NoBatch(FrameError::Length(15))));
    }

    #[test]
    fn our_own_interfaces_name_what_could_never_arrive() {
        assert_eq!(Limits::check_own(&Target::Mids(vec![1, 2]), -1), Ok(()));
        assert_eq!(Limits::check_own(&Target::Mids(vec![1, 2]), 0), Err(Invalid::ZeroOp));
        assert_eq!(Limits::check_own(&Target::Mids(vec![1, 0]), 1), Err(Invalid::MidNotPositive));
    }
}
