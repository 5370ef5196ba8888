//! Proves that every layer is read in its order, that what is wrong is said with its place and the nearest right name,
//! and that dangers are refused unless asked for; all of it at once, and without repeating what may be a secret.

use halley_service::config::changes::{Changes, merge};
use halley_service::config::load::{self, Flag, Sources};
use halley_service::config::reference::reference;
use halley_service::config::value::text::Secret;
use halley_service::config::{Schema as _, effective};

use super::check::check;

use super::schema::Config;
use super::words::Insecure;
use super::{ConfigError, Loaded};
use crate::limits::SlowConsumer;

fn from_text(text: &str, sources: &Sources) -> Result<Config, ConfigError> {
    load::from_text(text, sources)
}

fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    load::load(sources)
}

fn flag(path: &str, text: &str) -> Flag {
    Flag { path: path.to_owned(), flag: None, text: text.to_owned() }
}

fn variables(pairs: &[(&str, &str)]) -> Sources {
    let environment = pairs.iter().map(|&(name, text)| (name.into(), text.into())).collect();
    Sources { environment, ..Sources::default() }
}

fn file_error(text: &str) -> String {
    from_text(text, &Sources::default()).expect_err(text).to_string()
}

fn parsed(text: &str) -> Config {
    from_text(text, &Sources::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_later_layer_wins_over_an_earlier_one() {
    let file = "shards = 1\nmax_connections = 1\ndrain_seconds = 1\n[node]\nregion = \"file\"\nzone = \"file\"";
    let mut sources =
        variables(&[("HALLEY_MAX_CONNECTIONS", "2"), ("HALLEY_DRAIN_SECONDS", "2"), ("HALLEY_NODE__ZONE", "env")]);
    sources.flags.push(flag("drain_seconds", "3"));
    let config = from_text(file, &sources).unwrap();
    let general = &config.general;
    assert_eq!((general.shards, general.max_connections, general.drain_seconds), (1, 2, 3));
    assert_eq!((config.node.region.as_str(), config.node.zone.as_str()), ("file", "env"));
}

#[test]
fn lists_are_read_from_arrays_single_values_and_commas() {
    let two = ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()];
    assert_eq!(parsed("tcp_listen = [\"127.0.0.1:1\", \"[::1]:2\"]").general.tcp_listen, two);
    assert_eq!(parsed("tcp_listen = \"127.0.0.1:1\"").general.tcp_listen, two[..1]);
    let config = from_text("", &variables(&[("HALLEY_TCP_LISTEN", "127.0.0.1:1, [::1]:2")])).unwrap();
    assert_eq!(config.general.tcp_listen, two);
    let config = from_text("", &variables(&[("HALLEY_TCP_LISTEN", "")])).unwrap();
    assert_eq!(config.general.tcp_listen, []);
}

/// A variable that came out empty must not take away what it was to set. In the file it is a decision.
#[test]
fn an_empty_secret_from_outside_is_refused() {
    let settings: Vec<String> = Config::keys().map(|key| key.path()).collect();
    let tokens = ["admin_token", "push_token", "read_token", "comet_token", "jwt.secret"];
    for name in tokens.into_iter().flat_map(|name| [name.to_owned(), format!("{name}_file")]) {
        assert!(settings.contains(&name), "{name}");
        let variable = format!("HALLEY_{}", name.replace('.', "__").to_uppercase());
        let end = format!(
            "{name} is empty: give it a value, or take it away (in the file, [] or \"\" says that there is none)"
        );
        for text in ["", "  "] {
            let error = from_text("", &variables(&[(&variable, text)])).expect_err(&name).to_string();
            assert_eq!(error, format!("environment variable {variable}: {end}"));
            let sources = Sources { flags: vec![flag(&name, text)], ..Sources::default() };
            assert_eq!(from_text("", &sources).expect_err(&name).to_string(), format!("--set {name}: {end}"));
        }
    }
    let file = "push_token = []\nread_token_file = \"\"\n[jwt]\nsecret = \"\"\nsecret_file = \"\"";
    assert_eq!(parsed(file), Config::default());
    assert!(from_text("", &variables(&[("HALLEY_ORIGINS", ""), ("HALLEY_READY_FILE", "")])).is_ok());
}

#[test]
fn an_unknown_name_is_refused_with_its_line_and_the_nearest_known_one() {
    let cases = [
        (
            "shards = 1\n\ntcp_listne = 3",
            "test.toml, line 3: there is no setting \"tcp_listne\"; did you mean \"tcp_listen\"?",
        ),
        ("[node]\nregoin = 3", "test.toml, line 2: there is no setting \"regoin\" in [node]; did you mean \"region\"?"),
        ("[nodes]\nregion = 3", "test.toml, line 1: there is no section [nodes]; did you mean [node]?"),
        (
            "queue_bytes_max = 3",
            "test.toml, line 1: there is no setting \"queue_bytes_max\"; \"queue_bytes_max\" stands in the section \
             [queues]",
        ),
        (
            "[node]\nshards = 3",
            "test.toml, line 2: there is no setting \"shards\" in [node]; \"shards\" stands before the first section",
        ),
        ("colour = 3", "test.toml, line 1: there is no setting \"colour\"; `halley-gateway default-config` lists all"),
    ];
    for (text, sentence) in cases {
        assert_eq!(file_error(text), sentence);
    }
    let error = from_text("", &variables(&[("HALLEY_NODE__REGOIN", "x")])).unwrap_err().to_string();
    assert_eq!(error, "environment variable HALLEY_NODE__REGOIN names no setting; did you mean HALLEY_NODE__REGION?");
    let sources = Sources { flags: vec![flag("nod.region", "x")], ..Sources::default() };
    let error = from_text("", &sources).unwrap_err().to_string();
    assert_eq!(error, "--set nod.region: there is no setting \"nod.region\"; did you mean \"node.region\"?");
}

#[test]
fn variables_that_kubernetes_sets_for_a_service_of_our_name_are_no_settings() {
    let links = [
        ("HALLEY_SERVICE_HOST", "10.0.0.1"),
        ("HALLEY_SERVICE_PORT_TCP", "3101"),
        ("HALLEY_PORT", "tcp://10.0.0.1:3101"),
        ("HALLEY_PORT_3101_TCP_ADDR", "10.0.0.1"),
        ("HALLEY_GATEWAY_PORT_3101_TCP_PROTO", "tcp"),
    ];
    assert_eq!(from_text("", &variables(&links)).unwrap(), Config::default());
    assert!(from_text("", &variables(&[("HALLEY_PORTS", "3101")])).is_err());
}

#[test]
fn a_wrong_value_is_refused_with_its_line_and_what_is_wanted() {
    let cases = [
        ("shards = \"two\"", "test.toml, line 1: shards must be a whole number, not a text"),
        ("shards = 257", "test.toml, line 1: shards must be between 0 and 256"),
        ("shards = -1", "test.toml, line 1: shards must be between 0 and 4294967295"),
        (
            "\n[queues]\nslow_consumer = \"drop_new\"",
            "test.toml, line 3: queues.slow_consumer must be \"drop_newest\" or \"drop_oldest\" or \"close\", not \
             \"drop_new\"; did you mean \"drop_newest\"?",
        ),
        (
            "tcp_listen = \":3101\"",
            "test.toml, line 1: tcp_listen must name an address: write 0.0.0.0:3101, or [::]:3101 with IPv6",
        ),
        ("pin_shards = 1", "test.toml, line 1: pin_shards must be true or false, not a whole number"),
        ("[node]\nbackoff_jitter = nan", "test.toml, line 2: node.backoff_jitter must be a finite number"),
    ];
    for (text, sentence) in cases {
        assert_eq!(file_error(text), sentence);
    }
    assert!(file_error("shards = ").starts_with("test.toml, line 1: not TOML: "), "{}", file_error("shards = "));
    assert!(file_error("shards = 1\nshards = 2").starts_with("test.toml, line 2: not TOML: "));
    let error = from_text("", &variables(&[("HALLEY_SHARDS", "many")])).unwrap_err().to_string();
    assert_eq!(error, "environment variable HALLEY_SHARDS: shards must be a whole number");
}

#[test]
fn numbers_may_be_written_with_underscores_and_in_hexadecimal() {
    assert_eq!(parsed("max_connections = 1_000").general.max_connections, 1000);
    assert_eq!(parsed("max_connections = 0x10").general.max_connections, 16);
    assert_eq!(
        from_text("", &variables(&[("HALLEY_MAX_CONNECTIONS", "1_000")])).unwrap().general.max_connections,
        1000
    );
}

/// Every bound of the schema is kept: its ends are taken, what lies beyond them is refused.
#[test]
fn every_bounded_setting_takes_its_bounds_and_nothing_beyond() {
    for key in Config::keys() {
        let Some((low, high)) = key.bounds() else { continue };
        let set = |text: &str| key.set_text(&mut Config::default(), text);
        assert_eq!((set(&low), set(&high)), (Ok(()), Ok(())), "{key:?}");
        let beyond = format!("{}", high.parse::<f64>().unwrap() + 1.0);
        assert!(set(&beyond).is_err(), "{key:?} takes {beyond}");
    }
}

#[test]
fn words_are_read_and_written_alike() {
    let config = parsed("[queues]\nslow_consumer = \"close\"");
    assert_eq!(config.queues.slow_consumer, SlowConsumer::Close);
    for key in Config::keys() {
        let text = key.value(&Config::default());
        let file = if key.section.is_empty() {
            format!("{} = {text}", key.name)
        } else {
            format!("[{}]\n{} = {text}", key.section, key.name)
        };
        assert_eq!(parsed(&file), Config::default(), "{key:?}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let config = parsed("push_token = \"hunter2\"\n[jwt]\nsecret = \"hunter2\"");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(Config::keys().filter(|key| key.secret).count(), 5);
    assert!(Config::keys().filter(|key| key.secret).all(|key| key.flag().is_none()), "ps would show it");
}

#[test]
fn without_configuration_only_this_machine_is_served() {
    let general = Config::default().general;
    let lists = [general.tcp_listen, general.ws_listen, general.http_listen, general.grpc_listen];
    assert!(lists.iter().flatten().all(|address| address.ip().is_loopback()));
    assert_eq!(lists.map(|list| list[0].port()), [3101, 3102, 3111, 3109], "goim's ports");
    assert_eq!(check(&Config::default()), Ok(()));
}

#[test]
fn dangers_are_refused_unless_asked_for_by_name() {
    let cases = [
        ("tcp_listen = \"0.0.0.0:3101\"", Insecure::OpenAuth),
        ("ws_listen = \"[::]:3102\"", Insecure::OpenAuth),
        ("http_listen = \"192.0.2.1:3111\"", Insecure::OpenIngress),
        ("grpc_listen = \"0.0.0.0:3109\"", Insecure::PlainGrpc),
    ];
    for (text, danger) in cases {
        let refusal = check(&parsed(text)).expect_err(text).to_string();
        assert!(refusal.contains(&format!("insecure = [\"{}\"]", danger.word())), "{refusal}");
        let accepted = format!("insecure = [\"{}\"]\n{text}", danger.word());
        assert_eq!(check(&parsed(&accepted)), Ok(()), "{accepted}");
        let other = if danger == Insecure::PlainGrpc { "open_auth" } else { "plain_grpc" };
        assert!(check(&parsed(&format!("insecure = [\"{other}\"]\n{text}"))).is_err(), "{text}: another danger's name");
    }
    let safe = [
        "tcp_listen = \"0.0.0.0:3101\"\nauth = \"jwt\"\n[jwt]\nsecret = \"x\"",
        "http_listen = \"0.0.0.0:3111\"\npush_token = \"t\"\ninsecure = [\"plain_http\"]",
        "push_token = \"t\"",
        "tcp_listen = \"127.9.9.9:3101\"\nws_listen = \"[::1]:3102\"\nhttp_listen = \"[::ffff:127.0.0.1]:3111\"",
        "admin_listen = [\"0.0.0.0:3110\"]\nadmin_token = \"t\"\ninsecure = [\"plain_http\"]",
        "admin_listen = [\"0.0.0.0:3110\"]\nadmin_token_file = \"t\"\ninsecure = [\"plain_http\"]",
        "admin_listen = [\"unix:/run/halley.sock\"]",
    ];
    for text in safe {
        assert_eq!(check(&parsed(text)), Ok(()), "{text}");
    }
    assert!(check(&parsed("admin_listen = \"0.0.0.0:3110\"")).is_err());
}

#[test]
fn contradictions_are_refused() {
    let cases = [
        ("tcp_listen = []\nws_listen = []", "no client could connect"),
        ("tcp_listen = \"127.0.0.1:3102\"", "tcp_listen and ws_listen both name 127.0.0.1:3102"),
        ("insecure = [\"open_auth\"]\ntcp_listen = \"[::]:3102\"", "share a port"),
        ("wss_listen = \"127.0.0.1:3103\"", "need a certificate"),
        ("[tls]\ncertificate_files = [\"a\", \"b\"]\nkey_files = [\"a\"]", "give every certificate its key"),
        ("auth = \"jwt\"", "needs a key"),
        ("[jwt]\nclaim_mid = \"\"", "jwt.claim_mid is empty"),
        ("[queues]\nqueue_bytes_max = 100_000\nshard_queue_bytes_max = 70_000", "lower it"),
        ("[ingress]\nbus_bytes_max = 1_000_000", "raise it to at least 1004096"),
        ("[ingress]\nbus_bytes_max = 100_000\nbody_bytes_max = 95_905", "no room for the largest message"),
        ("[log]\nlevel = \"halley=loud\"", "is no level"),
    ];
    for (text, part) in cases {
        let refusal = check(&parsed(text)).expect_err(text).to_string();
        assert!(refusal.contains(part), "{refusal}");
    }
    assert_eq!(
        check(&parsed("tcp_listen = \"127.0.0.1:0\"\nws_listen = \"127.0.0.1:0\"")),
        Ok(()),
        "free ports differ"
    );
    assert_eq!(
        check(&parsed("[ingress]\nbus_bytes_max = 100_000\nbody_bytes_max = 95_904")),
        Ok(()),
        "just room enough"
    );
    let split = "insecure = [\"open_auth\"]\ntcp_listen = [\"0.0.0.0:3101\", \"[::]:3101\"]\n[sockets]\nipv6_only = ";
    assert!(check(&parsed(&format!("{split}false"))).is_err());
    assert_eq!(check(&parsed(&format!("{split}true"))), Ok(()));
}

/// A file, an environment and flags with a mistake of every kind: each is said, in the order of the layers.
#[test]
fn every_problem_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halley.toml");
    let text = "\
        tcp_listne = 3\n\
        shards = \"two\"\n\
        max_connections = many\n\
        origins = [\"https://a.example/\", \"https://b.example\", \"*\"]\n\
        http_listen = [\"0.0.0.0:1\", \"0.0.0.0:2\"]\n\
        grpc_listen = \"0.0.0.0:3\"\n\
        drain_seconds = 99999\n\
        [nodes]\n\
        region = \"x\"\n\
        [queues]\n\
        queue_bytes_max = 100_000\n\
        shard_queue_bytes_max = 70_000\n\
        [jwt]\n\
        claim_mid = \"\"\n\
        claim_ops = \"\"\n\
        [log]\n\
        level = \"loud\"\n";
    std::fs::write(&path, text).unwrap();
    let mut sources = variables(&[("HALLEY_NODE__WEIGHT", "heavy"), ("HALLEY_SHRADS", "1")]);
    sources.flags = vec![flag("ingress.bus_records_max", "0"), flag("nod.region", "x")];
    sources.file = Some(path.clone());
    let said = load(&sources).unwrap_err();
    let begins = [
        "line 1: there is no setting \"tcp_listne\"",
        "line 2: shards must be a whole number",
        "line 3: not TOML: string values must be quoted",
        "line 4: origins holds \"https://a.example/\"",
        "line 4: origins holds \"*\"",
        "line 7: drain_seconds must be between 0 and 3600",
        "line 8: there is no section [nodes]",
        "environment variable HALLEY_NODE__WEIGHT: node.weight must be",
        "environment variable HALLEY_SHRADS names no setting",
        "--set ingress.bus_records_max: ingress.bus_records_max must be between",
        "--set nod.region: there is no setting",
        "jwt.claim_mid is empty",
        "jwt.claim_ops is empty",
        "queues.queue_bytes_max (100000) is above queues.shard_queue_bytes_max (70000)",
        "log.level \"loud\" is no level",
        "http_listen 0.0.0.0:1, 0.0.0.0:2 without push_token let other machines push",
        "grpc_listen 0.0.0.0:3 lets other machines push",
    ];
    let problems = said.problems();
    assert_eq!(problems.len(), begins.len(), "{problems:#?}");
    for (problem, begin) in problems.iter().map(ToString::to_string).zip(begins) {
        let problem = problem.strip_prefix(&format!("{}, ", path.display())).unwrap_or(&problem);
        assert!(problem.starts_with(begin), "{problem} / {begin}");
    }
}

/// What is only a consequence of something said already is not said: nobody knows what was meant.
#[test]
fn consequences_are_not_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halley.toml");
    for (text, count) in [
        ("auth = \"jwtt\"\ntcp_listen = \"0.0.0.0:3101\"", 1),
        ("auth = jwt\ntcp_listen = \"0.0.0.0:3101\"", 1),
        ("tcp_listen = []\nws_listen = \"x\"", 1),
        ("push_token = 5\nhttp_listen = \"0.0.0.0:3111\"", 1),
        ("[queues]\nqueue_bytes_max = 1000000000\nshard_queue_bytes_max = \"1 GX\"", 1),
        ("wss_listen = \"127.0.0.1:3103\"\n[tls]\ncertificate_files = 5\nkey_files = [\"a\"]", 1),
        ("[node\nweight = \"x\"\ntcp_listen = \"0.0.0.0:1\"", 1),
        ("ready_file = \"\"\"x\ntcp_listen = \"0.0.0.0:1\"\n", 1),
        ("auth = \"jwt\"\n[jwt]\nsecrt = \"x\"", 1),
        ("auth = \"jwt\"\n[jwtt]\nsecret = \"x\"", 1),
        ("wss_listen = \"127.0.0.1:3103\"\n[tls]\ncertificate_file = \"c\"\nkey_files = [\"a\"]", 1),
        ("tcp_listne = \"127.0.0.1:1\"\ntcp_listen = \"0.0.0.0:3101\"", 2),
        ("insecure = [\"open_aut\"]\ntcp_listen = \"0.0.0.0:3101\"", 2),
        ("shards = x\nshards = y\nmax_connections = 1\nmax_connections = 2", 3),
    ] {
        std::fs::write(&path, text).unwrap();
        let sources = Sources { file: Some(path.clone()), ..Sources::default() };
        let said = load(&sources).unwrap_err();
        assert_eq!(said.problems().len(), count, "{text}: {said:#?}");
    }
    // What a layer above the file gives is known all the same.
    let sources = Sources {
        file: Some(folder.path().join("none.toml")),
        flags: vec![flag("grpc_listen", "0.0.0.0:1"), flag("log.level", "loud")],
        ..Sources::default()
    };
    let said = load(&sources).unwrap_err();
    assert_eq!(said.problems().len(), 3, "{said}");
}

/// One address holds half of what all bodies may: a message at that bound fits, one byte more does not.
#[test]
fn the_largest_message_fits_what_one_address_may_hold() {
    let right = |bytes: u32| {
        let text = format!("[ingress]\nbodies_bytes_max = 2_000_000\nbody_bytes_max = {bytes}");
        super::check::findings(&parsed(&text)).is_empty()
    };
    assert!(right(1_000_000) && !right(1_000_001));
}

/// Every finding names settings that there are, or it would hide behind none.
#[test]
fn findings_are_about_settings() {
    for text in [
        "tcp_listen = []\nws_listen = []",
        "tcp_listen = [\"0.0.0.0:1\", \"0.0.0.0:1\"]\nwss_listen = \"[::]:1\"",
        "http_listen = \"0.0.0.0:1\"\ngrpc_listen = \"0.0.0.0:2\"\nadmin_listen = \"0.0.0.0:3\"",
        "push_token = \"x\"\nhttp_listen = \"0.0.0.0:1\"",
        "auth = \"jwt\"\n[jwt]\nclaim_key = \"\"\n[tls]\nkey_files = \"a\"",
        "[queues]\nqueue_bytes_max = 100_000\nshard_queue_bytes_max = 70_000\n[log]\nlevel = \"loud\"",
        "[ingress]\nbus_bytes_max = 65536\nbodies_bytes_max = 65536",
    ] {
        let findings = super::check::findings(&parsed(text));
        assert!(!findings.is_empty(), "{text}");
        for about in findings.iter().flat_map(|finding| &finding.about) {
            assert!(Config::find(about).is_some(), "{text}: {about}");
        }
    }
}

/// Every listener in danger is named: nobody mends the first to hear of the second.
#[test]
fn a_danger_names_every_address() {
    let text = "tcp_listen = [\"0.0.0.0:1\", \"127.0.0.1:2\"]\nws_listen = [\"0.0.0.0:3\", \"[::]:4\"]";
    let refusal = check(&parsed(text)).unwrap_err().to_string();
    let begin = "tcp_listen 0.0.0.0:1 and ws_listen 0.0.0.0:3, [::]:4 with auth = \"open\" let other machines log in";
    assert!(refusal.starts_with(begin), "{refusal}");
}

/// Wherever a secret stands by mistake, what is said of it does not repeat it.
#[test]
fn no_message_repeats_a_secret() {
    for text in [
        "push_token = hunter2",
        "push_token = \"hunter2",
        "push_token = \"hunter2\\x\"",
        "push_token = 'hunter2",
        "push_token = \"\"\"hunter2",
        "push_token hunter2",
        "push_token: hunter2",
        "push_token == \"hunter2\"",
        "push_token = \"x\" \"hunter2\"",
        "push_token = [\"hunter2\"",
        "push_token = [\"hunter2\", 5]",
        "push_token = { hunter2 = 1 }",
        "push_token = \"hunter2\\u0007\"",
        "push_tokn = \"hunter2\"",
        "push_tokn = [\"hunter2\"]",
        "push_token = 12hunter2",
        "push_token = 2020-01-01hunter2",
        "push_token = truehunter2",
        "hunter2",
        "\"hunter2",
        "[jwt]\nsecrt = \"hunter2\"",
        "[jwt]\nsecret = [\"hunter2\"]",
        "jwt = \"hunter2\"",
        "jwt = { secrt = \"hunter2\" }",
        "[[jwt]]\nsecret = \"hunter2\"",
        "[push_tokn]\nx = \"hunter2\"",
        "secrets = \"hunter2\"",
        "origins = \"https://user:hunter2@app.example.org\"",
        "[ingress]\npage_hosts = \"user:hunter2@push\"",
    ] {
        let said = file_error(text);
        assert!(said.starts_with("test.toml, line ") && !said.contains("hunter2"), "{text}: {said}");
    }
    for (name, value) in
        [("HALLEY_PUSH_TOKN", "hunter2"), ("HALLEY_JWT__SECRET", "hunter2\u{7}"), ("HALLEY_X", "hunter2")]
    {
        let said = from_text("", &variables(&[(name, value)])).unwrap_err().to_string();
        assert!(said.contains(name) && !said.contains("hunter2"), "{said}");
    }
}

/// The file with every `#` before a setting removed.
fn switched_on() -> String {
    let setting = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
    let lines: Vec<String> =
        reference::<Config>().lines().map(|line| setting(line).unwrap_or(line.to_owned())).collect();
    lines.join("\n")
}

#[test]
fn the_reference_holds_every_setting_once_with_its_default() {
    let file = switched_on();
    for key in Config::keys() {
        let line = format!("{} = {}", key.name, key.value(&Config::default()));
        assert!(file.lines().any(|found| found == line), "{line} is missing");
    }
    let settings = file.lines().filter(|line| !line.starts_with(['#', '[']) && !line.is_empty()).count();
    assert_eq!(settings, Config::keys().count());
}

#[test]
fn reading_the_reference_gives_the_defaults_as_it_is_and_switched_on() {
    assert_eq!(from_text(&reference::<Config>(), &Sources::default()).unwrap(), Config::default());
    assert_eq!(from_text(&switched_on(), &Sources::default()).unwrap(), Config::default());
}

#[test]
fn the_committed_reference_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/halley.reference.toml");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == reference::<Config>(),
        "renew it: cargo run -- default-config > gateway/halley.reference.toml"
    );
}

#[test]
fn every_setting_is_explained() {
    for key in Config::keys() {
        assert!(!key.about.is_empty(), "{key:?}");
    }
}

/// A unit is taken wherever the setting's name ends in one, and nowhere else.
#[test]
fn bytes_and_times_may_have_their_unit() {
    let config = parsed("drain_seconds = \"1min\"\n[queues]\nqueue_bytes_max = \"128KiB\"");
    assert_eq!((config.general.drain_seconds, config.queues.queue_bytes_max), (60, 128 * 1024));
    let config = from_text("", &variables(&[("HALLEY_LIMITS__HANDSHAKE_TIMEOUT_MS", "2s")])).unwrap();
    assert_eq!(config.limits.handshake_timeout_ms, 2000);
    for (text, sentence) in [
        ("shards = \"2s\"", "shards must be a whole number, not a text"),
        ("drain_seconds = \"64KiB\"", "drain_seconds must be a whole number of seconds, such as \"10s\""),
        ("drain_seconds = \"10\"", "drain_seconds must be a whole number, not a text"),
        ("drain_seconds = \"2h\"", "drain_seconds must be between 0 and 3600"),
    ] {
        assert_eq!(file_error(text), format!("test.toml, line 1: {sentence}"));
    }
}

/// The settings in force read back as the same configuration, less the secrets, which are not in it.
#[test]
fn the_settings_in_force_are_shown_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halley.toml");
    std::fs::write(&path, "shards = 3\npush_token = \"hunter2-0123456789\"\n[node]\nregion = \"sh\"").unwrap();
    let mut sources = variables(&[("HALLEY_NODE__ZONE", "z"), ("HALLEY_NODE__REGION", "hz")]);
    sources.flags = vec![flag("drain_seconds", "1")];
    sources.file = Some(path);
    let loaded = load(&sources).unwrap();
    let text = effective(&loaded);
    assert!(!text.contains("hunter2"), "{text}");
    for line in [
        "shards = 3  # file",
        "# push_token is set and not shown  # file",
        "admin_token = []",
        "region = \"hz\"  # environment",
        "drain_seconds = 1  # flag",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
    }
    let mut expected = loaded.config.clone();
    expected.general.push_token = Vec::new();
    assert_eq!(parsed(&text), expected);
}

#[test]
fn what_may_change_is_taken_over_and_the_rest_is_named() {
    let old = Config::default();
    let mut new = Config::default();
    new.limits.frames_burst = 4_000;
    new.general.shards = 7;
    new.general.push_token = vec![Secret("hunter2".to_owned())];
    let (merged, changes) = merge(&old, &new);
    assert_eq!(changes.live, ["push_token", "limits.frames_burst 2000 -> 4000"]);
    assert_eq!(changes.restart, ["shards 0 -> 7"]);
    assert_eq!(merged.limits.frames_burst, 4_000);
    assert_eq!(merged.general.push_token, new.general.push_token);
    assert_eq!(merged.general.shards, 0);
}

#[test]
fn without_a_change_nothing_is_named() {
    let (merged, changes) = merge(&Config::default(), &Config::default());
    assert_eq!((merged, changes), (Config::default(), Changes::default()));
}

/// By whatever layer a secret comes, it is not among the settings in force.
#[test]
fn no_layer_shows_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halley.toml");
    std::fs::write(&path, "push_token = \"hunter2-0123456789\"").unwrap();
    let mut sources = variables(&[("HALLEY_READ_TOKEN", "hunter2-0123456789")]);
    sources.flags = vec![flag("admin_token", "hunter2-0123456789"), flag("jwt.secret", "hunter2-0123456789")];
    sources.file = Some(path);
    let text = effective(&load(&sources).unwrap());
    assert!(!text.contains("hunter2") && text.matches("is set and not shown").count() == 4, "{text}");
    assert!(!format!("{sources:?}").contains("hunter2"));
}

/// A file that is something else is told of in bounded time and length.
#[test]
fn a_file_of_nothing_but_slips_is_told_of_briefly() {
    let text: String = (0..20_000).map(|number| format!("k{number} = \"v\"\n")).collect();
    let error = from_text(&text, &Sources::default()).expect_err("slips");
    let sentences: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(sentences.len(), 51);
    assert!(sentences[50].starts_with("test.toml: 19950 more settings were not looked at"), "{}", sentences[50]);
    let error = from_text("shards = 1\0\nws_listen = []", &Sources::default()).expect_err("a control character");
    assert_eq!(error.problems().len(), 1, "{error}");
}

/// Of a setting whose value nobody knows nothing follows, by whatever layer it is doubtful.
#[test]
fn what_is_doubtful_has_no_consequences() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halley.toml");
    let count = |text: &str, sources: Sources| {
        std::fs::write(&path, text).unwrap();
        let sources = Sources { file: sources.file.or_else(|| Some(path.clone())), ..sources };
        load(&sources).expect_err(text).problems().len()
    };
    let public = "tcp_listen = \"0.0.0.0:3101\"";
    assert_eq!(count(public, variables(&[])), 1, "auth is known to be open");
    assert_eq!(count(public, variables(&[("HALLEY_AUTH", "jwtt")])), 1);
    assert_eq!(count(public, variables(&[("HALLEY_AUHT", "jwt")])), 1);
    assert_eq!(count(public, Sources { flags: vec![flag("auth", "jwtt")], ..Sources::default() }), 1);
    let no_text = ("HALLEY_AUTH".into(), std::ffi::OsString::from_vec(vec![0xff]));
    assert_eq!(count(public, Sources { environment: vec![no_text], ..Sources::default() }), 1);
    let folder_as_file = Sources {
        file: Some(folder.path().to_owned()),
        flags: vec![flag("tcp_listen", "0.0.0.0:1")],
        ..Sources::default()
    };
    assert_eq!(count("", folder_as_file), 1, "auth may stand in it");
    let mended = Sources { flags: vec![flag("auth", "open")], ..Sources::default() };
    assert_eq!(count(&format!("auth = \"jwtt\"\n{public}"), mended), 2, "the flag's value is known");
    let broken = format!("{}{public}", "no toml\n".repeat(60));
    std::fs::write(&path, broken).unwrap();
    let said = load(&Sources { file: Some(path.clone()), ..Sources::default() }).expect_err("broken");
    assert!(said.problems().iter().all(|problem| problem.to_string().contains("not TOML")), "{said}");
}

/// The same slip in several items of a list is one thing to say.
#[test]
fn equal_slips_of_a_list_are_said_once() {
    assert_eq!(
        file_error("insecure = [5, 6, 7]"),
        "test.toml, line 1: insecure must be a word in quotes, not a whole number"
    );
}
