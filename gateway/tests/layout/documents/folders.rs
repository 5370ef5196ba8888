//! The maps of README.md and ARCHITECTURE.md: every folder and every library that they name is there, and none of the
//! top is left out. Owns what counts as such a name.

use super::{alternatives, is_there, rows, section, ticked};
use crate::source::{read, root};

/// The folders of the top that hold a package: others are a user's own, such as an old build to compare with.
fn top_folders() -> Vec<String> {
    let entries = std::fs::read_dir(root()).expect("the root").map(|entry| entry.expect("an entry"));
    let folders = entries.filter(|entry| entry.path().is_dir());
    let names = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| is_there(&format!("{name}/Cargo.toml"))).collect()
}

/// Whether a package of the workspace depends on this library, for its product, its build or its tests.
fn is_dependency(name: &str, manifests: &[String]) -> bool {
    manifests.iter().flat_map(|manifest| manifest.lines()).any(|line| {
        let named = line.split(['.', ' ']).next().unwrap_or_default();
        named == name && line.contains(" = ")
    })
}

fn manifests() -> Vec<String> {
    let folders = top_folders().into_iter().map(|folder| format!("{folder}/Cargo.toml"));
    folders.map(|path| read(&path)).collect()
}

#[test]
fn the_map_of_the_readme_has_every_folder_of_the_top() {
    let text = read("README.md");
    let rows = rows(section(&text, "## The folders"));
    let mut named: Vec<&str> =
        rows.iter().flat_map(|row| ticked(row[0])).map(|one| one.trim_end_matches('/')).collect();
    named.sort_unstable();
    let mut there = top_folders();
    there.sort_unstable();
    assert_eq!(named, there);
}

/// Whether a name in backticks is the path of a file or a folder, and not one of a URL.
fn is_path(name: &str) -> bool {
    let has_ending = [".rs", ".toml", ".md", ".py", "/"].iter().any(|ending| name.ends_with(ending));
    has_ending && name.contains('/') && !name.starts_with('/')
}

/// A path begins at the top or in the gateway's source.
#[test]
fn every_file_that_the_documents_name_is_there() {
    for document in ["ARCHITECTURE.md", "README.md", "gateway/tests/README.md", "perf/README.md"] {
        let text = read(document);
        let prose = text.split("```").step_by(2).collect::<String>();
        let folder = document.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        for path in ticked(&prose).into_iter().filter(|name| is_path(name)).flat_map(alternatives) {
            let places = [String::new(), "gateway/src/".to_owned(), folder.clone()];
            let found = places.iter().any(|place| is_there(&format!("{place}{path}")));
            assert!(found, "{document} names {path}, which is not there");
        }
    }
    assert_eq!(
        ["a/{b,c}.rs", "a/", "/healthz/", "turn.rs", "conn/tls"].map(is_path),
        [true, true, false, false, false]
    );
}

#[test]
fn every_library_that_is_named_is_a_dependency() {
    let manifests = manifests();
    assert!(manifests.len() >= 5, "they were found: {}", manifests.len());
    let text = read("ARCHITECTURE.md");
    let rows = rows(section(&text, "## Libraries"));
    assert!(rows.len() > 15, "the table was found: {}", rows.len());
    for row in &rows {
        assert!(row.len() == 3 && row.iter().all(|cell| !cell.is_empty()), "package, where and why: {row:?}");
        for name in ticked(row[0]) {
            assert!(is_dependency(name, &manifests), "`{name}` is no dependency");
        }
        for path in ticked(row[1]).into_iter().filter(|path| path.contains('/')) {
            assert!(is_there(path), "{}: there is no {path}", row[0]);
        }
    }
}

#[test]
fn a_library_that_is_not_used_is_noticed() {
    let manifests = ["[dependencies]\nslab.workspace = true\nh2 = \"0.4\"\n# toml.workspace = true\n".to_owned()];
    let found = ["slab", "h2", "toml", "sla", "slab.workspace"].map(|name| is_dependency(name, &manifests));
    assert_eq!(found, [true, true, false, false, false]);
}
