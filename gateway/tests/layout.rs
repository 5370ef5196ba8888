//! The shape of the source: which part may use which, where `unsafe` may stand, how long a file may be, and words that
//! do not belong in finished work. ARCHITECTURE.md draws the arrows; this holds them. Every rule is tried on a sample
//! that breaks it, so that none passes by looking at nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use halley_gateway::close::CloseReason;

/// What each part of the gateway may use of the others; the longest name that fits a module decides, and a part may
/// always use itself. What threads tell each other (`mesh::msg`), why connections end (`close`), the bounds (`limits`)
/// and the counters (`shard::stats`) are vocabulary: they use no machinery. `table` holds anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("table", &[]),
    ("close", &[]),
    ("shard::stats", &["close"]),
    ("mesh::msg", &["close", "limits"]),
    ("mesh", &["limits"]),
    ("io", &["mesh", "limits"]),
    ("conn", &["mesh::msg", "limits", "table"]),
    ("shard", &["mesh", "close", "conn", "io", "limits", "table"]),
    ("feed", &["mesh", "close", "limits", "table"]),
    ("control", &["mesh", "feed::intake", "feed::stats", "close", "shard::stats", "limits"]),
    ("comet", &["feed::intake"]),
    ("config", &["feed", "limits", "listen"]),
    ("cli", &["config"]),
    ("placement", &["limits"]),
    ("listen", &["limits"]),
];

/// Modules that put everything together and may use all of it; only the first may know the dispatcher besides them.
const ASSEMBLY: &[&str] = &["standalone", "node", "main"];

/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &["gateway/src/io/uring/", "gateway/src/mesh/ring.rs", "perf/src/baselines/"];

/// Lines of the longest file.
const LINES_MAX: usize = 800;

/// A source file: its path from the root, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// What is wrong with these files, one sentence each.
fn faults(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for Source { path, text } in sources {
        let code = product_code(path, text);
        if !text.starts_with("//!") {
            faults.push(format!("{path}: the first line says what the file owns, after //!"));
        }
        if text.lines().count() > LINES_MAX {
            faults.push(format!("{path}: longer than {LINES_MAX} lines, split it by phase of work"));
        }
        for word in unfinished_words() {
            if let Some(line) = text.lines().position(|line| line.contains(word.as_str())) {
                faults.push(format!("{path}:{}: `{word}` has no place in finished work", line + 1));
            }
        }
        faults.extend(foreign_phrases(path, text));
        let unsafe_code = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"];
        if !UNSAFE.iter().any(|place| path.starts_with(place)) && unsafe_code.iter().any(|form| code.contains(form)) {
            faults.push(format!("{path}: unsafe code stands only in {UNSAFE:?}"));
        }
        if has_word(&code, "io_uring") && !path.starts_with("gateway/src/io/uring/") && !path.starts_with("perf/") {
            faults.push(format!("{path}: only io/uring speaks to the kernel's ring"));
        }
        if path.starts_with("protocol/src/") {
            for outside in ["std::net", "std::time", "std::thread", "std::fs", "std::io", "tokio"] {
                if code.contains(outside) {
                    faults.push(format!("{path}: protocol does without {outside}"));
                }
            }
        }
        if let Some(module) = path.strip_prefix("gateway/src/") {
            faults.extend(broken_arrows(path, &module_path(module), &code));
        }
        if path.starts_with("service/") && ["Push", "Room"].iter().any(|word| has_word(&code, word)) {
            faults.push(format!("{path}: a service knows no push and no room"));
        }
        if path.starts_with("dispatcher/") && has_word(&code, "halley_gateway") {
            faults.push(format!("{path}: the dispatcher knows no gateway"));
        }
    }
    faults
}

/// Uses of the gateway's other parts that the arrows do not allow.
fn broken_arrows(path: &str, module: &[String], code: &str) -> Vec<String> {
    let name = module.join("::");
    if ASSEMBLY.iter().any(|part| module.first().is_some_and(|first| first == part)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if has_word(code, "halley_dispatcher") {
        faults.push(format!("{path}: only {ASSEMBLY:?} join gateway and dispatcher"));
    }
    if module.is_empty() {
        return faults;
    }
    let rule = ARROWS.iter().filter(|(part, _)| begins(&name, part)).max_by_key(|(part, _)| part.len());
    let Some((part, allowed)) = rule else {
        faults.push(format!(
            "{path}: `{name}` has no place in the arrows; give it one in this test and in ARCHITECTURE.md"
        ));
        return faults;
    };
    for used in used_paths(code, module) {
        // Within a part there are no arrows, except that vocabulary uses no machinery.
        if begins(&used, part) || allowed.iter().any(|allowed| begins(&used, allowed)) {
            continue;
        }
        faults.push(format!("{path}: `{part}` must not use `{used}`"));
    }
    faults
}

/// Whether a `::` path is `prefix` or inside it.
fn begins(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The module of a file below `src/`: `shard/turn.rs` is `shard::turn`, `io/mod.rs` is `io`.
fn module_path(file: &str) -> Vec<String> {
    let mut parts: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// Every path that begins with `crate::` or `super::`, from the crate's root, groups in braces taken apart.
fn used_paths(code: &str, module: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let mut rest = &code[at..];
            let mut base = if rest.starts_with("crate::") { Vec::new() } else { module.to_vec() };
            if let Some(tail) = rest.strip_prefix("crate::") {
                rest = tail;
            }
            while let Some(tail) = rest.strip_prefix("super::") {
                base.pop();
                rest = tail;
            }
            expand(&base.join("::"), rest, &mut found);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Adds the paths that begin at `rest` to `found`; returns what follows them.
fn expand<'a>(base: &str, rest: &'a str, found: &mut Vec<String>) -> &'a str {
    let rest = rest.trim_start();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            inside = expand(base, inside, found).trim_start();
            match inside.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => inside = more,
                Some(more) => return more.trim_start().strip_prefix('}').unwrap_or(""),
                None => return inside.strip_prefix('}').unwrap_or(""),
            }
        }
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let path = match (base, name) {
        ("", name) => name.to_owned(),
        (base, "self" | "*" | "") => base.to_owned(),
        (base, name) => format!("{base}::{name}"),
    };
    if let Some(deeper) = after.strip_prefix("::")
        && !deeper.starts_with('<')
    {
        return expand(&path, deeper, found);
    }
    if !path.is_empty() {
        found.push(path);
    }
    // `name as other`
    match after.trim_start().strip_prefix("as ") {
        Some(renamed) => renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => after,
    }
}

/// The text without comments and without its tests.
fn product_code(path: &str, text: &str) -> String {
    if path.contains("/tests/") || path.ends_with("/tests.rs") {
        return String::new();
    }
    let mut code = String::new();
    for line in text.lines() {
        // Unit tests stand at the end of a file.
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            break;
        }
        let line = if line.trim_start().starts_with("//") { "" } else { line };
        code.push_str(line.split(" // ").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '"');
        edge(code[..at].chars().next_back()) && edge(code[at + word.len()..].chars().next())
    })
}

/// Words of unfinished work and of places that exist on one machine only, put together here so that this file may hold
/// them.
fn unfinished_words() -> Vec<String> {
    let pairs = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X:"),
        ("HA", "CK"),
        ("simpli", "fied"),
        ("un", "implemented!("),
        ("to", "do!("),
        ("dbg", "!("),
        ("/wo", "rk/"),
        ("/ro", "ot/"),
    ];
    pairs.map(|(a, b)| format!("{a}{b}")).into()
}

/// Phrases that speak of a list of wishes somewhere else: what the text says must stand here. Lines may break within
/// them.
fn foreign_phrases(path: &str, text: &str) -> Vec<String> {
    let comment = |c: char| c.is_whitespace() || "/!*#>-".contains(c);
    let words = text.split(comment).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").to_lowercase();
    [("the is", "sue"), ("is", "sue of"), ("this is", "sue"), ("is", "sue says"), ("is", "sue #")]
        .map(|(a, b)| format!("{a}{b}"))
        .into_iter()
        .filter(|phrase| has_word(&words, phrase))
        .map(|phrase| format!("{path}: `{phrase}` speaks of something that is not here"))
        .collect()
}

/// Every file of the workspace with one of these endings.
fn sources(endings: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<PathBuf> =
        ["protocol", "service", "gateway", "dispatcher", "perf"].map(|name| root.join(name)).into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !["target", "corpus", "artifacts"].contains(&name) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let short = path.strip_prefix(&root).expect("below the root").display().to_string();
                found.push(Source { path: short, text: std::fs::read_to_string(&path).expect("UTF-8") });
            }
        }
    }
    found
}

#[test]
fn the_source_keeps_its_shape() {
    let sources = sources(&[".rs"]);
    assert!(sources.len() > 60, "the workspace was found: {}", sources.len());
    let faults = faults(&sources);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn other_files_hold_no_unfinished_work() {
    let mut files = sources(&[".md", ".toml", ".proto", ".js", ".css", ".html", ".py", ".sh"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Cargo.toml", "test", ".ci/run", ".ci/deny.toml"] {
        files.push(Source { path: name.into(), text: std::fs::read_to_string(root.join(name)).expect(name) });
    }
    for Source { path, text } in &files {
        for word in unfinished_words() {
            assert!(!text.contains(&word), "{path} holds `{word}`");
        }
        assert_eq!(foreign_phrases(path, text), [""; 0]);
    }
}

/// The crates' own arrows: `gateway → dispatcher → service → protocol`, nothing back and nothing else. Fuzz targets use
/// what they stand beside.
#[test]
fn crates_depend_downwards_only() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("protocol", &[][..]),
        ("protocol/fuzz", &["halley-protocol"]),
        ("service", &["halley-protocol"]),
        ("dispatcher", &["halley-protocol", "halley-service"]),
        ("gateway", &["halley-protocol", "halley-service", "halley-dispatcher"]),
        ("gateway/fuzz", &["halley-protocol", "halley-gateway"]),
        ("perf", &["halley-protocol"]),
    ]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (folder, allowed) in allowed {
        let manifest = std::fs::read_to_string(root.join(folder).join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names =
                manifest.get(section).and_then(|section| section.as_table()).into_iter().flat_map(|table| table.keys());
            for name in names.filter(|name| name.starts_with("halley-")) {
                assert!(allowed.contains(&name.as_str()), "{folder} must not depend on {name}");
            }
        }
    }
}

/// ARCHITECTURE.md names every reason for which a connection may end, in the row of its WebSocket status.
#[test]
fn every_close_reason_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for reason in CloseReason::ALL {
        let label = format!("`{}`", reason.label());
        let status = reason.code().map_or("none".to_owned(), |code| code.0.to_string());
        let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains(&label));
        let documented =
            rows.filter_map(|row| row.split('|').nth(1)).any(|cell| cell.split(',').any(|one| one.trim() == status));
        assert!(documented, "{label} belongs to the row of status {status} in ARCHITECTURE.md");
    }
}

/// Each rule is broken once, and must say so.
#[test]
fn every_rule_bites() {
    let file = |path: &str, text: &str| faults(&[Source { path: path.into(), text: text.into() }]);
    let good = "//! Owns nothing.\n";
    assert_eq!(
        file("gateway/src/shard/turn.rs", &format!("{good}use crate::mesh::msg::ConnRef;\nuse super::Core;\n")),
        [""; 0]
    );
    let word = unfinished_words()[0].clone();
    let broken = [
        ("gateway/src/shard/turn.rs", "fn f() {}\n".to_owned(), "first line"),
        ("gateway/src/shard/turn.rs", format!("{good}{}", "\n".repeat(LINES_MAX)), "longer than"),
        ("gateway/src/shard/turn.rs", format!("{good}// {word} later\n"), "finished work"),
        ("gateway/src/shard/turn.rs", format!("{good}//! What the is{}\n//! says.\n", "sue"), "not here"),
        ("gateway/src/shard/turn.rs", format!("{good}/// (is{} of speed)\n", "sue"), "not here"),
        ("gateway/src/shard/turn.rs", format!("{good}unsafe {{ f() }}\n"), "unsafe code"),
        ("gateway/src/shard/turn.rs", format!("{good}use io_uring::IoUring;\n"), "only io/uring"),
        (
            "gateway/src/shard/turn.rs",
            format!("{good}use crate::feed::intake::Intake;\n"),
            "`shard` must not use `feed::intake::Intake`",
        ),
        (
            "gateway/src/shard/turn.rs",
            format!("{good}use crate::{{io::Io, control::{{node, admin}}}};\n"),
            "`shard` must not use `control::admin`",
        ),
        ("gateway/src/shard/turn.rs", format!("{good}use super::super::node;\n"), "`shard` must not use `node`"),
        (
            "gateway/src/shard/turn.rs",
            format!("{good}fn f() {{ crate::control::x(); }}\n"),
            "`shard` must not use `control::x`",
        ),
        ("gateway/src/conn/mod.rs", format!("{good}use crate::shard::Core;\n"), "`conn` must not use `shard::Core`"),
        ("gateway/src/close.rs", format!("{good}use crate::mesh::port::Sender;\n"), "`close` must not use"),
        (
            "gateway/src/mesh/msg.rs",
            format!("{good}use crate::{{close::CloseReason, conn::Conn}};\n"),
            "must not use `conn::Conn`",
        ),
        ("gateway/src/io/sim.rs", format!("{good}use crate::shard::Shard;\n"), "`io` must not use"),
        ("gateway/src/control/admin.rs", format!("{good}use crate::feed::directory;\n"), "`control` must not use"),
        (
            "gateway/src/feed/node.rs",
            format!("{good}use halley_dispatcher::gateways;\n"),
            "join gateway and dispatcher",
        ),
        ("gateway/src/novelty.rs", good.to_owned(), "no place in the arrows"),
        ("protocol/src/goim/mod.rs", format!("{good}use std::net::TcpStream;\n"), "does without std::net"),
        ("service/src/panics.rs", format!("{good}struct Room;\n"), "knows no push"),
        ("dispatcher/src/route.rs", format!("{good}use halley_gateway::feed;\n"), "knows no gateway"),
    ];
    for (path, text, sentence) in broken {
        let faults = file(path, &text);
        assert!(faults.iter().any(|fault| fault.contains(sentence)), "{path}: {sentence}: {faults:?}");
    }
}
