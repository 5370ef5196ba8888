//! The keys that signed tokens are checked with. Owns reading their texts: a secret, PEM, a JWKS document of RFC 7517.
//! Pins each key to one algorithm, so that a token never chooses how its own signature is read. Opens no file, keeps no
//! private key, and looks at no claim. `jwt` asks for the keys that a token's header may mean.
//!
//! A JWKS document is made by others, and for others too: a key in it that we cannot use is left out, and said. A key
//! with which strangers could sign is refused wherever it stands.

use std::fmt;
use std::path::{Path, PathBuf};

use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use public::Fault;

mod jwk;
mod public;

/// Keys in one set. A token without `kid` is tried with each key of its algorithm, so this also bounds its cost.
pub const KEYS_MAX: usize = 32;
/// Bytes of the largest key file, for whoever reads it.
pub const KEY_FILE_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of the shortest secret for HS256: the size of its hash (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// What a PEM block begins with (RFC 7468 §2).
const PEM_BEGIN: &str = "-----BEGIN ";
/// Characters of a PEM label that are shown.
const LABEL_CHARACTERS_MAX: usize = 32;
/// Keys of one file that are named when they are left out; of others only the number is told.
const LEFT_OUT_NAMED_MAX: usize = 16;

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

    /// As a token's header and a JWK write it.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
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

/// Where keys come from, with what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The secret of HS256, as it stands.
    Secret(Text),
    /// A file that holds the secret of HS256; white space at its end does not count.
    SecretFile(KeyFile),
    /// A file with public keys: PEM blocks, or a JWKS document. Which of the two is seen by its first character.
    KeyFile(KeyFile),
}

/// A file of keys, read by whoever may open files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Which file, for people.
    pub path: PathBuf,
    /// All of it, or what the system says about reading it.
    pub text: Result<Text, String>,
}

/// What may be a secret: not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
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
        /// The file with it; `None` = the setting itself.
        path: Option<PathBuf>,
        /// How long it is, in bytes.
        bytes: usize,
    },
    /// What should be the secret is a key, a certificate or a document of keys, which others have too.
    NoSecret {
        /// The file with it; `None` = the setting itself.
        path: Option<PathBuf>,
    },
    /// The file holds something else than public keys that we know.
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence.
        reason: String,
    },
    /// A key with which others could sign.
    Weak {
        /// The file with it.
        path: PathBuf,
        /// Which of its keys: its number, its name.
        which: String,
        /// Why, as a clause.
        reason: String,
    },
    /// A key of the only JWKS documents there are, none of which can be used: the sentence of [`KeySet::notes`] about
    /// it.
    LeftOut(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::None => f.write_str("no key to check tokens with: give a secret or a file of public keys"),
            KeyError::TooMany => write!(f, "more than {KEYS_MAX} keys to check tokens with: remove retired ones"),
            KeyError::Unreadable { path, reason } => write!(f, "cannot read key file {}: {reason}", path.display()),
            KeyError::ShortSecret { path, bytes } => write!(
                f,
                "the token secret{} has {bytes} bytes, HS256 needs at least {SECRET_BYTES_MIN}: \
                 make one with `openssl rand -base64 32`",
                path.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default()
            ),
            KeyError::NoSecret { path } => write!(
                f,
                "the token secret{} is a PEM or JWKS text, which is no secret: whoever has it could sign; name its \
                 file in jwt.key_files, or make a secret with `openssl rand -base64 32`",
                path.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default()
            ),
            KeyError::Unusable { path, reason } => write!(f, "key file {} {reason}", path.display()),
            KeyError::Weak { path, which, reason } => {
                write!(f, "key file {}, {which}: too weak, {reason}: replace it, or take it out", path.display())
            }
            KeyError::LeftOut(note) => f.write_str(note),
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
    notes: Vec<String>,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|key| (key.algorithm, key.id.as_deref()));
        f.debug_list().entries(keys).finish()
    }
}

impl KeySet {
    /// Read every source, in their order. Fails with everything that is wrong with any of them.
    pub fn load(sources: &[KeySource]) -> Result<KeySet, Vec<KeyError>> {
        let mut set = KeySet::default();
        let mut errors = Vec::new();
        for source in sources {
            set.add_source(source, &mut errors);
        }
        if errors.is_empty() {
            match set.keys.len() {
                0 => {
                    errors.push(KeyError::None);
                    errors.extend(set.notes.drain(..).map(KeyError::LeftOut));
                }
                count if count > KEYS_MAX => errors.push(KeyError::TooMany),
                _ => return Ok(set),
            }
        }
        Err(errors)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none, which [`KeySet::load`] never returns.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys of JWKS documents left out because they cannot be used (RFC 7517 §5).
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// What the operator should know about the keys: which were left out and why, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
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

    fn add_source(&mut self, source: &KeySource, errors: &mut Vec<KeyError>) {
        let KeyFile { path, text } = match source {
            KeySource::Secret(secret) => return errors.extend(self.add_secret(&secret.0, None).err()),
            KeySource::SecretFile(file) | KeySource::KeyFile(file) => file,
        };
        let text = match text {
            Ok(Text(text)) => text,
            Err(reason) => return errors.push(KeyError::Unreadable { path: path.clone(), reason: reason.clone() }),
        };
        if matches!(source, KeySource::SecretFile(_)) {
            errors.extend(self.add_secret(text.trim_ascii_end(), Some(path)).err());
        } else if text.trim_ascii_start().starts_with(b"{") {
            self.add_jwks(path, text, errors);
        } else {
            let unusable = |reason| KeyError::Unusable { path: path.clone(), reason };
            errors.extend(self.add_pem(text).into_iter().map(unusable));
        }
    }

    fn add(&mut self, id: Option<String>, algorithm: Algorithm, key: DecodingKey) {
        self.keys.push(Key { id, algorithm, key });
    }

    fn add_secret(&mut self, secret: &[u8], path: Option<&Path>) -> Result<(), KeyError> {
        let short = |_| KeyError::ShortSecret { path: path.map(Path::to_owned), bytes: secret.len() };
        if is_document(secret) {
            return Err(KeyError::NoSecret { path: path.map(Path::to_owned) });
        }
        let key = public::secret(secret).map_err(short)?;
        self.add(None, Algorithm::Hs256, key);
        Ok(())
    }

    /// Adds the key of every block; returns what is wrong with the others, each reason once.
    fn add_pem(&mut self, text: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let mut faults = Vec::new();
        for block in text.split(PEM_BEGIN).skip(1) {
            match pem_key(block) {
                Ok((algorithm, key)) => self.add(None, algorithm, key),
                Err(fault) if faults.contains(&fault) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if !text.contains(PEM_BEGIN) {
            faults.push("is neither PEM nor JWKS".to_owned());
        }
        faults
    }

    fn add_jwks(&mut self, path: &Path, text: &[u8], errors: &mut Vec<KeyError>) {
        /// Keys one by one: one that we do not understand, down to its numbers and its letters, must not spoil the
        /// others (RFC 7517 §5).
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Box<RawValue>>,
        }
        let document: Document = match serde_json::from_slice(text) {
            Ok(document) => document,
            // The library's own words might repeat what the file holds.
            Err(error) => {
                let what = if error.is_data() { "has no list \"keys\"" } else { "is not JSON" };
                let at = format!("line {}, column {}", error.line(), error.column());
                let reason = format!("is not a JWKS document: it {what} ({at})");
                return errors.push(KeyError::Unusable { path: path.to_owned(), reason });
            }
        };
        let mut left_out = 0;
        for (index, text) in document.keys.iter().enumerate() {
            let value = serde_json::from_str(text.get()).unwrap_or_default();
            let which = format!("key {} {}", index + 1, jwk::name(&value));
            let added = jwk::read(&value).and_then(|(id, algorithm, key)| {
                let note = self.add_distinct(id, algorithm, key)?;
                Ok(note.map(|note| format!("key file {}, {which}: {note}", path.display())))
            });
            match added {
                Ok(note) => self.notes.extend(note),
                Err(Fault::Weak(reason)) => errors.push(KeyError::Weak { path: path.to_owned(), which, reason }),
                Err(Fault::Unusable(reason)) => {
                    left_out += 1;
                    if left_out <= LEFT_OUT_NAMED_MAX {
                        self.notes.push(format!("key file {}, {which}, is left out: {reason}", path.display()));
                    }
                }
            }
        }
        if let Some(more @ 1..) = left_out.checked_sub(LEFT_OUT_NAMED_MAX) {
            self.notes.push(format!("key file {}: {more} more keys are left out", path.display()));
        }
        self.skipped += left_out;
    }

    /// Adds a key unless it is there. Two of one kid are kept, as each may be the one that a token means (RFC 7517 §4.5
    /// only recommends that they differ), and get a note.
    fn add_distinct(
        &mut self,
        id: Option<String>,
        algorithm: Algorithm,
        key: DecodingKey,
    ) -> Result<Option<String>, Fault> {
        let mut note = None;
        for other in self.keys.iter().filter(|other| other.algorithm == algorithm && other.id == id) {
            if public::same(&other.key, &key) {
                return Err(Fault::Unusable("it is there twice".to_owned()));
            }
            let algorithm = algorithm.name();
            note = id.as_ref().map(|_| {
                format!("another {algorithm} key has the same kid, and tokens are tried with both; give each its own")
            });
        }
        self.add(id, algorithm, key);
        Ok(note)
    }
}

/// Whether a text is PEM, a JWK or a JWKS document: as a secret it would let everybody sign who has the public key.
fn is_document(secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(secret);
    let json = serde_json::from_str(text.trim_start_matches('\u{feff}'));
    let json = json.is_ok_and(|value: serde_json::Value| ["kty", "keys"].iter().any(|name| value.get(name).is_some()));
    json || text.contains(PEM_BEGIN)
}

/// The key of a PEM block, told from behind [`PEM_BEGIN`].
fn pem_key(block: &str) -> Result<(Algorithm, DecodingKey), String> {
    let label = block.split("-----").next().unwrap_or_default();
    if label.contains("PRIVATE KEY") {
        return Err("holds a private key: give the public one (`openssl pkey -pubout`)".to_owned());
    }
    if !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY") {
        // Where its dashes are missing, what follows is no label but a key.
        let is_label = label.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ');
        let found = if is_label { quoted(label, LABEL_CHARACTERS_MAX) } else { "something".to_owned() };
        return Err(format!("holds {found}, not a PUBLIC KEY"));
    }
    public_key(format!("{PEM_BEGIN}{block}").as_bytes())
}

/// The key of one PEM block and the one algorithm we use that kind of key for.
fn public_key(pem: &[u8]) -> Result<(Algorithm, DecodingKey), String> {
    let bytes = |key: &DecodingKey| key.try_get_as_bytes().unwrap_or_default().to_vec();
    let (algorithm, key) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        let der = bytes(&key);
        let (modulus, exponent) = public::rsa_numbers(&der).ok_or("holds a malformed RSA key")?;
        (Algorithm::Rs256, public::rsa(modulus, exponent))
    } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        // An uncompressed point of P-256: 0x04 and two coordinates of 32 bytes.
        let point = bytes(&key);
        let [4, coordinates @ ..] = &*point else {
            return Err("holds an EC key that is not on P-256".to_owned());
        };
        let Some((x, y)) = coordinates.split_at_checked(32).filter(|_| coordinates.len() == 64) else {
            return Err("holds an EC key that is not on P-256".to_owned());
        };
        (Algorithm::Es256, public::p256(x, y))
    } else if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        (Algorithm::EdDsa, public::ed25519(&bytes(&key)))
    } else {
        return Err("holds a public key that is not RSA, EC P-256 or Ed25519".to_owned());
    };
    key.map(|key| (algorithm, key)).map_err(|fault| format!("holds a key that cannot be used: {fault}"))
}

/// A text that somebody else chose, for a sentence: in quotes, cut behind `characters_max`, without a character that a
/// terminal would obey.
fn quoted(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        Some((at, _)) => {
            let cut = format!("{:?}", &text[..at]);
            format!("{}…\"", cut.strip_suffix('"').unwrap_or(&cut))
        }
        None => format!("{text:?}"),
    }
}
