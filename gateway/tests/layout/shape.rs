//! How a file looks: its first line, its length, its widest line, its longest function, where `unsafe` may stand, and
//! what is beneath a package. Owns the bounds and their exceptions, each by name.

use crate::arrows::broken_arrows;
use crate::source::{Source, has_word, module_path, product_code, sources};
use crate::words::{foreign_phrases, unfinished_words};

/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &["gateway/src/io/uring/", "gateway/src/mesh/ring.rs", "perf/src/baselines/"];

/// Lines of the longest file.
const LINES_MAX: usize = 800;
/// Characters of the widest line.
const COLUMNS_MAX: usize = 120;
/// Lines of the longest function, its signature and its last brace among them.
const FUNCTION_LINES_MAX: usize = 70;
/// Longer functions, each with its reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    ("gateway/src/config/origin.rs", "what_can_never_match_is_refused_with_what_to_write", "one list of cases"),
    ("gateway/tests/cli.rs", "notes_are_said_by_check_config_and_at_the_start", "one folder that earns every note"),
];

/// Nouns of the gateway and the dispatcher, which no service knows.
const FOREIGN_NOUNS: &[&str] = &["Push", "Room", "Comet", "Shard", "Mid"];

/// Docs that say nothing: a unit, a bound or a reason belongs there, or the item is not public.
const EMPTY_DOCS: &[&str] = &["Nothing.", "So many.", "See the module", "See the other", "The other one.", "As above."];

/// What is wrong with these files, one sentence each.
fn faults(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for Source { path, text } in sources {
        let code = product_code(path, text);
        faults.extend(form_faults(path, text));
        faults.extend(foreign_phrases(path, text));
        faults.extend(place_faults(path, &code));
        if let Some(module) = path.strip_prefix("gateway/src/") {
            faults.extend(broken_arrows(path, &module_path(module), &code));
        }
    }
    faults
}

/// Of the text as a whole.
fn form_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
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
    for (number, line) in (1..).zip(text.lines()) {
        if line.chars().count() > COLUMNS_MAX {
            faults.push(format!("{path}:{number}: wider than {COLUMNS_MAX} columns"));
        }
        let doc = line.trim_start().strip_prefix("///").map(str::trim);
        if doc.is_some_and(|doc| EMPTY_DOCS.iter().any(|empty| doc.starts_with(empty))) {
            faults.push(format!(
                "{path}:{number}: this doc says nothing: a unit, a bound, a reason, or do not publish it"
            ));
        }
    }
    for (number, name, lines) in functions(text) {
        let named = LONG_FUNCTIONS.iter().any(|(file, function, _)| *file == path && *function == name);
        if lines > FUNCTION_LINES_MAX && !named {
            faults.push(format!("{path}:{number}: `{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}"));
        }
    }
    faults
}

/// Of what the code uses, by where it stands.
fn place_faults(path: &str, code: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let unsafe_code = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"];
    if !UNSAFE.iter().any(|place| path.starts_with(place)) && unsafe_code.iter().any(|form| code.contains(form)) {
        faults.push(format!("{path}: unsafe code stands only in {UNSAFE:?}"));
    }
    if has_word(code, "io_uring") && !path.starts_with("gateway/src/io/uring/") && !path.starts_with("perf/") {
        faults.push(format!("{path}: only io/uring speaks to the kernel's ring"));
    }
    if path.starts_with("protocol/src/") {
        for outside in ["std::net", "std::time", "std::thread", "std::fs", "std::io", "tokio"] {
            if code.contains(outside) {
                faults.push(format!("{path}: protocol does without {outside}"));
            }
        }
    }
    if path.starts_with("service/") {
        for noun in nouns(code).filter(|noun| FOREIGN_NOUNS.contains(noun)) {
            faults.push(format!("{path}: a service knows no push and no room: `{noun}`"));
        }
    }
    let names_it = code.lines().any(|line| line.contains("rustls::") && has_word(line, "ServerConfig"));
    if !path.starts_with("service/src/tls/") && names_it {
        faults.push(format!("{path}: a TLS configuration is named by service/src/tls alone"));
    }
    if path.starts_with("dispatcher/") && has_word(code, "halley_gateway") {
        faults.push(format!("{path}: the dispatcher knows no gateway"));
    }
    faults
}

/// The words that names of types are made of: `PushRecord` is `Push` and `Record`.
fn nouns(code: &str) -> impl Iterator<Item = &str> {
    let names = code.split(|c: char| !c.is_alphanumeric()).filter(|name| name.starts_with(|c: char| c.is_uppercase()));
    names.flat_map(|name| {
        let starts: Vec<usize> = name.char_indices().filter(|(_, c)| c.is_uppercase()).map(|(at, _)| at).collect();
        let ends: Vec<usize> = starts.iter().skip(1).copied().chain([name.len()]).collect();
        starts.into_iter().zip(ends).map(|(start, end)| &name[start..end]).collect::<Vec<_>>()
    })
}

/// Every function: the line it begins on, its name, and its lines. As rustfmt writes them, its last brace stands alone,
/// as far to the right as its first word.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let indent = &line[..line.len() - bare.len()];
        let words = bare.split("fn ").next().unwrap_or_default();
        let is_head = bare.contains("fn ")
            && words
                .split_whitespace()
                .all(|word| ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern"].contains(&word));
        let name = bare.split("fn ").nth(1).unwrap_or_default();
        let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        if !is_head || name.is_empty() {
            continue;
        }
        let Some(head) = lines[index..].iter().position(|line| line.ends_with('{') || line.ends_with(';')) else {
            continue;
        };
        // A declaration without a body ends with its head.
        let brace = format!("{indent}}}");
        let end = lines[index + head..].iter().position(|line| *line == brace);
        if let Some(length) = end.filter(|_| lines[index + head].ends_with('{')) {
            found.push((index + 1, name, head + length + 1));
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

/// An exception that is none any more goes away.
#[test]
fn functions_that_are_named_as_long_are_long() {
    let sources = sources(&[".rs"]);
    for (file, function, _) in LONG_FUNCTIONS {
        let source = sources.iter().find(|source| source.path == *file).unwrap_or_else(|| panic!("{file} is there"));
        let long =
            functions(&source.text).iter().any(|(_, name, lines)| name == function && *lines > FUNCTION_LINES_MAX);
        assert!(long, "{file}: `{function}` is not long: it needs no exception");
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
        ("gateway/src/shard/turn.rs", format!("{good}// {}\n", "x".repeat(COLUMNS_MAX)), "wider than"),
        ("gateway/src/shard/turn.rs", format!("{good}/// {}\nfn f() {{}}\n", EMPTY_DOCS[0]), "says nothing"),
        (
            "gateway/src/shard/turn.rs",
            format!(
                "{good}impl X {{\n    pub async fn f() {{\n{}    }}\n}}\n",
                "        x();\n".repeat(FUNCTION_LINES_MAX)
            ),
            "`f` has 72 lines",
        ),
        ("gateway/src/limits.rs", format!("{good}use rustls::ServerConfig;\n"), "service/src/tls alone"),
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
        ("service/src/panics.rs", format!("{good}struct RoomKey;\n"), "knows no push"),
        ("dispatcher/src/route.rs", format!("{good}use halley_gateway::feed;\n"), "knows no gateway"),
    ];
    for (path, text, sentence) in broken {
        let faults = file(path, &text);
        assert!(faults.iter().any(|fault| fault.contains(sentence)), "{path}: {sentence}: {faults:?}");
    }
}
