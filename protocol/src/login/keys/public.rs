//! What a key must be to check a signature. Owns the sizes and forms of each kind of key, and the line between one that
//! cannot be used, which harms nobody, and one that is too weak, with which others could sign. Reads no file and knows
//! no JSON: `super` and `jwk` bring the bytes.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use der::asn1::AnyRef;
use der::{Reader as _, SliceReader, Tag, Tagged as _};
use jsonwebtoken::DecodingKey;

use super::SECRET_BYTES_MIN;

/// Bits of the shortest RSA modulus (RFC 7518 §3.3).
const RSA_BITS_MIN: usize = 2048;
/// Bits of the longest RSA modulus that the library verifies with.
const RSA_BITS_MAX: usize = 8192;
/// Bits of the longest RSA exponent that the library verifies with: longer ones cost too much.
const RSA_EXPONENT_BITS_MAX: usize = 33;
/// Bytes of one coordinate on P-256 (RFC 7518 §6.2.1.2), and of an Ed25519 key (RFC 8037 §2).
const COORDINATE_BYTES: usize = 32;

/// Ed25519 keys of small order, the sign bit left out: for each a signature of any text can be made by anybody, since
/// RFC 8032 §5.1.7 multiplies the key by a number that is a multiple of its order for one text in eight, or more. The
/// canonical ones, and 0 and 1 written as p and p + 1.
const SMALL_ORDER: [[u8; COORDINATE_BYTES]; 7] = [
    [0; COORDINATE_BYTES],
    ends(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    ends(0xec, 0xff, 0x7f),
    ends(0xed, 0xff, 0x7f),
    ends(0xee, 0xff, 0x7f),
];

/// Bytes that differ at their ends only.
const fn ends(first: u8, middle: u8, last: u8) -> [u8; COORDINATE_BYTES] {
    let mut bytes = [middle; COORDINATE_BYTES];
    bytes[0] = first;
    bytes[COORDINATE_BYTES - 1] = last;
    bytes
}

/// Why a key is not used. Its text is a clause about "it", and holds no key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It cannot be read, is for something else, or is beyond what the library verifies with.
    Unusable(String),
    /// Others than its owner could sign.
    Weak(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Fault::Unusable(reason) | Fault::Weak(reason)) = self;
        f.write_str(reason)
    }
}

fn unusable<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Unusable(reason.into()))
}

/// A secret for HS256.
pub(super) fn secret(bytes: &[u8]) -> Result<DecodingKey, Fault> {
    if bytes.len() < SECRET_BYTES_MIN {
        let reason = format!("it is a secret of {} bytes, at least {SECRET_BYTES_MIN} are needed", bytes.len());
        return Err(Fault::Weak(reason));
    }
    Ok(DecodingKey::from_secret(bytes))
}

/// Modulus and exponent of an RSA key in DER (RFC 8017 §A.1.1), big-endian; `None` = it is something else. What follows
/// them does not count.
pub(super) fn rsa_numbers(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut numbers = SliceReader::new(value(&mut SliceReader::new(key).ok()?, Tag::Sequence)?).ok()?;
    Some((integer(&mut numbers)?, integer(&mut numbers)?))
}

/// The bytes of the next integer. Its sign does not count: some makers forget the zero before a first bit that is set.
fn integer<'a>(fields: &mut SliceReader<'a>) -> Option<&'a [u8]> {
    match value(fields, Tag::Integer)? {
        // Not the shortest form (X.690 §8.3.2).
        [] | [0, ..=0x7f, ..] => None,
        bytes => Some(bytes),
    }
}

/// What stands inside the next field, if it is the expected one.
fn value<'a>(fields: &mut SliceReader<'a>, expected: Tag) -> Option<&'a [u8]> {
    let field: AnyRef<'a> = fields.decode().ok()?;
    (field.tag() == expected).then(|| field.value())
}

/// An RSA key for RS256: modulus and exponent, big-endian.
pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, Fault> {
    let (modulus, exponent) = (number(modulus), number(exponent));
    let bits = bits(modulus);
    if bits < RSA_BITS_MIN {
        return Err(Fault::Weak(format!("it is an RSA key of {bits} bits, at least {RSA_BITS_MIN} are needed")));
    }
    // With 1 a signature is the text itself; an even one is no RSA, and some such signatures can be made by anybody.
    if exponent == [1] || exponent.last().is_none_or(|last| last.is_multiple_of(2)) {
        return Err(Fault::Weak("its RSA exponent is 1 or even".to_owned()));
    }
    if bits > RSA_BITS_MAX {
        return unusable(format!("it is an RSA key of {bits} bits, at most {RSA_BITS_MAX} can be verified with"));
    }
    if self::bits(exponent) > RSA_EXPONENT_BITS_MAX {
        return unusable(format!("its RSA exponent has more than {RSA_EXPONENT_BITS_MAX} bits"));
    }
    if modulus.last().is_none_or(|last| last.is_multiple_of(2)) {
        return unusable("its RSA modulus is even");
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// A point of P-256 for ES256.
pub(super) fn p256(x: &[u8], y: &[u8]) -> Result<DecodingKey, Fault> {
    if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
        return unusable(format!("its x and y have {} and {} bytes, not {COORDINATE_BYTES}", x.len(), y.len()));
    }
    // Uncompressed (SEC 1 §2.3.3).
    let point = [&[4], x, y].concat();
    match ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point) {
        Ok(_) => Ok(DecodingKey::from_ec_der(&point)),
        Err(_) => unusable("its x and y are no point of P-256"),
    }
}

/// A key for EdDSA on Ed25519.
pub(super) fn ed25519(x: &[u8]) -> Result<DecodingKey, Fault> {
    let Ok(mut bytes) = <[u8; COORDINATE_BYTES]>::try_from(x) else {
        return unusable(format!("its x has {} bytes, not {COORDINATE_BYTES}", x.len()));
    };
    bytes[COORDINATE_BYTES - 1] &= 0x7f;
    if SMALL_ORDER.contains(&bytes) {
        return Err(Fault::Weak("it is an Ed25519 key of small order, for which anybody can sign".to_owned()));
    }
    Ok(DecodingKey::from_ed_der(x))
}

/// Whether they are the same key.
pub(super) fn same(a: &DecodingKey, b: &DecodingKey) -> bool {
    use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
    match (a.kind(), b.kind()) {
        (SecretOrDer(a), SecretOrDer(b)) => a == b,
        (RsaModulusExponent { n, e }, RsaModulusExponent { n: other_n, e: other_e }) => n == other_n && e == other_e,
        _ => false,
    }
}

/// A big-endian number without leading zeros.
fn number(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}

/// Bits of a number without leading zeros.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_weak(result: Result<DecodingKey, Fault>) -> bool {
        matches!(result, Err(Fault::Weak(_)))
    }

    fn is_unusable(result: Result<DecodingKey, Fault>) -> bool {
        matches!(result, Err(Fault::Unusable(_)))
    }

    /// An odd number of so many bits.
    fn odd(bits: usize) -> Vec<u8> {
        let mut number = vec![0xff; bits.div_ceil(8)];
        number[0] = 0xff >> (number.len() * 8 - bits);
        number
    }

    #[test]
    fn rsa_keys_are_two_integers() {
        let right: [(&[u8], &[u8], &[u8]); 4] = [
            (&[0x30, 6, 2, 1, 5, 2, 1, 3], &[5], &[3]),
            // With the zero before a first bit that is set, and without it.
            (&[0x30, 8, 2, 2, 0, 0x85, 2, 2, 0xff, 0x83], &[0, 0x85], &[0xff, 0x83]),
            // A third number, and a byte behind the key.
            (&[0x30, 9, 2, 1, 5, 2, 1, 3, 2, 1, 7], &[5], &[3]),
            (&[0x30, 6, 2, 1, 5, 2, 1, 3, 0], &[5], &[3]),
        ];
        for (key, modulus, exponent) in right {
            assert_eq!(rsa_numbers(key), Some((modulus, exponent)), "{key:x?}");
        }
        let wrong: [&[u8]; 8] = [
            &[],
            &[0x30, 3, 2, 1, 5],
            &[0x30, 6, 2, 1, 5, 2, 1],
            &[0x31, 6, 2, 1, 5, 2, 1, 3],
            &[0x30, 6, 2, 1, 5, 4, 1, 3],
            &[0x30, 5, 2, 0, 2, 1, 3],
            &[0x30, 7, 2, 2, 0, 5, 2, 1, 3],
            &[0x30, 0x80, 2, 1, 5, 2, 1, 3, 0, 0],
        ];
        for key in wrong {
            assert_eq!(rsa_numbers(key), None, "{key:x?}");
        }
    }

    #[test]
    fn rsa_keys_have_a_real_size() {
        const F4: [u8; 3] = [1, 0, 1];
        let padded = |bits: usize| [vec![0; 64], odd(bits)].concat();
        for weak in [odd(2047), odd(1024), padded(2047), padded(1024), vec![], vec![0; 300], odd(24)] {
            assert!(is_weak(rsa(&weak, &F4)), "{} bytes", weak.len());
        }
        for right in [odd(2048), odd(3072), odd(8192), padded(2048), padded(8192)] {
            assert!(rsa(&right, &F4).is_ok(), "{} bytes", right.len());
        }
        let mut even = odd(2048);
        *even.last_mut().expect("bytes") = 0xfe;
        assert!(is_unusable(rsa(&odd(8193), &F4)) && is_unusable(rsa(&even, &F4)));
    }

    #[test]
    fn rsa_exponents_are_odd_and_above_1() {
        for weak in [&[1][..], &[0, 1], &[], &[0], &[2], &[1, 0, 0], &[0, 0, 4]] {
            assert!(is_weak(rsa(&odd(2048), weak)), "{weak:?}");
        }
        for right in [&[3][..], &[1, 0, 1], &[0, 1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff]] {
            assert!(rsa(&odd(2048), right).is_ok(), "{right:?}");
        }
        assert!(is_unusable(rsa(&odd(2048), &[2, 0, 0, 0, 1])));
    }

    #[test]
    fn points_are_on_their_curve() {
        // The base point of P-256 (SEC 2 §2.4.2).
        let x = [
            0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03,
            0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
        ];
        let y = [
            0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce,
            0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
        ];
        assert!(p256(&x, &y).is_ok());
        assert!(is_unusable(p256(&y, &x)) && is_unusable(p256(&x[1..], &y)) && is_unusable(p256(&x, &[])));
        assert!(is_unusable(p256(&[0; 32], &[0; 32])));
    }

    /// Each key that is said to be weak is: a signature that needs no private key verifies. Whether the two that are
    /// not canonical are read at all differs between processors.
    #[test]
    fn anybody_signs_for_the_keys_of_small_order() {
        let mut signature = [0; 64];
        signature[0] = 1;
        let signature = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature);
        for key in SMALL_ORDER {
            assert!(is_weak(ed25519(&key)));
            let mut negative = key;
            negative[31] |= 0x80;
            assert!(is_weak(ed25519(&negative)));
            let forged = [key, negative].iter().any(|key| {
                let key = DecodingKey::from_ed_der(key);
                (0..=255_u8).any(|text| {
                    jsonwebtoken::crypto::verify(&signature, &[text], &key, jsonwebtoken::Algorithm::EdDSA) == Ok(true)
                })
            });
            assert!(forged || SMALL_ORDER[5..].contains(&key), "{key:x?}");
        }
        let mut base = [0x66; 32];
        base[0] = 0x58;
        assert!(ed25519(&base).is_ok() && is_unusable(ed25519(&base[1..])));
    }

    #[test]
    fn secrets_are_as_long_as_their_hash() {
        assert!(is_weak(secret(&[7; 31])) && secret(&[7; 32]).is_ok());
    }
}
