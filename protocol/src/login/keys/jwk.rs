//! One key of a JWKS document (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2). Owns reading its members, and whether it is
//! meant for checking signatures, which is what we do. `public` knows what makes a key good. A member that is wrong
//! makes this one key unusable, never the document (RFC 7517 §5).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::public::{self, Fault};
use super::{Algorithm, quoted};

/// Characters of a name in a key that are shown: whoever publishes the document chose it.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// Members of private keys (RFC 7518 §6.2.2, §6.3.2, RFC 8037 §2).
const PRIVATE: [&str; 3] = ["d", "p", "q"];

/// The key's name, escaped and cut: `kid "a"`, or `without kid`.
pub(super) fn name(key: &Value) -> String {
    match key.get("kid") {
        None => "without kid".to_owned(),
        Some(Value::String(kid)) => format!("kid {}", quoted(kid, SHOWN_CHARACTERS_MAX)),
        Some(_) => "with a kid that is no text".to_owned(),
    }
}

/// The key, its own name if it has one, and the one algorithm that we use it for.
pub(super) fn read(key: &Value) -> Result<(Option<String>, Algorithm, DecodingKey), Fault> {
    let members = Members::of(key)?;
    let id = members.text("kid")?.map(str::to_owned);
    let algorithm = match members.needed("kty")? {
        "oct" => Algorithm::Hs256,
        "RSA" => Algorithm::Rs256,
        "EC" => members.on_curve("P-256", Algorithm::Es256)?,
        "OKP" => members.on_curve("Ed25519", Algorithm::EdDsa)?,
        other => return unusable(format!("its kty {} is not known", shown(other))),
    };
    members.for_signatures()?;
    if let Some(alg) = members.text("alg")?
        && Algorithm::from_header(alg) != Some(algorithm)
    {
        return unusable(format!("its alg is {}, not {}", shown(alg), algorithm.name()));
    }
    if algorithm != Algorithm::Hs256
        && let Some(part) = PRIVATE.into_iter().find(|name| members.0.contains_key(*name))
    {
        return Err(Fault::Weak(format!(
            "its private part {part} stands beside it, with which every reader could sign"
        )));
    }
    let key = match algorithm {
        Algorithm::Hs256 => public::secret(&members.bytes("k")?),
        Algorithm::Rs256 => public::rsa(&members.bytes("n")?, &members.bytes("e")?),
        Algorithm::Es256 => public::p256(&members.bytes("x")?, &members.bytes("y")?),
        Algorithm::EdDsa => public::ed25519(&members.bytes("x")?),
    };
    Ok((id, algorithm, key?))
}

struct Members<'k>(&'k Map<String, Value>);

impl<'k> Members<'k> {
    fn of(key: &'k Value) -> Result<Members<'k>, Fault> {
        key.as_object().map(Members).ok_or_else(|| Fault::Unusable("it is no JSON object".to_owned()))
    }

    fn text(&self, name: &str) -> Result<Option<&'k str>, Fault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => unusable(format!("its {name} is no text")),
        }
    }

    fn needed(&self, name: &str) -> Result<&'k str, Fault> {
        self.text(name)?.ok_or_else(|| Fault::Unusable(format!("its {name} is missing")))
    }

    fn on_curve(&self, curve: &str, algorithm: Algorithm) -> Result<Algorithm, Fault> {
        match self.needed("crv")? {
            found if found == curve => Ok(algorithm),
            other => unusable(format!("its crv is {}, not {curve}", shown(other))),
        }
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Fault> {
        let bytes = URL_SAFE_NO_PAD.decode(self.needed(name)?);
        match bytes {
            Ok(bytes) if bytes.is_empty() => unusable(format!("its {name} is empty")),
            Ok(bytes) => Ok(bytes),
            Err(_) => unusable(format!("its {name} is not base64url without padding")),
        }
    }

    /// RFC 7517 §4.2, §4.3.
    fn for_signatures(&self) -> Result<(), Fault> {
        if let Some(intended) = self.text("use")? {
            return if intended == "sig" {
                Ok(())
            } else {
                unusable(format!("its use is {}, not sig", shown(intended)))
            };
        }
        match self.0.get("key_ops") {
            None => Ok(()),
            Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
            Some(_) => unusable("its key_ops do not name verify"),
        }
    }
}

fn shown(text: &str) -> String {
    quoted(text, SHOWN_CHARACTERS_MAX)
}

fn unusable<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Unusable(reason.into()))
}
