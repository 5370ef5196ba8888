//! Who may ask for what, as configured. Owns which tokens allow what, reading their files, and the refusal of a text
//! that is no token; the rules themselves are [`halley_service::access`]'s. Made at the start and at every reload,
//! before anything is taken over.

use std::path::Path;

use halley_dispatcher::ingress::access::{PUSH, QUESTIONS};
use halley_service::access::tokens::{TOKENS_MAX, Token, TokenError, lines};
use halley_service::access::{Access, Scope};
use halley_service::config::value::text::Secret;
use halley_service::files;

use crate::comet::COMET;
use crate::config::words::Insecure;
use crate::config::{Config, ConfigError, Known, Problem};
use crate::control::access::{ADMIN, OBSERVE};

/// What callers may be allowed, by the names that metrics have for it.
pub(super) const SCOPES: [(&str, Scope); 5] =
    [("questions", QUESTIONS), ("push", PUSH), ("observe", OBSERVE), ("admin", ADMIN), ("comet", COMET)];

/// Bytes of one token file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Tokens of one kind, where they stand, and what they allow.
struct TokenKind<'c> {
    setting: &'static str,
    file_setting: &'static str,
    texts: &'c [Secret],
    file: &'c Path,
    scopes: &'static [Scope],
}

fn kinds(config: &Config) -> [TokenKind<'_>; 4] {
    let general = &config.general;
    [
        TokenKind {
            setting: "admin_token",
            file_setting: "admin_token_file",
            texts: &general.admin_token,
            file: &general.admin_token_file,
            scopes: &[ADMIN, OBSERVE, QUESTIONS, PUSH, COMET],
        },
        TokenKind {
            setting: "push_token",
            file_setting: "push_token_file",
            texts: &general.push_token,
            file: &general.push_token_file,
            scopes: &[PUSH, QUESTIONS, OBSERVE],
        },
        TokenKind {
            setting: "read_token",
            file_setting: "read_token_file",
            texts: &general.read_token,
            file: &general.read_token_file,
            scopes: &[QUESTIONS, OBSERVE],
        },
        TokenKind {
            setting: "comet_token",
            file_setting: "comet_token_file",
            texts: &general.comet_token,
            file: &general.comet_token_file,
            scopes: &[COMET],
        },
    ]
}

/// The token files that are set, each with its setting.
pub(super) fn token_files(config: &Config) -> impl Iterator<Item = (&'static str, &Path)> {
    let kinds = kinds(config).into_iter();
    kinds.filter(|kind| !kind.file.as_os_str().is_empty()).map(|kind| (kind.file_setting, kind.file))
}

/// The rules of this configuration. Reads the token files; says everything that is wrong in what is known of them.
pub(super) fn access(config: &Config, known: &Known) -> Result<Access, ConfigError> {
    let general = &config.general;
    let mut tokens = Vec::new();
    let mut problems = Vec::new();
    for kind in kinds(config) {
        let before = tokens.len();
        if known.all(&[kind.setting]) {
            kind.add_texts(&mut tokens, &mut problems);
        }
        if known.all(&[kind.file_setting]) {
            kind.add_file(&mut tokens, &mut problems);
        }
        let count = tokens.len() - before;
        if count > TOKENS_MAX {
            problems.push(format!("{} {}", kind.setting, TokenError::TooMany(count)));
        }
    }
    ConfigError::unless_none(problems.into_iter().map(Problem::Named).collect())?;
    let none = tokens.is_empty();
    let hosts = config.ingress.page_hosts.iter().map(|host| host.0.clone()).collect();
    let mut access = Access::new(tokens).lenient_for(COMET).with_hosts(hosts);
    // What was accepted is that nobody needs a token because there is none.
    if none && general.insecure.contains(&Insecure::OpenIngress) {
        access = access.open_to_all(PUSH).open_to_all(QUESTIONS);
    }
    Ok(access)
}

impl TokenKind<'_> {
    fn add_texts(&self, tokens: &mut Vec<Token>, problems: &mut Vec<String>) {
        let mut said = Vec::new();
        for Secret(text) in self.texts {
            match Token::new(text, self.setting, self.scopes) {
                Ok(token) => tokens.push(token),
                Err(error) => said.push(format!("{} {} {error}", article(self.setting), self.setting)),
            }
        }
        said.dedup();
        problems.extend(said);
    }

    fn add_file(&self, tokens: &mut Vec<Token>, problems: &mut Vec<String>) {
        if self.file.as_os_str().is_empty() {
            return;
        }
        let name = format!("{} {}", self.file_setting, self.file.display());
        let text = match files::read(self.file, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(reason) => return problems.push(format!("{name} cannot be read: {reason}")),
        };
        let lines = match lines(&text) {
            Ok(lines) => lines,
            Err(error) => return problems.push(format!("{name} {error}")),
        };
        let mut said = Vec::new();
        for line in lines {
            match Token::new(line, self.setting, self.scopes) {
                Ok(token) => tokens.push(token),
                Err(error) => said.push(format!("{name}: a token in it {error}")),
            }
        }
        said.dedup();
        problems.extend(said);
    }
}

/// "a push_token", "an admin_token".
fn article(setting: &str) -> &'static str {
    if setting.starts_with('a') { "an" } else { "a" }
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
