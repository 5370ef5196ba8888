//! The keys that signed tokens are checked with. Owns reading them (a secret, PEM, a JWKS document of RFC 7517) and
//! pinning each to one algorithm, so that a token never chooses how its own signature is read; keeps no private key and
//! looks at no claim. `jwt` asks for the keys that a token's header may mean.

use std::fmt;
use std::path::{Path, PathBuf};

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use serde::Deserialize;

/// Keys in one set. A token without `kid` is tried with each key of its algorithm, so this also bounds its cost.
pub const KEYS_MAX: usize = 32;
/// Bytes of one key file.
pub const KEY_FILE_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of the shortest secret for HS256: the size of its hash (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// Bits of the shortest RSA modulus (RFC 7518 §3.3).
const RSA_BITS_MIN: usize = 2048;

/// The signature algorithms that tokens may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 7518 §3.2).
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    Rs256,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    Es256,
    /// Ed25519 (RFC 8037 §3.1).
    EdDsa,
}

impl Algorithm {
    /// The algorithm of a token's `alg` header; `None` for every other, `none` among them.
    pub fn from_header(alg: &str) -> Option<Algorithm> {
        match alg {
            "HS256" => Some(Algorithm::Hs256),
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }

    fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Where keys come from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The secret of HS256, as it stands.
    Secret(String),
    /// A file that holds the secret of HS256; white space at its end does not count.
    SecretFile(PathBuf),
    /// A file with public keys: PEM blocks, or a JWKS document. Which of the two is seen by its first character.
    KeyFile(PathBuf),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::Secret(_) => f.write_str("Secret(..)"),
            KeySource::SecretFile(path) => f.debug_tuple("SecretFile").field(path).finish(),
            KeySource::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
        }
    }
}

/// Why keys cannot be used. Its text is for the operator and never holds key material.
#[derive(Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No source was given, or none held a usable key.
    None,
    /// More than [`KEYS_MAX`].
    TooMany,
    /// The file cannot be read.
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The secret is shorter than [`SECRET_BYTES_MIN`].
    ShortSecret {
        /// Its length.
        bytes: usize,
    },
    /// The file holds something else than public keys that we know.
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence.
        reason: String,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::None => f.write_str("no key to check tokens with: give a secret or a file of public keys"),
            KeyError::TooMany => write!(f, "more than {KEYS_MAX} keys to check tokens with: remove retired ones"),
            KeyError::Unreadable { path, reason } => write!(f, "cannot read key file {}: {reason}", path.display()),
            KeyError::ShortSecret { bytes } => write!(
                f,
                "the token secret has {bytes} bytes, HS256 needs at least {SECRET_BYTES_MIN}: \
                 make one with `openssl rand -base64 32`"
            ),
            KeyError::Unusable { path, reason } => write!(f, "key file {} {reason}", path.display()),
        }
    }
}

impl std::error::Error for KeyError {}

/// One key, for one algorithm.
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// All keys of a moment; replaced whole when they are read again.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: usize,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|key| (key.algorithm, key.id.as_deref()));
        f.debug_list().entries(keys).finish()
    }
}

impl KeySet {
    /// Read every source, in their order.
    pub fn load(sources: &[KeySource]) -> Result<KeySet, KeyError> {
        let mut set = KeySet::default();
        for source in sources {
            match source {
                KeySource::Secret(secret) => set.add_secret(secret.as_bytes())?,
                KeySource::SecretFile(path) => set.add_secret(read_file(path)?.trim_ascii_end())?,
                KeySource::KeyFile(path) => {
                    let text = read_file(path)?;
                    let added = if text.trim_ascii_start().starts_with(b"{") {
                        set.add_jwks(&text)
                    } else {
                        set.add_pem(&text)
                    };
                    added.map_err(|reason| KeyError::Unusable { path: path.clone(), reason })?;
                }
            }
        }
        match set.keys.len() {
            0 => Err(KeyError::None),
            count if count > KEYS_MAX => Err(KeyError::TooMany),
            _ => Ok(set),
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none, which [`KeySet::load`] never returns.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys of JWKS documents left out because they are for another use or algorithm (RFC 7517 §5).
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether one of the keys made `signature` (base64url) over `message`. A key that names itself answers only to its
    /// own `kid`; a token without `kid` may be any key's. The key's algorithm must be the token's.
    pub fn verifies(&self, algorithm: Algorithm, kid: Option<&str>, message: &[u8], signature: &str) -> bool {
        let means =
            |key: &&Key| key.algorithm == algorithm && (kid.is_none() || key.id.is_none() || key.id.as_deref() == kid);
        self.keys
            .iter()
            .filter(means)
            .any(|key| jsonwebtoken::crypto::verify(signature, message, &key.key, algorithm.library()).unwrap_or(false))
    }

    fn add(&mut self, id: Option<String>, algorithm: Algorithm, key: DecodingKey) {
        self.keys.push(Key { id, algorithm, key });
    }

    fn add_secret(&mut self, secret: &[u8]) -> Result<(), KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret { bytes: secret.len() });
        }
        self.add(None, Algorithm::Hs256, DecodingKey::from_secret(secret));
        Ok(())
    }

    fn add_pem(&mut self, text: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(text).map_err(|_| "is neither PEM nor JWKS")?;
        let mut blocks = text.split_inclusive("-----BEGIN ").skip(1).peekable();
        if blocks.peek().is_none() {
            return Err("is neither PEM nor JWKS".to_owned());
        }
        for block in blocks {
            let block = format!("-----BEGIN {}", block.trim_end_matches("-----BEGIN "));
            let label = block["-----BEGIN ".len()..].split("-----").next().unwrap_or_default();
            if label.contains("PRIVATE KEY") {
                return Err("holds a private key: give the public one (`openssl pkey -pubout`)".to_owned());
            }
            if !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY") {
                return Err(format!("holds a {label:?}, not a PUBLIC KEY"));
            }
            let (algorithm, key) = public_key(block.as_bytes())?;
            self.add(None, algorithm, key);
        }
        Ok(())
    }

    fn add_jwks(&mut self, text: &[u8]) -> Result<(), String> {
        /// Keys one by one: a key of a kind we do not know must not spoil the others (RFC 7517 §5).
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let document: Document =
            serde_json::from_slice(text).map_err(|error| format!("is not a JWKS document: {error}"))?;
        for value in document.keys {
            let jwk = serde_json::from_value::<Jwk>(value).ok();
            match jwk.as_ref().map(from_jwk).transpose()?.flatten() {
                Some((algorithm, key)) => self.add(jwk.and_then(|jwk| jwk.common.key_id), algorithm, key),
                None => self.skipped += 1,
            }
        }
        Ok(())
    }
}

/// The key of one PEM block and the one algorithm we use that kind of key for.
fn public_key(pem: &[u8]) -> Result<(Algorithm, DecodingKey), String> {
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        // PKCS #1 wraps the modulus in a few bytes, so this lets no shorter modulus through by more than those.
        let bytes = key.try_get_as_bytes().map_or(0, <[u8]>::len);
        if bytes * 8 < RSA_BITS_MIN {
            return Err(format!("holds an RSA key of less than {RSA_BITS_MIN} bits"));
        }
        return Ok((Algorithm::Rs256, key));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        // An uncompressed point of P-256: 0x04 and two coordinates of 32 bytes.
        return match key.try_get_as_bytes() {
            Ok([4, coordinates @ ..]) if coordinates.len() == 64 => Ok((Algorithm::Es256, key)),
            _ => Err("holds an EC key that is not on P-256".to_owned()),
        };
    }
    match DecodingKey::from_ed_pem(pem) {
        Ok(key) => Ok((Algorithm::EdDsa, key)),
        Err(_) => Err("holds a public key that is not RSA, EC P-256 or Ed25519".to_owned()),
    }
}

/// The key of a JWK, unless it is for another use or algorithm.
fn from_jwk(jwk: &Jwk) -> Result<Option<(Algorithm, DecodingKey)>, String> {
    let common = &jwk.common;
    let for_signatures = match (&common.public_key_use, &common.key_operations) {
        (Some(intended), _) => *intended == PublicKeyUse::Signature,
        (None, Some(operations)) => operations.contains(&KeyOperations::Verify),
        (None, None) => true,
    };
    let (algorithm, declared) = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => (Algorithm::Hs256, KeyAlgorithm::HS256),
        AlgorithmParameters::RSA(_) => (Algorithm::Rs256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::Es256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDsa, KeyAlgorithm::EdDSA)
        }
        _ => return Ok(None),
    };
    if !for_signatures || common.key_algorithm.is_some_and(|alg| alg != declared) {
        return Ok(None);
    }
    let name = common.key_id.as_deref().unwrap_or("without kid");
    let key = DecodingKey::from_jwk(jwk).map_err(|_| format!("holds a malformed key ({name})"))?;
    if algorithm == Algorithm::Hs256 && key.try_get_as_bytes().is_ok_and(|secret| secret.len() < SECRET_BYTES_MIN) {
        return Err(format!("holds a secret of less than {SECRET_BYTES_MIN} bytes ({name})"));
    }
    Ok(Some((algorithm, key)))
}

/// A whole key file.
fn read_file(path: &Path) -> Result<Vec<u8>, KeyError> {
    let unreadable = |reason: String| KeyError::Unreadable { path: path.to_owned(), reason };
    halley_service::files::read(path, KEY_FILE_BYTES_MAX).map_err(|error| unreadable(error.to_string()))
}
