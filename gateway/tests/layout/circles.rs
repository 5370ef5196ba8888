//! No circles: files that import each other in a loop cannot be read one after the other. Owns the picture of imports,
//! file by file in every package, and the search for a loop in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, expand, module_path, product_code, sources, used_paths};

/// A file and those that it imports from.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The imports between the files of one package. A path is the file of its longest module; a declaration (`mod`) is
/// none. A file of a folder may use what the folder's `mod.rs` says of all of them: together they are one noun.
fn imports(sources: &[Source], package: &str) -> Imports {
    let prefix = format!("{package}/src/");
    let files: BTreeMap<String, &Source> = sources
        .iter()
        .filter_map(|source| Some((module_path(source.path.strip_prefix(&prefix)?).join("::"), source)))
        .filter(|(_, source)| !product_code(&source.path, &source.text).is_empty())
        .collect();
    let file_of = |path: &str| {
        let parts: Vec<&str> = path.split("::").collect();
        (0..=parts.len()).rev().map(|length| parts[..length].join("::")).find(|module| files.contains_key(module))
    };
    let handed_on: BTreeMap<&String, BTreeMap<String, String>> =
        files.iter().map(|(module, source)| (module, handed_on(&source.text, module))).collect();
    // A path to what a file hands on is a path to where it comes from.
    let file_of = |path: &str| {
        let file = file_of(path)?;
        let rest = path.strip_prefix(&file).unwrap_or(path).trim_start_matches("::");
        match handed_on.get(&file).and_then(|names| names.get(rest)) {
            Some(origin) => file_of(origin),
            None => Some(file),
        }
    };
    let mut imports = Imports::new();
    for (module, source) in &files {
        let code = product_code(&source.path, &source.text);
        let parts: Vec<String> = module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let mut used = used_paths(&code, &parts);
        used.extend(children_used(&code, module));
        let targets = used.iter().filter_map(|path| file_of(path)).filter(|target| target != module);
        let targets = targets.filter(|target| !module.starts_with(&format!("{target}::")));
        imports.insert(module.clone(), targets.filter(|target| !target.is_empty()).collect());
    }
    imports
}

/// Paths into modules that this file declares: `use child::Thing`. What it only hands on (`pub use`) it does not use.
fn children_used(code: &str, module: &str) -> Vec<String> {
    let code = without_handed_on(code);
    let declared = code.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')
    });
    let used = |child: &str| {
        let path = format!("{child}::");
        let own = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
        code.match_indices(&path).any(|(at, _)| own(at))
    };
    let join = |child: &str| if module.is_empty() { child.to_owned() } else { format!("{module}::{child}") };
    declared.filter(|child| used(child)).map(join).collect()
}

/// What a file hands on of modules below it: its name there, and the path it comes from.
fn handed_on(text: &str, module: &str) -> BTreeMap<String, String> {
    let uses = text.split("pub use ").skip(1).filter_map(|rest| rest.split_once(';').map(|(paths, _)| paths));
    let outside = ["crate::", "super::", "halley_", "std::"];
    let own = uses.filter(|paths| !outside.iter().any(|start| paths.starts_with(start)));
    let mut found = Vec::new();
    own.for_each(|paths| {
        expand(module, paths.trim_start_matches("self::"), &mut found);
    });
    let last = |path: &String| path.rsplit("::").next().unwrap_or_default().to_owned();
    found.into_iter().map(|path| (last(&path), path)).collect()
}

/// The code without `pub use`, which may go over several lines.
fn without_handed_on(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("pub use ") {
        kept.push_str(&rest[..at]);
        rest = rest[at..].split_once(';').map_or("", |(_, after)| after);
    }
    kept + rest
}

/// A loop, if there is one: each file imports from the next, the last from the first.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn visit(file: &str, imports: &Imports, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        if let Some(at) = path.iter().position(|on_path| on_path == file) {
            path.drain(..at);
            return true;
        }
        if !done.contains(file) {
            path.push(file.to_owned());
            if imports.get(file).is_some_and(|next| next.iter().any(|next| visit(next, imports, path, done))) {
                return true;
            }
            path.pop();
            done.insert(file.to_owned());
        }
        false
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|file| {
        let mut path = Vec::new();
        visit(file, imports, &mut path, &mut done).then_some(path)
    })
}

#[test]
fn no_two_files_import_each_other() {
    let sources = sources(&[".rs"]);
    for package in ["protocol", "service", "dispatcher", "gateway", "perf"] {
        let imports = imports(&sources, package);
        assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 5, "{package} was found");
        assert_eq!(circle(&imports), None, "{package}: these files import each other in a loop");
    }
}

#[test]
fn a_circle_is_found() {
    let file = |path: &str, code: &str| Source { path: format!("gateway/src/{path}"), text: code.to_owned() };
    let loops = |files: &[Source]| circle(&imports(files, "gateway")).map(|circle| circle.len());
    let a = || file("a/mod.rs", "mod b;\nuse b::B;\n");
    let pair = [file("a/b.rs", "use super::c::C;\n"), file("a/c.rs", "use crate::a::b::B;\n")];
    assert_eq!(loops(&pair), Some(2));
    assert_eq!(loops(&[a(), file("a/b.rs", "use crate::c::C;\n"), file("c.rs", "fn f() {}\n")]), None);
    assert_eq!(loops(&[a(), file("a/b.rs", "use super::A;\n")]), None, "a folder is one noun");
    let three = [a(), file("a/b.rs", "use crate::c::C;\n"), file("c.rs", "fn f() { crate::a::g() }\n")];
    assert_eq!(loops(&three), Some(3));
    assert_eq!(
        loops(&[file("a/mod.rs", "mod b;\n"), file("a/b.rs", "use super::A;\n")]),
        None,
        "a declaration is none"
    );
    let through_their_folder = [
        file("a/mod.rs", "mod b;\nmod c;\npub use b::B;\n"),
        file("a/b.rs", "use super::c::C;\n"),
        file("a/c.rs", "use super::B;\n"),
    ];
    assert_eq!(loops(&through_their_folder), Some(2), "what a folder hands on comes from the file that has it");
}
