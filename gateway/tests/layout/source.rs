//! The files that the rules are about. Owns finding them and taking their text apart: code without comments and tests,
//! the paths that it uses; judges nothing.

use std::path::{Path, PathBuf};

/// A source file: its path from the root, with `/`, and its text.
#[derive(Clone)]
pub struct Source {
    pub path: String,
    pub text: String,
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the workspace that must be there.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file of the workspace with one of these endings.
pub fn sources(endings: &[&str]) -> Vec<Source> {
    let root = root();
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

/// The text without comments and without its tests.
pub fn product_code(path: &str, text: &str) -> String {
    if path.contains("/tests/") || path.ends_with("/tests.rs") {
        return String::new();
    }
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        // The item that follows: one line, or up to the brace that ends it.
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            let head = lines.find(|line| !line.starts_with("#[")).unwrap_or_default();
            if !head.ends_with(';') {
                lines.find(|line| line.starts_with('}'));
            }
            continue;
        }
        let line = if line.trim_start().starts_with("//") { "" } else { line };
        code.push_str(line.split(" // ").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

pub fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '"');
        edge(code[..at].chars().next_back()) && edge(code[at + word.len()..].chars().next())
    })
}

/// The module of a file below `src/`: `shard/turn.rs` is `shard::turn`, `io/mod.rs` is `io`.
pub fn module_path(file: &str) -> Vec<String> {
    let mut parts: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// Every path that begins with `crate::` or `super::`, from the crate's root, groups in braces taken apart.
pub fn used_paths(code: &str, module: &[String]) -> Vec<String> {
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
pub fn expand<'a>(base: &str, rest: &'a str, found: &mut Vec<String>) -> &'a str {
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
