//! Signed logins: every algorithm with real keys, and every way a token can fail to be ours.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm as Alg, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::json;

use super::*;
use crate::login::keys::{KeyError, KeyFile, KeySource, Text};

const NOW_S: u64 = 1_700_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// One signing key and the file that tells its public half.
struct Signer {
    alg: &'static str,
    private: EncodingKey,
    public_pem: String,
}

impl Signer {
    fn new(alg: &'static str) -> Signer {
        let pair = match alg {
            "RS256" => KeyPair::generate_for(&PKCS_RSA_SHA256),
            "ES256" => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            "EdDSA" => KeyPair::generate_for(&PKCS_ED25519),
            _ => unreachable!("{alg}"),
        }
        .expect("a key");
        let pem = pair.serialize_pem();
        let private = match alg {
            "RS256" => EncodingKey::from_rsa_pem(pem.as_bytes()),
            "ES256" => EncodingKey::from_ec_pem(pem.as_bytes()),
            _ => EncodingKey::from_ed_pem(pem.as_bytes()),
        }
        .expect("a private key");
        Signer { alg, private, public_pem: pair.public_key_pem() }
    }

    fn secret() -> Signer {
        let private = EncodingKey::from_secret(SECRET.as_bytes());
        Signer { alg: "HS256", private, public_pem: String::new() }
    }

    fn library(&self) -> Alg {
        self.alg.parse().expect("a known algorithm")
    }

    fn jwk(&self, kid: &str) -> Value {
        let mut value = if self.alg == "EdDSA" {
            let key = jsonwebtoken::DecodingKey::from_ed_pem(self.public_pem.as_bytes()).expect("a public key");
            let x = URL_SAFE_NO_PAD.encode(key.try_get_as_bytes().expect("its bytes"));
            json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
        } else {
            let jwk = Jwk::from_encoding_key(&self.private, self.library()).expect("a JWK");
            serde_json::to_value(jwk).expect("JSON")
        };
        value["kid"] = kid.into();
        value
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.library()).expect("signed");
        format!("{message}.{signature}")
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "typ": "JWT", "alg": self.alg }), claims)
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn secret(text: &str) -> KeySource {
    KeySource::Secret(Text(text.into()))
}

fn file(path: &str, text: &str) -> KeyFile {
    KeyFile { path: path.into(), text: Ok(Text(text.into())) }
}

fn keys_of(texts: &[String]) -> Result<KeySet, Vec<KeyError>> {
    let sources: Vec<KeySource> = texts.iter().map(|text| KeySource::KeyFile(file("keys", text))).collect();
    KeySet::load(&sources)
}

fn secret_auth(settings: JwtSettings) -> JwtRules {
    JwtRules { settings, keys: KeySet::load(&[secret(SECRET)]).expect("a secret") }
}

fn pem_auth(signers: &[&Signer]) -> JwtRules {
    let text: String = signers.iter().map(|signer| signer.public_pem.as_str()).collect();
    JwtRules { settings: JwtSettings::default(), keys: keys_of(&[text]).expect("keys") }
}

fn decide(auth: &JwtRules, body: &str) -> Result<Identity, AuthRefusal> {
    auth.decide(body.as_bytes(), None, NOW_S, || "made".into())
}

fn claims() -> Value {
    json!({ "mid": 123, "key": "k1", "room_id": "live://1", "accepts": [1001, 1000, 1001], "exp": NOW_S + 600 })
}

/// `claims()` with some of them replaced.
fn claims_with(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().expect("an object") {
        all[name] = value.clone();
    }
    all
}

#[test]
fn each_algorithm_lets_its_own_tokens_in() {
    let asymmetric = ["RS256", "ES256", "EdDSA"].map(Signer::new);
    let auth = pem_auth(&asymmetric.each_ref());
    let expected = Identity {
        mid: 123,
        key: "k1".into(),
        room: "live://1".into(),
        accepts: vec![1000, 1001],
        authority: None,
        expires_at_s: Some(NOW_S + 630),
    };
    for signer in &asymmetric {
        assert_eq!(decide(&auth, &signer.token(&claims())), Ok(expected.clone()), "{}", signer.alg);
    }
    assert_eq!(decide(&secret_auth(JwtSettings::default()), &Signer::secret().token(&claims())), Ok(expected));
}

#[test]
fn a_changed_token_is_refused() {
    for signer in [Signer::new("RS256"), Signer::new("ES256"), Signer::new("EdDSA"), Signer::secret()] {
        let auth = if signer.alg == "HS256" { secret_auth(JwtSettings::default()) } else { pem_auth(&[&signer]) };
        let token = signer.token(&claims());
        let parts: Vec<&str> = token.split('.').collect();
        let forged = encode(&claims_with(json!({ "mid": 1 })));
        for changed in [
            format!("{}.{forged}.{}", parts[0], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}.{}", parts[0], parts[1], &parts[2][..parts[2].len() - 4]),
            format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len())),
        ] {
            assert_eq!(decide(&auth, &changed), Err(AuthRefusal::Signature), "{} {changed}", signer.alg);
        }
    }
}

#[test]
fn a_token_of_another_key_is_refused() {
    let (ours, theirs) = (Signer::new("ES256"), Signer::new("ES256"));
    assert_eq!(decide(&pem_auth(&[&ours]), &theirs.token(&claims())), Err(AuthRefusal::Signature));
}

#[test]
fn the_token_does_not_choose_how_its_signature_is_read() {
    let rsa = Signer::new("RS256");
    let auth = pem_auth(&[&rsa]);
    // The public key, which everybody has, taken for an HMAC secret: as PEM text, and as the DER inside it.
    let der = jsonwebtoken::DecodingKey::from_rsa_pem(rsa.public_pem.as_bytes()).expect("a key");
    for secret in
        [rsa.public_pem.as_bytes(), rsa.public_pem.trim_end().as_bytes(), der.try_get_as_bytes().expect("DER")]
    {
        let forger = Signer { alg: "HS256", private: EncodingKey::from_secret(secret), public_pem: String::new() };
        assert_eq!(decide(&auth, &forger.token(&claims())), Err(AuthRefusal::Signature));
    }
    // No signature at all, in the spellings that have worked elsewhere.
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let message = format!("{}.{}", encode(&json!({ "alg": alg })), encode(&claims()));
        assert_eq!(decide(&auth, &format!("{message}.")), Err(AuthRefusal::Signature), "{alg}");
    }
    // The right key with an algorithm it is not for.
    let other = Signer { alg: "RS512", private: rsa.private.clone(), public_pem: String::new() };
    assert_eq!(decide(&auth, &other.token(&claims())), Err(AuthRefusal::Signature));
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    let signer = Signer::secret();
    let header = json!({ "alg": "HS256", "crit": ["b64"], "b64": false });
    let auth = secret_auth(JwtSettings::default());
    assert_eq!(decide(&auth, &signer.sign(&header, &claims())), Err(AuthRefusal::Signature));
}

/// `crit` must be understood wherever it is, also where it is nothing that could be (RFC 7515 §4.1.11).
#[test]
fn an_extension_of_no_form_is_refused_too() {
    let auth = secret_auth(JwtSettings::default());
    for crit in [json!(null), json!([]), json!(false), json!({}), json!("")] {
        let header = json!({ "alg": "HS256", "crit": crit });
        assert_eq!(decide(&auth, &Signer::secret().sign(&header, &claims())), Err(AuthRefusal::Signature), "{header}");
    }
}

/// What bounds or is checked is refused when it is `null`: it must not mean "no bound" or "nothing to check".
#[test]
fn null_lifts_no_bound_and_passes_no_check() {
    let wild = JwtSettings { audiences: vec!["*".to_owned()], required: Vec::new(), ..JwtSettings::default() };
    let strict =
        JwtSettings { issuers: vec!["app".to_owned()], audiences: vec!["push".to_owned()], ..JwtSettings::default() };
    let usual = json!({ "mid": 1, "exp": NOW_S + 1, "iss": "app", "aud": "push" });
    let plain = json!({ "mid": 1, "exp": NOW_S + 1 });
    for (settings, claims) in [(JwtSettings::default(), plain), (wild, usual.clone()), (strict, usual)] {
        let auth = secret_auth(settings);
        let result = |claims: &Value| decide(&auth, &Signer::secret().token(claims)).map(drop);
        assert_eq!(result(&claims), Ok(()), "{claims}");
        for claim in ["rooms", "ops", "aud", "iss", "exp", "nbf"] {
            let mut nulled = claims.clone();
            nulled[claim] = Value::Null;
            assert_eq!(result(&nulled), Err(AuthRefusal::Claims), "{nulled}");
            let refresh = auth.decide(Signer::secret().token(&nulled).as_bytes(), Some(1), NOW_S, || "made".into());
            assert_eq!(refresh.map(drop), Err(AuthRefusal::Claims), "renewed: {nulled}");
        }
        let mut anonymous = claims.clone();
        for claim in ["mid", "key", "room_id", "accepts"] {
            anonymous[claim] = Value::Null;
        }
        assert_eq!(result(&anonymous), Ok(()), "who somebody is may be left open");
    }
    let required = JwtSettings { required: vec!["mid".to_owned()], ..JwtSettings::default() };
    let token = Signer::secret().token(&claims_with(json!({ "mid": null })));
    assert_eq!(decide(&secret_auth(required), &token), Err(AuthRefusal::Claims));
}

/// A path that leads through something without members finds no absent claim but a broken one.
#[test]
fn a_path_leads_through_objects_only() {
    let names = ClaimNames {
        mid: "/user/id".to_owned(),
        rooms: "/acl/push/rooms".to_owned(),
        ops: "/acl/ops/0".to_owned(),
        ..ClaimNames::default()
    };
    let auth = secret_auth(JwtSettings { claims: names, ..JwtSettings::default() });
    let result = |acl: Value, user: Value| {
        let claims = json!({ "exp": NOW_S + 1, "user": user, "acl": acl });
        decide(&auth, &Signer::secret().token(&claims)).map(|identity| identity.authority.is_some())
    };
    let user = json!({ "id": 7 });
    let right = json!({ "push": { "rooms": ["live://*"] }, "ops": [[1000]] });
    assert_eq!(result(right, user.clone()), Ok(true));
    for absent in [json!({}), json!({ "push": {} }), json!({ "ops": { "other": 1 } })] {
        assert_eq!(result(absent.clone(), user.clone()), Ok(false), "{absent}");
    }
    for broken in [
        json!(null),
        json!("live://*"),
        json!(["live://*"]),
        json!(5),
        json!({ "push": null }),
        json!({ "push": [] }),
        json!({ "push": ["live://*"] }),
        json!({ "push": { "rooms": null } }),
        json!({ "ops": [] }),
        json!({ "ops": [null] }),
        json!({ "ops": null }),
        json!({ "ops": true }),
    ] {
        assert_eq!(result(broken.clone(), user.clone()), Err(AuthRefusal::Claims), "{broken}");
    }
    for user in [json!(null), json!("7"), json!([7])] {
        assert_eq!(result(json!({}), user.clone()), Err(AuthRefusal::Claims), "{user}");
    }
    assert_eq!(result(json!({}), json!({ "id": null })), Ok(false), "nobody");
    let odd = ClaimNames { rooms: "/a~1b/~0c".to_owned(), ..ClaimNames::default() };
    let auth = secret_auth(JwtSettings { claims: odd, ..JwtSettings::default() });
    let claims = json!({ "exp": NOW_S + 1, "a/b": { "~c": "live://*" } });
    assert!(decide(&auth, &Signer::secret().token(&claims)).expect("let in").authority.is_some());
    let absent = secret_auth(JwtSettings { required: vec!["/user/id".to_owned()], ..JwtSettings::default() });
    for claims in [json!({ "exp": NOW_S + 1 }), json!({ "exp": NOW_S + 1, "user": null })] {
        assert_eq!(decide(&absent, &Signer::secret().token(&claims)), Err(AuthRefusal::Claims), "{claims}");
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    let auth = secret_auth(JwtSettings::default());
    let signer = Signer::secret();
    for body in
        ["", " ", "x", "a.b", "a.b.c", "a.b.c.d", "..", "null", "[]", "{}", r#"{"token":null}"#, r#"{"token":1}"#]
    {
        assert_eq!(decide(&auth, body), Err(AuthRefusal::Malformed), "{body}");
    }
    assert_eq!(auth.decide(b"\xff\xfe", None, NOW_S, || "made".into()), Err(AuthRefusal::Malformed));
    for claims in [json!([1]), json!("x"), json!(null)] {
        assert_eq!(decide(&auth, &signer.token(&claims)), Err(AuthRefusal::Malformed), "{claims}");
    }
}

#[test]
fn times_count_with_the_leeway() {
    let auth = secret_auth(JwtSettings { leeway_s: 30, ..JwtSettings::default() });
    for (changes, expected) in [
        (json!({ "exp": NOW_S + 1 }), Ok(Some(NOW_S + 31))),
        (json!({ "exp": NOW_S - 29 }), Ok(Some(NOW_S + 1))),
        (json!({ "exp": NOW_S - 30 }), Err(AuthRefusal::Expired)),
        (json!({ "exp": 0 }), Err(AuthRefusal::Expired)),
        (json!({ "exp": -1 }), Err(AuthRefusal::Expired)),
        (json!({ "exp": 1e300 }), Ok(Some(u64::MAX))),
        (json!({ "exp": 1_700_000_000.9 }), Ok(Some(NOW_S + 30))),
        (json!({ "exp": null }), Err(AuthRefusal::Claims)),
        (json!({ "exp": "soon" }), Err(AuthRefusal::Claims)),
        (json!({ "nbf": NOW_S + 30 }), Ok(Some(NOW_S + 630))),
        (json!({ "nbf": NOW_S + 31 }), Err(AuthRefusal::NotYet)),
        (json!({ "nbf": "x" }), Err(AuthRefusal::Claims)),
    ] {
        let token = Signer::secret().token(&claims_with(changes.clone()));
        assert_eq!(decide(&auth, &token).map(|identity| identity.expires_at_s), expected, "{changes}");
    }
    let endless = secret_auth(JwtSettings { required: Vec::new(), ..JwtSettings::default() });
    let expires =
        |claims: Value| decide(&endless, &Signer::secret().token(&claims)).map(|identity| identity.expires_at_s);
    assert_eq!(expires(json!({ "mid": 1 })), Ok(None));
    assert_eq!(expires(json!({ "mid": 1, "exp": null })), Err(AuthRefusal::Claims));
}

#[test]
fn issuer_and_audience_must_be_ours() {
    let of = |issuers: &[&str], audiences: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        secret_auth(JwtSettings { issuers: own(issuers), audiences: own(audiences), ..JwtSettings::default() })
    };
    for (auth, changes, allowed) in [
        (of(&["a", "b"], &[]), json!({ "iss": "b" }), true),
        (of(&["a"], &[]), json!({ "iss": "b" }), false),
        (of(&["a"], &[]), json!({}), false),
        (of(&[], &[]), json!({ "iss": "anybody" }), true),
        (of(&[], &["push"]), json!({ "aud": "push" }), true),
        (of(&[], &["push"]), json!({ "aud": ["web", "push"] }), true),
        (of(&[], &["push"]), json!({ "aud": ["web"] }), false),
        (of(&[], &["push"]), json!({}), false),
        (of(&[], &["*"]), json!({ "aud": "whoever" }), true),
        (of(&[], &[]), json!({ "aud": "others" }), false),
    ] {
        let result = decide(&auth, &Signer::secret().token(&claims_with(changes.clone())));
        assert_eq!(result.map(|_| ()), if allowed { Ok(()) } else { Err(AuthRefusal::Audience) }, "{changes}");
    }
}

#[test]
fn claims_are_found_under_configured_names() {
    let names = ClaimNames {
        mid: "sub".to_owned(),
        key: "/device/id".to_owned(),
        room: "https://example.com/room".to_owned(),
        ..ClaimNames::default()
    };
    let auth = secret_auth(JwtSettings { claims: names, ..JwtSettings::default() });
    let token = Signer::secret().token(&json!({
        "sub": "42", "device": { "id": "phone" }, "https://example.com/room": "live://9", "exp": NOW_S + 1,
    }));
    let identity = decide(&auth, &token).expect("let in");
    assert_eq!((identity.mid, &*identity.key, &*identity.room), (42, "phone", "live://9"));
}

#[test]
fn claims_of_the_wrong_shape_are_refused_and_absent_ones_have_defaults() {
    let auth = secret_auth(JwtSettings::default());
    for changes in [
        json!({ "mid": "x" }),
        json!({ "mid": 1.5 }),
        json!({ "mid": [] }),
        json!({ "key": 1 }),
        json!({ "key": "x".repeat(NAME_BYTES_MAX + 1) }),
        json!({ "room_id": {} }),
        json!({ "accepts": 1 }),
        json!({ "accepts": ["1"] }),
        json!({ "accepts": [2_147_483_648_u32] }),
        json!({ "rooms": 1 }),
        json!({ "rooms": [1] }),
        json!({ "rooms": vec!["x"; ROOM_PATTERNS_MAX + 1] }),
        json!({ "ops": "1" }),
    ] {
        let token = Signer::secret().token(&claims_with(changes.clone()));
        assert_eq!(decide(&auth, &token), Err(AuthRefusal::Claims), "{changes}");
    }
    let bare = decide(&auth, &Signer::secret().token(&json!({ "exp": NOW_S + 1 }))).expect("let in");
    let expected = Identity { key: "made".into(), expires_at_s: Some(NOW_S + 31), ..Identity::default() };
    assert_eq!(bare, expected);
    let required = secret_auth(JwtSettings { required: vec!["mid".to_owned()], ..JwtSettings::default() });
    assert_eq!(decide(&required, &Signer::secret().token(&json!({}))), Err(AuthRefusal::Claims));
}

#[test]
fn wishes_beside_the_token_count_within_its_authority() {
    let auth = secret_auth(JwtSettings::default());
    let wrapped = |claims: Value, room: &str, accepts: Value| {
        let token = Signer::secret().token(&claims);
        let body = json!({ "token": token, "room_id": room, "accepts": accepts, "mid": 666, "key": "stolen" });
        decide(&auth, &body.to_string()).map(|identity| (identity.mid, identity.key, identity.room, identity.accepts))
    };
    let free = json!({ "mid": 1, "key": "k", "exp": NOW_S + 1 });
    let bound = json!({ "mid": 1, "key": "k", "exp": NOW_S + 1, "rooms": ["live://*", "lobby"], "ops": [1000] });
    let fixed =
        json!({ "mid": 1, "key": "k", "exp": NOW_S + 1, "room_id": "live://1", "accepts": [7], "rooms": "live://*" });
    let granted = |room: &str, accepts: &[i32]| Ok((1, "k".into(), room.into(), accepts.to_vec()));
    assert_eq!(wrapped(free, "any", json!([5, 4])), granted("any", &[4, 5]));
    assert_eq!(wrapped(bound.clone(), "live://2", json!([1000])), granted("live://2", &[1000]));
    assert_eq!(wrapped(bound.clone(), "", json!([])), granted("", &[]));
    assert_eq!(wrapped(bound.clone(), "vip", json!([])), Err(AuthRefusal::Authority));
    assert_eq!(wrapped(bound, "lobby", json!([1001])), Err(AuthRefusal::Authority));
    assert_eq!(wrapped(fixed, "lobby", json!([8])), granted("live://1", &[7]));
}

#[test]
fn rooms_and_ops_become_the_authority() {
    let auth = secret_auth(JwtSettings::default());
    let token = Signer::secret().token(&claims_with(json!({ "rooms": ["live://*"], "ops": [], "accepts": [] })));
    let authority = decide(&auth, &token).expect("let in").authority.expect("bounded");
    assert!(authority.allows_room("live://7") && !authority.allows_room("chat://7") && !authority.allows_op(1));
}

/// The signer said both: what is wanted at login must be among what is allowed.
#[test]
fn a_token_that_contradicts_itself_is_refused() {
    let auth = secret_auth(JwtSettings::default());
    for (changes, expected) in [
        (json!({ "rooms": ["live://*"], "ops": [1000, 1001] }), Ok(())),
        (json!({ "rooms": ["chat://*"] }), Err(AuthRefusal::Authority)),
        (json!({ "rooms": [] }), Err(AuthRefusal::Authority)),
        (json!({ "rooms": [], "room_id": "" }), Ok(())),
        (json!({ "rooms": [], "room_id": null }), Ok(())),
        (json!({ "ops": [1000] }), Err(AuthRefusal::Authority)),
        (json!({ "ops": [], "accepts": [] }), Ok(())),
    ] {
        let token = Signer::secret().token(&claims_with(changes.clone()));
        assert_eq!(decide(&auth, &token).map(drop), expected, "{changes}");
        let refresh = auth.decide(token.as_bytes(), Some(123), NOW_S, || "made".into());
        assert_eq!(refresh.map(drop), expected, "renewed: {changes}");
    }
}

#[test]
fn a_refresh_must_name_the_same_user() {
    let auth = secret_auth(JwtSettings::default());
    let token = Signer::secret().token(&claims());
    let refresh = |mid| auth.decide(token.as_bytes(), Some(mid), NOW_S, || "made".into()).map(|identity| identity.mid);
    assert_eq!(refresh(123), Ok(123));
    assert_eq!(refresh(124), Err(AuthRefusal::OtherUser));
}

#[test]
fn a_jwks_document_rotates_by_kid() {
    let (old, new) = (Signer::new("ES256"), Signer::new("RS256"));
    let signed = |signer: &Signer, kid: Option<&str>| {
        let mut header = json!({ "alg": signer.alg });
        header["kid"] = kid.into();
        signer.sign(&header, &claims())
    };
    let jwks = |keys: Value| JwtRules {
        settings: JwtSettings::default(),
        keys: keys_of(&[json!({ "keys": keys }).to_string()]).expect("a JWKS document"),
    };
    let allowed = |auth: &JwtRules, token: &str| decide(auth, token).is_ok();
    let auth = jwks(json!([old.jwk("old")]));
    assert!(allowed(&auth, &signed(&old, Some("old"))) && allowed(&auth, &signed(&old, None)));
    assert!(!allowed(&auth, &signed(&old, Some("other"))) && !allowed(&auth, &signed(&new, Some("new"))));
    let auth = jwks(json!([old.jwk("old"), new.jwk("new")]));
    assert!(allowed(&auth, &signed(&old, Some("old"))) && allowed(&auth, &signed(&new, Some("new"))));
    assert!(!allowed(&auth, &signed(&new, Some("old"))));
    let auth = jwks(json!([new.jwk("new")]));
    assert!(!allowed(&auth, &signed(&old, Some("old"))) && allowed(&auth, &signed(&new, Some("new"))));
}

/// One key of a document cannot spoil the others; each that is left out is named with the reason.
#[test]
fn keys_that_cannot_be_used_are_left_out_of_a_jwks_document_and_named() {
    let signer = Signer::new("EdDSA");
    let (rsa, ec) = (Signer::new("RS256").jwk("r"), Signer::new("ES256").jwk("e"));
    let with = |key: &Value, changes: Value| {
        let mut key = key.clone();
        for (name, value) in changes.as_object().expect("an object") {
            key[name] = value.clone();
        }
        key
    };
    let without = |key: &Value, name: &str| {
        let mut key = key.clone();
        key.as_object_mut().expect("an object").remove(name);
        key
    };
    let ours = signer.jwk("ours");
    for (key, reason) in [
        (json!(7), "key 2 without kid, is left out: it is no JSON object"),
        (json!(null), "it is no JSON object"),
        (json!({}), "its kty is missing"),
        (json!({ "kid": 5, "kty": "RSA" }), "key 2 with a kid that is no text, is left out: its kid is no text"),
        (json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" }), "its kty \"AKP\" is not known"),
        (json!({ "kty": ["RSA"] }), "its kty is no text"),
        (with(&rsa, json!({ "use": "enc" })), "key 2 kid \"r\", is left out: its use is \"enc\", not sig"),
        (with(&rsa, json!({ "use": 1 })), "its use is no text"),
        (with(&rsa, json!({ "key_ops": ["sign"] })), "its key_ops do not name verify"),
        (with(&rsa, json!({ "key_ops": "verify" })), "its key_ops do not name verify"),
        (with(&rsa, json!({ "alg": "RS512" })), "its alg is \"RS512\", not RS256"),
        (with(&rsa, json!({ "alg": "RSA-OAEP" })), "its alg is \"RSA-OAEP\", not RS256"),
        (with(&rsa, json!({ "alg": null })), "its alg is no text"),
        (without(&rsa, "n"), "its n is missing"),
        (without(&rsa, "e"), "its e is missing"),
        (with(&rsa, json!({ "n": "AQAB====" })), "its n is not base64url without padding"),
        (with(&rsa, json!({ "n": "!" })), "its n is not base64url without padding"),
        (with(&rsa, json!({ "n": "a+/b" })), "its n is not base64url without padding"),
        (with(&rsa, json!({ "n": "" })), "its n is empty"),
        (with(&rsa, json!({ "n": 5 })), "its n is no text"),
        (with(&rsa, json!({ "e": "!" })), "its e is not base64url without padding"),
        (
            with(&rsa, json!({ "n": URL_SAFE_NO_PAD.encode([0xff; 1025]) })),
            "it is an RSA key of 8200 bits, at most 8192",
        ),
        (with(&rsa, json!({ "e": URL_SAFE_NO_PAD.encode([0xff; 8]) })), "its RSA exponent has more than 33 bits"),
        (with(&ec, json!({ "crv": "P-384" })), "its crv is \"P-384\", not P-256"),
        (with(&ec, json!({ "x": "AQAB" })), "its x and y have 3 and 32 bytes, not 32"),
        (with(&ec, json!({ "x": ec["y"], "y": ec["x"] })), "its x and y are no point of P-256"),
        (without(&ec, "crv"), "its crv is missing"),
        (with(&ours, json!({ "kid": "o", "crv": "Ed448" })), "its crv is \"Ed448\", not Ed25519"),
        (with(&ours, json!({ "kid": "o", "x": "AQAB" })), "its x has 3 bytes, not 32"),
        (with(&ours, json!({ "kid": "o", "alg": "ES256" })), "its alg is \"ES256\", not EdDSA"),
        (json!({ "kty": "oct", "k": "!" }), "its k is not base64url without padding"),
        (json!({ "kty": "oct", "alg": "HS512", "k": "c2hvcnQ" }), "its alg is \"HS512\", not HS256"),
        (ours.clone(), "it is there twice"),
        (
            with(&rsa, json!({ "kid": format!("a\nb\u{1b}{}", "x".repeat(100)), "kty": "?" })),
            &*format!("key 2 kid \"a\\nb\\u{{1b}}{}…\", is left out: its kty \"?\" is not known", "x".repeat(60)),
        ),
    ] {
        let document = json!({ "keys": [ours, key] });
        let keys = keys_of(&[document.to_string()]).unwrap_or_else(|errors| panic!("{key}: {errors:?}"));
        assert_eq!((keys.len(), keys.skipped(), keys.notes().len()), (1, 1, 1), "{key}");
        assert!(keys.notes()[0].starts_with("key file ") && keys.notes()[0].contains(reason), "{:?}", keys.notes());
        let auth = JwtRules { settings: JwtSettings::default(), keys };
        assert!(decide(&auth, &signer.token(&claims())).is_ok(), "{key}");
    }
}

/// Not even JSON that we cannot read, by its numbers, its letters or its depth, spoils the others.
#[test]
fn a_key_that_no_reader_takes_spoils_no_other() {
    let ours = Signer::new("EdDSA").jwk("ours");
    for unreadable in ["{\"exp\":1e999}", "{\"kid\":\"\\ud800\"}", &format!("{}{}", "[".repeat(500), "]".repeat(500))] {
        let keys =
            keys_of(&[format!("{{\"keys\":[{ours},{unreadable}]}}")]).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!((keys.len(), keys.skipped()), (1, 1), "{:?}", keys.notes());
    }
}

/// Of many that are left out some are named, and all of them are when no other is there.
#[test]
fn keys_left_out_are_counted() {
    let ours = Signer::new("EdDSA").jwk("ours");
    let many = json!({ "keys": std::iter::once(ours).chain((0..40).map(|_| json!({}))).collect::<Vec<_>>() });
    let keys = keys_of(&[many.to_string()]).expect("one usable key");
    assert_eq!((keys.skipped(), keys.notes().len()), (40, 17));
    assert!(keys.notes()[16].ends_with(": 24 more keys are left out"), "{:?}", keys.notes()[16]);
    let errors = keys_of(&[json!({ "keys": [{}, { "kty": "AKP" }] }).to_string()]).expect_err("none is left");
    assert!(matches!(&*errors, [KeyError::None, KeyError::LeftOut(_), KeyError::LeftOut(_)]), "{errors:?}");
}

/// Keys with which others than their owners could sign are refused, by their real size, wherever they stand.
#[test]
fn weak_keys_are_refused_and_named() {
    let ours = Signer::new("EdDSA").jwk("ours");
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let padded = [&[0; 200][..], &[0xff; 128]].concat();
    let rsa = |n: &[u8], e: &[u8]| json!({ "kid": "w", "kty": "RSA", "n": number(n), "e": number(e) });
    for (key, reason) in [
        (rsa(&[0xff; 128], &[1, 0, 1]), "it is an RSA key of 1024 bits, at least 2048 are needed"),
        (rsa(&padded, &[1, 0, 1]), "it is an RSA key of 1024 bits"),
        (rsa(&[0x7f; 256], &[1, 0, 1]), "it is an RSA key of 2047 bits"),
        (rsa(&[0xff; 256], &[1]), "its RSA exponent is 1 or even"),
        (rsa(&[0xff; 256], &[0, 1]), "its RSA exponent is 1 or even"),
        (rsa(&[0xff; 256], &[0]), "its RSA exponent is 1 or even"),
        (rsa(&[0xff; 256], &[1, 0, 0]), "its RSA exponent is 1 or even"),
        (json!({ "kid": "w", "kty": "oct", "k": "c2hvcnQ" }), "it is a secret of 5 bytes, at least 32 are needed"),
        (json!({ "kid": "w", "kty": "OKP", "crv": "Ed25519", "x": number(&[0; 32]) }), "of small order"),
    ] {
        let errors = keys_of(&[json!({ "keys": [ours, key] }).to_string()]).expect_err("weak");
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let [said] = &*said else { panic!("{said:?}") };
        assert!(said.contains(", key 2 kid \"w\": too weak, ") && said.contains(reason), "{said}");
    }
    for other_use in [json!({ "use": "enc" }), json!({ "alg": "RS512" })] {
        let mut key = rsa(&[0xff; 128], &[1]);
        key.as_object_mut().expect("an object").extend(other_use.as_object().expect("an object").clone());
        assert_eq!(keys_of(&[json!({ "keys": [ours, key] }).to_string()]).expect("not ours").skipped(), 1);
    }
}

/// A private key that is published with its public half is everybody's.
#[test]
fn a_key_that_comes_with_its_private_part_is_refused() {
    let ours = Signer::new("EdDSA").jwk("ours");
    for (alg, part) in [("RS256", "d"), ("RS256", "p"), ("RS256", "q"), ("ES256", "d"), ("EdDSA", "d")] {
        let mut key = Signer::new(alg).jwk("w");
        assert!(keys_of(&[json!({ "keys": [ours, key] }).to_string()]).is_ok());
        key[part] = "AQAB".into();
        let errors = keys_of(&[json!({ "keys": [ours, key] }).to_string()]).expect_err("published");
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let [said] = &*said else { panic!("{said:?}") };
        let reason = format!(", key 2 kid \"w\": too weak, its private part {part} stands beside it");
        assert!(said.contains(&reason), "{said}");
        key["use"] = "enc".into();
        assert_eq!(keys_of(&[json!({ "keys": [ours, key] }).to_string()]).expect("not ours").skipped(), 1);
    }
}

/// What is public is no secret, however long: whoever has the public key could sign with it.
#[test]
fn a_public_text_is_no_secret() {
    let signer = Signer::new("RS256");
    let certificate = rcgen::generate_simple_self_signed(["host".to_owned()]).expect("a certificate").cert.pem();
    for text in [
        signer.public_pem.clone(),
        certificate.clone(),
        format!("# what comes first\n{certificate}"),
        signer.public_pem.replace('\n', " "),
        json!({ "keys": [signer.jwk("k")] }).to_string(),
        format!("\u{feff} {}", signer.jwk("k")),
        json!({ "keys": ["no more than that, and long enough"] }).to_string(),
    ] {
        let file = KeySet::load(&[KeySource::SecretFile(file("a.secret", &text))]).expect_err("public");
        assert_eq!(file, [KeyError::NoSecret { path: Some("a.secret".into()) }]);
        let set = KeySet::load(&[secret(&text)]).expect_err("public");
        assert_eq!(set, [KeyError::NoSecret { path: None }]);
        assert!(
            file[0].to_string().contains("secret is a PEM or JWKS text, which is no secret: whoever has it could sign")
        );
    }
    for text in [SECRET, "{\"a\": \"secret that happens to be JSON\"}"] {
        assert!(KeySet::load(&[secret(text)]).is_ok());
    }
}

/// Keys that two files or entries name alike are both tried, and the operator hears of it.
#[test]
fn keys_of_one_name_are_both_tried_and_told() {
    let (one, other) = (Signer::new("ES256"), Signer::new("ES256"));
    let documents = [json!({ "keys": [one.jwk("k")] }).to_string(), json!({ "keys": [other.jwk("k")] }).to_string()];
    let keys = keys_of(&documents).expect("two keys");
    assert_eq!((keys.len(), keys.skipped(), keys.notes().len()), (2, 0, 1));
    assert!(keys.notes()[0].contains("key 1 kid \"k\": another ES256 key has the same kid"), "{:?}", keys.notes());
    let auth = JwtRules { settings: JwtSettings::default(), keys };
    for signer in [one, other] {
        let token = signer.sign(&json!({ "alg": "ES256", "kid": "k" }), &claims());
        assert!(decide(&auth, &token).is_ok());
    }
}

/// Leading zeros of a modulus change nothing: some write them, and the library would never verify with such a key.
#[test]
fn a_modulus_with_leading_zeros_is_the_same_key() {
    let signer = Signer::new("RS256");
    let mut key = signer.jwk("r");
    let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().expect("text")).expect("base64url");
    key["n"] = URL_SAFE_NO_PAD.encode([&[0][..], &modulus].concat()).into();
    let keys = keys_of(&[json!({ "keys": [key] }).to_string()]).expect("a key");
    let auth = JwtRules { settings: JwtSettings::default(), keys };
    assert!(decide(&auth, &signer.token(&claims())).is_ok());
}

/// A document with a secret in the wrong place is refused without repeating it.
#[test]
fn a_key_file_is_not_quoted() {
    for text in [
        "{\"keys\": \"hunter2\"}",
        "{\"keys\": hunter2}",
        "{\"keys\": {\"k\": \"hunter2\"}}",
        "{\"k\": \"hunter2\"}",
        "hunter2",
        "-----BEGIN hunter2\nx",
        "-----BEGIN HUNTER hunter2-----\nx",
    ] {
        let errors = keys_of(&[text.to_owned()]).expect_err("no JWKS");
        assert!(!format!("{errors:?} {}", errors[0]).contains("hunter2"), "{errors:?}");
    }
}

#[test]
fn unusable_keys_are_named() {
    let private = KeyPair::generate_for(&PKCS_ED25519).expect("a key").serialize_pem();
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key").public_key_pem();
    let empty = json!({ "keys": [] }).to_string();
    for (text, part) in [
        (private, "holds a private key"),
        (p384, "not on P-256"),
        (RSA_2040.to_owned(), "holds a key that cannot be used: it is an RSA key of 2040 bits"),
        (empty, "no key to check tokens with"),
        ("hello".to_owned(), "neither PEM nor JWKS"),
        ("{\"keys\":1}".to_owned(), "is not a JWKS document: it has no list \"keys\" (line 1, column 9)"),
        ("{\"keys\":[]".to_owned(), "is not a JWKS document: it is not JSON (line 1, column 10)"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_owned(), "not RSA, EC P-256 or Ed25519"),
    ] {
        let said = keys_of(std::slice::from_ref(&text)).expect_err("unusable")[0].to_string();
        assert!(said.contains(part), "{said} / {text}");
    }
    let several = [RSA_2040, "-----BEGIN DSA PARAMETERS-----\n-----END DSA PARAMETERS-----\n", RSA_2040].concat();
    let said = keys_of(&[several]).expect_err("no key is right");
    assert!(said.len() == 2 && said[1].to_string().contains("\"DSA PARAMETERS\", not a PUBLIC KEY"), "{said:?}");
    let short = KeySet::load(&[secret("secret")]).expect_err("too short");
    assert_eq!(short, [KeyError::ShortSecret { path: None, bytes: 6 }]);
    let missing = KeySource::KeyFile(KeyFile { path: "missing".into(), text: Err("not there".to_owned()) });
    let several = KeySet::load(&[missing.clone(), secret("secret"), missing]);
    let several = several.expect_err("nothing is right");
    assert!(
        matches!(&*several, [KeyError::Unreadable { .. }, KeyError::ShortSecret { .. }, KeyError::Unreadable { .. }]),
        "{several:?}"
    );
    assert_eq!(KeySet::load(&[]).expect_err("none"), [KeyError::None]);
}

/// A modulus of 2040 bits: with what DER wraps it in, its bytes make more than 2048.
const RSA_2040: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBITANBgkqhkiG9w0BAQEFAAOCAQ4AMIIBCQKCAQAAsD7c07Mbm33wWqqcWxQh\n\
Bq7dD2dTHJgjXLZHR86jyKQN/SjYSJJONs2Xcr14vDN86QpniF4jMTpgYYA+4bCK\n\
V3SM9t09CExEwL+IXHYOi794DqfkJmQ4fMiDKs9J3mMPYZMBlNF4nI+wVwLAblMG\n\
M4kQgQEPaCMZ/1F5j9X9IQRnRsIotKI3RlGldjl3aSbVzpNXSx0I2nAYGuK+H2J8\n\
NlYdghnCuDrDF9GXmqGAdcvdqBGbrOTihe/BwO69/8iBHwn63BRfXdwRhdDD0j8Y\n\
2Ok+GeFulxAvGXnXG3StzAvC1vMLg7n2X/scptzwG5oE8ZxvDcMTymYv79IMTkj9\n\
AgMBAAE=\n\
-----END PUBLIC KEY-----\n\
";
