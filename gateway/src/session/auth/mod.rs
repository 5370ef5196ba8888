//! How a login is decided. `open` reads goim's unsigned JSON in the shard, `jwt` checks a signed token on the control
//! thread with the keys that `keys` holds. Owns what both need; sends nothing and waits for nobody: `shard::inbound`
//! and `control::logins` call in and apply the outcome.

pub mod json;
pub mod jwt;
pub mod keys;
pub mod open;

/// A random (version 4) UUID in its 36 character form, made of `random` (RFC 9562 §5.4). goim gives one to every login
/// that names no key (goim §1.6).
pub fn uuid_v4(random: u128) -> Box<str> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bits = (random & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    let mut text = String::with_capacity(36);
    for (index, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(HEX[usize::from(byte >> 4)].into());
        text.push(HEX[usize::from(byte & 15)].into());
    }
    text.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::uuid_v4;

    #[test]
    fn a_generated_key_is_a_version_4_uuid() {
        assert_eq!(&*uuid_v4(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(&*uuid_v4(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(&*uuid_v4(0x3d7c6d1e_8a1b_0f7e_1b0a_2f1c5d6e7f80), "3d7c6d1e-8a1b-4f7e-9b0a-2f1c5d6e7f80");
    }
}
