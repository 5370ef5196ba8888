//! What is no error and should be known all the same: a certificate that has ended, a key that others may write, a
//! setting without effect. Owns the one list of these notes, which the start lines, the log of a reload and
//! `check-config` show.

use std::path::Path;
use std::time::SystemTime;

use halley_protocol::login::keys::KeySet;
use halley_service::config::Schema as _;
use halley_service::files::loose;
use halley_service::timestamp::Timestamp;

use crate::config::words::Auth;
use crate::config::{Config, check};
use halley_service::tls::certificates::{Certificates, Undated, Validity};

use super::access::token_files;

/// The notes on a configuration, a sentence each. `file` is where the settings come from; `certificates` and `key_set`
/// are what was read of its files.
pub(super) fn of(
    config: &Config,
    file: Option<&Path>,
    certificates: Option<&Certificates>,
    key_set: Option<&KeySet>,
    now: SystemTime,
) -> Vec<String> {
    let mut notes = Vec::new();
    let now_s = i64::try_from(Timestamp::from_system(now).unix_s()).unwrap_or(i64::MAX);
    notes.extend(certificates.into_iter().flat_map(Certificates::validities).filter_map(|one| not_valid(one, now_s)));
    notes.extend(certificates.into_iter().flat_map(Certificates::undated).map(undated));
    notes.extend(
        files(config, file, certificates.is_some(), key_set.is_some()).filter_map(|(what, path)| loose(what, path)),
    );
    notes.extend(without_effect(config));
    if !config.ingress.page_hosts.is_empty() && !check::has_tokens(config) {
        notes.push(
            "whoever reaches http_listen through a proxy on this machine by a name of ingress.page_hosts may do \
             everything: set push_token"
                .to_owned(),
        );
    }
    if check::jobs_need_no_token(config) {
        notes.push(
            "whoever reaches grpc_listen pushes as a job of goim does, without a token: set comet_token if yours can \
             show one"
                .to_owned(),
        );
    }
    if let Some(names) = check::plain_tokens(config) {
        notes.push(format!(
            "signed tokens come in unencrypted over {names}: whoever listens on the way can log in with them; use \
             tls_listen and wss_listen, or listen on 127.0.0.1 behind a proxy with TLS"
        ));
    }
    notes.extend(config.kafka.notes());
    if config.kafka.is_used() && !config.general.grpc_listen.is_empty() {
        notes.push(
            "goim's Comet service refuses pushes: a gateway reads the log (kafka.brokers) or is fed by jobs, never both"
                .to_owned(),
        );
    }
    if config.general.auth == Auth::Jwt && config.jwt.required.iter().all(|claim| claim != "exp") {
        notes.push("tokens without exp are let in and never end (jwt.required)".to_owned());
    }
    notes.extend(key_set.into_iter().flat_map(KeySet::notes).cloned());
    notes
}

/// A certificate that clients refuse now.
fn not_valid(certificate: &Validity, now_s: i64) -> Option<String> {
    let Validity { path, place, not_before_s, not_after_s } = certificate;
    let when = |seconds: i64| Timestamp::from_unix_ms(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
    let fault = if now_s > *not_after_s {
        format!("has expired: it was valid until {}", when(*not_after_s))
    } else if now_s < *not_before_s {
        format!("is not valid yet: it will be from {}", when(*not_before_s))
    } else {
        return None;
    };
    Some(format!("the certificate {}in {} {fault}; clients refuse it", which(*place), path.display()))
}

/// A certificate that nobody can watch.
fn undated(certificate: &Undated) -> String {
    let Undated { path, place } = certificate;
    let (which, path) = (which(*place), path.display());
    format!(
        "when the certificate {which}in {path} is valid cannot be read: clients may refuse it, and no metric tells \
         when it ends"
    )
}

fn which(place: usize) -> String {
    if place == 1 { String::new() } else { format!("number {place} of the chain ") }
}

/// Files that hold secrets or decide who is trusted, as far as they are used.
fn files<'c>(
    config: &'c Config,
    file: Option<&'c Path>,
    tls: bool,
    jwt: bool,
) -> impl Iterator<Item = (&'static str, &'c Path)> {
    let settings = file.into_iter().map(|path| ("the configuration", path));
    let pairs = config.tls.certificate_files.iter().map(|path| ("tls.certificate_files", &**path));
    let pairs = pairs.chain(config.tls.key_files.iter().map(|path| ("tls.key_files", &**path)));
    let secret = Some(("jwt.secret_file", &*config.jwt.secret_file)).filter(|(_, path)| !path.as_os_str().is_empty());
    let keys = secret.into_iter().chain(config.jwt.key_files.iter().map(|path| ("jwt.key_files", &**path)));
    let kafka = config.kafka.secret_files();
    settings.chain(token_files(config)).chain(kafka).chain(pairs.filter(move |_| tls)).chain(keys.filter(move |_| jwt))
}

/// Settings that are set and change nothing.
fn without_effect(config: &Config) -> Vec<String> {
    let defaults = Config::default();
    let set = |section: &str| -> Option<String> {
        let set = Config::keys().filter(|key| key.section == section && key.value(config) != key.value(&defaults));
        let paths: Vec<String> = set.map(|key| key.path()).collect();
        (!paths.is_empty()).then(|| paths.join(", "))
    };
    let jwt = set("jwt").filter(|_| config.general.auth == Auth::Open);
    let jwt = jwt.map(|paths| {
        format!("without effect is {paths}: auth = \"open\" checks no token; set auth = \"jwt\", or take it out")
    });
    let plain = config.general.tls_listen.is_empty() && config.general.wss_listen.is_empty();
    let tls = set("tls").filter(|_| plain);
    let tls = tls.map(|paths| {
        format!("without effect is {paths}: nothing listens with TLS; set tls_listen or wss_listen, or take it out")
    });
    let kafka = set("kafka").filter(|_| !config.kafka.is_used());
    let kafka = kafka.map(|paths| {
        format!("without effect is {paths}: pushes go over the embedded log; set kafka.brokers, or take it out")
    });
    jwt.into_iter().chain(tls).chain(kafka).collect()
}
