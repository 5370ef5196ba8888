//! The whole decision on a signed token, of bytes as they came or signed by a key of ours, so that claims of any shape
//! are reached too. Whoever is let in may reach no more than the claims say.

use std::sync::OnceLock;

use halley_protocol::login::jwt::{JwtRules, JwtSettings};
use halley_protocol::login::keys::{KeySet, KeySource, Text};
use halley_protocol::login::{ACCEPTS_MAX, AuthRefusal, Identity, NAME_BYTES_MAX};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const SECRET: &str = "a secret of at least thirty-two bytes";
const NOW_S: u64 = 1_700_000_000;

/// One byte of settings; then the body of op 7, or the claims of a token that is made of them.
pub fn jwt(data: &[u8]) {
    let Some((&settings, rest)) = data.split_first() else { return };
    let auth = auth(settings & 1 != 0);
    let refresh = (settings & 2 != 0).then_some(7);
    if settings & 4 == 0 {
        let identity = decide(auth, rest, refresh);
        // Nobody guesses a signature over what the tape holds.
        assert!(identity.is_err() || rest.len() > 64);
        return;
    }
    let (wishes, claims) = match settings & 8 {
        0 => (None, rest),
        _ => {
            let at = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
            (Some(&rest[..at]), rest.get(at + 1..).unwrap_or_default())
        }
    };
    let header = if settings & 16 == 0 { r#"{"alg":"HS256"}"# } else { r#"{"typ":"JWT","alg":"HS256","kid":"k"}"# };
    let token = signed(header.as_bytes(), claims);
    let body = match wishes {
        None => token.clone().into_bytes(),
        Some(wishes) => [&b"{\"token\":\""[..], token.as_bytes(), b"\"", wishes, b"}"].concat(),
    };
    let decided = decide(auth, &body, refresh);
    // A byte of the signature decides too.
    let mut forged = token.into_bytes();
    let last = forged.len() - 2;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    assert!(decide(auth, &forged, refresh).is_err(), "a forged signature is refused");
    assert!(decided.is_err() || serde_json::from_slice::<serde_json::Map<_, _>>(claims).is_ok());
}

fn decide(auth: &JwtRules, body: &[u8], refresh: Option<i64>) -> Result<Identity, AuthRefusal> {
    let identity = auth.decide(body, refresh, NOW_S, || "made".into())?;
    assert!(!identity.key.is_empty() && identity.key.len() <= NAME_BYTES_MAX && identity.room.len() <= NAME_BYTES_MAX);
    assert!(identity.accepts.len() <= ACCEPTS_MAX);
    assert!(refresh.is_none_or(|mid| mid == identity.mid), "a refresh is of the same user");
    assert!(identity.expires_at_s.is_none_or(|at_s| at_s > NOW_S), "a login is not over when it begins");
    if let Some(authority) = &identity.authority {
        assert!(authority.allows_room(&identity.room));
        assert!(identity.accepts.iter().all(|&op| authority.allows_op(op)));
    }
    Ok(identity)
}

/// Base64url of both parts and their HS256 signature.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    format!("{message}.{signature}")
}

/// Rules that ask for much, or for nothing.
fn auth(strict: bool) -> &'static JwtRules {
    static AUTH: [OnceLock<JwtRules>; 2] = [const { OnceLock::new() }; 2];
    AUTH[usize::from(strict)].get_or_init(|| {
        let keys = KeySet::load(&[KeySource::Secret(Text(SECRET.into()))]).expect("a key");
        let settings = if strict {
            JwtSettings { issuers: vec!["app".to_owned()], audiences: vec!["push".to_owned()], ..Default::default() }
        } else {
            JwtSettings { audiences: vec!["*".to_owned()], required: Vec::new(), ..Default::default() }
        };
        JwtRules { settings, keys }
    })
}
