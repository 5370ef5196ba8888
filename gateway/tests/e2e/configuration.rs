//! What is said of a new configuration while the gateway runs.

use rustix::process::Signal;

use crate::support::gateway::Start;
use crate::support::*;

/// A reload that is refused names everything that is wrong in its one line of the log, and changes nothing.
#[test]
fn a_refused_reload_says_everything_that_is_wrong() {
    let gateway = Start::new().config("push_token = \"0123456789abcdef\"").run();
    gateway.rewrite_config(
        "push_token = \"hunter2\"\nread_token_file = \"/no/such/file\"\norigins = [\"*\"]\nmax_connections = \"all\"\n\
         [queues]\nqueue_bytes_max = 100_000\nshard_queue_bytes_max = 70_000\n[jwt]\nclaim_key = \"\"\n",
    );
    gateway.signal(Signal::HUP);
    let refused = |line: &&str| line.contains("the new configuration is not right");
    let line = eventually("it is refused", || gateway.log().lines().find(refused).map(str::to_owned));
    for part in [
        "a push_token has 7 characters",
        "read_token_file /no/such/file cannot be read",
        "line 3: origins holds \"*\"",
        "line 4: max_connections must be a whole number",
        "queues.queue_bytes_max (100000) is above",
        "jwt.claim_key is empty",
    ] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
    assert!(!line.contains("hunter2"), "{line}");
    let header = [("authorization", "Bearer 0123456789abcdef")];
    let shown = || {
        let answer = http::request(gateway.http(), "GET", "/metrics", &header, b"");
        assert_eq!(answer.status, 200, "the old token holds");
        let metrics = metrics::Metrics::parse(answer.text());
        let times = |result| metrics.sum("halley_config_reloads_total", &[("result", result)]);
        (times("taken"), times("refused"), metrics.sum("halley_config_last_reload_successful", &[]))
    };
    assert_eq!(shown(), (0.0, 1.0, 0.0));
    gateway.rewrite_config("push_token = \"0123456789abcdef\"");
    gateway.signal(Signal::HUP);
    eventually("it is taken", || (shown() == (1.0, 1.0, 1.0)).then_some(()));
}

/// However many notes there are, each is told: nobody could guess the others.
#[test]
fn no_note_of_a_reload_is_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = ["one.json", "two.json"].map(|name| folder.path().join(name));
    let write = |path: &std::path::Path, keys: &[String]| {
        std::fs::write(path, format!("{{\"keys\":[{}]}}", keys.join(","))).expect("written");
    };
    paths.iter().for_each(|path| write(path, &[]));
    let secret = "0123456789abcdef0123456789abcdef";
    let config = format!("auth = \"jwt\"\n[jwt]\nsecret = {secret:?}\nkey_files = [{:?}, {:?}]", paths[0], paths[1]);
    let gateway = Start::new().config(&config).run();
    for (file, path) in paths.iter().enumerate() {
        let keys = (0..17).map(|key| format!("{{\"kid\":\"{file}-{key}\",\"kty\":\"AKP\"}}"));
        write(path, &keys.collect::<Vec<_>>());
    }
    gateway.signal(Signal::HUP);
    for (file, path) in paths.iter().enumerate() {
        for key in 0..16 {
            let note = format!("kid \"{file}-{key}\", is left out");
            eventually(&note, || gateway.log().contains(&note).then_some(()));
        }
        let rest = format!("{}: 1 more keys are left out", path.display());
        eventually(&rest, || gateway.log().contains(&rest).then_some(()));
    }
}

/// What should be known of a configuration is a warning in the log when it is taken over.
#[test]
fn a_reload_warns_of_what_should_be_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    let good = r#"{"kid":"g","kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#;
    let write = |keys: &str| std::fs::write(&path, format!("{{\"keys\":[{keys}]}}")).expect("written");
    write(good);
    let config = format!("auth = \"jwt\"\n[jwt]\nkey_files = {:?}", path.display().to_string());
    let gateway = Start::new().config(&config).run();
    write(&format!(r#"{good},{{"kid":"n\nERROR forged\u001b[2J","kty":"RSA","e":"AQAB"}}"#));
    gateway.signal(Signal::HUP);
    let note = "kid \"n\\nERROR forged\\u{1b}[2J\", is left out: its n is missing";
    eventually("the key is named", || {
        gateway.log().lines().any(|line| line.contains(" WARN ") && line.contains(note)).then_some(())
    });
    write(&format!(r#"{good},{{"kid":"w","kty":"oct","k":"c2hvcnQ"}}"#));
    gateway.signal(Signal::HUP);
    let refused = "key 2 kid \"w\": too weak, it is a secret of 5 bytes";
    eventually("the weak key is refused", || {
        gateway.log().lines().any(|line| line.contains(" ERROR ") && line.contains(refused)).then_some(())
    });
}
