//! Proves what a person meets at the command line: the commands and what they print, one clear sentence and the right
//! exit code for everything that can be wrong before the gateway serves, and the ready file. What it does while serving
//! is in `e2e`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Long enough for any machine; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halley-gateway"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HALLEY_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let folder = TempDir::new().unwrap();
    finish(&mut program(folder.path(), arguments))
}

fn finish(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = output(command.stdout(Stdio::piped()));
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let code = status.code().unwrap_or_else(|| panic!("it does not exit by itself: {status}\n{stdout}{stderr}"));
    (code, stdout, stderr)
}

fn output(command: &mut Command) -> Output {
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    in_time(Pid::from_child(&child), || child.wait_with_output().unwrap())
}

/// Waits for something that the end of this process would bring, too; after [`PATIENCE`] the process is killed.
fn in_time<T>(process: Pid, wait: impl FnOnce() -> T) -> T {
    let (waits, waited) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if waited.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(process, Signal::KILL);
            }
        });
        let come = wait();
        drop(waits);
        come
    })
}

/// A gateway on free ports, ended by its process id.
struct Running {
    child: Child,
    folder: TempDir,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        Running::start_with(arguments, &[])
    }

    fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        Running::start_in(TempDir::new().unwrap(), arguments, environment)
    }

    fn start_in(folder: TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let free = ["--tcp-listen", "--ws-listen", "--http-listen", "--grpc-listen"].map(|flag| [flag, "127.0.0.1:0"]);
        let mut command = program(folder.path(), &free.concat());
        command.args(arguments).args(["--ready-file", "ready.json", "--shards", "2"]);
        command.envs(environment.iter().copied());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut running = Running { child, folder };
        running.wait("the ready file", |running| running.ready_file().exists());
        running
    }

    fn ready_file(&self) -> PathBuf {
        self.folder.path().join("ready.json")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn ready(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.ready_file()).unwrap()).unwrap()
    }

    fn wait(&mut self, what: &str, mut come: impl FnMut(&Running) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !come(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no {what}: {ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The start lines come after the ready file.
    fn wait_log(&mut self, part: &str) {
        self.wait(part, |running| running.log().contains(part));
    }

    fn end(&mut self, signal: Signal) -> i32 {
        let process = Pid::from_child(&self.child);
        kill_process(process, signal).unwrap();
        let status = in_time(process, || self.child.wait().unwrap());
        status.code().unwrap_or_else(|| panic!("it does not exit by itself: {status}\n{}", self.log()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn version_and_help_are_printed() {
    for arguments in [&["version"][..], &["--version"]] {
        let (code, out, _) = run(arguments);
        assert_eq!((code, out.as_str()), (0, concat!("halley-gateway ", env!("CARGO_PKG_VERSION"), "\n")));
    }
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for part in ["Examples:", "Signals:", "Exit codes:", "--tcp-listen", "check-config", "127.0.0.1:3101"] {
        assert!(out.contains(part), "{part} is missing in:\n{out}");
    }
    assert!(!out.contains('\u{1b}'), "colours on something that is no terminal");
}

/// What was asked for and could not be written is a failure; a reader who has seen enough is none.
#[test]
fn what_cannot_be_printed_is_said() {
    let folder = TempDir::new().unwrap();
    for arguments in [&["default-config"][..], &["version"], &["--version"], &["--help"], &["-h"], &["check-config"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = self::output(program(folder.path(), arguments).stdout(full));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let begin = "halley-gateway: cannot write to standard output: No space left on device";
        assert!(error.starts_with(begin) && error.lines().count() == 1, "{arguments:?}: {error}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = self::output(program(folder.path(), arguments).stdout(writer));
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{arguments:?}");
    }
}

/// The printed reference is itself a right configuration.
#[test]
fn the_default_configuration_is_right() {
    let folder = TempDir::new().unwrap();
    let (code, reference, _) = finish(&mut program(folder.path(), &["default-config"]));
    assert_eq!(code, 0);
    fs::write(folder.path().join("halley.toml"), reference).unwrap();
    let (code, out, _) = finish(&mut program(folder.path(), &["check-config"]));
    assert_eq!((code, out.as_str()), (0, "the configuration is right: halley.toml\n"));
    let flagged = ["--shards", "1", "--config", "halley.toml", "check-config"];
    let (code, out, _) = finish(program(folder.path(), &flagged).env("HALLEY_LOG__LEVEL", "info,halley_gateway=off"));
    assert_eq!((code, out.as_str()), (0, "the configuration is right: halley.toml, environment and flags\n"));
}

#[test]
fn a_wrong_configuration_is_a_sentence_a_line_and_exit_code_2() {
    let folder = TempDir::new().unwrap();
    let cases: [(&[&str], &str); 10] = [
        (
            &["--set", "shard=1"],
            "halley-gateway: --set shard: there is no setting \"shard\"; did you mean \"shards\"?\n",
        ),
        (&["--shards", "many"], "halley-gateway: --shards: shards must be a whole number\n"),
        (&["--drain-seconds", "-1"], "halley-gateway: --drain-seconds: drain_seconds must not be negative\n"),
        (
            &["--set", "log.level=foo", "check-config"],
            "halley-gateway: log.level \"foo\" is no level: use off, error, warn, info, debug or trace, also per part \
            of the program, as in \"info,halley_gateway::control=debug\"\n",
        ),
        (
            &["--config", "missing.toml"],
            "halley-gateway: cannot read the configuration missing.toml: No such file or directory (os error 2); \
            `halley-gateway default-config` prints one to begin with\n",
        ),
        (
            &["--tcp-listen", "0.0.0.0:0"],
            "halley-gateway: tcp_listen 0.0.0.0:0 with auth = \"open\" lets other machines log in as anybody: use \
            auth = \"jwt\", or listen on 127.0.0.1, or accept it with insecure = [\"open_auth\"]\n",
        ),
        (
            &["--auth", "jwt", "--set", "jwt.secret=short"],
            "halley-gateway: [jwt]: the token secret has 5 bytes, HS256 needs at least 32: make one with `openssl \
            rand -base64 32`\n",
        ),
        (
            &["--wss-listen", "127.0.0.1:0", "--set", "tls.certificate_files=no.pem", "--set", "tls.key_files=no.key"],
            "halley-gateway: TLS file no.pem cannot be read: No such file or directory (os error 2)\n\
             halley-gateway: TLS file no.key cannot be read: No such file or directory (os error 2)\n",
        ),
        (
            &[
                "--ready-file",
                "missing/ready.json",
                "--tcp-listen",
                "127.0.0.1:0",
                "--ws-listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
                "--grpc-listen",
                "127.0.0.1:0",
            ],
            "halley-gateway: cannot write ready_file missing/ready.json: No such file or directory (os error 2); its \
            directory must exist and be writable\n",
        ),
        (
            &["--tcp-listen", "192.0.2.1:3101", "--insecure", "open_auth"],
            "halley-gateway: tcp_listen: cannot listen on 192.0.2.1:3101: Cannot assign requested address (os error \
            99): no interface of this machine has this address\n",
        ),
    ];
    for (arguments, sentence) in cases {
        let (code, out, error) = finish(&mut program(folder.path(), arguments));
        assert_eq!((code, out.as_str(), error.as_str()), (2, "", sentence), "{arguments:?}");
    }
    let (code, _, error) = finish(program(folder.path(), &["check-config"]).env("HALLEY_SHRADS", "1"));
    assert_eq!(
        (code, error.as_str()),
        (2, "halley-gateway: environment variable HALLEY_SHRADS names no setting; did you mean HALLEY_SHARDS?\n")
    );
    let (code, _, error) = run(&["--tcp-listne", "127.0.0.1:0"]);
    assert!(code == 2 && error.contains("--tcp-listen"), "{code} {error}");
}

/// Settings, what they say together, and the files they name: all that is wrong is said at once, a line each, by the
/// start as by `check-config`.
#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "weak.json",
        r#"{"keys":[{"kid":"w","kty":"oct","k":"c2hvcnQ"},{"kid":"e","kty":"RSA","n":"AQAB","e":"AQAB"}]}"#,
    );
    write("short.secret", "hunter2\n");
    write("some.tokens", "hunter2\nhunter2-0123456789\nhunter2 hunter2 \n");
    write(
        "halley.toml",
        "shards = \"two\"\nauth = \"jwt\"\nadmin_token = \"hunter2\"\npush_token_file = \"no.tokens\"\n\
         read_token_file = \"some.tokens\"\nwss_listen = \"127.0.0.1:0\"\ngrpc_listen = \"0.0.0.0:0\"\n\
         [jwt]\nkey_files = [\"no.pem\", \"weak.json\"]\nsecret_file = \"short.secret\"\nclaim_mid = \"\"\n\
         [tls]\ncertificate_files = [\"no.crt\", \"weak.json\"]\nkey_files = [\"no.key\"]\n",
    );
    let sentences = [
        "halley.toml, line 1: shards must be a whole number, not a text",
        "environment variable HALLEY_SHRADS names no setting; did you mean HALLEY_SHARDS?",
        "--set log.format: log.format must be \"text\" or \"json\", not \"xml\"",
        "tls.certificate_files names 2 files and tls.key_files 1: give every certificate its key",
        "jwt.claim_mid is empty: name a claim",
        "grpc_listen 0.0.0.0:0 lets other machines push to every client, and is not encrypted: listen on 127.0.0.1, \
        or accept it with insecure = [\"plain_grpc\"]",
        "an admin_token has 7 characters, at least 16 are needed: `openssl rand -hex 24` makes a token",
        "push_token_file no.tokens cannot be read: No such file or directory (os error 2)",
        "read_token_file some.tokens: a token in it has 7 characters, at least 16 are needed: `openssl rand -hex 24` \
        makes a token",
        "read_token_file some.tokens: a token in it has a blank or another character that no token has: use letters, \
        digits and - . _ ~ + / =",
        "[jwt]: the token secret in short.secret has 7 bytes, HS256 needs at least 32: make one with `openssl rand \
        -base64 32`",
        "[jwt]: cannot read key file no.pem: No such file or directory (os error 2)",
        "[jwt]: key file weak.json, key 1 kid \"w\": too weak, it is a secret of 5 bytes, at least 32 are needed: \
        replace it, or take it out",
        "[jwt]: key file weak.json, key 2 kid \"e\": too weak, it is an RSA key of 17 bits, at least 2048 are needed: \
        replace it, or take it out",
        "TLS file no.crt cannot be read: No such file or directory (os error 2)",
        "TLS file weak.json holds no certificate",
        "TLS file no.key cannot be read: No such file or directory (os error 2)",
    ];
    let expected: String = sentences.iter().map(|sentence| format!("halley-gateway: {sentence}\n")).collect();
    for command in [&["check-config"][..], &[]] {
        let arguments = [command, &["--set", "log.format=xml"]].concat();
        let (code, out, error) = finish(program(folder.path(), &arguments).env("HALLEY_SHRADS", "1"));
        assert_eq!((code, out.as_str(), error.as_str()), (2, "", expected.as_str()), "{command:?}");
    }
}

/// A variable that is no UTF-8 is not as if it were not there: a token in it would leave everything open.
#[test]
fn a_variable_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = TempDir::new().unwrap();
    let no_text = std::ffi::OsStr::from_bytes(b"hunter2-0123456789\xff");
    let no_name = std::ffi::OsStr::from_bytes(b"HALLEY_PUSH_TOKEN\xff");
    for command in [&["check-config"][..], &[]] {
        let mut command = program(folder.path(), command);
        let (code, _, error) = finish(command.env("HALLEY_PUSH_TOKEN", no_text).env(no_name, "hunter2-0123456789"));
        let mut lines: Vec<&str> = error.lines().collect();
        lines.sort_unstable();
        let expected = [
            "halley-gateway: the name of the environment variable HALLEY_PUSH_TOKEN\\xff is not UTF-8: remove it",
            "halley-gateway: the value of the environment variable HALLEY_PUSH_TOKEN is not UTF-8: set it anew",
        ];
        assert_eq!((code, &*lines), (2, &expected[..]));
    }
    let mut other = program(folder.path(), &["check-config"]);
    assert_eq!(finish(other.env("OTHER", no_text)).0, 0, "what is not ours is nobody's business");
}

/// What is no error and should be known is said by `check-config` and by the start in the same words.
#[test]
fn notes_are_said_by_check_config_and_at_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let certificate = |name: &str, from: i32, until: i32, mode: u32| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut about = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (about.not_before, about.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        write(&format!("{name}.crt"), &about.self_signed(&key).unwrap().pem(), 0o644);
        write(&format!("{name}.key"), &key.serialize_pem(), mode);
    };
    certificate("good", 2020, 4000, 0o600);
    certificate("old", 2020, 2021, 0o620);
    certificate("new", 4000, 4001, 0o606);
    let read = |name: &str| fs::read_to_string(path(name)).unwrap();
    // As an intermediate certificate nothing but a client reads what is in it.
    let strange = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let chain = read("good.crt") + &read("old.crt") + strange;
    write("good.crt", &chain, 0o644);
    let key = r#"{"kid":"k","kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#;
    write("keys.json", &format!(r#"{{"keys":[{key},{{"kid":"a\nb","kty":"AKP"}}]}}"#), 0o664);
    write("push.tokens", "0123456789abcdef\n", 0o666);
    let names = |suffix: &str| ["good", "old", "new"].map(|name| path(&format!("{name}.{suffix}")));
    let config = format!(
        "auth = \"jwt\"\ninsecure = [\"plain_http\"]\nws_listen = \"0.0.0.0:0\"\nwss_listen = \"127.0.0.1:0\"\n\
         push_token_file = {:?}\n[jwt]\nkey_files = [{:?}]\nrequired = []\n\
         [tls]\ncertificate_files = {:?}\nkey_files = {:?}\n",
        path("push.tokens"),
        path("keys.json"),
        names("crt"),
        names("key"),
    );
    write("halley.toml", &config, 0o602);
    let [all, group] = ["every user of this machine", "its group"];
    let loose = |what: &str, name: &str, who: &str| {
        format!("{what} {}: {who} may write this file; take that away with `chmod go-w`", path(name))
    };
    let notes = [
        format!(
            "the certificate number 2 of the chain in {} has expired: it was valid until \
            2021-01-01T00:00:00.000Z; clients refuse it",
            path("good.crt")
        ),
        format!(
            "the certificate in {} has expired: it was valid until 2021-01-01T00:00:00.000Z; clients refuse \
            it",
            path("old.crt")
        ),
        format!(
            "the certificate in {} is not valid yet: it will be from 4000-01-01T00:00:00.000Z; clients refuse \
            it",
            path("new.crt")
        ),
        format!(
            "when the certificate number 3 of the chain in {} is valid cannot be read: clients may refuse it, and \
            no metric tells when it ends",
            path("good.crt")
        ),
        loose("the configuration", "halley.toml", all),
        loose("push_token_file", "push.tokens", all),
        loose("tls.key_files", "old.key", group),
        loose("tls.key_files", "new.key", all),
        loose("jwt.key_files", "keys.json", group),
        "signed tokens come in unencrypted over ws_listen 0.0.0.0:0: whoever listens on the way can log in with them; \
        use tls_listen and wss_listen, or listen on 127.0.0.1 behind a proxy with TLS"
            .to_owned(),
        "tokens without exp are let in and never end (jwt.required)".to_owned(),
        format!("key file {}, key 2 kid \"a\\nb\", is left out: its kty \"AKP\" is not known", path("keys.json")),
    ];
    let (code, out, error) = finish(&mut program(folder.path(), &["check-config", "--config", &path("halley.toml")]));
    let expected: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out, format!("the configuration is right: {}\n{expected}", path("halley.toml")));
    let mut gateway = Running::start(&["--config", &path("halley.toml"), "--set", "ws_listen=0.0.0.0:0"]);
    for note in &notes {
        gateway.wait_log(&format!("  note     {note}\n"));
    }
    assert_eq!(gateway.end(Signal::TERM), 0);
}

/// Settings that change nothing are named: somebody believes that they do.
#[test]
fn settings_without_effect_are_named() {
    let folder = TempDir::new().unwrap();
    let arguments =
        ["check-config", "--set", "jwt.secret=0123456789abcdef0123456789abcdef", "--set", "jwt.leeway_seconds=5"];
    let (code, out, error) = finish(
        program(folder.path(), &arguments)
            .env("HALLEY_TLS__KEY_FILES", "no.key")
            .env("HALLEY_TLS__CERTIFICATE_FILES", "no.crt"),
    );
    let notes = "note: without effect is jwt.secret, jwt.leeway_seconds: auth = \"open\" checks no token; \
                 set auth = \"jwt\", or take it out\n\
                 note: without effect is tls.certificate_files, tls.key_files: nothing listens with TLS; \
                 set tls_listen or wss_listen, or take it out\n";
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.ends_with(notes), "{out}");
    assert_eq!(out.lines().count(), 3, "{out}");
}

#[test]
fn an_address_in_use_is_one_sentence_and_exit_code_3() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    for setting in ["tcp_listen", "ws_listen", "http_listen", "grpc_listen", "admin_listen"] {
        let free = ["tcp_listen", "ws_listen", "http_listen", "grpc_listen"].iter().filter(|free| **free != setting);
        let mut arguments: Vec<String> =
            free.flat_map(|free| ["--set".to_owned(), format!("{free}=127.0.0.1:0")]).collect();
        arguments.extend(["--set".to_owned(), format!("{setting}={address}")]);
        let (code, _, error) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, 3, "{error}");
        let begin = format!("halley-gateway: {setting}: {address} is already served by another process");
        assert!(error.starts_with(&begin) && error.lines().count() == 1, "{error}");
    }
}

/// Two gateways of one user would share the port in silence if SO_REUSEPORT were all there is to it.
#[test]
fn a_second_gateway_on_the_same_port_is_refused() {
    let mut first = Running::start(&[]);
    let address = first.ready()["tcp"][0].as_str().unwrap().to_owned();
    let (code, _, error) = run(&["--shards", "2", "--tcp-listen", &address]);
    assert!(code == 3 && error.contains("perhaps another gateway"), "{code} {error}");
    assert_eq!(first.end(Signal::TERM), 0);
}

#[test]
fn the_ready_file_names_bound_addresses_while_the_gateway_serves() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("admin.sock");
    let mut gateway =
        Running::start(&["--admin-listen", &format!("unix:{}", socket.display()), "--admin-listen", "[::1]:0"]);
    let ready = gateway.ready();
    for name in ["tcp", "ws", "http", "grpc"] {
        let address: std::net::SocketAddr = ready[name][0].as_str().unwrap().parse().unwrap();
        assert_ne!(address.port(), 0, "{name}");
        std::net::TcpStream::connect(address).unwrap();
    }
    assert_eq!(ready["admin"][0], format!("unix:{}", socket.display()));
    assert!(socket.exists());
    for part in ["is ready", "2 shards", "auth open", "demo", ready["ws"][0].as_str().unwrap()] {
        gateway.wait_log(part);
    }
    assert_eq!(gateway.end(Signal::TERM), 0, "{}", gateway.log());
    assert!(!gateway.ready_file().exists() && !socket.exists(), "nothing is left behind");
}

/// A panic on any thread ends the process with one sentence, and nothing stays behind that says it were there: neither
/// the ready file nor a socket file. The test runs itself as the process.
#[test]
fn a_panic_ends_the_process_and_leaves_no_file_behind() {
    const FOLDER: &str = "FOLDER_OF_A_PROCESS_THAT_PANICS";
    if let Some(folder) = std::env::var_os(FOLDER) {
        end_by_a_panic(Path::new(&folder));
    }
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_panic_ends_the_process_and_leaves_no_file_behind", "--nocapture"]);
    let output = output(command.env(FOLDER, folder.path()).current_dir(folder.path()).stdout(Stdio::piped()));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let sentence = error.lines().find(|line| line.starts_with("halley-gateway: ")).unwrap_or_else(|| panic!("{error}"));
    let parts = ["internal error on thread planted at ", "cli.rs:", ": both\\nare there; please report this"];
    assert!(parts.iter().all(|part| sentence.contains(part)), "{sentence}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Serves, until both files are there.
fn end_by_a_panic(folder: &Path) {
    let [ready, socket] = ["ready.json", "admin.sock"].map(|name| folder.join(name));
    let mut arguments = vec!["halley-gateway".to_owned(), "--shards=1".to_owned()];
    arguments.extend(["tcp", "ws", "http", "grpc"].map(|listener| format!("--{listener}-listen=127.0.0.1:0")));
    arguments.push(format!("--ready-file={}", ready.display()));
    arguments.push(format!("--admin-listen=unix:{}", socket.display()));
    let command = halley_gateway::cli::parse(arguments.into_iter().map(Into::into), []).unwrap();
    let halley_gateway::cli::Command::Run(sources) = command else { panic!("{command:?}") };
    let deadline = Instant::now() + PATIENCE;
    let planted = std::thread::Builder::new().name("planted".to_owned());
    let planted = planted.spawn(move || {
        while !(ready.exists() && socket.exists()) {
            assert!(Instant::now() < deadline, "it does not serve");
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("both\nare there");
    });
    let ended = halley_gateway::node::run(sources, halley_service::signals::Early::remember());
    panic!("it ended: {ended:?} {planted:?}");
}

/// systemd's `Type=notify`: told when the gateway is ready, reloading, ready again, stopping; and the watchdog is fed.
#[test]
fn the_service_manager_is_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let next = || {
        // The watchdog's messages would keep a mere read deadline away.
        assert!(Instant::now() < deadline, "the message did not come");
        let mut message = [0; 512];
        let bytes = socket.recv(&mut message).expect("a message comes");
        String::from_utf8(message[..bytes].to_vec()).unwrap()
    };
    let next_of_life = || std::iter::repeat_with(next).find(|message| message != "WATCHDOG=1\n").unwrap();
    let watchdog = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "50000")];
    let mut gateway = Running::start_with(&[], &watchdog);
    assert_eq!(next_of_life(), "READY=1\n");
    assert!(std::iter::repeat_with(next).any(|message| message == "WATCHDOG=1\n"));
    kill_process(Pid::from_child(&gateway.child), Signal::HUP).unwrap();
    assert!(next_of_life().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(next_of_life(), "READY=1\n");
    assert_eq!(gateway.end(Signal::TERM), 0, "{}", gateway.log());
    assert_eq!(next_of_life(), "STOPPING=1\n");
}

#[test]
fn without_descriptors_it_is_one_sentence_and_exit_code_4() {
    for (limit, shards, needed) in
        [(8, 4, 142), (12, 4, 142), (20, 1, 130), (40, 4, 142), (64, 2, 134), (80, 16, 190), (189, 16, 190)]
    {
        let (code, out, error) = finish(&mut limited(limit, shards));
        let cure = format!("LimitNOFILE={needed} or more in the systemd unit, or `ulimit -n {needed}`\n");
        let begin = format!("halley-gateway: the limit on open files is {limit}, at least {needed} are needed: ");
        assert!(error.starts_with(&begin) && error.ends_with(&cure) && error.lines().count() == 1, "{error}");
        assert_eq!((code, out.as_str()), (4, ""), "{limit}");
    }
}

/// What the sentence asks for is enough.
#[test]
fn with_as_many_descriptors_as_are_asked_for_it_serves() {
    for (limit, shards) in [(130, 1), (142, 4), (190, 16)] {
        let mut child = limited(limit, shards).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let process = Pid::from_child(&child);
        let mut first = String::new();
        let output = in_time(process, || {
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
            if !first.is_empty() {
                kill_process(process, Signal::TERM).unwrap();
            }
            child.wait_with_output().unwrap()
        });
        assert!(!first.is_empty() && output.status.code() == Some(0), "{limit}: {first:?} {output:?}");
    }
}

/// The program on free ports, with a limit on open files.
fn limited(limit: u32, shards: u32) -> Command {
    let line = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &line, env!("CARGO_BIN_EXE_halley-gateway"), "--shards", &shards.to_string()]);
    for flag in ["--tcp-listen", "--ws-listen", "--http-listen", "--grpc-listen"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command.args(["--drain-seconds", "0"]).stdin(Stdio::null());
    command
}

/// With room for one client on the whole gateway, every next client gets it, whichever shard the kernel chooses for it.
#[test]
fn one_connection_in_two_shards_is_one_connection() {
    use std::io::{Read as _, Write as _};
    let mut gateway = Running::start(&["--max-connections", "1"]);
    let address = gateway.ready()["tcp"][0].as_str().unwrap().to_owned();
    // Op 7 with the token {}, and its answer, op 8.
    let login = b"\0\0\0\x12\0\x10\0\x01\0\0\0\x07\0\0\0\x01{}";
    for number in 0..20 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = std::net::TcpStream::connect(&address).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(login).unwrap();
            let mut answer = [0; 16];
            // Refused as long as the one before is not quite gone.
            if client.read_exact(&mut answer).is_ok() {
                assert_eq!(answer[8..12], [0, 0, 0, 8]);
                break;
            }
            assert!(Instant::now() < deadline, "client {number} is never served\n{}", gateway.log());
        }
    }
    assert_eq!(gateway.end(Signal::TERM), 0);
}

/// A file that was found by itself at the start and is gone at a reload is no wish for the defaults; a link that leads
/// nowhere is no absent file.
#[test]
fn a_file_that_is_gone_is_missed() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("halley.toml");
    fs::write(&file, "[limits]\nmax_connections_per_key = 7\n").unwrap();
    let mut gateway = Running::start_in(folder, &[], &[]);
    fs::remove_file(&file).unwrap();
    kill_process(Pid::from_child(&gateway.child), Signal::HUP).unwrap();
    gateway.wait_log("cannot read the configuration halley.toml");
    assert!(!gateway.log().contains("max_connections_per_key"), "nothing changes: {}", gateway.log());
    assert_eq!(gateway.end(Signal::TERM), 0);
    let folder = TempDir::new().unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("halley.toml")).unwrap();
    let (code, _, error) = finish(&mut program(folder.path(), &["check-config"]));
    assert!(code == 2 && error.contains("cannot read the configuration halley.toml"), "{code} {error}");
}

#[test]
fn accepted_dangers_and_what_does_not_fit_are_said_at_the_start() {
    let arguments = ["--ws-listen", "0.0.0.0:0", "--insecure", "open_auth", "--max-connections", "15999999"];
    let mut gateway = Running::start(&arguments);
    gateway.wait_log("INSECURE ws_listen 0.0.0.0:0");
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    if files.is_some_and(|files| files < 8_000_000) {
        gateway.wait_log("max_connections = 15999999 does not fit");
        gateway.wait_log("set shards = ");
    }
    assert_eq!(gateway.end(Signal::INT), 0);
}
