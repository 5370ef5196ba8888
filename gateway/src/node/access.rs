//! Who may ask for what, as configured. Owns which tokens allow what, reading their files, and the refusal of a text that is no
//! token; the rules themselves are [`halley_service::access`]'s. Made at the start and at every reload, before anything is taken
//! over.

use std::path::Path;

use halley_dispatcher::ingress::access::{PUSH, QUESTIONS};
use halley_service::access::tokens::{TOKENS_MAX, Token, TokenError, lines};
use halley_service::access::{Access, Scope};
use halley_service::files;

use crate::comet::COMET;
use crate::config::value::{Insecure, Secret};
use crate::config::{Config, ConfigError};
use crate::control::access::{ADMIN, OBSERVE};

/// What callers may be allowed, by the names that metrics have for it.
pub const SCOPES: [(&str, Scope); 5] =
    [("questions", QUESTIONS), ("push", PUSH), ("observe", OBSERVE), ("admin", ADMIN), ("comet", COMET)];

/// Bytes of one token file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The rules of this configuration. Reads the token files.
pub fn access(config: &Config) -> Result<Access, ConfigError> {
    let general = &config.general;
    let mut tokens = Vec::new();
    let kinds: [(&'static str, &[Secret], &Path, &[Scope]); 4] = [
        ("admin_token", &general.admin_token, &general.admin_token_file, &[ADMIN, OBSERVE, QUESTIONS, PUSH, COMET]),
        ("push_token", &general.push_token, &general.push_token_file, &[PUSH, QUESTIONS, OBSERVE]),
        ("read_token", &general.read_token, &general.read_token_file, &[QUESTIONS, OBSERVE]),
        ("comet_token", &general.comet_token, &general.comet_token_file, &[COMET]),
    ];
    for (setting, texts, file, scopes) in kinds {
        let before = tokens.len();
        for Secret(text) in texts {
            let token = Token::new(text, setting, scopes);
            tokens.push(token.map_err(|error| ConfigError(format!("{} {setting} {error}", article(setting))))?);
        }
        if !file.as_os_str().is_empty() {
            let wrong =
                |error: TokenError| ConfigError(format!("{setting}_file {}: a token in it {error}", file.display()));
            let text = read(setting, file)?;
            for line in
                lines(&text).map_err(|error| ConfigError(format!("{setting}_file {} {error}", file.display())))?
            {
                tokens.push(Token::new(line, setting, scopes).map_err(wrong)?);
            }
        }
        let count = tokens.len() - before;
        if count > TOKENS_MAX {
            return Err(ConfigError(format!("{setting} {}", TokenError::TooMany(count))));
        }
    }
    let none = tokens.is_empty();
    let mut access = Access::new(tokens).lenient_for(COMET).with_hosts(config.ingress.page_hosts.clone());
    if general.insecure.contains(&Insecure::OpenIngress) {
        access = access.open_to_all(PUSH);
        if none {
            access = access.open_to_all(QUESTIONS);
        }
    }
    Ok(access)
}

/// "a push_token", "an admin_token".
fn article(setting: &str) -> &'static str {
    if setting.starts_with('a') { "an" } else { "a" }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |error| ConfigError(format!("{setting}_file {} cannot be read: {error}", path.display()));
    files::read(path, FILE_BYTES_MAX).map_err(failed)
}

#[cfg(test)]
mod tests {
    use halley_service::access::{Caller, Peer, Reason, Role};
    use http::HeaderMap;

    use super::*;

    #[test]
    fn every_scope_has_a_bit_of_its_own() {
        let bits = SCOPES.iter().fold(0_u16, |bits, (_, scope)| bits | 1 << scope.bit);
        assert_eq!(bits.count_ones() as usize, SCOPES.len());
    }

    fn config(edit: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        edit(&mut config);
        config
    }

    fn secret(text: &str) -> Vec<Secret> {
        vec![Secret(text.to_owned())]
    }

    /// What each kind of token allows of everything: questions, pushing, observing, admin, Comet.
    #[test]
    fn tokens_allow_what_they_are_for_and_what_is_weaker() {
        let text = |kind: &str| format!("{kind}-0123456789abcdef");
        let all = config(|config| {
            config.general.admin_token = secret(&text("admin"));
            config.general.push_token = secret(&text("push"));
            config.general.read_token = secret(&text("read"));
            config.general.comet_token = secret(&text("comet"));
        });
        let access = access(&all).expect("good tokens");
        for (kind, allowed) in [
            ("admin", [true; 5]),
            ("push", [true, true, true, false, false]),
            ("read", [true, false, true, false, false]),
            ("comet", [false, false, false, false, true]),
        ] {
            let bearer = format!("Bearer {}", text(kind)).parse().expect("a value");
            let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, bearer)]);
            let peer = Peer::Tcp("192.0.2.1:1".parse().expect("an address"));
            let caller = Caller { peer, headers: &headers, authority: None };
            for ((_, scope), allowed) in SCOPES.into_iter().zip(allowed) {
                let result = access.check(&caller, scope).map_err(|denied| denied.reason);
                let expected = if allowed { Ok(()) } else { Err(Reason::NotAllowed) };
                assert_eq!(result.map(drop), expected, "{kind} {}", scope.what);
            }
        }
    }

    #[test]
    fn jobs_need_no_token_until_one_is_made_for_them() {
        let access = access(&config(|config| config.general.admin_token = secret("0123456789abcdef"))).expect("good");
        let peer = Peer::Tcp("192.0.2.1:1".parse().expect("an address"));
        let caller = Caller { peer, headers: &HeaderMap::new(), authority: None };
        assert_eq!(access.check(&caller, COMET), Ok(Role::Anybody));
        assert!(access.check(&caller, PUSH).is_err() && access.check(&caller, QUESTIONS).is_err());
    }

    #[test]
    fn what_is_no_token_is_refused_without_repeating_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = std::cell::Cell::new(0);
        let file = |text: &[u8]| {
            files.set(files.get() + 1);
            let path = folder.path().join(format!("{}.tokens", files.get()));
            std::fs::write(&path, text).expect("written");
            config(|config| config.general.push_token_file = path)
        };
        let sentence = |config: &Config| access(config).expect_err("no token").0;
        for (config, part) in [
            (config(|config| config.general.push_token = secret("hunter2")), "a push_token has 7 characters"),
            (config(|config| config.general.read_token = secret("hunter2 hunter2 ")), "a read_token has a blank"),
            (file(b"hunter2-0123456789\nhunter2\n"), "tokens: a token in it has 7 characters"),
            (file(b"\n\n"), "holds no token"),
            (file(b"\xff"), "is not text"),
            (file(&[b'\n'; 70_000]), "more than 65536 bytes"),
            (file("hunter2-0123456789\n".repeat(17).as_bytes()), "push_token holds 17 tokens"),
            (
                config(|config| config.general.admin_token_file = "/no/such/file".into()),
                "admin_token_file /no/such/file",
            ),
        ] {
            let said = sentence(&config);
            assert!(said.contains(part) && !said.contains("hunter2"), "{said}");
        }
        let two = file(b"hunter2-0123456789\n\nhunter3-0123456789\n");
        assert!(access(&two).expect("two tokens").needs_token(PUSH));
    }
}
