//! Who may ask for what, as configured. Owns which tokens allow what; reading them and the rules themselves are
//! [`halley_service::access`]'s. Made at the start and at every reload, before anything is taken over.

use std::path::Path;

use halley_dispatcher::ingress::access::{PUSH, QUESTIONS, tokens};
use halley_service::access::settings::{self, TokenSettings};
use halley_service::access::{Access, Scope};

use crate::comet::COMET;
use crate::config::words::Insecure;
use crate::config::{Config, ConfigError, Known};
use crate::control::access::{ADMIN, OBSERVE};

/// What callers may be allowed, by the names that metrics have for it.
pub(super) const SCOPES: [(&str, Scope); 5] =
    [("questions", QUESTIONS), ("push", PUSH), ("observe", OBSERVE), ("admin", ADMIN), ("comet", COMET)];

fn kinds(config: &Config) -> [TokenSettings<'_>; 4] {
    let general = &config.general;
    let admin = TokenSettings {
        setting: "admin_token",
        file_setting: "admin_token_file",
        texts: &general.admin_token,
        file: &general.admin_token_file,
        scopes: &[ADMIN, OBSERVE, QUESTIONS, PUSH, COMET],
    };
    let [push, read] =
        tokens((&general.push_token, &general.push_token_file), (&general.read_token, &general.read_token_file));
    let comet = TokenSettings {
        setting: "comet_token",
        file_setting: "comet_token_file",
        texts: &general.comet_token,
        file: &general.comet_token_file,
        scopes: &[COMET],
    };
    [admin, push, read, comet]
}

/// The token files that are set, each with its setting.
pub(super) fn token_files(config: &Config) -> impl Iterator<Item = (&'static str, &Path)> {
    settings::files(kinds(config))
}

/// The rules of this configuration. Reads the token files; says everything that is wrong in what is known of them.
pub(super) fn access(config: &Config, known: &Known) -> Result<Access, ConfigError> {
    let tokens = settings::read(&kinds(config), known)?;
    let none = tokens.is_empty();
    let hosts = config.ingress.page_hosts.iter().map(|host| host.0.clone()).collect();
    let mut access = Access::new(tokens).lenient_for(COMET).with_hosts(hosts);
    // What was accepted is that nobody needs a token because there is none.
    if none && config.general.insecure.contains(&Insecure::OpenIngress) {
        access = access.open_to_all(PUSH).open_to_all(QUESTIONS);
    }
    Ok(access)
}

#[cfg(test)]
mod tests {
    use halley_service::access::{Caller, Peer, Reason, Role};
    use halley_service::config::value::text::Secret;
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

    fn access(config: &Config) -> Result<Access, ConfigError> {
        super::access(config, &Known::default())
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
            let caller = Caller { peer, headers: &headers, authority: None, version: http::Version::HTTP_11 };
            for ((_, scope), allowed) in SCOPES.into_iter().zip(allowed) {
                let result = access.check(&caller, scope).map_err(|denied| denied.reason);
                let expected = if allowed { Ok(()) } else { Err(Reason::NotAllowed) };
                assert_eq!(result.map(drop), expected, "{kind} {}", scope.what);
            }
        }
    }

    /// An ingress that was opened for want of tokens is closed again as soon as there is one.
    #[test]
    fn any_token_closes_an_open_ingress() {
        let peer = Peer::Tcp("192.0.2.1:1".parse().expect("an address"));
        let caller = Caller { peer, headers: &HeaderMap::new(), authority: None, version: http::Version::HTTP_11 };
        let mut open = Config::default();
        open.general.insecure = vec![Insecure::OpenIngress];
        let may = |config: &Config| access(config).expect("good").check(&caller, PUSH).is_ok();
        assert!(may(&open));
        for set in [
            |config: &mut Config| config.general.push_token = secret("push-0123456789abcdef"),
            |config: &mut Config| config.general.admin_token = secret("admin-0123456789abcdef"),
            |config: &mut Config| config.general.read_token = secret("read-0123456789abcdef"),
        ] {
            let mut closed = open.clone();
            set(&mut closed);
            assert!(!may(&closed));
        }
    }

    #[test]
    fn jobs_need_no_token_until_one_is_made_for_them() {
        let access = access(&config(|config| config.general.admin_token = secret("0123456789abcdef"))).expect("good");
        let peer = Peer::Tcp("192.0.2.1:1".parse().expect("an address"));
        let caller = Caller { peer, headers: &HeaderMap::new(), authority: None, version: http::Version::HTTP_11 };
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
        let sentence = |config: &Config| access(config).expect_err("no token").to_string();
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
        let several = config(|config| {
            config.general.admin_token = secret("hunter2");
            config.general.push_token = vec![Secret("hunter2 hunter2 ".to_owned()), Secret("hunter2".to_owned())];
            config.general.read_token_file = "/no/such/file".into();
        });
        let said = access(&several).expect_err("no tokens");
        assert_eq!(said.problems().len(), 4, "{said}");
        let two = file(b"hunter2-0123456789\n\nhunter3-0123456789\n");
        assert!(access(&two).expect("two tokens").needs_token(PUSH));
    }
}
