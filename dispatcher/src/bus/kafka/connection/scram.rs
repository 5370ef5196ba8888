//! SCRAM, the client's side (RFC 5802 with SHA-256 of RFC 7677, and SHA-512). Owns the three messages of one log-in and
//! the proof that the server knows the password too. The password leaves in none of them.

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use halley_service::config::value::text::Secret;

/// Iterations that a server may ask for: below the least of RFC 7677 a stolen proof is easily guessed from, above the
/// most (eight times what Kafka allows) a peer could hold the thread up.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=131_072;
/// Bytes of a salt at most.
const SALT_BYTES_MAX: usize = 1024;
/// The header of a client without channel binding, and its base64.
const BINDING: (&str, &str) = ("n,,", "biws");

/// The hash of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// Why a log-in fails on our side; the end of a sentence about the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// A message that is none.
    Malformed,
    /// The server's nonce does not begin with ours: an answer to somebody else.
    Nonce,
    /// Iterations out of bounds.
    Iterations,
    /// The server does not know the password.
    ServerUnproved,
    /// The server says that the log-in failed.
    Refused,
}

impl std::fmt::Display for ScramError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ScramError::Malformed => f.write_str("answers with something that is no SCRAM"),
            ScramError::Nonce => f.write_str("answers to another log-in than ours"),
            ScramError::Iterations => {
                write!(f, "asks for less than {} or more than {} iterations", ITERATIONS.start(), ITERATIONS.end())
            }
            ScramError::ServerUnproved => f.write_str("does not prove that it knows the password: it is not trusted"),
            ScramError::Refused => f.write_str("refuses user or password"),
        }
    }
}

/// A log-in whose first message is sent.
#[derive(Debug)]
pub struct Scram {
    hash: Hash,
    nonce: String,
    /// The first message without its header.
    first: String,
}

/// A log-in whose last message is sent.
#[derive(Debug)]
pub struct Proved {
    /// What the server has to sign with.
    server_signature: Vec<u8>,
}

impl Scram {
    /// Begin. `nonce` is new for each log-in, of printable characters without comma.
    pub fn begin(hash: Hash, user: &str, nonce: String) -> (Scram, String) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        let message = format!("{}{first}", BINDING.0);
        (Scram { hash, nonce, first }, message)
    }

    /// The server's first message is here: our last one.
    pub fn prove(self, server_first: &str, password: &Secret) -> Result<(Proved, String), ScramError> {
        let mut attributes = server_first.split(',');
        let mut next =
            |name: &str| attributes.next().and_then(|one| one.strip_prefix(name)).ok_or(ScramError::Malformed);
        let (nonce, salt, iterations) = (next("r=")?, next("s=")?, next("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = BASE64.decode(salt).ok().filter(|salt| !salt.is_empty() && salt.len() <= SALT_BYTES_MAX);
        let salt = salt.ok_or(ScramError::Malformed)?;
        let iterations: u32 = iterations.parse().map_err(|_| ScramError::Malformed)?;
        let bounded = NonZeroU32::new(iterations).filter(|_| ITERATIONS.contains(&iterations));
        let iterations = bounded.ok_or(ScramError::Iterations)?;
        let salted = self.hash.salted(password.get().unwrap_or_default().as_bytes(), &salt, iterations);
        let last = format!("c={},r={nonce}", BINDING.1);
        let signed = format!("{},{server_first},{last}", self.first);
        let client_key = self.hash.sign(&salted, b"Client Key");
        let client_signature = self.hash.sign(&self.hash.digest(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&client_signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = self.hash.sign(&salted, b"Server Key");
        let proved = Proved { server_signature: self.hash.sign(&server_key, signed.as_bytes()) };
        Ok((proved, format!("{last},p={}", BASE64.encode(proof))))
    }
}

impl Proved {
    /// The server's last message is here: whether it is who it should be.
    pub fn verify(&self, server_last: &str) -> Result<(), ScramError> {
        let first = server_last.split(',').next().unwrap_or_default();
        if first.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let signature =
            first.strip_prefix("v=").and_then(|text| BASE64.decode(text).ok()).ok_or(ScramError::Malformed)?;
        verify_slices_are_equal(&signature, &self.server_signature).map_err(|_| ScramError::ServerUnproved)
    }
}

impl Hash {
    fn salted(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let (algorithm, bytes) = match self {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = vec![0; bytes];
        pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
        salted
    }

    fn sign(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn begun() -> Scram {
        Scram::begin(Hash::Sha256, "user", NONCE.to_owned()).0
    }

    fn pencil() -> Secret {
        Secret("pencil".to_owned())
    }

    /// The exchange of RFC 7677 section 3, byte for byte.
    #[test]
    fn the_exchange_of_the_rfc() {
        let (scram, first) = Scram::begin(Hash::Sha256, "user", NONCE.to_owned());
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (proved, last) = scram.prove(SERVER_FIRST, &pencil()).expect("a good message");
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(last, expected);
        assert_eq!(proved.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert_eq!(proved.verify("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Err(ScramError::ServerUnproved));
        assert_eq!(proved.verify("v="), Err(ScramError::ServerUnproved), "a signature of nothing proves nothing");
        assert_eq!(proved.verify("e=invalid-proof"), Err(ScramError::Refused));
        assert_eq!(proved.verify(""), Err(ScramError::Malformed));
    }

    /// A comma and an equals sign in a name are escaped, or the name would be another one.
    #[test]
    fn a_name_is_escaped() {
        let (_, first) = Scram::begin(Hash::Sha512, "a,b=c", "x".to_owned());
        assert_eq!(first, "n,,n=a=2Cb=3Dc,r=x");
    }

    /// What a server may not say ends the log-in; too many iterations before they are counted.
    #[test]
    fn a_server_cannot_say_everything() {
        let prove = |message: &str| begun().prove(message, &pencil()).map(|_| ()).expect_err(message);
        assert_eq!(prove(""), ScramError::Malformed);
        assert_eq!(prove("m=ext,r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4096"), ScramError::Malformed);
        assert_eq!(prove("r=another,s=AAAA,i=4096"), ScramError::Nonce);
        assert_eq!(prove("r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=4096"), ScramError::Nonce, "the server adds nothing");
        assert_eq!(prove("r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096"), ScramError::Malformed);
        assert_eq!(prove("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=many"), ScramError::Malformed);
        for iterations in ["0", "4095", "131073", "4294967295"] {
            let message = format!("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i={iterations}");
            assert_eq!(prove(&message), ScramError::Iterations);
        }
    }
}
